//! Adding a replica to a volume, step by step (`AddReplica` in sync.go upstream).

use std::collections::BTreeMap;
use std::time::Duration;

use longhorn_replica::format::names::HEAD;
use longhorn_replica::{LONG_TIMEOUT, ReplicaClient};
use longhorn_rpc::{ptypes, rpc_text};
use serde::Serialize;

use super::{ReplicaInfo, Result, Task, replica_failed};
use crate::controller::Mode;

/// What is to be added, and how.
#[derive(Clone, Debug, Default)]
pub struct AddReplica {
    /// The replica's address.
    pub address: String,
    /// The replica's own name, if it is known.
    pub instance: String,
    /// The size that the volume is to have, in bytes.
    pub size: i64,
    /// The size that it had, in bytes.
    pub current_size: i64,
    /// Leave files alone whose checksums are known to be the same.
    pub fast_sync: bool,
    /// How long a request of a file transfer may take, in seconds.
    pub file_sync_timeout_seconds: i32,
    /// How long the transfer of a file may take, in seconds; 0 for a day.
    pub grpc_timeout_seconds: i64,
    /// Directories of a good replica and of the new one, if both are on one machine.
    pub local_sync: Option<(String, String)>,
}

/// How a rebuild is going on a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaRebuildStatus {
    /// Why it failed.
    pub error: String,
    /// Whether it goes on.
    pub is_rebuilding: bool,
    /// How far it is, in per cent.
    pub progress: i32,
    /// `in_progress`, `complete`, `error`, or nothing.
    pub state: String,
    /// The replica it is rebuilt from.
    pub from_replica_address: String,
}

impl Task {
    async fn start(&self, request: &AddReplica) -> Result<()> {
        let start = ptypes::VolumeStartRequest {
            replica_addresses: vec![request.address.clone()],
            size: request.size,
            current_size: request.current_size,
        };
        self.controller().volume_start(start).await.map(drop).map_err(self.failed("start volume"))
    }

    async fn create_replica(&self, address: &str, snapshot_required: bool) -> Result<()> {
        let mode = ptypes::ReplicaMode::Wo.into();
        let request = ptypes::ControllerReplicaCreateRequest { address: address.to_owned(), snapshot_required, mode };
        let created = self.controller().controller_replica_create(request).await;
        let doing = format!("create replica {address} for volume");
        created.map(drop).map_err(self.failed(&doing))
    }

    /// Adds a replica and gives it all that the others have. What fails leaves the replica in the volume: it is for the
    /// caller to remove it.
    ///
    /// # Errors
    /// The replica cannot be used, or a step failed.
    pub async fn add_replica(&self, request: &AddReplica) -> Result<()> {
        let volume = self.volume().await?;
        if volume.replica_count == 0 {
            return self.start(request).await;
        }
        let AddReplica { address, instance, .. } = request;
        self.fit_size(address, instance, volume.size).await?;
        self.forget_failed_rebuild(address, instance).await?;
        self.create_replica(address, true).await?;
        let from = self.source().await?;
        let to = self.target(address, instance).await?;
        set_rebuilding(&to, address, true).await?;
        let named = ptypes::ReplicaAddress { address: address.clone(), instance_name: instance.clone() };
        let doing = format!("prepare rebuilding replica {address} for volume");
        let prepared = self.controller().replica_prepare_rebuild(named.clone()).await;
        let files = prepared.map_err(self.failed(&doing))?.into_inner().sync_file_info_list;
        if files.iter().any(|file| file.from_file_name.contains(HEAD)) {
            return Err("sync file list shouldn't contain volume head".into());
        }
        self.transfer(&to, &from, files, request).await?;
        to.control().replica_reload(()).await.map_err(replica_failed("reload", address))?;
        self.verify_rebuilt(address, instance).await?;
        set_rebuilding(&to, address, false).await
    }

