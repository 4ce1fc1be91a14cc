//! Frontends, and the devices that others find by them.
//!
//! Upstream's block device is an iSCSI target of the machine's own kernel whose backing store talks to a unix socket of
//! the engine, over the protocol of the data connection; the socket frontend is that socket alone. Here the engine serves
//! that protocol at a port of its pod's address that the kernel chooses, and puts a file where the device or the socket
//! would be: it names address and size. Whoever is on the machine and sees that file can use the device, by
//! [`Device::open`]. With the engine the port goes, and I/O fails; a file that was left behind leads nowhere.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use host::JoinHandle;
use host::fs;
use host::net::TcpListener;
use longhorn_replica::data::{self, DataClient, DataError, SharedTimeouts};
use longhorn_replica::go_text;

use crate::controller::Controller;

const BLOCK_DEVICE: &str = "tgt-blockdev";
const ISCSI: &str = "tgt-iscsi";
const SOCKET: &str = "socket";
const DEVICES: &str = "/dev/longhorn";
/// Where a pod sees its machine's own files.
const HOST: &str = "/host";
/// The kernel's own patience with a device is longer than the engine's with its replicas.
const DEVICE_TIMEOUT: Duration = Duration::from_secs(60);

/// The path of a volume's block device on its machine.
pub fn device_path(volume: &str) -> String {
    format!("{DEVICES}/{volume}")
}

fn socket_path(volume: &str) -> String {
    format!("/var/run/longhorn-{volume}.sock")
}

/// A volume's way to its users.
#[derive(Debug)]
pub(crate) struct Frontend {
    name: &'static str,
    volume: String,
    up: Mutex<Option<Up>>,
}

#[derive(Debug)]
struct Up {
    server: JoinHandle<()>,
    address: SocketAddr,
    path: String,
}

impl Frontend {
    /// The frontend of this name, if there is one.
    pub fn named(name: &str, volume: &str) -> Option<Frontend> {
        let name = [BLOCK_DEVICE, ISCSI, SOCKET].into_iter().find(|known| *known == name)?;
        Some(Frontend { name, volume: volume.to_owned(), up: Mutex::default() })
    }

    fn up(&self) -> MutexGuard<'_, Option<Up>> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn name(&self) -> &str {
        self.name
    }

    pub fn is_up(&self) -> bool {
        self.up().is_some()
    }

    pub fn state(&self) -> &'static str {
        if self.is_up() { "up" } else { "down" }
    }

    /// Where users find the volume; empty while it is down.
    pub fn endpoint(&self) -> String {
        match (self.up().as_ref(), self.name) {
            (None, _) => String::new(),
            (Some(_), SOCKET) => socket_path(&self.volume),
            (Some(up), ISCSI) => {
                format!("iscsi://{}:3260/iqn.2019-10.io.longhorn:{}/1", up.address.ip(), self.volume)
            }
            (Some(_), _) => device_path(&self.volume),
        }
    }

    /// Where this process puts the file that stands for the device.
    async fn file(&self) -> String {
        if self.name == SOCKET {
            return socket_path(&self.volume);
        }
        let device = device_path(&self.volume);
        if fs::exists(HOST).await.unwrap_or(false) { format!("{HOST}{device}") } else { device }
    }

    /// Begins to serve the volume.
    pub async fn start(&self, controller: Controller, size: i64) -> Result<(), String> {
        self.shutdown().await?;
        let listener = TcpListener::bind((host::net::local_ip(), 0).into()).await;
        let listener = listener.map_err(|error| format!("failed to listen: {}", go_text(&error)))?;
        let address = listener.local_addr().map_err(|error| go_text(&error))?;
        let path = self.file().await;
        write(&path, address, size).await?;
        let server = host::spawn(data::serve(listener, Arc::new(controller)));
        *self.up() = Some(Up { server, address, path });
        Ok(())
    }

    /// Serves the volume no more.
    pub async fn shutdown(&self) -> Result<(), String> {
        let Some(up) = self.up().take() else { return Ok(()) };
        up.server.abort();
        match fs::remove_file(&up.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("remove {}: {}", up.path, go_text(&error)))
            }
            _ => Ok(()),
        }
    }

    /// Lets users know that the volume is larger.
    pub async fn expand(&self, size: i64) -> Result<(), String> {
        let up = self.up().as_ref().map(|up| (up.path.clone(), up.address));
        match up {
            Some(_) if self.name == SOCKET => Err("expand is not supported".to_owned()),
            Some((path, address)) => write(&path, address, size).await,
            None => Ok(()),
        }
    }
}

