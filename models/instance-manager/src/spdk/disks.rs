//! Block disks: a device, and the lvstore of its name on it (`pkg/spdk/disk.go`).

use longhorn_rpc::spdkrpc as wire;
use tonic::Status;

use super::block_device::number_of;
use super::lvstore::TargetError;
use super::service::Service;
use super::target::LvstoreInfo;
use crate::status::plain;

/// The driver for a path: the only one, asked for by name or left to be found.
const AIO: &str = "aio";

fn driver_for(driver: &str, disk: &str, path: &str) -> Result<(), Status> {
    match driver {
        "auto" | AIO => Ok(()),
        other => Err(plain(format!(
            "failed to get disk driver for disk {disk}: unsupported disk driver {other} for disk path {path}"
        ))),
    }
}

impl Service {
    /// Opens a device as a disk. With a UUID the disk's lvstore must be on it; without, one is made if there is none.
    pub(super) async fn create_disk(&self, request: &wire::DiskCreateRequest) -> Result<wire::Disk, Status> {
        let (name, path) = (&request.disk_name, &request.disk_path);
        if name.is_empty() || path.is_empty() {
            return Err(Status::invalid_argument("disk name and disk path are required"));
        }
        driver_for(&request.disk_driver, name, path)?;
        let added = self.add_block_device(name, &request.disk_uuid, path, request.block_size).await;
        let uuid = added.map_err(|error| Status::internal(format!("failed to add disk block device: {error}")))?;
        let lvstore = self
            .target()
            .lvstore(&uuid)
            .await
            .map_err(|error| plain(format!("failed to get lvstore with name  and UUID {uuid}: {error}")))?;
        Ok(disk_of(&lvstore))
    }

    async fn add_block_device(&self, name: &str, uuid: &str, path: &str, block_bytes: i64) -> Result<String, String> {
        let used = self.target().block_devices().await;
        if let Some((other, _)) = used.iter().find(|(_, used)| number_of(used) == number_of(path)) {
            return Err(format!("failed to validate disk creation: disk {path} is already used by disk bdev {other}"));
        }
        match self.target().open_block_device(name, path, block_bytes).await {
            Ok(()) | Err(TargetError::Exists) => {}
            Err(error) => return Err(format!("failed to create disk bdev: {error}")),
        }
        let on_device = self.target().lvstores().await.into_iter().find(|lvstore| lvstore.base == name);
        match on_device.filter(|lvstore| uuid.is_empty() || lvstore.uuid == uuid) {
            Some(lvstore) if lvstore.name == name => Ok(lvstore.uuid),
            Some(lvstore) => {
                let renamed = self.target().rename_lvstore(&lvstore.uuid, name).await;
                renamed.map_err(|error| format!("failed to rename lvstore {} to {name}: {error}", lvstore.name))?;
                Ok(lvstore.uuid)
            }
            None if uuid.is_empty() => {
                self.target().create_lvstore(name, name).await.map_err(|error| error.to_string())
            }
            None => Err(format!("rpc error: code = NotFound desc = cannot find lvstore with UUID {uuid}")),
        }
    }

    /// Closes a disk's device. What is on it stays.
    pub(super) async fn delete_disk(&self, request: &wire::DiskDeleteRequest) -> Result<(), Status> {
        let name = &request.disk_name;
        if name.is_empty() {
            return Err(Status::invalid_argument("disk name is required"));
        }
        let lvstore = match request.disk_uuid.as_str() {
            "" => self.target().lvstore_named(name).await,
            uuid => self.target().lvstore(uuid).await,
        };
        let base = match lvstore {
            Ok(lvstore) if &lvstore.name != name => {
                let found = &lvstore.name;
                return Err(Status::not_found(format!("disk name {name} does not match lvstore name {found}")));
            }
            Ok(lvstore) => lvstore.base,
            // Its making may not have got that far.
            Err(_) => name.clone(),
        };
        if request.disk_driver != AIO {
            let driver = &request.disk_driver;
            return Err(plain(format!("failed to delete disk {name}: disk driver {driver} is not registered")));
        }
        let closed = self.target().close_block_device(&base).await;
        closed.map_err(|error| plain(format!("failed to delete disk {name}: {error}")))
    }

    /// A disk, with its space.
    pub(super) async fn disk(&self, request: &wire::DiskGetRequest) -> Result<wire::Disk, Status> {
        let name = &request.disk_name;
        if name.is_empty() {
            return Err(Status::invalid_argument("disk name is required"));
        }
        if !matches!(request.disk_driver.as_str(), "" | AIO) {
            let driver = &request.disk_driver;
            let error = format!("failed to get bdev with name {name}: disk driver {driver} is not registered");
            return Err(Status::internal(error));
        }
        if !self.target().block_devices().await.contains_key(name) {
            return Err(Status::not_found(format!("cannot find disk bdev with name {name}")));
        }
        let lvstore = self
            .target()
            .lvstore_named(name)
            .await
            .map_err(|error| plain(format!("failed to get lvstore with name {name} and UUID : {error}")))?;
        Ok(disk_of(&lvstore))
    }
}

fn disk_of(lvstore: &LvstoreInfo) -> wire::Disk {
    let bytes = |clusters: u64| i64::try_from(clusters * lvstore.cluster_bytes).unwrap_or(i64::MAX);
    let (total, free) = (bytes(lvstore.data_clusters), bytes(lvstore.free_clusters));
    wire::Disk {
        id: number_of(&lvstore.path),
        name: lvstore.name.clone(),
        uuid: lvstore.uuid.clone(),
        path: lvstore.path.clone(),
        r#type: "block".to_owned(),
        driver: AIO.to_owned(),
        total_size: total,
        free_size: free,
        total_blocks: total / lvstore.block_bytes,
        free_blocks: free / lvstore.block_bytes,
        block_size: lvstore.block_bytes,
        cluster_size: bytes(1),
        state: String::new(),
    }
}
