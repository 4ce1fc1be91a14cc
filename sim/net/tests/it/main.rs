//! The simulated network through its public interface; one binary, because linking many takes longer than running them.

#![cfg(madsim)]

mod common;
mod connecting;
mod determinism;
mod ending;
mod flow;
mod http;
mod keepalive;
mod names;
mod partitions;
mod properties;
