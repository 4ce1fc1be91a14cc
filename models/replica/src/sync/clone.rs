//! Copying between replicas: the files of a rebuild, and a snapshot's content into another volume.

use std::sync::Arc;
use std::time::Duration;

use host::fs::{self, OpenOptions};
use longhorn_rpc::{Identity, ptypes, rpc_text};

use crate::client::{LONG_TIMEOUT, ReplicaClient, host_and_port};
use crate::error::Error;
use crate::format::names::{META_SUFFIX, snapshot_disk};
use crate::format::{Replica, now};
use crate::sync::agent::{Agent, Progress, TaskStatus, lock};
use crate::sync::sender::{self, Source};

/// What a restored or cloned snapshot's metadata is.
const SNAPSHOT_META: &[u8] = b"{\"Parent\":\"\"}\n";
/// How much is copied at once on one machine.
const LOCAL_BATCH_BYTES: usize = 1 << 20;

fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

impl Agent {
    /// Sends a file of this replica.
    pub(crate) async fn send_file(&self, request: ptypes::FileSendRequest) -> Result<(), Error> {
        let source = Source::file(self.directory(), &request.from_file_name).await?;
        let remote = format!("{}:{}", request.host, request.port);
        sender::send(&source, &remote, seconds(request.file_sync_http_client_timeout), request.fast_sync).await
    }

    /// Sends the volume as a snapshot of this replica has it.
    pub(crate) async fn export(&self, request: ptypes::VolumeExportRequest) -> Result<(), Error> {
        let name = request.snapshot_file_name;
        let replica = Replica::open_snapshot(self.directory(), &name).await?;
        let with_backing = request.export_backing_image_if_exist;
        let source = Source::Volume { directory: self.directory(), name: &name, replica: &replica, with_backing };
        let remote = format!("{}:{}", request.host, request.port);
        sender::send(&source, &remote, seconds(request.file_sync_http_client_timeout), false).await
    }

    /// Fetches the files that a rebuild needs: from a replica of the same machine, or else from one that sends them.
    pub(crate) async fn sync_files(&self, request: ptypes::FilesSyncRequest) -> Result<(), String> {
        self.begin_rebuild(&request).await?;
        let fetched = async {
            if request.local_sync.is_some() {
                match self.sync_locally(&request).await {
                    Ok(()) => return Ok(()),
                    Err(error) => tracing::warn!(%error, "falling back to remote sync"),
                }
            }
            self.sync_remotely(&request).await
        };
        let fetched = fetched.await;
        lock(&self.0.statuses.rebuild).finish(fetched.clone().err());
        self.0.running.write().await.rebuilding = false;
        fetched
    }

    async fn begin_rebuild(&self, request: &ptypes::FilesSyncRequest) -> Result<(), String> {
        let mut running = self.0.running.write().await;
        if running.purging {
            return Err("replica is purging snapshots".to_owned());
        }
        if running.rebuilding {
            return Err("replica is already rebuilding".to_owned());
        }
        running.rebuilding = true;
        let files = &request.sync_file_info_list;
        let bytes: u64 = files.iter().map(|file| u64::try_from(file.actual_size).unwrap_or_default()).sum();
        let mut status = TaskStatus {
            state: Progress::Running,
            from_address: request.from_address.clone(),
            done: 1,
            total: bytes + 1,
            ..TaskStatus::default()
        };
        status.advance(0);
        *lock(&self.0.statuses.rebuild) = status;
        Ok(())
    }

