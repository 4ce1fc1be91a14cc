//! The data connection: how an engine reads and writes its replicas, and clients an engine (pkg/dataconn).

mod client;
mod server;
mod timeouts;
mod wire;

pub use client::{Answer, CONNECTIONS, DataClient, DataError};
pub use server::{Failure, Processor, serve, serve_connection};
pub use timeouts::SharedTimeouts;
pub use wire::{HEADER_BYTES, Kind, MAGIC, Message, MessageReader, WireError, write_message};
