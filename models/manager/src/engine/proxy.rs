//! The client of an instance manager's proxy, through which engines are asked and told things (`engineapi/proxy*.go`,
//! longhorn-instance-manager `pkg/client/proxy*.go`).

use std::collections::BTreeMap;
use std::time::Duration;

use longhorn_api::go::Map;
use longhorn_api::kinds::engine::{
    Engine, PurgeStatus, RebuildStatus, ReplicaMode, RestoreStatus, SnapshotCloneStatus, SnapshotInfo,
};
use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::kinds::volume::{DataEngine, VolumeFrontend};
use longhorn_api::{InstanceManager, names};
use longhorn_rpc::imrpc::proxy_engine_service_client::ProxyEngineServiceClient;
use longhorn_rpc::{Channel, imrpc, ptypes};
use serde::Deserialize;

use super::connection::{call, open};
use super::instance_manager::{engine_number, frontend_name};
use crate::runtime::backups::name;
use crate::runtime::{Context, Datastore, Error, Result};

/// Port of the proxy.
const PORT: u16 = 8501;
/// How long a call may take: twice what the proxy gives the engine (`GRPCServiceTimeout`).
const TIMEOUT: Duration = Duration::from_secs(360);

/// What an engine says of its volume.
#[derive(Debug, Clone, Default)]
pub struct VolumeInfo {
    /// Bytes.
    pub size: i64,
    /// Where it can be used, as the engine calls it.
    pub endpoint: String,
    /// Which kind of place that is.
    pub frontend: String,
    /// Whether it grows just now.
    pub is_expanding: bool,
    /// Why it did not grow.
    pub last_expansion_error: String,
    /// When that was.
    pub last_expansion_failed_at: String,
    /// Whether a trim reaches into snapshots.
    pub unmap_mark_snap_chain_removed: bool,
    /// How many snapshots it may have.
    pub snapshot_max_count: i64,
    /// How many bytes they may have.
    pub snapshot_max_size: i64,
}

/// What is copied within a node when a replica is rebuilt beside another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSync {
    /// Folder of the replica that has the data.
    pub source: String,
    /// Folder of the new one.
    pub target: String,
}

/// Restoring failed on some replicas.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RestoreFailure {
    /// One by one.
    pub replica_errors: Vec<ReplicaError>,
}

/// What one replica met.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ReplicaError {
    /// `tcp://IP:PORT`
    pub address: String,
    /// In words.
    pub message: String,
}

/// A backup of a snapshot, as the engine is asked for it.
#[derive(Debug, Clone, Default)]
pub struct BackupOrder {
    /// Name of the backup.
    pub backup: String,
    /// What is backed up.
    pub snapshot: String,
    /// Where to.
    pub target: String,
    /// Below the volume's data, if any.
    pub backing_image: String,
    /// The backing image's content.
    pub backing_image_checksum: String,
    /// `none`, `lz4` or `gzip`
    pub compression_method: String,
    /// How many blocks at once.
    pub concurrent_limit: i32,
    /// Of the claim.
    pub storage_class: String,
    /// Labels of the backup.
    pub labels: BTreeMap<String, String>,
    /// Access to the target.
    pub credential: BTreeMap<String, String>,
    /// Mode and block size.
    pub parameters: BTreeMap<String, String>,
}

/// A connection to the proxy of the manager that runs an engine.
pub struct EngineProxy {
    service: ProxyEngineServiceClient<Channel>,
    channel: Channel,
    engine: imrpc::ProxyEngineRequest,
    frontend: VolumeFrontend,
}

impl EngineProxy {
    /// Connects to the proxy in front of an engine.
    pub async fn connect(datastore: &Datastore, engine: &Engine) -> Result<Self> {
        let manager = datastore.instance_managers.get(&engine.status.instance_manager_name)?;
        Self::connect_to(&manager, engine).await.context(|| "failed to get engine client proxy")
    }

    async fn connect_to(manager: &InstanceManager, engine: &Engine) -> Result<Self> {
        let (manager_name, status) = (name(&manager.metadata), &manager.status);
        if status.current_state != InstanceManagerState::Running {
            let state = &status.current_state;
            return Err(Error::message(format!("{manager_name} instance manager is in {state}, not running state")));
        }
        if status.ip.is_empty() {
            return Err(Error::message(format!("{manager_name} instance manager status IP is missing")));
        }
        let connection = open(&status.ip, PORT, TIMEOUT).await;
        let connection =
            connection.context(|| format!("failed to check Proxy Service Client connection for {manager_name}"))?;
        let number = engine_number(&engine.spec.data_engine);
        Ok(Self {
            service: ProxyEngineServiceClient::new(connection.clone()),
            channel: connection,
            engine: imrpc::ProxyEngineRequest {
                address: format!("{}:{}", engine.status.storage_ip, engine.status.port),
                backend_store_driver: number,
                data_engine: number,
                engine_name: name(&engine.metadata).to_owned(),
                volume_name: engine.spec.volume_name.clone(),
            },
            frontend: engine.spec.frontend.clone(),
        })
    }

