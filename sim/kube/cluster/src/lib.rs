//! What makes an API server a cluster: the actors that watch it and act on it.
//!
//! [`garbage_collector`] and [`namespace`] need nothing but an API server and run in both worlds; everything else plays machines and exists in the simulated
//! world alone.

pub mod discovery;
pub mod garbage_collector;
pub mod namespace;

#[cfg(madsim)]
pub mod images;
#[cfg(madsim)]
pub mod kubelet;
