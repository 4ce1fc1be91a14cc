//! Sending a sparse file over HTTP, as sparse-tools do (sparse/client.go and sparse/rest): the receiver listens, the sender opens the file there
//! with its size, then sends its holes and its data, the latter in pieces of 2 MiB; where the receiver has a file already it is asked for the
//! piece's checksum first. At the end the sender closes, and with that the receiver.

mod receiver;
mod sender;

pub(crate) use receiver::{Receiver, receive};
pub(crate) use sender::send;

/// The largest piece that is sent at once.
const BATCH_BYTES: u64 = 512 * 4096;
