//! A seed gives one run, whatever happens in it.

use std::time::Duration;

use corral_core::{Options, Outcome, run};
use corral_kube_client::Api;
use corral_kube_client::params::DeleteParams;
use k8s_openapi::api::apps::v1::DaemonSet;
use serde_json::json;

use crate::common::*;

/// A day in the life of a cluster: a DaemonSet, pods, a lost machine, deletions.
fn workload(seed: u64) -> Outcome<()> {
    run(Options::new(seed), async {
        let (cluster, client) = boot(3).await;
        let sets: Api<DaemonSet> = Api::namespaced(&client, "default");
        let template = json!({
            "metadata": {"labels": {"app": "agent"}},
            "spec": {"containers": [{
                "name": "main", "image": "test/server", "readinessProbe": {"httpGet": {"port": 8080}},
            }]},
        });
        let set = json!({
            "metadata": {"name": "agent"},
            "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template},
        });
        sets.create(&object(set)).await.expect("created");
        let pods = pods(&client);
        pods.create(&pod("a", "test/server")).await.expect("created");
        pods.create(&pod("b", "test/worker:fails")).await.expect("created");
        until(&pods, "a", 60, is_ready).await;
        let node = node_of(&pods.get("a").await.expect("there"));
        cluster.power_off(&node).expect("a worker");
        host::time::sleep(Duration::from_secs(70)).await;
        cluster.power_on(&node).expect("a worker");
        until(&pods, "a", 60, is_ready).await;
        pods.delete("b", &DeleteParams::default()).await.expect("deleted");
        sets.delete("agent", &DeleteParams::foreground()).await.expect("deleted");
        until_gone(&sets, "agent", 60).await;
    })
}

#[test]
fn the_same_seed_gives_the_same_digest() {
    let outcome = |seed| {
        let outcome = workload(seed);
        let (digest, events) = (outcome.digest, outcome.events);
        outcome.unwrap();
        (digest, events)
    };
    let first = outcome(60);
    assert_eq!(first, outcome(60));
    assert_ne!(first.0, outcome(61).0);
}
