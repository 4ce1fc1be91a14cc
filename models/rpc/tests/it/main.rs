//! Calls, failures and the wire, through the public interface.

mod calls;
mod faults;
mod golden;
mod support;
