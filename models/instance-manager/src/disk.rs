//! The disk service: block disks of the v2 data engine (`pkg/disk/disk.go`). Disks of file systems are the manager's own affair, and are
//! answered that they are not implemented.

use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::DiskType;
use longhorn_rpc::imrpc::disk_service_server::DiskService;
use longhorn_rpc::spdkrpc;
use longhorn_rpc::spdkrpc::spdk_service_server::SpdkService;
use tonic::{Request, Response, Status, async_trait};

use crate::spdk;
use crate::status::{internal, wrapped};
use crate::version::Versions;

/// The service of a pod.
pub(crate) struct Service {
    /// The v2 data engine, if this pod has it.
    pub spdk: Option<spdk::Service>,
    pub versions: Versions,
}

impl Service {
    /// The v2 data engine, for a block disk.
    fn for_disk(&self, kind: i32) -> Result<&spdk::Service, Status> {
        let name = DiskType::try_from(kind).map_or_else(|_| kind.to_string(), |kind| kind.as_str_name().to_owned());
        match DiskType::try_from(kind) {
            // Upstream's client is missing in a pod without the v2 data engine, and the service panics over it: the caller sees the connection break.
            Ok(DiskType::Block) => {
                self.spdk.as_ref().ok_or_else(|| Status::unavailable("error reading from server: EOF"))
            }
            Ok(DiskType::Filesystem) | Err(_) => Err(Status::unimplemented(format!("unsupported disk type {name}"))),
        }
    }
}

fn required(is_there: bool, what: &str) -> Result<(), Status> {
    if is_there { Ok(()) } else { Err(Status::invalid_argument(format!("{what} required"))) }
}

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl DiskService for Service {
    async fn disk_create(&self, request: Request<wire::DiskCreateRequest>) -> Answer<wire::Disk> {
        let request = request.into_inner();
        let named = !request.disk_name.is_empty() && !request.disk_path.is_empty();
        required(named, "disk name and disk path are")?;
        let spdk = self.for_disk(request.disk_type)?;
        let request = spdkrpc::DiskCreateRequest {
            disk_name: request.disk_name,
            disk_uuid: request.disk_uuid,
            disk_path: request.disk_path,
            block_size: request.block_size,
            disk_driver: request.disk_driver,
        };
        let disk = SpdkService::disk_create(spdk, Request::new(request)).await.map_err(|status| internal(&status))?;
        Ok(Response::new(to_wire(disk.into_inner())))
    }

    async fn disk_delete(&self, request: Request<wire::DiskDeleteRequest>) -> Answer<()> {
        let request = request.into_inner();
        required(!request.disk_name.is_empty(), "disk name is")?;
        let spdk = self.for_disk(request.disk_type)?;
        let request = spdkrpc::DiskDeleteRequest {
            disk_name: request.disk_name,
            disk_uuid: request.disk_uuid,
            disk_path: request.disk_path,
            disk_driver: request.disk_driver,
        };
        SpdkService::disk_delete(spdk, Request::new(request)).await
    }

    async fn disk_get(&self, request: Request<wire::DiskGetRequest>) -> Answer<wire::Disk> {
        let request = request.into_inner();
        required(!request.disk_name.is_empty(), "disk name is")?;
        let spdk = self.for_disk(request.disk_type)?;
        let request = spdkrpc::DiskGetRequest {
            disk_name: request.disk_name,
            disk_driver: request.disk_driver,
            disk_path: request.disk_path,
        };
        let disk = SpdkService::disk_get(spdk, Request::new(request)).await.map_err(|status| internal(&status))?;
        Ok(Response::new(to_wire(disk.into_inner())))
    }

    /// All replicas that the pod lists, on whichever disk.
    async fn disk_replica_instance_list(
        &self,
        request: Request<wire::DiskReplicaInstanceListRequest>,
    ) -> Answer<wire::DiskReplicaInstanceListResponse> {
        let request = request.get_ref();
        required(!request.disk_name.is_empty(), "disk name is")?;
        let replicas = self.for_disk(request.disk_type)?.replicas().await;
        let instance = |replica: spdkrpc::Replica| wire::ReplicaInstance {
            name: replica.name,
            disk_name: replica.lvs_name,
            disk_uuid: replica.lvs_uuid,
            spec_size: replica.spec_size,
            actual_size: replica.actual_size,
            ..wire::ReplicaInstance::default()
        };
        let replica_instances = replicas.into_iter().map(|(name, replica)| (name, instance(replica))).collect();
        Ok(Response::new(wire::DiskReplicaInstanceListResponse { replica_instances }))
    }

    async fn disk_replica_instance_delete(
        &self,
        request: Request<wire::DiskReplicaInstanceDeleteRequest>,
    ) -> Answer<()> {
        let request = request.get_ref();
        let name = &request.replcia_instance_name;
        let named = !request.disk_name.is_empty() && !request.disk_uuid.is_empty() && !name.is_empty();
        required(named, "disk name, disk UUID and replica instance name are")?;
        let deleted = self.for_disk(request.disk_type)?.delete_replica(name, true).await;
        let deleted = deleted.map_err(|status| wrapped(&status, format!("failed to delete SPDK replica {name}")));
        deleted.map(Response::new).map_err(|status| Status::internal(status.message()))
    }

    async fn version_get(&self, _: Request<()>) -> Answer<wire::DiskVersionResponse> {
        Ok(Response::new(self.versions.of_disks()))
    }
}

fn to_wire(disk: spdkrpc::Disk) -> wire::Disk {
    wire::Disk {
        id: disk.id,
        uuid: disk.uuid,
        path: disk.path,
        r#type: disk.r#type,
        total_size: disk.total_size,
        free_size: disk.free_size,
        total_blocks: disk.total_blocks,
        free_blocks: disk.free_blocks,
        block_size: disk.block_size,
        cluster_size: disk.cluster_size,
        driver: disk.driver,
        name: disk.name,
        state: String::new(),
    }
}
