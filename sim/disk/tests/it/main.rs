//! The simulated disk through its public interface; one binary, because linking many takes longer than running them.

mod capacity;
mod common;
mod determinism;
mod faults;
mod handles;
mod linux;
mod memory;
mod mounts;
mod names;
mod open;
mod power_cut;
mod power_cut_random;
mod sparse;
mod timing;
