//! A request, well-formed or not.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use zk_proto::{
    Encode, OpCode, Reader, Xid,
    op::{MultiOp, Request},
};

/// An operation's number and a body, which need not fit each other.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    op: i32,
    body: Plain,
}

#[derive(Debug, Clone)]
struct Plain(Bytes);

impl Encode for Plain {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }
}

impl From<Request> for Ask {
    fn from(request: Request) -> Self {
        Self::of(request.op_code(), &request)
    }
}

impl Ask {
    pub(crate) fn of(op: OpCode, record: &dyn Encode) -> Self {
        Self::raw(op.code(), &record.to_bytes())
    }

    pub(crate) fn raw(op: i32, body: &[u8]) -> Self {
        Self {
            op,
            body: Plain(Bytes::copy_from_slice(body)),
        }
    }

    pub(crate) fn op(&self) -> i32 {
        self.op
    }

    pub(crate) fn body(&self) -> &dyn Encode {
        &self.body
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.body.0.clone()
    }

    /// The request it is, where it is one.
    pub(crate) fn request(&self) -> Option<Request> {
        let op = OpCode::from_i32(self.op)?;
        Request::decode(op, &mut Reader::new(self.bytes())).ok()
    }

    pub(crate) fn reserved_xid(&self) -> Option<Xid> {
        match OpCode::from_i32(self.op)? {
            OpCode::Ping => Some(Xid::PING),
            OpCode::Auth => Some(Xid::AUTH),
            OpCode::SetWatches | OpCode::SetWatches2 => Some(Xid::SET_WATCHES),
            _ => None,
        }
    }

    /// The xid of its answer.
    pub(crate) fn reply_xid(&self, sent: Xid) -> Xid {
        if self.op == OpCode::Ping.code() {
            Xid::PING
        } else {
            sent
        }
    }

    pub(crate) fn ends_the_session(&self) -> bool {
        self.op == OpCode::CloseSession.code()
    }

    /// Whether the server closes the connection after the answer.
    pub(crate) fn ends_the_connection(&self) -> bool {
        match OpCode::from_i32(self.op) {
            Some(OpCode::Check | OpCode::Notification | OpCode::Error | OpCode::CloseSession) => {
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        match self.request() {
            Some(Request::Multi(multi) | Request::MultiRead(multi)) => multi
                .ops
                .iter()
                .map(|part| part_path(part).to_owned())
                .collect(),
            Some(request) => request.path().map(str::to_owned).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

/// The node that a part of a multi is about.
pub(crate) fn part_path(part: &MultiOp) -> &str {
    match part {
        MultiOp::Create(r) | MultiOp::Create2(r) | MultiOp::CreateContainer(r) => &r.path,
        MultiOp::CreateTtl(r) => &r.path,
        MultiOp::Delete(r) => &r.path,
        MultiOp::DeleteContainer(r) => &r.path,
        MultiOp::SetData(r) => &r.path,
        MultiOp::Check(r) => &r.path,
        MultiOp::GetData(r) => &r.path,
        MultiOp::GetChildren(r) => &r.path,
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.request() {
            Some(request) => write!(f, "{request:?}"),
            None => write!(f, "op {} with {:?}", self.op, self.body.0),
        }
    }
}
