//! The election port and the quorum port of an ensemble's member, and its links to the others.
//!
//! Deliberately not here: TLS and SASL between servers, and several addresses of one server.

mod election_port;
mod inflow;
mod leader_link;
mod learner_port;
mod newcomers;
mod snapshot_stream;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tokio::{
    net::lookup_host,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use zk_proto::{Encode, ServerId};

use self::{
    election_port::ElectionPort,
    learner_port::{Learners, ToLearner},
    newcomers::MemberAddresses,
};
use super::{
    Hub,
    log_reads::Piece,
    start,
    wires::{MemberPort, MemberStream, Wiring},
};
use crate::{
    config::{Config, ServerAddress, ServerSpec},
    embedded::StartError,
    error::Fatal,
    peer::Order,
    reconfig::Configurations,
    tree::TreeOptions,
    zab::{LinkId, Transaction},
};

/// Held by what must run as long as the member does: one whose port or link has died of a panic must not look alive.
struct Vital {
    hub: Arc<Hub>,
    what: &'static str,
}

impl Vital {
    fn new(hub: &Arc<Hub>, what: &'static str) -> Self {
        let hub = hub.clone();
        Self { hub, what }
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = format!("{} died of a panic", self.what);
            self.hub.fail(Fatal::new(text));
        }
    }
}

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The ports, bound and not served yet.
pub(super) struct Bound {
    me: ServerId,
    election: MemberPort,
    quorum: MemberPort,
}

/// Binds both ports where the configuration says; `me` is one of its servers.
pub(super) async fn bind(
    config: &Config,
    wiring: &Wiring,
    me: ServerId,
) -> Result<Bound, StartError> {
    let spec = config.servers.get(&me).and_then(first);
    let Some((own, election_port)) = spec else {
        let text = format!("no server.{} line with an election port", me.0);
        return Err(Fatal::new(text).into());
    };
    Ok(Bound {
        me,
        election: listen(config, wiring, &own.host, election_port).await?,
        quorum: listen(config, wiring, &own.host, own.quorum_port).await?,
    })
}

fn first(spec: &ServerSpec) -> Option<(&ServerAddress, u16)> {
    let address = spec.addresses.first()?;
    Some((address, address.election_port?))
}

/// Binds a port of this member's own line, or that port of every address if it is so configured.
async fn listen(
    config: &Config,
    wiring: &Wiring,
    host: &str,
    port: u16,
) -> Result<MemberPort, StartError> {
    if let Some(listening) = wiring.listen(port).await {
        return Ok(listening?);
    }
    let host = if config.quorum_listen_on_all_ips {
        "::"
    } else {
        host
    };
    let address = lookup_host((host, port)).await?.next();
    let address = address.ok_or_else(|| Fatal::new(format!("{host} has no address")))?;
    let listener = start::bind(address, None);
    let listener = listener.map_err(|source| StartError::Listen { address, source })?;
    Ok(MemberPort::Tcp(listener))
}

/// The ports of one member, served.
pub(super) struct QuorumPorts {
    hub: Arc<Hub>,
    me: ServerId,
    tree: TreeOptions,
    election: Arc<ElectionPort>,
    /// Where this member listens, and what ends that.
    own: Option<ServerSpec>,
    listening: CancellationToken,
    quorum_ports: BTreeMap<ServerId, Address>,
    learners: Arc<Learners>,
    members: Arc<MemberAddresses>,
    /// The link to this member's leader.
    leader: Option<ToLeader>,
}

/// A link to a leader, from this side.
struct ToLeader {
    tell: mpsc::UnboundedSender<Bytes>,
    /// What of its transactions is settled.
    settled: watch::Sender<u64>,
    end: CancellationToken,
}

impl QuorumPorts {
    /// Begins to serve.
    pub(super) fn open(
        hub: Arc<Hub>,
        tree: TreeOptions,
        bound: Bound,
        known: &Configurations,
    ) -> Self {
        let Bound {
            me,
            election,
            quorum,
        } = bound;
        let members = Arc::<MemberAddresses>::default();
        let mut ports = Self {
            me,
            tree,
            election: ElectionPort::new(hub.clone(), me, members.clone()),
            own: hub.config.servers.get(&me).cloned(),
            listening: CancellationToken::new(),
            quorum_ports: BTreeMap::new(),
            learners: Arc::new(Learners::default()),
            members,
            leader: None,
            hub,
        };
        ports.introduce();
        let learners = learner_port::accept(
            ports.hub.clone(),
            quorum,
            ports.learners.clone(),
            ports.members.clone(),
            ports.listening.clone(),
        );
        tokio::spawn(learners);
        let servers = ports
            .election
            .clone()
            .accept(election, ports.listening.clone());
        tokio::spawn(servers);
        ports.link_to(known.servers());
        ports
    }

    fn introduce(&self) {
        if let Some((address, port)) = self.own.as_ref().and_then(first) {
            self.election.introduce(&address.host, port);
        }
    }

