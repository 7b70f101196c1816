//! The servers that clients are let loose on: fresh ones, since transcripts show zxids.

use std::net::SocketAddr;

use zk_tests::{apache, process::ServerProcess};

/// What every server is told.
const SETTINGS: &[(&str, &str)] = &[
    ("tickTime", "1000"),
    ("extendedTypesEnabled", "true"),
    ("enforceQuota", "true"),
];

/// A server of its own for one test.
#[derive(Debug)]
pub(crate) enum Subject {
    Apache(ServerProcess),
}

impl Subject {
    /// Apache's; `None`, loudly, where it is not installed.
    pub(crate) fn apache(test: &str) -> Option<Self> {
        let launcher = apache::launcher_or_skip(test)?;
        Some(Self::Apache(
            ServerProcess::launch(launcher, SETTINGS).unwrap(),
        ))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Self::Apache(server) => server.addr(),
        }
    }
}