async fn write(path: &str, address: SocketAddr, size: i64) -> Result<(), String> {
    let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
    let written = async {
        fs::create_dir_all(directory).await?;
        let temporary = format!("{path}.new");
        fs::write(&temporary, format!("{address} {size}\n").as_bytes()).await?;
        fs::rename(&temporary, path).await
    };
    written.await.map_err(|error| format!("failed to make {path}: {}", go_text(&error)))
}

/// What can be read and written in blocks.
pub trait BlockDevice: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;
    /// Reads so many bytes.
    fn read_at(&self, offset: u64, length: u32) -> BoxFuture<'_, io::Result<Bytes>>;
    /// Writes all bytes; when it returns they are on every replica in use.
    fn write_at(&self, offset: u64, data: Bytes) -> BoxFuture<'_, io::Result<()>>;
    /// Says that a range is not needed any more; it may read as zeros or as older data from now on.
    fn unmap(&self, offset: u64, length: u32) -> BoxFuture<'_, io::Result<()>>;
}

/// The block device of an attached volume, as a process of its machine uses it.
#[derive(Debug)]
pub struct Device {
    client: DataClient,
    size: u64,
}

impl Device {
    /// Opens a volume's block device on this machine.
    ///
    /// # Errors
    /// There is none, or nobody serves it.
    pub async fn open(volume: &str) -> io::Result<Device> {
        let device = device_path(volume);
        match Device::open_at(&device).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Device::open_at(&format!("{HOST}{device}")).await,
            result => result,
        }
    }

    /// Opens the device that a file stands for: a block device, or a socket frontend's socket.
    ///
    /// # Errors
    /// There is none, or nobody serves it.
    pub async fn open_at(path: &str) -> io::Result<Device> {
        let text = fs::read(path).await?;
        let parsed = std::str::from_utf8(&text).ok().and_then(|text| {
            let (address, size) = text.trim_end().split_once(' ')?;
            Some((address.parse::<SocketAddr>().ok()?, size.parse::<u64>().ok()?))
        });
        let no_device = || io::Error::new(io::ErrorKind::InvalidData, format!("{path} is no device"));
        let (address, size) = parsed.ok_or_else(no_device)?;
        let timeouts = Arc::new(SharedTimeouts::new(DEVICE_TIMEOUT, DEVICE_TIMEOUT));
        Ok(Device { client: DataClient::connect(address, timeouts).await?, size })
    }
}

fn failed(error: DataError) -> io::Error {
    match error {
        DataError::Eof => io::ErrorKind::UnexpectedEof.into(),
        DataError::Failed(text) => io::Error::other(text.to_string()),
    }
}

fn position(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl BlockDevice for Device {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, length: u32) -> BoxFuture<'_, io::Result<Bytes>> {
        async move { self.client.read(position(offset)?, length).await.map_err(failed) }.boxed()
    }

    fn write_at(&self, offset: u64, data: Bytes) -> BoxFuture<'_, io::Result<()>> {
        async move {
            let length = data.len() as u32;
            match self.client.write(position(offset)?, data).await.map_err(failed)? {
                written if written == length => Ok(()),
                // The text of a full disk comes back as a good answer of another length.
                _ => Err(io::ErrorKind::StorageFull.into()),
            }
        }
        .boxed()
    }

    fn unmap(&self, offset: u64, length: u32) -> BoxFuture<'_, io::Result<()>> {
        async move { self.client.unmap(position(offset)?, length).await.map(drop).map_err(failed) }.boxed()
    }
}
