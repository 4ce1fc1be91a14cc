//! The proxy: engines' calls for the manager, which so needs neither the engine's address nor its binary (`pkg/proxy`).
//!
//! Each request names an engine by address, volume and instance. For v1 the call goes to the engine's controller, and says whom it is meant for;
//! for v2 to the SPDK service of the pod that has the address.

mod backups_v1;
mod backups_v2;
mod credentials;
mod snapshots_v2;
mod tasks_v1;
mod v1;
mod v2;

use longhorn_api::Build;
use longhorn_backupstore::{Behaviour, Context};
use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::DataEngine;
use longhorn_rpc::imrpc::proxy_engine_service_server::ProxyEngineService;
use longhorn_rpc::ptypes;
use tonic::{Request, Response, Status, async_trait};

use crate::spdk;
use credentials::Environment;

/// The service of a pod.
pub(crate) struct Service {
    /// The v2 data engine, if this pod has it: its backing images are asked for without an engine.
    spdk: Option<spdk::Service>,
    environment: Environment,
    backups: Context,
}

type Answer<T> = Result<Response<T>, Status>;

impl Service {
    /// The service of a build.
    pub fn new(build: &Build, spdk: Option<spdk::Service>) -> Self {
        Self { spdk, environment: Environment::default(), backups: Context::new(Behaviour::of(build)) }
    }
}

/// Whom a request is for, and its data engine.
fn engine(request: Option<wire::ProxyEngineRequest>) -> Result<(wire::ProxyEngineRequest, DataEngine), Status> {
    // Upstream panics without, and its caller sees the connection break.
    let request = request.ok_or_else(|| Status::invalid_argument("proxy engine request is required"))?;
    let number = request.data_engine;
    let engine = DataEngine::try_from(number);
    let engine = engine.map_err(|_| Status::unimplemented(format!("unsupported data engine {number}")))?;
    Ok((request, engine))
}

/// Calls a function of the request's data engine: `v1 or v2, function, request, further arguments`.
macro_rules! by_engine {
    ($function:ident, $engine:expr $(, $argument:expr)*) => {{
        let (engine, kind) = engine($engine)?;
        match kind {
            DataEngine::V1 => v1::$function(&engine $(, $argument)*).await,
            DataEngine::V2 => v2::$function(&engine $(, $argument)*).await,
        }
        .map(Response::new)
    }};
}

#[async_trait]
impl ProxyEngineService for Service {
    async fn server_version_get(
        &self,
        request: Request<wire::ProxyEngineRequest>,
    ) -> Answer<wire::EngineVersionProxyResponse> {
        // Asked of v1 engines only, whatever the request says.
        v1::version(request.get_ref()).await.map(Response::new)
    }

    async fn volume_get(
        &self,
        request: Request<wire::ProxyEngineRequest>,
    ) -> Answer<wire::EngineVolumeGetProxyResponse> {
        by_engine!(volume, Some(request.into_inner()))
    }

