//! A v1 replica: its directory to the byte, and the process that serves it.

pub mod data;
mod error;
pub mod format;
mod server;

pub use error::{Code, Error, NO_SPACE, Reason, Result, RolledBack, go_text};
pub use server::{ReplicaState, Server};
