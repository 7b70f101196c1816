//! A configuration and its text, which clients read, members send each other, and dynamic configuration files hold
//! (`QuorumMaj.toString`, `QuorumHierarchical.toString`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use thiserror::Error;
use zk_proto::{ServerId, Zxid};

use crate::{
    config::{PeerRole, ServerSpec, properties},
    quorum::{QuorumVerifier, VerifierError},
};

/// Who belongs to an ensemble, where, in which role, and since which transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    servers: BTreeMap<ServerId, ServerSpec>,
    groups: BTreeMap<i64, BTreeSet<ServerId>>,
    weights: BTreeMap<ServerId, i64>,
    verifier: QuorumVerifier,
    version: Zxid,
}

/// Why a text is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigurationError {
    /// What Apache refuses as a configuration (`ConfigException`).
    #[error("{0}")]
    Refused(String),
    /// What Apache's parser trips over (`IllegalArgumentException`, `NumberFormatException`).
    #[error("{0}")]
    Illegal(String),
    /// The voters make no quorum.
    #[error(transparent)]
    Quorum(#[from] VerifierError),
}

/// What a text says, before anybody looks at whether an ensemble can be made of it.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) servers: BTreeMap<ServerId, ServerSpec>,
    pub(super) groups: BTreeMap<i64, BTreeSet<ServerId>>,
    pub(super) weights: BTreeMap<ServerId, i64>,
    pub(super) version: Zxid,
}

impl Configuration {
    /// Majority quorums, or hierarchical ones where there are groups; a participant without a weight has 1.
    ///
    /// # Errors
    /// [`VerifierError`].
    pub fn new(
        servers: BTreeMap<ServerId, ServerSpec>,
        groups: BTreeMap<i64, BTreeSet<ServerId>>,
        weights: BTreeMap<ServerId, i64>,
        version: Zxid,
    ) -> Result<Self, VerifierError> {
        let voters = servers
            .iter()
            .filter(|(_, server)| server.role == PeerRole::Participant)
            .map(|(id, _)| *id);
        let verifier = match groups.is_empty() && weights.is_empty() {
            true => QuorumVerifier::majority(voters)?,
            false => {
                let groups = groups.values().cloned().collect();
                QuorumVerifier::hierarchical(voters, groups, &weights)?
            }
        };
        Ok(Self {
            servers,
            groups,
            weights,
            verifier: verifier.with_version(version.0),
            version,
        })
    }

    /// Majority quorums, under no version yet.
    ///
    /// # Errors
    /// [`VerifierError`].
    pub fn majority(servers: BTreeMap<ServerId, ServerSpec>) -> Result<Self, VerifierError> {
        Self::new(servers, BTreeMap::new(), BTreeMap::new(), Zxid::ZERO)
    }

    /// Reads a text: `server.N`, `group.N` and `weight.N` lines and a `version` in hexadecimal.
    ///
    /// # Errors
    /// [`ConfigurationError`].
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        Members::parse(text)?.configuration()
    }

    /// The same members under another version.
    #[must_use]
    pub fn with_version(mut self, version: Zxid) -> Self {
        self.version = version;
        self.verifier = self.verifier.with_version(version.0);
        self
    }

    /// The transaction that made it; 0 for one that an operator wrote.
    #[must_use]
    pub const fn version(&self) -> Zxid {
        self.version
    }

    /// Who is a quorum of it.
    #[must_use]
    pub const fn verifier(&self) -> &QuorumVerifier {
        &self.verifier
    }

    /// Its members, by id.
    #[must_use]
    pub const fn servers(&self) -> &BTreeMap<ServerId, ServerSpec> {
        &self.servers
    }

    /// Which voters vote together; none for a majority of all.
    #[must_use]
    pub const fn groups(&self) -> &BTreeMap<i64, BTreeSet<ServerId>> {
        &self.groups
    }

    /// How much a voter counts in its group, where that is not 1.
    #[must_use]
    pub const fn weights(&self) -> &BTreeMap<ServerId, i64> {
        &self.weights
    }

    /// Whether it counts by groups and weights, which no change by joining and leaving can say anything about.
    #[must_use]
    pub fn is_hierarchical(&self) -> bool {
        !(self.groups.is_empty() && self.weights.is_empty())
    }

    /// Whether a server is one of its observers.
    #[must_use]
    pub fn is_observer(&self, server: ServerId) -> bool {
        let server = self.servers.get(&server);
        server.is_some_and(|server| server.role == PeerRole::Observer)
    }

    /// Whether both have a server as a voter that is reached at the same quorum address.
    #[must_use]
    pub fn keeps_voter(&self, other: &Self, server: ServerId) -> bool {
        let addresses = |of: &Self| -> Option<Vec<(String, u16)>> {
            let is_voter = of.verifier.is_voter(server);
            let spec = of.servers.get(&server).filter(|_| is_voter)?;
            let all = spec.addresses.iter();
            Some(all.map(|at| (at.host.clone(), at.quorum_port)).collect())
        };
        let own = addresses(self);
        own.is_some() && own == addresses(other)
    }
}

