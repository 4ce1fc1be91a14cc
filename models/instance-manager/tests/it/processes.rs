//! Engines and replicas of the v1 data engine as processes.

use std::time::Duration;

use corral_core::{Signal, world};
use host::time::sleep;
use longhorn_api::{Build, Release};
use longhorn_rpc::imrpc::DataEngine::V1;
use longhorn_rpc::imrpc::{InstanceCreateRequest, InstanceDeleteRequest, InstanceReplaceRequest, InstanceSpec};
use longhorn_rpc::imrpc::{InstanceResponse, ProcessInstanceSpec};
use longhorn_rpc::process_manager::{LogRequest, ProcessCreateRequest, ProcessDeleteRequest, ProcessSpec};
use longhorn_rpc::{Code, Status};

use crate::support::{BINARY, Node, OTHER_BINARY, eventually, newest, simulate, state};

const MINUTE: Duration = Duration::from_secs(60);
const REPLICA: &str = "v-r-12345678";
const ENGINE: &str = "v-e-0";

fn spec(name: &str, behaviour: &str, ports: i32) -> InstanceSpec {
    InstanceSpec {
        name: name.into(),
        r#type: if name.contains("-e-") { "engine" } else { "replica" }.into(),
        volume_name: "v".into(),
        port_count: ports,
        port_args: if ports > 0 { vec!["--listen,0.0.0.0:".into()] } else { Vec::new() },
        process_instance_spec: Some(ProcessInstanceSpec { binary: BINARY.into(), args: vec![behaviour.into()] }),
        ..InstanceSpec::default()
    }
}

async fn create(node: &Node, name: &str, behaviour: &str, ports: i32) -> Result<InstanceResponse, Status> {
    let request = InstanceCreateRequest { spec: Some(spec(name, behaviour, ports)) };
    node.instances().instance_create(request).await.map(|answer| answer.into_inner())
}

async fn delete(node: &Node, name: &str, uuid: &str) -> Result<InstanceResponse, Status> {
    let request = InstanceDeleteRequest { name: name.into(), uuid: uuid.into(), ..InstanceDeleteRequest::default() };
    node.instances().instance_delete(request).await.map(|answer| answer.into_inner())
}

async fn comes_to(node: &Node, name: &str, expected: &str, limit: Duration) -> Duration {
    eventually(limit, async || node.instance(V1, "replica", name).await.is_ok_and(|it| state(&it) == expected)).await
}

async fn goes(node: &Node, name: &str, limit: Duration) -> Duration {
    let gone = async || node.instance(V1, "replica", name).await.is_err_and(|status| status.code() == Code::NotFound);
    eventually(limit, gone).await
}

#[test]
fn a_process_is_started_serves_and_is_deleted() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        let created = create(&node, REPLICA, "serve", 10).await.unwrap();
        let (spec, status) = (created.spec.unwrap(), created.status.unwrap());
        assert_eq!((status.state.as_str(), status.port_start, status.port_end), ("starting", 10000, 10009));
        assert_eq!(spec.process_instance_spec.unwrap().args, ["serve", "--listen", "0.0.0.0:10000"]);
        assert_eq!(status.uuid.len(), 36);
        assert!(comes_to(&node, REPLICA, "running", MINUTE).await < Duration::from_secs(2));

        let twice = create(&node, REPLICA, "serve", 10).await.unwrap_err();
        assert_eq!(twice.code(), Code::AlreadyExists);
        let other = delete(&node, REPLICA, "another-uuid").await.unwrap_err();
        assert_eq!(other.message(), "cannot find process v-r-12345678 with UUID another-uuid");

        let deleted = delete(&node, REPLICA, &status.uuid).await.unwrap();
        assert_eq!((deleted.deleted, state(&deleted).as_str()), (true, "stopping"));
        assert!(goes(&node, REPLICA, MINUTE).await < Duration::from_secs(1));
        assert_eq!(delete(&node, REPLICA, "").await.unwrap_err().code(), Code::NotFound);

        let next = create(&node, REPLICA, "serve", 10).await.unwrap().status.unwrap();
        assert_eq!(next.port_start, 10010, "ports are not handed out again at once");
        assert_ne!(next.uuid, status.uuid);
    });
}

#[test]
fn older_releases_do_not_know_uuids() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(Build::published(Release::V1_8_1)).await;
        let created = create(&node, ENGINE, "serve", 1).await.unwrap();
        assert_eq!(created.status.unwrap().uuid, "");
        delete(&node, ENGINE, "what it does not look at").await.unwrap();
    });
}

