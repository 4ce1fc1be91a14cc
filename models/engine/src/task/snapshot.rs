//! Snapshots of a volume: list, remove, purge, hash, clone (sync.go upstream).

use std::collections::BTreeMap;

use longhorn_replica::LONG_TIMEOUT;
use longhorn_replica::format::names::{HEAD, is_head, snapshot_of};
use longhorn_rpc::{ptypes, rpc_text};
use serde::Serialize;

use super::{ReplicaError, ReplicaInfo, Result, Task, check};
use crate::controller::Mode;

/// A snapshot, or the head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SnapshotInfo {
    /// Its name; `volume-head` is the head's.
    pub name: String,
    /// The snapshot before it.
    pub parent: String,
    /// Those after it.
    pub children: BTreeMap<String, bool>,
    /// Whether it goes with the next purge.
    pub removed: bool,
    /// Whether somebody asked for it.
    #[serde(rename = "usercreated")]
    pub user_created: bool,
    /// When it was taken.
    pub created: String,
    /// The space it takes, in bytes.
    pub size: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// How a purge is going on a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotPurgeStatus {
    /// Why it failed.
    pub error: String,
    /// Whether it goes on.
    pub is_purging: bool,
    /// How far it is, in per cent.
    pub progress: i32,
    /// `in_progress`, `complete`, `error`, or nothing.
    pub state: String,
}

/// How hashing a snapshot is going on a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotHashStatus {
    /// `in_progress`, `complete` or `error`.
    pub state: String,
    /// The checksum.
    pub checksum: String,
    /// Why it failed.
    pub error: String,
    /// Whether the disk has rotted.
    pub silently_corrupted: bool,
}

/// How cloning a snapshot is going on a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotCloneStatus {
    /// Whether it goes on.
    pub is_cloning: bool,
    /// Why it failed.
    pub error: String,
    /// How far it is, in per cent.
    pub progress: i32,
    /// `in_progress`, `complete`, `error`, or nothing.
    pub state: String,
    /// The replica it is cloned from.
    pub from_replica_address: String,
    /// The snapshot.
    pub snapshot_name: String,
}

fn snapshot_name(disk: &str) -> std::result::Result<String, String> {
    match snapshot_of(disk) {
        Some(snapshot) => Ok(snapshot.to_owned()),
        None if is_head(disk) => Ok(HEAD.to_owned()),
        None => Err(format!("BUG: cannot get snapshot info: invalid snapshot disk name {disk}")),
    }
}

/// The snapshots that a replica tells of, the head among them.
///
/// # Errors
/// A disk has a name that is none.
pub fn snapshots_info(replica: &ptypes::Replica) -> Result<BTreeMap<String, SnapshotInfo>> {
    let mut snapshots = BTreeMap::new();
    for (disk, info) in replica.disks.iter().filter(|(disk, _)| **disk != replica.backing_file) {
        let name = snapshot_name(disk)?;
        let mut children = BTreeMap::new();
        for child in info.children.keys() {
            children.insert(snapshot_name(child)?, true);
        }
        let snapshot = SnapshotInfo {
            name: name.clone(),
            parent: if info.parent.is_empty() { String::new() } else { snapshot_name(&info.parent)? },
            children,
            removed: info.removed,
            user_created: info.user_created,
            created: info.created.clone(),
            size: info.size.clone(),
            labels: info.labels.clone(),
        };
        snapshots.insert(name, snapshot);
    }
    Ok(snapshots)
}

