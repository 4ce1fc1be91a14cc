//! The v2 data engine: the SPDK service of a pod, as Longhorn uses it (longhorn-spdk-engine at the commits that the releases' instance
//! managers name).
//!
//! Two layers, as upstream has them. Below, the target (spdk_tgt): block devices, lvstores on them, logical volumes, and what is exposed over the
//! network; it knows nothing of Longhorn ([`target`], [`lvstore`], [`fabric`]). Above, the service: tables of replicas and engines, kept in
//! memory and compared with the target every three seconds ([`service`], [`replica`], [`engine`]).
//!
//! A block disk's content (its lvstore and logical volumes) stays on the disk; everything else is lost with the pod. A new pod knows no disk
//! until the manager names it again; then the lvstore is found on it, and the next comparison finds its logical volumes and lists them as
//! stopped replicas, whoever made them.
//!
//! Fault model: disks that vanish, are too small, full or fail; foreign and torn metadata; replicas that go away while an engine uses them.
//!
//! What differs from upstream: the target is a part of the pod's process, so that it never dies alone; what is exposed is reached by a protocol
//! of our own instead of NVMe over TCP; metadata on the disk is in a format of our own.

mod block_device;
mod disks;
mod engine;
mod engine_frontend;
mod fabric;
mod lvstore;
mod metadata;
mod replica;
mod rpc;
mod service;
mod snapshots;
mod target;

pub use fabric::RemoteVolume;
pub(crate) use service::Service;

/// States of replicas and engines beside those of processes (`pkg/types/types.go`).
pub(crate) mod state {
    /// Listed, not looked at yet.
    pub const PENDING: &str = "pending";
    /// Being deleted.
    pub const TERMINATING: &str = "terminating";
    /// Its input and output is held back.
    pub const SUSPENDED: &str = "suspended";
}

/// The port at which every pod's SPDK service listens (`types.SPDKServicePort`).
pub(crate) const SERVICE_PORT: u16 = 8504;

/// Bytes of a cluster, the unit of allocation (`defaultClusterSize`).
pub(crate) const CLUSTER_BYTES: u64 = 1 << 20;

/// The newest data's name in answers (`types.VolumeHead`).
pub(crate) const VOLUME_HEAD: &str = "volume-head";
