//! What the services say of themselves (`pkg/meta/version.go`): the same numbers in all modelled releases.

use longhorn_api::Build;
use longhorn_rpc::{imrpc, process_manager};

/// The version of an instance manager's services.
#[derive(Clone, Debug)]
pub(crate) struct Versions {
    version: String,
}

const API: i64 = 6;
const API_MIN: i64 = 1;
const PROXY_API: i64 = 5;
const PROXY_API_MIN: i64 = 1;
const DISK_API: i64 = 1;
const DISK_API_MIN: i64 = 1;

impl Versions {
    /// A build's.
    pub fn of(build: &Build) -> Self {
        Self { version: build.release().to_string() }
    }

    /// Those of the process manager, the instance service and the proxy.
    pub fn to_wire(&self) -> process_manager::VersionResponse {
        process_manager::VersionResponse {
            version: self.version.clone(),
            instance_manager_api_version: API,
            instance_manager_api_min_version: API_MIN,
            instance_manager_proxy_api_version: PROXY_API,
            instance_manager_proxy_api_min_version: PROXY_API_MIN,
            ..process_manager::VersionResponse::default()
        }
    }

    /// That of the disk service.
    pub fn of_disks(&self) -> imrpc::DiskVersionResponse {
        imrpc::DiskVersionResponse {
            version: self.version.clone(),
            instance_manager_disk_service_api_version: DISK_API,
            instance_manager_disk_service_api_min_version: DISK_API_MIN,
            ..imrpc::DiskVersionResponse::default()
        }
    }
}
