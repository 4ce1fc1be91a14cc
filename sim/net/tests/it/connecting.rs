//! New connections: accepted, refused, given up, queued, and where they may listen.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::common::*;
use corral_core::{MachineState, Signal, world};
use corral_net::{PartitionSpec, Selector, TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn a_connection_carries_bytes_both_ways() {
    run(async {
        let cluster = cluster();
        echo_server(cluster.one);
        seconds(0.001).await;
        let began = now();
        let mut stream = connect().await;
        assert_took(began, 0.0004, 0.02);
        assert_eq!(stream.peer_addr().unwrap(), server());
        assert_eq!(stream.local_addr().unwrap().ip(), Ipv4Addr::new(192, 168, 0, 1));
        echo(&mut stream, b"hello").await.unwrap();
        echo(&mut stream, &vec![7; 1 << 20]).await.unwrap();
    });
}

#[test]
fn a_closed_port_refuses_at_once() {
    run(async {
        let cluster = cluster();
        echo_server(cluster.one);
        seconds(0.001).await;
        let began = now();
        assert_kind(TcpStream::connect(SocketAddr::from((SERVER, 1))).await, ErrorKind::ConnectionRefused);
        assert_took(began, 0.0004, 0.02);
        assert_eq!(cluster.net.statistics().connections, 0);
    });
}

#[test]
fn an_address_that_nobody_has_is_no_host_after_three_seconds() {
    run(async {
        let began = now();
        assert_kind(TcpStream::connect(server()).await, ErrorKind::HostUnreachable);
        assert_took(began, 3.0, 3.01);
    });
}

#[test]
fn a_syn_into_a_partition_times_out_or_comes_late() {
    run(async {
        let cluster = cluster();
        echo_server(cluster.one);
        seconds(0.001).await;
        let cut = cluster.net.partition(PartitionSpec::between(cluster.one, Selector::Any));
        let began = now();
        assert_kind(TcpStream::connect(server()).await, ErrorKind::TimedOut);
        assert_took(began, 127.0, 127.01);
        let net = cluster.net.clone();
        let began = now();
        world().queue().run_at(now() + Duration::from_secs(10), move || assert!(net.heal(cut)));
        let mut stream = connect().await;
        // SYNs after 1, 3, 7 and 15 s.
        assert_took(began, 15.0, 15.01);
        echo(&mut stream, b"x").await.unwrap();
        assert_eq!(cluster.net.statistics().connections, 2 - 1);
    });
}

#[test]
fn a_machine_that_is_off_or_frozen_is_silent() {
    run(async {
        let cluster = cluster();
        echo_server(cluster.one);
        seconds(0.001).await;
        world().set_machine_state(cluster.one, MachineState::Frozen);
        let began = now();
        let late = world().spawn(TcpStream::connect(server()));
        seconds(5.0).await;
        world().set_machine_state(cluster.one, MachineState::Running);
        late.await.unwrap().unwrap();
        assert_took(began, 7.0, 7.01);
        world().set_machine_state(cluster.one, MachineState::Off);
        let began = now();
        assert_kind(TcpStream::connect(server()).await, ErrorKind::TimedOut);
        assert_took(began, 127.0, 127.01);
        // Back again, nobody listens.
        world().set_machine_state(cluster.one, MachineState::Running);
        assert_kind(TcpStream::connect(server()).await, ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_stopped_process_still_completes_handshakes() {
    run(async {
        let cluster = cluster();
        let process = echo_server(cluster.one);
        seconds(0.001).await;
        world().signal(&process, Signal::Stop);
        let mut stream = connect().await;
        stream.write_all(b"later").await.unwrap();
        seconds(5.0).await;
        world().signal(&process, Signal::Continue);
        let began = now();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_took(began, 0.0, 0.02);
        assert_eq!(cluster.net.statistics().retransmissions, 0);
    });
}

#[test]
fn a_full_queue_drops_syns() {
    run(async {
        let cluster = cluster();
        let process = pod(cluster.one, SERVER, "lazy", async {
            let listener = TcpListener::bind(server()).unwrap();
            listener.set_backlog(2);
            seconds(2.0).await;
            let mut streams = Vec::new();
            loop {
                streams.push(listener.accept().await.unwrap());
            }
        });
        seconds(0.001).await;
        let began = now();
        let (_first, _second) = (connect().await, connect().await);
        assert_took(began, 0.0, 0.02);
        let _third = connect().await;
        assert_took(began, 3.0, 3.02);
        assert_eq!(cluster.net.statistics().overflows, 2);
        world().signal(&process, Signal::Kill);
    });
}

#[test]
fn whoever_waited_in_the_queue_of_a_dead_listener_is_reset() {
    run(async {
        let cluster = cluster();
        let process = pod(cluster.one, SERVER, "lazy", async {
            let _listener = TcpListener::bind(server()).unwrap();
            std::future::pending::<()>().await;
        });
        seconds(0.001).await;
        let mut stream = connect().await;
        seconds(0.01).await;
        world().signal(&process, Signal::Kill);
        assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::ConnectionReset);
        assert_kind(stream.write(b"x").await, ErrorKind::BrokenPipe);
        assert_kind(TcpStream::connect(server()).await, ErrorKind::ConnectionRefused);
        drop(stream);
        assert_eq!(cluster.net.statistics().connections, 0);
    });
}

#[test]
fn an_abandoned_attempt_leaves_nothing() {
    run(async {
        let cluster = cluster();
        echo_server(cluster.one);
        seconds(0.001).await;
        for wait in [0, 100, 250, 400, 800, 1200] {
            tokio::select! { biased;
                _ = corral_core::sleep(Duration::from_micros(wait)) => {}
                _ = TcpStream::connect(server()) => {}
            }
            seconds(0.1).await;
            assert_eq!(cluster.net.statistics().connections, 0, "after {wait} us");
        }
        let _cut = cluster.net.partition(PartitionSpec::between(SERVER, Selector::Any));
        tokio::select! { biased;
            _ = seconds(5.0) => {}
            _ = TcpStream::connect(server()) => unreachable!(),
        }
        assert_eq!(cluster.net.statistics().connections, 0);
    });
}

#[test]
fn ports_belong_to_a_pod_and_loopback_stays_in_it() {
    run(async {
        let cluster = cluster();
        // Two processes of one pod share its ports.
        let first = echo_server(cluster.one);
        seconds(0.001).await;
        let second = pod(cluster.one, SERVER, "second", async {
            assert_kind(TcpListener::bind(server()).map(drop), ErrorKind::AddrInUse);
            assert_kind(TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], PORT))).map(drop), ErrorKind::AddrInUse);
            assert_kind(TcpListener::bind(SocketAddr::from(([10, 9, 9, 9], 1))).map(drop), ErrorKind::AddrNotAvailable);
            // Bound to the pod's address only, it is not on loopback, which can be bound beside it.
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
            assert_kind(TcpStream::connect(local).await, ErrorKind::ConnectionRefused);
            let listener = TcpListener::bind(local).unwrap();
            let began = now();
            let (accepted, stream) = tokio::join!(listener.accept(), TcpStream::connect(local));
            assert_took(began, 0.000_008, 0.001);
            assert_eq!(stream.unwrap().peer_addr().unwrap(), local);
            assert_eq!(accepted.unwrap().1.ip(), Ipv4Addr::LOCALHOST);
            let any = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap();
            assert!((32768..61000).contains(&any.local_addr().unwrap().port()));
        });
        assert_eq!(second.wait().await.code(), 0);
        // Another pod of the machine has ports of its own, and no way to the first one's loopback.
        let other = pod(cluster.one, Ipv4Addr::new(10, 0, 1, 2), "other", async {
            let began = now();
            let mut stream = connect().await;
            echo(&mut stream, b"neighbour").await.unwrap();
            assert_took(began, 0.000_030, 0.002);
            TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], PORT))).unwrap();
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
            assert_kind(TcpStream::connect(local).await, ErrorKind::ConnectionRefused);
        });
        assert_eq!(other.wait().await.code(), 0);
        // The next process of the pod may listen at once, though connections of the first one linger.
        let _stream = connect().await;
        world().signal(&first, Signal::Kill);
        echo_server(cluster.one);
        seconds(0.001).await;
        echo(&mut connect().await, b"again").await.unwrap();
    });
}
