//! longhorn-manager: the webhooks, the controllers and the REST API of one node of a Longhorn cluster, as v1.7.2 and v1.8.0 have them.
//!
//! [`main`] is the entry point of the image `longhornio/longhorn-manager`. It is configured as the real one is, by its DaemonSet:
//!
//! * arguments and variables: see [`arguments`]. The tag of `--manager-image` says which build it is. `KUBERNETES_SERVICE_HOST` and
//!   `KUBERNETES_SERVICE_PORT` lead to the API server, in plain HTTP.
//! * the pod is ready when `GET :9501/v1/healthz` answers.
//! * services: `longhorn-backend` (9500, all managers); `longhorn-conversion-webhook` (9501), `longhorn-admission-webhook` (9502) and
//!   `longhorn-recovery-backend` (9503), which select by the labels in [`pods`]. A start waits for the first two webhooks to be reached
//!   through their services and fails after 60 s.
//! * ConfigMaps `longhorn-default-setting` and, since v1.8.0-rc1, `longhorn-default-resource`: both must be there.
//! * the host's `/var/lib/longhorn` with the engine binaries that the engine image's DaemonSet puts there; the binary answers the commands
//!   in [`engine::BackupTargetClient`] and `version --client-only`.
//!
//! Where things are: [`runtime`] is what every controller stands on, [`controllers`] has one file each, [`engine`] runs the engine binary,
//! [`webhooks`] and [`rest`] serve, [`upgrade`] changes what another release stored. [`daemon`] is the order in which all of it starts. Facts are from longhorn-manager's source at the two
//! tags, named by file in each header; behaviour that differs between releases asks `Datastore::build`.
//!
//! What is not here yet belongs to volumes, engines, replicas and instance managers; the seams are named where they are.

pub mod arguments;
pub mod controllers;
pub mod daemon;
pub mod engine;
pub mod installation;
pub mod manager;
pub mod pods;
pub mod rest;
pub mod rollout;
pub mod runtime;
pub mod scheduler;
pub mod upgrade;
pub mod webhooks;

/// What the image `longhornio/longhorn-manager` runs.
#[derive(Clone, Debug)]
pub struct LonghornManager {
    /// The build.
    pub build: longhorn_api::Build,
    /// How often controllers look at every object again; never, if it is zero. Not upstream's to choose.
    pub resync: std::time::Duration,
}

impl LonghornManager {
    /// As upstream built it.
    pub fn of(build: longhorn_api::Build) -> Self {
        Self { build, resync: runtime::RESYNC }
    }
}

/// The main of the image: what its first word asks for.
pub fn main(own: LonghornManager) -> host::process::Main {
    Box::pin(async move {
        if host::process::args().iter().any(|word| word == rollout::COMMAND) {
            return rollout::main(own.build).await;
        }
        daemon::main(own).await
    })
}
