//! Names and virtual service addresses.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::common::*;
use corral_core::world;
use corral_net::{PartitionSpec, Selector, TcpListener, TcpStream, lookup};
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

#[test]
fn a_name_gives_its_addresses_in_some_order() {
    run(async {
        let cluster = cluster();
        let addresses: Vec<Ipv4Addr> = (1..=3).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
        cluster.net.set_name("backend", addresses.clone());
        let began = now();
        let mut orders = BTreeMap::new();
        for _ in 0..100 {
            let answer = lookup("backend", 80).await.unwrap();
            *orders.entry(answer.clone()).or_insert(0) += 1;
            let mut sorted: Vec<_> = answer.into_iter().map(|address| (address.ip(), address.port())).collect();
            sorted.sort();
            let expected: Vec<_> = addresses.iter().map(|address| ((*address).into(), 80)).collect();
            assert_eq!(sorted, expected);
        }
        assert_eq!(orders.len(), 6);
        assert_took(began, 0.03, 0.3);
        let began = now();
        assert_eq!(lookup("10.1.2.3", 1).await.unwrap(), [SocketAddr::from(([10, 1, 2, 3], 1))]);
        assert_eq!(lookup("localhost", 1).await.unwrap(), [SocketAddr::from(([127, 0, 0, 1], 1))]);
        assert_took(began, 0.0, 0.000_001);
        assert_kind(lookup("nobody", 1).await, ErrorKind::NotFound);
        cluster.net.remove_name("backend");
        assert_kind(lookup("backend", 1).await, ErrorKind::NotFound);
    });
}

#[test]
fn without_name_servers_a_lookup_hangs_for_ten_seconds() {
    run(async {
        let cluster = cluster();
        let body = world().machine_named("corral").unwrap().id;
        cluster.net.set_name("backend", vec![SERVER]);
        cluster.net.set_names_available(cluster.one, false);
        lookup("backend", 1).await.unwrap();
        cluster.net.set_names_available(body, false);
        let began = now();
        assert_kind(lookup("backend", 1).await, ErrorKind::TimedOut);
        assert_took(began, 10.0, 10.01);
        lookup("10.0.0.1", 1).await.unwrap();
        cluster.net.set_names_available(body, true);
        lookup("backend", 1).await.unwrap();
    });
}

#[test]
fn who_is_cut_off_from_the_name_server_looks_up_nothing_until_it_is_not() {
    run(async {
        let cluster = cluster();
        let body = world().machine_named("corral").unwrap().id;
        cluster.net.set_name("backend", vec![SERVER]);
        cluster.net.add_address(SERVER, cluster.two);
        cluster.net.set_name_server(SERVER);
        lookup("backend", 1).await.unwrap();
        let cuts = [
            PartitionSpec::between(body, Selector::Any),
            PartitionSpec::one_way(body, Selector::Any),
            PartitionSpec::one_way(Selector::Any, body),
        ];
        for cut in cuts {
            let cut = cluster.net.partition(cut);
            let began = now();
            assert_kind(lookup("backend", 1).await, ErrorKind::TimedOut);
            assert_took(began, 10.0, 10.01);
            let began = now();
            let net = cluster.net.clone();
            let (answer, ()) = tokio::join!(lookup("backend", 1), async {
                seconds(3.0).await;
                net.heal(cut);
            });
            answer.unwrap();
            assert_took(began, 5.0, 5.01);
        }
    });
}

#[test]
fn a_service_address_leads_to_one_of_its_backends() {
    run(async {
        let cluster = cluster();
        let body = world().machine_named("corral").unwrap().id;
        let service = Ipv4Addr::new(10, 43, 0, 1);
        let mut backends = Vec::new();
        for last in 1..=3 {
            let address = Ipv4Addr::new(10, 0, 2, last);
            backends.push(SocketAddrV4::new(address, 8080));
            pod(cluster.two, address, "backend", async move {
                let listener = TcpListener::bind(SocketAddr::from((address, 8080))).unwrap();
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    stream.write_all(&[last]).await.unwrap();
                }
            });
        }
        seconds(0.001).await;
        cluster.net.set_service(body, service, 80, backends.clone());
        let mut counts = [0; 4];
        for _ in 0..300 {
            let mut stream = TcpStream::connect(SocketAddr::from((service, 80))).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), SocketAddr::from((service, 80)));
            let mut who = [0; 1];
            stream.read_exact(&mut who).await.unwrap();
            counts[usize::from(who[0])] += 1;
        }
        assert!(counts[0] == 0 && counts[1..].iter().all(|&count| count > 60), "{counts:?}");

        // One backend is cut off: connections that are led to it hang.
        let cut = cluster.net.partition(PartitionSpec::between(*backends[0].ip(), Selector::Any));
        let mut hung = 0;
        for _ in 0..30 {
            tokio::select! { biased;
                stream = TcpStream::connect(SocketAddr::from((service, 80))) => drop(stream.unwrap()),
                _ = seconds(1.0) => hung += 1,
            }
        }
        assert!((3..20).contains(&hung), "{hung}");
        cluster.net.heal(cut);

        cluster.net.set_service(body, service, 80, Vec::new());
        let began = now();
        assert_kind(TcpStream::connect(SocketAddr::from((service, 80))).await, ErrorKind::ConnectionRefused);
        assert_took(began, 0.0, 0.001);
        // A port that the service does not have is a black hole; what is no service is no host.
        let began = now();
        assert_kind(TcpStream::connect(SocketAddr::from((service, 81))).await, ErrorKind::TimedOut);
        assert_took(began, 127.0, 127.01);
        cluster.net.remove_service(body, service, 80);
        assert_kind(TcpStream::connect(SocketAddr::from((service, 80))).await, ErrorKind::HostUnreachable);
        assert_eq!(cluster.net.statistics().connections, 0);
    });
}
