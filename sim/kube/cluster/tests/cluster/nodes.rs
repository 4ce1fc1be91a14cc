//! Machines that go, and come back.

use std::time::Duration;

use corral_core::{Options, run};
use corral_kube_client::params::DeleteParams;
use corral_kube_client::{Api, Client};
use host::time::Instant;
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::common::*;

fn ready_status(node: &Node) -> String {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.next().map(|condition| condition.status.clone()).unwrap_or_default()
}

fn taints(node: &Node) -> Vec<String> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut names: Vec<String> = taints.map(|taint| format!("{}:{}", taint.key, taint.effect)).collect();
    names.sort();
    names
}

async fn pod_on(client: &Client, name: &str, node: &str, image: &str) -> Pod {
    let mut wanted = pod(name, image);
    wanted.spec.as_mut().expect("a spec").node_name = Some(node.to_owned());
    pods(client).create(&wanted).await.expect("created");
    until(&pods(client), name, 60, is_ready).await
}

#[test]
fn a_lost_machine_is_unknown_after_fifty_seconds_and_its_pods_are_evicted_five_minutes_later() {
    run(Options::new(30), async {
        let (cluster, client) = boot(3).await;
        let nodes: Api<Node> = Api::all(&client);
        pod_on(&client, "victim", "node-2", "test/server").await;
        let lost = Instant::now();
        cluster.power_off("node-2").expect("a worker");
        until(&nodes, "node-2", 90, |node| ready_status(node) == "Unknown").await;
        let unknown = lost.elapsed().as_secs();
        // 50 s since the last renewal, up to 10 s before the loss, seen at the next look.
        assert!((38..58).contains(&unknown), "{unknown} s");
        let expected = ["node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/unreachable:NoSchedule"];
        until(&nodes, "node-2", 20, |node| taints(node) == expected).await;
        let tainted = Instant::now();
        until(&pods(&client), "victim", 10, |pod| !is_ready(pod)).await;
        until(&pods(&client), "victim", 400, |pod| pod.metadata.deletion_timestamp.is_some()).await;
        let patience = tainted.elapsed().as_secs();
        assert!((295..310).contains(&patience), "{patience} s");
        host::time::sleep(Duration::from_secs(120)).await;
        assert!(pods(&client).get_opt("victim").await.expect("an answer").is_some(), "only its kubelet can let it go");

        cluster.power_on("node-2").expect("a worker");
        until_gone(&pods(&client), "victim", 60).await;
        until(&nodes, "node-2", 30, |node| ready_status(node) == "True" && taints(node).is_empty()).await;
    })
    .unwrap();
}

#[test]
fn a_machine_that_comes_back_soon_restarts_its_pods_with_new_addresses() {
    run(Options::new(31), async {
        let (cluster, client) = boot(2).await;
        let before = pod_on(&client, "stays", "node-1", "test/server").await;
        cluster.power_off("node-1").expect("a worker");
        host::time::sleep(Duration::from_secs(10)).await;
        cluster.power_on("node-1").expect("a worker");
        let after = until(&pods(&client), "stays", 60, |pod| is_ready(pod) && restarts(pod) == 1).await;
        assert_eq!(after.metadata.uid, before.metadata.uid);
        assert_ne!(pod_ip(&after), pod_ip(&before));
        let status = &after.status.as_ref().expect("a status").container_statuses.as_ref().expect("containers")[0];
        let ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref()).expect("it ran before");
        assert_eq!((ended.exit_code, ended.reason.as_deref()), (255, Some("Unknown")));
    })
    .unwrap();
}

#[test]
fn a_pod_deleted_by_force_while_its_machine_was_away_is_ended_when_it_returns() {
    run(Options::new(32), async {
        let (cluster, client) = boot(2).await;
        pod_on(&client, "ghost", "node-1", "test/server").await;
        cluster.kubelet_stop("node-1").expect("a worker");
        pods(&client).delete("ghost", &DeleteParams::default().grace_period(0)).await.expect("deleted");
        host::time::sleep(Duration::from_secs(20)).await;
        assert!(cluster.container_process("default", "ghost", "main").is_some(), "nobody there to end it");
        cluster.kubelet_start("node-1").expect("a worker");
        eventually!("the ghost ends", 30, cluster.container_process("default", "ghost", "main").is_none());
    })
    .unwrap();
}