#[test]
fn engines_and_replicas_are_told_apart_by_their_names() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        create(&node, ENGINE, "serve", 1).await.unwrap();
        create(&node, REPLICA, "serve", 10).await.unwrap();
        let listed = node.instances().instance_list(()).await.unwrap().into_inner().instances;
        let kinds: Vec<_> = listed.values().map(|it| it.spec.clone().unwrap().r#type).collect();
        assert_eq!(kinds, ["engine", "replica"]);
        let status = listed[ENGINE].status.clone().unwrap();
        assert_eq!((status.port_start, status.target_port_start), (10000, 10000));
    });
}

#[test]
fn whoever_watches_is_told_each_change() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        let mut changes = node.processes().process_watch(()).await.unwrap().into_inner();
        let mut notified = node.instances().instance_watch(()).await.unwrap().into_inner();
        let spec = ProcessSpec {
            name: REPLICA.into(),
            binary: BINARY.into(),
            args: vec!["serve".into()],
            port_count: 10,
            port_args: vec!["--listen,0.0.0.0:".into()],
        };
        node.processes().process_create(ProcessCreateRequest { spec: Some(spec) }).await.unwrap();
        comes_to(&node, REPLICA, "running", MINUTE).await;
        let request = ProcessDeleteRequest { name: REPLICA.into(), uuid: String::new() };
        node.processes().process_delete(request).await.unwrap();
        goes(&node, REPLICA, MINUTE).await;
        let mut told = Vec::new();
        for _ in 0..5 {
            let change = changes.message().await.unwrap().unwrap();
            told.push((change.status.unwrap().state, change.deleted));
            notified.message().await.unwrap().unwrap();
        }
        let expected =
            [("starting", false), ("running", false), ("stopping", false), ("stopped", false), ("stopped", true)];
        assert_eq!(told, expected.map(|(word, deleted)| (word.to_owned(), deleted)));
        let nothing_more = host::time::timeout(Duration::from_secs(5), notified.message()).await;
        assert!(nothing_more.is_err());
    });
}

#[test]
fn a_process_that_ends_by_itself_is_in_error() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        create(&node, REPLICA, "fail", 10).await.unwrap();
        comes_to(&node, REPLICA, "error", MINUTE).await;
        let status = node.instance(V1, "replica", REPLICA).await.unwrap().status.unwrap();
        assert_eq!(status.error_msg, "exit status 61");
        sleep(MINUTE * 2).await;
        assert_eq!(
            state(&node.instance(V1, "replica", REPLICA).await.unwrap()),
            "error",
            "it stays until it is deleted"
        );
        delete(&node, REPLICA, "").await.unwrap();
        goes(&node, REPLICA, Duration::from_secs(1)).await;
    });
}

#[test]
fn a_program_that_is_not_there_is_an_error_at_once() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        let mut missing = spec(REPLICA, "serve", 10);
        missing.process_instance_spec.as_mut().unwrap().binary = "/engine-binaries/none/longhorn".into();
        let request = InstanceCreateRequest { spec: Some(missing) };
        let status = node.instances().instance_create(request).await.unwrap().into_inner().status.unwrap();
        assert_eq!(status.state, "error");
        assert!(status.error_msg.ends_with("stat /engine-binaries/none/longhorn: no such file or directory"));
    });
}

#[test]
fn a_process_that_does_not_stop_is_killed_after_a_minute_and_stays_listed() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        create(&node, REPLICA, "stubborn", 10).await.unwrap();
        comes_to(&node, REPLICA, "running", MINUTE).await;
        delete(&node, REPLICA, "").await.unwrap();
        let took = comes_to(&node, REPLICA, "error", MINUTE * 2).await;
        assert!(took >= MINUTE && took < MINUTE + Duration::from_secs(2), "{took:?}");
        sleep(MINUTE).await;
        let status = node.instance(V1, "replica", REPLICA).await.unwrap().status.unwrap();
        assert_eq!(status.error_msg, "signal: killed");
        delete(&node, REPLICA, "").await.unwrap();
        goes(&node, REPLICA, Duration::from_secs(1)).await;
    });
}

