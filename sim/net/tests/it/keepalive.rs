//! Keep-alive: who has it learns of silence; it costs nothing while all is well.

use std::io::ErrorKind;
use std::time::Duration;

use crate::common::*;
use corral_core::{MachineState, Signal, world};
use corral_net::{Keepalive, PartitionSpec, Selector, TcpStream};
use tokio::io::AsyncReadExt;

async fn kept_alive(cluster: &Cluster) -> (std::sync::Arc<corral_core::Process>, TcpStream) {
    let process = echo_server(cluster.one);
    seconds(0.001).await;
    let mut stream = connect().await;
    stream.set_keepalive(Some(Keepalive::GO));
    echo(&mut stream, b"warm").await.unwrap();
    (process, stream)
}

#[test]
fn an_idle_connection_to_a_lost_machine_times_out() {
    run(async {
        let cluster = cluster();
        let (_, mut stream) = kept_alive(&cluster).await;
        let began = now();
        let one = cluster.one;
        world().spawn(async move {
            seconds(100.0).await;
            world().set_machine_state(one, MachineState::Off);
        });
        // The probe at 90 s was answered, that at 105 s and eight more were not.
        assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::TimedOut);
        assert_took(began, 239.9, 240.1);
    });
}

#[test]
fn what_ends_before_patience_does_is_not_noticed_and_probing_ends() {
    run(async {
        let cluster = cluster();
        let (_, mut stream) = kept_alive(&cluster).await;
        for _ in 0..3 {
            let cut = cluster.net.partition(PartitionSpec::one_way(cluster.one, Selector::Any));
            seconds(120.0).await;
            assert!(cluster.net.heal(cut));
            seconds(300.0).await;
            assert!(world().queue().len() < 3);
        }
        echo(&mut stream, b"still there").await.unwrap();
        world().set_machine_state(cluster.one, MachineState::Frozen);
        seconds(140.0).await;
        world().set_machine_state(cluster.one, MachineState::Running);
        echo(&mut stream, b"still there").await.unwrap();
    });
}

#[test]
fn a_peer_that_disappeared_behind_a_partition_is_found_out_by_a_probe() {
    run(async {
        let cluster = cluster();
        let (process, mut stream) = kept_alive(&cluster).await;
        stream.set_keepalive(Some(Keepalive { idle: Duration::from_secs(600), ..Keepalive::GO }));
        let cut = cluster.net.partition(PartitionSpec::between(cluster.one, Selector::Any));
        let began = now();
        world().signal(&process, Signal::Kill);
        seconds(200.0).await;
        assert!(cluster.net.heal(cut));
        assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::ConnectionReset);
        assert_took(began, 600.0, 600.1);
    });
}

#[test]
fn set_after_the_fault_it_works_and_a_lost_address_is_named() {
    run(async {
        let cluster = cluster();
        echo_server(cluster.one);
        seconds(0.001).await;
        let mut stream = connect().await;
        echo(&mut stream, b"warm").await.unwrap();
        cluster.net.remove_address(SERVER);
        seconds(7.0).await;
        stream.set_keepalive(Some(Keepalive::GO));
        let began = now();
        assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::HostUnreachable);
        assert_took(began, 142.9, 143.1);
    });
}

#[test]
fn a_second_fault_does_not_shorten_the_patience_with_the_first() {
    run(async {
        let cluster = cluster();
        let (_, mut stream) = kept_alive(&cluster).await;
        let (net, one) = (cluster.net.clone(), cluster.one);
        let began = now();
        world().spawn(async move {
            seconds(100.0).await;
            let first = net.partition(PartitionSpec::between(one, Selector::Any));
            seconds(10.0).await;
            net.partition(PartitionSpec::one_way(SERVER, Selector::Any));
            seconds(50.0).await;
            assert!(net.heal(first));
        });
        assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::TimedOut);
        assert_took(began, 239.9, 240.1);
    });
}
