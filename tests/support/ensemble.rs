//! Servers as processes that serve as one ensemble, each of whatever make.
//!
//! Members are counted from 0; member `n` has `myid` n + 1. Dropping the ensemble kills its processes and removes their
//! directories.

#![allow(
    clippy::disallowed_methods,
    reason = "the outside world is its subject"
)]

use std::{
    env, fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    links::{Links, Ports},
    process::{Launcher, ServerProcess, four_letter_word},
};

/// Far more than an election takes, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(60);

/// How often members are asked what they are: who leads is told to nobody but who asks.
const GLANCE: Duration = Duration::from_millis(5);

/// The members of one ensemble, running or not.
#[derive(Debug)]
pub struct Members {
    processes: Vec<ServerProcess>,
}

impl Members {
    /// Writes the configurations of voting members in temporary directories, one for each launcher; nothing runs yet.
    ///
    /// `settings` are `zoo.cfg` keys, as in [`ServerProcess::prepare_in`]. The limits are 10 ticks to come up and 5 to
    /// stay behind unless they say otherwise. A member alone is no ensemble but a server by itself.
    ///
    /// # Errors
    /// When no port is free or a directory cannot be written.
    pub fn prepare(launchers: &[Launcher], settings: &[(&str, &str)]) -> io::Result<Self> {
        Self::prepare_in(&env::temp_dir(), launchers, settings)
    }