    fn request(&self) -> Option<imrpc::ProxyEngineRequest> {
        Some(self.engine.clone())
    }

    fn failed(&self, to: &str) -> impl FnOnce() -> String + use<> {
        let text = format!("{}: failed to {to} for volume", self.engine.address);
        move || text
    }

    /// Modes of the engine's replicas, by URL. Whatever is neither readable nor being rebuilt is an error.
    pub async fn replicas(&mut self) -> Result<BTreeMap<String, ReplicaMode>> {
        let failed = self.failed("list replicas");
        let listed = call(self.service.replica_list(self.engine.clone())).await.context(failed)?;
        let replicas = listed.replica_list.unwrap_or_default().replicas.into_iter();
        Ok(replicas
            .map(|replica| {
                let mode = match replica.mode() {
                    ptypes::ReplicaMode::Rw => ReplicaMode::ReadWrite,
                    ptypes::ReplicaMode::Wo => ReplicaMode::WriteOnly,
                    ptypes::ReplicaMode::Err => ReplicaMode::Error,
                };
                (replica.address.unwrap_or_default().address, mode)
            })
            .collect())
    }

    /// The volume.
    pub async fn volume(&mut self) -> Result<VolumeInfo> {
        let failed = self.failed("get volume");
        let found = call(self.service.volume_get(self.engine.clone())).await.context(failed)?;
        let volume = found.volume.unwrap_or_default();
        Ok(VolumeInfo {
            size: volume.size,
            endpoint: volume.endpoint,
            frontend: volume.frontend,
            is_expanding: volume.is_expanding,
            last_expansion_error: volume.last_expansion_error,
            last_expansion_failed_at: volume.last_expansion_failed_at,
            unmap_mark_snap_chain_removed: volume.unmap_mark_snap_chain_removed,
            snapshot_max_count: volume.snapshot_max_count.into(),
            snapshot_max_size: volume.snapshot_max_size,
        })
    }

    /// Lets the volume grow.
    pub async fn expand(&mut self, size: i64) -> Result<()> {
        let failed = self.failed("expand volume");
        let request = imrpc::EngineVolumeExpandRequest {
            proxy_engine_request: self.request(),
            expand: Some(ptypes::VolumeExpandRequest { size }),
        };
        call(self.service.volume_expand(request)).await.context(failed).map(drop)
    }

    /// Opens the volume to its node.
    pub async fn start_frontend(&mut self, engine: &Engine) -> Result<()> {
        let frontend = frontend_name(&engine.spec.data_engine, &self.frontend)?;
        if frontend.is_empty() {
            return Err(Error::message("cannot start empty frontend"));
        }
        let failed = self.failed("start volume frontend");
        let request = imrpc::EngineVolumeFrontendStartRequest {
            proxy_engine_request: self.request(),
            frontend_start: Some(ptypes::VolumeFrontendStartRequest { frontend: frontend.to_owned() }),
        };
        call(self.service.volume_frontend_start(request)).await.context(failed).map(drop)
    }

    /// Says whether a trim reaches into snapshots.
    pub async fn set_unmap_mark_snap_chain_removed(&mut self, enabled: bool) -> Result<()> {
        let failed = self.failed("set flag UnmapMarkSnapChainRemoved");
        let request = imrpc::EngineVolumeUnmapMarkSnapChainRemovedSetRequest {
            proxy_engine_request: self.request(),
            unmap_mark_snap: Some(ptypes::VolumeUnmapMarkSnapChainRemovedSetRequest { enabled }),
        };
        call(self.service.volume_unmap_mark_snap_chain_removed_set(request)).await.context(failed).map(drop)
    }

    /// Says how many snapshots there may be.
    pub async fn set_snapshot_max_count(&mut self, count: i64) -> Result<()> {
        let failed = self.failed("set flag SnapshotMaxCount");
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let request = imrpc::EngineVolumeSnapshotMaxCountSetRequest {
            proxy_engine_request: self.request(),
            count: Some(ptypes::VolumeSnapshotMaxCountSetRequest { count }),
        };
        call(self.service.volume_snapshot_max_count_set(request)).await.context(failed).map(drop)
    }

