//! The client of an instance manager's disk service: block disks of the second data engine (`engineapi/disk_service.go`,
//! longhorn-instance-manager `pkg/client/disk.go`).

use std::collections::BTreeSet;
use std::time::Duration;

use longhorn_api::InstanceManager;
use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::kinds::node::DiskType;
use longhorn_rpc::imrpc::disk_service_client::DiskServiceClient as Service;
use longhorn_rpc::{Channel, imrpc};

use super::connection::{call, open};
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result};

/// Port of the disk service.
const PORT: u16 = 8502;
/// How long a call may take (instance manager `types.GRPCServiceTimeout`).
const TIMEOUT: Duration = Duration::from_secs(180);
/// Block size that a new disk is opened with.
const BLOCK_BYTES: i64 = 512;

/// A connection to the disk service of one instance manager.
pub struct DiskServiceClient {
    service: Service<Channel>,
    /// Whose service it is.
    pub instance_manager: String,
}

/// A disk, to whoever asks for it by name.
pub struct DiskOf<'a> {
    /// Folder or block device.
    pub disk_type: &'a DiskType,
    /// The disk's key in its node.
    pub name: &'a str,
    /// Its UUID; may be empty.
    pub uuid: &'a str,
    /// Where it is.
    pub path: &'a str,
    /// How it is opened.
    pub driver: &'a str,
}

impl DiskOf<'_> {
    fn number(&self) -> i32 {
        match self.disk_type {
            DiskType::Block => imrpc::DiskType::Block.into(),
            _ => imrpc::DiskType::Filesystem.into(),
        }
    }
}

impl DiskServiceClient {
    /// Connects to a running instance manager.
    pub async fn connect(manager: &InstanceManager) -> Result<Self> {
        Self::open(manager).await.context(|| "failed to get disk service client")
    }

    async fn open(manager: &InstanceManager) -> Result<Self> {
        let (manager_name, status) = (name(&manager.metadata), &manager.status);
        let state = &status.current_state;
        if *state != InstanceManagerState::Running {
            return Err(Error::message(format!(
                "{manager_name} instance manager is in {state} state, not running state"
            )));
        }
        if status.ip.is_empty() {
            return Err(Error::message(format!("{manager_name} instance manager status IP is missing")));
        }
        let connection = open(&status.ip, PORT, TIMEOUT).await?;
        Ok(Self { service: Service::new(connection), instance_manager: manager_name.to_owned() })
    }

    /// What is known of a disk; says "cannot find" if it is not there.
    pub async fn get(&mut self, disk: &DiskOf<'_>) -> Result<imrpc::Disk> {
        let request = imrpc::DiskGetRequest {
            disk_type: disk.number(),
            disk_name: disk.name.to_owned(),
            disk_path: disk.path.to_owned(),
            disk_driver: disk.driver.to_owned(),
        };
        match self.service.disk_get(request).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                let error = super::connection::failure(&status);
                let missing = status.code() == longhorn_rpc::Code::NotFound;
                Err(error).context(|| if missing { "cannot find disk info" } else { "failed to get disk info" })
            }
        }
    }

    /// Opens a disk, and makes a store of logical volumes on it if it has none.
    pub async fn create(&mut self, disk: &DiskOf<'_>) -> Result<imrpc::Disk> {
        let request = imrpc::DiskCreateRequest {
            disk_type: disk.number(),
            disk_name: disk.name.to_owned(),
            disk_uuid: disk.uuid.to_owned(),
            disk_path: disk.path.to_owned(),
            block_size: BLOCK_BYTES,
            disk_driver: disk.driver.to_owned(),
        };
        call(self.service.disk_create(request)).await
    }

    /// Closes a disk.
    pub async fn delete(&mut self, disk: &DiskOf<'_>) -> Result<()> {
        let request = imrpc::DiskDeleteRequest {
            disk_type: disk.number(),
            disk_name: disk.name.to_owned(),
            disk_uuid: disk.uuid.to_owned(),
            disk_path: disk.path.to_owned(),
            disk_driver: disk.driver.to_owned(),
        };
        call(self.service.disk_delete(request)).await
    }

    /// Names of the replicas that are found on disks.
    pub async fn replicas(&mut self, disk: &DiskOf<'_>) -> Result<BTreeSet<String>> {
        let request = imrpc::DiskReplicaInstanceListRequest {
            disk_type: disk.number(),
            disk_name: disk.name.to_owned(),
            disk_driver: disk.driver.to_owned(),
        };
        let found = call(self.service.disk_replica_instance_list(request)).await?;
        Ok(found.replica_instances.into_keys().collect())
    }

    /// Deletes a replica with its data.
    pub async fn delete_replica(&mut self, disk: &DiskOf<'_>, replica: &str) -> Result<()> {
        let request = imrpc::DiskReplicaInstanceDeleteRequest {
            disk_type: disk.number(),
            disk_name: disk.name.to_owned(),
            disk_uuid: disk.uuid.to_owned(),
            replcia_instance_name: replica.to_owned(),
            disk_driver: disk.driver.to_owned(),
        };
        call(self.service.disk_replica_instance_delete(request)).await
    }
}
