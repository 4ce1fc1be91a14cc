//! Sending a file or a whole volume to a receiver (sparse/client.go in sparse-tools).

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use host::fs::{File, OpenOptions};
use host::http::{self as web, Client, ClientOptions};
use host::time::{Instant, sleep, timeout};
use http::{Method, Request, StatusCode};
use sha2::{Digest, Sha512};

use crate::error::{Error, Result};
use crate::format::{Directory, Replica, SECTOR_BYTES};
use crate::sync::agent::lock;
use crate::sync::checksum::{ChecksumFile, change_time};
use crate::sync::receiver::encode;

/// How long it is tried to reach the receiver.
const OPEN_LIMIT: Duration = Duration::from_secs(120);
/// How much is sent at once.
const BATCH_BYTES: u64 = 512 * SECTOR_BYTES;
const WORKERS: usize = 4;
const LARGEST_ANSWER: usize = 1 << 20;

/// What is sent.
pub(crate) enum Source<'a> {
    /// A file.
    File { directory: &'a Directory, name: &'a str, file: File, size: u64 },
    /// A volume as a snapshot has it; the checksum recorded beside the snapshot goes with it.
    Volume { directory: &'a Directory, name: &'a str, replica: &'a Replica, with_backing: bool },
}

/// A stretch of what is sent.
#[derive(Clone, Copy, Debug)]
struct Interval {
    begin: u64,
    end: u64,
    is_data: bool,
}

impl Source<'_> {
    /// A file of a replica.
    pub async fn file<'a>(directory: &'a Directory, name: &'a str) -> Result<Source<'a>> {
        let path = directory.path(name);
        let options = OpenOptions::new().read(true).direct(is_direct(name));
        let file = options.open(&path).await.map_err(|error| Error::file("open", &path, &error))?;
        let size = file.metadata().await.map_err(|error| Error::file("stat", &path, &error))?.len;
        Ok(Source::File { directory, name, file, size })
    }

    fn name(&self) -> &str {
        match self {
            Source::File { name, .. } | Source::Volume { name, .. } => name,
        }
    }

    fn directory(&self) -> &Directory {
        match self {
            Source::File { directory, .. } | Source::Volume { directory, .. } => directory,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Source::File { size, .. } => *size,
            Source::Volume { replica, .. } => replica.size(),
        }
    }

    /// All of it, as data and holes.
    async fn intervals(&self) -> Result<Vec<Interval>> {
        let data: Vec<(u64, u64)> = match self {
            Source::File { file, name, directory, .. } => {
                let extents = file.extents().await;
                let extents = extents.map_err(|error| Error::file("fiemap", &directory.path(name), &error))?;
                extents.into_iter().map(|extent| (extent.offset, extent.offset + extent.len)).collect()
            }
            Source::Volume { replica, with_backing, .. } => {
                let stretches = replica.data(*with_backing).await?;
                stretches.into_iter().map(|stretch| (stretch.offset, stretch.offset + stretch.length)).collect()
            }
        };
        let mut intervals = Vec::new();
        let mut done = 0;
        for (begin, end) in data {
            if begin > done {
                intervals.push(Interval { begin: done, end: begin, is_data: false });
            }
            // An extent ends with a block, the file may end before.
            let end = end.next_multiple_of(SECTOR_BYTES);
            intervals.push(Interval { begin, end, is_data: true });
            done = end;
        }
        if done < self.size() {
            intervals.push(Interval { begin: done, end: self.size(), is_data: false });
        }
        Ok(intervals)
    }

    async fn read(&self, begin: u64, end: u64) -> Result<Vec<u8>> {
        let mut data = vec![0; (end.min(self.size()) - begin) as usize];
        match self {
            Source::File { file, name, directory, .. } => {
                let read = file.read_exact_at(&mut data, begin).await;
                read.map_err(|error| Error::file("read", &directory.path(name), &error))?;
            }
            Source::Volume { replica, .. } => replica.read_at(&mut data, begin).await?,
        }
        Ok(data)
    }
}

/// Metadata is small and of odd sizes; disks are not.
fn is_direct(name: &str) -> bool {
    !name.trim().ends_with(".meta")
}

struct Sender<'a> {
    source: &'a Source<'a>,
    client: Client,
    remote: String,
    timeout: Duration,
    recorded: Option<ChecksumFile>,
}

/// Sends it all to a receiver at `host:port`. With `fast`, a disk whose checksum is known to be the same on both sides is
/// not sent at all.
pub(crate) async fn send(source: &Source<'_>, remote: &str, timeout: Duration, fast: bool) -> Result<()> {
    let direct = is_direct(source.name());
    let failed =
        |error: Error| Error::Refused(format!("failed to sync content for source file {}: {error}", source.name()));
    if direct && !source.size().is_multiple_of(SECTOR_BYTES) {
        return Err(failed(Error::Refused(format!("invalid file size {} for directIO", source.size()))));
    }
    let is_disk = source.name().ends_with(".img");
    let recorded = if is_disk { ChecksumFile::read(source.directory(), source.name()).await.ok() } else { None };
    let options = ClientOptions { max_idle_per_host: 100, ..ClientOptions::default() };
    let client = Client::with_options(options);
    let sender = Sender { source, client, remote: remote.to_owned(), timeout, recorded };
    let sent = async {
        if fast && is_disk && sender.is_identical().await {
            return Ok(());
        }
        sender.send(direct).await
    };
    let sent = sent.await;
    // Ends the receiver, whatever happened.
    sender.close().await;
    sent.map_err(failed)
}

