//! From a request to the next configuration, or to the error the client gets (`PrepRequestProcessor`, `reconfig`).

use std::collections::BTreeSet;

use zk_proto::{ErrorCode, ServerId, Zxid, op::ReconfigRequest};

use super::{
    Configuration, ConfigurationError,
    configuration::{Members, number, server},
};
use crate::config::{HostPort, ServerSpec};

/// What a leader knows when it is asked for a reconfiguration.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The configuration in force.
    pub current: &'a Configuration,
    /// Whether another one is on its way.
    pub in_progress: bool,
    /// Whether an ensemble must have two voters (`standaloneEnabled`).
    pub standalone_enabled: bool,
    /// Who has everything that was proposed, or will in a moment: this leader and its followers in sync.
    pub synced: &'a BTreeSet<ServerId>,
}

/// The configuration that a request asks for, as transaction `zxid`.
///
/// # Errors
/// In this order, as Apache: `ReconfigInProgress`; `BadVersion`; what is wrong with the text (`BadArguments`, and
/// `MarshallingError` for what is no number); too few voters (`BadArguments`); `NewConfigNoQuorum`.
pub fn next(
    request: &ReconfigRequest,
    at: Circumstances<'_>,
    zxid: Zxid,
) -> Result<Configuration, ErrorCode> {
    if at.in_progress {
        return Err(ErrorCode::ReconfigInProgress);
    }
    if request.config_id != -1 && request.config_id != at.current.version().0 {
        return Err(ErrorCode::BadVersion);
    }
    let members = match &request.new_members {
        Some(members) => whole(members, at.standalone_enabled)?,
        None => changed(request, at.current)?,
    };
    let enough = if at.standalone_enabled { 2 } else { 1 };
    if members.voters() < enough {
        return Err(ErrorCode::BadArguments);
    }
    let next = members.configuration().map_err(|error| code(&error))?;
    match next.verifier().contains_quorum(at.synced) {
        true => Ok(next.with_version(zxid)),
        false => Err(ErrorCode::NewConfigNoQuorum),
    }
}

/// A new list instead of the old one; commas separate as line ends do.
fn whole(text: &str, standalone_enabled: bool) -> Result<Members, ErrorCode> {
    let members = Members::parse(&text.replace(',', "\n")).map_err(|error| code(&error))?;
    let voters = members.voters();
    let observers = members.servers.len() - voters;
    if several_addresses(members.servers.values()) {
        return Err(ErrorCode::BadArguments);
    }
    // Apache's parser trips over these, instead of refusing them.
    let odd = match voters {
        0 => !standalone_enabled || observers > 0,
        1 => standalone_enabled && observers > 0,
        _ => false,
    };
    match odd {
        true => Err(ErrorCode::MarshallingError),
        false => Ok(members),
    }
}

/// The old list without those that leave and with those that join; who joins and is there already changes.
fn changed(request: &ReconfigRequest, current: &Configuration) -> Result<Members, ErrorCode> {
    if current.is_hierarchical() {
        return Err(ErrorCode::BadArguments);
    }
    let mut members = Members {
        servers: current.servers().clone(),
        ..Members::default()
    };
    for leaving in parts(request.leaving.as_deref(), ',') {
        let id = number(leaving).map_err(|error| code(&error))?;
        members.servers.remove(&ServerId(id));
    }
    for joining in parts(request.joining.as_deref(), ',') {
        let (id, spec) = joiner(joining)?;
        let mut others = members.servers.iter().filter(|(other, _)| **other != id);
        if others.any(|(_, other)| share_an_address(&spec, other)) {
            return Err(ErrorCode::BadArguments);
        }
        members.servers.insert(id, spec);
    }
    Ok(members)
}

/// `server.N=host:quorum:election[:role];[host:]client`: all three ports are needed.
fn joiner(text: &str) -> Result<(ServerId, ServerSpec), ErrorCode> {
    let halves: Vec<_> = parts(Some(text), '=').collect();
    let [key, value] = halves[..] else {
        return Err(ErrorCode::BadArguments);
    };
    let id = key.rsplit_once('.').map_or(key, |(_, id)| id);
    let id = number(id).map_err(|error| code(&error))?;
    let spec = server(value).map_err(|error| code(&error))?;
    match spec.client.is_some() && !several_addresses([&spec]) {
        true => Ok((ServerId(id), spec)),
        false => Err(ErrorCode::BadArguments),
    }
}

