//! The SPDK service over gRPC. Methods that are not here (rebuilding of replicas, backups, backing images, hashes, expansion) answer that
//! they are not implemented.

use longhorn_rpc::spdkrpc as wire;
use longhorn_rpc::spdkrpc::spdk_service_server::SpdkService;
use tonic::{Request, Response, Status, async_trait};

use super::engine::Engine;
use super::engine_frontend::Frontend;
use super::service::Service;
use super::state as spdk_state;
use crate::clients;
use crate::process::state;
use crate::status::{plain, wrapped};
use crate::stream::{Answers, heard};

/// What of the service's tables is changed through a snapshot call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Create,
    Delete,
    Revert,
    Purge,
}

impl Service {
    async fn change_replica_snapshot(
        &self,
        change: Change,
        request: wire::SnapshotRequest,
    ) -> Result<wire::Replica, Status> {
        let wire::SnapshotRequest { name, snapshot_name, user_created, snapshot_timestamp, .. } = request;
        let named = !name.is_empty() && (change == Change::Purge || !snapshot_name.is_empty());
        let (during, missing) = match change {
            Change::Create => (" during snapshot create", "replica name and snapshot name are required"),
            Change::Delete => (" during snapshot delete", "replica name and snapshot name are required"),
            Change::Revert => (" during snapshot revert", "replica name and snapshot name are required"),
            Change::Purge => (" during snapshot purge", "replica name is required"),
        };
        if !named {
            return Err(Status::invalid_argument(missing));
        }
        let replica = self.replica(&name, during).await?;
        let mut replica = replica.lock().await;
        let target = self.target();
        let result = match change {
            Change::Create => replica.create_snapshot(target, &snapshot_name, user_created, snapshot_timestamp).await,
            Change::Delete => replica.delete_snapshot(target, &snapshot_name).await,
            Change::Revert => replica.revert(target, &snapshot_name).await,
            Change::Purge => replica.purge(target).await,
        };
        self.replica_changed();
        result.map(|()| replica.to_wire())
    }

    /// Does the same on all replicas of an engine; one that fails is in mode ERR, and the call fails too.
    async fn change_engine_snapshot(&self, change: Change, request: wire::SnapshotRequest) -> Result<String, Status> {
        let wire::SnapshotRequest { name, snapshot_name, .. } = request;
        let during = match change {
            Change::Create => " for snapshot creation",
            Change::Delete => " for snapshot deletion",
            Change::Revert => " for snapshot revert",
            Change::Purge => " for snapshot purge",
        };
        let engine = self.engine(&name, during).await?;
        let mut engine = engine.lock().await;
        if engine.state != state::RUNNING {
            let state = engine.state;
            return Err(plain(format!("invalid state {state} for engine {name} snapshot {snapshot_name} operation")));
        }
        let snapshot_name = match (change, snapshot_name.as_str()) {
            (Change::Create, "") => self.random_name(),
            _ => snapshot_name,
        };
        match change {
            Change::Delete => {
                engine.refresh().await;
                engine.refuse_deletion(&snapshot_name).map_err(plain)?;
            }
            Change::Revert if engine.frontend != Frontend::None => {
                let frontend = engine.frontend.name();
                return Err(plain(format!(
                    "invalid frontend {frontend} for engine {name} snapshot {snapshot_name} revert"
                )));
            }
            _ => {}
        }
        let errors = change_on_replicas(&mut engine, change, &snapshot_name).await;
        if change == Change::Revert {
            engine.reconnect().await;
        }
        engine.refresh().await;
        self.engine_changed();
        match errors.is_empty() {
            true => Ok(snapshot_name),
            false => Err(plain(errors.join("; "))),
        }
    }

    fn random_name(&self) -> String {
        let mut random = host::random::stream(&format!("snapshot-name/{}", host::wall_clock::now()));
        crate::uuid::random_uuid(&mut random)[..8].to_owned()
    }

    async fn set_suspended(&self, name: &str, suspended: bool) -> Result<(), Status> {
        if name.is_empty() {
            return Err(Status::invalid_argument("engine name is required"));
        }
        let (during, verb) = if suspended { (" for suspension", "suspend") } else { (" for resumption", "resume") };
        let engine = self.engine(name, during).await?;
        let mut engine = engine.lock().await;
        let result = match engine.frontend {
            _ if !suspended && engine.state == state::RUNNING => Ok(()),
            Frontend::Ublk => Err(format!("failed to {verb} engine {name}: ublk frontend {verb} is unimplemented")),
            _ => Ok(()),
        };
        match result {
            Ok(()) => {
                engine.state = if suspended { spdk_state::SUSPENDED } else { state::RUNNING };
                engine.error.clear();
            }
            Err(ref error) => engine.error.clone_from(error),
        }
        self.engine_changed();
        result.map_err(Status::internal)
    }
}

