//! Clusters, workloads, Longhorn's oracles, recorded races. The one place that knows both the world and Longhorn.

mod backup_cleanup;
mod catalogue;
pub mod clients;
mod file_server;
mod fill;
mod ground;
pub mod images;
pub mod install;
pub mod oracles;
mod scenario;
mod server_pod;
pub mod shell;
mod steps;
pub mod store;
mod system_backup;
mod system_restore;
mod tables;
mod upgrade;
mod user;
mod v2_disable_enable;
mod volume_life;

pub use catalogue::{catalogue, cause_of, default_release, defects, releases, selection};
pub use oracles::HAZARDS;
