//! What two servers that agree say in the same words: answers without times, session ids, and open orders.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use zk_proto::{
    Acl, ErrorCode, OpCode, SessionId, Stat, Utf8Bytes, Xid, Zxid,
    op::{MultiResult, Response},
};
use zk_tests::frames::{Event, Reply};

/// A reply made comparable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) xid: Xid,
    pub(crate) zxid: Zxid,
    pub(crate) code: ErrorCode,
    pub(crate) body: Body,
    /// What was found wrong with this server's answer alone.
    pub(crate) complaints: Vec<String>,
}

/// A reply's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Record(Response),
    /// Where a record is not expected, or is not there.
    Bytes(Bytes),
}

/// Everything one server sent on one connection, from one step to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Event(Event),
    Answer(Answer),
    /// The connect request's answer: timeout, whose session it is, the password's length, the read-only byte.
    Session {
        timeout_ms: i32,
        session: Name,
        password: usize,
        read_only: Option<bool>,
    },
    Closed,
}

/// A session by the order in which the script opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Nobody,
    Nth(usize),
    Unknown(SessionId),
}

/// What one server has said so far that later answers must agree with.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    sessions: Vec<SessionId>,
    times: BTreeMap<Zxid, i64>,
    complaints: Vec<String>,
}

impl Memory {
    pub(crate) fn opened(&mut self, id: SessionId) {
        if id != SessionId::NONE && !self.sessions.contains(&id) {
            self.sessions.push(id);
        }
    }

    pub(crate) fn name(&self, id: SessionId) -> Name {
        match self.sessions.iter().position(|known| *known == id) {
            _ if id == SessionId::NONE => Name::Nobody,
            Some(nth) => Name::Nth(nth),
            None => Name::Unknown(id),
        }
    }

    /// The reply to a request of this operation, made comparable.
    pub(crate) fn answer(&mut self, op: i32, reply: Reply) -> Answer {
        let Reply {
            xid,
            zxid,
            code,
            body,
        } = reply.clone();
        let record = match (code, OpCode::from_i32(op)) {
            (ErrorCode::Ok, Some(op)) => reply.response(op).ok(),
            _ => None,
        };
        let body = match record {
            Some(mut response) => {
                self.response(&mut response);
                Body::Record(response)
            }
            // Apache puts an end marker behind this one refusal.
            None if op == OpCode::MultiRead.code() && code == ErrorCode::MarshallingError => {
                Body::Bytes(Bytes::new())
            }
            None => Body::Bytes(body),
        };
        let complaints = std::mem::take(&mut self.complaints);
        Answer {
            xid,
            zxid,
            code,
            body,
            complaints,
        }
    }

    fn response(&mut self, response: &mut Response) {
        match response {
            Response::Create2(r) => self.stat(&mut r.stat),
            Response::Stat(r) => self.stat(&mut r.stat),
            Response::GetData(r) => self.stat(&mut r.stat),
            Response::GetAcl(r) => {
                self.stat(&mut r.stat);
                sort_expansions(&mut r.acl);
            }
            Response::GetChildren(r) => sort_texts(&mut r.children),
            Response::GetChildren2(r) => {
                self.stat(&mut r.stat);
                sort_texts(&mut r.children);
            }
            Response::GetEphemerals(r) => sort_texts(&mut r.ephemerals),
            Response::Multi(r) => r.results.iter_mut().for_each(|result| self.result(result)),
            Response::WhoAmI(r) => r
                .client_info
                .sort_by(|a, b| (&*a.scheme, &*a.user).cmp(&(&*b.scheme, &*b.user))),
            _ => {}
        }
    }

    fn result(&mut self, result: &mut MultiResult) {
        match result {
            MultiResult::Create2(r) => self.stat(&mut r.stat),
            MultiResult::SetData(r) => self.stat(&mut r.stat),
            MultiResult::GetData(r) => self.stat(&mut r.stat),
            MultiResult::GetChildren(r) => sort_texts(&mut r.children),
            _ => {}
        }
    }

    /// Times become 0 once they are found to be those of their transactions, session ids ordinal numbers.
    fn stat(&mut self, stat: &mut Stat) {
        self.time(stat.czxid, &mut stat.ctime);
        self.time(stat.mzxid, &mut stat.mtime);
        stat.ephemeral_owner = match self.name(stat.ephemeral_owner) {
            Name::Nobody => SessionId::NONE,
            Name::Nth(nth) => SessionId(i64::try_from(nth).unwrap() + 1),
            Name::Unknown(id) => id,
        };
    }

    fn time(&mut self, zxid: Zxid, time: &mut i64) {
        let known = *self.times.entry(zxid).or_insert(*time);
        if known != *time {
            self.complaints
                .push(format!("time of {zxid} was {known} and is {time}"));
        }
        *time = 0;
    }
}

/// The events of a session's end come in no order between its nodes: sorts each run with such a zxid.
pub(crate) fn sort_closing_events(heard: &mut [Heard], closings: &BTreeSet<Zxid>) {
    let closing = |heard: &Heard| match heard {
        Heard::Event(event) => closings.contains(&event.zxid).then_some(event.zxid),
        _ => None,
    };
    for run in heard.chunk_by_mut(|a, b| closing(a).is_some() && closing(a) == closing(b)) {
        run.sort_by_cached_key(|heard| format!("{heard:?}"));
    }
}

fn sort_texts(texts: &mut [Utf8Bytes]) {
    texts.sort_unstable();
}

/// The scheme `auth` becomes the caller's identities in no order: sorts each run of digests with equal rights.
fn sort_expansions(acl: &mut [Acl]) {
    let alike =
        |a: &Acl, b: &Acl| a.perms == b.perms && a.id.scheme == "digest" && b.id.scheme == "digest";
    for run in acl.chunk_by_mut(alike) {
        run.sort_by_cached_key(|entry| entry.id.id.clone());
    }
}