    async fn volume_expand(&self, request: Request<wire::EngineVolumeExpandRequest>) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(expand, request.proxy_engine_request, request.expand.unwrap_or_default())
    }

    async fn volume_frontend_start(&self, request: Request<wire::EngineVolumeFrontendStartRequest>) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(start_frontend, request.proxy_engine_request, request.frontend_start.unwrap_or_default())
    }

    async fn volume_frontend_shutdown(&self, request: Request<wire::ProxyEngineRequest>) -> Answer<()> {
        by_engine!(shut_frontend_down, Some(request.into_inner()))
    }

    async fn volume_unmap_mark_snap_chain_removed_set(
        &self,
        request: Request<wire::EngineVolumeUnmapMarkSnapChainRemovedSetRequest>,
    ) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(set_unmap_mark, request.proxy_engine_request, request.unmap_mark_snap.unwrap_or_default())
    }

    async fn volume_snapshot_max_count_set(
        &self,
        request: Request<wire::EngineVolumeSnapshotMaxCountSetRequest>,
    ) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(set_max_count, request.proxy_engine_request, request.count.unwrap_or_default())
    }

    async fn volume_snapshot_max_size_set(
        &self,
        request: Request<wire::EngineVolumeSnapshotMaxSizeSetRequest>,
    ) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(set_max_size, request.proxy_engine_request, request.size.unwrap_or_default())
    }

    async fn volume_snapshot(
        &self,
        request: Request<wire::EngineVolumeSnapshotRequest>,
    ) -> Answer<wire::EngineVolumeSnapshotProxyResponse> {
        let request = request.into_inner();
        by_engine!(snapshot, request.proxy_engine_request, request.snapshot_volume.unwrap_or_default())
    }

    async fn snapshot_revert(&self, request: Request<wire::EngineSnapshotRevertRequest>) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(revert, request.proxy_engine_request, &request.name)
    }

    async fn snapshot_list(
        &self,
        request: Request<wire::ProxyEngineRequest>,
    ) -> Answer<wire::EngineSnapshotListProxyResponse> {
        by_engine!(list_snapshots, Some(request.into_inner()))
    }

    async fn snapshot_remove(&self, request: Request<wire::EngineSnapshotRemoveRequest>) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(remove_snapshots, request.proxy_engine_request, &request.names)
    }

    async fn snapshot_purge(&self, request: Request<wire::EngineSnapshotPurgeRequest>) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(purge_snapshots, request.proxy_engine_request, request.skip_if_in_progress)
    }

    async fn snapshot_purge_status(
        &self,
        request: Request<wire::ProxyEngineRequest>,
    ) -> Answer<wire::EngineSnapshotPurgeStatusProxyResponse> {
        by_engine!(purge_status, Some(request.into_inner()))
    }

    async fn snapshot_clone(&self, request: Request<wire::EngineSnapshotCloneRequest>) -> Answer<()> {
        let mut request = request.into_inner();
        by_engine!(clone_from, request.proxy_engine_request.take(), &request)
    }

    async fn snapshot_clone_status(
        &self,
        request: Request<wire::ProxyEngineRequest>,
    ) -> Answer<wire::EngineSnapshotCloneStatusProxyResponse> {
        by_engine!(clone_status, Some(request.into_inner()))
    }

    async fn snapshot_hash(&self, request: Request<wire::EngineSnapshotHashRequest>) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(hash_snapshot, request.proxy_engine_request, &request.snapshot_name, request.rehash)
    }

    async fn snapshot_hash_status(
        &self,
        request: Request<wire::EngineSnapshotHashStatusRequest>,
    ) -> Answer<wire::EngineSnapshotHashStatusProxyResponse> {
        let request = request.into_inner();
        by_engine!(hash_status, request.proxy_engine_request, &request.snapshot_name)
    }

    async fn snapshot_backup(
        &self,
        request: Request<wire::EngineSnapshotBackupRequest>,
    ) -> Answer<wire::EngineSnapshotBackupProxyResponse> {
        let mut request = request.into_inner();
        let credential = self.environment.credential(&request.envs, &request.backup_target)?;
        let (engine, kind) = engine(request.proxy_engine_request.take())?;
        let begun = match kind {
            DataEngine::V1 => backups_v1::back_up(&engine, request, credential).await,
            DataEngine::V2 => backups_v2::back_up(&engine, request, credential).await,
        };
        begun.map(Response::new)
    }

    async fn snapshot_backup_status(
        &self,
        request: Request<wire::EngineSnapshotBackupStatusRequest>,
    ) -> Answer<wire::EngineSnapshotBackupStatusProxyResponse> {
        let mut request = request.into_inner();
        let (engine, kind) = engine(request.proxy_engine_request.take())?;
        let status = match kind {
            DataEngine::V1 => backups_v1::backup_status(&engine, &request).await,
            DataEngine::V2 => backups_v2::backup_status(&engine, &request).await,
        };
        status.map(Response::new)
    }

    /// What goes wrong is a part of a good answer.
    async fn backup_restore(
        &self,
        request: Request<wire::EngineBackupRestoreRequest>,
    ) -> Answer<wire::EngineBackupRestoreProxyResponse> {
        let request = request.into_inner();
        let credential = self.environment.credential(&request.envs, &request.target)?;
        let (engine, kind) = engine(request.proxy_engine_request)?;
        let (url, limit) = (&request.url, request.concurrent_limit);
        let task_error = match kind {
            DataEngine::V1 => backups_v1::restore(&engine, url, &credential, limit, &self.backups).await,
            DataEngine::V2 => backups_v2::restore(&engine, url, credential, limit).await,
        };
        Ok(Response::new(wire::EngineBackupRestoreProxyResponse { task_error }))
    }

    async fn backup_restore_status(
        &self,
        request: Request<wire::ProxyEngineRequest>,
    ) -> Answer<wire::EngineBackupRestoreStatusProxyResponse> {
        let (engine, kind) = engine(Some(request.into_inner()))?;
        let status = match kind {
            DataEngine::V1 => backups_v1::restore_status(&engine).await,
            DataEngine::V2 => backups_v2::restore_status(&engine).await,
        };
        status.map(Response::new)
    }

    async fn replica_add(&self, request: Request<wire::EngineReplicaAddRequest>) -> Answer<()> {
        let mut request = request.into_inner();
        by_engine!(add_replica, request.proxy_engine_request.take(), request)
    }

    async fn replica_rebuilding_status(
        &self,
        request: Request<wire::ProxyEngineRequest>,
    ) -> Answer<wire::EngineReplicaRebuildStatusProxyResponse> {
        by_engine!(rebuild_status, Some(request.into_inner()))
    }

    async fn replica_verify_rebuild(&self, request: Request<wire::EngineReplicaVerifyRebuildRequest>) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(verify_rebuild, request.proxy_engine_request, &request.replica_address, &request.replica_name)
    }

    async fn replica_list(
        &self,
        request: Request<wire::ProxyEngineRequest>,
    ) -> Answer<wire::EngineReplicaListProxyResponse> {
        by_engine!(replicas, Some(request.into_inner()))
    }

    async fn replica_remove(&self, request: Request<wire::EngineReplicaRemoveRequest>) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(remove_replica, request.proxy_engine_request, &request.replica_address, &request.replica_name)
    }

    async fn replica_mode_update(&self, request: Request<wire::EngineReplicaModeUpdateRequest>) -> Answer<()> {
        let request = request.into_inner();
        by_engine!(set_replica_mode, request.proxy_engine_request, &request.replica_address, request.mode)
    }

    async fn metrics_get(
        &self,
        request: Request<wire::ProxyEngineRequest>,
    ) -> Answer<wire::EngineMetricsGetProxyResponse> {
        by_engine!(metrics, Some(request.into_inner()))
    }

    /// The mounts of backup targets are the backup store's own affair: it keeps none when it is not used.
    async fn cleanup_backup_mount_points(&self, _: Request<()>) -> Answer<()> {
        Ok(Response::new(()))
    }

    async fn spdk_backing_image_list(&self, _: Request<()>) -> Answer<wire::SpdkBackingImageListResponse> {
        let missing =
            "rpc error: code = Unavailable desc = connection error: dial tcp 0.0.0.0:8504: connect: connection refused";
        match self.spdk {
            // None is ever made.
            Some(_) => Ok(Response::new(wire::SpdkBackingImageListResponse::default())),
            None => Err(Status::internal(format!("failed to list SPDK backing images: {missing}"))),
        }
    }
}

fn controller_replica(address: String, mode: ptypes::ReplicaMode) -> ptypes::ControllerReplica {
    let address = ptypes::ReplicaAddress { address, ..ptypes::ReplicaAddress::default() };
    ptypes::ControllerReplica { address: Some(address), mode: mode.into() }
}