#[test]
fn a_kubelet_that_starts_again_adopts_what_runs() {
    run(Options::new(33), async {
        let (cluster, client) = boot(1).await;
        pod_on(&client, "lives", "node-1", "test/server").await;
        let process = cluster.container_process("default", "lives", "main").expect("it runs").id;
        cluster.kubelet_stop("node-1").expect("a worker");
        host::time::sleep(Duration::from_secs(5)).await;
        cluster.kubelet_start("node-1").expect("a worker");
        host::time::sleep(Duration::from_secs(90)).await;
        let pod = pods(&client).get("lives").await.expect("there");
        assert_eq!((restarts(&pod), is_ready(&pod)), (0, true));
        assert_eq!(cluster.container_process("default", "lives", "main").map(|process| process.id), Some(process));
        assert!(cluster.kill_container_out_of_memory("default", "lives", "main"));
        let pod = until(&pods(&client), "lives", 30, |pod| restarts(pod) == 1 && is_ready(pod)).await;
        let status = &pod.status.as_ref().expect("a status").container_statuses.as_ref().expect("containers")[0];
        let ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref()).expect("it was killed");
        assert_eq!((ended.exit_code, ended.reason.as_deref()), (137, Some("OOMKilled")));
    })
    .unwrap();
}

#[test]
fn a_frozen_machine_is_lost_and_then_simply_goes_on() {
    run(Options::new(34), async {
        let (cluster, client) = boot(2).await;
        let nodes: Api<Node> = Api::all(&client);
        pod_on(&client, "sleeps", "node-2", "test/server").await;
        cluster.freeze("node-2").expect("a worker");
        until(&nodes, "node-2", 90, |node| ready_status(node) == "Unknown").await;
        cluster.thaw("node-2").expect("a worker");
        until(&nodes, "node-2", 60, |node| ready_status(node) == "True" && taints(node).is_empty()).await;
        let pod = until(&pods(&client), "sleeps", 30, is_ready).await;
        assert_eq!(restarts(&pod), 0, "nobody noticed in there");
    })
    .unwrap();
}

#[test]
fn a_control_plane_that_starts_again_finds_the_workers_as_they_were() {
    run(Options::new(35), async {
        let (cluster, client) = boot(2).await;
        pod_on(&client, "lives", "node-1", "test/server").await;
        let processes = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns", "kube-proxy"];
        processes.iter().for_each(|process| cluster.control_plane_stop(process));
        host::time::sleep(Duration::from_secs(120)).await;
        processes.iter().for_each(|process| cluster.control_plane_start(process));
        host::time::sleep(Duration::from_secs(120)).await;
        let nodes: Api<Node> = Api::all(&client);
        for name in ["node-1", "node-2"] {
            until(&nodes, name, 60, |node| ready_status(node) == "True" && taints(node).is_empty()).await;
        }
        let pod = pods(&client).get("lives").await.expect("there");
        assert_eq!((restarts(&pod), is_ready(&pod)), (0, true));
    })
    .unwrap();
}

#[test]
fn an_idle_node_says_nothing_but_that_it_lives() {
    run(Options::new(36).keep_journal(), async {
        let (cluster, client) = boot(1).await;
        let nodes: Api<Node> = Api::all(&client);
        host::time::sleep(Duration::from_secs(30)).await;
        let before = nodes.get("node-1").await.expect("there");
        let revision = cluster.store().revision();
        host::time::sleep(Duration::from_secs(240)).await;
        let after = nodes.get("node-1").await.expect("there");
        assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
        let writes = cluster.store().revision() - revision;
        // Its lease each 10 s, and two leaders' each 2 s.
        assert!((250..280).contains(&writes), "{writes} writes in four minutes");
    })
    .unwrap();
}

#[test]
fn a_control_plane_that_loses_its_power_is_found_again_by_all() {
    run(Options::new(37), async {
        let (cluster, client) = boot(2).await;
        pod_on(&client, "lives", "node-1", "test/server").await;
        cluster.control_plane_power_off();
        host::time::sleep(Duration::from_secs(120)).await;
        cluster.control_plane_power_on();
        host::time::sleep(Duration::from_secs(120)).await;
        let nodes: Api<Node> = Api::all(&client);
        for name in ["node-1", "node-2"] {
            until(&nodes, name, 60, |node| ready_status(node) == "True" && taints(node).is_empty()).await;
        }
        let pod = until(&pods(&client), "lives", 30, is_ready).await;
        assert_eq!(restarts(&pod), 0);
        // Watches that nobody ended were ended by keep-alive: what is new reaches everybody.
        pod_on(&client, "new", "node-2", "test/server").await;
        pods(&client).delete("lives", &DeleteParams::default()).await.expect("deleted");
        until_gone(&pods(&client), "lives", 30).await;
    })
    .unwrap();
}
