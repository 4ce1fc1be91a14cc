//! The server's semantics over its public REST interface: the same functions in both worlds. conform.py (in ../conformance) is the yardstick
//! that was calibrated on a real server; these tests hold what the simulation depends on, fast, in `cargo test`.
//!
//! Each `both!` makes two tests of one function, `real` and `simulated`; what needs minutes of time is simulated only.

#[macro_use]
mod harness;

mod custom;
mod definitions;
mod deletion;
mod discovery;
mod faults;
mod lists;
mod past;
mod patches;
mod pods;
mod properties;
mod versions;
mod watches;
mod webhooks;
