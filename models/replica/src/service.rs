//! The replica's gRPC service (pkg/replica/rpc/server.go).

use std::collections::BTreeMap;
use std::sync::Arc;

use longhorn_rpc::ptypes::replica_service_server::ReplicaService;
use longhorn_rpc::{Request, Response, Status, async_trait, ptypes};

use crate::error::{Code, Error, RolledBack};
use crate::format::DiskInfo;
use crate::server::Server;

/// Serves a replica's control port.
#[derive(Clone, Debug)]
pub struct Service(pub Arc<Server>);

/// A failure as Go's servers pass on an error without a status.
pub(crate) fn unknown(error: impl std::fmt::Display) -> Status {
    Status::unknown(error.to_string())
}

fn disk(info: DiskInfo) -> ptypes::DiskInfo {
    ptypes::DiskInfo {
        name: info.name,
        parent: info.parent,
        children: info.children.into_iter().map(|child| (child, true)).collect(),
        removed: info.removed,
        user_created: info.user_created,
        created: info.created,
        size: info.size_bytes.to_string(),
        labels: info.labels,
    }
}

impl Service {
    async fn describe(&self) -> ptypes::Replica {
        let replica = self.0.replica().await;
        let (state, info) = self.0.status_of(replica.as_ref()).await;
        let mut answer = ptypes::Replica {
            dirty: info.dirty,
            rebuilding: info.rebuilding,
            head: info.head,
            parent: info.parent,
            size: info.size.to_string(),
            sector_size: info.sector_size,
            backing_file: info.backing_file_path,
            state: state.to_string(),
            ..ptypes::Replica::default()
        };
        let Some(replica) = replica.as_ref() else { return answer };
        answer.disks = replica.list_disks().await.into_iter().map(|info| (info.name.clone(), disk(info))).collect();
        answer.chain = replica.displayed_chain().unwrap_or_default();
        answer.remain_snapshots = to_i32(replica.remaining_snapshots());
        let (usage, total) = replica.snapshot_counts();
        answer.snapshot_count_usage = to_i32(usage as i64);
        answer.snapshot_count_total = to_i32(total as i64);
        answer.snapshot_size_usage = replica.snapshot_bytes().await;
        let options = replica.options();
        answer.revision_counter_disabled = options.revision_counter_disabled;
        answer.unmap_mark_disk_chain_removed = options.unmap_mark_disk_chain_removed;
        answer.revision_counter = replica.revision().await;
        (answer.last_modify_time, answer.head_file_size) = replica.head_status().await;
        answer
    }

    async fn described(&self) -> Option<ptypes::Replica> {
        Some(self.describe().await)
    }
}

fn to_i32(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// What a snapshot or a revert cannot do without.
fn check_named(name: &str, created: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Err(unknown("cannot accept empty snapshot name"));
    }
    if created.is_empty() {
        return Err(unknown("need to specific created time"));
    }
    Ok(())
}

/// An expansion's failure carries how far it was taken back.
fn expansion_failure(error: Error) -> Status {
    let failure = match error {
        Error::RolledBack(failure) => failure,
        other => RolledBack {
            code: Code::FunctionFailedWithoutRollback,
            message: other.to_string(),
            rollback_message: String::new(),
        },
    };
    let text = longhorn_backupstore::json::to_bytes(&failure);
    Status::internal(String::from_utf8_lossy(&text).into_owned())
}

/// A snapshot's labels: none over the wire means none at all.
fn labels(labels: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    Some(labels).filter(|labels| !labels.is_empty())
}

