//! The corral command.
fn main() {}
