//! The manager: gRPC on port 8000, for longhorn-manager and for its peers. It asks the file service beside it, and looks at all its files every
//! three seconds to tell those who watch that something has changed (pkg/manager).

mod backup;
mod backup_list;
mod ports;
mod receiving;
mod service;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host::time::sleep;
use longhorn_rpc::bimrpc::backing_image_manager_service_server::BackingImageManagerServiceServer;
use longhorn_rpc::bimrpc::{BackingImageResponse, BackingImageSpec, BackingImageStatus};
use longhorn_rpc::{Router, Status, serve};
use tokio::sync::broadcast;

use crate::Process;
use crate::error::{Context, Error, Result};
use crate::files::{self, FilesClient};
use crate::info::{DISK_PATH, FileInfo, disk_uuid, image_name, image_path};
use crate::web;
use backup_list::BackupList;
use ports::Ports;

/// How often files are looked at (`MonitorInterval`).
const MONITOR_INTERVAL: Duration = Duration::from_secs(3);

/// What the command line says.
pub(crate) struct Options {
    pub listen: String,
    pub sync_listen: String,
    /// The disk that this must be; empty if any will do.
    pub disk_uuid: String,
    pub port_range: String,
}

/// The manager of one disk.
#[derive(Clone)]
struct Manager(Arc<Shared>);

struct Shared {
    process: Process,
    files: FilesClient,
    sync_listen: String,
    disk_uuid: String,
    ports: Ports,
    /// What was last seen, by the backing image's name.
    seen: Mutex<BTreeMap<String, FileInfo>>,
    changed: AtomicBool,
    watchers: broadcast::Sender<()>,
    backups: BackupList,
}

/// Serves until the process is asked to stop.
pub(crate) async fn run(process: Process, options: Options) -> Result<()> {
    let on_disk = disk_uuid().await?;
    if !options.disk_uuid.is_empty() && options.disk_uuid != on_disk {
        return Err(Error::Invalid(format!(
            "invalid input disk UUID {}, which doesn't match disk UUID {on_disk} the disk config file",
            options.disk_uuid
        )));
    }
    let files = FilesClient::new(process.client.clone(), &options.sync_listen);
    host::spawn(files::run(process.clone(), web::listen(&options.sync_listen).await?));
    if !web::is_available_within(&process.client, &files.url(), 5).await {
        return Err(Error::invalid("failed to wait for sync service running in 5 second"));
    }
    let listener = web::listen(&options.listen).await?;
    let directory = format!("{DISK_PATH}/backing-images");
    host::fs::create_dir_all(&directory).await.context(|| format!("mkdir {directory}"))?;
    let manager = Manager(Arc::new(Shared {
        process,
        files,
        sync_listen: options.sync_listen,
        disk_uuid: on_disk,
        ports: Ports::parse(&options.port_range)?,
        seen: Mutex::default(),
        changed: AtomicBool::new(false),
        watchers: broadcast::Sender::new(16),
        backups: BackupList::default(),
    }));
    let monitor = manager.clone();
    host::spawn(async move { monitor.monitor().await });
    let router = Router::new().add(BackingImageManagerServiceServer::new(manager));
    tokio::select! {
        biased;
        () = host::process::terminated() => {}
        () = serve(listener, router) => {}
    }
    Ok(())
}

impl Manager {
    async fn monitor(&self) {
        loop {
            sleep(MONITOR_INTERVAL).await;
            if let Err(error) = self.list_and_update().await {
                tracing::warn!(%error, "failed to list and update backing image files");
            }
            if self.0.changed.swap(false, Ordering::Relaxed) {
                // Without watchers there is nobody to tell.
                let _ = self.0.watchers.send(());
            }
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, FileInfo>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn list_and_update(&self) -> Result<BTreeMap<String, FileInfo>> {
        let files = self.0.files.list().await?;
        let files: BTreeMap<_, _> =
            files.into_iter().map(|(path, info)| (image_name(&path, &info.uuid), info)).collect();
        let mut seen = self.seen();
        if *seen != files {
            self.0.changed.store(true, Ordering::Relaxed);
            seen.clone_from(&files);
        }
        Ok(files)
    }

    async fn get_and_update(&self, name: &str, uuid: &str) -> std::result::Result<BackingImageResponse, Status> {
        if name.is_empty() || uuid.is_empty() {
            return Err(Status::invalid_argument("missing required argument"));
        }
        match self.0.files.get(&image_path(name, uuid)).await {
            Ok(info) => {
                let answer = response(&info);
                if self.seen().insert(name.to_owned(), info.clone()).as_ref() != Some(&info) {
                    self.0.changed.store(true, Ordering::Relaxed);
                }
                Ok(answer)
            }
            Err(error) if error.is_not_found() => {
                if self.seen().remove(name).is_some() {
                    self.0.changed.store(true, Ordering::Relaxed);
                }
                Err(Status::not_found(format!("cannot find backing image {name}({uuid})")))
            }
            Err(error) => Err(unknown(&error)),
        }
    }
}

/// An error without a code, as gRPC passes it on.
fn unknown(error: &Error) -> Status {
    Status::unknown(error.to_string())
}

fn response(info: &FileInfo) -> BackingImageResponse {
    BackingImageResponse {
        spec: Some(BackingImageSpec {
            name: image_name(&info.file_path, &info.uuid),
            uuid: info.uuid.clone(),
            size: info.size,
            checksum: info.expected_checksum.clone(),
            virtual_size: info.virtual_size,
            real_size: info.real_size,
        }),
        status: Some(BackingImageStatus {
            state: info.state.as_str().to_owned(),
            error_msg: info.message.clone(),
            sending_reference: info.sending_reference,
            sender_manager_address: String::new(),
            progress: i32::try_from(info.progress).unwrap_or(i32::MAX),
            checksum: info.current_checksum.clone(),
        }),
    }
}