async fn change_on_replicas(engine: &mut Engine, change: Change, snapshot: &str) -> Vec<String> {
    let usable = |member: &super::engine::Member| member.mode != wire::ReplicaMode::Err;
    let members: Vec<_> = engine.members().iter().filter(|(_, member)| usable(member)).collect();
    let addresses: Vec<_> = members.iter().map(|(name, member)| ((*name).clone(), member.address.clone())).collect();
    let timestamp = host::wall_clock::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut errors = Vec::new();
    for (name, address) in addresses {
        let request = wire::SnapshotRequest {
            name: name.clone(),
            snapshot_name: snapshot.to_owned(),
            user_created: change == Change::Create,
            snapshot_timestamp: if change == Change::Create { timestamp.clone() } else { String::new() },
            ..wire::SnapshotRequest::default()
        };
        if let Err(status) = change_at(&address, change, request).await {
            errors.push(
                wrapped(&status, format!("failed to change SPDK replica {name} snapshot {snapshot}")).to_string(),
            );
            engine.fail_replica(&name);
        }
    }
    errors
}

async fn change_at(address: &str, change: Change, request: wire::SnapshotRequest) -> Result<(), Status> {
    let mut client = clients::spdk_beside(address)?;
    match change {
        Change::Create => client.replica_snapshot_create(request).await.map(drop),
        Change::Delete => client.replica_snapshot_delete(request).await.map(drop),
        Change::Revert => client.replica_snapshot_revert(request).await.map(drop),
        Change::Purge => client.replica_snapshot_purge(request).await.map(drop),
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl SpdkService for Service {
    async fn replica_create(&self, request: Request<wire::ReplicaCreateRequest>) -> Answer<wire::Replica> {
        self.create_replica(request.get_ref()).await.map(Response::new)
    }

    async fn replica_delete(&self, request: Request<wire::ReplicaDeleteRequest>) -> Answer<()> {
        let request = request.get_ref();
        self.delete_replica(&request.name, request.cleanup_required).await.map(Response::new)
    }

    async fn replica_get(&self, request: Request<wire::ReplicaGetRequest>) -> Answer<wire::Replica> {
        let replica = self.replica(&request.get_ref().name, "").await?;
        let answer = replica.lock().await.to_wire();
        Ok(Response::new(answer))
    }

    async fn replica_list(&self, _: Request<()>) -> Answer<wire::ReplicaListResponse> {
        Ok(Response::new(wire::ReplicaListResponse { replicas: self.replicas().await }))
    }

    async fn replica_watch(&self, _: Request<()>) -> Answer<Answers<()>> {
        Ok(Response::new(heard(self.watch_replicas())))
    }

    async fn replica_snapshot_create(&self, request: Request<wire::SnapshotRequest>) -> Answer<wire::Replica> {
        self.change_replica_snapshot(Change::Create, request.into_inner()).await.map(Response::new)
    }

    async fn replica_snapshot_delete(&self, request: Request<wire::SnapshotRequest>) -> Answer<()> {
        self.change_replica_snapshot(Change::Delete, request.into_inner()).await.map(|_| Response::new(()))
    }

    async fn replica_snapshot_revert(&self, request: Request<wire::SnapshotRequest>) -> Answer<()> {
        self.change_replica_snapshot(Change::Revert, request.into_inner()).await.map(|_| Response::new(()))
    }

    async fn replica_snapshot_purge(&self, request: Request<wire::SnapshotRequest>) -> Answer<()> {
        self.change_replica_snapshot(Change::Purge, request.into_inner()).await.map(|_| Response::new(()))
    }

    async fn engine_create(&self, request: Request<wire::EngineCreateRequest>) -> Answer<wire::Engine> {
        self.create_engine(request.get_ref()).await.map(Response::new)
    }

    async fn engine_delete(&self, request: Request<wire::EngineDeleteRequest>) -> Answer<()> {
        self.delete_engine(&request.get_ref().name).await.map(Response::new)
    }

    async fn engine_get(&self, request: Request<wire::EngineGetRequest>) -> Answer<wire::Engine> {
        let engine = self.engine(&request.get_ref().name, "").await?;
        let answer = engine.lock().await.to_wire();
        Ok(Response::new(answer))
    }

    async fn engine_list(&self, _: Request<()>) -> Answer<wire::EngineListResponse> {
        Ok(Response::new(wire::EngineListResponse { engines: self.engines().await }))
    }

    async fn engine_watch(&self, _: Request<()>) -> Answer<Answers<()>> {
        Ok(Response::new(heard(self.watch_engines())))
    }

    async fn engine_suspend(&self, request: Request<wire::EngineSuspendRequest>) -> Answer<()> {
        self.set_suspended(&request.get_ref().name, true).await.map(Response::new)
    }

    async fn engine_resume(&self, request: Request<wire::EngineResumeRequest>) -> Answer<()> {
        self.set_suspended(&request.get_ref().name, false).await.map(Response::new)
    }

    async fn engine_replica_list(
        &self,
        request: Request<wire::EngineReplicaListRequest>,
    ) -> Answer<wire::EngineReplicaListResponse> {
        let engine = self.engine(&request.get_ref().engine_name, " for replica list").await?;
        let engine = engine.lock().await;
        let mut replicas = std::collections::BTreeMap::new();
        for (name, member) in engine.members() {
            // One that cannot be asked is left out.
            let Ok(mut client) = clients::spdk_beside(&member.address) else { continue };
            if let Ok(replica) = client.replica_get(wire::ReplicaGetRequest { name: name.clone() }).await {
                replicas.insert(name.clone(), replica.into_inner());
            }
        }
        Ok(Response::new(wire::EngineReplicaListResponse { replicas }))
    }

    async fn engine_replica_delete(&self, request: Request<wire::EngineReplicaDeleteRequest>) -> Answer<()> {
        let wire::EngineReplicaDeleteRequest { engine_name, replica_name, replica_address } = request.into_inner();
        let during = format!(" for replica {replica_name} with address {replica_address} delete");
        let engine = self.engine(&engine_name, &during).await?;
        let removed = engine.lock().await.remove_replica(&replica_name, &replica_address).await;
        removed.map(Response::new).map_err(plain)
    }

    async fn engine_snapshot_create(&self, request: Request<wire::SnapshotRequest>) -> Answer<wire::SnapshotResponse> {
        if request.get_ref().name.is_empty() {
            return Err(Status::invalid_argument("engine name are required"));
        }
        let snapshot_name = self.change_engine_snapshot(Change::Create, request.into_inner()).await?;
        Ok(Response::new(wire::SnapshotResponse { snapshot_name }))
    }

    async fn engine_snapshot_delete(&self, request: Request<wire::SnapshotRequest>) -> Answer<()> {
        self.change_engine_snapshot(Change::Delete, request.into_inner()).await.map(|_| Response::new(()))
    }

    async fn engine_snapshot_revert(&self, request: Request<wire::SnapshotRequest>) -> Answer<()> {
        self.change_engine_snapshot(Change::Revert, request.into_inner()).await.map(|_| Response::new(()))
    }

    async fn engine_snapshot_purge(&self, request: Request<wire::SnapshotRequest>) -> Answer<()> {
        self.change_engine_snapshot(Change::Purge, request.into_inner()).await.map(|_| Response::new(()))
    }

    async fn backing_image_list(&self, _: Request<()>) -> Answer<wire::BackingImageListResponse> {
        Ok(Response::new(wire::BackingImageListResponse::default()))
    }

    async fn disk_create(&self, request: Request<wire::DiskCreateRequest>) -> Answer<wire::Disk> {
        self.add_disk(request.get_ref()).await.map(Response::new)
    }

    async fn disk_delete(&self, request: Request<wire::DiskDeleteRequest>) -> Answer<()> {
        self.delete_disk(request.get_ref()).await.map(Response::new)
    }

    async fn disk_get(&self, request: Request<wire::DiskGetRequest>) -> Answer<wire::Disk> {
        self.disk(request.get_ref()).await.map(Response::new)
    }

    async fn version_detail_get(&self, _: Request<()>) -> Answer<wire::VersionDetailGetReply> {
        Ok(Response::new(wire::VersionDetailGetReply { version: Some(wire::VersionOutput::default()) }))
    }
}