/// What stands between separators, without blanks; nothing is no part.
fn parts(text: Option<&str>, separator: char) -> impl Iterator<Item = &str> {
    let parts = text.unwrap_or_default().split(separator).map(str::trim);
    parts.filter(|part| !part.is_empty())
}

/// `multiAddress.enabled` is off.
fn several_addresses<'a>(servers: impl IntoIterator<Item = &'a ServerSpec>) -> bool {
    let mut servers = servers.into_iter();
    servers.any(|server| server.addresses.len() > 1)
}

/// Whether two servers would listen at one place. The same port of every address, or of loopback, is no conflict:
/// these are other machines' (`checkAddressDuplicate`).
fn share_an_address(one: &ServerSpec, other: &ServerSpec) -> bool {
    let others: Vec<_> = places(other).collect();
    places(one).any(|place| others.contains(&place))
}

fn places(server: &ServerSpec) -> impl Iterator<Item = (&str, u16)> {
    let peers = server.addresses.iter().flat_map(|address| {
        let ports = [Some(address.quorum_port), address.election_port];
        let ports = ports.into_iter().flatten();
        ports.map(|port| (address.host.as_str(), port))
    });
    let client = server.client.iter();
    let client = client.filter_map(|HostPort { host, port }| Some((host.as_deref()?, *port)));
    peers.chain(client).filter(|(host, _)| !is_special(host))
}

fn is_special(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => host == "localhost",
    }
}

