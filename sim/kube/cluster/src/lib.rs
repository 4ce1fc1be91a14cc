//! What makes an API server a cluster: the actors that watch it and act on it.
//!
//! [`garbage_collector`] and [`namespace`] need nothing but an API server and run in both worlds. Everything else plays machines, and exists in the
//! simulated world alone: [`Cluster::boot`](cluster::Cluster::boot) makes the machines, starts on them what a real cluster runs (API server, controller
//! manager, scheduler, name server; a kubelet and a kube-proxy on each worker), and keeps the means to break them.
//!
//! Each actor is a process of its own on a machine of its own, talks to the API server over the simulated network, and is late for all the reasons
//! that the real one has.

pub mod discovery;
pub mod garbage_collector;
pub mod namespace;

#[cfg(madsim)]
pub mod cluster;
#[cfg(madsim)]
mod controller_manager;
#[cfg(madsim)]
mod controllers;
#[cfg(madsim)]
mod election;
#[cfg(madsim)]
pub mod images;
#[cfg(madsim)]
mod kubelet;
#[cfg(madsim)]
mod placement;
#[cfg(madsim)]
mod scheduler;
#[cfg(madsim)]
mod service_proxy;
#[cfg(madsim)]
mod storage;
#[cfg(madsim)]
mod supervisor;

#[cfg(madsim)]
pub use cluster::{Cluster, ClusterSpec, WorkerSpec};
#[cfg(madsim)]
pub use controller_manager::ControllerManagerOptions;
#[cfg(madsim)]
pub use controllers::node_lifecycle::NodeLifecycleOptions;
#[cfg(madsim)]
pub use election::Leadership;
#[cfg(madsim)]
pub use images::{Image, Images};
#[cfg(madsim)]
pub use kubelet::KubeletLatencies;
#[cfg(madsim)]
pub use storage::StorageLatencies;

/// The namespace of the nodes' leases.
#[cfg(madsim)]
pub const NODE_LEASE_NAMESPACE: &str = "kube-node-lease";
