//! What one client may cost the server.
//!
//! Always on, because no honest client meets them: the frame cap before a session, buffers that grow only
//! with bytes received, a bounded outbox, deadlines for half frames and for a connection without a session.
//! What Apache leaves off stays off unless configured.

use std::time::Duration;

/// How many bytes of frames may wait in one outbox because the client does not read; one that holds more when
/// another frame comes ends its connection. Data held by reference do not count.
pub const MAX_BACKLOG: usize = 32 << 20;

/// The largest answer to a read that may travel to the peer behind a write of its session; larger ones wait until
/// the write is answered, so that a thousand of them never become one outbox's content at once.
pub const MAX_REPLY_BEHIND: usize = 16 << 10;

/// The longest answer to a read, in bytes; Apache's server builds whatever one frame asks for. No client of Apache's
/// takes more than 1 MiB unless told to.
pub const MAX_REPLY: usize = 64 << 20;

/// The limits of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnLimits {
    /// The largest frame within a session, in bytes (`jute.maxbuffer`).
    pub max_buffer: usize,
    /// How long a connection may live without a session.
    pub connect_timeout: Duration,
    /// How long a frame may take from its first byte to its last; half the session timeout where that is less.
    pub frame_timeout: Duration,
    /// How many requests may be unanswered; beyond, nothing is read.
    pub max_requests: usize,
    /// How many bytes of requests may be unanswered; beyond, nothing is read.
    pub max_request_bytes: usize,
    /// How many bytes of replies may wait; beyond, nothing is read and nothing that was read is carried out.
    pub max_outbox: usize,
    /// How long more than [`max_outbox`](Self::max_outbox) bytes may wait before the connection is dropped.
    pub stuck_timeout: Duration,
}

impl Default for ConnLimits {
    fn default() -> Self {
        Self {
            max_buffer: zk_proto::frame::MAX_BUFFER,
            connect_timeout: Duration::from_secs(5),
            frame_timeout: Duration::from_secs(10),
            max_requests: 1000,
            max_request_bytes: 4 << 20,
            max_outbox: 4 << 20,
            stuck_timeout: Duration::from_secs(30),
        }
    }
}
