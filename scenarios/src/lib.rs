//! Clusters, workloads, Longhorn's oracles, recorded races. The one place that knows both the world and Longhorn.

pub mod backup_cleanup;
mod catalogue;
pub mod clients;
mod fill;
pub mod images;
pub mod install;
pub mod oracles;
mod player;
pub mod shell;
pub mod store;
pub mod system_restore;
mod tables;
pub mod upgrade;
pub mod v2_disable_enable;

pub use catalogue::{catalogue, defects, releases, selection};
