//! An image made of a volume's snapshot, sent by a replica.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corral_core::BODY_ADDRESS;
use host::time::sleep;
use longhorn_api::Build;
use longhorn_backupstore::{Behaviour, Context};
use longhorn_replica::data::{DataClient, SharedTimeouts};
use longhorn_replica::format::{Directory, Options};
use longhorn_replica::{Process, ReplicaClient};
use longhorn_rpc::Identity;
use longhorn_rpc::ptypes::ReplicaSnapshotRequest;

use crate::support::{Machine, checksum, simulate};

const VOLUME_BYTES: usize = 8 << 20;

/// A replica at port 9502 of this process, with a snapshot `one` of this content, and something else written after it.
async fn start_replica(content: &[u8]) {
    host::fs::create_dir_all("/replica").await.expect("a directory");
    let process = Process {
        directory: Directory::new("/replica"),
        listen: format!("{BODY_ADDRESS}:9502"),
        size: Some(VOLUME_BYTES as i64),
        options: Options::default(),
        identity: Identity::new("v1", "v1-r-1"),
        sync_ports: 7,
        backups: Context::new(Behaviour::default()),
    };
    host::spawn(process.run());
    sleep(Duration::from_secs(1)).await;
    let address = format!("tcp://{BODY_ADDRESS}:9502");
    let client = ReplicaClient::new(&address, &Identity::new("v1", "v1-r-1")).expect("an address");
    client.control().replica_open(()).await.expect("opened");
    let timeouts = Arc::new(SharedTimeouts::new(Duration::from_secs(8), Duration::from_secs(16)));
    let data = DataClient::connect((BODY_ADDRESS, 9503).into(), timeouts).await.expect("connected");
    for (index, block) in content.chunks(4096).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0)) {
        data.write((index * 4096) as i64, Bytes::copy_from_slice(block)).await.expect("written");
    }
    let snapshot = ReplicaSnapshotRequest {
        name: "one".to_owned(),
        user_created: true,
        created: "2026-01-01T00:00:00Z".to_owned(),
        ..Default::default()
    };
    client.control().replica_snapshot(snapshot).await.expect("a snapshot");
    data.write(0, Bytes::from(vec![9; 4096])).await.expect("written");
    data.close();
}

#[test]
fn a_snapshot_of_a_volume_becomes_an_image() {
    simulate(1, async {
        let mut content = vec![0; VOLUME_BYTES];
        content[..4096].fill(1);
        content[3 << 20..(3 << 20) + 8192].fill(2);
        content[VOLUME_BYTES - 4096..].fill(3);
        start_replica(&content).await;
        let machine = Machine::new(1);
        let parameters = [
            "snapshot-name=one".to_owned(),
            format!("sender-address=tcp://{BODY_ADDRESS}:9502"),
            format!("volume-size={VOLUME_BYTES}"),
            "file-type=raw".to_owned(),
            "file-sync-http-client-timeout=30".to_owned(),
        ];
        let more: Vec<&str> = parameters.iter().flat_map(|parameter| ["--parameters", parameter.as_str()]).collect();
        machine.start_source(&Build::default(), "export-from-volume", &more);
        let info = machine.wait_for_source(&["ready-for-transfer"], 60).await;
        assert_eq!((info.file.size, info.file.progress), (VOLUME_BYTES as i64, 100));
        assert_eq!(info.file.current_checksum, checksum(&content));
        assert!(info.file.real_size < 1 << 20, "holes stay holes: {}", info.file.real_size);
    });
}

#[test]
fn without_a_replica_the_image_fails() {
    simulate(1, async {
        let machine = Machine::new(1);
        let more = ["--parameters", "snapshot-name=one", "--parameters", "sender-address=tcp://10.9.9.9:9502"];
        machine.start_source(&Build::default(), "export-from-volume", &more);
        machine.wait_for_source(&["starting"], 10).await;
        let info = machine.wait_for_source(&["failed"], 200).await;
        assert!(!info.file.message.is_empty());
    });
}
