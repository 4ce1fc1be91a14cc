//! The sync agent: what moves a replica's files (pkg/sync/rpc/server.go).

mod agent;
mod backup;
mod checksum;
mod clone;
mod hash;
mod purge;
mod receiver;
mod restore;
mod sender;
mod service;

pub use agent::Agent;
pub use checksum::Crc64;
