//! `server.N` lines: who belongs to an ensemble (`QuorumPeer.QuorumServer`).
//!
//! `server.N=host:quorumPort:electionPort[:role][;[clientHost:]clientPort]`, with several addresses of one
//! server separated by `|` and IPv6 addresses in brackets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use zk_proto::ServerId;

use super::listen::HostPort;

/// One `server.N` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Where the server is reached by its peers; more than one with `multiAddress.enabled`.
    pub addresses: Vec<ServerAddress>,
    /// Whether it votes.
    pub role: PeerRole,
    /// Where it serves clients, if the line says so.
    pub client: Option<HostPort>,
}

/// Host, quorum port and election port of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// A name or an address.
    pub host: String,
    /// Where the leader listens for learners.
    pub quorum_port: u16,
    /// Where elections are held; missing only where there is nobody to hold one with.
    pub election_port: Option<u16>,
}

/// Whether a server votes (`LearnerType`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PeerRole {
    /// It votes.
    #[default]
    Participant,
    /// It follows without a vote.
    Observer,
}

/// The members, by `myid`.
pub(super) type Servers = BTreeMap<ServerId, ServerSpec>;

/// Adds a `server.N` line.
pub(super) fn add(servers: &mut Servers, key: &str, value: &str) -> Result<(), String> {
    let id = key
        .strip_prefix("server.")
        .and_then(|id| id.trim().parse().ok())
        .map(ServerId)
        .ok_or_else(|| format!("{key}: what follows \"server.\" is not a number"))?;
    let spec = ServerSpec::parse(value).map_err(|why| format!("{key}={value}: {why}"))?;
    servers.insert(id, spec);
    Ok(())
}

/// Adds a `group.N` line: the ids of voters, separated by colons (`QuorumHierarchical.parse`).
pub(super) fn add_group(
    groups: &mut BTreeMap<i64, BTreeSet<ServerId>>,
    key: &str,
    value: &str,
) -> Result<(), String> {
    let malformed = || format!("{key}={value}: expected group.number=id:id:...");
    let id = key.strip_prefix("group.").and_then(|id| id.parse().ok());
    let servers = value.split(':').map(|server| server.trim().parse().ok());
    let servers: Option<_> = servers.map(|server| server.map(ServerId)).collect();
    groups.insert(id.ok_or_else(malformed)?, servers.ok_or_else(malformed)?);
    Ok(())
}

impl ServerSpec {
    pub(crate) fn parse(value: &str) -> Result<Self, String> {
        let (peer, client) = match value.split_once(';') {
            Some((peer, client)) => (peer, Some(HostPort::parse(client.trim())?)),
            None => (value, None),
        };
        let mut spec = Self {
            addresses: Vec::new(),
            role: PeerRole::Participant,
            client,
        };
        for address in peer.split('|') {
            let (address, role) = ServerAddress::parse(address.trim())?;
            spec.addresses.push(address);
            spec.role = role.unwrap_or(spec.role);
        }
        Ok(spec)
    }
}

impl ServerAddress {
    fn parse(text: &str) -> Result<(Self, Option<PeerRole>), String> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(v6) => v6
                .split_once("]:")
                .ok_or_else(|| "an address in brackets needs \"]:port\"".to_owned())?,
            None => text
                .split_once(':')
                .ok_or_else(|| "expected host:quorumPort:electionPort".to_owned())?,
        };
        let mut parts = rest.split(':');
        let quorum_port = port(parts.next().unwrap_or_default())?;
        let election_port = parts.next().map(port).transpose()?;
        let role = parts.next().map(PeerRole::parse).transpose()?;
        if parts.next().is_some() || host.is_empty() {
            return Err("expected host:quorumPort:electionPort[:role]".to_owned());
        }
        let address = Self {
            host: host.to_owned(),
            quorum_port,
            election_port,
        };
        Ok((address, role))
    }
}

impl PeerRole {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "participant" => Ok(Self::Participant),
            "observer" => Ok(Self::Observer),
            _ => Err(format!("unrecognised peer type {text:?}")),
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a port number"))
}

/// What stands behind `server.N=` (`QuorumServer.toString`).
impl fmt::Display for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in self.addresses.iter().enumerate() {
            let separator = if number == 0 { "" } else { "|" };
            let ServerAddress {
                host, quorum_port, ..
            } = address;
            let election = address.election_port.unwrap_or_default();
            write!(f, "{separator}{}:{quorum_port}:{election}", Host(host))?;
        }
        f.write_str(match self.role {
            PeerRole::Participant => ":participant",
            PeerRole::Observer => ":observer",
        })?;
        if let Some(client) = &self.client {
            let host = client.host.as_deref().unwrap_or("0.0.0.0");
            write!(f, ";{}:{}", Host(host), client.port)?;
        }
        Ok(())
    }
}

/// A host as Java prints it: a name as it is, an IPv6 address in full and in brackets.
struct Host<'a>(&'a str);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse() {
            Ok(IpAddr::V6(address)) => {
                let parts: Vec<_> = address.segments().map(|part| format!("{part:x}")).into();
                write!(f, "[{}]", parts.join(":"))
            }
            _ => f.write_str(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<ServerSpec, String> {
        ServerSpec::parse(value)
    }

    #[test]
    fn every_form_of_a_server_line_is_read() {
        let plain = parse("zk1:2888:3888").unwrap();
        assert_eq!(plain.addresses[0].host, "zk1");
        assert_eq!(plain.addresses[0].election_port, Some(3888));
        assert_eq!((plain.role, plain.client), (PeerRole::Participant, None));

        let observer = parse("[2001:db8::1]:2888:3888:Observer;[::1]:2181").unwrap();
        assert_eq!(observer.addresses[0].host, "2001:db8::1");
        assert_eq!(observer.role, PeerRole::Observer);
        let client = observer.client.unwrap();
        assert_eq!((client.host.as_deref(), client.port), (Some("::1"), 2181));

        let two = parse("a:1:2|b:3:4;2181").unwrap();
        assert_eq!(two.addresses.len(), 2);
        assert_eq!(two.client.map(|c| (c.host, c.port)), Some((None, 2181)));
    }

    #[test]
    fn a_malformed_server_line_is_refused() {
        for bad in [
            "",
            "host",
            "host:x:1",
            "host:1:2:king",
            "h:1:2:observer:4",
            ":1:2",
            "h:1:70000",
            "[::1:1:2",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(add(&mut Servers::new(), "server.x", "h:1:2").is_err());
    }
}
