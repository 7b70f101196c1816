//! The election port (`QuorumCnxManager`): one link to every other server, owned by the one with the higher id.
//!
//! A link carries the newest notification of each side. Whoever has the lower id and wants to be heard dials,
//! says who it is and hangs up; the other one dials back.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, split},
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use zk_proto::{
    Decode, Encode, Reader, ServerId,
    quorum::{ELECTION_MESSAGE_MAX, ElectionAddress, InitialMessage, Notification},
};

use super::{Address, Hub, MemberStream};
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

/// A connection, and what was read beyond its hello.
type Incoming = (MemberStream, BytesMut);

/// Begins to serve the port; returns where to put the newest notification for each server.
pub(super) fn open(
    hub: &Arc<Hub>,
    me: ServerId,
    listener: TcpListener,
    others: BTreeMap<ServerId, Address>,
) -> BTreeMap<ServerId, watch::Sender<Option<Bytes>>> {
    let hello = hello(hub, me);
    let (mut newest, mut doors) = (BTreeMap::new(), BTreeMap::new());
    for (id, address) in others {
        let (tell, told) = watch::channel(None);
        let (door, incoming) = mpsc::channel(4);
        newest.insert(id, tell);
        doors.insert(id, door);
        let link = Link {
            hub: hub.clone(),
            id,
            address,
            dials: me > id,
            hello: hello.clone(),
            newest: told,
            incoming,
        };
        tokio::spawn(link.run());
    }
    tokio::spawn(accept(hub.clone(), listener, Arc::new(doors)));
    newest
}

fn hello(hub: &Hub, me: ServerId) -> Bytes {
    let own = hub.config.servers.get(&me).and_then(super::first);
    let addresses = own.map(|(address, port)| ElectionAddress {
        host: address.host.clone(),
        port,
    });
    InitialMessage {
        server_id: me,
        addresses: addresses.into_iter().collect(),
    }
    .to_bytes()
}

type Doors = BTreeMap<ServerId, mpsc::Sender<Incoming>>;

async fn accept(hub: Arc<Hub>, listener: TcpListener, doors: Arc<Doors>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = hub.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, remote)) => {
                let (doors, stream) = (doors.clone(), hub.wiring.accepted(stream, remote));
                tokio::spawn(async move {
                    if let Err(error) = admit(stream, &doors).await {
                        tracing::debug!(%remote, %error, "on the election port");
                    }
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
async fn admit(mut stream: MemberStream, doors: &Doors) -> io::Result<()> {
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
    let door = doors.get(&hello.server_id);
    let door = door.ok_or_else(|| io::Error::other("a stranger"))?;
    door.send((stream, buffer)).await.map_err(io::Error::other)
}

struct Link {
    hub: Arc<Hub>,
    id: ServerId,
    address: Address,
    /// Whether this server has the higher id.
    dials: bool,
    hello: Bytes,
    newest: watch::Receiver<Option<Bytes>>,
    incoming: mpsc::Receiver<Incoming>,
}

impl Link {
    async fn run(mut self) {
        let hub = self.hub.clone();
        tokio::select! {
            () = hub.stop.cancelled() => {}
            () = self.keep() => {}
        }
    }

    /// Keeps a link to the server as long as there is one to be had.
    async fn keep(&mut self) {
        let mut retry = RETRY;
        loop {
            let stream = match self.dials {
                true => self.dial().await,
                false => self.be_dialled().await,
            };
            match stream {
                Ok(incoming) => {
                    retry = RETRY;
                    self.tell(election::Input::Reachable(self.id));
                    if let Err(error) = self.carry(incoming).await {
                        tracing::debug!(server = self.id.0, %error, "the election link");
                    }
                }
                Err(error) => tracing::trace!(server = self.id.0, %error, "no election link"),
            }
            self.tell(election::Input::Unreachable(self.id));
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    async fn connect(&self) -> io::Result<MemberStream> {
        let Address { host, port } = &self.address;
        let dial = self.hub.wiring.dial(self.id, host, *port);
        let mut stream = timeout(CONNECT, dial).await??;
        stream.write_all(&self.hello).await?;
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

    /// Carries notifications until the link ends, or the other server has made a new one.
    async fn carry(&mut self, (stream, mut buffer): Incoming) -> io::Result<()> {
        let (mut from, mut to) = split(stream);
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
                        to.write_all(&out).await?;
                    }
                }
                incoming = self.incoming.recv(), if !self.dials => {
                    let Some((stream, rest)) = incoming else {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    };
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
