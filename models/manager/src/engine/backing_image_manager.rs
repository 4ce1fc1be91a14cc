//! The clients of a backing image manager (`engineapi/backing_image_manager.go`, backing-image-manager `pkg/client`) and of the pod that
//! prepares a backing image's first file (`engineapi/backing_image_data_source.go`).

use std::collections::BTreeMap;
use std::time::Duration;

use corral_kube_client::reads;
use host::time::{Instant, timeout};
use http::Request;
use longhorn_api::BackingImageManager;
use longhorn_api::go::Map;
use longhorn_api::kinds::backing_image_manager::{BackingImageFileInfo, BackingImageManagerState};
use longhorn_rpc::bimrpc::backing_image_manager_service_client::BackingImageManagerServiceClient;
use longhorn_rpc::{Channel, bimrpc};
use serde::Deserialize;

use super::connection::call;
use super::news::News;
use crate::runtime::backups::name;
use crate::runtime::{Error, Result};

/// Port of the manager's service, and of a data source's.
pub const PORT: u16 = 8000;
/// How long a call may take (`GRPCServiceTimeout`), and a request to a data source (`HTTPClientTimeout`).
const TIMEOUT: Duration = Duration::from_secs(60);
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);
/// The interface that the manager speaks, which is also the oldest it can do with.
const API_VERSION: i64 = 3;
/// A version that is not known yet.
pub const UNKNOWN_API_VERSION: i64 = 0;
/// The largest answer of a data source that is read.
const LARGEST_ANSWER_BYTES: usize = 1 << 20;

/// Whether a backing image manager with these versions is understood.
pub fn is_compatible(oldest: i64, newest: i64) -> bool {
    newest >= API_VERSION && oldest <= API_VERSION
}

/// A backing image as calls name it.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its UUID.
    pub uuid: &'a str,
    /// SHA-512; may be empty.
    pub checksum: &'a str,
    /// Bytes; may be zero.
    pub size: i64,
}

impl Image<'_> {
    fn spec(self) -> Option<bimrpc::BackingImageSpec> {
        Some(bimrpc::BackingImageSpec {
            name: self.name.to_owned(),
            uuid: self.uuid.to_owned(),
            size: self.size,
            checksum: self.checksum.to_owned(),
            ..Default::default()
        })
    }
}

/// A backup of a backing image, as the manager is asked for it.
#[derive(Debug, Clone, Default)]
pub struct ImageBackupOrder {
    /// The backing image.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Its content.
    pub checksum: String,
    /// Where to.
    pub target: String,
    /// Labels of the backup.
    pub labels: BTreeMap<String, String>,
    /// Access to the target.
    pub credential: BTreeMap<String, String>,
    /// `none`, `lz4` or `gzip`
    pub compression_method: String,
    /// How many blocks at once.
    pub concurrent_limit: i32,
    /// The secret of an encrypted image.
    pub parameters: BTreeMap<String, String>,
}

/// How far a backup is, as the manager says.
pub type ImageBackupStatus = bimrpc::BackupStatusResponse;

/// Calls to one backing image manager. It connects at the first call.
#[derive(Clone)]
pub struct BackingImageManagerClient {
    service: BackingImageManagerServiceClient<Channel>,
    channel: Channel,
}

impl BackingImageManagerClient {
    /// The client of a manager that runs.
    pub fn of(manager: &BackingImageManager) -> Result<Self> {
        let (manager_name, status) = (name(&manager.metadata), &manager.status);
        if status.current_state != BackingImageManagerState::Running || status.ip.is_empty() {
            let (state, ip) = (&status.current_state, &status.ip);
            return Err(Error::message(format!(
                "invalid Backing Image Manager {manager_name}, state: {state}, IP: {ip}"
            )));
        }
        let is_known = status.api_min_version != UNKNOWN_API_VERSION;
        if is_known && !is_compatible(status.api_min_version, status.api_version) {
            let message = format!("cannot launch a client for incompatible backing image manager {manager_name}");
            return Err(Error::message(message));
        }
        let channel = Channel::new(format!("{}:{PORT}", status.ip)).timeout(TIMEOUT);
        Ok(Self { service: BackingImageManagerServiceClient::new(channel.clone()), channel })
    }

    /// The oldest and the newest interface it understands.
    pub async fn versions(&mut self) -> Result<(i64, i64)> {
        let version = call(self.service.version_get(())).await?;
        Ok((version.backing_image_manager_api_min_version, version.backing_image_manager_api_version))
    }

