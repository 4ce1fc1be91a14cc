//! The file service (pkg/sync): HTTP on port 8001 in both processes. It knows the files that it was told to fill, and how far each is.

mod client;
mod copy;
mod file;
mod multipart;
mod restore;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use host::fs::File;
use host::http::{Body, Peer, collect, serve};
use host::net::TcpListener;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

pub(crate) use client::{FilesClient, NewFile};
pub(crate) use file::SyncingFile;

use crate::Process;
use crate::error::{Context, Error, Result};
use crate::form::{Query, unescape};
use crate::info::FileInfo;
use crate::web;

const REQUEST_LIMIT_BYTES: usize = 1 << 20;
const DOWNLOAD_PIECE_BYTES: usize = 256 << 10;

/// The files of this process.
#[derive(Clone)]
struct Files {
    process: Process,
    by_path: Arc<Mutex<BTreeMap<String, Arc<SyncingFile>>>>,
}

/// Serves until the process ends.
pub(crate) async fn run(process: Process, listener: TcpListener) {
    let files = Files { process, by_path: Arc::default() };
    serve(listener, move |request, _: Peer| {
        let files = files.clone();
        async move { files.answer(request).await }
    })
    .await;
}

impl Files {
    fn by_path(&self) -> MutexGuard<'_, BTreeMap<String, Arc<SyncingFile>>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let action = query.get("action").to_owned();
        let segments: Vec<&str> = head.uri.path().trim_start_matches('/').trim_end_matches('/').split('/').collect();
        match (&head.method, &segments[..]) {
            (&Method::GET, ["v1", "files"]) => self.list().await,
            (&Method::POST, ["v1", "files"]) => {
                let begun = self.begin(&action, query, body, head.headers.get(header::CONTENT_TYPE)).await;
                or_failure(begun, StatusCode::INTERNAL_SERVER_ERROR)
            }
            (method, ["v1", "files", id, rest @ ..]) => match (method, unescape(id), rest, action.as_str()) {
                (_, None, ..) => web::failure(StatusCode::BAD_REQUEST, &format!("invalid id {id} for decoding")),
                (&Method::GET, Some(path), [], _) => self.get(&path).await,
                (&Method::DELETE, Some(path), [], _) => self.forget(&path, true).await,
                (&Method::POST, Some(path), [], "forget") => self.forget(&path, false).await,
                (&Method::POST, Some(path), [], "sendToPeer") => {
                    or_failure(self.send(&path, &query).await, StatusCode::INTERNAL_SERVER_ERROR)
                }
                (&Method::GET | &Method::HEAD, Some(path), ["download"], _) => {
                    let answer = self.download(&path, &query, method).await;
                    answer.unwrap_or_else(|error| web::failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))
                }
                _ => not_found(),
            },
            _ => not_found(),
        }
    }

    async fn list(&self) -> Response<Body> {
        let files: Vec<_> = self.by_path().values().cloned().collect();
        let mut infos: BTreeMap<String, FileInfo> = BTreeMap::new();
        for file in files {
            infos.insert(file.path.clone(), file.get().await);
        }
        web::json(&infos)
    }

    async fn get(&self, path: &str) -> Response<Body> {
        let file = self.by_path().get(path).cloned();
        match file {
            Some(file) => web::json(&file.get().await),
            None => web::failure(StatusCode::NOT_FOUND, &format!("can not find sync file {path}")),
        }
    }

    async fn forget(&self, path: &str, and_delete: bool) -> Response<Body> {
        let file = self.by_path().remove(path);
        if let Some(file) = file.filter(|_| and_delete) {
            file.delete().await;
        }
        web::done()
    }

    async fn send(&self, path: &str, query: &Query) -> Result<()> {
        let to = required(query, "to-address", "file sending")?;
        let file = self.by_path().get(path).cloned();
        let file = file.ok_or_else(|| Error::invalid(format!("can not find sync file {path} for sending")))?;
        file.send(to).await
    }

    /// Takes a new file on, and begins to fill it. Only an upload is waited for.
    async fn begin(&self, action: &str, query: Query, body: Incoming, kind: Option<&HeaderValue>) -> Result<()> {
        let data_engine = query.get("data-engine").to_owned();
        match action {
            "fetch" => {
                let source = required(&query, "src-file-path", "existing file fetch")?.to_owned();
                required(&query, "disk-uuid", "existing file fetch")?;
                let file = self.take_on(&query, "dst-file-path", size(&query)?)?;
                file.work(async move |file| file.fetch(&source).await);
            }
            "downloadFromURL" => {
                let url = required(&query, "url", "file downloading")?.to_owned();
                let file = self.take_on(&query, "file-path", 0)?;
                file.work(async move |file| file.download(&url, &data_engine).await);
            }
            "restoreFromBackupURL" => {
                let url = required(&query, "backup-url", "restoring file")?.to_owned();
                let workers = query.get("concurrent-limit").parse().map_err(|error| {
                    Error::invalid(format!("failed to get valid concurrentLimit for restoring file: {error}"))
                })?;
                let credential = credential(body).await?;
                let file = self.take_on(&query, "file-path", 0)?;
                file.work(async move |file| file.restore(&url, credential, workers, &data_engine).await);
            }
            "receiveFromPeer" => {
                let kind = query.get("file-type").to_owned();
                let port = query.get("port").parse().map_err(|_| Error::invalid("invalid port"))?;
                let file = self.take_on(&query, "file-path", size(&query)?)?;
                file.work(async move |file| file.receive(port, &kind, &data_engine).await);
            }
            "cloneFromBackingImage" => {
                let name = required(&query, "backing-image", "clone")?.to_owned();
                let uuid = required(&query, "backing-image-uuid", "clone")?.to_owned();
                let encryption = query.get("encryption").to_owned();
                let file = self.take_on(&query, "file-path", 0)?;
                file.work(async move |file| file.clone_image(&name, &uuid, &encryption, &data_engine).await);
            }
            "upload" => {
                let file = self.take_on(&query, "file-path", size(&query)?)?;
                let mut parts = multipart::Parts::new(body, kind)?;
                parts.find("chunk").await?;
                file.wait_while_pending().await?;
                file.upload(&mut parts, &data_engine).await?;
            }
            _ => return Err(Error::invalid(format!("unknown action {action:?}"))),
        }
        Ok(())
    }

    fn take_on(&self, query: &Query, path: &str, size: i64) -> Result<Arc<SyncingFile>> {
        let path = required(query, path, "the file")?;
        let uuid = required(query, "uuid", "the file")?;
        let mut files = self.by_path();
        if files.contains_key(path) {
            return Err(Error::invalid(format!("file {path} already exists")));
        }
        if files.values().any(|file| file.uuid == uuid) {
            return Err(Error::invalid(format!("file {path} with uuid {uuid} already exists")));
        }
        let (disk, checksum) = (query.get("disk-uuid"), query.get("expected-checksum"));
        let file = SyncingFile::begin(self.process.clone(), path, uuid, disk, checksum, size);
        files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    /// The content of a file: compressed for a person, as it is for a v2 disk.
    async fn download(&self, path: &str, query: &Query, method: &Method) -> Result<Response<Body>> {
        let file = self.by_path().get(path).cloned();
        let file = file.ok_or_else(|| Error::invalid(format!("nil sync file {path}")))?;
        file.must_be_ready()?;
        let source = File::open(path).await.context(|| format!("failed to open {path}"))?;
        let plain = query.get("forV2Creation") == "true" && self.process.has_real_size();
        let mut answer = Response::new(host::http::empty());
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if plain {
            let len = source.metadata().await.context(|| format!("failed to stat {path}"))?.len;
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        } else {
            let directory = path.rsplit('/').nth(1).unwrap_or_default();
            let name = directory.split('-').next().unwrap_or_default();
            let disposition = format!("attachment; filename={name}.gz");
            if let Ok(disposition) = HeaderValue::try_from(disposition) {
                headers.insert(header::CONTENT_DISPOSITION, disposition);
            }
        }
        if method != Method::HEAD {
            let (sender, body) = host::http::channel(4);
            *answer.body_mut() = body;
            host::spawn(async move {
                if let Err(error) = send_content(&source, &sender, plain).await {
                    tracing::error!(%error, "failed to do download to dst");
                    sender.abort().await;
                }
            });
        }
        Ok(answer)
    }
}

