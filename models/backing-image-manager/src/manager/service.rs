//! The gRPC service's methods.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use host::time::sleep;
use longhorn_rpc::bimrpc::backing_image_manager_service_server::BackingImageManagerService;
use longhorn_rpc::bimrpc::{
    BackingImageResponse, BackupCreateRequest, BackupStatusRequest, BackupStatusResponse, DeleteRequest, FetchRequest,
    GetRequest, ListResponse, PrepareDownloadRequest, PrepareDownloadResponse, SendRequest, SyncRequest,
    VersionResponse,
};
use longhorn_rpc::{Code, Request, Response, Status, async_trait};
use tokio::sync::broadcast::error::RecvError;

use super::{Manager, backup, response, unknown};
use crate::data_source::DataSourceClient;
use crate::files::NewFile;
use crate::image::remove_if_there;
use crate::info::{State, data_source_path, image_directory, image_path, temporary_path};

/// `BackingImageManagerAPIVersion` and its minimum.
const API_VERSION: i64 = 3;

type Answer<T> = Result<Response<T>, Status>;
type Changes = Pin<Box<dyn Stream<Item = Result<(), Status>> + Send>>;

#[async_trait]
impl BackingImageManagerService for Manager {
    async fn delete(&self, request: Request<DeleteRequest>) -> Answer<()> {
        let DeleteRequest { name, uuid } = request.into_inner();
        let deleted = self.delete_file(&name, &uuid).await;
        // Whatever came of it, nothing may stay on the disk: neither the directory nor what a data source has left.
        let directory = image_directory(&name, &uuid);
        if let Err(error) = host::fs::remove_dir_all(&directory).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(directory, %error, "failed to remove the backing image work directory");
        }
        if let Err(error) = remove_if_there(&temporary_path(&data_source_path(&name, &uuid))).await {
            tracing::warn!(name, %error, "failed to remove the data source tmp file");
        }
        deleted.map(Response::new)
    }

    async fn get(&self, request: Request<GetRequest>) -> Answer<BackingImageResponse> {
        let GetRequest { name, uuid } = request.into_inner();
        self.get_and_update(&name, &uuid).await.map(Response::new)
    }

    async fn list(&self, _: Request<()>) -> Answer<ListResponse> {
        let files = self.list_and_update().await.map_err(|error| unknown(&error))?;
        let backing_images = files.iter().map(|(name, info)| (name.clone(), response(info))).collect();
        Ok(Response::new(ListResponse { backing_images }))
    }

    async fn version_get(&self, _: Request<()>) -> Answer<VersionResponse> {
        Ok(Response::new(VersionResponse {
            version: self.0.process.release.name().to_owned(),
            git_commit: String::new(),
            build_date: String::new(),
            backing_image_manager_api_version: API_VERSION,
            backing_image_manager_api_min_version: API_VERSION,
        }))
    }

    async fn sync(&self, request: Request<SyncRequest>) -> Answer<BackingImageResponse> {
        self.start_receiving(request.into_inner()).await.map(Response::new)
    }

    async fn send(&self, request: Request<SendRequest>) -> Answer<()> {
        let SendRequest { name, uuid, to_address } = request.into_inner();
        if name.is_empty() || to_address.is_empty() {
            return Err(Status::invalid_argument("missing required argument"));
        }
        self.0
            .files
            .send(&image_path(&name, &uuid), &to_address)
            .await
            .map(Response::new)
            .map_err(|error| unknown(&error))
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Answer<BackingImageResponse> {
        self.fetch_file(request.into_inner()).await.map(Response::new)
    }

    async fn prepare_download(&self, request: Request<PrepareDownloadRequest>) -> Answer<PrepareDownloadResponse> {
        let PrepareDownloadRequest { name, uuid } = request.into_inner();
        let image = self.get_and_update(&name, &uuid).await?;
        let state = image.status.unwrap_or_default().state;
        if state != State::Ready.as_str() {
            let text = format!("invalid backing image state {state} for the download");
            return Err(Status::failed_precondition(text));
        }
        let port = self.0.sync_listen.rsplit_once(':').map_or("", |(_, port)| port);
        let address = format!("{}:{port}", host::process::env_var("POD_IP").unwrap_or_default());
        Ok(Response::new(PrepareDownloadResponse { src_file_path: image_path(&name, &uuid), address }))
    }

    async fn backup_create(&self, request: Request<BackupCreateRequest>) -> Answer<()> {
        let created = backup::create(&self.0.process, &self.0.backups, request.into_inner()).await;
        created.map(Response::new).map_err(|error| unknown(&error))
    }

    async fn backup_status(&self, request: Request<BackupStatusRequest>) -> Answer<BackupStatusResponse> {
        let name = request.into_inner().name;
        if name.is_empty() {
            return Err(Status::unknown("empty backing image name for getting backup backing image status"));
        }
        let status = self.0.backups.first(&name).ok_or_else(|| {
            Status::unknown(format!("failed to get backup status {name}: backup backing image not found {name}"))
        })?;
        Ok(Response::new(BackupStatusResponse {
            progress: i32::try_from(status.progress).unwrap_or(i32::MAX),
            backup_url: status.url,
            error: status.error,
            state: status.state.to_owned(),
        }))
    }

    async fn watch(&self, _: Request<()>) -> Answer<Changes> {
        let changes = unfold(self.0.watchers.subscribe(), |mut changes| async move {
            match changes.recv().await {
                Ok(()) | Err(RecvError::Lagged(_)) => Some((Ok(()), changes)),
                Err(RecvError::Closed) => None,
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

impl Manager {
    async fn delete_file(&self, name: &str, uuid: &str) -> Result<(), Status> {
        self.0.files.delete(&image_path(name, uuid)).await.map_err(|error| unknown(&error))?;
        for _ in 0..3 {
            sleep(Duration::from_secs(1)).await;
            if let Err(status) = self.get_and_update(name, uuid).await
                && status.code() == Code::NotFound
            {
                return Ok(());
            }
        }
        Err(Status::unknown(format!("failed to wait for the backing image {name}({uuid}) deleted within 3 second")))
    }

    /// Takes the file over that a data source has made; without one, what is on the disk.
    async fn fetch_file(&self, request: FetchRequest) -> Result<BackingImageResponse, Status> {
        let spec = request.spec.filter(|spec| !spec.name.is_empty() && !spec.uuid.is_empty());
        let spec = spec.ok_or_else(|| Status::invalid_argument("missing required argument"))?;
        let path = image_path(&spec.name, &spec.uuid);
        let source = match request.data_source_address.as_str() {
            "" => path.clone(),
            address => {
                let client = DataSourceClient::new(self.0.process.client.clone(), address);
                let source = data_source_path(&spec.name, &spec.uuid);
                self.transfer_from(&client, &source, &spec.uuid).await?;
                source
            }
        };
        let file = NewFile { path: &path, uuid: &spec.uuid, disk_uuid: &self.0.disk_uuid, checksum: &spec.checksum };
        self.0.files.fetch(file, &source, spec.size).await.map_err(|error| unknown(&error))?;
        self.get_and_update(&spec.name, &spec.uuid).await
    }

    /// Has a data source give up its file.
    async fn transfer_from(&self, client: &DataSourceClient, file: &str, uuid: &str) -> Result<(), Status> {
        let info = client.get().await.map_err(|error| unknown(&error))?.file;
        if info.file_path != file || info.uuid != uuid || !matches!(info.state, State::Ready | State::ReadyForTransfer)
        {
            return Err(Status::failed_precondition(format!(
                "invalid data source file {} for fetch, uuid {}, state {}",
                info.file_path,
                info.uuid,
                info.state.as_str()
            )));
        }
        client.transfer().await.map_err(|error| unknown(&error))
    }
}
