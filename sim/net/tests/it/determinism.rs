//! The same seed is the same run; the network's draws disturb nobody else's.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::common::*;
use corral_core::{MachineState, Signal, world};
use corral_net::{PartitionSpec, Selector, TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A crowd of clients and servers, with faults drawn from the seed.
async fn crowd() -> u64 {
    let cluster = cluster();
    let machines = [cluster.one, cluster.two, world().add_machine("three").id];
    let address = |index: u8| Ipv4Addr::new(10, 0, 0, index);
    let mut processes = Vec::new();
    for index in 1..=12u8 {
        let machine = machines[usize::from(index) % 3];
        processes.push(pod(machine, address(index), &format!("p{index}"), async move {
            let listener = TcpListener::bind(SocketAddr::from((address(index), PORT))).unwrap();
            world().spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    world().spawn(async move {
                        let mut buffer = [0; 3000];
                        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                            if stream.write_all(&buffer[..count]).await.is_err() {
                                break;
                            }
                        }
                    });
                }
            });
            let mut random = world().stream(&format!("p{index}"));
            for _ in 0..20 {
                corral_core::sleep(random.duration(Duration::ZERO, Duration::from_millis(300))).await;
                let peer = SocketAddr::from((address(random.between(1, 12) as u8), PORT));
                let size = random.between(1, 20_000) as usize;
                let talk = async {
                    let mut stream = TcpStream::connect(peer).await?;
                    echo(&mut stream, &vec![index; size]).await
                };
                tokio::select! { biased;
                    _ = talk => {}
                    _ = seconds(2.0) => {}
                }
            }
            std::future::pending::<()>().await;
        }));
    }
    let mut random = world().stream("faults");
    for _ in 0..10 {
        corral_core::sleep(random.duration(Duration::ZERO, Duration::from_millis(500))).await;
        let machine = machines[random.below(3) as usize];
        match random.below(4) {
            0 => {
                cluster.net.partition(PartitionSpec::between(machine, Selector::Any));
            }
            1 => cluster.net.heal_all(),
            2 => world().signal(&processes[random.below(12) as usize], Signal::Kill),
            _ => {
                world().set_machine_state(machine, MachineState::Frozen);
                seconds(0.3).await;
                world().set_machine_state(machine, MachineState::Running);
            }
        }
    }
    seconds(20.0).await;
    cluster.net.statistics().segments_delivered
}

#[test]
fn the_same_seed_is_the_same_run_alone_and_in_company() {
    for seed in 1..=10 {
        let first = run_seed(seed, crowd());
        let second = run_seed(seed, crowd());
        assert_eq!(first.digest, second.digest);
        let (ended_at, delivered) = (first.ended_at, first.unwrap());
        assert_eq!((ended_at, delivered), (second.ended_at, second.unwrap()));
        assert!(delivered > 100, "{delivered}");
    }
    let alone: Vec<_> = (1..=4).map(|seed| run_seed(seed, crowd()).digest).collect();
    let forwards =
        std::thread::Builder::new().spawn(|| (1..=4).map(|seed| run_seed(seed, crowd()).digest).collect::<Vec<_>>());
    let mut backwards: Vec<_> = (1..=4).rev().map(|seed| run_seed(seed, crowd()).digest).collect();
    backwards.reverse();
    assert_eq!(alone, backwards);
    assert_eq!(alone, forwards.unwrap().join().unwrap());
}

#[test]
fn every_delivery_is_in_the_digest() {
    let talk = |bytes: usize| {
        move || async move {
            let cluster = cluster();
            echo_server(cluster.one);
            seconds(0.001).await;
            let mut stream = connect().await;
            stream.write_all(&vec![1; bytes]).await.unwrap();
            seconds(1.0).await;
        }
    };
    let digest = |bytes| run_seed(1, talk(bytes)()).digest;
    assert_eq!(digest(1000), digest(1000));
    assert_ne!(digest(1000), digest(1001));
}

#[test]
fn traffic_elsewhere_does_not_change_a_links_latencies() {
    let arrivals = |company: bool| {
        run(async move {
            let cluster = cluster();
            echo_server(cluster.one);
            let other = Ipv4Addr::new(10, 0, 2, 1);
            pod(cluster.two, other, "other", async move {
                let listener = TcpListener::bind(SocketAddr::from((other, PORT))).unwrap();
                let mut streams = Vec::new();
                loop {
                    streams.push(listener.accept().await.unwrap());
                }
            });
            seconds(0.001).await;
            let mut stream = connect().await;
            seconds(0.1).await;
            let mut took = Vec::new();
            for _ in 0..20 {
                if company {
                    TcpStream::connect(SocketAddr::from((other, PORT))).await.unwrap();
                }
                let began = now();
                echo(&mut stream, b"x").await.unwrap();
                // Each poll of a task takes a random 50 to 100 ns of its own.
                took.push((since(began) * 1e6 / 4.0).round() as i64);
            }
            took
        })
    };
    let (alone, in_company) = (arrivals(false), arrivals(true));
    let close = alone.iter().zip(&in_company).all(|(a, b)| (a - b).abs() <= 1);
    assert!(close, "{alone:?} {in_company:?}");
}
