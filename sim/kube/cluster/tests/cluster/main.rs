//! The cluster as its users see it: through the API, the network, and the faults that a run can strike it with.

#![cfg(madsim)]

mod collector;
mod common;
mod determinism;
mod nodes;
mod pods;
mod real_world;
mod services;
mod volumes;
mod workloads;
