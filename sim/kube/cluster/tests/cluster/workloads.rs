//! DaemonSets and Jobs.

use std::collections::BTreeSet;
use std::time::Duration;

use corral_core::{Options, run};
use corral_kube_client::params::{DeleteParams, ListParams, Patch, PatchParams};
use corral_kube_client::{Api, Client};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;

use crate::common::*;

fn daemon_set(image: &str, strategy: &str) -> DaemonSet {
    object(json!({
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "updateStrategy": {"type": strategy},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    }))
}

async fn agents(client: &Client) -> Vec<Pod> {
    pods(client).list(&ListParams::default().labels("app=agent")).await.expect("a list").items
}

fn image_of(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default()
}

fn all_ready(set: &DaemonSet, nodes: i32) -> bool {
    set.status.as_ref().is_some_and(|status| {
        status.number_ready == nodes
            && status.desired_number_scheduled == nodes
            && status.updated_number_scheduled == Some(nodes)
            && status.number_available == Some(nodes)
            && status.observed_generation == set.metadata.generation
    })
}

#[test]
fn a_daemon_set_has_a_pod_on_every_node_and_rolls_them_one_by_one() {
    run(Options::new(20), async {
        let (_cluster, client) = boot(3).await;
        let sets: Api<DaemonSet> = Api::namespaced(&client, "default");
        sets.create(&daemon_set("test/server:1", "RollingUpdate")).await.expect("created");
        until(&sets, "agent", 60, |set| all_ready(set, 3)).await;
        let nodes: BTreeSet<String> = agents(&client).await.iter().map(node_of).collect();
        assert_eq!(nodes.len(), 3, "one each: {nodes:?}");

        let patch =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "test/server:2"}]}}}});
        sets.patch("agent", &PatchParams::default(), &Patch::Strategic(patch)).await.expect("patched");
        let mut fewest = 3;
        loop {
            let set = sets.get("agent").await.expect("there");
            let ready = agents(&client).await.iter().filter(|pod| is_ready(pod)).count();
            fewest = fewest.min(ready);
            if all_ready(&set, 3) && agents(&client).await.iter().all(|pod| image_of(pod) == "test/server:2") {
                break;
            }
            host::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(fewest, 2, "never more than one is missing");
        let revisions: Api<ControllerRevision> = Api::namespaced(&client, "default");
        let mut numbers: Vec<i64> = revisions
            .list(&ListParams::default())
            .await
            .expect("a list")
            .items
            .iter()
            .filter_map(|revision| revision.revision)
            .collect();
        numbers.sort();
        assert_eq!(numbers, [1, 2]);
    })
    .unwrap();
}

#[test]
fn with_on_delete_others_decide_when_pods_are_replaced() {
    run(Options::new(21), async {
        let (_cluster, client) = boot(2).await;
        let sets: Api<DaemonSet> = Api::namespaced(&client, "default");
        sets.create(&daemon_set("test/server:1", "OnDelete")).await.expect("created");
        until(&sets, "agent", 60, |set| all_ready(set, 2)).await;
        let patch =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "test/server:2"}]}}}});
        sets.patch("agent", &PatchParams::default(), &Patch::Strategic(patch)).await.expect("patched");
        host::time::sleep(Duration::from_secs(60)).await;
        assert!(agents(&client).await.iter().all(|pod| image_of(pod) == "test/server:1"));
        let victim = agents(&client).await.remove(0);
        let name = victim.metadata.name.clone().expect("a name");
        pods(&client).delete(&name, &DeleteParams::default()).await.expect("deleted");
        eventually!("the new one runs where the old one did", 60, {
            let all = agents(&client).await;
            all.iter().any(|pod| image_of(pod) == "test/server:2" && is_ready(pod) && node_of(pod) == node_of(&victim))
        });
        assert_eq!(agents(&client).await.iter().filter(|pod| image_of(pod) == "test/server:1").count(), 1);
    })
    .unwrap();
}

