//! What a kernel's administrator may set, with the defaults of Linux.

use std::time::Duration;

/// Limits and time-outs of every kernel in the run; see tcp(7) and the kernel's ip-sysctl page for the names in parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// Bytes a sender's kernel holds that are not acknowledged (`tcp_wmem`, without its auto-tuning).
    pub send_buffer_bytes: usize,
    /// Bytes a receiver's kernel holds that are not read: the window (`tcp_rmem`, without its auto-tuning).
    pub receive_buffer_bytes: usize,
    /// Repeated SYNs, after 1, 2, 4 .. seconds; 6 give up after 127 s (`tcp_syn_retries`).
    pub syn_retries: u32,
    /// Repeated SYN-ACKs before a server forgets a half-open connection; 5 give up after 63 s (`tcp_synack_retries`).
    pub handshake_retries: u32,
    /// Repeated segments before a connection times out; 15 give up after 924.6 s (`tcp_retries2`).
    pub retransmissions: u32,
    /// Repeated segments of a socket whose process is gone; 8 give up after 102 s (`tcp_orphan_retries`).
    pub orphan_retransmissions: u32,
    /// The first retransmission time-out (`tcp_rto_min`); doubles each time.
    pub first_timeout: Duration,
    /// The longest retransmission time-out (`tcp_rto_max`).
    pub longest_timeout: Duration,
    /// Connections that wait to be accepted, or are being established, per listener (`somaxconn`).
    pub backlog: usize,
}

impl Default for TcpSettings {
    fn default() -> TcpSettings {
        TcpSettings {
            send_buffer_bytes: 256 << 10,
            receive_buffer_bytes: 256 << 10,
            syn_retries: 6,
            handshake_retries: 5,
            retransmissions: 15,
            orphan_retransmissions: 8,
            first_timeout: Duration::from_millis(200),
            longest_timeout: Duration::from_secs(120),
            backlog: 4096,
        }
    }
}

/// SO_KEEPALIVE of one socket. It gives up `idle + retries * interval` after the last sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Unanswered probes before the connection times out (`TCP_KEEPCNT`).
    pub retries: u32,
}

impl Keepalive {
    /// What Go's `net` package sets on every connection: 15 s, 15 s, 9 probes.
    pub const GO: Keepalive =
        Keepalive { idle: Duration::from_secs(15), interval: Duration::from_secs(15), retries: 9 };
    /// What Linux takes if only SO_KEEPALIVE is set: two hours, 75 s, 9 probes.
    pub const LINUX: Keepalive =
        Keepalive { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), retries: 9 };
}
