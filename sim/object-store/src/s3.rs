//! The S3-like server: HTTP/1.1, path-style addresses, one bucket store behind it.
//!
//! An operation runs in this order: its faults are looked up once, when it arrives; its body is read; delays pass; then
//! it takes effect in one step; other delays pass, and then it is answered. So a client whose patience ends before the answer does not know
//! whether the operation will still take effect, or has, as with a real store.

mod answers;
mod errors;
mod objects;
mod request;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use host::http::{Body, Peer};
use host::journal::Event;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

pub use errors::ErrorCode;

use crate::faults::{Effect, OperationKind, Subject};
use crate::store::BucketStore;
use errors::Failure;
use request::{Operation, Target};

/// Serves the store at this address until the process ends.
pub async fn serve(store: Arc<BucketStore>, address: SocketAddr) -> std::io::Result<()> {
    serve_on(store, host::net::TcpListener::bind(address).await?).await;
    Ok(())
}

/// Serves the store on a listener that is bound already.
pub async fn serve_on(store: Arc<BucketStore>, listener: host::net::TcpListener) {
    host::http::serve(listener, move |request, peer| {
        let store = Arc::clone(&store);
        async move { answer(&store, request, peer).await }
    })
    .await;
}

/// What a handler makes of an operation, before faults decide whether the peer hears of it.
type Outcome = Result<Response<Body>, Failure>;

async fn answer(store: &BucketStore, request: Request<Incoming>, peer: Peer) -> Response<Body> {
    let (head, body) = request.into_parts();
    let understood = Target::of(&head.uri).and_then(|target| Ok((Operation::of(&head, &target)?, target)));
    let (operation, target) = match understood {
        Ok(understood) => understood,
        Err(code) => return answers::error(code, &head),
    };
    let faults = Faults::on(store, &operation, &target, peer);
    if faults.has(|effect| matches!(effect, Effect::NeverAnswer)) {
        return std::future::pending().await;
    }
    let outcome = run(store, &operation, &target, body, &faults).await;
    record(store, &operation, &target, &outcome, peer);
    if !faults.late.is_zero() {
        host::time::sleep(faults.late).await;
    }
    if faults.has(|effect| matches!(effect, Effect::SwallowAnswer)) {
        return std::future::pending().await;
    }
    if faults.has(|effect| matches!(effect, Effect::LoseAnswer)) {
        return answers::broken_connection().await;
    }
    match outcome {
        Ok(response) => response,
        Err(Failure::Code(code)) => answers::error(code, &head),
        Err(Failure::ConnectionCut) => answers::broken_connection().await,
    }
}

async fn run(store: &BucketStore, operation: &Operation, target: &Target, body: Incoming, faults: &Faults) -> Outcome {
    if let Operation::PutObject { checksum } = operation {
        return objects::put(store, target, checksum.as_deref(), body, faults).await;
    }
    faults.delay().await;
    faults.refusal()?;
    let bucket = target.bucket.as_str();
    match operation {
        Operation::GetObject { range } => objects::get(store, target, range.as_deref(), faults).await,
        Operation::HeadObject => objects::head(store, target),
        Operation::DeleteObject => objects::delete(store, target, faults),
        Operation::ListObjects(list) => objects::list(store, target, list, faults),
        Operation::ListBuckets => Ok(answers::buckets(&store.buckets_with_creation())),
        Operation::HeadBucket if store.has_bucket(bucket) => Ok(answers::empty(StatusCode::OK)),
        Operation::HeadBucket => Err(ErrorCode::NoSuchBucket.into()),
        Operation::CreateBucket if store.create_bucket(bucket) => Ok(answers::empty(StatusCode::OK)),
        Operation::CreateBucket => Err(ErrorCode::BucketAlreadyOwnedByYou.into()),
        Operation::DeleteBucket => match store.remove_bucket(bucket) {
            Some(true) => Ok(answers::empty(StatusCode::NO_CONTENT)),
            Some(false) => Err(ErrorCode::BucketNotEmpty.into()),
            None => Err(ErrorCode::NoSuchBucket.into()),
        },
        Operation::PutObject { .. } => unreachable!("uploads were handled above"),
    }
}

