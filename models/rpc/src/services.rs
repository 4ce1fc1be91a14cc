//! The services, compiled from proto/: one module a package. The process manager's file has no package upstream, so its names stand at the root.

#![allow(missing_docs, clippy::all, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/services.rs"));
