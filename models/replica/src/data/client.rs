//! The engine's side of a data connection (pkg/dataconn/client.go).
//!
//! Two connections carry requests and answers in any order. Once anything fails (a connection, a time-out, a ping) all
//! that is pending fails, and all that comes later at once.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use host::net::{Keepalive, TcpStream};
use host::time::Instant;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, oneshot};

use crate::data::timeouts::SharedTimeouts;
use crate::data::wire::{Kind, MAGIC, Message, MessageReader, write_message};

/// How many connections a client has.
pub const CONNECTIONS: usize = 2;
/// How often it is looked whether an answer is overdue.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// What an overdue answer is told as.
const TIMEOUT_TEXT: &str = "r/w timeout";

/// A request got no good answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// The peer refused it, or the client has failed; the text says why.
    #[error("{0}")]
    Failed(Arc<str>),
    /// A read went past the end.
    #[error("EOF")]
    Eof,
}

/// A request that waits for its answer.
struct Pending {
    kind: Kind,
    answer: oneshot::Sender<Result<Message, DataError>>,
}

#[derive(Default)]
struct State {
    sequence: u32,
    pending: BTreeMap<u32, Pending>,
    outgoing: VecDeque<Message>,
    /// Reads, writes and unmaps among those pending.
    io_in_flight: usize,
    last_activity: Option<Instant>,
    failure: Option<DataError>,
    /// No longer among those that share the time-outs.
    left: bool,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Something is to be sent, or the client is closed.
    outgoing: Notify,
    timeouts: Arc<SharedTimeouts>,
}

/// A client of a replica, or of an engine's frontend.
pub struct DataClient {
    shared: Arc<Shared>,
    tasks: Vec<host::JoinHandle<()>>,
    peer: SocketAddr,
}

impl std::fmt::Debug for DataClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataClient({})", self.peer)
    }
}

impl DataClient {
    /// Connects to a data server.
    ///
    /// # Errors
    /// As `connect(2)`.
    pub async fn connect(address: SocketAddr, timeouts: Arc<SharedTimeouts>) -> io::Result<DataClient> {
        let mut streams = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(address).await?;
            stream.set_keepalive(Keepalive::GO)?;
            streams.push(stream);
        }
        timeouts.join();
        let shared = Arc::new(Shared { state: Mutex::default(), outgoing: Notify::new(), timeouts });
        let mut tasks = vec![host::spawn(watch(Arc::clone(&shared)))];
        for stream in streams {
            let (reader, writer) = tokio::io::split(stream);
            tasks.push(host::spawn(receive(Arc::clone(&shared), reader)));
            tasks.push(host::spawn(send(Arc::clone(&shared), writer)));
        }
        Ok(DataClient { shared, tasks, peer: address })
    }

    /// Reads so many bytes.
    ///
    /// # Errors
    /// The peer could not, or the client has failed.
    pub async fn read(&self, offset: i64, size: u32) -> Result<Bytes, DataError> {
        let answer = self.request(Kind::READ, Bytes::new(), size, offset)?.await;
        let message = answer.map_err(|_| closed())??;
        if message.data.len() == size as usize {
            return Ok(message.data);
        }
        // What was not sent stays what it was in the caller's buffer: zeros.
        let mut whole = vec![0; size as usize];
        let there = message.data.len().min(whole.len());
        whole[..there].copy_from_slice(&message.data[..there]);
        Ok(whole.into())
    }

    /// Begins a write; the answer says how many bytes the peer wrote. Writes begun one after the other are sent in that
    /// order, but on either connection.
    ///
    /// # Errors
    /// The client has failed.
    pub fn begin_write(&self, offset: i64, data: Bytes) -> Result<Answer, DataError> {
        let size = data.len() as u32;
        self.request(Kind::WRITE, data, size, offset).map(Answer)
    }

    /// Writes.
    ///
    /// # Errors
    /// The peer could not, or the client has failed.
    pub async fn write(&self, offset: i64, data: Bytes) -> Result<u32, DataError> {
        self.begin_write(offset, data)?.wait().await
    }

    /// Frees a range; returns how many bytes that gave.
    ///
    /// # Errors
    /// The peer could not, or the client has failed.
    pub async fn unmap(&self, offset: i64, size: u32) -> Result<u32, DataError> {
        Answer(self.request(Kind::UNMAP, Bytes::new(), size, offset)?).wait().await
    }

    /// Asks whether the peer is well. There is no time-out but that of the connection.
    ///
    /// # Errors
    /// It is not, or the client has failed.
    pub async fn ping(&self) -> Result<(), DataError> {
        Answer(self.request(Kind::PING, Bytes::new(), 0, 0)?).wait().await.map(drop)
    }

    /// Lets everything fail from now on.
    pub fn fail(&self, error: &DataError) {
        self.shared.fail(error.clone());
    }

    /// Closes the connections.
    pub fn close(&self) {
        let mut state = self.shared.state();
        if !state.closed {
            state.closed = true;
            if !std::mem::replace(&mut state.left, true) {
                self.shared.timeouts.leave();
            }
        }
        drop(state);
        self.shared.fail(closed());
        for task in &self.tasks {
            task.abort();
        }
    }

    fn request(
        &self,
        kind: Kind,
        data: Bytes,
        size: u32,
        offset: i64,
    ) -> Result<oneshot::Receiver<Result<Message, DataError>>, DataError> {
        let mut state = self.shared.state();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if kind.is_io() {
            if state.io_in_flight == 0 {
                // Nothing was in flight, so the time-out begins anew.
                state.last_activity = Some(Instant::now());
            }
            state.io_in_flight += 1;
        }
        state.sequence = state.sequence.wrapping_add(1);
        let sequence = state.sequence;
        let (sender, receiver) = oneshot::channel();
        state.pending.insert(sequence, Pending { kind, answer: sender });
        state.outgoing.push_back(Message { magic: MAGIC, sequence, kind, offset, size, data });
        drop(state);
        self.shared.outgoing.notify_one();
        Ok(receiver)
    }
}