    async fn transfer(
        &self,
        to: &ReplicaClient,
        from: &str,
        files: Vec<ptypes::SyncFileInfo>,
        request: &AddReplica,
    ) -> Result<()> {
        let local_sync = request.local_sync.as_ref();
        let sync = ptypes::FilesSyncRequest {
            from_address: from.to_owned(),
            to_host: to.host().to_owned(),
            sync_file_info_list: files,
            fast_sync: request.fast_sync,
            file_sync_http_client_timeout: request.file_sync_timeout_seconds,
            grpc_timeout_seconds: request.grpc_timeout_seconds,
            local_sync: local_sync.map(|(source, target)| ptypes::FileLocalSync {
                source_path: source.clone(),
                target_path: target.clone(),
            }),
        };
        let limit = match request.grpc_timeout_seconds {
            seconds if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()),
            _ => LONG_TIMEOUT,
        };
        let synced = to.long_sync(limit).files_sync(sync).await;
        Ok(synced.map(drop).map_err(|status| format!("failed to sync files from {from}: {}", rpc_text(&status)))?)
    }

    /// Adds a replica that a restore will fill. It is taken into full use by [`Task::verify_rebuilt`].
    ///
    /// # Errors
    /// The replica cannot be used.
    pub async fn add_restore_replica(&self, request: &AddReplica) -> Result<()> {
        let volume = self.volume().await?;
        if volume.replica_count == 0 {
            return self.start(request).await;
        }
        let AddReplica { address, instance, .. } = request;
        let checked = async {
            let size = self.replica_state(address, instance).await?.size;
            if size.parse() != Ok(volume.size) {
                let expected = volume.size;
                return Err(format!("rebuilding replica size {size} is not the same as volume size {expected}").into());
            }
            Ok(())
        };
        let checked = checked.await;
        let closed = self.replica(address, instance)?.control().replica_close(()).await;
        match (checked, closed) {
            (Ok(()), Ok(_)) => self.create_replica(address, false).await,
            (Ok(()), Err(status)) => Err(replica_failed("close", address)(status).into()),
            (Err(error), _) => Err(error),
        }
    }

    /// Takes a replica into full use if it has what it needs.
    ///
    /// # Errors
    /// It has not; then it has failed.
    pub async fn verify_rebuilt(&self, address: &str, instance: &str) -> Result<()> {
        let named = ptypes::ReplicaAddress { address: address.to_owned(), instance_name: instance.to_owned() };
        let verified = self.controller().replica_verify_rebuild(named).await;
        let doing = format!("verify rebuilt replica {address} for volume");
        verified.map(drop).map_err(self.failed(&doing))
    }

    /// Removes a replica from the volume.
    ///
    /// # Errors
    /// It is the last one of a volume in use.
    pub async fn remove_replica(&self, address: &str) -> Result<()> {
        let named = ptypes::ReplicaAddress { address: address.to_owned(), instance_name: String::new() };
        let removed = self.controller().replica_delete(named).await;
        let doing = format!("delete replica {address} for volume");
        removed.map(drop).map_err(self.failed(&doing))
    }

    /// Makes a smaller replica as large as the volume.
    async fn fit_size(&self, address: &str, instance: &str, size: i64) -> Result<()> {
        let state = self.replica_state(address, instance).await?;
        let found: i64 = state.size.parse().map_err(|_| format!("invalid size {:?}", state.size))?;
        if found > size {
            return Err(format!("cannot add new replica larger than size {size}").into());
        }
        if found == size {
            return Ok(());
        }
        let mut client = self.replica(address, instance)?.control();
        let was_closed = state.state == "closed";
        if was_closed {
            client.replica_open(()).await.map_err(replica_failed("open", address))?;
        }
        client
            .replica_expand(ptypes::ReplicaExpandRequest { size })
            .await
            .map_err(replica_failed("expand", address))?;
        if was_closed {
            client.replica_close(()).await.map_err(replica_failed("close", address))?;
        }
        Ok(())
    }

    /// A rebuild that broke off leaves its mark.
    async fn forget_failed_rebuild(&self, address: &str, instance: &str) -> Result<()> {
        let state = self.replica_state(address, instance).await?;
        if state.state != "closed" || !state.rebuilding {
            return Ok(());
        }
        let client = self.replica(address, instance)?;
        client.control().replica_open(()).await.map_err(replica_failed("open", address))?;
        set_rebuilding(&client, address, false).await?;
        client.control().replica_close(()).await.map_err(replica_failed("close", address))?;
        Ok(())
    }

    /// A good replica to copy from: the first that does not purge.
    async fn source(&self) -> Result<String> {
        for ReplicaInfo { address, mode } in self.replicas().await? {
            if mode != Mode::ReadWrite {
                continue;
            }
            match self.purge_status(&address).await {
                Ok(status) if !status.is_purging => return Ok(address),
                Ok(_) => tracing::warn!(address, "the replica is purging snapshots, cannot be copied from"),
                Err(error) => tracing::warn!(address, %error, "failed to check the purge status"),
            }
        }
        Err("failed to find good replica to copy from".into())
    }

    async fn target(&self, address: &str, instance: &str) -> Result<ReplicaClient> {
        let found = self.replicas().await?.into_iter().find(|replica| replica.address == address);
        match found {
            Some(ReplicaInfo { mode: Mode::WriteOnly, .. }) => self.replica(address, instance),
            Some(ReplicaInfo { mode, .. }) => Err(format!("replica {address} is not in mode WO: {mode}").into()),
            None => Err("failed to find target replica to copy to".into()),
        }
    }

    /// How rebuilds are going. Of a volume that is being restored nothing is told.
    ///
    /// # Errors
    /// The engine or a replica cannot be asked; what else a replica cannot tell stands in its own status.
    pub async fn rebuild_status(&self) -> Result<BTreeMap<String, ReplicaRebuildStatus>> {
        let mut statuses = BTreeMap::new();
        for ReplicaInfo { address, mode } in self.replicas().await? {
            if mode != Mode::WriteOnly {
                continue;
            }
            let client = self.replica(&address, "")?;
            let restore = client.sync().restore_status(()).await.map_err(|status| {
                let error = rpc_text(&status);
                format!("failed to check the restore status before fetching the rebuild status: {error}")
            })?;
            if !restore.into_inner().dest_file_name.is_empty() {
                return Ok(statuses);
            }
            let status = match client.sync().replica_rebuild_status(()).await {
                Ok(status) => {
                    let status = status.into_inner();
                    ReplicaRebuildStatus {
                        error: status.error,
                        is_rebuilding: status.is_rebuilding,
                        progress: status.progress,
                        state: status.state,
                        from_replica_address: status.from_replica_address,
                    }
                }
                Err(status) => ReplicaRebuildStatus {
                    error: format!("failed to get replica rebuild status of {address}: {}", rpc_text(&status)),
                    ..ReplicaRebuildStatus::default()
                },
            };
            statuses.insert(address, status);
        }
        Ok(statuses)
    }
}

async fn set_rebuilding(client: &ReplicaClient, address: &str, rebuilding: bool) -> Result<()> {
    let set = client.control().rebuilding_set(ptypes::RebuildingSetRequest { rebuilding }).await;
    Ok(set.map(drop).map_err(|status| {
        format!("failed to set rebuilding to {rebuilding} for replica {address}: {}", rpc_text(&status))
    })?)
}
