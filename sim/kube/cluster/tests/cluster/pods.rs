//! A pod's life on its machine: brought up, restarted, taken down.

use std::time::Duration;

use corral_core::{Options, run};
use corral_kube_client::Api;
use corral_kube_client::params::DeleteParams;
use host::time::Instant;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::json;

use crate::common::*;

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

#[test]
fn a_crashing_container_is_restarted_at_once_and_then_ever_later() {
    run(Options::new(3), async {
        let (_cluster, client) = boot(1).await;
        let pods = pods(&client);
        pods.create(&pod("crash", "test/worker:fails")).await.expect("created");
        let mut starts = Vec::new();
        let mut seen = None;
        while starts.len() < 4 {
            let pod = pods.get("crash").await.expect("there");
            let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            let id = statuses.and_then(|statuses| statuses[0].container_id.clone());
            if id.is_some() && id != seen {
                starts.push(Instant::now());
                seen = id;
            }
            host::time::sleep(Duration::from_millis(100)).await;
        }
        let gaps: Vec<u64> = starts.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        // Two seconds of life, then: at once, after 10 s, after 20 s, each with up to two listings' delay.
        assert!((2..6).contains(&gaps[0]), "{gaps:?}");
        assert!((12..17).contains(&gaps[1]), "{gaps:?}");
        assert!((22..27).contains(&gaps[2]), "{gaps:?}");
        let waiting = until(&pods, "crash", 10, |pod| reason(pod).as_deref() == Some("CrashLoopBackOff")).await;
        assert_eq!(phase(&waiting), "Running");
        assert_eq!(restarts(&waiting), 3);
        let status = &waiting.status.as_ref().expect("a status").container_statuses.as_ref().expect("containers")[0];
        let ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref()).expect("it has run");
        assert_eq!((ended.exit_code, ended.reason.as_deref()), (1, Some("Error")));
        assert!(!is_ready(&waiting));
    })
    .unwrap();
}

#[test]
fn the_end_of_a_pod_that_is_not_restarted_is_its_phase() {
    run(Options::new(4), async {
        let (_cluster, client) = boot(1).await;
        let pods = pods(&client);
        for (name, tag) in [("good", "works"), ("bad", "fails")] {
            let mut pod = pod(name, &format!("test/worker:{tag}"));
            pod.spec.as_mut().expect("a spec").restart_policy = Some("Never".into());
            pods.create(&pod).await.expect("created");
        }
        let good = until(&pods, "good", 30, |pod| phase(pod) == "Succeeded").await;
        assert_eq!(reason(&good).as_deref(), Some("Completed"));
        let bad = until(&pods, "bad", 30, |pod| phase(pod) == "Failed").await;
        assert_eq!(reason(&bad).as_deref(), Some("Error"));
        pods.delete("good", &DeleteParams::default()).await.expect("deleted");
        assert!(pods.get_opt("good").await.expect("an answer").is_none(), "nothing runs: no grace");
    })
    .unwrap();
}

#[test]
fn unknown_images_and_programs_are_said_in_the_status() {
    run(Options::new(5), async {
        let (_cluster, client) = boot(1).await;
        let pods = pods(&client);
        pods.create(&pod("no-image", "test/absent:1")).await.expect("created");
        until(&pods, "no-image", 30, |pod| reason(pod).as_deref() == Some("ErrImagePull")).await;
        let waiting = until(&pods, "no-image", 30, |pod| reason(pod).as_deref() == Some("ImagePullBackOff")).await;
        assert_eq!(phase(&waiting), "Pending");
        let mut no_program = pod("no-program", "test/server:1");
        no_program.spec.as_mut().expect("a spec").containers[0].command = Some(vec!["/bin/absent".into()]);
        pods.create(&no_program).await.expect("created");
        until(&pods, "no-program", 30, |pod| reason(pod).as_deref() == Some("RunContainerError")).await;
    })
    .unwrap();
}