/// As Apache has it: a line a server, then groups and weights, and the version without a line's end.
impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, server) in &self.servers {
            writeln!(f, "server.{}={server}", id.0)?;
        }
        for (group, servers) in &self.groups {
            let servers: Vec<_> = servers.iter().map(|id| id.0.to_string()).collect();
            writeln!(f, "group.{group}={}", servers.join(":"))?;
        }
        if self.is_hierarchical() {
            for voter in self.verifier.voters() {
                writeln!(f, "weight.{}={}", voter.0, self.verifier.weight(voter))?;
            }
        }
        write!(f, "version={:x}", self.version.0)
    }
}

impl Members {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let mut members = Self::default();
        let entries = properties::parse(text.as_bytes()).map_err(ConfigurationError::Illegal)?;
        for (key, value) in entries {
            members.put(key.trim(), value.trim())?;
        }
        Ok(members)
    }

    fn put(&mut self, key: &str, value: &str) -> Result<(), ConfigurationError> {
        if let Some(id) = key.strip_prefix("server.") {
            let id = ServerId(number(id)?);
            self.servers.insert(id, server(value)?);
        } else if key.starts_with("group") {
            let mut group = BTreeSet::new();
            for member in value.split(':') {
                group.insert(ServerId(number(member)?));
            }
            self.groups.insert(number(behind_dot(key))?, group);
        } else if key.starts_with("weight") {
            let id = ServerId(number(behind_dot(key))?);
            self.weights.insert(id, number(value)?);
        } else if key == "version" {
            let version = i64::from_str_radix(value, 16);
            self.version = Zxid(version.map_err(|_| illegal(value))?);
        } else {
            let why = format!("Unrecognised parameter: {key}");
            return Err(ConfigurationError::Refused(why));
        }
        Ok(())
    }

    pub(super) fn configuration(self) -> Result<Configuration, ConfigurationError> {
        let Self {
            servers,
            groups,
            weights,
            version,
        } = self;
        Ok(Configuration::new(servers, groups, weights, version)?)
    }

    pub(super) fn voters(&self) -> usize {
        let roles = self.servers.values().map(|server| server.role);
        roles.filter(|role| *role == PeerRole::Participant).count()
    }
}

/// What stands behind `server.N=`; every server has a quorum port and an election port, and they differ.
pub(super) fn server(text: &str) -> Result<ServerSpec, ConfigurationError> {
    let spec = ServerSpec::parse(text).map_err(ConfigurationError::Refused)?;
    for address in &spec.addresses {
        if address
            .election_port
            .is_none_or(|port| port == address.quorum_port)
        {
            let why = format!("{text}: quorum port and election port are needed, and must differ");
            return Err(ConfigurationError::Refused(why));
        }
    }
    Ok(spec)
}

fn behind_dot(key: &str) -> &str {
    key.split_once('.').map_or("", |(_, number)| number)
}

pub(super) fn number(text: &str) -> Result<i64, ConfigurationError> {
    text.parse().map_err(|_| illegal(text))
}

fn illegal(text: &str) -> ConfigurationError {
    ConfigurationError::Illegal(format!("{text:?} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_and_written_as_apache_does() {
        for text in [
            "server.1=127.0.0.1:2888:3888:participant;0.0.0.0:2181\n\
             server.2=zk2:2888:3888:observer;127.0.0.1:2182\nserver.10=h:1:2:participant\nversion=100000004",
            "server.1=[fe80:0:0:0:0:0:0:1]:1:2:participant;[0:0:0:0:0:0:0:0]:3\nversion=0",
            "server.1=h:1:2:participant;0.0.0.0:3\nserver.2=h:4:5:participant;0.0.0.0:6\n\
             group.1=1\ngroup.2=2\nweight.1=1\nweight.2=3\nversion=7",
        ] {
            assert_eq!(Configuration::parse(text).unwrap().to_string(), text);
        }
        let short = Configuration::parse("server.3=[::1]:1:2;2181").unwrap();
        assert_eq!(
            short.to_string(),
            "server.3=[0:0:0:0:0:0:0:1]:1:2:participant;0.0.0.0:2181\nversion=0"
        );
    }

    #[test]
    fn what_is_no_configuration_is_told_as_apache_tells_it() {
        let refused = |text| {
            matches!(
                Configuration::parse(text),
                Err(ConfigurationError::Refused(_))
            )
        };
        let illegal = |text| {
            matches!(
                Configuration::parse(text),
                Err(ConfigurationError::Illegal(_))
            )
        };
        assert!(refused("server.1=h:1:2\ntickTime=3"));
        assert!(refused("server.1=h:1"));
        assert!(refused("server.1=h:1:1"));
        assert!(refused("server.1=h:1:2:king"));
        assert!(illegal("server.x=h:1:2"));
        assert!(illegal("server.1=h:1:2\nversion=king"));
        assert_eq!(
            Configuration::parse("server.1=h:1:2:observer"),
            Err(VerifierError::NoVoters.into())
        );
    }

    #[test]
    fn a_voter_that_moves_is_not_kept() {
        let parse = |text| Configuration::parse(text).unwrap();
        let old = parse("server.1=h:1:2;3\nserver.2=h:4:5;6");
        for (new, kept) in [
            ("server.1=h:1:2;3", true),
            ("server.1=h:1:9;8", true),
            ("server.1=h:9:2;3", false),
            ("server.1=h:1:2:observer;3\nserver.2=h:4:5;6", false),
            ("server.2=h:4:5;6", false),
        ] {
            assert_eq!(old.keeps_voter(&parse(new), ServerId(1)), kept, "{new}");
        }
    }
}
