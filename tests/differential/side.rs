//! One of the two servers, and the script's connections to it.

use std::net::SocketAddr;

use zk_proto::{Password, SessionId, Xid, connect::ConnectRequest};
use zk_tests::frames::{FrameClient, Incoming, new_session};

use crate::{
    neutral::{Heard, Memory},
    script::{Ask, Connect, SLOTS},
};

/// A server and what the script has open there.
#[derive(Debug)]
pub(crate) struct Side {
    addr: SocketAddr,
    memory: Memory,
    slots: Vec<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    client: Option<FrameClient>,
    /// The request that resumes the session, while it has one to resume.
    resumption: Option<ConnectRequest>,
}

impl Side {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            memory: Memory::default(),
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
        }
    }

    /// Connects a slot; what it had open before stays open until the server closes it, and is heard first.
    pub(crate) async fn connect(&mut self, slot: usize, how: &Connect) -> Vec<Heard> {
        let request = self.connect_request(slot, how);
        let Ok(mut client) = FrameClient::open(self.addr, &request).await else {
            return vec![Heard::Closed];
        };
        let answer = client.session().clone();
        self.memory.opened(answer.session_id);
        let mut heard = vec![Heard::Session {
            timeout_ms: answer.timeout_ms,
            session: self.memory.name(answer.session_id),
            password: answer.password.as_bytes().len(),
            read_only: answer.read_only,
        }];
        let old = self.slots[slot].client.take();
        if let Some(mut old) = old {
            heard.extend(self.rest(&mut old).await);
        }
        if client.refused() {
            heard.extend(self.rest(&mut client).await);
        } else {
            self.slots[slot].resumption = Some(client.resumption(zk_proto::Zxid::ZERO));
            self.slots[slot].client = Some(client);
        }
        heard
    }

    fn connect_request(&self, slot: usize, how: &Connect) -> ConnectRequest {
        let resumption = || {
            self.slots[slot]
                .resumption
                .clone()
                .expect("a session to resume")
        };
        match how {
            Connect::New {
                timeout_ms,
                read_only,
            } => ConnectRequest {
                read_only: *read_only,
                ..new_session(*timeout_ms)
            },
            Connect::Ahead => ConnectRequest {
                last_zxid_seen: zk_proto::Zxid(i64::MAX),
                ..new_session(10_000)
            },
            Connect::Nobody => ConnectRequest {
                session_id: SessionId(0x1234),
                ..new_session(10_000)
            },
            Connect::Resume { timeout_ms, seen } => ConnectRequest {
                timeout_ms: *timeout_ms,
                last_zxid_seen: *seen,
                ..resumption()
            },
            Connect::WrongPassword => ConnectRequest {
                password: Password::zero(),
                ..resumption()
            },
        }
    }

    /// Sends the requests in one go and listens until each is answered or the connection ends.
    pub(crate) async fn ask(&mut self, slot: usize, asks: &[(Xid, Ask)]) -> Vec<Heard> {
        let mut client = self.slots[slot].client.take().expect("a connected slot");
        for (xid, ask) in asks {
            // A failure to send shows as the end of the connection.
            let _ = client.send_as(*xid, ask.op(), ask.body()).await;
        }
        let mut heard = Vec::new();
        let mut answered = Vec::new();
        while answered.len() < asks.len() {
            match client.next().await.unwrap() {
                Incoming::Closed => {
                    heard.push(Heard::Closed);
                    return heard;
                }
                Incoming::Event(event) => heard.push(Heard::Event(event)),
                Incoming::Reply(reply) => {
                    let asked = asks.iter().enumerate().find(|(n, (xid, ask))| {
                        !answered.contains(n) && ask.reply_xid(*xid) == reply.xid
                    });
                    let op = asked.map_or(0, |(_, (_, ask))| ask.op());
                    answered.push(asked.map_or(usize::MAX, |(n, _)| n));
                    heard.push(Heard::Answer(self.memory.answer(op, reply)));
                }
            }
        }
        if asks.iter().any(|(_, ask)| ask.ends_the_session()) {
            self.slots[slot].resumption = None;
        }
        if ends(&heard, asks) {
            heard.extend(self.rest(&mut client).await);
        } else {
            self.slots[slot].client = Some(client);
        }
        heard
    }

    /// Cuts the connection; the session lives on.
    pub(crate) fn cut(&mut self, slot: usize) {
        if let Some(client) = self.slots[slot].client.take() {
            client.cut();
        }
    }

    async fn rest(&mut self, client: &mut FrameClient) -> Vec<Heard> {
        let rest = client.rest().await.unwrap();
        let mut heard: Vec<_> = rest
            .into_iter()
            .map(|incoming| match incoming {
                Incoming::Event(event) => Heard::Event(event),
                Incoming::Reply(reply) => Heard::Answer(self.memory.answer(0, reply)),
                Incoming::Closed => Heard::Closed,
            })
            .collect();
        heard.push(Heard::Closed);
        heard
    }
}

/// Whether the server closes the connection after these answers.
fn ends(heard: &[Heard], asks: &[(Xid, Ask)]) -> bool {
    asks.iter().any(|(_, ask)| ask.ends_the_connection())
        || heard.iter().any(
            |heard| matches!(heard, Heard::Answer(a) if a.code == zk_proto::ErrorCode::AuthFailed),
        )
}
