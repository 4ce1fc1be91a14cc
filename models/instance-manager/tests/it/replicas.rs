//! Replicas and engines of the v2 data engine.

use std::collections::BTreeMap;
use std::time::Duration;

use host::time::sleep;
use longhorn_api::{Build, Release};
use longhorn_instance_manager::RemoteVolume;
use longhorn_rpc::imrpc::DataEngine::V2;
use longhorn_rpc::imrpc::{EngineSnapshotRevertRequest, EngineVolumeSnapshotRequest};
use longhorn_rpc::imrpc::{InstanceCreateRequest, InstanceDeleteRequest, InstanceSpec, ProxyEngineRequest};
use longhorn_rpc::imrpc::{InstanceResponse, InstanceStatus, SpdkInstanceSpec};
use longhorn_rpc::ptypes::{ReplicaMode, VolumeSnapshotRequest};
use longhorn_rpc::{Code, Status};

use crate::block_disks::create_disk;
use crate::support::{Node, eventually, kill, newest, simulate, state};

const VOLUME_BYTES: u64 = 8 << 20;

fn dev() -> Build {
    Build::published(Release::V1_9_0_DEV_00886872C)
}

async fn node_with_disk(name: &str, address: [u8; 4], build: Build) -> (Node, String) {
    let node = Node::new(name, address);
    node.add_device("/dev/sdb", 64 << 20).await;
    node.boot_v2(build).await;
    let disk = create_disk(&node, "block", "", "/dev/sdb").await.unwrap();
    (node, disk.uuid)
}

async fn create_replica(node: &Node, name: &str, disk: &str) -> Result<InstanceStatus, Status> {
    let spec = InstanceSpec {
        name: name.into(),
        r#type: "replica".into(),
        data_engine: V2.into(),
        port_count: 5,
        spdk_instance_spec: Some(SpdkInstanceSpec {
            disk_name: "block".into(),
            disk_uuid: disk.into(),
            size: VOLUME_BYTES,
            ..SpdkInstanceSpec::default()
        }),
        ..InstanceSpec::default()
    };
    let created = node.instances().instance_create(InstanceCreateRequest { spec: Some(spec) }).await?;
    Ok(created.into_inner().status.unwrap())
}

async fn create_engine(
    node: &Node,
    frontend: &str,
    replicas: BTreeMap<String, String>,
) -> Result<InstanceStatus, Status> {
    let here = node.address.to_string();
    let spec = InstanceSpec {
        name: "v-e-0".into(),
        r#type: "engine".into(),
        volume_name: "v".into(),
        data_engine: V2.into(),
        port_count: 1,
        initiator_address: here.clone(),
        target_address: here,
        spdk_instance_spec: Some(SpdkInstanceSpec {
            replica_address_map: replicas,
            size: VOLUME_BYTES,
            frontend: frontend.into(),
            ..SpdkInstanceSpec::default()
        }),
        ..InstanceSpec::default()
    };
    let created = node.instances().instance_create(InstanceCreateRequest { spec: Some(spec) }).await?;
    Ok(created.into_inner().status.unwrap())
}

async fn delete(node: &Node, kind: &str, name: &str, clean_up: bool) -> Result<InstanceResponse, Status> {
    let request = InstanceDeleteRequest {
        name: name.into(),
        r#type: kind.into(),
        data_engine: V2.into(),
        cleanup_required: clean_up,
        ..InstanceDeleteRequest::default()
    };
    node.instances().instance_delete(request).await.map(|answer| answer.into_inner())
}

/// States by name.
async fn listed(node: &Node) -> BTreeMap<String, String> {
    let listed = node.instances().instance_list(()).await.unwrap().into_inner().instances;
    listed.into_iter().map(|(name, instance)| (name, state(&instance))).collect()
}

fn only(name: &str, word: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), word.to_owned())])
}

const REPLICA: &str = "v-r-1a2b3c4d";