const fn code(error: &ConfigurationError) -> ErrorCode {
    match error {
        ConfigurationError::Refused(_) | ConfigurationError::Quorum(_) => ErrorCode::BadArguments,
        ConfigurationError::Illegal(_) => ErrorCode::MarshallingError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = "server.1=a:1:2;3\nserver.2=b:1:2;3\nserver.3=c:1:2;3\nversion=100000000";

    struct Asked<'a> {
        joining: Option<&'a str>,
        leaving: Option<&'a str>,
        members: Option<&'a str>,
        version: i64,
    }

    const NOTHING: Asked<'static> = Asked {
        joining: None,
        leaving: None,
        members: None,
        version: -1,
    };

    fn ask(asked: &Asked<'_>, synced: &[i64]) -> Result<Configuration, ErrorCode> {
        ask_of(THREE, asked, synced, true)
    }

    fn ask_of(
        current: &str,
        asked: &Asked<'_>,
        synced: &[i64],
        standalone_enabled: bool,
    ) -> Result<Configuration, ErrorCode> {
        let request = ReconfigRequest {
            joining: asked.joining.map(Into::into),
            leaving: asked.leaving.map(Into::into),
            new_members: asked.members.map(Into::into),
            config_id: asked.version,
        };
        let at = Circumstances {
            current: &Configuration::parse(current).unwrap(),
            in_progress: false,
            standalone_enabled,
            synced: &synced.iter().copied().map(ServerId).collect(),
        };
        next(&request, at, Zxid(0x1_0000_0007))
    }

    #[test]
    fn members_join_leave_and_change() {
        let joins = |joining| Asked {
            joining: Some(joining),
            ..NOTHING
        };
        let four = ask(
            &joins("server.4=d:1:2;3, server.5=e:1:2:observer;3"),
            &[1, 2, 3],
        )
        .unwrap();
        assert_eq!(four.servers().len(), 5);
        assert_eq!(four.version(), Zxid(0x1_0000_0007));
        assert!(four.verifier().is_voter(ServerId(4)) && four.is_observer(ServerId(5)));
        let moved = ask(&joins("server.3=c:7:8:observer;9"), &[1, 2]).unwrap();
        assert_eq!(
            moved.to_string(),
            "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant;0.0.0.0:3\n\
             server.3=c:7:8:observer;0.0.0.0:9\nversion=100000007"
        );
        let leaves = Asked {
            leaving: Some("3,77"),
            ..NOTHING
        };
        assert_eq!(ask(&leaves, &[1, 2]).unwrap().servers().len(), 2);
        let whole = Asked {
            members: Some("server.1=a:1:2;3,server.9=i:1:2;3\nserver.8=h:1:2;3"),
            version: 0x1_0000_0000,
            ..NOTHING
        };
        let whole = ask(&whole, &[1, 9]).unwrap();
        assert_eq!(whole.verifier().voters().count(), 3);
    }

    #[test]
    fn what_cannot_be_is_refused_as_apache_refuses_it() {
        let version = |version| Asked { version, ..NOTHING };
        let joins = |joining| Asked {
            joining: Some(joining),
            ..NOTHING
        };
        let leaves = |leaving| Asked {
            leaving: Some(leaving),
            ..NOTHING
        };
        let whole = |members| Asked {
            members: Some(members),
            ..NOTHING
        };
        use ErrorCode::{BadArguments, BadVersion, MarshallingError, NewConfigNoQuorum};
        for (asked, synced, expected) in [
            (version(5), &[1, 2, 3][..], BadVersion),
            (version(0x1_0000_0000), &[1], NewConfigNoQuorum),
            (joins("server.4"), &[1, 2, 3], BadArguments),
            (joins("server.4=d:1:2"), &[1, 2, 3], BadArguments),
            (joins("server.4=d:1:2;3=4"), &[1, 2, 3], BadArguments),
            (joins("server.4=d:1;3"), &[1, 2, 3], BadArguments),
            (joins("server.4=d:1:1;3"), &[1, 2, 3], BadArguments),
            (joins("server.4=c:1:9;8"), &[1, 2, 3], BadArguments),
            (joins("server.x=d:1:2;3"), &[1, 2, 3], MarshallingError),
            (joins("server.4=d:1:2|d:3:4;3"), &[1, 2, 3], BadArguments),
            (leaves("x"), &[1, 2, 3], MarshallingError),
            (leaves("2,3"), &[1, 2, 3], BadArguments),
            (leaves("3"), &[1, 3], NewConfigNoQuorum),
            (joins("server.4=d:1:2;3"), &[1, 2], NewConfigNoQuorum),
            (whole("server.1=a:1:2;3"), &[1, 2, 3], BadArguments),
            (
                whole("server.1=a:1:2;3,server.2=b:1:2:observer;3"),
                &[1],
                MarshallingError,
            ),
            (
                whole("server.1=a:1:2;3,tickTime=3"),
                &[1, 2, 3],
                BadArguments,
            ),
            (
                whole("server.8=h:1:2;3,server.9=i:1:2;3"),
                &[1, 2, 3],
                NewConfigNoQuorum,
            ),
        ] {
            let told = format!(
                "{:?} {:?} {:?}",
                asked.joining, asked.leaving, asked.members
            );
            assert_eq!(ask(&asked, synced), Err(expected), "{told}");
        }
    }

    #[test]
    fn one_voter_is_enough_where_nobody_may_stand_alone() {
        let leaves = Asked {
            leaving: Some("2,3"),
            ..NOTHING
        };
        assert_eq!(
            ask_of(THREE, &leaves, &[1], false).unwrap().servers().len(),
            1
        );
        let all = Asked {
            leaving: Some("1,2,3"),
            ..NOTHING
        };
        assert_eq!(
            ask_of(THREE, &all, &[1], false),
            Err(ErrorCode::BadArguments)
        );
    }

    #[test]
    fn one_at_a_time_and_weights_only_as_a_whole() {
        let request = ReconfigRequest {
            joining: None,
            leaving: Some("3".into()),
            new_members: None,
            config_id: 5,
        };
        let at = Circumstances {
            current: &Configuration::parse(THREE).unwrap(),
            in_progress: true,
            standalone_enabled: true,
            synced: &BTreeSet::new(),
        };
        assert_eq!(
            next(&request, at, Zxid(1)),
            Err(ErrorCode::ReconfigInProgress)
        );
        let weighty = format!("{THREE}\ngroup.1=1:2:3");
        let leaves = Asked {
            leaving: Some("3"),
            ..NOTHING
        };
        assert_eq!(
            ask_of(&weighty, &leaves, &[1, 2, 3], true),
            Err(ErrorCode::BadArguments)
        );
    }
}