    /// Who else there is. Where a server is named twice, the first one counts.
    fn link_to<'a>(&mut self, servers: impl Iterator<Item = (&'a ServerId, &'a ServerSpec)>) {
        let mut election_ports = BTreeMap::new();
        self.quorum_ports.clear();
        for (id, spec) in servers.filter(|(id, _)| **id != self.me) {
            let Some((address, port)) = first(spec) else {
                continue;
            };
            let at = |port| Address {
                host: address.host.clone(),
                port,
            };
            election_ports.entry(*id).or_insert_with(|| at(port));
            let quorum_port = at(address.quorum_port);
            self.quorum_ports.entry(*id).or_insert(quorum_port);
        }
        let hosts = election_ports.values().map(|address| address.host.clone());
        let asks = !matches!(self.hub.wiring, Wiring::Net(_));
        self.members.set(hosts.collect(), asks);
        self.election.link_to(&election_ports);
    }

    /// Follows a change of the configuration: connects to who belongs to the ensemble now or may soon, and listens where
    /// this member is reached now. One that is in it no more goes on as it is.
    pub(super) fn configure(&mut self, known: &Configurations) {
        self.link_to(known.servers());
        let Some(now) = known.committed().servers().get(&self.me) else {
            return;
        };
        let before = self.own.replace(now.clone());
        if before.as_ref().and_then(|own| own.client.as_ref()) != now.client.as_ref() {
            self.hub.client_port.send_replace(now.client.clone());
        }
        if before.is_some_and(|own| own.addresses != now.addresses) {
            self.listen_anew(now.clone());
        }
    }

    /// Gives the old ports up, and takes the new ones as soon as they are to be had.
    fn listen_anew(&mut self, own: ServerSpec) {
        self.introduce();
        let before = std::mem::take(&mut self.listening);
        before.cancel();
        let (hub, learners) = (self.hub.clone(), self.learners.clone());
        let (port, end) = (self.election.clone(), self.listening.clone());
        let members = self.members.clone();
        tokio::spawn(async move {
            let Some((address, election_port)) = first(&own) else {
                return;
            };
            while !(end.is_cancelled() || hub.stop.is_cancelled()) {
                let bound = async {
                    let listen = |port| listen(&hub.config, &hub.wiring, &address.host, port);
                    let election = listen(election_port).await?;
                    Ok::<_, StartError>((election, listen(address.quorum_port).await?))
                };
                match bound.await {
                    Ok((election, quorum)) => {
                        tokio::spawn(port.accept(election, end.clone()));
                        return learner_port::accept(hub, quorum, learners, members, end).await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the ports of the new configuration");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
            }
        });
    }

    /// Does what the peer wants.
    pub(super) fn carry_out(&mut self, order: Order) {
        match order {
            Order::Notify { to, notification } => {
                self.election.notify(to, notification.to_bytes());
            }
            Order::Send { link, message } => {
                let bytes = message.to_packet().to_bytes();
                self.learners.send(link, ToLearner::Bytes(bytes));
            }
            Order::SendSnapshot { link, cut } => {
                let cut = snapshot_stream::Outgoing::new(cut, &self.hub);
                self.learners.send(link, ToLearner::Snapshot(cut));
            }
            Order::Close { link } => self.learners.close(link),
            Order::Connect { link, leader } => self.connect(link, leader),
            Order::Tell(message) => {
                if let Some(leader) = &self.leader {
                    // A link that has ended says so itself.
                    let _ = leader.tell.send(message.to_packet().to_bytes());
                }
            }
            Order::CloseLinks => {
                self.learners.close_all();
                self.hang_up();
            }
            // The log's, and the snapshots'.
            Order::InstallSnapshot { .. }
            | Order::Recover { .. }
            | Order::SendHistory { .. }
            | Order::ReadLog { .. }
            | Order::AbandonSnapshot
            | Order::Configure(_) => {}
        }
    }

    /// Tells a learner what is read of the log for it, and then these transactions.
    pub(super) fn send_history(
        &self,
        link: LinkId,
        logged: Option<mpsc::Receiver<Piece>>,
        records: Vec<Transaction>,
    ) {
        self.learners
            .send(link, ToLearner::History { logged, records });
    }

    fn connect(&mut self, link: LinkId, leader: ServerId) {
        self.hang_up();
        let (tell, messages) = mpsc::unbounded_channel();
        let (settled, told) = watch::channel(0);
        let end = CancellationToken::new();
        let address = self.quorum_ports.get(&leader).cloned();
        let address = address.map(|address| (leader, address));
        let task = leader_link::LeaderLink {
            hub: self.hub.clone(),
            tree: self.tree,
            link,
            settled: told,
        };
        let ended = end.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = task.hub.stop.cancelled() => {}
                () = task.run(address, messages) => {}
            }
        });
        self.leader = Some(ToLeader { tell, settled, end });
    }

    /// So much of what the leader has said on the newest link is on the disk.
    pub(super) fn settle(&self, settled: u64) {
        if let Some(leader) = &self.leader {
            leader.settled.send_if_modified(|before| {
                let is_news = *before != settled;
                *before = settled;
                is_news
            });
        }
    }

    fn hang_up(&mut self) {
        if let Some(leader) = self.leader.take() {
            leader.end.cancel();
        }
    }
}
