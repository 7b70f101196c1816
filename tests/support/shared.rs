//! An Apache server that all tests of one binary share: a JVM takes a second to start.

#![allow(clippy::disallowed_methods, reason = "starts processes")]

use std::{
    io,
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::process::{Launcher, ServerProcess};

/// A server that lives as long as the test process, however that ends.
///
/// Statics are not dropped at exit, so a watcher process holds the other end of a pipe: when the test
/// process is gone, the pipe closes, and the watcher ends the server and removes its directory.
#[derive(Debug)]
pub struct SharedServer {
    server: ServerProcess,
    _watcher: (Child, Option<ChildStdin>),
}

impl SharedServer {
    /// Starts it. Blocks the calling thread until it serves.
    ///
    /// # Errors
    /// As [`ServerProcess::launch`].
    pub fn launch(launcher: Launcher, settings: &[(&str, &str)]) -> io::Result<Self> {
        let server = ServerProcess::launch(launcher, settings)?;
        let pid = server.pid().unwrap_or_default().to_string();
        let dir = server.data_dir();
        let mut watcher = Command::new("sh")
            .args([
                "-c",
                "cat >/dev/null; kill -9 $1; rm -rf \"$2\"",
                "watcher",
                &pid,
            ])
            .arg(dir.parent().unwrap_or(&dir))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = watcher.stdin.take();
        Ok(Self {
            server,
            _watcher: (watcher, pipe),
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }
}
