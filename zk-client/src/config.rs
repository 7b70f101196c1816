//! The ensemble's own configuration: who its servers are, and changing that (dynamic reconfiguration).
//!
//! The configuration is the data of `/zookeeper/config`, which no chroot applies to; `server.N=` lines and a
//! `version=` line, the zxid that set it (`QuorumMaj`, `QuorumPeerConfig`).

use bytes::{BufMut, BytesMut};
use zk_proto::{Encode, OpCode, Stat, Utf8Bytes};

use crate::{
    core::{Reply, chroot::Chroot},
    error::Failure,
    operation::{Call, Finish, Operation, Surroundings, sealed::Sealed},
    read::Watchable,
};

/// Where the configuration is.
const CONFIG: &str = "/zookeeper/config";

/// The ensemble's configuration: [`Client::ensemble_config`](crate::Client::ensemble_config).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnsembleConfig {
    /// The transaction that set it, to make a change depend on ([`Operation::from_version`]); `None` from a server
    /// that stands alone.
    pub version: Option<i64>,
    /// The servers, in the order of the text.
    pub servers: Vec<EnsembleServer>,
    /// The configuration as it is, with what is not understood here.
    pub text: String,
    /// The metadata of its node.
    pub stat: Stat,
}

/// A server of the ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnsembleServer {
    /// Its number (`myid`).
    pub id: i64,
    /// Its host, as the other servers know it; the first of several.
    pub host: String,
    /// Whether it only observes, without a vote.
    pub observer: bool,
    /// Where clients connect, `host:port`, if the configuration says so.
    pub client: Option<String>,
}

impl EnsembleConfig {
    /// The connect string of all servers whose client address is known, for
    /// [`update_hosts`](crate::Client::update_hosts); empty where none is.
    #[must_use]
    pub fn connect_string(&self) -> String {
        let clients: Vec<_> = self
            .servers
            .iter()
            .filter_map(|server| server.client.as_deref())
            .collect();
        clients.join(",")
    }

    fn parse(data: &[u8], stat: Stat) -> Self {
        let text = String::from_utf8_lossy(data).into_owned();
        let lines = || text.lines().filter_map(|line| line.split_once('='));
        let version = lines()
            .find(|(key, _)| key.trim() == "version")
            .and_then(|(_, value)| i64::from_str_radix(value.trim(), 16).ok());
        let servers = lines()
            .filter_map(|(key, value)| {
                let id = key.trim().strip_prefix("server.")?.parse().ok()?;
                EnsembleServer::parse(id, value)
            })
            .collect();
        Self {
            version,
            servers,
            text,
            stat,
        }
    }
}

impl EnsembleServer {
    /// `host:port:port[:role][|host:port:port[:role]...][;[host:]port]`
    fn parse(id: i64, value: &str) -> Option<Self> {
        let (quorum, client) = match value.trim().split_once(';') {
            Some((quorum, client)) => (quorum, Some(client)),
            None => (value.trim(), None),
        };
        let first = quorum.split('|').next()?;
        let (host, rest) = split_host(first)?;
        let client = client.map(|client| client.split('|').next().unwrap_or_default());
        Some(Self {
            id,
            host: host.to_owned(),
            observer: rest.ends_with(":observer"),
            client: client.map(|client| client_address(client.trim(), host)),
        })
    }
}

/// The host, in brackets or not, and what comes behind its colon.
fn split_host(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            Some((host, rest.strip_prefix(':')?))
        }
        None => text.split_once(':'),
    }
}

/// Where to reach a server that names its client address like this: all addresses of its machine are those the other
/// servers know it by.
fn client_address(client: &str, host: &str) -> String {
    let (own, port) = match client.rsplit_once(':') {
        Some((own, port)) => (own.trim_matches(['[', ']']), port),
        None => ("", client),
    };
    let everywhere = matches!(own, "" | "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0");
    match if everywhere { host } else { own } {
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    }
}

/// Read the ensemble's configuration: [`Client::ensemble_config`](crate::Client::ensemble_config).
#[derive(Debug, Clone, Copy)]
pub struct GetConfig;

impl Sealed for GetConfig {}

impl Watchable for GetConfig {}

impl Call for GetConfig {
    type Output = EnsembleConfig;

    fn op(&self) -> OpCode {
        OpCode::GetData
    }

