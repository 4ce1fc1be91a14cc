//! What a process may ask of its machine: spawn, time, net, fs, process, random. One interface over two worlds, chosen at run time.
//!
//! A thread that runs a simulation ([`corral_core::run`]) is in the simulated world; every other thread is in the real one, on tokio and Linux.
//! Models know this crate and never which world they are in. The privileged half (starting machines, cutting power, partitions) is not
//! here: it belongs to those who play the kubelet and the run loop, and they use corral-core, corral-net and corral-disk.

#[cfg(not(any(madsim, real_world)))]
compile_error!(
    "Corral is built with `--cfg madsim` from .cargo/config.toml, and a RUSTFLAGS variable or a build from another directory has \
     replaced it: unset RUSTFLAGS and build inside the checkout (or use `--config .cargo/real.toml` for the real world alone)"
);

mod child;
mod daemon;
pub mod fs;
pub mod http;
pub mod journal;
pub mod net;
pub mod process;
pub mod random;
pub mod real;
mod task;
pub mod time;
pub mod wall_clock;

pub use task::{JoinError, JoinHandle, spawn, yield_now};

/// Whether this thread runs a simulation.
pub(crate) fn simulated() -> bool {
    #[cfg(madsim)]
    return corral_core::in_simulation();
    #[cfg(not(madsim))]
    false
}
