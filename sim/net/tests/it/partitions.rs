//! Partitions and degraded links, on connections that are established.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::common::*;
use corral_core::{Latency, world};
use corral_net::{DegradationSpec, LinkProfile, PartitionSpec, Ports, Selector, TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn heal_after(cluster: &Cluster, cut: corral_net::PartitionId, after: f64) {
    let net = cluster.net.clone();
    world().queue().run_at(now() + Duration::from_secs_f64(after), move || assert!(net.heal(cut)));
}

#[test]
fn an_echo_across_a_partition_comes_with_the_next_retransmission() {
    run(async {
        let cluster = cluster();
        echo_server(cluster.one);
        seconds(0.001).await;
        let mut stream = connect().await;
        let specs = [
            PartitionSpec::between(cluster.one, Selector::Any),
            PartitionSpec::between(SERVER, Ipv4Addr::new(192, 168, 0, 1)),
            PartitionSpec::one_way(Selector::Any, cluster.one),
            PartitionSpec::one_way(SERVER, Selector::Any),
            PartitionSpec::between(Selector::Any, Selector::Any).port(PORT),
        ];
        for spec in specs {
            let cut = cluster.net.partition(spec.clone());
            let began = now();
            heal_after(&cluster, cut, 10.0);
            echo(&mut stream, b"through").await.unwrap();
            let took = since(began);
            assert!((12.6..12.62).contains(&took), "{spec:?}: {took}");
        }
        let elsewhere = [
            PartitionSpec::between(cluster.two, Selector::Any),
            PartitionSpec::between(SERVER, cluster.two),
            PartitionSpec::between(Selector::Any, Selector::Any).port(PORT + 1),
            PartitionSpec::between(cluster.one, cluster.one),
            PartitionSpec {
                ports: Some(Ports::Set(BTreeSet::from([1, 2]))),
                ..PartitionSpec::between(cluster.one, Selector::Any)
            },
        ];
        for spec in elsewhere {
            cluster.net.partition(spec.clone());
            let began = now();
            echo(&mut stream, b"past").await.unwrap();
            assert!(since(began) < 0.02, "{spec:?}");
        }
        cluster.net.partition(PartitionSpec::between(SERVER, Selector::Any));
        cluster.net.heal_all();
        echo(&mut stream, b"healed").await.unwrap();
    });
}

#[test]
fn in_a_long_partition_both_ends_time_out_and_say_nothing() {
    run(async {
        let cluster = cluster();
        pod(cluster.one, SERVER, "talker", async {
            let listener = TcpListener::bind(server()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            seconds(10.0).await;
            stream.write_all(b"news").await.unwrap();
            assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::TimedOut);
            world().record(corral_core::journal::Event::Note { text: "server timed out".into() });
            seconds(10_000.0).await;
        });
        seconds(0.001).await;
        let mut stream = connect().await;
        seconds(1.0).await;
        let cut = cluster.net.partition(PartitionSpec::between(cluster.one, Selector::Any));
        // The server gives up at 10 + 925 s; this end hears of it when it writes.
        heal_after(&cluster, cut, 1000.0);
        let mut byte = [0; 1];
        tokio::select! { biased;
            _ = stream.read(&mut byte) => panic!("silence expected"),
            _ = seconds(5000.0) => {}
        }
        let began = now();
        stream.write_all(b"x").await.unwrap();
        assert_kind(stream.read(&mut byte).await, ErrorKind::ConnectionReset);
        assert_took(began, 0.0004, 0.01);
    });
}

#[test]
fn one_way_cut_the_request_arrives_and_both_ends_time_out() {
    run(async {
        let cluster = cluster();
        let process = pod(cluster.one, SERVER, "server", async {
            let listener = TcpListener::bind(server()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let began = now();
            // Requests go on arriving while their acknowledgements do not come back.
            let mut request = [0; 14];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"requestrequest");
            assert_took(began, 1.99, 2.01);
            let began = now();
            stream.write_all(b"answer").await.unwrap();
            assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::TimedOut);
            assert_took(began, 924.6, 924.7);
        });
        seconds(0.001).await;
        let mut stream = connect().await;
        seconds(1.0).await;
        cluster.net.partition(PartitionSpec::one_way(SERVER, Selector::Any));
        let began = now();
        stream.write_all(b"request").await.unwrap();
        seconds(1.0).await;
        stream.write_all(b"request").await.unwrap();
        assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::TimedOut);
        assert_took(began, 924.6, 924.7);
        assert_eq!(process.wait().await.code(), 0);
    });
}

