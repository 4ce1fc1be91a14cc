//! A healthy connection: order, half-close, back-pressure, and what it costs when nothing happens.

use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;

use crate::common::*;
use corral_core::{Latency, world};
use corral_net::{LinkProfile, TcpListener, TcpStream};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BODY: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 168, 0, 1);

#[test]
fn after_a_half_close_the_other_half_goes_on() {
    run(async {
        let cluster = cluster();
        let process = pod(cluster.one, SERVER, "late", async {
            let listener = TcpListener::bind(server()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            stream.read_to_end(&mut request).await.unwrap();
            assert_eq!(request, b"question");
            seconds(100.0).await;
            stream.write_all(b"answer").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        seconds(0.001).await;
        let mut stream = connect().await;
        stream.write_all(b"question").await.unwrap();
        stream.shutdown().await.unwrap();
        stream.shutdown().await.unwrap();
        assert_kind(stream.write(b"more").await, ErrorKind::BrokenPipe);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        assert_eq!(process.wait().await.code(), 0);
        seconds(0.01).await;
        drop(stream);
        assert_eq!(cluster.net.statistics().connections, 0);
        assert_eq!(cluster.net.statistics().resets, 0);
    });
}

#[test]
fn a_slow_reader_slows_its_writer_and_memory_stays_bounded() {
    run(async {
        let cluster = cluster();
        let process = pod(cluster.one, SERVER, "slow", async {
            let listener = TcpListener::bind(server()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut next = 0u64;
            let mut buffer = vec![0; 40_000];
            while next < 10_000_000 {
                seconds(0.01).await;
                let count = stream.read(&mut buffer).await.unwrap();
                for byte in &buffer[..count] {
                    assert_eq!(*byte, next as u8);
                    next += 1;
                }
            }
        });
        seconds(0.001).await;
        let mut stream = connect().await;
        let began = now();
        let bytes: Vec<u8> = (0..10_000_000u64).map(|byte| byte as u8).collect();
        let mut accepted = 0;
        while accepted < bytes.len() {
            accepted += stream.write(&bytes[accepted..]).await.unwrap();
            // What the reader has taken, and two buffers' worth.
            let settings = cluster.net.settings();
            let taken = (since(began) / 0.01 + 1.0) as usize * 40_000;
            assert!(accepted <= taken + settings.send_buffer_bytes + settings.receive_buffer_bytes);
        }
        assert_eq!(process.wait().await.code(), 0);
        assert_took(began, 2.5, 2.7);
    });
}

#[test]
fn vectored_writes_are_one_segment_and_small_ones_keep_their_order() {
    run(async {
        let cluster = cluster();
        let process = pod(cluster.one, SERVER, "reader", async {
            let listener = TcpListener::bind(server()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            let expected: Vec<u8> = b"onetwothree".iter().copied().chain((0..=255).cycle().take(5000)).collect();
            assert_eq!(all, expected);
        });
        seconds(0.001).await;
        let mut stream = connect().await;
        seconds(0.01).await;
        let before = cluster.net.statistics().segments_delivered;
        let parts = [IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two"), IoSlice::new(b"three")];
        assert_eq!(stream.write_vectored(&parts).await.unwrap(), 11);
        seconds(0.01).await;
        assert_eq!(cluster.net.statistics().segments_delivered, before + 1);
        for byte in (0..=255).cycle().take(5000) {
            stream.write_all(&[byte]).await.unwrap();
        }
        drop(stream);
        assert_eq!(process.wait().await.code(), 0);
    });
}

#[test]
fn latency_is_what_was_set_for_whom() {
    run(async {
        let cluster = cluster();
        echo_server(cluster.one);
        seconds(0.001).await;
        let body = world().machine_named("corral").unwrap().id;
        let fixed = |millis| LinkProfile::of(Latency::fixed(Duration::from_millis(millis)));
        let mut stream = connect().await;
        cluster.net.set_default_link(fixed(10));
        let measure = async |stream: &mut TcpStream| {
            let began = now();
            echo(stream, b"x").await.unwrap();
            (since(began) * 1000.0).round() as u64
        };
        assert_eq!(measure(&mut stream).await, 20);
        cluster.net.set_link(body, cluster.one, fixed(30));
        assert_eq!(measure(&mut stream).await, 40);
        cluster.net.set_link(SERVER, BODY, fixed(50));
        assert_eq!(measure(&mut stream).await, 80);
    });
}

#[test]
fn more_connections_than_ports_are_refused_by_the_own_kernel() {
    run(async {
        let cluster = cluster();
        pod(cluster.one, SERVER, "collector", async {
            let listener = TcpListener::bind(server()).unwrap();
            let mut streams = Vec::new();
            loop {
                streams.push(listener.accept().await.unwrap());
            }
        });
        seconds(0.001).await;
        let mut streams = Vec::new();
        for _ in 0..61_000 - 32_768 {
            streams.push(connect().await);
        }
        assert_kind(TcpStream::connect(server()).await, ErrorKind::AddrNotAvailable);
        assert_kind(TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], 0))).map(drop), ErrorKind::AddrNotAvailable);
        streams.truncate(100);
        seconds(0.1).await;
    });
}
