//! The ways in which a file is filled: taken over, downloaded, received, uploaded, copied. (For restoring, see `restore`.)

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use host::fs::{File, OpenOptions};
use host::http::empty;
use host::net::TcpListener;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::copy::{Sink, next_in_time};
use super::file::SyncingFile;
use super::multipart::Parts;
use crate::error::{Context, Error, Result};
use crate::image::remove_if_there;
use crate::info::{State, config_path, image_path};
use crate::ssync;
use crate::web::within;

/// Go's `net/http` follows so many redirections.
const REDIRECTIONS: usize = 10;
const COPY_PIECE_BYTES: usize = 1 << 20;

impl SyncingFile {
    /// Takes a file over that lies on the same disk, with its configuration.
    pub async fn fetch(self: Arc<Self>, source: &str) -> Result<()> {
        let fetched = self.process("v1", self.take_over(source)).await;
        if source != self.path {
            for path in [source, &config_path(source)] {
                if let Err(error) = remove_if_there(path).await {
                    tracing::error!(path, %error, "failed to clean up after fetch");
                }
            }
        }
        fetched
    }

    async fn take_over(&self, source: &str) -> Result<()> {
        if source == self.path {
            return Err(Error::invalid("syncing file should be directly reused but failed"));
        }
        let metadata = host::fs::metadata(source).await.context(|| format!("stat {source}"))?;
        if metadata.is_dir {
            return Err(Error::Invalid(format!("the src file {source} of the fetch call should not be dir")));
        }
        host::fs::rename(source, &self.temporary).await.context(|| format!("rename {source} {}", self.temporary))?;
        let config = config_path(source);
        if host::fs::exists(&config).await.unwrap_or(false) {
            let to = config_path(&self.path);
            host::fs::rename(&config, &to).await.context(|| format!("rename {config} {to}"))?;
        }
        let mut info = self.info();
        info.state = State::InProgress;
        info.processed_size = i64::try_from(metadata.len).unwrap_or(i64::MAX);
        Ok(())
    }

    /// Downloads it.
    pub async fn download(self: Arc<Self>, url: &str, data_engine: &str) -> Result<()> {
        self.process(data_engine, async {
            let limit = self.process.idle_timeout();
            let head = within(limit, self.ask(Method::HEAD, url)).await?;
            let length =
                head.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            self.info().size = length.unwrap_or(-1);
            let answer = self.ask(Method::GET, url).await?;
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&self.temporary).await;
            let file = file.context(|| format!("open {}", self.temporary))?;
            let mut body = answer.into_body();
            let mut sink = Sink::new(&file);
            while let Some(piece) = next_in_time(&self.cancel, limit, next_data(&mut body)).await? {
                sink.write(&piece).await?;
                self.advance(i64::try_from(piece.len()).unwrap_or(i64::MAX));
            }
            let truncated = file.set_len(sink.copied()).await;
            truncated.context(|| "failed to truncate the file after download".to_owned())
        })
        .await
    }

    /// Sends a request for a download, and follows where it is sent on to.
    async fn ask(&self, method: Method, url: &str) -> Result<Response<Incoming>> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTIONS {
            let request = Request::builder().method(method.clone()).uri(&url).body(empty());
            let request = request.map_err(|error| Error::Invalid(format!("parse {url:?}: {error}")))?;
            let answer = self.process.client.send(request).await?;
            let location = answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
            match (answer.status(), location) {
                (StatusCode::OK, _) => return Ok(answer),
                (status, Some(location)) if status.is_redirection() => url = location.to_owned(),
                (status, _) => {
                    return Err(Error::Invalid(format!("expected status code 200 from {url}, got {status}")));
                }
            }
        }
        Err(Error::invalid(format!("stopped after {REDIRECTIONS} redirects")))
    }

    /// Receives it from another manager, or from a replica, at a port of this process.
    pub async fn receive(self: Arc<Self>, port: u16, kind: &str, data_engine: &str) -> Result<()> {
        self.process(data_engine, async {
            if kind == "qcow2" {
                return Err(Error::invalid("converting the file type from raw to qcow2 is not supported"));
            }
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            let listener = TcpListener::bind(address).await.context(|| format!("listen tcp {address}"))?;
            ssync::receive(listener, &self.temporary, self.clone(), &self.cancel).await?;
            let mut info = self.info();
            if matches!(info.state, State::Failed | State::Ready) {
                return Ok(());
            }
            // Holes are not counted, and a file of nothing else has not even begun.
            if info.state == State::Starting {
                info.state = State::InProgress;
            }
            info.processed_size = info.size;
            Ok(())
        })
        .await
    }

    /// Writes what a browser sends.
    pub(super) async fn upload(self: &Arc<Self>, parts: &mut Parts, data_engine: &str) -> Result<()> {
        self.process(data_engine, async {
            let file = self.create_temporary().await?;
            let mut sink = Sink::new(&file);
            let limit = self.process.idle_timeout();
            while let Some(piece) = next_in_time(&self.cancel, limit, parts.next_piece()).await? {
                sink.write(&piece).await?;
                self.advance(i64::try_from(piece.len()).unwrap_or(i64::MAX));
            }
            Ok(())
        })
        .await
    }

    /// Copies another backing image of this disk.
    pub async fn clone_image(
        self: Arc<Self>,
        name: &str,
        uuid: &str,
        encryption: &str,
        data_engine: &str,
    ) -> Result<()> {
        self.process(data_engine, async {
            if encryption != "ignore" {
                return Err(Error::Invalid(format!("encryption operation {encryption:?} is not supported")));
            }
            let source = image_path(name, uuid);
            let failed = || format!("failed to open clone source file {source}");
            let from = File::open(&source).await.context(failed)?;
            let len = from.metadata().await.context(failed)?.len;
            self.info().size = i64::try_from(len).unwrap_or(i64::MAX);
            let file = self.create_temporary().await?;
            let mut sink = Sink::new(&file);
            let mut piece = vec![0; COPY_PIECE_BYTES];
            loop {
                let at = sink.copied();
                let next = async {
                    let read = from.read_at(&mut piece, at).await.context(failed)?;
                    Ok((read > 0).then_some(read))
                };
                let limit = self.process.idle_timeout();
                let Some(read) = next_in_time(&self.cancel, limit, next).await? else { return Ok(()) };
                sink.write(&piece[..read]).await?;
                self.advance(i64::try_from(read).unwrap_or(i64::MAX));
            }
        })
        .await
    }

    /// The temporary file at its whole size, holes all over.
    async fn create_temporary(&self) -> Result<File> {
        let failed = || format!("open {}", self.temporary);
        let file =
            OpenOptions::new().read(true).write(true).create(true).open(&self.temporary).await.context(failed)?;
        let size = u64::try_from(self.info().size).unwrap_or(0);
        file.set_len(size).await.context(failed)?;
        Ok(file)
    }
}

impl ssync::Receiver for SyncingFile {
    fn received(&self, bytes: i64) {
        self.advance(bytes);
    }
}

/// The next data of a body.
async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Error::Http(error.into())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
