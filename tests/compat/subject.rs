//! The servers that clients are let loose on: fresh ones, since transcripts show zxids.

use std::net::SocketAddr;

use zk_server::Server;
use zk_tests::{apache, process::ServerProcess};

/// What every server is told.
const SETTINGS: &[(&str, &str)] = &[
    ("tickTime", "1000"),
    ("extendedTypesEnabled", "true"),
    ("enforceQuota", "true"),
];

/// A server of its own for one test.
pub(crate) enum Subject {
    Ours(Server),
    Apache(ServerProcess),
}

impl Subject {
    /// Ours, embedded in the test.
    pub(crate) async fn ours() -> Self {
        let mut builder = Server::builder().set("4lw.commands.whitelist", "*");
        for (key, value) in SETTINGS {
            builder = builder.set(key, value);
        }
        Self::Ours(builder.start().await.unwrap())
    }

    /// Apache's; `None`, loudly, where it is not installed.
    pub(crate) fn apache(test: &str) -> Option<Self> {
        let launcher = apache::launcher_or_skip(test)?;
        Some(Self::Apache(
            ServerProcess::launch(launcher, SETTINGS).unwrap(),
        ))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Self::Ours(server) => server.local_addr(),
            Self::Apache(server) => server.addr(),
        }
    }
}
