//! `zk-server check [ZOO_CFG] [--set key=value]...`: what `run` would make of a configuration, without a trace.
//!
//! Invariants: nothing is written, locked or bound, and no other server is spoken to, so that it may be run beside a member
//! that serves with the very same file.
//!
//! Deliberately not here: reading what the snapshots and logs hold, which only a start can do that may cut a torn end off.

#![allow(
    clippy::disallowed_methods,
    reason = "a program that ends by itself may block"
)]

use std::{
    fs, io,
    net::{IpAddr, ToSocketAddrs, UdpSocket},
    path::Path,
};

use rustix::fs::{Access, access};
use zk_server::config::{Config, PeerRole, ServerAddress};

/// What would keep `run` from serving, and what it would do.
#[derive(Default)]
pub(crate) struct Report {
    /// Lines for whoever asked, in the order of the configuration.
    pub(crate) says: Vec<String>,
    /// What would end the start.
    pub(crate) refuses: Vec<String>,
}

/// Looks at everything that can be looked at without touching it.
pub(crate) fn check(config: &Config) -> Report {
    let mut report = Report::default();
    report.ports(config);
    report.directory("dataDir", &config.data_dir, config);
    if let Some(logs) = &config.data_log_dir {
        report.directory("dataLogDir", logs, config);
    }
    report.snapshots(config);
    report
}

impl Report {
    fn ports(&mut self, config: &Config) {
        if let Some(client) = &config.client_address {
            self.says.push(format!("clients: {client}"));
        }
        let me = config.my_id.filter(|_| config.is_ensemble());
        let Some((me, own)) = me.and_then(|me| Some((me, config.servers.get(&me)?))) else {
            return self.says.push("standalone: no other servers".to_owned());
        };
        let role = match own.role {
            PeerRole::Participant => "participant",
            PeerRole::Observer => "observer",
        };
        let of = config.servers.len();
        self.says.push(format!("member {} of {of}, {role}", me.0));
        for (id, server) in &config.servers {
            for address in &server.addresses {
                match *id == me {
                    true => self.own_address(address, config.quorum_listen_on_all_ips),
                    false => self.other_address(address),
                }
            }
        }
    }

    fn own_address(&mut self, own: &ServerAddress, all: bool) {
        let ServerAddress {
            host, quorum_port, ..
        } = own;
        let election = own.election_port.map_or(String::new(), |p| p.to_string());
        let at = if all { "*" } else { host };
        self.says.push(format!(
            "servers: {at}:{quorum_port} (quorum), {at}:{election} (election)"
        ));
        // An address that is not this machine's cannot be bound; no port is taken to find that out.
        let found = resolve(host).and_then(|ip| UdpSocket::bind((ip, 0)).map(drop));
        if let Err(error) = found.or_else(|error| if all { Ok(()) } else { Err(error) }) {
            self.refuses.push(format!(
                "cannot listen at {host}: {error} (behind NAT or in a container: quorumListenOnAllIPs=true)"
            ));
        }
    }

    fn other_address(&mut self, other: &ServerAddress) {
        if let Err(error) = resolve(&other.host) {
            let host = &other.host;
            self.says
                .push(format!("warning: {host} has no address now: {error}"));
        }
    }

    /// What lies in a directory of the configuration, by the names alone.
    fn directory(&mut self, key: &str, directory: &Path, config: &Config) {
        let shown = directory.display();
        let data = directory.join("version-2");
        match names(&data) {
            Ok(names) => {
                self.says
                    .push(format!("{key} {shown}: {}", content(&names)));
                self.epochs(&data);
                if access(&data, Access::READ_OK | Access::WRITE_OK).is_err() {
                    self.refuses
                        .push(format!("{}: no right to read and write it", data.display()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.says.push(format!("{key} {shown}: empty"));
                if !config.data_dir_autocreate {
                    self.refuses.push(format!(
                        "{}: does not exist, and datadir.autocreate is off",
                        data.display()
                    ));
                }
            }
            Err(error) => self.refuses.push(format!("{}: {error}", data.display())),
        }
    }

    /// Logs are of no use without the snapshot that they go on from, and somebody who moved one of two directories
    /// away has left them behind.
    fn snapshots(&mut self, config: &Config) {
        let have = |directory: &Path, prefix: &str| {
            let names = names(&directory.join("version-2"));
            names.is_ok_and(|names| names.iter().any(|name| name.starts_with(prefix)))
        };
        let logs = config.data_log_dir.as_ref().unwrap_or(&config.data_dir);
        let snapshots = have(&config.data_dir, "snapshot.") || config.snapshot_trust_empty;
        if have(logs, "log.") && !snapshots {
            self.refuses.push(format!(
                "{}: there are logs but no snapshot in {}",
                logs.display(),
                config.data_dir.display()
            ));
        }
    }

    fn epochs(&mut self, data: &Path) {
        for name in ["currentEpoch", "acceptedEpoch"] {
            if let Ok(epoch) = fs::read_to_string(data.join(name)) {
                self.says.push(format!("  {name} {}", epoch.trim()));
                if epoch.contains("awaitingSync") {
                    self.says.push(
                        "  some of its history is lost: no vote until a leader has synced it, and Apache does not start here"
                            .to_owned(),
                    );
                }
            }
        }
    }
}

fn resolve(host: &str) -> io::Result<IpAddr> {
    let found = (host, 0).to_socket_addrs()?.next();
    found
        .map(|address| address.ip())
        .ok_or_else(|| io::Error::other("no address"))
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// How many snapshots and logs, and from which zxid on the newest of each goes.
fn content(names: &[String]) -> String {
    let describe = |prefix: &str, what: &str| {
        let zxids = names
            .iter()
            .filter_map(|name| name.strip_prefix(prefix))
            .filter_map(|rest| u64::from_str_radix(rest.split('.').next()?, 16).ok());
        match (zxids.clone().count(), zxids.max()) {
            (count, Some(newest)) => format!("{count} {what}, the newest 0x{newest:x}"),
            _ => format!("no {what}"),
        }
    };
    format!(
        "{}; {}",
        describe("snapshot.", "snapshots"),
        describe("log.", "logs")
    )
}
