//! An ensemble inside a program: several servers of one process, for tests and for applications.

#![allow(
    clippy::disallowed_types,
    reason = "looks for free ports before any server is there"
)]

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use tempfile::TempDir;
use zk_proto::{ServerId, SessionId};

use crate::{
    Server, StartError,
    config::{Config, HostPort, PeerRole, ServerAddress, ServerSpec},
    error::Fatal,
};

/// Servers that serve as one, on loopback ports, each with a directory that goes with the ensemble.
///
/// Members are counted from 0. Dropping the ensemble stops them all.
pub struct Ensemble {
    members: Vec<Place>,
}

/// What of a member outlives it.
struct Place {
    config: Config,
    client: SocketAddr,
    directory: TempDir,
    server: Option<Server>,
}

impl Ensemble {
    /// Starts so many voting members on the caller's tokio runtime, with a tick of 200 ms.
    ///
    /// They serve a moment later: [`leader`](Self::leader) waits for it.
    ///
    /// # Errors
    /// [`StartError`], of the first member that does not start.
    pub async fn start(members: usize) -> Result<Self, StartError> {
        let mut clients = Vec::new();
        let mut servers = BTreeMap::new();
        // Held until every port is known, so that none is given twice.
        let mut held = Vec::new();
        let mut port = || -> io::Result<u16> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        for id in (1..).take(members) {
            let client = port()?;
            clients.push(client);
            let address = ServerAddress {
                host: Ipv4Addr::LOCALHOST.to_string(),
                quorum_port: port()?,
                election_port: Some(port()?),
            };
            let spec = ServerSpec {
                addresses: vec![address],
                role: PeerRole::Participant,
                client: Some(HostPort {
                    host: Some(Ipv4Addr::LOCALHOST.to_string()),
                    port: client,
                }),
            };
            servers.insert(ServerId(id), spec);
        }
        drop(held);
        let mut ensemble = Self {
            members: Vec::new(),
        };
        for (id, client) in (1..).zip(clients) {
            let directory = tempfile::Builder::new().prefix("zk-ensemble-").tempdir()?;
            let config = Config {
                tick_time: Duration::from_millis(200),
                servers: servers.clone(),
                my_id: (members > 1).then_some(ServerId(id)),
                ..Config::default()
            };
            ensemble.members.push(Place {
                config,
                client: SocketAddr::from((Ipv4Addr::LOCALHOST, client)),
                directory,
                server: None,
            });
        }
        for member in 0..members {
            ensemble.restart(member).await?;
        }
        Ok(ensemble)
    }

    /// Where clients connect, every member by a comma from the next.
    #[must_use]
    pub fn connect_string(&self) -> String {
        let members = self.members.iter().map(|place| place.client.to_string());
        members.collect::<Vec<_>>().join(",")
    }

    /// Where one member serves clients; `None` if there is no such member.
    #[must_use]
    pub fn client_address(&self, member: usize) -> Option<SocketAddr> {
        self.members.get(member).map(|place| place.client)
    }

    /// Waits until a member leads, with a quorum in sync behind it, and tells which. Cancel safe.
    pub async fn leader(&self) -> usize {
        const GLANCE: Duration = Duration::from_millis(2);
        loop {
            let leads = |place: &Place| {
                let server = place.server.as_ref();
                server.is_some_and(|server| server.mode() == Some("leader"))
            };
            if let Some(member) = self.members.iter().position(leads) {
                return member;
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// The server that a member is, if it runs.
    #[must_use]
    pub fn member(&self, member: usize) -> Option<&Server> {
        self.members.get(member)?.server.as_ref()
    }

    /// Ends a member; nobody is told but by its closed connections. What was not handed to the log is lost.
    ///
    /// Returns once its ports and its directory are free again.
    ///
    /// # Errors
    /// What the member died of, if it had died before.
    pub async fn kill(&mut self, member: usize) -> Result<(), Fatal> {
        let place = self.members.get_mut(member);
        match place.and_then(|place| place.server.take()) {
            Some(server) => {
                let ended = server.shutdown().await;
                self.await_ports(member).await;
                ended
            }
            None => Ok(()),
        }
    }

    /// Waits until nobody listens on a member's ports any more.
    async fn await_ports(&self, member: usize) {
        let config = self.members.get(member).map(|place| &place.config);
        let spec = config.and_then(|config| config.servers.get(&config.my_id?));
        let ports = spec.into_iter().flat_map(|spec| {
            let client = spec.client.iter().map(|client| client.port);
            let peers = spec.addresses.iter();
            let peers = peers.flat_map(|at| [Some(at.quorum_port), at.election_port]);
            client.chain(peers.flatten())
        });
        for port in ports {
            while tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Starts a member that does not run, on what it left behind.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn restart(&mut self, member: usize) -> Result<(), StartError> {
        let Some(place) = self.members.get_mut(member) else {
            return Ok(());
        };
        if place.server.is_none() {
            let builder = Server::builder()
                .config(place.config.clone())
                .bind(place.client)
                .data_dir(place.directory.path());
            place.server = Some(builder.start().await?);
        }
        Ok(())
    }

    /// Ends a session as if its client had gone silent; whoever leads proposes it.
    pub fn expire_session(&self, session: SessionId) {
        for place in &self.members {
            if let Some(server) = &place.server {
                server.expire_session(session);
            }
        }
    }
}