#[async_trait]
impl ReplicaService for Service {
    async fn replica_create(
        &self,
        request: Request<ptypes::ReplicaCreateRequest>,
    ) -> Result<Response<ptypes::ReplicaCreateResponse>, Status> {
        let size = match request.into_inner().size.as_str() {
            "" => 0,
            text => text.parse().map_err(|_| unknown(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?,
        };
        self.0.create(size).await.map_err(unknown)?;
        Ok(Response::new(ptypes::ReplicaCreateResponse { replica: self.described().await }))
    }

    async fn replica_delete(&self, _: Request<()>) -> Result<Response<()>, Status> {
        self.0.delete().await.map_err(unknown)?;
        Ok(Response::new(()))
    }

    async fn replica_get(&self, _: Request<()>) -> Result<Response<ptypes::ReplicaGetResponse>, Status> {
        Ok(Response::new(ptypes::ReplicaGetResponse { replica: self.described().await }))
    }

    async fn replica_open(&self, _: Request<()>) -> Result<Response<ptypes::ReplicaOpenResponse>, Status> {
        self.0.open().await.map_err(unknown)?;
        Ok(Response::new(ptypes::ReplicaOpenResponse { replica: self.described().await }))
    }

    async fn replica_close(&self, _: Request<()>) -> Result<Response<ptypes::ReplicaCloseResponse>, Status> {
        self.0.close().await.map_err(unknown)?;
        Ok(Response::new(ptypes::ReplicaCloseResponse { replica: self.described().await }))
    }

    async fn replica_reload(&self, _: Request<()>) -> Result<Response<ptypes::ReplicaReloadResponse>, Status> {
        self.0.reload().await.map_err(unknown)?;
        Ok(Response::new(ptypes::ReplicaReloadResponse { replica: self.described().await }))
    }

    async fn replica_revert(
        &self,
        request: Request<ptypes::ReplicaRevertRequest>,
    ) -> Result<Response<ptypes::ReplicaRevertResponse>, Status> {
        let ptypes::ReplicaRevertRequest { name, created } = request.into_inner();
        check_named(&name, &created)?;
        self.0.revert(&name, &created).await.map_err(unknown)?;
        Ok(Response::new(ptypes::ReplicaRevertResponse { replica: self.described().await }))
    }

    async fn replica_snapshot(
        &self,
        request: Request<ptypes::ReplicaSnapshotRequest>,
    ) -> Result<Response<ptypes::ReplicaSnapshotResponse>, Status> {
        let request = request.into_inner();
        check_named(&request.name, &request.created)?;
        let labels = labels(request.labels);
        let taken = self.0.snapshot(&request.name, request.user_created, &request.created, labels).await;
        taken.map_err(unknown)?;
        Ok(Response::new(ptypes::ReplicaSnapshotResponse { replica: self.described().await }))
    }

    async fn replica_expand(
        &self,
        request: Request<ptypes::ReplicaExpandRequest>,
    ) -> Result<Response<ptypes::ReplicaExpandResponse>, Status> {
        self.0.expand(request.into_inner().size).await.map_err(expansion_failure)?;
        Ok(Response::new(ptypes::ReplicaExpandResponse { replica: self.described().await }))
    }

    async fn disk_remove(
        &self,
        request: Request<ptypes::DiskRemoveRequest>,
    ) -> Result<Response<ptypes::DiskRemoveResponse>, Status> {
        let ptypes::DiskRemoveRequest { name, force } = request.into_inner();
        self.0.remove_disk(&name, force).await.map_err(unknown)?;
        Ok(Response::new(ptypes::DiskRemoveResponse { replica: self.described().await }))
    }

    async fn disk_replace(
        &self,
        request: Request<ptypes::DiskReplaceRequest>,
    ) -> Result<Response<ptypes::DiskReplaceResponse>, Status> {
        let ptypes::DiskReplaceRequest { target, source } = request.into_inner();
        self.0.replace_disk(&target, &source).await.map_err(unknown)?;
        Ok(Response::new(ptypes::DiskReplaceResponse { replica: self.described().await }))
    }

    async fn disk_prepare_remove(
        &self,
        request: Request<ptypes::DiskPrepareRemoveRequest>,
    ) -> Result<Response<ptypes::DiskPrepareRemoveResponse>, Status> {
        let actions = self.0.prepare_remove(&request.into_inner().name).await.map_err(unknown)?;
        let operations = actions.iter().map(|action| {
            let (action, source, target) = action.parts();
            ptypes::PrepareRemoveAction { action: action.into(), source: source.into(), target: target.into() }
        });
        Ok(Response::new(ptypes::DiskPrepareRemoveResponse { operations: operations.collect() }))
    }

    async fn disk_mark_as_removed(
        &self,
        request: Request<ptypes::DiskMarkAsRemovedRequest>,
    ) -> Result<Response<ptypes::DiskMarkAsRemovedResponse>, Status> {
        self.0.mark_removed(&request.into_inner().name).await.map_err(unknown)?;
        Ok(Response::new(ptypes::DiskMarkAsRemovedResponse { replica: self.described().await }))
    }

    async fn rebuilding_set(
        &self,
        request: Request<ptypes::RebuildingSetRequest>,
    ) -> Result<Response<ptypes::RebuildingSetResponse>, Status> {
        self.0.set_rebuilding(request.into_inner().rebuilding).await.map_err(unknown)?;
        Ok(Response::new(ptypes::RebuildingSetResponse { replica: self.described().await }))
    }

    async fn revision_counter_set(
        &self,
        request: Request<ptypes::RevisionCounterSetRequest>,
    ) -> Result<Response<ptypes::RevisionCounterSetResponse>, Status> {
        self.0.set_revision(request.into_inner().counter).await.map_err(unknown)?;
        Ok(Response::new(ptypes::RevisionCounterSetResponse { replica: self.described().await }))
    }

    async fn unmap_mark_disk_chain_removed_set(
        &self,
        request: Request<ptypes::UnmapMarkDiskChainRemovedSetRequest>,
    ) -> Result<Response<ptypes::UnmapMarkDiskChainRemovedSetResponse>, Status> {
        let enabled = request.into_inner().enabled;
        self.0.change_options(|options| options.unmap_mark_disk_chain_removed = enabled).await;
        Ok(Response::new(ptypes::UnmapMarkDiskChainRemovedSetResponse { replica: self.described().await }))
    }

    async fn snapshot_max_count_set(
        &self,
        request: Request<ptypes::SnapshotMaxCountSetRequest>,
    ) -> Result<Response<ptypes::SnapshotMaxCountSetResponse>, Status> {
        let count = request.into_inner().count.into();
        self.0.change_options(|options| options.snapshot_max_count = count).await;
        Ok(Response::new(ptypes::SnapshotMaxCountSetResponse { replica: self.described().await }))
    }

    async fn snapshot_max_size_set(
        &self,
        request: Request<ptypes::SnapshotMaxSizeSetRequest>,
    ) -> Result<Response<ptypes::SnapshotMaxSizeSetResponse>, Status> {
        let size = request.into_inner().size;
        self.0.change_options(|options| options.snapshot_max_size_bytes = size).await;
        Ok(Response::new(ptypes::SnapshotMaxSizeSetResponse { replica: self.described().await }))
    }
}
