//! The servers of one side: started, measured and killed together.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use zk_tests::{
    apache::{self, Heap},
    ports,
    process::{Launcher, ServerProcess},
};

use super::Result;

/// Servers with fresh directories; dropping them kills them and removes the directories.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Vec<ServerProcess>,
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
        let quorum = quorum_lines(members)?;
        let mut settings = settings.to_vec();
        if !quorum.is_empty() {
            settings.extend([("initLimit", "10"), ("syncLimit", "5")]);
            settings.extend(
                quorum
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str())),
            );
        }
        let mut started = Self {
            members: Vec::with_capacity(members),
        };
        for myid in 1..=members {
            let home = TempDir::with_prefix_in("zk-load-", dir)?;
            let mut server = ServerProcess::prepare_in(home, launcher.clone(), &settings)?;
            if members > 1 {
                fs::write(server.data_dir().join("myid"), myid.to_string())?;
            }
            server.spawn()?;
            started.members.push(server);
        }
        for server in &mut started.members {
            server.wait_until_serving()?;
        }
        Ok(started)
    }

    pub(crate) fn targets(&self) -> Vec<SocketAddr> {
        self.members.iter().map(ServerProcess::addr).collect()
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(ServerProcess::pid).collect()
    }
}

/// The `server.N` lines of an ensemble; none for a server alone.
fn quorum_lines(members: usize) -> Result<Vec<(String, String)>> {
    let mut lines = Vec::new();
    for myid in 1..=members {
        let (quorum, election) = (ports::free()?, ports::free()?);
        let value = format!("{}:{}:{}", quorum.ip(), quorum.port(), election.port());
        lines.push((format!("server.{myid}"), value));
    }
    match members {
        1 => Ok(Vec::new()),
        _ => Ok(lines),
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
