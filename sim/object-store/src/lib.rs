//! The servers a backup target points at.
//!
//! One of them stands here now: an S3-like server over HTTP/1.1, on the pod that runs it. Its objects live in a
//! [`BucketStore`], which outlives the server's process: a restarted server finds what the last one stored. An NFS-like
//! server would be a second module beside [`s3`], over a store of files of its own, with the same [`faults`].
//!
//! Fault model: what a real store does to its clients. It is slow, refuses, hangs, commits and then loses the answer,
//! lists new objects late and deleted ones for longer, answers an empty list with success, and loses a connection in
//! the middle of an upload. What it acknowledged it keeps.
//!
//! Not here: TLS, authorization (an `Authorization` header is accepted and not verified), versions, multipart uploads,
//! virtual-hosted addresses.

pub mod faults;
mod listing;
pub mod s3;
pub mod store;
mod text;

pub use faults::{Effect, Fault, FaultId, KeyPattern, OperationKind};
pub use s3::{ErrorCode, serve};
pub use store::{BucketStore, ObjectView};
