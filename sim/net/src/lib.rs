//! Simulated TCP: links with latency, loss and bandwidth, partitions, and every way a connection can end.
//!
//! Sockets belong to the machine's kernel, not to the process that opened them. What a process sent is delivered, sent again or given up as
//! Linux would, whether it still lives or not. All state sits in [`Net`], under numbers; a handle ([`TcpStream`], [`TcpListener`]) is a
//! number and has no effect once its owner is dead.
//!
//! **Model.** A write becomes one segment, whatever its size; it arrives after a latency drawn for its link, in order. Whether it gets
//! through is decided when it arrives: by partitions, machine states, addresses and loss as they are then. An acknowledgement takes no time
//! and no event: at arrival the way back is open or it is not. Retransmission, keep-alive and window probes exist only while something is
//! wrong; a healthy connection that idles costs nothing.
//!
//! **What peers see** (as Linux does it; 6.18 was asked where its documentation is silent):
//! - *process ended or killed, handle dropped*: what was sent, then end-of-file; the next write succeeds and is answered by a reset; the one
//!   after it fails with `BrokenPipe`. If the dead had not read everything, the reset comes at once: `ConnectionReset`.
//! - *process stopped*: connections are still established and data acknowledged, until buffers fill.
//! - *machine off*: silence, until retransmission (924 s) or keep-alive gives up: `TimedOut`. Back again, it answers with resets.
//! - *machine frozen*: silence; afterwards everything that was not given up arrives late.
//! - *address removed*: new connections fail with `HostUnreachable` after 3 s. Established ones see silence: for them "host unreachable" is a
//!   soft error, reported in place of `TimedOut` when retransmission gives up.
//! - *partition*: nothing crosses it, end-of-file and resets included. What a dead process still had to send is sent again for some 100 s.
//!
//! **Not modelled**: congestion control, MTU, packets reordered or duplicated beyond what TCP hides, TIME_WAIT, urgent data, IPv6, UDP.

#![cfg(madsim)]

mod addresses;
mod administration;
mod byte_queue;
mod closing;
mod connection;
mod faults;
mod handshake;
mod keepalive;
mod links;
mod listener;
mod names;
mod net;
mod retransmission;
mod routes;
mod settings;
mod slab;
mod stream;
mod transfer;

pub use faults::{DegradationId, DegradationSpec, PartitionId, PartitionSpec, Ports, Selector};
pub use links::LinkProfile;
pub use listener::TcpListener;
pub use names::lookup;
pub use net::{Net, Statistics};
pub use settings::{Keepalive, TcpSettings};
pub use stream::TcpStream;
