//! The receiving side.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::fs::{File, OpenOptions};
use host::http::{Body, Peer, collect, serve};
use host::net::TcpListener;
use host::time::{Instant, sleep_until};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use sha2::{Digest, Sha512};

use super::BATCH_BYTES;
use crate::cancel::Cancel;
use crate::error::{Context, Error, Result};
use crate::form::Query;
use crate::web;

/// A receiver that hears nothing for so long gives up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Whom the received bytes are told.
pub(crate) trait Receiver: Send + Sync + 'static {
    /// So many bytes more are done.
    fn received(&self, bytes: i64);
}

struct Shared<R> {
    path: String,
    existed: bool,
    receiver: Arc<R>,
    closed: Cancel,
    state: Mutex<State>,
}

struct State {
    file: Option<Arc<File>>,
    open_requests: u32,
    last_request: Instant,
}

/// Receives into a file until the sender closes, nothing is heard for 90 seconds, or the work is called off.
pub(crate) async fn receive<R: Receiver>(
    listener: TcpListener,
    path: &str,
    receiver: Arc<R>,
    cancel: &Cancel,
) -> Result<()> {
    let existed = host::fs::exists(path).await.context(|| format!("stat {path}"))?;
    let state = State { file: None, open_requests: 0, last_request: Instant::now() };
    let shared = Arc::new(Shared {
        path: path.to_owned(),
        existed,
        receiver,
        closed: Cancel::default(),
        state: Mutex::new(state),
    });
    let handler = shared.clone();
    let server = host::spawn(serve(listener, move |request, _: Peer| {
        let shared = handler.clone();
        async move { shared.answer(request).await }
    }));
    tokio::select! {
        biased;
        () = shared.closed.cancelled() => {}
        () = cancel.cancelled() => {}
        () = shared.idle() => tracing::error!(path, "shutting the receiver down, since nobody sends"),
    }
    server.abort();
    Ok(())
}

impl<R: Receiver> Shared<R> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn idle(&self) {
        loop {
            let (busy, last) = {
                let state = self.state();
                (state.open_requests > 0, state.last_request)
            };
            let deadline = if busy { Instant::now() + IDLE_TIMEOUT } else { last + IDLE_TIMEOUT };
            if !busy && Instant::now() >= deadline {
                return;
            }
            sleep_until(deadline).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.state().open_requests += 1;
        let (head, body) = request.into_parts();
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let action = head.uri.path().strip_prefix("/v1-ssync/").unwrap_or_default();
        let answer = match (&head.method, action) {
            (&Method::GET, "open") => self.open(&query).await.map(|()| web::json(&self.existed)),
            (&Method::GET, "getChecksum") => self.checksum(&query).await.map(|checksum| web::json(&checksum)),
            (&Method::POST, "sendHole") => self.punch(&query).await.map(|()| web::done()),
            (&Method::POST, "writeData") => self.write(&query, body).await.map(|()| web::done()),
            (&Method::POST, "close") => {
                self.state().file = None;
                self.closed.cancel();
                Ok(web::done())
            }
            _ => Ok(web::failure(StatusCode::NOT_FOUND, "404 page not found")),
        };
        let mut state = self.state();
        state.open_requests -= 1;
        state.last_request = Instant::now();
        answer.unwrap_or_else(|error| web::failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))
    }

    async fn open(&self, query: &Query) -> Result<()> {
        let (_, size) = interval(query)?;
        let failed = || format!("failed to open/create local source file {}", self.path);
        let file = OpenOptions::new().read(true).write(true).create(true).open(&self.path).await.context(failed)?;
        file.set_len(size).await.context(|| format!("failed to truncate local source file {}", self.path))?;
        self.state().file = Some(Arc::new(file));
        Ok(())
    }

    fn file(&self) -> Result<Arc<File>> {
        self.state().file.clone().ok_or_else(|| Error::invalid("the file is not open"))
    }

    async fn punch(&self, query: &Query) -> Result<()> {
        let (begin, end) = interval(query)?;
        self.file()?
            .punch_hole(begin, end - begin)
            .await
            .context(|| format!("failed to punch hole interval {begin}-{end}"))
    }

    async fn write(&self, query: &Query, body: Incoming) -> Result<()> {
        let (begin, end) = interval(query)?;
        if end - begin > BATCH_BYTES {
            return Err(Error::invalid(format!("interval {begin}-{end} is too long")));
        }
        let data = collect(body, usize::try_from(BATCH_BYTES).expect("2 MiB")).await?;
        self.file()?
            .write_all_at(&data, begin)
            .await
            .context(|| format!("failed to write data interval {begin}-{end}"))?;
        if !self.existed {
            self.receiver.received(i64::try_from(end - begin).unwrap_or(i64::MAX));
        }
        Ok(())
    }

    /// The checksum of a stretch, if one extent covers it.
    async fn checksum(&self, query: &Query) -> Result<Option<String>> {
        let (begin, end) = interval(query)?;
        if end - begin > BATCH_BYTES {
            return Err(Error::invalid(format!("interval {begin}-{end} is too long")));
        }
        let file = self.file()?;
        let failed = || format!("failed to hash interval {begin}-{end}");
        let extents = file.extents_in(begin, end - begin).await.context(failed)?;
        let covered = matches!(extents[..], [extent] if extent.offset <= begin && extent.offset + extent.len >= end);
        let mut checksum = None;
        if covered {
            let mut data = vec![0; usize::try_from(end - begin).expect("2 MiB")];
            file.read_exact_at(&mut data, begin).await.context(failed)?;
            checksum = Some(STANDARD.encode(Sha512::digest(&data)));
        }
        if self.existed {
            self.receiver.received(i64::try_from(end - begin).unwrap_or(i64::MAX));
        }
        Ok(checksum)
    }
}

fn interval(query: &Query) -> Result<(u64, u64)> {
    let number = |name: &str| query.get(name).parse::<u64>().ok();
    match (number("begin"), number("end")) {
        (Some(begin), Some(end)) if begin <= end => Ok((begin, end)),
        _ => Err(Error::invalid(format!("no interval begin-end in {:?}", query.pairs()))),
    }
}