#[test]
fn a_process_that_never_serves_is_stopped() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        create(&node, REPLICA, "mute", 10).await.unwrap();
        let took = comes_to(&node, REPLICA, "stopped", MINUTE * 20).await;
        assert!(took > MINUTE * 9, "600 probes of a second: {took:?}");
    });
}

#[test]
fn without_a_port_a_process_runs_at_once() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        create(&node, REPLICA, "mute", 0).await.unwrap();
        comes_to(&node, REPLICA, "running", Duration::from_secs(1)).await;
    });
}

#[test]
fn a_replaced_engine_keeps_its_name_and_gets_other_ports() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        create(&node, ENGINE, "serve", 1).await.unwrap();
        comes_to(&node, ENGINE, "running", MINUTE).await;
        let replace = async |binary: &str, signal: &str| {
            let mut spec = spec(ENGINE, "serve", 1);
            spec.process_instance_spec.as_mut().unwrap().binary = binary.into();
            let request = InstanceReplaceRequest { spec: Some(spec), terminate_signal: signal.into() };
            node.instances().instance_replace(request).await.map(|answer| answer.into_inner().status.unwrap())
        };
        let refused = replace(OTHER_BINARY, "SIGKILL").await.unwrap_err();
        assert_eq!(refused.message(), "unsupported terminate signal SIGKILL");
        let same = replace(BINARY, "SIGHUP").await.unwrap();
        assert_eq!(same.port_start, 10000, "nothing is replaced by the same program");
        let replaced = replace(OTHER_BINARY, "SIGHUP").await.unwrap();
        assert_eq!((replaced.state.as_str(), replaced.port_start), ("running", 10002), "one port leaked before");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world().processes_at(node.address).len(), 2, "the pod and the new engine");
        assert_eq!(state(&node.instance(V1, "engine", ENGINE).await.unwrap()), "running");
    });
}

#[test]
fn with_the_pod_its_processes_are_gone() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        let pod = node.boot_v1(newest()).await;
        create(&node, REPLICA, "serve", 10).await.unwrap();
        create(&node, ENGINE, "stubborn", 1).await.unwrap();
        comes_to(&node, ENGINE, "running", MINUTE).await;
        assert_eq!(world().processes_at(node.address).len(), 3);
        crate::support::kill(&pod);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(world().processes_at(node.address).len(), 0);
        node.boot_v1(newest()).await;
        assert!(node.instances().instance_list(()).await.unwrap().into_inner().instances.is_empty());
    });
}

#[test]
fn a_pod_that_is_asked_to_stop_stops_its_processes_first() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        let pod = node.boot_v1(newest()).await;
        create(&node, REPLICA, "serve", 10).await.unwrap();
        comes_to(&node, REPLICA, "running", MINUTE).await;
        world().signal(&pod, Signal::Terminate);
        let ended = host::time::timeout(Duration::from_secs(5), pod.wait()).await.unwrap();
        assert_eq!(ended.code(), 0);
        assert_eq!(world().processes_at(node.address).len(), 0);
    });
}

#[test]
fn what_processes_wrote_is_kept() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        for _ in 0..2 {
            create(&node, REPLICA, "serve", 10).await.unwrap();
            comes_to(&node, REPLICA, "running", MINUTE).await;
            delete(&node, REPLICA, "").await.unwrap();
            goes(&node, REPLICA, MINUTE).await;
        }
        create(&node, REPLICA, "serve", 10).await.unwrap();
        comes_to(&node, REPLICA, "running", MINUTE).await;
        let mut log = node.processes().process_log(LogRequest { name: REPLICA.into() }).await.unwrap().into_inner();
        let mut lines = Vec::new();
        while let Some(answer) = log.message().await.unwrap() {
            lines.push(answer.line);
        }
        let ports = [10000, 10010, 10020];
        assert_eq!(lines, ports.map(|port| format!("begun as {BINARY} serve --listen 0.0.0.0:{port}")));
    });
}

#[test]
fn versions_are_the_same_in_all_releases() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(Build::published(Release::V1_7_2)).await;
        let version = node.instances().version_get(()).await.unwrap().into_inner();
        let apis = (version.instance_manager_api_version, version.instance_manager_proxy_api_version);
        assert_eq!((version.version.as_str(), apis), ("v1.7.2", (6, 5)));
        assert_eq!(node.processes().version_get(()).await.unwrap().into_inner(), version);
        let disks = node.disks().version_get(()).await.unwrap().into_inner();
        assert_eq!(disks.instance_manager_disk_service_api_version, 1);
    });
}
