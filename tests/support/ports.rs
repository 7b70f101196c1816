//! Loopback ports nobody uses.

#![allow(
    clippy::disallowed_methods,
    reason = "asks the machine which ports are free"
)]

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// Below Linux's range for outgoing connections (32768 and up): there, a client that keeps connecting to a
/// server that is down is one day given that very port as its own and connects to itself.
const FIRST: u32 = 15_000;
const COUNT: u32 = 15_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A loopback address nothing listens on, for a server that is about to start (and to restart) there.
///
/// Every call in one process gives another; two processes begin their search at different places.
///
/// # Errors
/// When no port of the range can be bound.
pub fn free() -> io::Result<SocketAddr> {
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = std::process::id().wrapping_mul(61);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let port = u16::try_from(port).unwrap_or(u16::MAX);
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("no free port from {FIRST} to {}", FIRST + COUNT),
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn no_port_is_given_twice() {
        let ports: BTreeSet<u16> = (0..64).map(|_| super::free().unwrap().port()).collect();
        assert_eq!(ports.len(), 64);
        assert!(ports.iter().all(|port| *port < 32_768));
    }
}
