//! The data source: the process of a pod that makes a backing image's first file on a disk, and lives until a manager has taken the file over
//! (pkg/datasource). HTTP on port 8000; the work is done by the file service beside it.

mod client;
mod service;

use std::collections::BTreeMap;
use std::time::Duration;

use host::http::{Peer, serve};
use longhorn_rpc::Channel;
use longhorn_rpc::ptypes::VolumeExportRequest;
use longhorn_rpc::ptypes::sync_agent_service_client::SyncAgentServiceClient;

pub(crate) use client::DataSourceClient;

use crate::Process;
use crate::error::{Context, Error, Result};
use crate::files::{self, FilesClient, NewFile};
use crate::info::{DISK_PATH, data_source_path, disk_uuid};
use crate::web;
use service::Service;

/// Where a volume's content is received (`DefaultVolumeExportReceiverPort`).
const EXPORT_PORT: u16 = 8002;
/// How long the export of a volume may take (the engine's `GRPCServiceLongTimeout`).
const EXPORT_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// A replica's sync agent listens so many ports above the replica.
const SYNC_AGENT_PORT_OFFSET: u16 = 2;

/// What the command line says.
pub(crate) struct Options {
    pub listen: String,
    pub sync_listen: String,
    pub name: String,
    pub uuid: String,
    /// `download`, `upload`, `export-from-volume`, `restore` or `clone`.
    pub source_type: String,
    /// SHA-512 that the content must have; empty if nobody knows.
    pub checksum: String,
    pub parameters: BTreeMap<String, String>,
    pub credential: BTreeMap<String, String>,
}

/// Makes the file, and serves until the process ends.
pub(crate) async fn run(process: Process, options: Options) -> Result<()> {
    let files = FilesClient::new(process.client.clone(), &options.sync_listen);
    host::spawn(files::run(process.clone(), web::listen(&options.sync_listen).await?));
    if !web::is_available_within(&process.client, &files.url(), 5).await {
        return Err(Error::invalid("failed to wait for sync service running in 5 second"));
    }
    if options.name.is_empty() || options.uuid.is_empty() {
        return Err(Error::invalid("the backing image name or uuid is not specified"));
    }
    let disk_uuid = disk_uuid().await?;
    let directory = format!("{DISK_PATH}/tmp");
    host::fs::create_dir_all(&directory).await.context(|| format!("mkdir {directory}"))?;
    let listen = options.listen.clone();
    let source = Source { path: data_source_path(&options.name, &options.uuid), files, options, disk_uuid };
    source.begin().await?;
    let service = Service::new(process, source);
    let listener = web::listen(&listen).await?;
    serve(listener, move |request, _: Peer| {
        let service = service.clone();
        async move { service.answer(request).await }
    })
    .await;
    Ok(())
}

/// Where the data comes from, and the file that it goes to.
struct Source {
    options: Options,
    files: FilesClient,
    path: String,
    disk_uuid: String,
}

impl Source {
    fn parameter(&self, name: &str) -> Result<&str> {
        let value = self.options.parameters.get(name).filter(|value| !value.is_empty());
        value.map(String::as_str).ok_or_else(|| Error::Invalid(format!("{name} is not specified")))
    }

    fn data_engine(&self) -> &str {
        self.parameter("data-engine").unwrap_or("v1")
    }

    /// Has the file service begin. An upload begins when it comes.
    async fn begin(&self) -> Result<()> {
        match self.options.source_type.as_str() {
            "download" => self.ask("downloadFromURL", &[("url", self.parameter("url")?)], false).await,
            "upload" => Ok(()),
            "restore" => {
                let (url, limit) = (self.parameter("backup-url")?, self.parameter("concurrent-limit")?);
                self.ask("restoreFromBackupURL", &[("backup-url", url), ("concurrent-limit", limit)], true).await
            }
            "clone" => {
                let more = [
                    ("backing-image", self.parameter("backing-image")?),
                    ("backing-image-uuid", self.parameter("backing-image-uuid")?),
                    ("encryption", self.parameter("encryption")?),
                ];
                self.ask("cloneFromBackingImage", &more, true).await
            }
            "export-from-volume" => self.export().await,
            other => Err(Error::Invalid(format!("unknown data source type: {other}"))),
        }
    }

    async fn ask(&self, action: &str, more: &[(&str, &str)], with_credential: bool) -> Result<()> {
        let file = NewFile {
            path: &self.path,
            uuid: &self.options.uuid,
            disk_uuid: &self.disk_uuid,
            checksum: &self.options.checksum,
        };
        let mut more = more.to_vec();
        more.push(("data-engine", self.data_engine()));
        self.files.begin(action, file, &more, with_credential.then_some(&self.options.credential)).await
    }

    /// Opens a receiver, and asks a replica of the volume to send a snapshot's content there.
    async fn export(&self) -> Result<()> {
        let snapshot = self.parameter("snapshot-name")?;
        let sender = self.parameter("sender-address")?.to_owned();
        // A size or time-out that cannot be read is taken as not given.
        let size = self.parameter("volume-size").ok().and_then(|size| size.parse().ok()).unwrap_or(0i64);
        let timeout = self.parameter("file-sync-http-client-timeout").ok().and_then(|text| text.parse().ok());
        let own = host::process::env_var("POD_IP").filter(|address| !address.is_empty());
        let host = own.ok_or_else(|| Error::invalid("failed to get an available ip during volume export"))?;
        let kind = self.parameter("file-type").unwrap_or_default();
        let (size, port) = (size.to_string(), EXPORT_PORT.to_string());
        self.ask("receiveFromPeer", &[("file-type", kind), ("port", &port), ("size", &size)], false).await?;
        let request = VolumeExportRequest {
            // The name alone: the replica makes the file name of it.
            snapshot_file_name: snapshot.to_owned(),
            host,
            port: i32::from(EXPORT_PORT),
            export_backing_image_if_exist: true,
            file_sync_http_client_timeout: timeout.unwrap_or(60),
        };
        host::spawn(async move {
            if let Err(error) = ask_for_export(&sender, request).await {
                tracing::error!(sender, %error, "failed to ask the sender volume to send data");
            }
        });
        Ok(())
    }
}

async fn ask_for_export(replica: &str, request: VolumeExportRequest) -> Result<()> {
    let invalid = || Error::Invalid(format!("invalid replica address {replica}"));
    let (host, port) = replica.strip_prefix("tcp://").unwrap_or(replica).rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    let agent = format!("{host}:{}", port.checked_add(SYNC_AGENT_PORT_OFFSET).ok_or_else(invalid)?);
    let mut agent = SyncAgentServiceClient::new(Channel::new(agent).timeout(EXPORT_TIMEOUT));
    let exported = agent.volume_export(request).await;
    exported
        .map(|_| ())
        .map_err(|status| Error::Invalid(format!("failed to export volume snapshot: {}", status.message())))
}