    fn path(&self) -> &str {
        CONFIG
    }

    fn is_absolute(&self) -> bool {
        true
    }

    fn encode(&self, surroundings: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        Chroot::default().put(CONFIG, out);
        out.put_u8(u8::from(surroundings.watch));
        Ok(())
    }

    fn finish(reply: Reply, _: Finish<'_>) -> Result<EnsembleConfig, Failure> {
        config(reply)
    }
}

/// Change the ensemble's configuration: [`Client::reconfig`](crate::Client::reconfig).
#[derive(Debug, Clone, Default)]
pub struct Reconfig {
    joining: Vec<String>,
    leaving: Vec<String>,
    members: Vec<String>,
    version: Option<i64>,
}

impl Operation<'_, Reconfig> {
    /// Adds a server or changes one: `server.N=host:port:port[:role];[host:]port`, or what comes behind `N=`.
    pub fn join(mut self, id: i64, server: &str) -> Self {
        self.call.joining.push(line(id, server));
        self
    }

    /// Removes a server.
    pub fn leave(mut self, id: i64) -> Self {
        self.call.leaving.push(id.to_string());
        self
    }

    /// Names a server of a wholly new list, which takes the place of the old one; not together with
    /// [`join`](Self::join) and [`leave`](Self::leave).
    pub fn member(mut self, id: i64, server: &str) -> Self {
        self.call.members.push(line(id, server));
        self
    }

    /// Only if the configuration still has this [`version`](EnsembleConfig::version); else BADVERSION.
    pub fn from_version(mut self, version: i64) -> Self {
        self.call.version = Some(version);
        self
    }
}

fn line(id: i64, server: &str) -> String {
    match server.starts_with("server.") {
        true => server.to_owned(),
        false => format!("server.{id}={server}"),
    }
}

impl Sealed for Reconfig {}

impl Call for Reconfig {
    type Output = EnsembleConfig;

    fn op(&self) -> OpCode {
        OpCode::Reconfig
    }

    fn path(&self) -> &str {
        CONFIG
    }

    fn is_absolute(&self) -> bool {
        true
    }

    fn encode(&self, _: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let incremental = !self.joining.is_empty() || !self.leaving.is_empty();
        if incremental != self.members.is_empty() {
            return Err(Failure::bad_arguments(
                "a reconfiguration is either a change (join, leave) or a new list (member)",
            ));
        }
        let text = |parts: &[String]| {
            let joined = Utf8Bytes::from(parts.join(",").as_str());
            (!parts.is_empty()).then_some(joined)
        };
        for parts in [&self.joining, &self.leaving, &self.members] {
            text(parts).encode(out);
        }
        out.put_i64(self.version.unwrap_or(-1));
        Ok(())
    }

    fn finish(reply: Reply, _: Finish<'_>) -> Result<EnsembleConfig, Failure> {
        config(reply)
    }
}

fn config(reply: Reply) -> Result<EnsembleConfig, Failure> {
    let (data, stat) = reply.data()?;
    Ok(EnsembleConfig::parse(&data, stat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_as_servers_write_it() {
        let text = "server.1=zk1:2888:3888:participant;0.0.0.0:2181\n\
                    server.2=10.0.0.2:2888:3888|10.1.0.2:2888:3888:participant;10.0.0.9:2182\n\
                    server.3=[fe80::1]:2888:3888:observer;[::]:2183\n\
                    server.4=old:2888:3888\n\
                    version=10000000a\n";
        let config = EnsembleConfig::parse(text.as_bytes(), Stat::default());
        assert_eq!(config.version, Some(0x1_0000_000a));
        assert_eq!(
            config.connect_string(),
            "zk1:2181,10.0.0.9:2182,[fe80::1]:2183"
        );
        let observers: Vec<_> = config
            .servers
            .iter()
            .map(|server| server.observer)
            .collect();
        assert_eq!(observers, [false, false, true, false]);
        let ids: Vec<_> = config.servers.iter().map(|server| server.id).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
    }

    #[test]
    fn a_server_that_stands_alone_has_no_configuration() {
        let config = EnsembleConfig::parse(b"", Stat::default());
        assert_eq!((config.version, config.servers.len()), (None, 0));
        assert_eq!(config.connect_string(), "");
    }
}