impl Drop for DataClient {
    fn drop(&mut self) {
        self.close();
    }
}

/// An answer that is on its way.
#[derive(Debug)]
pub struct Answer(oneshot::Receiver<Result<Message, DataError>>);

impl Answer {
    /// Waits for it; the number of bytes it tells.
    ///
    /// # Errors
    /// The peer could not, or the client has failed.
    pub async fn wait(self) -> Result<u32, DataError> {
        Ok(self.0.await.map_err(|_| closed())??.size)
    }
}

fn closed() -> DataError {
    DataError::Failed("use of closed network connection".into())
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is pending fails, and all that follows.
    fn fail(&self, error: DataError) {
        let mut state = self.state();
        state.io_in_flight = 0;
        state.last_activity = None;
        state.outgoing.clear();
        let pending = std::mem::take(&mut state.pending);
        state.failure = Some(error.clone());
        drop(state);
        for pending in pending.into_values() {
            let _ = pending.answer.send(Err(error.clone()));
        }
    }

    fn answer(&self, message: Message) {
        let mut state = self.state();
        let Some(pending) = state.pending.remove(&message.sequence) else {
            drop(state);
            tracing::warn!(message.sequence, "an answer that nobody waits for");
            return;
        };
        if pending.kind.is_io() {
            state.io_in_flight -= 1;
            state.last_activity = Some(Instant::now());
        }
        drop(state);
        let result = match message.kind {
            Kind::ERROR => Err(DataError::Failed(String::from_utf8_lossy(&message.data).into())),
            Kind::EOF => Err(DataError::Eof),
            // Others count as good upstream, the full disk's included.
            _ => Ok(message),
        };
        let _ = pending.answer.send(result);
    }

    /// Whether an answer is overdue.
    fn is_overdue(&self) -> bool {
        let mut state = self.state();
        let waiting_since = state.last_activity.filter(|_| state.io_in_flight > 0);
        let overdue = waiting_since.is_some_and(|since| self.timeouts.give_up_after(since.elapsed()));
        state.left |= overdue;
        overdue
    }
}

/// Looks every second whether an answer is overdue.
async fn watch(shared: Arc<Shared>) {
    let mut interval = host::time::interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
    loop {
        interval.tick().await;
        if shared.is_overdue() {
            tracing::error!("no answer came in time");
            shared.fail(DataError::Failed(TIMEOUT_TEXT.into()));
            return;
        }
    }
}

async fn receive(shared: Arc<Shared>, stream: ReadHalf<TcpStream>) {
    let mut reader = MessageReader::new(stream);
    loop {
        match reader.read().await {
            Ok(message) => shared.answer(message),
            Err(error) => return shared.fail(DataError::Failed(error.to_string().into())),
        }
    }
}

async fn send(shared: Arc<Shared>, mut stream: WriteHalf<TcpStream>) {
    loop {
        let next = shared.state().outgoing.pop_front();
        match next {
            Some(message) => {
                if let Err(error) = write_message(&mut stream, &message).await {
                    shared.fail(DataError::Failed(crate::error::go_text(&error).into()));
                }
            }
            None => shared.outgoing.notified().await,
        }
    }
}