    /// Copies from a directory of this machine; takes back what was copied if that fails.
    async fn sync_locally(&self, request: &ptypes::FilesSyncRequest) -> Result<(), Error> {
        let Some(paths) = &request.local_sync else { return Ok(()) };
        let mut copied = Vec::new();
        for file in &request.sync_file_info_list {
            let from = format!("/host{}/{}", paths.source_path, file.from_file_name);
            let to = format!("/host{}/{}", paths.target_path, file.to_file_name);
            copied.push(to.clone());
            if let Err(error) = copy(&from, &to).await {
                for path in copied {
                    let _ = fs::remove_file(&path).await;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    async fn sync_remotely(&self, request: &ptypes::FilesSyncRequest) -> Result<(), String> {
        // Nobody knows the other replica's instance name.
        let identity = Identity::new(self.0.identity.volume_name.clone(), "");
        let client = ReplicaClient::new(&request.from_address, &identity)?;
        let limit = match request.grpc_timeout_seconds {
            0 => LONG_TIMEOUT,
            seconds => Duration::from_secs(seconds.unsigned_abs()),
        };
        for file in &request.sync_file_info_list {
            let name = &file.to_file_name;
            let progress = (file.actual_size != 0).then(|| Arc::clone(&self.0.statuses.rebuild));
            let port = self.launch_receiver("FilesSync", name.clone(), progress).await;
            let port = port.map_err(|error| format!("failed to launch receiver for file {name}: {error}"))?;
            let send = ptypes::FileSendRequest {
                from_file_name: file.from_file_name.clone(),
                host: request.to_host.clone(),
                port: port.into(),
                fast_sync: request.fast_sync,
                file_sync_http_client_timeout: request.file_sync_http_client_timeout,
            };
            client.long_sync(limit).file_send(send).await.map_err(|status| {
                let (from, to) = (&request.from_address, &request.to_host);
                let error = rpc_text(&status);
                format!("replica {from} failed to send file {name} to {to}:{port}: failed to send file {} to {to}:{port}: {error}", file.from_file_name)
            })?;
        }
        Ok(())
    }

    /// Fetches a snapshot of another volume, and goes on from it.
    pub(crate) async fn clone_snapshot(&self, request: ptypes::SnapshotCloneRequest) -> Result<(), String> {
        let identity = Identity::new(request.from_volume_name.clone(), "");
        let client = ReplicaClient::new(&request.from_address, &identity)?;
        let source = client.get().await.map_err(|status| rpc_text(&status))?;
        let disk = snapshot_disk(&request.snapshot_file_name);
        if !source.disks.contains_key(&disk) {
            let (name, from) = (&request.snapshot_file_name, &request.from_address);
            return Err(format!("cannot find snapshot {name} in the source replica {from}"));
        }
        let size: u64 = source.size.parse().map_err(|_| format!("invalid size {:?}", source.size))?;
        self.begin_clone(&request, size).await?;
        let cloned = self.perform_clone(&client, &request, &disk).await;
        lock(&self.0.statuses.clone).finish(cloned.clone().err());
        self.0.running.write().await.cloning = false;
        cloned
    }

    async fn begin_clone(&self, request: &ptypes::SnapshotCloneRequest, size: u64) -> Result<(), String> {
        let mut running = self.0.running.write().await;
        let mut status = lock(&self.0.statuses.clone);
        if running.cloning {
            let TaskStatus { snapshot, from_address, .. } = &*status;
            return Err(format!("replica is cloning snapshot {snapshot} from replica address {from_address}"));
        }
        running.cloning = true;
        *status = TaskStatus {
            state: Progress::Running,
            from_address: request.from_address.clone(),
            snapshot: request.snapshot_file_name.clone(),
            total: size.max(1),
            ..TaskStatus::default()
        };
        Ok(())
    }

    async fn perform_clone(
        &self,
        client: &ReplicaClient,
        request: &ptypes::SnapshotCloneRequest,
        disk: &str,
    ) -> Result<(), String> {
        let progress = Some(Arc::clone(&self.0.statuses.clone));
        let name = &request.snapshot_file_name;
        let port = self.launch_receiver("SnapshotClone", disk.to_owned(), progress).await;
        let port = port.map_err(|error| format!("failed to launch receiver for snapshot {name}: {error}"))?;
        let to = host_and_port(&request.to_host).map_or(request.to_host.as_str(), |(host, _)| host);
        let export = ptypes::VolumeExportRequest {
            snapshot_file_name: name.clone(),
            host: to.to_owned(),
            port: port.into(),
            export_backing_image_if_exist: false,
            file_sync_http_client_timeout: request.file_sync_http_client_timeout,
        };
        client.long_sync(LONG_TIMEOUT).volume_export(export).await.map_err(|status| {
            let error = rpc_text(&status);
            format!("failed to export snapshot {name} from replica {} to {to}:{port}: {error}", request.from_address)
        })?;
        self.adopt_snapshot(disk).await.map_err(|error| error.to_string())
    }

    /// Lets the replica go on from a snapshot whose disk was put into its directory.
    pub(crate) async fn adopt_snapshot(&self, disk: &str) -> Result<(), Error> {
        self.write_snapshot_meta(disk).await?;
        self.0.server.reload().await?;
        self.0.server.revert(disk, &now()).await
    }

    pub(crate) async fn write_snapshot_meta(&self, disk: &str) -> Result<(), Error> {
        let name = format!("{disk}{META_SUFFIX}");
        self.directory().replace(&name, &format!("{name}.tmp"), SNAPSHOT_META).await
    }
}

/// Copies a file with its holes.
async fn copy(from: &str, to: &str) -> Result<(), Error> {
    let source = OpenOptions::new().read(true).open(from).await.map_err(|error| Error::file("open", from, &error))?;
    let size = source.metadata().await.map_err(|error| Error::file("stat", from, &error))?.len;
    let options = OpenOptions::new().write(true).create(true).truncate(true);
    let target = options.open(to).await.map_err(|error| Error::file("open", to, &error))?;
    target.set_len(size).await.map_err(|error| Error::file("truncate", to, &error))?;
    let mut buffer = Vec::new();
    for extent in source.extents().await.map_err(|error| Error::file("fiemap", from, &error))? {
        let (mut offset, end) = (extent.offset, (extent.offset + extent.len).min(size));
        while offset < end {
            buffer.resize(LOCAL_BATCH_BYTES.min((end - offset) as usize), 0);
            source.read_exact_at(&mut buffer, offset).await.map_err(|error| Error::file("read", from, &error))?;
            target.write_all_at(&buffer, offset).await.map_err(|error| Error::file("write", to, &error))?;
            offset += buffer.len() as u64;
        }
    }
    target.sync_all().await.map_err(|error| Error::file("fsync", to, &error))
}
