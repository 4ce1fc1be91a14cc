//! What is over leaves nothing. Alone in its file: it measures the memory of the whole process.

#![cfg(madsim)]

#[path = "it/common/mod.rs"]
mod common;

use std::time::Duration;

use common::*;
use corral_core::{Latency, world};
use corral_net::{Keepalive, LinkProfile, TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One test, so that nothing else allocates meanwhile.
#[test]
fn nothing_is_left() {
    a_million_short_connections_leave_nothing_and_idle_ones_cost_nothing();
    runs_leave_nothing();
}

fn a_million_short_connections_leave_nothing_and_idle_ones_cost_nothing() {
    run(async {
        let cluster = cluster();
        pod(cluster.one, SERVER, "brief", async {
            let listener = TcpListener::bind(server()).unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut byte = [0; 1];
                while stream.read(&mut byte).await.unwrap() > 0 {}
            }
        });
        seconds(0.001).await;
        cluster.net.set_default_link(LinkProfile::of(Latency::fixed(Duration::from_micros(10))));
        let before = resident_bytes();
        for _ in 0..1_000_000 / CHEAPER {
            connect().await.write_all(b"x").await.unwrap();
        }
        seconds(1.0).await;
        assert_eq!(cluster.net.statistics().connections, 0);
        assert_eq!(cluster.net.statistics().bytes_delivered, 1_000_000 / CHEAPER);
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 5 << 20, "grew by {grown} bytes");

        pod(cluster.one, SERVER, "holder", async {
            let listener = TcpListener::bind(([0, 0, 0, 0], PORT + 1).into()).unwrap();
            let mut streams = Vec::new();
            loop {
                streams.push(listener.accept().await.unwrap());
            }
        });
        seconds(0.001).await;
        let mut idle = Vec::new();
        for _ in 0..1000 {
            let stream = TcpStream::connect((SERVER, PORT + 1).into()).await.unwrap();
            stream.set_keepalive(Some(Keepalive::GO));
            idle.push(stream);
        }
        seconds(1.0).await;
        let polls = world().queue().len();
        seconds(86_400.0).await;
        assert!(polls < 3 && world().queue().len() < 3, "{polls}");
        drop(idle);
    });
}

/// Development builds do a tenth.
const CHEAPER: u64 = if cfg!(debug_assertions) { 10 } else { 1 };

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn runs_leave_nothing() {
    let once = || {
        run(async {
            let cluster = cluster();
            let server = echo_server(cluster.one);
            seconds(0.001).await;
            let mut streams = Vec::new();
            for _ in 0..10 {
                let mut stream = connect().await;
                echo(&mut stream, &[1; 10_000]).await.unwrap();
                streams.push(stream);
            }
            // Readers that wait, writers that wait, a partition, and handles that outlive their process.
            let mut waiting = connect().await;
            world().spawn(async move { waiting.read(&mut [0; 1]).await.map(drop) });
            cluster.net.partition(corral_net::PartitionSpec::between(cluster.one, corral_net::Selector::Any));
            world().spawn(async move {
                for stream in &mut streams {
                    stream.write_all(&vec![1; 1_000_000]).await.unwrap();
                }
            });
            seconds(1.0).await;
            world().signal(&server, corral_core::Signal::Kill);
        });
    };
    (0..100).for_each(|_| once());
    let before = resident_bytes();
    (0..1000 / CHEAPER).for_each(|_| once());
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 2 << 20, "grew by {grown} bytes");
}