impl Task {
    /// Takes a snapshot; its name.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn create_snapshot(&self, name: &str, labels: BTreeMap<String, String>, freeze: bool) -> Result<String> {
        let request = ptypes::VolumeSnapshotRequest { name: name.to_owned(), labels, freeze_filesystem: freeze };
        let taken = self.controller().volume_snapshot(request).await;
        let doing = format!("create snapshot {name} for volume");
        Ok(taken.map_err(self.failed(&doing))?.into_inner().name)
    }

    /// The volume's snapshots: those of the good replica that has most, for where there are more something is still
    /// under way.
    ///
    /// # Errors
    /// A good replica cannot be asked.
    pub async fn snapshots(&self) -> Result<BTreeMap<String, SnapshotInfo>> {
        self.snapshots_of(&self.replicas().await?).await
    }

    pub(super) async fn snapshots_of(&self, replicas: &[ReplicaInfo]) -> Result<BTreeMap<String, SnapshotInfo>> {
        let mut most = BTreeMap::new();
        for replica in replicas.iter().filter(|replica| replica.mode == Mode::ReadWrite) {
            let state = self.replica_state(&replica.address, "").await;
            let state = state.map_err(|error| format!("BUG: cannot get snapshot info: {error}"))?;
            let snapshots = snapshots_info(&state)?;
            if snapshots.len() > most.len() {
                most = snapshots;
            }
        }
        Ok(most)
    }

    /// Goes back to a snapshot.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn revert(&self, snapshot: &str) -> Result<()> {
        let reverted = self.controller().volume_revert(ptypes::VolumeRevertRequest { name: snapshot.to_owned() }).await;
        let doing = format!("revert to snapshot {snapshot} for volume");
        reverted.map(drop).map_err(self.failed(&doing))
    }

    /// Marks a snapshot as removed on all replicas.
    ///
    /// # Errors
    /// A replica is being rebuilt, is not good, or cannot mark it.
    pub async fn delete_snapshot(&self, snapshot: &str) -> Result<()> {
        let replicas = self.replicas().await?;
        for replica in &replicas {
            if self.is_rebuilding(&replica.address).await? {
                return Err(format!("cannot remove a snapshot because {} is rebuilding", replica.address).into());
            }
        }
        for ReplicaInfo { address, mode } in &replicas {
            if *mode != Mode::ReadWrite {
                return Err(format!("can only mark snapshot as removed from replica in mode RW, got {mode}").into());
            }
            let client = self.replica(address, "")?;
            let request = ptypes::DiskMarkAsRemovedRequest { name: snapshot.to_owned() };
            client.control().disk_mark_as_removed(request).await.map_err(|status| {
                format!("failed to mark disk {snapshot} as removed for replica {address}: {}", rpc_text(&status))
            })?;
            let request = ptypes::SnapshotHashCancelRequest { snapshot_name: snapshot.to_owned() };
            client
                .sync()
                .snapshot_hash_cancel(request)
                .await
                .map_err(|status| format!("failed to cancel snapshot {snapshot} hash task: {}", rpc_text(&status)))?;
        }
        Ok(())
    }

    /// Begins to purge all replicas. With `skip` those that do so already are no failure.
    ///
    /// # Errors
    /// A replica is being rebuilt or purged, or cannot begin.
    pub async fn purge_snapshots(&self, skip: bool) -> Result<()> {
        let replicas =
            self.replicas().await.map_err(|error| format!("failed to list replicas before purging: {error}"))?;
        let mut errors = Vec::new();
        for ReplicaInfo { address, .. } in &replicas {
            let mut fail = |message: String| errors.push(ReplicaError { address: address.clone(), message });
            match self.is_rebuilding(address).await {
                Ok(false) => {}
                Ok(true) => fail(format!("cannot purge snapshots because {address} is rebuilding")),
                Err(error) => {
                    fail(format!("failed to check if replica {address} is rebuilding before purging: {error}"));
                }
            }
            match self.purge_status(address).await {
                Ok(status) if !status.is_purging => {}
                Ok(_) if skip => return Ok(()),
                Ok(_) => fail(format!("cannot purge snapshots because {address} is already purging snapshots")),
                Err(error) => {
                    fail(format!("failed to check if replica {address} is purging before purging: {error}"));
                }
            }
        }
        check(errors)?;
        let mut errors = self
            .on_each(&replicas, |replica| async move {
                let purged = self.replica(&replica.address, "")?.sync().snapshot_purge(()).await;
                let address = &replica.address;
                Ok(purged.map(drop).map_err(|status| {
                    format!("replica {address} failed to execute snapshot purge: {}", rpc_text(&status))
                })?)
            })
            .await;
        errors.retain(|error| !(skip && error.message.contains("already purging")));
        check(errors)
    }

    pub(super) async fn purge_status(&self, address: &str) -> Result<ptypes::SnapshotPurgeStatusResponse> {
        let status = self.replica(address, "")?.sync().snapshot_purge_status(()).await;
        Ok(status.map_err(|status| rpc_text(&status))?.into_inner())
    }

    /// How purging goes on the replicas.
    ///
    /// # Errors
    /// The engine cannot be asked; what a replica cannot tell stands in its own status.
    pub async fn purge_snapshots_status(&self) -> Result<BTreeMap<String, SnapshotPurgeStatus>> {
        let mut statuses = BTreeMap::new();
        for ReplicaInfo { address, mode } in self.replicas().await? {
            if mode == Mode::Error {
                continue;
            }
            let status = match self.purge_status(&address).await {
                Ok(status) => SnapshotPurgeStatus {
                    error: status.error,
                    is_purging: status.is_purging,
                    progress: status.progress,
                    state: status.state,
                },
                Err(error) => SnapshotPurgeStatus {
                    error: format!("failed to get snapshot purge status of {address}: {error}"),
                    ..SnapshotPurgeStatus::default()
                },
            };
            statuses.insert(address, status);
        }
        Ok(statuses)
    }

    /// Begins to hash a snapshot on all replicas.
    ///
    /// # Errors
    /// A replica is not good, is being rebuilt, or hashes already.
    pub async fn hash_snapshot(&self, snapshot: &str, again: bool) -> Result<()> {
        const REFUSED: &str = "cannot request hashing snapshot";
        let replicas = self.replicas().await?;
        for ReplicaInfo { address, mode } in &replicas {
            if *mode != Mode::ReadWrite {
                return Err(format!("{REFUSED} because {address} is in {mode} mode").into());
            }
            if self.is_rebuilding(address).await? {
                return Err(format!("{REFUSED} because {address} is rebuilding").into());
            }
            let lock = self.replica(address, "")?.sync().snapshot_hash_lock_state(()).await;
            let lock =
                lock.map_err(|status| format!("failed to get snapshot hash lock state: {}", rpc_text(&status)))?;
            if lock.into_inner().is_locked {
                return Err(format!("{REFUSED} because {address} is hashing snapshot").into());
            }
        }
        let errors = self.on_each(&replicas, |replica| async move {
            let request = ptypes::SnapshotHashRequest { snapshot_name: snapshot.to_owned(), rehash: again };
            let begun = self.replica(&replica.address, "")?.sync().snapshot_hash(request).await;
            Ok(begun.map(drop).map_err(|status| rpc_text(&status))?)
        });
        check(errors.await)
    }

    /// How hashing a snapshot goes on the replicas.
    ///
    /// # Errors
    /// The engine cannot be asked; what a replica cannot tell stands in its own status.
    pub async fn hash_snapshot_status(&self, snapshot: &str) -> Result<BTreeMap<String, SnapshotHashStatus>> {
        let mut statuses = BTreeMap::new();
        for ReplicaInfo { address, mode } in self.replicas().await? {
            let asked = async {
                if mode != Mode::ReadWrite {
                    return Err(format!("replica {address} since it is in {mode} mode").into());
                }
                if self.is_rebuilding(&address).await? {
                    return Err(format!("replica {address} is rebuilding").into());
                }
                let request = ptypes::SnapshotHashStatusRequest { snapshot_name: snapshot.to_owned() };
                let status = self.replica(&address, "")?.sync().snapshot_hash_status(request).await;
                let failed =
                    |status| format!("failed to get snapshot hashing status of {address}: {}", rpc_text(&status));
                Result::Ok(status.map_err(failed)?.into_inner())
            };
            let status = match asked.await {
                Ok(status) => SnapshotHashStatus {
                    state: status.state,
                    checksum: status.checksum,
                    error: status.error,
                    silently_corrupted: status.silently_corrupted,
                },
                Err(error) => SnapshotHashStatus {
                    state: "error".to_owned(),
                    error: error.to_string(),
                    ..SnapshotHashStatus::default()
                },
            };
            statuses.insert(address, status);
        }
        Ok(statuses)
    }

    /// How cloning goes on the replicas.
    ///
    /// # Errors
    /// The engine cannot be asked; what a replica cannot tell stands in its own status.
    pub async fn clone_status(&self) -> Result<BTreeMap<String, SnapshotCloneStatus>> {
        let mut statuses = BTreeMap::new();
        for ReplicaInfo { address, .. } in self.replicas().await? {
            let status = match self.replica(&address, "")?.sync().snapshot_clone_status(()).await {
                Ok(status) => {
                    let status = status.into_inner();
                    SnapshotCloneStatus {
                        is_cloning: status.is_cloning,
                        error: status.error,
                        progress: status.progress,
                        state: status.state,
                        from_replica_address: status.from_replica_address,
                        snapshot_name: status.snapshot_name,
                    }
                }
                Err(status) => SnapshotCloneStatus {
                    error: format!("failed to get snapshot clone status of {address}: {}", rpc_text(&status)),
                    ..SnapshotCloneStatus::default()
                },
            };
            statuses.insert(address, status);
        }
        Ok(statuses)
    }
}

