//! The backing image manager (longhorn/backing-image-manager): the process that keeps the backing images of one disk as files, fetches them
//! from data sources, passes them on and backs them up; and the data source process that makes an image's first file.
//!
//! Both run a file service beside their own (`files`): HTTP, one entry a file, each a small state machine. The manager's own service is gRPC, and
//! only translates. Fault model: the process may die at any point; files are filled under another name and renamed when their checksum is known, and
//! `backing.cfg` beside a file lets a later process trust it without reading it. What is in memory (backups' statuses, ports) is lost.
//!
//! Left out: encrypted clones, conversions from and to qcow2, the binary's client commands.

mod cancel;
mod command_line;
mod data_source;
mod error;
mod files;
mod form;
mod image;
pub mod info;
mod manager;
mod ssync;
mod web;

use std::time::Duration;

use host::http::Client;
use host::process::Main;
use longhorn_api::{Build, Release};
use longhorn_backupstore::{Behaviour, Context};

/// What a backing image manager's image is built from, and what a scenario changes in it.
#[derive(Clone, Debug)]
pub struct BackingImageManager {
    /// The build; the image's tag says which.
    pub build: Build,
    /// How the backup store's operations behave.
    pub behaviour: Behaviour,
}

impl BackingImageManager {
    /// That of a build, with nothing changed.
    pub fn of(build: Build) -> Self {
        let behaviour = Behaviour::of(&build);
        Self { build, behaviour }
    }
}

/// What the parts of a process share.
#[derive(Clone)]
pub(crate) struct Process {
    /// Its release.
    pub release: Release,
    /// The backup store's operations.
    pub store: Context,
    /// Its HTTP connections.
    pub client: Client,
}

impl Process {
    /// How long a download or an upload may bring no byte (`HTTPTimeout`).
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_secs(if self.release.at_least(Release::V1_9_2) { 30 } else { 4 })
    }

    /// Since v1.8.0 the space that a file takes is known.
    pub fn has_real_size(&self) -> bool {
        self.release.at_least(Release::V1_8_0_RC1)
    }
}

/// The binary's main: reads the process's arguments, serves, and gives its exit status.
pub fn main(program: BackingImageManager) -> Main {
    Box::pin(run(program))
}

async fn run(program: BackingImageManager) -> i32 {
    let process = Process {
        release: program.build.release(),
        store: Context::new(program.behaviour).with_log_on_stderr(),
        client: Client::new(),
    };
    command_line::run(process, host::process::args().get(1..).unwrap_or_default()).await
}
