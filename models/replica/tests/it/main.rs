//! The replica through its public interface: directories of the real Longhorn, our own output beside them, damage.

mod bad_input;
mod connection;
mod golden;
mod model;
mod operations;
mod support;
