//! Volumes over the network: what NVMe over TCP is to SPDK, in a protocol of our own (one request after another on a connection).
//!
//! A server exposes one volume at one port; whoever connects is told its name and size. A client that loses its connection tries again every two
//! seconds for fifteen, then gives the volume up for good (`replicaReconnectDelaySec`, `replicaCtrlrLossTimeoutSec`); a server that does not
//! answer within ten seconds is lost too (`replicaKeepAliveTimeoutMs`). Requests that wait longer than ten seconds fail
//! (`replicaFastIOFailTimeoutSec`).
//!
//! On the wire, little endian. Greeting: mark (8), size (8), length of the name (2), name. Request: operation (1: 0 keep-alive, 1 read, 2 write,
//! 3 flush), offset (8), length (4), for a write the data. Answer: 0 or an error (1), length (4), data or the error's text.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host::JoinHandle;
use host::net::{TcpListener, TcpStream};
use host::time::{Instant, sleep, timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

const MARK: &[u8; 8] = b"CORRALVF";
const RECONNECT_DELAY: Duration = Duration::from_secs(2);
const LOSS_TIMEOUT: Duration = Duration::from_secs(15);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// The most that one request carries.
const LENGTH_LIMIT: u32 = 4 << 20;

/// What is asked of a volume.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    KeepAlive,
    Read { offset: u64, length: u32 },
    Write { offset: u64, data: Vec<u8> },
    Flush,
}

/// A volume that can be exposed.
pub(super) trait Exported: Send + Sync + 'static {
    /// Its size, in bytes.
    fn bytes(&self) -> u64;
    /// Does what is asked; data for a read.
    fn run(&self, operation: Operation) -> impl Future<Output = io::Result<Vec<u8>>> + Send;
}

/// A volume that is exposed, as long as this lives.
pub(super) struct Exposure {
    listener: JoinHandle<()>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Drop for Exposure {
    fn drop(&mut self) {
        self.listener.abort();
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(JoinHandle::abort);
    }
}

/// Exposes a volume under a name.
pub(super) async fn expose(volume: Arc<impl Exported>, name: &str, address: SocketAddr) -> io::Result<Exposure> {
    let listener = TcpListener::bind(address).await?;
    let connections = Arc::new(Mutex::new(Vec::new()));
    let (open, name) = (connections.clone(), name.to_owned());
    let listener = host::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (volume, name) = (volume.clone(), name.clone());
            // Its peer's trouble is its own.
            let connection = host::spawn(async move { serve(stream, &*volume, &name).await.unwrap_or_default() });
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|connection: &JoinHandle<()>| !connection.is_finished());
            open.push(connection);
        }
    });
    Ok(Exposure { listener, connections })
}

async fn serve(mut stream: TcpStream, volume: &impl Exported, name: &str) -> io::Result<()> {
    let mut greeting = MARK.to_vec();
    greeting.extend_from_slice(&volume.bytes().to_le_bytes());
    greeting.extend_from_slice(&u16::try_from(name.len()).map_err(io::Error::other)?.to_le_bytes());
    greeting.extend_from_slice(name.as_bytes());
    stream.write_all(&greeting).await?;
    loop {
        let operation = read_request(&mut stream).await?;
        let (status, body) = match volume.run(operation).await {
            Ok(data) => (0, data),
            Err(error) => (1, error.to_string().into_bytes()),
        };
        let mut answer = vec![status];
        answer.extend_from_slice(&(body.len() as u32).to_le_bytes());
        answer.extend_from_slice(&body);
        stream.write_all(&answer).await?;
    }
}

async fn read_request(stream: &mut TcpStream) -> io::Result<Operation> {
    let garbage = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = stream.read_u8().await?;
    let (offset, length) = (stream.read_u64_le().await?, stream.read_u32_le().await?);
    if length > LENGTH_LIMIT {
        return Err(garbage());
    }
    Ok(match kind {
        0 => Operation::KeepAlive,
        1 => Operation::Read { offset, length },
        2 => {
            let mut data = vec![0; length as usize];
            stream.read_exact(&mut data).await?;
            Operation::Write { offset, data }
        }
        3 => Operation::Flush,
        _ => return Err(garbage()),
    })
}

async fn write_request(stream: &mut TcpStream, operation: &Operation) -> io::Result<()> {
    let (kind, offset, length, data): (u8, u64, u32, &[u8]) = match operation {
        Operation::KeepAlive => (0, 0, 0, &[]),
        Operation::Read { offset, length } => (1, *offset, *length, &[]),
        Operation::Write { offset, data } => (2, *offset, u32::try_from(data.len()).map_err(io::Error::other)?, data),
        Operation::Flush => (3, 0, 0, &[]),
    };
    let mut request = vec![kind];
    request.extend_from_slice(&offset.to_le_bytes());
    request.extend_from_slice(&length.to_le_bytes());
    request.extend_from_slice(data);
    stream.write_all(&request).await
}

