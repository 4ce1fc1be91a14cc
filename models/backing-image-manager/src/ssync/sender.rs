//! The sending side.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use host::fs::File;
use host::http::{Client, ClientOptions, collect, empty, full};
use host::time::{Instant, sleep};
use http::{Method, Request, StatusCode};
use sha2::{Digest, Sha512};

use super::BATCH_BYTES;
use crate::error::{Context, Error, Result};
use crate::web::within;

/// How long the receiver is waited for.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);
const WORKERS: usize = 4;
const ANSWER_LIMIT_BYTES: usize = 1 << 20;

/// A stretch of the file.
#[derive(Clone, Copy)]
struct Stretch {
    begin: u64,
    end: u64,
    is_data: bool,
}

struct Sender {
    client: Client,
    remote: String,
    timeout: Duration,
    exists_there: bool,
}

/// Sends a file to the receiver at `host:port`; each request may take so long. The receiver ends whether it worked or not.
pub(crate) async fn send(path: &str, remote: &str, timeout: Duration) -> Result<()> {
    let options = ClientOptions { max_idle_per_host: 100, ..ClientOptions::default() };
    let client = Client::with_options(options);
    let mut sender = Sender { client, remote: remote.to_owned(), timeout, exists_there: false };
    let sent = sender.send(path).await;
    let closed = sender.request(Method::POST, "close?checksum=&checksumMethod=", None).await;
    if let Err(error) = closed {
        tracing::debug!(%error, remote, "cannot close the receiver");
    }
    sent.context(|| format!("failed to sync content for source file {path}"))
}

impl Sender {
    async fn send(&mut self, path: &str) -> Result<()> {
        let failed = || format!("failed to open {path}");
        let file = File::open(path).await.context(failed)?;
        let size = file.metadata().await.context(failed)?.len;
        self.exists_there = self.open(size).await.context(|| "failed to open server".to_owned())?;
        let layout = layout(&file, size).await.context(|| format!("failed to get data layout for file {path}"))?;
        let (sender, file) = (&*self, &file);
        let mut pieces =
            stream::iter(layout).map(|stretch| sender.send_stretch(file, stretch)).buffer_unordered(WORKERS);
        while let Some(sent) = pieces.next().await {
            sent?;
        }
        Ok(())
    }

    /// Opens the file there, once the receiver listens; says whether it has a file already.
    async fn open(&self, size: u64) -> Result<bool> {
        let begun = Instant::now();
        let mut first = true;
        let answer = loop {
            let action = format!("open?begin=0&directIO=false&end={size}");
            match self.request(Method::GET, &action, None).await {
                Ok(answer) => break answer,
                Err(error @ Error::Answer { .. }) => return Err(error),
                Err(error) if begun.elapsed() >= OPEN_TIMEOUT => return Err(error),
                Err(_) if first => first = false,
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        };
        serde_json::from_slice(&answer)
            .map_err(|error| Error::invalid(format!("failed to unmarshal response of open() from server: {error}")))
    }

    async fn send_stretch(&self, file: &File, Stretch { begin, end, is_data }: Stretch) -> Result<()> {
        if !is_data {
            let hole = self.request(Method::POST, &format!("sendHole?begin={begin}&end={end}"), None).await;
            return hole.map(|_| ()).context(|| format!("failed to sync hole interval {begin}-{end}"));
        }
        self.send_data(file, begin, end).await.context(|| format!("failed to sync data interval {begin}-{end}"))
    }

    async fn send_data(&self, file: &File, begin: u64, end: u64) -> Result<()> {
        let mut data = vec![0; usize::try_from(end - begin).expect("a piece fits in memory")];
        file.read_exact_at(&mut data, begin).await.context(|| "failed to read".to_owned())?;
        if self.exists_there {
            let theirs = self.request(Method::GET, &format!("getChecksum?begin={begin}&end={end}"), None).await?;
            let theirs: Option<String> = serde_json::from_slice(&theirs).unwrap_or_default();
            if theirs.is_some_and(|theirs| theirs == STANDARD.encode(Sha512::digest(&data))) {
                return Ok(());
            }
        }
        let action = format!("writeData?begin={begin}&end={end}");
        self.request(Method::POST, &action, Some(data)).await.map(|_| ())
    }

    async fn request(&self, method: Method, action: &str, data: Option<Vec<u8>>) -> Result<Bytes> {
        let url = format!("http://{}/v1-ssync/{action}", self.remote);
        let body = data.map_or_else(empty, full);
        let request = Request::builder().method(method).uri(&url).header("Accept", "application/json").body(body);
        let request = request.map_err(|error| Error::invalid(format!("invalid URL {url}: {error}")))?;
        within(self.timeout, async {
            let answer = self.client.send(request).await?;
            let status = answer.status();
            let body = collect(answer.into_body(), ANSWER_LIMIT_BYTES).await?;
            if status != StatusCode::OK {
                return Err(Error::Answer { status, body: String::from_utf8_lossy(&body).into_owned() });
            }
            Ok(body)
        })
        .await
    }
}

/// Holes and data of a file, in order, the data in pieces.
async fn layout(file: &File, size: u64) -> Result<Vec<Stretch>> {
    let extents = file.extents().await.context(|| "failed to read the extents".to_owned())?;
    let mut stretches = Vec::new();
    let mut at = 0;
    for extent in extents {
        let (begin, end) = (extent.offset.clamp(at, size), (extent.offset + extent.len).min(size));
        if begin > at {
            stretches.push(Stretch { begin: at, end: begin, is_data: false });
        }
        let mut piece = begin;
        while piece < end {
            let next = (piece + BATCH_BYTES).min(end);
            stretches.push(Stretch { begin: piece, end: next, is_data: true });
            piece = next;
        }
        at = at.max(end);
    }
    if at < size {
        stretches.push(Stretch { begin: at, end: size, is_data: false });
    }
    Ok(stretches)
}
