//! A v1 replica: its directory to the byte, and the process that serves it.
//!
//! [`mod@format`] is the directory and the operations on it, [`Server`] the replica as one engine uses it, [`data`] the
//! connection for reads and writes, [`Process`] the whole process with its three ports, [`ReplicaClient`] its client.

mod client;
pub mod data;
mod error;
pub mod format;
mod process;
mod server;
mod service;
pub mod sync;

pub use client::{COMMON_TIMEOUT, LONG_TIMEOUT, ReplicaClient, channel, data_address, host_and_port};
pub use error::{Code, Error, NO_SPACE, Reason, Result, RolledBack, go_text};
pub use process::{DATA_PORT_OFFSET, Process, SYNC_PORT_OFFSET, listening_address};
pub use server::{ReplicaState, Server};
pub use service::Service;