/// Clones a snapshot of one volume into all replicas of another.
///
/// # Errors
/// The source has no good replica, the target has one that is not, or a replica failed.
pub async fn clone_snapshot(
    target: &Task,
    source: &Task,
    snapshot: &str,
    export_backing_image: bool,
    file_sync_timeout_seconds: i32,
) -> Result<()> {
    let good = source.replicas().await?.into_iter().find(|replica| replica.mode == Mode::ReadWrite);
    let good = good.ok_or("cannot find a RW replica in the source volume for cloning")?;
    let replicas = target.replicas().await?;
    if let Some(ReplicaInfo { address, mode }) = replicas.iter().find(|replica| replica.mode != Mode::ReadWrite) {
        return Err(format!("cannot do snapshot clone because replica {address} in {mode} mode. All replicas in the target volume must be in RW mode").into());
    }
    let good = &good.address;
    let errors = target.on_each(&replicas, |replica| async move {
        let client = target.replica(&replica.address, "")?;
        let request = ptypes::SnapshotCloneRequest {
            from_address: good.clone(),
            to_host: client.host().to_owned(),
            snapshot_file_name: snapshot.to_owned(),
            export_backing_image_if_exist: export_backing_image,
            file_sync_http_client_timeout: file_sync_timeout_seconds,
            from_volume_name: source.volume.clone(),
        };
        let cloned = client.long_sync(LONG_TIMEOUT).snapshot_clone(request).await;
        Ok(cloned.map(drop).map_err(|status| {
            let error = rpc_text(&status);
            format!("failed to clone snapshot {snapshot} from replica {good} to host {}: {error}", client.host())
        })?)
    });
    check(errors.await)
}
