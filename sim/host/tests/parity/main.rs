//! The same functions in both worlds: what a process may ask of its machine behaves on the simulated one as it does on Linux. Where the two
//! differ, the test says so and why.
//!
//! Each `parity!` makes two tests of one function, `real` and `simulated`.

#[macro_use]
mod support;

mod files;
mod http;
mod network;
mod processes;
mod timing;
