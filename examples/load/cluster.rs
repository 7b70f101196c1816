//! The servers of one side: started, measured and killed together.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use zk_tests::{
    apache::{self, Heap},
    ensemble::Members,
    process::{Launcher, ServerProcess},
};

use super::Result;

/// Servers with fresh directories; dropping them kills them and removes the directories.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Members,
}

impl Cluster {
    /// Starts `members` servers below `dir` and waits until all serve.
    pub(crate) fn start(launcher: &Launcher, members: usize, dir: &Path) -> Result<Self> {
        Self::start_with(launcher, members, dir, &[])
    }

    /// As [`start`](Self::start), with further keys in their `zoo.cfg`.
    pub(crate) fn start_with(
        launcher: &Launcher,
        members: usize,
        dir: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let launchers = vec![launcher.clone(); members];
        let mut members = Members::prepare_in(dir, &launchers, settings)?;
        members.start()?;
        Ok(Self { members })
    }

    /// As [`start_with`](Self::start_with), each member at an address of its own.
    pub(crate) fn start_apart(
        members: &[(Launcher, IpAddr)],
        dir: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let mut members = Members::prepare_apart(dir, members, settings)?;
        members.start()?;
        Ok(Self { members })
    }

    pub(crate) fn targets(&self) -> Vec<SocketAddr> {
        self.members.addresses()
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(ServerProcess::pid).collect()
    }

    pub(crate) fn members(&mut self) -> &mut Members {
        &mut self.members
    }
}

/// The command that `--ours` names.
pub(crate) fn ours(command: Option<&str>) -> Result<Launcher> {
    match command {
        None => Ok(Launcher::zk_server(release_build()?)),
        Some("apache") => apache(),
        Some(command) => {
            let mut words = command.split_whitespace();
            let program = words.next().ok_or("--ours names no command")?;
            Ok(Launcher::new(program, words))
        }
    }
}

/// Apache's server as the project's figures have it.
pub(crate) fn apache() -> Result<Launcher> {
    apache::launcher(Heap::MEASURED)
        .ok_or_else(|| "no Apache ZooKeeper: run .ci/apache, or set ZK_APACHE_HOME".into())
}

/// The release build of zk-server in the target directory this tool was built in.
fn release_build() -> Result<PathBuf> {
    let tool = std::env::current_exe()?;
    // target/release/examples/load
    let target = tool
        .ancestors()
        .nth(3)
        .ok_or("this tool is in no target directory")?;
    let server = target.join("release/zk-server");
    match server.is_file() {
        true => Ok(server),
        false => Err(format!(
            "there is no {}: run `cargo build --release -p zk-server` first, or name a command with --ours",
            server.display()
        )
        .into()),
    }
}