    /// Says how many bytes snapshots may have.
    pub async fn set_snapshot_max_size(&mut self, size: i64) -> Result<()> {
        let failed = self.failed("set flag SnapshotMaxSize");
        let request = imrpc::EngineVolumeSnapshotMaxSizeSetRequest {
            proxy_engine_request: self.request(),
            size: Some(ptypes::VolumeSnapshotMaxSizeSetRequest { size }),
        };
        call(self.service.volume_snapshot_max_size_set(request)).await.context(failed).map(drop)
    }

    /// All snapshots and the live head, by name.
    pub async fn snapshots(&mut self) -> Result<Map<SnapshotInfo>> {
        let failed = self.failed("list snapshots");
        let listed = call(self.service.snapshot_list(self.engine.clone())).await.context(failed)?;
        let info = |disk: imrpc::EngineSnapshotDiskInfo| SnapshotInfo {
            name: disk.name,
            parent: disk.parent,
            children: disk.children.into_iter().collect(),
            removed: disk.removed,
            user_created: disk.user_created,
            created: disk.created,
            size: disk.size,
            labels: disk.labels.into_iter().collect(),
        };
        Ok(listed.disks.into_iter().map(|(name, disk)| (name, info(disk))).collect())
    }

    /// One snapshot.
    pub async fn snapshot(&mut self, snapshot: &str) -> Result<Option<SnapshotInfo>> {
        Ok(self.snapshots().await?.get(snapshot).cloned())
    }

    /// Takes a snapshot; gives its name.
    pub async fn create_snapshot(
        &mut self,
        snapshot: &str,
        labels: &BTreeMap<String, String>,
        freeze: bool,
    ) -> Result<String> {
        let failed = self.failed("snapshot volume");
        let request = imrpc::EngineVolumeSnapshotRequest {
            proxy_engine_request: self.request(),
            snapshot_volume: Some(ptypes::VolumeSnapshotRequest {
                name: snapshot.to_owned(),
                labels: labels.clone(),
                freeze_filesystem: freeze,
            }),
        };
        let taken = call(self.service.volume_snapshot(request)).await.context(failed)?;
        Ok(taken.snapshot.unwrap_or_default().name)
    }

    /// Marks a snapshot as removed; a purge merges it into its child.
    pub async fn delete_snapshot(&mut self, snapshot: &str) -> Result<()> {
        let failed = self.failed("remove snapshot");
        let request = imrpc::EngineSnapshotRemoveRequest {
            proxy_engine_request: self.request(),
            names: vec![snapshot.to_owned()],
        };
        call(self.service.snapshot_remove(request)).await.context(failed).map(drop)
    }

    /// Makes the volume what it was at a snapshot.
    pub async fn revert(&mut self, snapshot: &str) -> Result<()> {
        let failed = self.failed("revert snapshot");
        let request =
            imrpc::EngineSnapshotRevertRequest { proxy_engine_request: self.request(), name: snapshot.to_owned() };
        call(self.service.snapshot_revert(request)).await.context(failed).map(drop)
    }

    /// Starts to merge removed snapshots; if that is under way already, nothing is done.
    pub async fn purge(&mut self) -> Result<()> {
        let failed = self.failed("purge snapshots");
        let request =
            imrpc::EngineSnapshotPurgeRequest { proxy_engine_request: self.request(), skip_if_in_progress: true };
        call(self.service.snapshot_purge(request)).await.context(failed).map(drop)
    }

    /// How far each replica's purge is, by URL.
    pub async fn purge_status(&mut self) -> Result<Map<PurgeStatus>> {
        let failed = self.failed("get snapshot purge status");
        let found = call(self.service.snapshot_purge_status(self.engine.clone())).await.context(failed)?;
        let status = |status: ptypes::SnapshotPurgeStatusResponse| PurgeStatus {
            error: status.error,
            is_purging: status.is_purging,
            progress: status.progress.into(),
            state: status.state,
        };
        Ok(found.status.into_iter().map(|(replica, found)| (replica, status(found))).collect())
    }

    /// How far each replica's copying is, by URL.
    pub async fn clone_status(&mut self) -> Result<Map<SnapshotCloneStatus>> {
        let failed = self.failed("get snapshot clone status");
        let found = call(self.service.snapshot_clone_status(self.engine.clone())).await.context(failed)?;
        let status = |status: ptypes::SnapshotCloneStatusResponse| SnapshotCloneStatus {
            is_cloning: status.is_cloning,
            error: status.error,
            progress: status.progress.into(),
            state: status.state,
            from_replica_address: status.from_replica_address,
            snapshot_name: status.snapshot_name,
        };
        Ok(found.status.into_iter().map(|(replica, found)| (replica, status(found))).collect())
    }

