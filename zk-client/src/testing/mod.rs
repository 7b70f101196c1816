//! What a caller's own tests need: a network between client and server that fails on command.
//!
//! Deliberately not here: the server (`zk_server::Server::builder().start()` is one in a line, and its
//! `expire_session` ends a session), simulated networks on a paused clock ([`net::Net`](crate::net::Net) is their seam).

mod connection;
mod proxy;

pub use proxy::FaultProxy;