#[test]
fn daemon_pods_follow_nodes_that_no_longer_want_them_and_go_with_their_set() {
    run(Options::new(22), async {
        let (_cluster, client) = boot(2).await;
        let sets: Api<DaemonSet> = Api::namespaced(&client, "default");
        let mut set = daemon_set("test/server:1", "RollingUpdate");
        set.spec.template.spec.as_mut().expect("a spec").node_selector =
            Some([("role".to_owned(), "storage".to_owned())].into());
        sets.create(&set).await.expect("created");
        let nodes: Api<Node> = Api::all(&client);
        let label = |role: serde_json::Value| Patch::Merge(json!({"metadata": {"labels": {"role": role}}}));
        nodes.patch("node-2", &PatchParams::default(), &label(json!("storage"))).await.expect("patched");
        until(&sets, "agent", 60, |set| all_ready(set, 1)).await;
        assert_eq!(agents(&client).await.iter().map(node_of).collect::<Vec<_>>(), ["node-2"]);
        nodes.patch("node-2", &PatchParams::default(), &label(json!(null))).await.expect("patched");
        eventually!("the pod goes", 30, agents(&client).await.is_empty());
        nodes.patch("node-1", &PatchParams::default(), &label(json!("storage"))).await.expect("patched");
        until(&sets, "agent", 60, |set| all_ready(set, 1)).await;
        sets.delete("agent", &DeleteParams::foreground()).await.expect("deleted");
        until_gone(&sets, "agent", 60).await;
        assert!(agents(&client).await.is_empty(), "in Foreground the set outlives its pods");
    })
    .unwrap();
}

fn job(image: &str, spec: serde_json::Value) -> Job {
    let mut job = json!({
        "metadata": {"name": "task", "namespace": "default"},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": image}],
        }}},
    });
    for (key, value) in spec.as_object().expect("fields") {
        job["spec"][key] = value.clone();
    }
    object(job)
}

fn ended(job: &Job, kind: &str) -> Option<String> {
    let conditions = job.status.as_ref()?.conditions.iter().flatten();
    let mut ended = conditions.filter(|condition| condition.type_ == kind && condition.status == "True");
    ended.next()?.reason.clone()
}

#[test]
fn a_job_runs_until_enough_pods_have_succeeded() {
    run(Options::new(23), async {
        let (_cluster, client) = boot(2).await;
        let jobs: Api<Job> = Api::namespaced(&client, "default");
        let spec = json!({"completions": 3, "parallelism": 2});
        jobs.create(&job("test/worker:works", spec)).await.expect("created");
        let done = until(&jobs, "task", 120, |job| ended(job, "Complete").is_some()).await;
        let status = done.status.expect("a status");
        assert_eq!((status.succeeded, status.failed.unwrap_or(0), status.active.unwrap_or(0)), (Some(3), 0, 0));
        assert!(status.completion_time.is_some());
        assert_eq!(pods(&client).list(&ListParams::default()).await.expect("a list").items.len(), 3);
    })
    .unwrap();
}

#[test]
fn a_job_fails_after_as_many_tries_as_it_was_given_each_later_than_the_last() {
    run(Options::new(24), async {
        let (_cluster, client) = boot(1).await;
        let jobs: Api<Job> = Api::namespaced(&client, "default");
        jobs.create(&job("test/worker:fails", json!({"backoffLimit": 2}))).await.expect("created");
        let began = host::time::Instant::now();
        let failed = until(&jobs, "task", 300, |job| ended(job, "Failed").is_some()).await;
        assert_eq!(ended(&failed, "Failed").as_deref(), Some("BackoffLimitExceeded"));
        assert_eq!(failed.status.as_ref().and_then(|status| status.failed), Some(3));
        let took = began.elapsed().as_secs();
        assert!((30..60).contains(&took), "10 s and 20 s lie between the tries: {took} s");
    })
    .unwrap();
}

#[test]
fn a_job_that_takes_too_long_loses_its_pods() {
    run(Options::new(25), async {
        let (_cluster, client) = boot(1).await;
        let jobs: Api<Job> = Api::namespaced(&client, "default");
        jobs.create(&job("test/sleeper", json!({"activeDeadlineSeconds": 20}))).await.expect("created");
        let failed = until(&jobs, "task", 120, |job| ended(job, "Failed").is_some()).await;
        assert_eq!(ended(&failed, "Failed").as_deref(), Some("DeadlineExceeded"));
        eventually!("its pods are gone", 30, {
            pods(&client).list(&ListParams::default()).await.expect("a list").items.is_empty()
        });
    })
    .unwrap();
}