    /// As [`prepare`](Self::prepare), with the members' directories below `dir`.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_in(
        dir: &Path,
        launchers: &[Launcher],
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        let dirs = launchers
            .iter()
            .map(|_| TempDir::with_prefix_in("zk-member-", dir));
        let dirs = dirs.collect::<io::Result<Vec<_>>>()?;
        Self::prepare_at(dirs, launchers, settings)
    }

    /// As [`prepare_in`](Self::prepare_in), each member at an address of its own, where its launcher makes it run.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_apart(
        dir: &Path,
        members: &[(Launcher, IpAddr)],
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        let prepare = |(launcher, host): &(Launcher, IpAddr)| {
            let dir = TempDir::with_prefix_in("zk-member-", dir)?;
            let mut process = ServerProcess::prepare_in(dir, launcher.clone(), &[])?;
            process.move_to(SocketAddr::new(*host, process.addr().port()));
            let mut ports = Ports::free()?;
            ports.quorum.set_ip(*host);
            ports.election.set_ip(*host);
            Ok((process, ports))
        };
        let members = members
            .iter()
            .map(prepare)
            .collect::<io::Result<Vec<_>>>()?;
        let (processes, ports): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let voters = processes.len();
        Self::configure_all(processes, &ports, voters, None, settings)
    }

    /// As [`prepare`](Self::prepare), with members behind the voting ones that only observe.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_with_observers(
        voters: &[Launcher],
        observers: &[Launcher],
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        let launchers = [voters, observers].concat();
        let dirs = launchers.iter().map(|_| TempDir::with_prefix("zk-member-"));
        let dirs = dirs.collect::<io::Result<Vec<_>>>()?;
        Self::prepare_all(dirs, &launchers, voters.len(), None, settings)
    }

    /// As [`prepare_with_observers`](Self::prepare_with_observers), with proxies between all members.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_linked(
        voters: &[Launcher],
        observers: &[Launcher],
        settings: &[(&str, &str)],
    ) -> io::Result<(Self, Links)> {
        let launchers = [voters, observers].concat();
        let dirs = launchers.iter().map(|_| TempDir::with_prefix("zk-member-"));
        let dirs = dirs.collect::<io::Result<Vec<_>>>()?;
        let ports = launchers.iter().map(|_| Ports::free());
        let ports = ports.collect::<io::Result<Vec<_>>>()?;
        let links = Links::between(&ports)?;
        let linked = Some((&ports[..], &links));
        let members = Self::prepare_all(dirs, &launchers, voters.len(), linked, settings)?;
        Ok((members, links))
    }

    /// As [`prepare`](Self::prepare), in directories that are there already, one for each launcher.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_at(
        dirs: Vec<TempDir>,
        launchers: &[Launcher],
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        Self::prepare_all(dirs, launchers, launchers.len(), None, settings)
    }

    fn prepare_all(
        dirs: Vec<TempDir>,
        launchers: &[Launcher],
        voters: usize,
        linked: Option<(&[Ports], &Links)>,
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        let (ports, links) = match linked {
            Some((ports, links)) => (ports.to_vec(), Some(links)),
            None => {
                let ports = launchers.iter().map(|_| Ports::free());
                (ports.collect::<io::Result<_>>()?, None)
            }
        };
        let processes = dirs.into_iter().zip(launchers);
        let processes = processes
            .map(|(dir, launcher)| ServerProcess::prepare_in(dir, launcher.clone(), &[]))
            .collect::<io::Result<Vec<_>>>()?;
        Self::configure_all(processes, &ports, voters, links, settings)
    }

    fn configure_all(
        processes: Vec<ServerProcess>,
        ports: &[Ports],
        voters: usize,
        links: Option<&Links>,
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        let count = processes.len();
        // A configuration that may change says where clients connect, too.
        let with_clients = settings.contains(&("reconfigEnabled", "true"));
        // Where this member finds that one, and in which role.
        let line = |from: usize, to: usize| {
            let role = ["participant", "observer"][usize::from(to >= voters)];
            let at = match links {
                Some(links) if from != to => links.way(from, to),
                _ => ports[to],
            };
            let client = match with_clients {
                true => format!(";{}", processes[to].addr()),
                false => String::new(),
            };
            let line = format!("{}:{role}{client}", at.line());
            (format!("server.{}", to + 1), line)
        };
        let mut common = Vec::new();
        if count > 1 {
            common.extend([("initLimit", "10"), ("syncLimit", "5")]);
            common.retain(|(key, _)| settings.iter().all(|(given, _)| given != key));
        }
        common.extend(settings);
        for (at, process) in processes.iter().enumerate() {
            let lines: Vec<_> = (0..count).map(|to| line(at, to)).collect();
            let lines = lines
                .iter()
                .map(|(key, line)| (key.as_str(), line.as_str()));
            let mut own = common.clone();
            own.extend(lines.filter(|_| count > 1));
            own.extend((at >= voters).then_some(("peerType", "observer")));
            process.configure(&own)?;
            if count > 1 {
                fs::write(process.data_dir().join("myid"), format!("{}\n", at + 1))?;
            }
        }
        Ok(Self { processes })
    }

    /// Starts every member that does not run and waits until all serve. Blocks the calling thread for as long.
    ///
    /// # Errors
    /// As [`ServerProcess::start`].
    pub fn start(&mut self) -> io::Result<()> {
        for process in &mut self.processes {
            if process.pid().is_none() {
                process.spawn()?;
            }
        }
        self.wait_until_serving()
    }

    /// Waits until every member that runs serves. Blocks the calling thread for as long.
    ///
    /// # Errors
    /// As [`ServerProcess::wait_until_serving`].
    pub fn wait_until_serving(&mut self) -> io::Result<()> {
        for process in &mut self.processes {
            if process.pid().is_some() {
                process.wait_until_serving()?;
            }
        }
        Ok(())
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none of that number.
    pub fn member(&mut self, member: usize) -> &mut ServerProcess {
        &mut self.processes[member]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ServerProcess> {
        self.processes.iter()
    }

    /// Where clients connect, by member.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.processes.iter().map(ServerProcess::addr).collect()
    }

    /// Who says that it leads, among those that run; the answer of one that stands still is waited for.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        self.leader_but(usize::MAX)
    }

    /// Waits until a member leads. Blocks the calling thread for as long.
    ///
    /// # Errors
    /// When none does within a minute.
    pub fn wait_for_leader(&self) -> io::Result<usize> {
        self.wait_for_leader_but(usize::MAX)
    }

    /// Waits until a member other than this one leads; this one is not asked. Blocks the calling thread for as long.
    ///
    /// # Errors
    /// When none does within a minute.
    pub fn wait_for_leader_but(&self, not: usize) -> io::Result<usize> {
        let limit = Instant::now() + LIMIT;
        loop {
            match self.leader_but(not) {
                Some(leader) => return Ok(leader),
                None if Instant::now() > limit => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody leads"));
                }
                None => thread::sleep(GLANCE),
            }
        }
    }

    fn leader_but(&self, not: usize) -> Option<usize> {
        let mut members = self.processes.iter().enumerate();
        let leads = members.find(|(member, process)| {
            let asked = *member != not && process.pid().is_some();
            asked && mode(process.addr()).as_deref() == Some("leader")
        });
        leads.map(|(member, _)| member)
    }
}

impl<'a> IntoIterator for &'a Members {
    type Item = &'a ServerProcess;
    type IntoIter = std::slice::Iter<'a, ServerProcess>;

    fn into_iter(self) -> Self::IntoIter {
        self.processes.iter()
    }
}

/// What a server says that it is (`leader`, `follower`, `observer`, `standalone`); `None` while it does not serve.
#[must_use]
pub fn mode(addr: SocketAddr) -> Option<String> {
    let told = four_letter_word(addr, "srvr").ok()?;
    let mode = told.lines().find_map(|line| line.strip_prefix("Mode: "))?;
    Some(mode.to_owned())
}