impl Sender<'_> {
    async fn request(&self, method: Method, action: &str, data: Option<Vec<u8>>) -> Result<(StatusCode, Bytes)> {
        let body = data.map_or_else(web::empty, web::full);
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}/v1-ssync/{action}", self.remote))
            .header("Accept", "application/json")
            .body(body)
            .map_err(|error| Error::Refused(error.to_string()))?;
        let answer = async {
            let answer = self.client.send(request).await?;
            let status = answer.status();
            Ok::<_, web::Error>((status, web::collect(answer.into_body(), LARGEST_ANSWER).await?))
        };
        match timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Error::Refused(error.to_string())),
            Err(_) => Err(Error::refused("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")),
        }
    }

    /// As [`Sender::request`], and any other answer than a good one is a failure.
    async fn ask(&self, doing: &str, method: Method, action: &str, data: Option<Vec<u8>>) -> Result<Bytes> {
        let (status, body) = self.request(method, action, data).await?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        let reason = status.canonical_reason().unwrap_or_default();
        Err(Error::Refused(format!("failed to {doing}: status code={} ({reason})", status.as_u16())))
    }

    /// Whether both sides have recorded the same checksum, and neither disk has changed since.
    async fn is_identical(&self) -> bool {
        let Some(ours) = self.recorded.as_ref().filter(|file| !file.checksum.is_empty() && !file.method.is_empty())
        else {
            return false;
        };
        let current = change_time(self.source.directory(), self.source.name()).await;
        if current.as_ref() != Ok(&ours.change_time) {
            return false;
        }
        let theirs = self.ask("get recorded metadata", Method::GET, "getRecordedMetadata", None).await;
        let theirs = theirs.ok().and_then(|body| longhorn_backupstore::json::from_bytes::<ChecksumFile>(&body).ok());
        theirs.is_some_and(|theirs| theirs.checksum == ours.checksum)
    }

    async fn open(&self, direct: bool) -> Result<bool> {
        let began = Instant::now();
        let action = format!("open?begin=0&directIO={direct}&end={}", self.source.size());
        let mut attempts = 0;
        let (status, body) = loop {
            match self.request(Method::GET, &action, None).await {
                Ok(answer) => break answer,
                Err(error) if began.elapsed() >= OPEN_LIMIT => {
                    return Err(Error::Refused(format!("failed to open: failed to open server: {error}")));
                }
                // The first time it may just not be there yet.
                Err(_) if attempts == 0 => {}
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
            attempts += 1;
        };
        if status != StatusCode::OK {
            let reason = status.canonical_reason().unwrap_or_default();
            let text = format!("failed to open: failed to open server: status code={} ({reason})", status.as_u16());
            return Err(Error::Refused(text));
        }
        Ok(body.as_ref() == b"true")
    }

    async fn send(&self, direct: bool) -> Result<()> {
        let existed = self.open(direct).await?;
        let intervals = Mutex::new(VecDeque::from(self.source.intervals().await?));
        let worker = || async {
            loop {
                let next = lock(&intervals).pop_front();
                let Some(interval) = next else { return Ok::<(), Error>(()) };
                self.send_interval(interval, existed).await?;
            }
        };
        try_join_all((0..WORKERS).map(|_| worker())).await?;
        Ok(())
    }

    async fn send_interval(&self, Interval { begin, end, is_data }: Interval, existed: bool) -> Result<()> {
        if !is_data {
            self.ask("sync hole interval", Method::POST, &format!("sendHole?begin={begin}&end={end}"), None).await?;
            return Ok(());
        }
        let mut begin = begin;
        while begin < end {
            let until = (begin + BATCH_BYTES).min(end);
            let data = self.source.read(begin, until).await?;
            if !existed || !self.is_there(begin, until, &data).await? {
                let action = format!("writeData?begin={begin}&end={until}");
                self.ask("write data", Method::POST, &action, Some(data)).await?;
            }
            begin = until;
        }
        Ok(())
    }

    async fn is_there(&self, begin: u64, end: u64, data: &[u8]) -> Result<bool> {
        let action = format!("getChecksum?begin={begin}&end={end}");
        let theirs = self.ask("get checksum", Method::GET, &action, None).await?;
        Ok(theirs.as_ref() == format!("{:?}", encode(&Sha512::digest(data))).as_bytes())
    }

    async fn close(&self) {
        let (method, checksum) =
            self.recorded.as_ref().map_or(("", ""), |file| (file.method.as_str(), file.checksum.as_str()));
        let action = format!("close?checksum={checksum}&checksumMethod={method}");
        if let Err(error) = self.request(Method::POST, &action, None).await {
            tracing::warn!(%error, "failed to close the receiver");
        }
    }
}
