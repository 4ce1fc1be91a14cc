//! What containers see of disks and networks that are not their own.

use std::time::Duration;

use corral_cluster::{Cluster, ClusterSpec, Image, WorkerSpec};
use corral_core::{Options, run};
use corral_disk::DiskOptions;
use corral_kube_client::Api;
use corral_kube_client::params::DeleteParams;
use host::process::program;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde_json::{Value, json};

use crate::common::*;

/// Adds a line to `/data/log` and to `/scratch/log`, prints both and the files below `/etc/settings`, and waits.
async fn note_and_print() -> i32 {
    for path in ["/data/log", "/scratch/log"] {
        let mut log = host::fs::read(path).await.unwrap_or_default();
        log.extend_from_slice(format!("{} ", host::process::hostname()).as_bytes());
        if let Err(error) = host::fs::write(path, &log).await {
            host::process::print(&format!("{path}: {error}\n"));
            return 1;
        }
        host::process::print(&format!("{path}: {}\n", String::from_utf8_lossy(&log)));
    }
    for path in ["/etc/settings/colour", "/etc/secret/password"] {
        let content = host::fs::read(path).await.unwrap_or_default();
        host::process::print(&format!("{path}: {}\n", String::from_utf8_lossy(&content)));
    }
    let refused = host::fs::write("/etc/settings/colour", b"red").await.is_err();
    host::process::print(&format!("settings can be written: {}\n", !refused));
    host::process::terminated().await;
    0
}

async fn ok() -> i32 {
    i32::from(!host::fs::exists("/scratch/log").await.unwrap_or(false))
}

fn noting(name: &str, spec: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name},
        "spec": {
            "containers": [{
                "name": "main", "image": "test/notes",
                "volumeMounts": [
                    {"name": "host", "mountPath": "/data"},
                    {"name": "scratch", "mountPath": "/scratch"},
                    {"name": "settings", "mountPath": "/etc/settings"},
                    {"name": "secret", "mountPath": "/etc/secret"},
                ],
                "readinessProbe": {"exec": {"command": ["/ok"]}, "periodSeconds": 1},
            }],
            "volumes": [
                {"name": "host", "hostPath": {"path": "/var/lib/notes"}},
                {"name": "scratch", "emptyDir": {}},
                {"name": "settings", "configMap": {"name": "settings"}},
                {"name": "secret", "secret": {"secretName": "secret"}},
            ],
        },
    });
    for (key, value) in spec.as_object().expect("fields") {
        pod["spec"][key] = value.clone();
    }
    object(pod)
}

fn printed(cluster: &Cluster, pod: &str) -> Vec<String> {
    let process = cluster.container_process("default", pod, "main").expect("it runs");
    String::from_utf8_lossy(&process.output().0).lines().map(str::to_owned).collect()
}

#[test]
fn volumes_live_as_long_as_what_they_belong_to() {
    run(Options::new(70), async {
        let notes = Image::new("/notes", |_| program(note_and_print)).program("/ok", |_| program(ok));
        let worker = WorkerSpec::named("node-1").disk("/var/lib/notes", DiskOptions::default());
        let spec =
            ClusterSpec { workers: vec![worker], ..ClusterSpec::workers(0).images(images().with("test/notes", notes)) };
        let cluster = Cluster::boot(spec).await;
        let client = client(&cluster);
        let maps: Api<ConfigMap> = Api::namespaced(&client, "default");
        maps.create(&object(json!({"metadata": {"name": "settings"}, "data": {"colour": "blue"}})))
            .await
            .expect("created");
        let secrets: Api<Secret> = Api::namespaced(&client, "default");
        let secret = json!({"metadata": {"name": "secret"}, "data": {"password": "c2VzYW1l"}});
        secrets.create(&object(secret)).await.expect("created");
        let pods = pods(&client);
        pods.create(&noting("one", json!({}))).await.expect("created");
        until(&pods, "one", 60, is_ready).await;
        let expected = [
            "/data/log: one ",
            "/scratch/log: one ",
            "/etc/settings/colour: blue",
            "/etc/secret/password: sesame",
            "settings can be written: false",
        ];
        assert_eq!(printed(&cluster, "one"), expected);

        assert!(cluster.kill_container("default", "one", "main"));
        until(&pods, "one", 60, |pod| restarts(pod) == 1 && is_ready(pod)).await;
        assert_eq!(
            printed(&cluster, "one")[..2],
            ["/data/log: one one ", "/scratch/log: one one "],
            "both outlive a container"
        );

        pods.delete("one", &DeleteParams::default()).await.expect("deleted");
        until_gone(&pods, "one", 60).await;
        pods.create(&noting("two", json!({"hostNetwork": true}))).await.expect("created");
        let two = until(&pods, "two", 60, is_ready).await;
        assert_eq!(
            printed(&cluster, "two")[..2],
            ["/data/log: one one node-1 ", "/scratch/log: node-1 "],
            "only the host's outlives the pod"
        );
        assert_eq!(pod_ip(&two), Some([10, 0, 1, 1].into()), "it has its machine's address and name");
        let disks = cluster.disks("node-1").expect("a worker");
        let (mounted_at, disk) = &disks[1];
        assert_eq!(mounted_at, "/var/lib/notes");
        assert_eq!(disk.contents("/log").expect("a file"), b"one one node-1 ");
    })
    .unwrap();
}

#[test]
fn a_pod_waits_for_the_volumes_it_names() {
    run(Options::new(71), async {
        let notes = Image::new("/notes", |_| program(note_and_print)).program("/ok", |_| program(ok));
        let cluster = Cluster::boot(ClusterSpec::workers(1).images(images().with("test/notes", notes))).await;
        let client = client(&cluster);
        let pods = pods(&client);
        pods.create(&noting("waits", json!({}))).await.expect("created");
        host::time::sleep(Duration::from_secs(30)).await;
        let pod = pods.get("waits").await.expect("there");
        assert_eq!((phase(&pod), reason(&pod).as_deref()), ("Pending", Some("ContainerCreating")));
        let maps: Api<ConfigMap> = Api::namespaced(&client, "default");
        maps.create(&object(json!({"metadata": {"name": "settings"}}))).await.expect("created");
        let secrets: Api<Secret> = Api::namespaced(&client, "default");
        secrets.create(&object(json!({"metadata": {"name": "secret"}}))).await.expect("created");
        until(&pods, "waits", 60, is_ready).await;
    })
    .unwrap();
}
