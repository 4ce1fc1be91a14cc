//! A pod's life on its machine: brought up, restarted, taken down.

#![cfg(madsim)]

mod common;

use std::time::Duration;

use common::*;
use corral_core::{Options, run};
use corral_kube_client::params::DeleteParams;
use host::time::Instant;

#[test]
fn a_pod_is_scheduled_started_and_taken_down_within_its_grace() {
    run(Options::new(1), async {
        let (cluster, client) = boot(2).await;
        let pods = pods(&client);
        pods.create(&pod("a", "test/server:1")).await.expect("created");
        let running = until(&pods, "a", 30, is_ready).await;
        assert_eq!(phase(&running), "Running");
        assert!(cluster.worker_names().any(|name| name == node_of(&running)));
        let address = pod_ip(&running).expect("an address");
        assert_eq!(address.octets()[..2], [10, 42]);
        assert!(cluster.container_process("default", "a", "main").is_some());

        let asked = Instant::now();
        pods.delete("a", &DeleteParams::default()).await.expect("deleted");
        let terminating = pods.get("a").await.expect("still there");
        assert_eq!(terminating.metadata.deletion_grace_period_seconds, Some(30));
        until_gone(&pods, "a", 30).await;
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "it listens, so nobody waits for the grace: {:?}",
            asked.elapsed()
        );
        assert!(cluster.container_process("default", "a", "main").is_none());
    })
    .unwrap();
}

#[test]
fn who_does_not_listen_is_killed_when_the_grace_is_over() {
    run(Options::new(2), async {
        let (cluster, client) = boot(1).await;
        let pods = pods(&client);
        pods.create(&pod("deaf", "test/stubborn")).await.expect("created");
        until(&pods, "deaf", 30, is_ready).await;
        let asked = Instant::now();
        pods.delete("deaf", &DeleteParams::default().grace_period(12)).await.expect("deleted");
        host::time::sleep(Duration::from_secs(11)).await;
        assert!(cluster.container_process("default", "deaf", "main").is_some(), "its grace is not over");
        until_gone(&pods, "deaf", 30).await;
        let took = asked.elapsed();
        assert!((12..18).contains(&took.as_secs()), "{took:?}");
    })
    .unwrap();
}