async fn read_answer(stream: &mut TcpStream) -> io::Result<io::Result<Vec<u8>>> {
    let status = stream.read_u8().await?;
    let length = stream.read_u32_le().await?;
    if length > LENGTH_LIMIT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await?;
    Ok(match status {
        0 => Ok(body),
        _ => Err(io::Error::other(String::from_utf8_lossy(&body).into_owned())),
    })
}

struct Request {
    operation: Operation,
    answer: oneshot::Sender<io::Result<Vec<u8>>>,
}

/// A volume that somebody else exposes.
pub struct RemoteVolume {
    name: String,
    bytes: u64,
    requests: mpsc::Sender<Request>,
    task: JoinHandle<()>,
}

impl Drop for RemoteVolume {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RemoteVolume {
    /// Connects to what is exposed at an address.
    ///
    /// # Errors
    /// Nobody answers there, or not in this protocol.
    pub async fn connect(address: SocketAddr) -> io::Result<RemoteVolume> {
        let (stream, name, bytes) = timeout(ANSWER_TIMEOUT, dial(address)).await.map_err(timed_out)??;
        let (requests, asked) = mpsc::channel(64);
        let task = host::spawn(keep(stream, address, name.clone(), bytes, asked));
        Ok(RemoteVolume { name, bytes, requests, task })
    }

    /// The name that it is exposed under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its size, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it has not been given up.
    pub fn is_there(&self) -> bool {
        !self.requests.is_closed()
    }

    pub(super) async fn run(&self, operation: Operation) -> io::Result<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        let lost = || io::Error::from(io::ErrorKind::NotConnected);
        self.requests.send(Request { operation, answer }).await.map_err(|_| lost())?;
        timeout(ANSWER_TIMEOUT, answered).await.map_err(timed_out)?.map_err(|_| lost())?
    }

    /// Reads a stretch.
    ///
    /// # Errors
    /// Not reached in time; beyond its end; what the other side says.
    pub async fn read(&self, offset: u64, length: u32) -> io::Result<Vec<u8>> {
        self.run(Operation::Read { offset, length }).await
    }

    /// Writes a stretch.
    ///
    /// # Errors
    /// As for reading.
    pub async fn write(&self, offset: u64, data: Vec<u8>) -> io::Result<()> {
        self.run(Operation::Write { offset, data }).await.map(drop)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// As for reading.
    pub async fn flush(&self) -> io::Result<()> {
        self.run(Operation::Flush).await.map(drop)
    }
}

fn timed_out(_: host::time::Elapsed) -> io::Error {
    io::ErrorKind::TimedOut.into()
}

async fn dial(address: SocketAddr) -> io::Result<(TcpStream, String, u64)> {
    let mut stream = TcpStream::connect(address).await?;
    let mut mark = [0; 8];
    stream.read_exact(&mut mark).await?;
    if &mark != MARK {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let bytes = stream.read_u64_le().await?;
    let mut name = vec![0; usize::from(stream.read_u16_le().await?)];
    stream.read_exact(&mut name).await?;
    Ok((stream, String::from_utf8_lossy(&name).into_owned(), bytes))
}

/// Keeps a connection, and makes another when it breaks; ends, and so gives the volume up, when it has been without one for too long.
async fn keep(
    mut stream: TcpStream,
    address: SocketAddr,
    name: String,
    bytes: u64,
    mut asked: mpsc::Receiver<Request>,
) {
    let mut unanswered = None;
    loop {
        if use_connection(&mut stream, &mut asked, &mut unanswered).await.is_ok() {
            return;
        }
        let lost_at = Instant::now();
        stream = loop {
            let dialled = timeout(RECONNECT_DELAY, dial(address)).await;
            match dialled {
                Ok(Ok((stream, same, size))) if same == name && size == bytes => break stream,
                _ if lost_at.elapsed() >= LOSS_TIMEOUT => return,
                _ => sleep(RECONNECT_DELAY).await,
            }
        };
    }
}

/// Runs requests until the connection breaks; ends well when nobody asks any more.
async fn use_connection(
    stream: &mut TcpStream,
    asked: &mut mpsc::Receiver<Request>,
    unanswered: &mut Option<Request>,
) -> io::Result<()> {
    loop {
        let request = match unanswered.take() {
            Some(request) => Some(request),
            None => match timeout(KEEP_ALIVE_INTERVAL, asked.recv()).await {
                Ok(Some(request)) => Some(request),
                Ok(None) => return Ok(()),
                Err(_) => None,
            },
        };
        let operation = request.as_ref().map_or(Operation::KeepAlive, |request| request.operation.clone());
        let exchange = async {
            write_request(stream, &operation).await?;
            read_answer(stream).await
        };
        match timeout(ANSWER_TIMEOUT, exchange).await.map_err(timed_out).flatten() {
            Ok(answer) => {
                if let Some(request) = request {
                    // Who asked may have stopped waiting.
                    let _ = request.answer.send(answer);
                }
            }
            Err(error) => {
                // It is asked again over the next connection, unless nobody waits for it any more.
                *unanswered = request.filter(|request| !request.answer.is_closed());
                return Err(error);
            }
        }
    }
}
