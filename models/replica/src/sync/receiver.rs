//! Receiving a file: an HTTP server for one file, until it is closed or nobody asks anything any more (sparse/rest in
//! sparse-tools).

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use host::fs::{self, File, OpenOptions};
use host::http::{self as web, Body};
use host::net::TcpListener;
use host::time::Instant;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use sha2::{Digest, Sha512};
use tokio::sync::{Notify, RwLock};

use crate::error::{Error, Result};
use crate::format::{Directory, SECTOR_BYTES};
use crate::sync::agent::{Agent, TaskStatus, lock};
use crate::sync::checksum::{ChecksumFile, change_time};

/// A receiver that nobody asks anything for so long gives up.
const IDLE_LIMIT: Duration = Duration::from_secs(90);
/// What one request may bring.
const LARGEST_BODY: usize = 64 << 20;

/// Whose progress the bytes received are.
pub(crate) type ProgressOf = Option<Arc<Mutex<TaskStatus>>>;

struct Receiver {
    directory: Directory,
    name: String,
    /// Whether the file was there before; then its blocks are compared before they are sent.
    existed: bool,
    progress: ProgressOf,
    file: RwLock<Option<File>>,
    busy: AtomicUsize,
    last_request: Mutex<Instant>,
    closed: AtomicBool,
    close: Notify,
}

impl Agent {
    /// Begins to receive a file; the port to send it to.
    pub(crate) async fn launch_receiver(
        &self,
        purpose: &'static str,
        name: String,
        progress: ProgressOf,
    ) -> std::result::Result<u16, String> {
        let port = self.take_port(purpose).await?;
        let agent = self.clone();
        host::spawn(async move {
            if let Err(error) = receive(agent.directory().clone(), name, progress, port).await {
                tracing::error!(%error, "failed to receive a file");
            }
            agent.give_port_back(port).await;
        });
        Ok(port)
    }
}

async fn receive(directory: Directory, name: String, progress: ProgressOf, port: u16) -> Result<()> {
    let existed = directory.exists(&name).await;
    let address = (Ipv4Addr::UNSPECIFIED, port).into();
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| Error::file("listen", &format!(":{port}"), &error))?;
    let receiver = Arc::new(Receiver {
        directory,
        name,
        existed,
        progress,
        file: RwLock::new(None),
        busy: AtomicUsize::new(0),
        last_request: Mutex::new(Instant::now()),
        closed: AtomicBool::new(false),
        close: Notify::new(),
    });
    let handler = Arc::clone(&receiver);
    let server = web::serve(listener, move |request, _| {
        let receiver = Arc::clone(&handler);
        async move { receiver.answer(request).await }
    });
    tokio::select! {
        biased;
        () = receiver.close.notified() => {}
        () = receiver.idle() => tracing::error!(port, "shutting down the receiver since nobody asks anything"),
        () = server => {}
    }
    receiver.closed.store(true, Ordering::Relaxed);
    Ok(())
}

impl Receiver {
    /// Completes when nobody has asked anything for too long.
    async fn idle(&self) {
        loop {
            let last = *lock(&self.last_request);
            let quiet = if self.busy.load(Ordering::Relaxed) > 0 { Duration::ZERO } else { last.elapsed() };
            if quiet >= IDLE_LIMIT {
                return;
            }
            host::time::sleep(IDLE_LIMIT - quiet).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if self.closed.load(Ordering::Relaxed) {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "the receiver is closed");
        }
        self.busy.fetch_add(1, Ordering::Relaxed);
        let answer = self.dispatch(request).await;
        self.busy.fetch_sub(1, Ordering::Relaxed);
        *lock(&self.last_request) = Instant::now();
        answer
    }

