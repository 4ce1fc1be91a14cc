//! Block disks of the v2 data engine.

use std::time::Duration;

use corral_core::{MachineState, world};
use host::time::{Instant, sleep};
use longhorn_api::{Build, Release};
use longhorn_rpc::imrpc::{Disk, DiskCreateRequest, DiskDeleteRequest, DiskGetRequest, DiskType};
use longhorn_rpc::{Code, Status};

use crate::support::{Node, kill, newest, simulate};

const MIB: i64 = 1 << 20;

pub async fn create_disk(node: &Node, name: &str, uuid: &str, path: &str) -> Result<Disk, Status> {
    let request = DiskCreateRequest {
        disk_type: DiskType::Block.into(),
        disk_name: name.into(),
        disk_uuid: uuid.into(),
        disk_path: path.into(),
        block_size: 512,
        disk_driver: "aio".into(),
    };
    node.disks().disk_create(request).await.map(|answer| answer.into_inner())
}

async fn disk(node: &Node, name: &str) -> Result<Disk, Status> {
    let request = DiskGetRequest {
        disk_type: DiskType::Block.into(),
        disk_name: name.into(),
        disk_path: "/dev/sdb".into(),
        disk_driver: "aio".into(),
    };
    node.disks().disk_get(request).await.map(|answer| answer.into_inner())
}

async fn delete_disk(node: &Node, name: &str, uuid: &str) -> Result<(), Status> {
    let request = DiskDeleteRequest {
        disk_type: DiskType::Block.into(),
        disk_name: name.into(),
        disk_uuid: uuid.into(),
        disk_path: "/dev/sdb".into(),
        disk_driver: "aio".into(),
    };
    node.disks().disk_delete(request).await.map(drop)
}

#[test]
fn a_disk_is_made_once_and_found_again() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.add_device("/dev/sdb", 64 << 20).await;
        let pod = node.boot_v2(newest()).await;
        let missing = disk(&node, "block").await.unwrap_err();
        assert_eq!(missing.code(), Code::Internal);
        // The manager looks for these words, and then creates the disk.
        assert!(missing.message().contains("cannot find disk bdev with name block"), "{}", missing.message());

        let began = Instant::now();
        let made = create_disk(&node, "block", "", "/dev/sdb").await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(3), "the answer waits for the scan");
        assert_eq!((made.name.as_str(), made.r#type.as_str(), made.driver.as_str()), ("block", "block", "aio"));
        assert_eq!((made.total_size, made.free_size), (62 * MIB, 62 * MIB));
        assert_eq!((made.block_size, made.cluster_size, made.total_blocks), (512, MIB, 62 * MIB / 512));
        assert_eq!(disk(&node, "block").await.unwrap(), made);

        let twice = create_disk(&node, "block", "", "/dev/sdb").await.unwrap_err();
        assert!(twice.message().contains("disk /dev/sdb is already used by disk bdev block"), "{}", twice.message());

        kill(&pod);
        node.boot_v2(newest()).await;
        assert!(disk(&node, "block").await.is_err(), "a new pod knows no disk");
        let other = create_disk(&node, "block", "another-uuid", "/dev/sdb").await.unwrap_err();
        assert!(other.message().contains("cannot find lvstore with UUID another-uuid"), "{}", other.message());
        // Its device is open now, and its name is known, but not as the disk that was asked for.
        delete_disk(&node, "block", &made.uuid).await.unwrap();
        assert_eq!(create_disk(&node, "block", &made.uuid, "/dev/sdb").await.unwrap(), made);
    });
}

#[test]
fn older_releases_do_not_wait_for_the_scan() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.add_device("/dev/sdb", 64 << 20).await;
        node.boot_v2(Build::published(Release::V1_9_0_DEV_00886872C)).await;
        let began = Instant::now();
        create_disk(&node, "block", "", "/dev/sdb").await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn a_disk_outlives_its_machines_power() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.add_device("/dev/sdb", 64 << 20).await;
        node.boot_v2(newest()).await;
        let made = create_disk(&node, "block", "", "/dev/sdb").await.unwrap();
        world().set_machine_state(node.machine.id, MachineState::Off);
        sleep(Duration::from_secs(10)).await;
        world().set_machine_state(node.machine.id, MachineState::Running);
        node.boot_v2(newest()).await;
        assert_eq!(create_disk(&node, "block", &made.uuid, "/dev/sdb").await.unwrap(), made);
    });
}

#[test]
fn a_disk_is_deleted_by_its_own_name_only() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.add_device("/dev/sdb", 64 << 20).await;
        node.boot_v2(newest()).await;
        let made = create_disk(&node, "block", "", "/dev/sdb").await.unwrap();
        let other = delete_disk(&node, "other", &made.uuid).await.unwrap_err();
        assert_eq!(
            (other.code(), other.message()),
            (Code::NotFound, "disk name other does not match lvstore name block")
        );
        delete_disk(&node, "block", &made.uuid).await.unwrap();
        assert!(disk(&node, "block").await.is_err());
        // Deleting a disk lets go of its device; what is on it stays, and so does its UUID.
        assert_eq!(create_disk(&node, "renamed", "", "/dev/sdb").await.unwrap().uuid, made.uuid);
    });
}

#[test]
fn disks_that_cannot_be_are_refused() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.add_device("/dev/tiny", 1 << 20).await;
        node.add_device("/dev/empty", 0).await;
        node.boot_v2(newest()).await;
        let refused = async |path: &str| create_disk(&node, "block", "", path).await.unwrap_err().message().to_owned();
        assert!(refused("/dev/none").await.contains("No such file or directory"));
        assert!(refused("/dev").await.contains("is not a block device"));
        assert!(refused("/dev/empty").await.contains("size is 0"));
        assert!(refused("/dev/tiny").await.contains("No space left on device"));
        let unnamed = create_disk(&node, "", "", "/dev/sdb").await.unwrap_err();
        assert_eq!(unnamed.code(), Code::InvalidArgument);
    });
}

#[test]
fn file_systems_are_not_served() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        let request = DiskGetRequest { disk_name: "fs".into(), ..DiskGetRequest::default() };
        let refused = node.disks().disk_get(request).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Unimplemented, "unsupported disk type filesystem"));
        assert_eq!(disk(&node, "block").await.unwrap_err().code(), Code::Unavailable);
    });
}
