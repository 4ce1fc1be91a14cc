//! The data connection: its bytes, its answers, its time-outs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::net::{TcpListener, TcpStream};
use longhorn_replica::Server;
use longhorn_replica::data::{DataClient, Failure, Kind, Message, MessageReader, Processor, SharedTimeouts, serve};
use longhorn_replica::format::{Directory, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::simulated;

fn timeouts() -> Arc<SharedTimeouts> {
    Arc::new(SharedTimeouts::new(Duration::from_secs(8), Duration::from_secs(16)))
}

async fn listen<P: Processor>(processor: Arc<P>) -> SocketAddr {
    let listener = TcpListener::bind((host::net::local_ip(), 0).into()).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    host::spawn(serve(listener, processor));
    address
}

async fn open_server() -> Arc<Server> {
    let server = Arc::new(Server::new(Directory::new("/disk/r"), Options::default()));
    server.create(1 << 20).await.expect("created");
    server.open().await.expect("opened");
    server
}

/// Requests and answers of the real engine's socket, as hexadecimal headers and what followed them.
fn transcript() -> Vec<(Vec<u8>, Vec<u8>)> {
    let text = include_str!("../golden/frontend-socket-transcript.txt");
    let header = |line: &str| hex::decode(line.split(' ').nth(1).expect("a header")).expect("hexadecimal");
    let requests = text.lines().filter(|line| line.starts_with("->")).map(header);
    let answers = text.lines().filter(|line| line.starts_with("<-")).map(header);
    requests.zip(answers).collect()
}

#[test]
fn headers_are_those_of_the_real_one() {
    simulated(|| async {
        let transcript = transcript();
        assert_eq!(transcript.len(), 10);
        for header in transcript.into_iter().flat_map(|(request, answer)| [request, answer]) {
            let length = u32::from_le_bytes(header[22..26].try_into().expect("four bytes")) as usize;
            let bytes = [header.clone(), vec![b'A'; length]].concat();
            let message = MessageReader::new(bytes.as_slice()).read().await.expect("a message");
            assert_eq!(message.data.len(), length);
            assert_eq!(message.header().as_slice(), header);
        }
    });
}

#[test]
fn a_replica_answers_as_the_real_engine_did() {
    simulated(|| async {
        let address = listen(open_server().await).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        // The real engine looks at the volume's size itself: what it refused never came to a replica.
        for (request, answer) in transcript().into_iter().filter(|(_, answer)| answer[6] != 3) {
            let length = u32::from_le_bytes(request[22..26].try_into().expect("four bytes")) as usize;
            stream.write_all(&[request.clone(), vec![b'A'; length]].concat()).await.expect("sent");
            let mut header = [0; 26];
            stream.read_exact(&mut header).await.expect("an answer");
            let length = u32::from_le_bytes(header[22..26].try_into().expect("four bytes")) as usize;
            let mut data = vec![0; length];
            stream.read_exact(&mut data).await.expect("its data");
            assert_eq!(header.as_slice(), answer);
        }
    });
}

#[test]
fn what_is_written_is_read() {
    simulated(|| async {
        let address = listen(open_server().await).await;
        let client = DataClient::connect(address, timeouts()).await.expect("connected");
        client.ping().await.expect("well");
        let writes = (0..100_u32).map(|index| {
            client.begin_write(i64::from(index) * 4096, Bytes::from(vec![index as u8; 4096])).expect("begun")
        });
        for write in writes.collect::<Vec<_>>() {
            assert_eq!(write.wait().await.expect("written"), 4096);
        }
        for index in 0..100 {
            assert_eq!(client.read(index * 4096, 4096).await.expect("read"), vec![index as u8; 4096]);
        }
        let error = client.read(1 << 20, 4096).await.expect_err("beyond the end");
        assert_eq!(error.to_string(), "unexpected EOF");
        client.read(-1, 4096).await.expect_err("before the beginning");
        client.write(i64::MAX, Bytes::from_static(&[1; 10])).await.expect_err("far beyond");
        client.ping().await.expect("still well");
    });
}

#[test]
fn a_closed_replica_fails_pings() {
    simulated(|| async {
        let server = open_server().await;
        let address = listen(Arc::clone(&server)).await;
        let client = DataClient::connect(address, timeouts()).await.expect("connected");
        server.close().await.expect("closed");
        assert_eq!(client.ping().await.expect_err("closed").to_string(), "ping failure: replica state closed");
        assert_eq!(client.read(0, 512).await.expect_err("closed").to_string(), "replica no longer exist");
    });
}

/// Answers nothing but pings.
struct Silent;

impl Processor for Silent {
    async fn read(&self, _: i64, _: u32) -> Result<Bytes, Failure> {
        std::future::pending().await
    }
    async fn write(&self, _: i64, _: Bytes) -> Result<u32, Failure> {
        std::future::pending().await
    }
    async fn unmap(&self, _: i64, _: u32) -> Result<u32, Failure> {
        std::future::pending().await
    }
    async fn ping(&self) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn silence_ends_after_eight_seconds_and_for_the_last_after_sixteen() {
    simulated(|| async {
        let address = listen(Arc::new(Silent)).await;
        let timeouts = timeouts();
        let first = DataClient::connect(address, Arc::clone(&timeouts)).await.expect("connected");
        let last = DataClient::connect(address, timeouts).await.expect("connected");
        let began = host::time::Instant::now();
        assert_eq!(first.read(0, 4096).await.expect_err("silence").to_string(), "r/w timeout");
        assert_eq!(began.elapsed().as_secs(), 8);
        // All that comes later fails at once.
        assert_eq!(first.ping().await.expect_err("failed").to_string(), "r/w timeout");
        last.ping().await.expect("well");
        let began = host::time::Instant::now();
        last.read(0, 4096).await.expect_err("silence");
        assert_eq!(began.elapsed().as_secs(), 16);
    });
}

#[test]
fn garbage_ends_the_connection_and_not_the_server() {
    simulated(|| async {
        let address = listen(open_server().await).await;
        let close = Message { magic: 0, sequence: 0, kind: Kind::CLOSE, offset: 0, size: 0, data: Bytes::new() };
        let mut endless = close.header();
        endless[..2].copy_from_slice(&0x1b01_u16.to_le_bytes());
        endless[22..].copy_from_slice(&u32::MAX.to_le_bytes());
        for garbage in [&b"GET / HTTP/1.1\r\n\r\nand so on and on and on"[..], &close.header(), &endless, &[1]] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(garbage).await.expect("sent");
            stream.shutdown().await.expect("ended");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.is_empty(), "{answer:?}");
        }
        let client = DataClient::connect(address, timeouts()).await.expect("connected");
        client.ping().await.expect("well");
    });
}