/// Puts what changes the store, or should have, into the run's journal. The status is the one the answer has, even if a
/// fault loses the answer.
fn record(store: &BucketStore, operation: &Operation, target: &Target, outcome: &Outcome, peer: Peer) {
    let verb = match operation {
        Operation::PutObject { .. } => "put",
        Operation::DeleteObject => "delete",
        _ => return,
    };
    let code = match outcome {
        Ok(response) => response.status().as_u16(),
        Err(Failure::Code(code)) => code.status().as_u16(),
        Err(Failure::ConnectionCut) => 0,
    };
    let bytes = store.get(&target.bucket, &target.key).map_or(0, |object| object.bytes.len() as u64);
    host::journal::record(Event::StoreOperation {
        verb: verb.into(),
        key: format!("{}/{}", target.bucket, target.key).into(),
        bytes,
        code,
        client: host::process::name_at(peer.address.ip()).into(),
    });
}

/// The effects one operation meets.
struct Faults {
    effects: Vec<Effect>,
    /// What passes between the effect of the operation and its answer.
    late: Duration,
}

impl Faults {
    fn on(store: &BucketStore, operation: &Operation, target: &Target, peer: Peer) -> Self {
        let key = match operation {
            Operation::ListObjects(list) => &list.prefix,
            _ => &target.key,
        };
        let kind = operation.kind();
        let subject = Subject { kind, bucket: &target.bucket, key, peer: peer.address.ip() };
        let (effects, late) = store.effects_on(&subject);
        Self { effects, late }
    }

    fn has(&self, wanted: impl Fn(&Effect) -> bool) -> bool {
        self.effects.iter().any(wanted)
    }

    fn find<T>(&self, wanted: impl Fn(&Effect) -> Option<T>) -> Option<T> {
        self.effects.iter().find_map(wanted)
    }

    fn refusal(&self) -> Result<(), Failure> {
        match self.find(|effect| if let Effect::Refuse(code) = effect { Some(*code) } else { None }) {
            Some(code) => Err(code.into()),
            None => Ok(()),
        }
    }

    /// Waits for what slowness adds to an operation before it takes effect.
    async fn delay(&self) {
        self.wait(|per_operation, _| per_operation).await;
    }

    /// Waits for the time that slowness adds to this many bytes of an object.
    async fn transfer(&self, bytes: usize) {
        self.wait(|_, bytes_per_second| transfer_time(bytes, bytes_per_second)).await;
    }

    async fn wait(&self, of: impl Fn(Duration, Option<u64>) -> Duration) {
        let slow = |effect: &Effect| match effect {
            Effect::Slow { per_operation, bytes_per_second } => Some(of(*per_operation, *bytes_per_second)),
            _ => None,
        };
        let sum: Duration = self.effects.iter().filter_map(slow).sum();
        if !sum.is_zero() {
            host::time::sleep(sum).await;
        }
    }
}

fn transfer_time(bytes: usize, bytes_per_second: Option<u64>) -> Duration {
    let Some(rate) = bytes_per_second else { return Duration::ZERO };
    let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Operation {
    fn kind(&self) -> OperationKind {
        match self {
            Operation::GetObject { .. } => OperationKind::Get,
            Operation::HeadObject | Operation::HeadBucket => OperationKind::Head,
            Operation::PutObject { .. } => OperationKind::Put,
            Operation::DeleteObject => OperationKind::Delete,
            Operation::ListObjects(_) => OperationKind::List,
            Operation::ListBuckets | Operation::CreateBucket | Operation::DeleteBucket => OperationKind::Bucket,
        }
    }
}