    /// Its files, by backing image.
    pub async fn list(&mut self) -> Result<Map<BackingImageFileInfo>> {
        let listed = call(self.service.list(())).await?;
        Ok(listed.backing_images.into_iter().map(|(image, answer)| (image, file_info(answer))).collect())
    }

    /// Takes over the file that a data source prepared; without an address it looks for a file that it has.
    pub async fn fetch(&mut self, image: Image<'_>, data_source: &str) -> Result<()> {
        let request = bimrpc::FetchRequest { spec: image.spec(), data_source_address: data_source.to_owned() };
        call(self.service.fetch(request)).await.map(drop)
    }

    /// Copies the file from another manager.
    pub async fn sync(&mut self, image: Image<'_>, from_host: &str) -> Result<()> {
        let request = bimrpc::SyncRequest { spec: image.spec(), from_address: format!("{from_host}:{PORT}") };
        call(self.service.sync(request)).await.map(drop)
    }

    /// Deletes a file.
    pub async fn delete(&mut self, image: &str, uuid: &str) -> Result<()> {
        let request = bimrpc::DeleteRequest { name: image.to_owned(), uuid: uuid.to_owned() };
        call(self.service.delete(request)).await.map(drop)
    }

    /// Begins a backup.
    pub async fn back_up(&mut self, order: ImageBackupOrder) -> Result<()> {
        if order.name.is_empty() || order.uuid.is_empty() || order.checksum.is_empty() {
            return Err(Error::message("failed to create backup backing image: missing required parameter"));
        }
        let (taken, began, method) = (reads::take(), Instant::now(), format!("BackupCreate {}", order.name));
        let request = bimrpc::BackupCreateRequest {
            name: order.name,
            uuid: order.uuid,
            checksum: order.checksum,
            backup_target: order.target,
            labels: order.labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect(),
            credential: order.credential,
            compression_method: order.compression_method,
            concurrent_limit: order.concurrent_limit,
            parameters: order.parameters,
        };
        let answer = self.service.backup_create(request).await;
        let outcome = answer.as_ref().err().map_or("ok", |status| status.message());
        reads::record_call(&taken, &method, self.channel.address(), outcome, began.elapsed());
        call(std::future::ready(answer)).await.map(drop)
    }

    /// How far the backup of a backing image is: the first that this manager remembers under that name.
    pub async fn backup_status(&mut self, image: &str) -> Result<ImageBackupStatus> {
        call(self.service.backup_status(bimrpc::BackupStatusRequest { name: image.to_owned() })).await
    }

    /// Tells when something changes, as long as the manager lives.
    pub async fn watch(&mut self) -> Result<News> {
        let mut service = BackingImageManagerServiceClient::new(self.channel.clone().without_timeout());
        Ok(News(call(service.watch(())).await?))
    }
}

fn file_info(answer: bimrpc::BackingImageResponse) -> BackingImageFileInfo {
    let (spec, status) = (answer.spec.unwrap_or_default(), answer.status.unwrap_or_default());
    BackingImageFileInfo {
        name: spec.name,
        uuid: spec.uuid,
        size: spec.size,
        virtual_size: spec.virtual_size,
        real_size: spec.real_size,
        state: status.state.as_str().into(),
        current_checksum: status.checksum,
        message: status.error_msg,
        sending_reference: status.sending_reference.into(),
        sender_manager_address: status.sender_manager_address,
        progress: status.progress.into(),
    }
}

/// The file of a data source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SourceFile {
    /// How far it is.
    pub state: String,
    /// Bytes.
    pub size: i64,
    /// Per cent.
    pub progress: i64,
    /// SHA-512.
    pub current_checksum: String,
    /// Why it failed.
    pub message: String,
}

/// Asks a data source's pod for its file.
pub async fn source_file(ip: &str) -> Result<SourceFile> {
    let failed = |error: &dyn std::fmt::Display| Error::message(format!("get failed, err: {error}"));
    let request = Request::get(format!("http://{ip}:{PORT}/v1/file")).body(host::http::empty());
    let request = request.map_err(|error| failed(&error))?;
    let asked = async {
        let answer = host::http::Client::new().send(request).await.map_err(|error| failed(&error))?;
        let status = answer.status();
        let body =
            host::http::collect(answer.into_body(), LARGEST_ANSWER_BYTES).await.map_err(|error| failed(&error))?;
        if status != http::StatusCode::OK {
            let body = String::from_utf8_lossy(&body);
            return Err(Error::message(format!("{status}, response body content: {body}")));
        }
        serde_json::from_slice(&body).map_err(|error| failed(&error))
    };
    timeout(HTTP_TIMEOUT, asked).await.map_err(|error| failed(&error))?
}
