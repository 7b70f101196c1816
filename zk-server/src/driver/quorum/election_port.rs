//! The election port (`QuorumCnxManager`): one link to every other server, owned by the one with the higher id.
//!
//! A link carries the newest notification of each side. Whoever has the lower id and wants to be heard dials,
//! says who it is and hangs up; the other one dials back.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, split},
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use zk_proto::{
    Decode, Encode, Reader, ServerId,
    quorum::{ELECTION_MESSAGE_MAX, ElectionAddress, InitialMessage, Notification},
};

use super::{
    Address, Hub, MemberPort, MemberStream, Vital,
    newcomers::{MemberAddresses, Newcomers},
};
use crate::{
    election,
    peer::{Input, QuorumInput},
};

/// How long a connection may take, and a hello.
const CONNECT: Duration = Duration::from_secs(5);
/// How long to wait before dialling again.
const RETRY: Duration = Duration::from_millis(10);
/// The same, for a server that has not answered for a while.
const RETRY_MAX: Duration = Duration::from_millis(500);

/// How old a link must be before the other server's call says that it is dead: it may have called before it was
/// dialled, and calls once a second at most.
const SETTLED: Duration = Duration::from_secs(1);

/// How often a stranger may fail to come back before nobody waits for it any more.
const STRANGER_PATIENCE: u32 = 20;
/// How many strangers are known at a time.
const STRANGERS_MAX: usize = 16;

/// A connection, and what was read beyond its hello.
type Incoming = (MemberStream, BytesMut);

/// The port, and the links to all other servers.
pub(super) struct ElectionPort {
    hub: Arc<Hub>,
    me: ServerId,
    /// What this server says of itself on a new connection.
    hello: Mutex<Bytes>,
    others: Mutex<BTreeMap<ServerId, Other>>,
    members: Arc<MemberAddresses>,
}

/// Another server.
struct Other {
    address: Address,
    /// Whether it is in no configuration that this server knows: it may be about to join.
    is_stranger: bool,
    door: mpsc::Sender<Incoming>,
    newest: watch::Sender<Option<Bytes>>,
    end: CancellationToken,
}

impl Drop for Other {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl ElectionPort {
    pub(super) fn new(hub: Arc<Hub>, me: ServerId, members: Arc<MemberAddresses>) -> Arc<Self> {
        Arc::new(Self {
            hub,
            me,
            hello: Mutex::default(),
            others: Mutex::default(),
            members,
        })
    }

    /// Says where this server is reached.
    pub(super) fn introduce(&self, host: &str, port: u16) {
        let address = ElectionAddress {
            host: host.to_owned(),
            port,
        };
        let hello = InitialMessage {
            server_id: self.me,
            addresses: vec![address],
        };
        *self.hello.lock() = hello.to_bytes();
    }

    /// Keeps links to these servers, and to no others but strangers that ask for one.
    pub(super) fn link_to(self: &Arc<Self>, servers: &BTreeMap<ServerId, Address>) {
        let mut others = self.others.lock();
        others.retain(|id, other| match servers.get(id) {
            Some(address) => !other.is_stranger && *address == other.address,
            None => other.is_stranger,
        });
        for (id, address) in servers {
            if !others.contains_key(id) {
                others.insert(*id, self.link(*id, address.clone(), false));
            }
        }
    }

    /// Puts down the newest notification for a server.
    pub(super) fn notify(&self, to: ServerId, notification: Bytes) {
        if let Some(other) = self.others.lock().get(&to) {
            other.newest.send_replace(Some(notification));
        }
    }

    fn link(self: &Arc<Self>, id: ServerId, address: Address, is_stranger: bool) -> Other {
        let (newest, told) = watch::channel(None);
        let (door, incoming) = mpsc::channel(4);
        let end = CancellationToken::new();
        let link = Link {
            port: self.clone(),
            hub: self.hub.clone(),
            id,
            address: address.clone(),
            dials: self.me > id,
            is_stranger,
            newest: told,
            incoming,
        };
        tokio::spawn(link.run(end.clone()));
        Other {
            address,
            is_stranger,
            door,
            newest,
            end,
        }
    }

