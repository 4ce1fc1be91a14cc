//! The controller's gRPC service (pkg/controller/rpc/server.go).

use longhorn_rpc::ptypes::controller_service_server::ControllerService;
use longhorn_rpc::{Request, Response, Status, async_trait, ptypes};

use super::{Controller, Mode};
use crate::version;

/// Serves a controller's port.
#[derive(Clone, Debug)]
pub struct Service(pub Controller);

type Answer<T> = Result<Response<T>, Status>;

fn unknown(error: impl std::fmt::Display) -> Status {
    Status::unknown(error.to_string())
}

impl Service {
    async fn volume(&self, result: Result<(), super::ControllerError>) -> Answer<ptypes::Volume> {
        result.map_err(unknown)?;
        Ok(Response::new(self.0.describe().await))
    }

    async fn replica(&self, address: &str) -> ptypes::ControllerReplica {
        let is_it = |replica: &ptypes::ControllerReplica| {
            replica.address.as_ref().is_some_and(|found| found.address == address)
        };
        self.0.list().await.into_iter().find(is_it).unwrap_or_default()
    }
}

#[async_trait]
impl ControllerService for Service {
    async fn volume_get(&self, _: Request<()>) -> Answer<ptypes::Volume> {
        self.volume(Ok(())).await
    }

    async fn volume_start(&self, request: Request<ptypes::VolumeStartRequest>) -> Answer<ptypes::Volume> {
        let ptypes::VolumeStartRequest { replica_addresses, size, current_size } = request.into_inner();
        self.volume(self.0.start(size, current_size, &replica_addresses).await).await
    }

    async fn volume_shutdown(&self, _: Request<()>) -> Answer<ptypes::Volume> {
        self.volume(self.0.shutdown().await).await
    }

    async fn volume_snapshot(
        &self,
        request: Request<ptypes::VolumeSnapshotRequest>,
    ) -> Answer<ptypes::VolumeSnapshotReply> {
        // No file system is ever frozen: nothing in the simulation mounts one on the device.
        let ptypes::VolumeSnapshotRequest { name, labels, .. } = request.into_inner();
        let name = self.0.snapshot(&name, labels).await.map_err(unknown)?;
        Ok(Response::new(ptypes::VolumeSnapshotReply { name }))
    }

    async fn volume_revert(&self, request: Request<ptypes::VolumeRevertRequest>) -> Answer<ptypes::Volume> {
        self.volume(self.0.revert(&request.into_inner().name).await).await
    }

    async fn volume_expand(&self, request: Request<ptypes::VolumeExpandRequest>) -> Answer<ptypes::Volume> {
        self.volume(self.0.expand(request.into_inner().size).await).await
    }

    async fn volume_frontend_start(
        &self,
        request: Request<ptypes::VolumeFrontendStartRequest>,
    ) -> Answer<ptypes::Volume> {
        self.volume(self.0.start_frontend(&request.into_inner().frontend).await).await
    }

    async fn volume_frontend_shutdown(&self, _: Request<()>) -> Answer<ptypes::Volume> {
        self.volume(self.0.shutdown_frontend().await).await
    }

    async fn volume_unmap_mark_snap_chain_removed_set(
        &self,
        request: Request<ptypes::VolumeUnmapMarkSnapChainRemovedSetRequest>,
    ) -> Answer<ptypes::Volume> {
        self.volume(self.0.set_unmap_mark_chain_removed(request.into_inner().enabled).await).await
    }

    async fn volume_snapshot_max_count_set(
        &self,
        request: Request<ptypes::VolumeSnapshotMaxCountSetRequest>,
    ) -> Answer<ptypes::Volume> {
        self.volume(self.0.set_snapshot_max_count(request.into_inner().count).await).await
    }

    async fn volume_snapshot_max_size_set(
        &self,
        request: Request<ptypes::VolumeSnapshotMaxSizeSetRequest>,
    ) -> Answer<ptypes::Volume> {
        self.volume(self.0.set_snapshot_max_size(request.into_inner().size).await).await
    }

    async fn replica_list(&self, _: Request<()>) -> Answer<ptypes::ReplicaListReply> {
        Ok(Response::new(ptypes::ReplicaListReply { replicas: self.0.list().await }))
    }

    async fn replica_get(&self, request: Request<ptypes::ReplicaAddress>) -> Answer<ptypes::ControllerReplica> {
        Ok(Response::new(self.replica(&request.into_inner().address).await))
    }

    async fn controller_replica_create(
        &self,
        request: Request<ptypes::ControllerReplicaCreateRequest>,
    ) -> Answer<ptypes::ControllerReplica> {
        let ptypes::ControllerReplicaCreateRequest { address, snapshot_required, mode } = request.into_inner();
        let added = self.0.add_replica(&address, snapshot_required, Mode::from_rpc(mode)).await;
        added.map_err(unknown)?;
        Ok(Response::new(self.replica(&address).await))
    }

    async fn replica_delete(&self, request: Request<ptypes::ReplicaAddress>) -> Answer<()> {
        self.0.remove_replica(&request.into_inner().address).await.map(Response::new).map_err(unknown)
    }

    async fn replica_update(&self, request: Request<ptypes::ControllerReplica>) -> Answer<ptypes::ControllerReplica> {
        let ptypes::ControllerReplica { address, mode } = request.into_inner();
        let address = address.unwrap_or_default().address;
        self.0.set_replica_mode(&address, Mode::from_rpc(mode)).await.map_err(unknown)?;
        Ok(Response::new(self.replica(&address).await))
    }

    async fn replica_prepare_rebuild(
        &self,
        request: Request<ptypes::ReplicaAddress>,
    ) -> Answer<ptypes::ReplicaPrepareRebuildReply> {
        let ptypes::ReplicaAddress { address, instance_name } = request.into_inner();
        let files = self.0.prepare_rebuild(&address, &instance_name).await.map_err(unknown)?;
        let replica = Some(self.replica(&address).await);
        Ok(Response::new(ptypes::ReplicaPrepareRebuildReply { replica, sync_file_info_list: files }))
    }

    async fn replica_verify_rebuild(
        &self,
        request: Request<ptypes::ReplicaAddress>,
    ) -> Answer<ptypes::ControllerReplica> {
        let ptypes::ReplicaAddress { address, instance_name } = request.into_inner();
        self.0.verify_rebuild(&address, &instance_name).await.map_err(unknown)?;
        Ok(Response::new(self.replica(&address).await))
    }

    async fn journal_list(&self, _: Request<ptypes::JournalListRequest>) -> Answer<()> {
        Ok(Response::new(()))
    }

    async fn version_detail_get(&self, _: Request<()>) -> Answer<ptypes::VersionDetailGetReply> {
        Ok(Response::new(ptypes::VersionDetailGetReply { version: Some(version::output(self.0.build())) }))
    }

    async fn metrics_get(&self, _: Request<()>) -> Answer<ptypes::MetricsGetReply> {
        Ok(Response::new(ptypes::MetricsGetReply { metrics: Some(self.0.metrics()) }))
    }
}