#[test]
fn a_replica_that_is_deleted_without_clean_up_stays_listed_and_on_its_disk() {
    simulate(|| async {
        let (node, disk) = node_with_disk("node-1", [10, 0, 0, 1], dev()).await;
        let created = create_replica(&node, REPLICA, &disk).await.unwrap();
        assert_eq!((created.state.as_str(), created.port_start, created.port_end), ("running", 20001, 20005));
        assert_eq!(create_replica(&node, REPLICA, &disk).await.unwrap_err().code(), Code::AlreadyExists);

        let deleted = delete(&node, "replica", REPLICA, false).await.unwrap();
        assert_eq!((deleted.deleted, state(&deleted).as_str()), (true, "stopped"));
        let found = node.instance(V2, "replica", REPLICA).await.unwrap().status.unwrap();
        assert_eq!((found.state.as_str(), found.port_start), ("stopped", 0));
        sleep(Duration::from_secs(10)).await;
        assert_eq!(listed(&node).await, only(REPLICA, "stopped"));

        delete(&node, "replica", REPLICA, true).await.unwrap();
        let gone = node.instance(V2, "replica", REPLICA).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound, "the code survives what is put before the text: {gone:?}");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(listed(&node).await, BTreeMap::new());
        delete(&node, "replica", REPLICA, false).await.unwrap();
    });
}

#[test]
fn replicas_are_found_on_their_disk_by_a_new_pod_and_listed_as_stopped() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.add_device("/dev/sdb", 64 << 20).await;
        let pod = node.boot_v2(dev()).await;
        let disk = create_disk(&node, "block", "", "/dev/sdb").await.unwrap().uuid;
        create_replica(&node, REPLICA, &disk).await.unwrap();
        create_replica(&node, "v-r-eeeeeeee", &disk).await.unwrap();
        delete(&node, "replica", "v-r-eeeeeeee", true).await.unwrap();
        kill(&pod);

        node.boot_v2(dev()).await;
        sleep(Duration::from_secs(10)).await;
        assert_eq!(listed(&node).await, BTreeMap::new(), "a pod that knows no disk knows no replica");
        let mut changes = node.instances().instance_watch(()).await.unwrap().into_inner();
        create_disk(&node, "block", &disk, "/dev/sdb").await.unwrap();
        eventually(Duration::from_secs(4), async || listed(&node).await == only(REPLICA, "stopped")).await;
        let told = host::time::timeout(Duration::from_secs(20), changes.message()).await;
        assert!(told.is_err(), "nobody is told of what was found");

        let started = create_replica(&node, REPLICA, &disk).await.unwrap();
        assert_eq!(started.state, "running", "it is started again from its disk");
    });
}

#[test]
fn replicas_are_found_when_the_disk_is_added_in_the_newest_release() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.add_device("/dev/sdb", 64 << 20).await;
        let pod = node.boot_v2(newest()).await;
        let disk = create_disk(&node, "block", "", "/dev/sdb").await.unwrap().uuid;
        create_replica(&node, REPLICA, &disk).await.unwrap();
        create_replica(&node, "named-otherwise", &disk).await.unwrap();
        kill(&pod);
        node.boot_v2(newest()).await;
        create_disk(&node, "block", &disk, "/dev/sdb").await.unwrap();
        assert_eq!(listed(&node).await, only(REPLICA, "stopped"), "only what is named as replicas are");
    });
}

#[test]
fn a_replicas_disk_fills_up_and_is_freed() {
    simulate(|| async {
        let (node, disk) = node_with_disk("node-1", [10, 0, 0, 1], newest()).await;
        let replica = create_replica(&node, REPLICA, &disk).await.unwrap();
        let address = format!("{}:{}", node.address, replica.port_start);
        let volume = RemoteVolume::connect(address.parse().unwrap()).await.unwrap();
        volume.write(3 << 20, vec![7; 4096]).await.unwrap();
        let free = async || {
            let request = longhorn_rpc::imrpc::DiskGetRequest {
                disk_type: longhorn_rpc::imrpc::DiskType::Block.into(),
                disk_name: "block".into(),
                ..Default::default()
            };
            node.disks().disk_get(request).await.unwrap().into_inner().free_size
        };
        assert_eq!(free().await, 61 << 20, "volumes take what is written to them");
        assert!(volume.write(VOLUME_BYTES, vec![7; 1]).await.is_err(), "beyond its end");
        delete(&node, "replica", REPLICA, true).await.unwrap();
        assert_eq!(free().await, 62 << 20);
    });
}

