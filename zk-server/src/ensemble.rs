//! An ensemble inside a program: several servers of one process, for tests and for applications.

#![allow(
    clippy::disallowed_types,
    reason = "looks for free ports before any server is there"
)]

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use zk_proto::{ServerId, SessionId};

use crate::{
    Server, StartError,
    config::{Config, HostPort, PeerRole, ServerAddress, ServerSpec},
    driver::wires::{Wires, Wiring},
    error::Fatal,
};

/// Servers that serve as one, on loopback ports, each with a directory that goes with the ensemble.
///
/// Members are counted from 0. Dropping the ensemble stops them all.
///
/// Four faults can be had beside [`restart`](Self::restart):
///
/// | fault | what it is to the members | what it is to clients | ended by |
/// |---|---|---|---|
/// | [`kill`](Self::kill) | its connections are reset, its ports refuse | the same | `restart` |
/// | [`partition`](Self::partition) | a network that loses every packet between two members: nothing arrives, no connection ends, none is made | nothing: they reach every member | [`heal`](Self::heal) |
/// | [`pause`](Self::pause) | a process that was sent SIGSTOP: connections stay, nothing is read, answered or acted on | the same | [`resume`](Self::resume) |
/// | [`expire_session`](Self::expire_session) | a client that was silent for too long | its session is over | |
pub struct Ensemble {
    members: Vec<Place>,
    wires: Arc<Wires>,
    /// Options of every member.
    settings: Vec<(String, String)>,
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
        Self::start_with(members, &[]).await
    }

    /// As [`start`](Self::start), with options of `zoo.cfg` for every member.
    ///
    /// # Errors
    /// [`StartError`], of the first wrong value or the first member that does not start.
    pub async fn start_with(members: usize, settings: &[(&str, &str)]) -> Result<Self, StartError> {
        /// A port that was free a moment ago may be another process's when a member binds it.
        const TRIES: usize = 5;
        for _ in 1..TRIES {
            match Self::try_start(members, settings).await {
                Err(StartError::Listen { source, .. })
                    if source.kind() == io::ErrorKind::AddrInUse => {}
                started => return started,
            }
        }
        Self::try_start(members, settings).await
    }

    async fn try_start(members: usize, settings: &[(&str, &str)]) -> Result<Self, StartError> {
        let own: Vec<_> = specs(members, PeerRole::Participant)?;
        let servers: BTreeMap<_, _> = (1..).map(ServerId).zip(own.iter().cloned()).collect();
        let mut ensemble = Self {
            members: Vec::new(),
            wires: Arc::default(),
            settings: Vec::new(),
        };
        for (key, value) in settings {
            let setting = ((*key).to_owned(), (*value).to_owned());
            ensemble.settings.push(setting);
        }
        for (member, own) in own.iter().enumerate() {
            let id = (members > 1).then_some(server_id(member));
            let place = ensemble.place(id, own, servers.clone())?;
            ensemble.members.push(place);
        }
        for member in 0..members {
            ensemble.restart(member).await?;
        }
        Ok(ensemble)
    }

    /// Adds a server that runs and is no member yet: it knows where the others are, and waits to be let in. The ensemble
    /// must have been started with `reconfigEnabled`.
    ///
    /// Returns the number by which it is counted here, from 0, and its line of a configuration, the part behind
    /// `server.N=`, where `N` is that number and 1: what a client's `reconfig` must be told.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn add(&mut self, role: PeerRole) -> Result<(usize, String), StartError> {
        let own = specs(1, role)?.remove(0);
        let line = own.to_string();
        let member = self.members.len();
        let mut servers: BTreeMap<_, _> = self.running().collect();
        servers.insert(server_id(member), own.clone());
        let place = self.place(Some(server_id(member)), &own, servers)?;
        self.members.push(place);
        self.restart(member).await?;
        Ok((member, line))
    }

    /// How every member that runs was started.
    fn running(&self) -> impl Iterator<Item = (ServerId, ServerSpec)> + '_ {
        let running = self.members.iter().enumerate();
        let running = running.filter(|(_, place)| place.server.is_some());
        running.filter_map(|(member, place)| {
            let id = server_id(member);
            Some((id, place.config.servers.get(&id)?.clone()))
        })
    }

    fn place(
        &self,
        id: Option<ServerId>,
        own: &ServerSpec,
        servers: BTreeMap<ServerId, ServerSpec>,
    ) -> Result<Place, StartError> {
        let directory = tempfile::Builder::new().prefix("zk-ensemble-").tempdir()?;
        let mut config = Config {
            tick_time: Duration::from_millis(200),
            servers,
            my_id: id,
            ..Config::default()
        };
        for (key, value) in &self.settings {
            if let Some(warning) = config.set(key, value)? {
                tracing::warn!("{warning}");
            }
        }
        let port = own.client.as_ref().map_or(0, |client| client.port);
        Ok(Place {
            config,
            client: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            directory,
            server: None,
        })
    }

    /// Where clients connect, every member by a comma from the next.
    #[must_use]
    pub fn connect_string(&self) -> String {
        let members = (0..self.members.len()).filter_map(|member| self.client_address(member));
        let members = members.map(|address| address.to_string());
        members.collect::<Vec<_>>().join(",")
    }

    /// Where one member serves clients; `None` if there is no such member.
    #[must_use]
    pub fn client_address(&self, member: usize) -> Option<SocketAddr> {
        let place = self.members.get(member)?;
        let server = place.server.as_ref();
        Some(server.map_or(place.client, Server::local_addr))
    }

    /// Waits until a member leads, with a quorum in sync behind it, and tells which. Cancel safe.
    ///
    /// One that was cut off from the majority or paused a moment ago believes for a while that it leads: it is not
    /// meant, since nothing that it is asked to write will be acknowledged.
    pub async fn leader(&self) -> usize {
        const GLANCE: Duration = Duration::from_millis(2);
        loop {
            let leads = |member: &usize| self.member(*member).is_some_and(Server::leads);
            let mut members = 0..self.members.len();
            if let Some(member) =
                members.find(|member| leads(member) && self.reaches_quorum(*member))
            {
                return member;
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Whether a member and those that it reaches are a quorum.
    fn reaches_quorum(&self, member: usize) -> bool {
        let server = self.member(member);
        let Some(configuration) = server.and_then(Server::configuration) else {
            return true;
        };
        let verifier = configuration.verifier();
        let reaches = |other: &usize| {
            let (a, b) = (server_id(member), server_id(*other));
            self.member(*other).is_some() && self.wires.runs(b) && self.wires.is_whole(a, b)
        };
        let reached = (0..self.members.len()).filter(reaches).map(server_id);
        self.wires.runs(server_id(member)) && verifier.contains_quorum(&reached.collect())
    }

    /// The server that a member is, if it runs.
    #[must_use]
    pub fn member(&self, member: usize) -> Option<&Server> {
        self.members.get(member)?.server.as_ref()
    }

    /// Ends a member; nobody is told but by its closed connections. What was not handed to the log is lost.
    ///
    /// Returns once its ports and its directory are free again. A member that was paused is not any more.
    ///
    /// # Errors
    /// What the member died of, if it had died before.
    pub async fn kill(&mut self, member: usize) -> Result<(), Fatal> {
        let place = self.members.get_mut(member);
        match place.and_then(|place| place.server.take()) {
            Some(server) => {
                let ended = server.shutdown().await;
                self.wires.resume(server_id(member));
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
                .wiring(Wiring::on(self.wires.clone(), server_id(member)))
                .data_dir(place.directory.path());
            place.server = Some(builder.start().await?);
        }
        Ok(())
    }

    /// Cuts two members off from each other, in both directions and until [`heal`](Self::heal); also across their
    /// restarts.
    ///
    /// What one sends the other is held back, and so is the news that a connection has ended: each finds out by the
    /// other's silence, within `syncLimit` ticks. Clients still reach both.
    pub fn partition(&self, a: usize, b: usize) {
        self.wires.cut(server_id(a), server_id(b));
    }

    /// Kills every connection between two members without telling either, as when a machine loses its power: what
    /// they still have open never says a word again, and does not end. New connections are not touched.
    pub fn lose_connections(&self, a: usize, b: usize) {
        self.wires.lose(server_id(a), server_id(b));
    }

    /// Ends every [`partition`](Self::partition): what was held back arrives.
    pub fn heal(&self) {
        self.wires.heal();
    }

    /// Stops a member as SIGSTOP stops a process, until [`resume`](Self::resume): its connections stay open, and it
    /// does nothing. What was handed to its log before still reaches the disk.
    pub fn pause(&self, member: usize) {
        self.wires.pause(server_id(member));
    }

    /// Lets a paused member go on; to it, no time has passed but on the clock.
    pub fn resume(&self, member: usize) {
        self.wires.resume(server_id(member));
    }

    /// Ends a session as if its client had gone silent, as soon as there is a leader to propose that.
    ///
    /// The session is over when its client hears of it. Cancel safe: the session is asked to end, or goes on.
    pub async fn expire_session(&self, session: SessionId) {
        self.leader().await;
        for place in &self.members {
            if let Some(server) = &place.server {
                server.expire_session(session);
            }
        }
    }
}

/// What the member counted so from 0 is in its configuration.
fn server_id(member: usize) -> ServerId {
    ServerId(i64::try_from(member).map_or(i64::MAX, |member| member + 1))
}

/// So many servers on free loopback ports.
fn specs(count: usize, role: PeerRole) -> io::Result<Vec<ServerSpec>> {
    // Held until every port is known, so that none is given twice.
    let mut held = Vec::new();
    let mut port = || -> io::Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        held.push(listener);
        Ok(port)
    };
    let mut spec = || -> io::Result<ServerSpec> {
        let address = ServerAddress {
            host: Ipv4Addr::LOCALHOST.to_string(),
            quorum_port: port()?,
            election_port: Some(port()?),
        };
        Ok(ServerSpec {
            addresses: vec![address],
            role,
            client: Some(HostPort::at(Ipv4Addr::LOCALHOST.to_string(), port()?)),
        })
    };
    (0..count).map(|_| spec()).collect()
}