async fn send_content(source: &File, body: &host::http::BodySender, plain: bool) -> Result<()> {
    let mut buffer = vec![0; DOWNLOAD_PIECE_BYTES];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut offset = 0;
    let gone = |_| Error::invalid("the reader is gone");
    loop {
        let failed = || "failed to read".to_owned();
        let read = source.read_at(&mut buffer, offset).await.context(failed)?;
        if read == 0 {
            break;
        }
        offset += read as u64;
        let piece = if plain {
            buffer[..read].to_vec()
        } else {
            std::io::Write::write_all(&mut encoder, &buffer[..read]).context(failed)?;
            std::mem::take(encoder.get_mut())
        };
        if !piece.is_empty() {
            body.send(Bytes::from(piece)).await.map_err(gone)?;
        }
    }
    if !plain {
        let rest = encoder.finish().context(|| "failed to compress".to_owned())?;
        body.send(Bytes::from(rest)).await.map_err(gone)?;
    }
    Ok(())
}

fn required<'a>(query: &'a Query, name: &str, purpose: &str) -> Result<&'a str> {
    match query.get(name) {
        "" => Err(Error::invalid(format!("no {name} for {purpose}"))),
        value => Ok(value),
    }
}

fn size(query: &Query) -> Result<i64> {
    let text = query.get("size");
    let size: i64 = text.parse().map_err(|error| Error::invalid(format!("parsing size {text:?}: {error}")))?;
    if size % 512 != 0 {
        let why = "since Longhorn uses directIO by default";
        return Err(Error::invalid(format!("the file size {size} should be a multiple of 512 bytes {why}")));
    }
    Ok(size)
}

async fn credential(body: Incoming) -> Result<BTreeMap<String, String>> {
    let body = collect(body, REQUEST_LIMIT_BYTES).await?;
    if body.is_empty() {
        return Ok(BTreeMap::new());
    }
    let credential: Option<_> =
        serde_json::from_slice(&body).map_err(|_| Error::invalid("get credential failed from request"))?;
    Ok(credential.unwrap_or_default())
}

fn or_failure(result: Result<()>, status: StatusCode) -> Response<Body> {
    match result {
        Ok(()) => web::done(),
        Err(error) => {
            tracing::error!(%error, "file service");
            web::failure(status, &error.to_string())
        }
    }
}

fn not_found() -> Response<Body> {
    web::failure(StatusCode::NOT_FOUND, "404 page not found")
}
