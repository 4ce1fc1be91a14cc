//! Rebuilding a replica while the volume is used, and purging it.

use longhorn_engine::BlockDevice;
use longhorn_engine::task::AddReplica;
use longhorn_replica::format::{Directory, Replica};

use crate::cluster::{Cluster, SIZE, device, pattern, pause, simulated};

/// All of a machine's replica, head and snapshots, and the names in its directory.
async fn everything(cluster: &Cluster, index: usize, directory: &'static str) -> (Vec<Vec<u8>>, Vec<String>) {
    cluster.machines[index]
        .run(move || async move {
            let directory = Directory::new(format!("/replicas/{directory}"));
            let names = directory.names().await.expect("names");
            let mut contents = Vec::new();
            for snapshot in names.iter().filter_map(|name| name.strip_prefix("volume-snap-")?.strip_suffix(".img")) {
                let replica = Replica::open_snapshot(&directory, snapshot).await.expect("a snapshot");
                let mut content = vec![0; SIZE as usize];
                replica.read_at(&mut content, 0).await.expect("readable");
                contents.push(content);
            }
            let meta = host::fs::read(&directory.path("volume.meta")).await.expect("metadata");
            let meta: serde_json::Value = serde_json::from_slice(&meta).expect("JSON");
            let head = meta["Head"].as_str().expect("a head");
            let replica = Replica::open_read_only(&directory, head, None).await.expect("a head");
            let mut content = vec![0; SIZE as usize];
            replica.read_at(&mut content, 0).await.expect("readable");
            contents.push(content);
            (contents, names)
        })
        .await
}

#[test]
fn a_new_replica_gets_all_that_the_others_have() {
    simulated(|| async {
        let cluster = Cluster::new(3);
        cluster.up("").await;
        cluster
            .user(|task| async move {
                let device = device().await;
                for (generation, snapshot) in [(1, "one"), (2, "two")] {
                    for (block, content) in pattern(generation, 0..200 * u64::from(generation)) {
                        device.write_at(block * 4096, content.into()).await.expect("written");
                    }
                    task.create_snapshot(snapshot, Default::default(), false).await.expect("taken");
                }
                // So that the others know what they have.
                task.hash_snapshot("one", false).await.expect("begun");
                host::time::sleep(std::time::Duration::from_secs(1)).await;
                let statuses = task.hash_snapshot_status("one").await.expect("statuses");
                let mut sums: Vec<_> =
                    statuses.values().map(|status| (status.state.clone(), status.checksum.clone())).collect();
                sums.dedup();
                assert!(sums.len() == 1 && sums[0].0 == "complete" && sums[0].1.len() == 16, "{statuses:?}");
            })
            .await;
        cluster.kill(&cluster.replicas[2]);
        pause(3).await;
        assert!(cluster.modes().await[2].ends_with("ERR"));
        let fresh = cluster.start_replica(2, "fresh", "");
        pause(1).await;
        let address = cluster.address(2);
        cluster
            .user(move |task| async move {
                task.remove_replica(&address).await.expect("removed");
                let request = AddReplica {
                    address: address.clone(),
                    instance: "vol-1-r-2".to_owned(),
                    size: SIZE as i64,
                    current_size: SIZE as i64,
                    fast_sync: true,
                    file_sync_timeout_seconds: 30,
                    ..AddReplica::default()
                };
                let writer = host::spawn(async {
                    let device = device().await;
                    for (block, content) in pattern(3, 100..700) {
                        device.write_at(block * 4096 + 8, content[8..16].to_vec().into()).await.expect("written");
                    }
                });
                task.add_replica(&request).await.expect("added");
                writer.await.expect("the writer ends");
            })
            .await;
        let modes = cluster.modes().await;
        assert!(modes.iter().all(|mode| mode.ends_with("RW")), "{modes:?}");
        assert!(fresh.is_alive());
        let (old, names) = everything(&cluster, 0, "r").await;
        let (new, new_names) = everything(&cluster, 2, "fresh").await;
        assert_eq!(old.len(), 4, "two snapshots, the rebuild's own, and the head: {names:?}");
        assert!(old == new, "head and snapshots are the same");
        let without_head =
            |names: Vec<String>| names.into_iter().filter(|name| !name.contains("head")).collect::<Vec<_>>();
        assert_eq!(without_head(names), without_head(new_names));
    });
}

#[test]
fn a_replica_that_is_silent_can_be_added_to_none() {
    simulated(|| async {
        let cluster = Cluster::new(2);
        pause(1).await;
        cluster.start_engine(&[0], "");
        pause(2).await;
        cluster.kill(&cluster.replicas[1]);
        let address = cluster.address(1);
        let error = cluster
            .user(move |task| async move {
                let request =
                    AddReplica { address, size: SIZE as i64, current_size: SIZE as i64, ..AddReplica::default() };
                task.add_replica(&request).await.expect_err("nobody is there").to_string()
            })
            .await;
        assert!(error.contains("code = Unavailable"), "{error}");
        assert_eq!(cluster.modes().await.len(), 1);
    });
}

#[test]
fn purging_merges_what_was_removed() {
    simulated(|| async {
        let cluster = Cluster::new(2);
        cluster.up("").await;
        cluster
            .user(|task| async move {
                let device = device().await;
                for (generation, snapshot) in [(1, "one"), (2, "two"), (3, "three")] {
                    for (block, content) in pattern(generation, 0..100 * u64::from(4 - generation)) {
                        device.write_at(block * 4096, content.into()).await.expect("written");
                    }
                    task.create_snapshot(snapshot, Default::default(), false).await.expect("taken");
                }
                task.delete_snapshot("two").await.expect("marked");
                task.purge_snapshots(false).await.expect("begun");
                let error = task.purge_snapshots(false).await;
                assert!(error.is_err() || task.purge_snapshots_status().await.is_ok());
                loop {
                    host::time::sleep(std::time::Duration::from_millis(100)).await;
                    let statuses = task.purge_snapshots_status().await.expect("statuses");
                    assert!(statuses.values().all(|status| status.error.is_empty()), "{statuses:?}");
                    if statuses.values().all(|status| !status.is_purging && status.progress == 100) {
                        break;
                    }
                }
                let snapshots = task.snapshots().await.expect("a list");
                assert_eq!(snapshots.keys().collect::<Vec<_>>(), ["one", "three", "volume-head"]);
                for (block, content) in pattern(3, 0..100) {
                    assert_eq!(device.read_at(block * 4096, 4096).await.expect("read"), content);
                }
                for (block, content) in pattern(2, 100..200) {
                    assert_eq!(device.read_at(block * 4096, 4096).await.expect("read"), content);
                }
            })
            .await;
    });
}