#[test]
fn a_partition_from_everybody_leaves_a_machine_whole_and_loopback_is_never_cut() {
    run(async {
        let cluster = cluster();
        echo_server(cluster.one);
        let neighbour = pod(cluster.one, Ipv4Addr::new(10, 0, 1, 2), "neighbour", async {
            seconds(0.001).await;
            let net = corral_net::Net::of(&world());
            let mut stream = connect().await;
            let one = world().machine_named("one").unwrap().id;
            for spec in
                [PartitionSpec::between(one, Selector::Any), PartitionSpec::between(Selector::Any, Selector::Any)]
            {
                let cut = net.partition(spec);
                let began = now();
                echo(&mut stream, b"near").await.unwrap();
                assert_took(began, 0.0, 0.01);
                net.heal(cut);
            }
            for spec in [PartitionSpec::between(one, one), PartitionSpec::between(SERVER, Selector::Any)] {
                let cut = net.partition(spec);
                let answer = tokio::select! { biased;
                    _ = echo(&mut stream, b"cut") => true,
                    _ = seconds(1.0) => false,
                };
                assert!(!answer);
                net.heal(cut);
                stream = connect().await;
            }
            // Within the pod.
            net.partition(PartitionSpec::between(Ipv4Addr::new(10, 0, 1, 2), Selector::Any));
            let listener = TcpListener::bind(([0, 0, 0, 0], 80).into()).unwrap();
            for host in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 1, 2)] {
                let began = now();
                let (_, stream) = tokio::join!(listener.accept(), TcpStream::connect(SocketAddr::from((host, 80))));
                stream.unwrap();
                assert_took(began, 0.0, 0.001);
            }
        });
        assert_eq!(neighbour.wait().await.code(), 0);
    });
}

#[test]
fn a_handshake_whose_third_packet_is_lost_completes_or_is_forgotten() {
    run(async {
        let cluster = cluster();
        let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let accepted = count.clone();
        pod(cluster.one, SERVER, "counter", async move {
            let listener = TcpListener::bind(server()).unwrap();
            let mut streams = Vec::new();
            loop {
                streams.push(listener.accept().await.unwrap());
                accepted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        let accepted = || count.load(std::sync::atomic::Ordering::Relaxed);
        seconds(0.001).await;
        // Cut between SYN-ACK and the third packet.
        let mut first = connect().await;
        let cut = cluster.net.partition(PartitionSpec::between(cluster.one, Selector::Any));
        heal_after(&cluster, cut, 5.0);
        seconds(6.9).await;
        assert_eq!(accepted(), 0);
        seconds(0.2).await;
        assert_eq!(accepted(), 1, "completed by the repeated SYN-ACK after 7 s");
        first.write_all(b"x").await.unwrap();

        let mut second = connect().await;
        let cut = cluster.net.partition(PartitionSpec::between(cluster.one, Selector::Any));
        heal_after(&cluster, cut, 100.0);
        seconds(200.0).await;
        assert_eq!(accepted(), 1);
        second.write_all(b"x").await.unwrap();
        assert_kind(second.read(&mut [0; 1]).await, ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_degraded_link_is_slow_and_lossy_until_it_is_restored() {
    run(async {
        let cluster = cluster();
        echo_server(cluster.one);
        seconds(0.001).await;
        let mut stream = connect().await;
        let slow = |loss| DegradationSpec {
            scope: PartitionSpec::between(cluster.one, Selector::Any),
            extra_latency: Latency::fixed(Duration::from_millis(100)),
            loss,
            bandwidth_bytes_per_second: None,
        };
        let id = cluster.net.degrade(slow((0, 1)));
        let began = now();
        echo(&mut stream, b"slow").await.unwrap();
        assert_took(began, 0.2, 0.21);
        assert!(cluster.net.restore(id));
        let id = cluster.net.degrade(slow((1, 2)));
        let began = now();
        for _ in 0..50 {
            echo(&mut stream, b"lossy").await.unwrap();
        }
        let took = since(began);
        assert!(took > 15.0, "losses cost time-outs: {took}");
        assert!(cluster.net.restore(id));
        let began = now();
        echo(&mut stream, b"fast").await.unwrap();
        assert_took(began, 0.0, 0.01);
        // Everything lost is as good as a partition.
        cluster.net.degrade(slow((1, 1)));
        stream.write_all(b"x").await.unwrap();
        assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::TimedOut);
    });
}

#[test]
fn bandwidth_is_shared_and_loss_in_a_stream_costs_round_trips_not_time_outs() {
    run(async {
        let cluster = cluster();
        cluster.net.add_address(SERVER, cluster.one);
        let profile = LinkProfile { bandwidth_bytes_per_second: Some(10_000_000), ..LinkProfile::BETWEEN_MACHINES };
        let body = Ipv4Addr::new(192, 168, 0, 1);
        cluster.net.set_link(body, SERVER, profile);
        pod(cluster.one, SERVER, "sink", async {
            let listener = TcpListener::bind(server()).unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                world().spawn(async move {
                    let mut sink = vec![0; 1 << 20];
                    while stream.read(&mut sink).await.unwrap() > 0 {}
                    stream.write_all(b"done").await.unwrap();
                });
            }
        });
        seconds(0.001).await;
        let upload = || async {
            let mut stream = connect().await;
            for _ in 0..100 {
                stream.write_all(&[0; 50_000]).await.unwrap();
            }
            stream.shutdown().await.unwrap();
            stream.read_exact(&mut [0; 4]).await.unwrap();
        };
        let began = now();
        tokio::join!(upload(), upload());
        assert_took(began, 1.0, 1.1);
        cluster.net.set_link(body, SERVER, LinkProfile { loss: (1, 200), ..LinkProfile::BETWEEN_MACHINES });
        let began = now();
        upload().await;
        assert_took(began, 0.005, 1.0);
        assert!(cluster.net.statistics().retransmissions > 3, "{:?}", cluster.net.statistics());
    });
}
