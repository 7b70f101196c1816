//! The election port and the quorum port of an ensemble's member, and its links to the others.
//!
//! Deliberately not here: TLS and SASL between servers, and several addresses of one server.

mod election_port;
mod leader_link;
mod learner_port;
mod snapshot_stream;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tokio::{
    net::{TcpListener, TcpSocket, lookup_host},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use zk_proto::{Encode, ServerId};

use self::learner_port::{Learners, ToLearner};
use super::{Hub, wires::MemberStream};
use crate::{
    config::{Config, ServerAddress, ServerSpec},
    embedded::StartError,
    error::Fatal,
    peer::Order,
    tree::TreeOptions,
    zab::LinkId,
};

/// Where a server is reached.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The ports, bound and not served yet.
pub(super) struct Bound {
    me: ServerId,
    election: TcpListener,
    quorum: TcpListener,
}

/// Binds both ports where the configuration says; `me` is one of its servers.
pub(super) async fn bind(config: &Config, me: ServerId) -> Result<Bound, StartError> {
    let spec = config.servers.get(&me).and_then(first);
    let Some((own, election_port)) = spec else {
        let text = format!("no server.{} line with an election port", me.0);
        return Err(Fatal::new(text).into());
    };
    Ok(Bound {
        me,
        election: listen(&own.host, election_port).await?,
        quorum: listen(&own.host, own.quorum_port).await?,
    })
}

fn first(spec: &ServerSpec) -> Option<(&ServerAddress, u16)> {
    let address = spec.addresses.first()?;
    Some((address, address.election_port?))
}

async fn listen(host: &str, port: u16) -> Result<TcpListener, StartError> {
    let address = lookup_host((host, port)).await?.next();
    let address = address.ok_or_else(|| Fatal::new(format!("{host} has no address")))?;
    let listener = || -> io::Result<TcpListener> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(1024)
    };
    listener().map_err(|source| StartError::Listen { address, source })
}

/// The ports of one member, served.
pub(super) struct QuorumPorts {
    hub: Arc<Hub>,
    tree: TreeOptions,
    /// The newest notification for each server.
    notifications: BTreeMap<ServerId, watch::Sender<Option<Bytes>>>,
    quorum_ports: BTreeMap<ServerId, Address>,
    learners: Arc<Learners>,
    /// The link to this member's leader.
    leader: Option<(mpsc::UnboundedSender<Bytes>, CancellationToken)>,
}

impl QuorumPorts {
    /// Begins to serve.
    pub(super) fn open(hub: Arc<Hub>, tree: TreeOptions, bound: Bound) -> Self {
        let Bound {
            me,
            election,
            quorum,
        } = bound;
        let servers = &hub.config.servers;
        let others = servers.iter().filter(|(id, _)| **id != me);
        let (mut election_ports, mut quorum_ports) = (BTreeMap::new(), BTreeMap::new());
        for (id, spec) in others {
            if let Some((address, port)) = first(spec) {
                let at = |port| Address {
                    host: address.host.clone(),
                    port,
                };
                election_ports.insert(*id, at(port));
                quorum_ports.insert(*id, at(address.quorum_port));
            }
        }
        let learners = Arc::new(Learners::default());
        tokio::spawn(learner_port::accept(hub.clone(), quorum, learners.clone()));
        let notifications = election_port::open(&hub, me, election, election_ports);
        Self {
            hub,
            tree,
            notifications,
            quorum_ports,
            learners,
            leader: None,
        }
    }

    /// Does what the peer wants.
    pub(super) fn carry_out(&mut self, order: Order) {
        match order {
            Order::Notify { to, notification } => {
                if let Some(newest) = self.notifications.get(&to) {
                    newest.send_replace(Some(notification.to_bytes()));
                }
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
                if let Some((leader, _)) = &self.leader {
                    // A link that has ended says so itself.
                    let _ = leader.send(message.to_packet().to_bytes());
                }
            }
            Order::CloseLinks => {
                self.learners.close_all();
                self.hang_up();
            }
            // The log's, and the snapshots'.
            Order::InstallSnapshot { .. } | Order::Recover { .. } | Order::ReadLog { .. } => {}
        }
    }

    fn connect(&mut self, link: LinkId, leader: ServerId) {
        self.hang_up();
        let (tell, messages) = mpsc::unbounded_channel();
        let end = CancellationToken::new();
        let address = self.quorum_ports.get(&leader).cloned();
        let address = address.map(|address| (leader, address));
        let task = leader_link::LeaderLink {
            hub: self.hub.clone(),
            tree: self.tree,
            link,
        };
        let ended = end.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = task.hub.stop.cancelled() => {}
                () = task.run(address, messages) => {}
            }
        });
        self.leader = Some((tell, end));
    }

    fn hang_up(&mut self) {
        if let Some((_, end)) = self.leader.take() {
            end.cancel();
        }
    }
}
