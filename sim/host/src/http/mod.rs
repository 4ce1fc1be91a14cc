//! HTTP/1.1 over [`crate::net`]: hyper's bytes, our connections. One server loop and one client for everybody who speaks HTTP.

mod body;
mod client;
mod rt;
mod server;

pub use body::{Body, BodySender, BoxError, Closed, channel, collect, empty, full};
pub use client::{Client, ClientOptions, Error};
pub use rt::{Executor, Timer};
pub use server::{Peer, serve};
