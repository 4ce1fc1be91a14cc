//! TCP: order, end of file, refusal, reset, half-close, back-pressure.

use std::io::ErrorKind;
use std::time::Duration;

use host::net::{TcpListener, TcpStream};
use host::time::{sleep, timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

parity!(
    bytes_arrive_in_order,
    a_closed_port_refuses,
    a_dropped_peer_is_end_of_file,
    writing_to_a_dropped_peer_ends_in_an_error,
    unread_data_at_the_end_is_a_reset,
    one_direction_can_be_closed_alone,
    a_reader_that_does_not_read_stops_its_writer,
    a_port_can_be_taken_once,
    names_resolve_or_not,
);

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (server, peer) = server.unwrap();
    let client = client.unwrap();
    assert_eq!(client.local_addr().unwrap(), peer);
    assert_eq!(client.peer_addr().unwrap(), address);
    (client, server)
}

async fn bytes_arrive_in_order(_folder: String) {
    let (mut client, mut server) = pair().await;
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| ((number * 31) >> 3) as u8).collect();
    let expected = sent.clone();
    let writer = host::spawn(async move {
        for piece in sent.chunks(7919) {
            client.write_all(piece).await.unwrap();
        }
        client.shutdown().await.unwrap();
        client
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert!(received == expected);
    writer.await.unwrap();
}

async fn a_closed_port_refuses(_folder: String) {
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

async fn a_dropped_peer_is_end_of_file(_folder: String) {
    let (mut client, server) = pair().await;
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}

async fn writing_to_a_dropped_peer_ends_in_an_error(_folder: String) {
    let (mut client, server) = pair().await;
    drop(server);
    sleep(Duration::from_millis(20)).await;
    client.write_all(b"one").await.unwrap();
    sleep(Duration::from_millis(20)).await;
    let error = client.write_all(b"two").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error:?}");
}

async fn unread_data_at_the_end_is_a_reset(_folder: String) {
    let (mut client, server) = pair().await;
    client.write_all(b"nobody reads this").await.unwrap();
    sleep(Duration::from_millis(20)).await;
    drop(server);
    let error = client.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn one_direction_can_be_closed_alone(_folder: String) {
    let (mut client, mut server) = pair().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = Vec::new();
    server.read_to_end(&mut question).await.unwrap();
    server.write_all(b"answer").await.unwrap();
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!((question.as_slice(), answer.as_slice()), (b"question".as_slice(), b"answer".as_slice()));
}

async fn a_reader_that_does_not_read_stops_its_writer(_folder: String) {
    let (mut client, mut server) = pair().await;
    let piece = vec![7; 1 << 20];
    // How much fits into the buffers is the kernel's affair (Linux grows them to some MiB, the simulation has fixed ones): that it ends is not.
    let mut written = 0;
    while let Ok(result) = timeout(Duration::from_millis(200), client.write(&piece)).await {
        written += result.unwrap();
        assert!(written < 64 << 20, "no end of the buffers");
    }
    let mut read = 0;
    let mut buffer = vec![0; 1 << 16];
    while read < written {
        read += server.read(&mut buffer).await.unwrap();
    }
    timeout(Duration::from_secs(5), client.write_all(b"more")).await.expect("there is room again").unwrap();
}

async fn a_port_can_be_taken_once(_folder: String) {
    let first = TcpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let taken = TcpListener::bind(first.local_addr().unwrap()).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
}

async fn names_resolve_or_not(_folder: String) {
    assert_eq!(host::net::lookup("127.0.0.1:80").await.unwrap(), ["127.0.0.1:80".parse().unwrap()]);
    // The resolver of a machine without network refuses in its own words; that it refuses is what counts.
    assert!(host::net::lookup("no-such-name.invalid:80").await.is_err());
}