    /// The door of a server that has said hello. A stranger gets one where the ensemble may be reconfigured: it is
    /// reached where its connection came from, whatever name it says, at the port it says.
    fn door(
        self: &Arc<Self>,
        hello: &InitialMessage,
        remote: SocketAddr,
    ) -> Option<mpsc::Sender<Incoming>> {
        let id = hello.server_id;
        let mut others = self.others.lock();
        if let Some(other) = others.get(&id) {
            return Some(other.door.clone());
        }
        let strangers = others.values().filter(|other| other.is_stranger).count();
        let may_come = self.hub.config.reconfig_enabled && strangers < STRANGERS_MAX;
        if !may_come || id.0 < 0 || id == self.me {
            return None;
        }
        let address = Address {
            host: remote.ip().to_string(),
            port: hello.addresses.first()?.port,
        };
        tracing::info!(server = id.0, %remote, "a server that is in no configuration");
        let other = self.link(id, address, true);
        let door = other.door.clone();
        others.insert(id, other);
        Some(door)
    }

    fn forget_stranger(&self, id: ServerId) {
        let mut others = self.others.lock();
        if others.get(&id).is_some_and(|other| other.is_stranger) {
            others.remove(&id);
        }
    }

    /// Accepts until the server stops, or is reached elsewhere.
    pub(super) async fn accept(self: Arc<Self>, listener: MemberPort, end: CancellationToken) {
        let _vital = Vital::new(&self.hub, "the election port");
        let newcomers = Newcomers::new(&self.members);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.hub.stop.cancelled() => return,
                () = end.cancelled() => return,
            };
            match accepted {
                Ok((stream, remote)) => {
                    let Some(newcomer) = newcomers.admit(remote.ip()) else {
                        tracing::debug!(%remote, "too many connections that say nothing");
                        continue;
                    };
                    let (port, stream) = (self.clone(), self.hub.wiring.accepted(stream, remote));
                    tokio::spawn(async move {
                        if let Err(error) = port.admit(stream, remote).await {
                            tracing::debug!(%remote, %error, "on the election port");
                        }
                        drop(newcomer);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a server");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Hands a connection to the link of the server that it says it is; strangers are sent away.
    async fn admit(
        self: &Arc<Self>,
        mut stream: MemberStream,
        remote: SocketAddr,
    ) -> io::Result<()> {
        stream.end_unless_acknowledged();
        let mut buffer = BytesMut::new();
        let hello = timeout(CONNECT, async {
            loop {
                if let Some(hello) = InitialMessage::take(&mut buffer).map_err(io::Error::other)? {
                    return Ok(hello);
                }
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
            }
        })
        .await??;
        let door = self.door(&hello, remote);
        let door = door.ok_or_else(|| io::Error::other("a stranger"))?;
        // Who calls more often than its link listens is not kept waiting with a descriptor in its hand.
        let refused = |_| io::Error::other("its link does not take calls fast enough");
        door.try_send((stream, buffer)).map_err(refused)
    }
}

struct Link {
    port: Arc<ElectionPort>,
    hub: Arc<Hub>,
    id: ServerId,
    address: Address,
    /// Whether this server has the higher id.
    dials: bool,
    is_stranger: bool,
    newest: watch::Receiver<Option<Bytes>>,
    incoming: mpsc::Receiver<Incoming>,
}

impl Link {
    async fn run(mut self, end: CancellationToken) {
        let hub = self.hub.clone();
        let _vital = Vital::new(&hub, "an election link");
        tokio::select! {
            () = hub.stop.cancelled() => {}
            () = end.cancelled() => {}
            () = self.keep() => self.port.forget_stranger(self.id),
        }
    }

    /// Keeps a link to the server as long as there is one to be had.
    async fn keep(&mut self) {
        let mut retry = RETRY;
        let mut failures = 0;
        while !self.is_stranger || failures < STRANGER_PATIENCE {
            let stream = match self.dials {
                true => self.dial().await,
                false => self.be_dialled().await,
            };
            match stream {
                Ok(incoming) => {
                    retry = RETRY;
                    failures = 0;
                    self.tell(election::Input::Reachable(self.id));
                    match self.carry(incoming).await {
                        Ok(()) => continue,
                        Err(error) => {
                            tracing::debug!(server = self.id.0, %error, "the election link");
                        }
                    }
                }
                Err(error) => tracing::trace!(server = self.id.0, %error, "no election link"),
            }
            self.tell(election::Input::Unreachable(self.id));
            failures += 1;
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    async fn connect(&self) -> io::Result<MemberStream> {
        let Address { host, port } = &self.address;
        let dial = self.hub.wiring.dial(self.id, host, *port);
        let mut stream = timeout(CONNECT, dial).await??;
        stream.end_unless_acknowledged();
        let hello = self.port.hello.lock().clone();
        stream.write_all(&hello).await?;
        Ok(stream)
    }

    /// Dials, as the one with the higher id; a call of the other one's only asks for that.
    async fn dial(&mut self) -> io::Result<Incoming> {
        while self.incoming.try_recv().is_ok() {}
        Ok((self.connect().await?, BytesMut::new()))
    }

    /// Asks the other one, which has the higher id, to dial.
    async fn be_dialled(&mut self) -> io::Result<Incoming> {
        if let Ok(incoming) = self.incoming.try_recv() {
            return Ok(incoming);
        }
        drop(self.connect().await?);
        let incoming = timeout(Duration::from_secs(1), self.incoming.recv()).await?;
        incoming.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn tell(&self, input: election::Input) {
        let input = QuorumInput::Election(input);
        self.hub.mailbox.push(Input::Quorum(input));
    }

    /// Carries notifications until the link ends. Returns without an error when the other server wants another one.
    ///
    /// A call of the other server's says that this link is dead, even if nobody here was told so: its machine may have
    /// lost its power (`QuorumCnxManager.handleConnection`). Whoever has the higher id dials then.
    async fn carry(&mut self, (stream, mut buffer): Incoming) -> io::Result<()> {
        let (mut from, mut to) = split(stream);
        let made = Instant::now();
        self.newest.mark_changed();
        loop {
            self.take(&mut buffer)?;
            tokio::select! {
                read = from.read_buf(&mut buffer) => {
                    if read? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                changed = self.newest.changed() => {
                    changed.map_err(io::Error::other)?;
                    let newest = self.newest.borrow_and_update().clone();
                    if let Some(newest) = newest {
                        let mut out = BytesMut::with_capacity(4 + newest.len());
                        out.put_i32(i32::try_from(newest.len()).map_err(io::Error::other)?);
                        out.extend_from_slice(&newest);
                        timeout(CONNECT, to.write_all(&out)).await??;
                    }
                }
                incoming = self.incoming.recv() => {
                    let Some((stream, rest)) = incoming else {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    };
                    if self.dials {
                        match made.elapsed() < SETTLED {
                            true => continue,
                            false => return Ok(()),
                        }
                    }
                    (from, to) = split(stream);
                    buffer = rest;
                    self.newest.mark_changed();
                }
            }
        }
    }

    /// Takes every whole notification off the front.
    fn take(&self, buffer: &mut BytesMut) -> io::Result<()> {
        while let Some(prefix) = buffer.first_chunk() {
            let len = usize::try_from(i32::from_be_bytes(*prefix)).map_err(io::Error::other)?;
            if len == 0 || len > ELECTION_MESSAGE_MAX {
                return Err(io::Error::other("a notification of impossible length"));
            }
            if buffer.len() < 4 + len {
                break;
            }
            buffer.advance(4);
            let message = buffer.split_to(len).freeze();
            let notification =
                Notification::decode(&mut Reader::new(message)).map_err(io::Error::other)?;
            let from = self.id;
            self.tell(election::Input::Notification { from, notification });
        }
        Ok(())
    }
}
