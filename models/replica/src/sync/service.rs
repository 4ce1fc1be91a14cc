//! The sync agent's gRPC service.

use longhorn_rpc::ptypes::sync_agent_service_server::SyncAgentService;
use longhorn_rpc::{Request, Response, Status, async_trait, ptypes};

use crate::error::go_text;
use crate::service::unknown;
use crate::sync::agent::{Agent, lock};

type Answer<T> = Result<Response<T>, Status>;

fn done(result: Result<(), impl std::fmt::Display>) -> Answer<()> {
    result.map(Response::new).map_err(unknown)
}

#[async_trait]
impl SyncAgentService for Agent {
    async fn file_remove(&self, request: Request<ptypes::FileRemoveRequest>) -> Answer<()> {
        let name = request.into_inner().file_name;
        let removed = host::fs::remove_file(&self.directory().path(&name)).await;
        done(removed.map_err(|error| format!("remove {name}: {}", go_text(&error))))
    }

    async fn file_rename(&self, request: Request<ptypes::FileRenameRequest>) -> Answer<()> {
        let ptypes::FileRenameRequest { old_file_name: old, new_file_name: new } = request.into_inner();
        let renamed = host::fs::rename(&self.directory().path(&old), &self.directory().path(&new)).await;
        done(renamed.map_err(|error| format!("rename {old} {new}: {}", go_text(&error))))
    }

    async fn file_send(&self, request: Request<ptypes::FileSendRequest>) -> Answer<()> {
        done(self.send_file(request.into_inner()).await)
    }

    async fn files_sync(&self, request: Request<ptypes::FilesSyncRequest>) -> Answer<()> {
        done(self.sync_files(request.into_inner()).await)
    }

    async fn snapshot_clone(&self, request: Request<ptypes::SnapshotCloneRequest>) -> Answer<()> {
        done(self.clone_snapshot(request.into_inner()).await)
    }

    async fn volume_export(&self, request: Request<ptypes::VolumeExportRequest>) -> Answer<()> {
        done(self.export(request.into_inner()).await)
    }

    async fn receiver_launch(
        &self,
        request: Request<ptypes::ReceiverLaunchRequest>,
    ) -> Answer<ptypes::ReceiverLaunchResponse> {
        let launched = self.launch_receiver("ReceiverLaunch", request.into_inner().to_file_name, None).await;
        let port = launched.map_err(unknown)?.into();
        Ok(Response::new(ptypes::ReceiverLaunchResponse { port }))
    }

    async fn backup_create(
        &self,
        request: Request<ptypes::BackupCreateRequest>,
    ) -> Answer<ptypes::BackupCreateResponse> {
        self.create_backup(request.into_inner()).await.map(Response::new).map_err(unknown)
    }

    async fn backup_restore(&self, request: Request<ptypes::BackupRestoreRequest>) -> Answer<()> {
        done(self.start_restore(request.into_inner()).await)
    }

    async fn backup_status(
        &self,
        request: Request<ptypes::BackupStatusRequest>,
    ) -> Answer<ptypes::BackupStatusResponse> {
        Agent::backup_status(self, &request.into_inner().backup).map(Response::new).map_err(unknown)
    }

    async fn reset(&self, _: Request<()>) -> Answer<()> {
        done(Agent::reset(self).await)
    }

    async fn restore_status(&self, _: Request<()>) -> Answer<ptypes::RestoreStatusResponse> {
        Ok(Response::new(Agent::restore_status(self).await))
    }

    async fn snapshot_purge(&self, _: Request<()>) -> Answer<()> {
        done(self.start_purge().await)
    }

    async fn snapshot_purge_status(&self, _: Request<()>) -> Answer<ptypes::SnapshotPurgeStatusResponse> {
        let is_purging = self.0.running.read().await.purging;
        let status = lock(&self.0.statuses.purge).clone();
        Ok(Response::new(ptypes::SnapshotPurgeStatusResponse {
            is_purging,
            error: status.error,
            progress: status.percent,
            state: status.state.as_str().to_owned(),
        }))
    }

    async fn replica_rebuild_status(&self, _: Request<()>) -> Answer<ptypes::ReplicaRebuildStatusResponse> {
        let is_rebuilding = self.0.running.read().await.rebuilding;
        let status = lock(&self.0.statuses.rebuild).clone();
        Ok(Response::new(ptypes::ReplicaRebuildStatusResponse {
            is_rebuilding,
            error: status.error,
            progress: status.percent,
            state: status.state.as_str().to_owned(),
            from_replica_address: status.from_address,
        }))
    }

    async fn snapshot_clone_status(&self, _: Request<()>) -> Answer<ptypes::SnapshotCloneStatusResponse> {
        let is_cloning = self.0.running.read().await.cloning;
        let status = lock(&self.0.statuses.clone).clone();
        Ok(Response::new(ptypes::SnapshotCloneStatusResponse {
            is_cloning,
            error: status.error,
            progress: status.percent,
            state: status.state.as_str().to_owned(),
            from_replica_address: status.from_address,
            snapshot_name: status.snapshot,
        }))
    }

    async fn snapshot_hash(&self, request: Request<ptypes::SnapshotHashRequest>) -> Answer<()> {
        let ptypes::SnapshotHashRequest { snapshot_name, rehash } = request.into_inner();
        if snapshot_name.is_empty() {
            return Err(unknown("snapshot name is required"));
        }
        self.start_hash(snapshot_name, rehash);
        Ok(Response::new(()))
    }

    async fn snapshot_hash_status(
        &self,
        request: Request<ptypes::SnapshotHashStatusRequest>,
    ) -> Answer<ptypes::SnapshotHashStatusResponse> {
        let status = self.hash_status(&request.into_inner().snapshot_name).await;
        Ok(Response::new(ptypes::SnapshotHashStatusResponse {
            state: status.state.as_str().to_owned(),
            checksum: status.checksum,
            error: status.error,
            silently_corrupted: status.silently_corrupted,
        }))
    }

    async fn snapshot_hash_cancel(&self, request: Request<ptypes::SnapshotHashCancelRequest>) -> Answer<()> {
        let snapshot = request.into_inner().snapshot_name;
        if snapshot.is_empty() {
            return Err(unknown("snapshot name is required"));
        }
        self.cancel_hash(&snapshot);
        Ok(Response::new(()))
    }

    async fn snapshot_hash_lock_state(&self, _: Request<()>) -> Answer<ptypes::SnapshotHashLockStateResponse> {
        Ok(Response::new(ptypes::SnapshotHashLockStateResponse { is_locked: self.is_hashing() }))
    }
}