    async fn dispatch(&self, request: Request<Incoming>) -> Response<Body> {
        let query = Query::of(&request);
        let action = request.uri().path().strip_prefix("/v1-ssync/").unwrap_or_default().to_owned();
        let result = match (request.method(), action.as_str()) {
            (&Method::GET, "open") => self.open(&query).await,
            (&Method::POST, "sendHole") => self.hole(&query).await,
            (&Method::POST, "writeData") => self.write(&query, request).await,
            (&Method::GET, "getChecksum") => self.checksum(&query).await,
            (&Method::GET, "getRecordedMetadata") => self.recorded().await,
            (&Method::POST, "close") => {
                self.end(&query).await;
                Ok(Bytes::new())
            }
            _ => return refused(StatusCode::NOT_FOUND, "404 page not found"),
        };
        match result {
            Ok(body) => Response::new(web::full(body)),
            Err(error) if error.is_not_found() => refused(StatusCode::NOT_FOUND, &error.to_string()),
            Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    async fn open(&self, query: &Query) -> Result<Bytes> {
        let direct = match query.get("directIO") {
            "true" => true,
            "false" => false,
            other => return Err(Error::Refused(format!("failed to query directIO: {other:?}"))),
        };
        let (_, size) = query.interval()?;
        if direct && !size.is_multiple_of(SECTOR_BYTES) {
            return Err(Error::Refused(format!("invalid file size {size} for directIO")));
        }
        let path = self.directory.path(&self.name);
        let options = OpenOptions::new().read(true).write(true).create(true).direct(direct);
        let file = options.open(&path).await.map_err(|error| Error::file("open", &path, &error))?;
        file.set_len(size).await.map_err(|error| Error::file("truncate", &path, &error))?;
        *self.file.write().await = Some(file);
        Ok(Bytes::from(self.existed.to_string()))
    }

    fn failed(&self, operation: &'static str) -> impl Fn(std::io::Error) -> Error + '_ {
        move |error| Error::file(operation, &self.directory.path(&self.name), &error)
    }

    async fn hole(&self, query: &Query) -> Result<Bytes> {
        let (begin, end) = query.interval()?;
        let file = self.file.read().await;
        let file = file.as_ref().ok_or_else(not_open)?;
        file.punch_hole(begin, end - begin).await.map_err(self.failed("fallocate"))?;
        Ok(Bytes::new())
    }

    async fn write(&self, query: &Query, request: Request<Incoming>) -> Result<Bytes> {
        let (begin, end) = query.interval()?;
        let data = web::collect(request.into_body(), LARGEST_BODY).await;
        let data = data.map_err(|error| Error::Refused(format!("failed to read request: {error}")))?;
        let data = &data[..data.len().min((end - begin) as usize)];
        let file = self.file.read().await;
        let file = file.as_ref().ok_or_else(not_open)?;
        file.write_all_at(data, begin).await.map_err(self.failed("write"))?;
        if !self.existed {
            self.advance(end - begin);
        }
        Ok(Bytes::new())
    }

    /// The SHA-512 of a range that is data throughout, or null.
    async fn checksum(&self, query: &Query) -> Result<Bytes> {
        let (begin, end) = query.interval()?;
        let file = self.file.read().await;
        let file = file.as_ref().ok_or_else(not_open)?;
        let size = file.metadata().await.map_err(self.failed("stat"))?.len;
        let extents = file.extents_in(begin, end - begin).await.map_err(self.failed("fiemap"))?;
        let covered = matches!(extents.as_slice(), [only]
            if only.offset <= begin && only.offset + only.len >= end.min(size));
        let answer = if covered {
            let mut data = vec![0; (end.min(size) - begin) as usize];
            file.read_exact_at(&mut data, begin).await.map_err(self.failed("read"))?;
            format!("{:?}", encode(&Sha512::digest(&data)))
        } else {
            "null".to_owned()
        };
        if self.existed {
            self.advance(end - begin);
        }
        Ok(answer.into())
    }

    async fn recorded(&self) -> Result<Bytes> {
        let recorded = ChecksumFile::read(&self.directory, &self.name).await?;
        let current = change_time(&self.directory, &self.name).await?;
        if current != recorded.change_time {
            return Err(Error::Refused(format!(
                "disk file {} is changed (current change time {current}, expected change time {})",
                self.name, recorded.change_time
            )));
        }
        let path = self.directory.path(&format!("{}.checksum", self.name));
        Ok(fs::read(&path).await.map_err(|error| Error::file("open", &path, &error))?.into())
    }

    async fn end(&self, query: &Query) {
        *self.file.write().await = None;
        let (method, checksum) = (query.get("checksumMethod"), query.get("checksum"));
        if !method.is_empty() && !checksum.is_empty() {
            let recorded = async {
                let change_time = change_time(&self.directory, &self.name).await?;
                let (method, checksum) = (method.to_owned(), checksum.to_owned());
                let file = ChecksumFile { method, checksum, change_time, ..ChecksumFile::default() };
                file.write(&self.directory, &self.name).await
            };
            if let Err(error) = recorded.await {
                tracing::warn!(%error, file = self.name, "failed to record the checksum");
            }
        }
        self.close.notify_one();
    }

    fn advance(&self, bytes: u64) {
        if let Some(status) = &self.progress {
            lock(status).advance(bytes);
        }
    }
}

fn not_open() -> Error {
    Error::refused("the file is not open")
}

fn refused(status: StatusCode, text: &str) -> Response<Body> {
    let mut answer = Response::new(web::full(format!("{text}\n")));
    *answer.status_mut() = status;
    answer
}

/// Bytes as Go's JSON has them.
pub(crate) fn encode(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A request's query; its values need no decoding.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &Request<Incoming>) -> Query {
        let query = request.uri().query().unwrap_or_default();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Query(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
    }

    fn interval(&self) -> Result<(u64, u64)> {
        match (self.get("begin").parse(), self.get("end").parse()) {
            (Ok(begin), Ok(end)) if begin <= end => Ok((begin, end)),
            _ => Err(Error::refused("failed to query interval: queryParams begin or end does not exist")),
        }
    }
}