    /// How far each replica's rebuilding is, by URL.
    pub async fn rebuild_status(&mut self) -> Result<Map<RebuildStatus>> {
        let failed = self.failed("get replicas rebuilding status");
        let found = call(self.service.replica_rebuilding_status(self.engine.clone())).await.context(failed)?;
        let status = |status: ptypes::ReplicaRebuildStatusResponse| RebuildStatus {
            error: status.error,
            is_rebuilding: status.is_rebuilding,
            progress: status.progress.into(),
            state: status.state,
            from_replica_address: status.from_replica_address,
        };
        Ok(found.status.into_iter().map(|(replica, found)| (replica, status(found))).collect())
    }

    /// Rebuilds a replica and returns when that is done. It may take `seconds` longer than other calls.
    #[allow(clippy::too_many_arguments, reason = "the request has them all")]
    pub async fn add_replica(
        &mut self,
        engine: &Engine,
        replica: &str,
        url: &str,
        restore: bool,
        fast_sync: bool,
        local_sync: Option<LocalSync>,
        file_sync_timeout_seconds: i64,
        seconds: i64,
    ) -> Result<()> {
        let to = format!("add {}replica {url}", if restore { "restore " } else { "" });
        let failed = self.failed(&to);
        let request = imrpc::EngineReplicaAddRequest {
            proxy_engine_request: self.request(),
            replica_name: replica.to_owned(),
            replica_address: url.to_owned(),
            restore,
            size: engine.spec.volume_size.0,
            current_size: engine.status.current_size.0,
            fast_sync,
            file_sync_http_client_timeout: i32::try_from(file_sync_timeout_seconds).unwrap_or(i32::MAX),
            grpc_timeout_seconds: seconds,
            local_sync: local_sync
                .map(|sync| imrpc::EngineReplicaLocalSync { source_path: sync.source, target_path: sync.target }),
        };
        let mut service = ProxyEngineServiceClient::new(
            self.channel.clone().timeout(TIMEOUT + Duration::from_secs(seconds.unsigned_abs())),
        );
        call(service.replica_add(request)).await.context(failed).map(drop)
    }

    /// Has the engine forget a replica.
    pub async fn remove_replica(&mut self, url: &str, replica: &str) -> Result<()> {
        let failed = self.failed(&format!("remove replica {url}"));
        let mut engine = self.engine.clone();
        // The one request that upstream makes without it.
        engine.volume_name.clear();
        let request = imrpc::EngineReplicaRemoveRequest {
            proxy_engine_request: Some(engine),
            replica_address: url.to_owned(),
            replica_name: replica.to_owned(),
        };
        call(self.service.replica_remove(request)).await.context(failed).map(drop)
    }

    /// Takes a replica that was restored into as good.
    pub async fn verify_rebuilt_replica(&mut self, url: &str, replica: &str) -> Result<()> {
        let failed = self.failed(&format!("verify replica {url} rebuild"));
        let request = imrpc::EngineReplicaVerifyRebuildRequest {
            proxy_engine_request: self.request(),
            replica_address: url.to_owned(),
            replica_name: replica.to_owned(),
        };
        call(self.service.replica_verify_rebuild(request)).await.context(failed).map(drop)
    }

    /// Starts to back a snapshot up; gives the id of the backup and the replica that does it.
    pub async fn back_up(&mut self, order: BackupOrder) -> Result<(String, String)> {
        let failed = self.failed(&format!("backup snapshot {} to {}", order.snapshot, order.backup));
        let request = imrpc::EngineSnapshotBackupRequest {
            proxy_engine_request: self.request(),
            envs: environment(&order.credential),
            backup_name: order.backup,
            snapshot_name: order.snapshot,
            backup_target: order.target,
            backing_image_name: order.backing_image,
            backing_image_checksum: order.backing_image_checksum,
            labels: order.labels,
            compression_method: order.compression_method,
            concurrent_limit: order.concurrent_limit,
            storage_class_name: order.storage_class,
            parameters: order.parameters,
        };
        let begun = call(self.service.snapshot_backup(request)).await.context(failed)?;
        Ok((begun.backup_id, begun.replica))
    }

    /// How far a backup is.
    pub async fn backup_status(
        &mut self,
        backup: &str,
        replica_address: &str,
        replica: &str,
    ) -> Result<imrpc::EngineSnapshotBackupStatusProxyResponse> {
        let failed = self.failed(&format!("get {backup} backup status"));
        let request = imrpc::EngineSnapshotBackupStatusRequest {
            proxy_engine_request: self.request(),
            backup_name: backup.to_owned(),
            replica_address: replica_address.to_owned(),
            replica_name: replica.to_owned(),
        };
        call(self.service.snapshot_backup_status(request)).await.context(failed)
    }

