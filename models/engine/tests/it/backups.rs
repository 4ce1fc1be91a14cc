//! Backups of a volume's snapshots into a store, and back into another volume.

use std::sync::Arc;

use corral_core::Process;
use longhorn_backupstore::{Behaviour, Context};
use longhorn_engine::BlockDevice;

use crate::cluster::{Cluster, TARGET, device, output, pattern, pause, simulated, start_store};

/// Runs a command on the engine's machine.
async fn command(cluster: &Cluster, line: &str) -> (i32, String) {
    let url = "--url 10.1.0.1:10000 --volume-name vol-1 --engine-instance-name vol-1-e-0";
    let process: Arc<Process> = cluster.engine_machine.longhorn(&format!("{url} backup {line}"));
    let code = process.wait().await.code();
    (code, output(&process))
}

/// Asks for a backup's status until it has ended.
async fn ended(cluster: &Cluster, backup: &str) -> serde_json::Value {
    for _ in 0..60 {
        let (code, text) = command(cluster, &format!("status {backup}")).await;
        assert_eq!(code, 0, "{text}");
        let status: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        if status["state"] != "in_progress" {
            return status;
        }
        pause(2).await;
    }
    panic!("the backup does not end");
}

#[test]
fn a_backup_comes_back_in_full_and_in_part() {
    simulated(|| async {
        let store = start_store();
        let cluster = Cluster::new(2);
        let engine = cluster.up("").await;
        let fill = |generation: u8, snapshot: &'static str| {
            cluster.user(move |task| async move {
                let device = device().await;
                for (block, content) in
                    pattern(generation, u64::from(generation) * 300..u64::from(generation) * 300 + 400)
                {
                    device.write_at(block * 4096, content.into()).await.expect("written");
                }
                task.create_snapshot(snapshot, Default::default(), false).await.expect("taken");
            })
        };
        fill(1, "one").await;
        let (code, text) = command(&cluster, &format!("create one --dest {TARGET} --backup-name b1 --label k=v")).await;
        assert_eq!(
            (code, text.as_str()),
            (0, "{\"backupID\":\"b1\",\"isIncremental\":false,\"replicaAddress\":\"tcp://10.1.0.10:10100\"}\n")
        );
        let status = ended(&cluster, "b1").await;
        assert_eq!((&status["state"], &status["progress"]), (&"complete".into(), &100.into()), "{status}");
        fill(2, "two").await;
        let (code, text) = command(&cluster, &format!("create two --dest {TARGET} --backup-name b2")).await;
        assert!(code == 0 && text.contains("\"isIncremental\":true"), "{text}");
        let address = ended(&cluster, "b2").await["backupURL"].as_str().expect("an address").to_owned();
        assert!(store_has(&store, "backup_b2.cfg"));

        // Into another volume: replicas of their own directories, and no frontend.
        cluster.kill(&engine);
        for process in &cluster.replicas {
            cluster.kill(process);
        }
        pause(1).await;
        for index in 0..2 {
            cluster.start_replica(index, "restored", "");
        }
        pause(1).await;
        cluster.start_engine(&[0, 1], "--frontend=");
        pause(2).await;
        let first = address.replace("b2", "b1");
        for backup in [first, address] {
            cluster.user(move |task| async move { restore(&task, &backup).await }).await;
        }
        cluster
            .user(|task| async move {
                let frontend = "tgt-blockdev".to_owned();
                let start = longhorn_rpc::ptypes::VolumeFrontendStartRequest { frontend };
                task.controller().volume_frontend_start(start).await.expect("up");
                let device = device().await;
                for (block, content) in pattern(2, 600..1000) {
                    assert_eq!(device.read_at(block * 4096, 4096).await.expect("read"), content);
                }
                for (block, content) in pattern(1, 300..600) {
                    assert_eq!(device.read_at(block * 4096, 4096).await.expect("read"), content);
                }
            })
            .await;
    });
}

fn store_has(store: &corral_object_store::BucketStore, name: &str) -> bool {
    store.objects("backups", "").iter().any(|object| object.key.ends_with(name))
}

async fn restore(task: &longhorn_engine::task::Task, backup: &str) {
    let credential = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINTS"]
        .into_iter()
        .map(|name| (name.to_owned(), host::process::env_var(name).expect("set")))
        .collect();
    let context = Context::new(Behaviour::default());
    task.restore_backup(backup, &credential, 2, &context).await.expect("begun");
    loop {
        host::time::sleep(std::time::Duration::from_secs(2)).await;
        let statuses = task.restore_status().await.expect("statuses");
        assert!(statuses.values().all(|status| status.error.is_empty()), "{statuses:?}");
        if statuses.values().all(|status| !status.is_restoring && status.state == "complete") {
            return;
        }
    }
}

#[test]
fn what_cannot_be_backed_up_is_said() {
    simulated(|| async {
        start_store();
        let cluster = Cluster::new(1);
        cluster.up("").await;
        let cases = [
            (
                format!("create none --dest {TARGET}"),
                "snapshot disk volume-snap-none.img not found on replica tcp://10.1.0.10:10100",
            ),
            ("create one".to_owned(), "missing required parameter --dest"),
            (format!("create volume-head --dest {TARGET}"), "cannot backup the head disk in the chain"),
            (
                "status --replica tcp://10.1.0.77:10100 b1".to_owned(),
                "failed to get backup status on tcp://10.1.0.77:10100 for b1: unknown replica",
            ),
            (format!("restore {TARGET}?backup=b1&volume=vol-1"), "volume frontend enabled, cannot perform restore"),
        ];
        for (line, expected) in cases {
            let (code, text) = command(&cluster, &line).await;
            assert!(code == 1 && text.contains(expected), "{line}: {text}");
        }
        let (code, text) = command(&cluster, "status unknown").await;
        assert!(code == 0 && text.contains("backup not found unknown"), "{text}");
    });
}
