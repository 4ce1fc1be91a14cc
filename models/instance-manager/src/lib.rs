//! The instance manager: the pod beside each manager in which engines and replicas live (longhorn-instance-manager, and of longhorn-spdk-engine
//! what it contains).
//!
//! Five gRPC services on ports of their own: the process manager (8500) with v1 engines and replicas as child processes; the proxy (8501), through
//! which the manager reaches engines; block disks (8502); instances of both data engines (8503); and, in a pod of the v2 data engine, its SPDK
//! service (8504). Nothing is kept but what stands on disks: with the pod, every engine and every replica's process is gone.
//!
//! Left out: TLS, profiling, SPDK's rebuilding, backups and backing images.

mod arguments;
mod broadcast;
mod clients;
mod daemon;
mod disk;
mod instance;
mod names;
mod ports;
mod process;
mod proxy;
mod spdk;
mod status;
mod stream;
mod uuid;
mod version;

use host::process::Main;
use longhorn_api::Build;

pub use spdk::RemoteVolume;

/// The image's main: reads the process's arguments, and gives its exit status.
pub fn main(build: Build) -> Main {
    Box::pin(run(build))
}

async fn run(build: Build) -> i32 {
    let arguments = host::process::args();
    let own = arguments.get(1..).unwrap_or_default();
    // The image's entry point is tini, which is told to run the script of this name.
    let own = if own.first().is_some_and(|first| first == "instance-manager") { &own[1..] } else { own };
    match daemon::run(&build, own).await {
        Ok(()) => 0,
        Err(error) => {
            host::process::print_error(&format!("Error when executing command: {error}\n"));
            1
        }
    }
}