    /// Starts to restore a backup into all replicas. What single replicas met is no failure of the call.
    pub async fn restore(
        &mut self,
        url: &str,
        target: &str,
        backup_volume: &str,
        credential: &BTreeMap<String, String>,
        concurrent_limit: i64,
    ) -> Result<Option<RestoreFailure>> {
        let failed = self.failed(&format!("restore backup {url}"));
        let request = imrpc::EngineBackupRestoreRequest {
            proxy_engine_request: self.request(),
            envs: environment(credential),
            url: url.to_owned(),
            target: target.to_owned(),
            volume_name: backup_volume.to_owned(),
            concurrent_limit: i32::try_from(concurrent_limit).unwrap_or(i32::MAX),
        };
        let begun = call(self.service.backup_restore(request)).await.context(failed)?;
        if begun.task_error.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&begun.task_error).map(Some).map_err(|error| {
            let text = String::from_utf8_lossy(&begun.task_error).into_owned();
            Error::message(format!(
                "cannot unmarshal the restore error, maybe it's not caused by the replica restore failure: {text}: {error}"
            ))
        })
    }

    /// How far each replica's restore is, by URL.
    pub async fn restore_status(&mut self) -> Result<Map<RestoreStatus>> {
        let failed = self.failed("get backup restore status");
        let found = call(self.service.backup_restore_status(self.engine.clone())).await.context(failed)?;
        let status = |status: imrpc::EngineBackupRestoreStatus| RestoreStatus {
            is_restoring: status.is_restoring,
            last_restored: status.last_restored,
            current_restoring_backup: status.current_restoring_backup,
            progress: status.progress.into(),
            error: status.error,
            filename: status.filename,
            state: status.state,
            backup_url: status.backup_url,
        };
        Ok(found.status.into_iter().map(|(replica, found)| (replica, status(found))).collect())
    }
}

/// Credentials as variables of a process: `KEY=VALUE`.
fn environment(credential: &BTreeMap<String, String>) -> Vec<String> {
    credential.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// Where a volume can be used: a device's path, or an iSCSI address (`GetEngineEndpoint`).
pub fn endpoint(volume: &VolumeInfo, ip: &str) -> Result<String> {
    match volume.frontend.as_str() {
        "" => Ok(String::new()),
        "tgt-blockdev" | "spdk-tcp-blockdev" | "spdk-tcp-nvmf" | "ublk" => Ok(volume.endpoint.clone()),
        "tgt-iscsi" if ip.is_empty() => {
            Err(Error::message(format!("iscsi endpoint {} is missing ip", volume.endpoint)))
        }
        "tgt-iscsi" => Ok(format!("iscsi://{ip}:3260/{}/1", volume.endpoint)),
        other => Err(Error::message(format!("unknown frontend {other}"))),
    }
}

/// Version of the command line that the binaries of an image have; v2 has no binary and version 0
/// (`GetDataEngineImageCLIAPIVersion`).
pub fn cli_api_version(datastore: &Datastore, image: &str, engine: &DataEngine) -> Result<i64> {
    if image.is_empty() {
        return Err(Error::message("cannot check the CLI API Version based on empty image name"));
    }
    if *engine == DataEngine::V2 {
        return Ok(0);
    }
    let found = datastore.engine_images.get(&names::engine_image(image));
    let found = found.context(|| format!("failed to get engine image object based on image name {image}"))?;
    Ok(found.status.cli_api_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_device_or_an_address() {
        let volume = |frontend: &str| VolumeInfo {
            frontend: frontend.to_owned(),
            endpoint: "iqn.2019-10.io.longhorn:v1".to_owned(),
            ..VolumeInfo::default()
        };
        assert_eq!(endpoint(&volume(""), "10.0.0.1").unwrap(), "");
        assert_eq!(
            endpoint(&volume("tgt-iscsi"), "10.0.0.1").unwrap(),
            "iscsi://10.0.0.1:3260/iqn.2019-10.io.longhorn:v1/1"
        );
        assert!(endpoint(&volume("tgt-iscsi"), "").is_err());
    }

    #[test]
    fn a_restore_failure_is_read_from_its_json() {
        let json = r#"{"ReplicaErrors":[{"Address":"tcp://10.0.0.1:10000","Message":"already in progress"}]}"#;
        let failure: RestoreFailure = serde_json::from_str(json).unwrap();
        assert_eq!(failure.replica_errors[0].address, "tcp://10.0.0.1:10000");
    }
}
