//! The instance manager in the simulated world, through its gRPC services.

mod bad_input;
mod block_disks;
mod processes;
mod proxy;
mod replicas;
mod support;