#[test]
fn an_engine_mirrors_and_goes_on_without_a_replica() {
    simulate(|| async {
        let (one, one_disk) = node_with_disk("node-1", [10, 0, 0, 1], newest()).await;
        let (two, two_disk) = node_with_disk("node-2", [10, 0, 0, 2], newest()).await;
        let first = create_replica(&one, "v-r-11111111", &one_disk).await.unwrap();
        let second = create_replica(&two, "v-r-22222222", &two_disk).await.unwrap();
        let replicas = BTreeMap::from([
            ("v-r-11111111".to_owned(), format!("{}:{}", one.address, first.port_start)),
            ("v-r-22222222".to_owned(), format!("{}:{}", two.address, second.port_start)),
        ]);
        let engine = create_engine(&one, "spdk-tcp-blockdev", replicas.clone()).await.unwrap();
        assert_eq!((engine.state.as_str(), engine.error_msg.as_str()), ("running", ""));
        let again = create_engine(&one, "spdk-tcp-blockdev", replicas).await.unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists);

        let address = format!("{}:{}", one.address, engine.target_port_start);
        let volume = RemoteVolume::connect(address.parse().unwrap()).await.unwrap();
        volume.write(12345, b"hello".to_vec()).await.unwrap();
        volume.flush().await.unwrap();

        let request = ProxyEngineRequest {
            address: address.clone(),
            engine_name: "v-e-0".into(),
            volume_name: "v".into(),
            data_engine: V2.into(),
            ..ProxyEngineRequest::default()
        };
        let found = one.proxy().volume_get(request.clone()).await.unwrap().into_inner().volume.unwrap();
        assert_eq!((found.endpoint.as_str(), found.replica_count), ("/dev/longhorn/v", 2));
        let modes = async || {
            let listed = one.proxy().replica_list(request.clone()).await.unwrap().into_inner().replica_list.unwrap();
            listed.replicas.iter().map(|replica| replica.mode()).collect::<Vec<_>>()
        };
        assert_eq!(modes().await, [ReplicaMode::Rw, ReplicaMode::Rw]);

        delete(&two, "replica", "v-r-22222222", false).await.unwrap();
        eventually(Duration::from_secs(30), async || modes().await == [ReplicaMode::Rw, ReplicaMode::Err]).await;
        volume.write(12350, b", world".to_vec()).await.unwrap();
        assert_eq!(volume.read(12345, 12).await.unwrap(), b"hello, world");
        assert_eq!(listed(&one).await["v-e-0"], "running");

        delete(&one, "engine", "v-e-0", false).await.unwrap();
        assert_eq!(listed(&one).await["v-e-0"], "running", "without clean-up an engine is left alone");
        delete(&one, "engine", "v-e-0", true).await.unwrap();
        assert!(!listed(&one).await.contains_key("v-e-0"));
    });
}

#[test]
fn an_engine_without_replicas_is_in_error() {
    simulate(|| async {
        let (node, _) = node_with_disk("node-1", [10, 0, 0, 1], newest()).await;
        let nowhere = BTreeMap::from([(REPLICA.to_owned(), "10.0.0.1:20001".to_owned())]);
        let engine = create_engine(&node, "", nowhere).await.unwrap();
        assert_eq!(engine.state, "error");
    });
}

#[test]
fn snapshots_are_made_and_reverted_to() {
    simulate(|| async {
        let (node, disk) = node_with_disk("node-1", [10, 0, 0, 1], newest()).await;
        let replica = create_replica(&node, REPLICA, &disk).await.unwrap();
        let own = format!("{}:{}", node.address, replica.port_start);
        let replicas = BTreeMap::from([(REPLICA.to_owned(), own.clone())]);
        create_engine(&node, "", replicas).await.unwrap();
        let request = ProxyEngineRequest {
            address: own.clone(),
            engine_name: "v-e-0".into(),
            data_engine: V2.into(),
            ..ProxyEngineRequest::default()
        };
        let volume = RemoteVolume::connect(own.parse().unwrap()).await.unwrap();
        volume.write(0, b"before".to_vec()).await.unwrap();
        let snapshot = VolumeSnapshotRequest { name: "one".into(), ..VolumeSnapshotRequest::default() };
        let create = EngineVolumeSnapshotRequest {
            proxy_engine_request: Some(request.clone()),
            snapshot_volume: Some(snapshot),
        };
        node.proxy().volume_snapshot(create).await.unwrap();
        volume.write(0, b"after!".to_vec()).await.unwrap();
        let revert = EngineSnapshotRevertRequest { proxy_engine_request: Some(request.clone()), name: "one".into() };
        node.proxy().snapshot_revert(revert).await.unwrap();
        let volume = RemoteVolume::connect(own.parse().unwrap()).await.unwrap();
        assert_eq!(volume.read(0, 6).await.unwrap(), b"before");
        sleep(Duration::from_secs(10)).await;
        let states = listed(&node).await;
        assert_eq!((states[REPLICA].as_str(), states["v-e-0"].as_str()), ("running", "running"));
    });
}