#[test]
fn init_containers_run_in_order_before_the_others() {
    run(Options::new(6), async {
        let (_cluster, client) = boot(1).await;
        let pods = pods(&client);
        let pod: Pod = object(json!({
            "metadata": {"name": "staged"},
            "spec": {
                "initContainers": [
                    {"name": "first", "image": "test/worker:works"},
                    {"name": "second", "image": "test/worker:works"},
                ],
                "containers": [{"name": "main", "image": "test/server"}],
            },
        }));
        pods.create(&pod).await.expect("created");
        let ready = until(&pods, "staged", 60, is_ready).await;
        let status = ready.status.expect("a status");
        let ends: Vec<_> = status
            .init_container_statuses
            .expect("two")
            .into_iter()
            .map(|status| status.state.and_then(|state| state.terminated).expect("ended"))
            .collect();
        assert!(ends.iter().all(|end| end.exit_code == 0));
        assert!(ends[0].finished_at.as_ref().map(|time| time.0) <= ends[1].started_at.as_ref().map(|time| time.0));
    })
    .unwrap();
}

#[test]
fn the_environment_comes_from_the_pod_and_from_config_maps() {
    run(Options::new(7), async {
        let (cluster, client) = boot(1).await;
        let maps: Api<ConfigMap> = Api::namespaced(&client, "default");
        let env = json!([
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
            {"name": "BOTH", "value": "$(NODE)/$(COLOUR)"},
        ]);
        let pod: Pod = object(json!({
            "metadata": {"name": "env"},
            "spec": {"containers": [
                {"name": "main", "image": "test/sleeper", "args": ["--colour=$(COLOUR)"], "env": env}
            ]},
        }));
        let pods = pods(&client);
        pods.create(&pod).await.expect("created");
        until(&pods, "env", 30, |pod| reason(pod).as_deref() == Some("CreateContainerConfigError")).await;
        maps.create(&object(json!({"metadata": {"name": "settings"}, "data": {"colour": "blue"}})))
            .await
            .expect("created");
        let ready = until(&pods, "env", 60, is_ready).await;
        let process = cluster.container_process("default", "env", "main").expect("it runs");
        let variable = |name: &str| process.spec.environment.get(name).map(String::as_str);
        assert_eq!(variable("NODE"), Some("node-1"));
        assert_eq!(variable("IP").map(str::to_owned), pod_ip(&ready).map(|address| address.to_string()));
        assert_eq!(variable("BOTH"), Some("node-1/blue"));
        assert_eq!(variable("KUBERNETES_SERVICE_HOST"), Some("10.43.0.1"));
        assert_eq!(process.spec.arguments, ["/sleeper", "--colour=blue"]);
    })
    .unwrap();
}

#[test]
fn probes_decide_about_readiness_and_restarts() {
    run(Options::new(8), async {
        let (_cluster, client) = boot(1).await;
        let pods = pods(&client);
        let with = |name: &str, port: i32| -> Pod {
            object(json!({
                "metadata": {"name": name},
                "spec": {"containers": [{
                    "name": "main", "image": "test/server",
                    "readinessProbe": {"httpGet": {"path": "/", "port": port}, "periodSeconds": 5},
                    "livenessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 5, "failureThreshold": 3},
                }]},
            }))
        };
        pods.create(&with("answers", 8080)).await.expect("created");
        pods.create(&with("silent", 9999)).await.expect("created");
        until(&pods, "answers", 30, is_ready).await;
        let silent = until(&pods, "silent", 60, |pod| restarts(pod) == 1).await;
        assert!(!is_ready(&silent), "nobody answers its readiness probe");
        let answers = pods.get("answers").await.expect("there");
        assert_eq!((restarts(&answers), is_ready(&answers)), (0, true));
    })
    .unwrap();
}

#[test]
fn a_forced_deletion_takes_the_object_at_once_and_the_containers_soon() {
    run(Options::new(9), async {
        let (cluster, client) = boot(1).await;
        let pods = pods(&client);
        pods.create(&pod("deaf", "test/stubborn")).await.expect("created");
        until(&pods, "deaf", 30, is_ready).await;
        pods.delete("deaf", &DeleteParams::default().grace_period(0)).await.expect("deleted");
        assert!(pods.get_opt("deaf").await.expect("an answer").is_none());
        assert!(cluster.container_process("default", "deaf", "main").is_some(), "the machine does not know yet");
        eventually!("the container ends", 10, cluster.container_process("default", "deaf", "main").is_none());
    })
    .unwrap();
}
