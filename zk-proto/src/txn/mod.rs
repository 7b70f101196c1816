//! What the ensemble agreed on: the records of the transaction log and of proposals.
//!
//! A request is what a client wants; a [`Txn`] is what happened, with every decision already made: resulting
//! versions, final names, the nodes a closing session takes with it. A refused write is a transaction too
//! ([`Txn::Error`]): it takes a zxid, is logged and acknowledged.

mod log_entry;

use bytes::{Bytes, BytesMut};

pub use log_entry::TxnLogEntry;

use crate::{
    acl::Acl,
    error::DecodeError,
    ids::{SessionId, Xid},
    jute::{Decode, Encode, Reader, Utf8Bytes, fixed_record},
    op_code::OpCode,
    record,
    zxid::Zxid,
};

fixed_record! {
    /// Before every transaction (`TxnHeader` in `zookeeper.jute`).
    pub struct TxnHeader {
        /// The session that asked for it.
        pub client_id: SessionId,
        /// The session's number for the request; 0 for the server's own transactions.
        pub cxid: Xid,
        /// The transaction's id.
        pub zxid: Zxid,
        /// The leader's clock, milliseconds since the Unix epoch.
        pub time: i64,
        /// The transaction's type: an [`OpCode`], raw.
        pub kind: i32,
    }
}

fixed_record! {
    /// After every transaction that is no error: the digest of the whole tree once it is applied.
    pub struct TxnDigest {
        /// 2 (`DigestCalculator.DIGEST_VERSION`).
        pub version: i32,
        /// The tree's digest.
        pub tree_digest: i64,
    }
}

record! {
    /// Types 1 and 15: a node was created.
    pub struct CreateTxn {
        /// Its full path.
        pub path: Utf8Bytes,
        /// Its data.
        pub data: Option<Bytes>,
        /// Its ACL.
        pub acl: Vec<Acl>,
        /// Whether the session owns it.
        pub ephemeral: bool,
        /// The parent's persisted cversion afterwards.
        pub parent_cversion: i32,
    }
}

record! {
    /// Type 19: a container node was created.
    pub struct CreateContainerTxn {
        /// Its full path.
        pub path: Utf8Bytes,
        /// Its data.
        pub data: Option<Bytes>,
        /// Its ACL.
        pub acl: Vec<Acl>,
        /// The parent's persisted cversion afterwards.
        pub parent_cversion: i32,
    }
}

record! {
    /// Type 21: a node with a time to live was created.
    pub struct CreateTtlTxn {
        /// Its full path.
        pub path: Utf8Bytes,
        /// Its data.
        pub data: Option<Bytes>,
        /// Its ACL.
        pub acl: Vec<Acl>,
        /// The parent's persisted cversion afterwards.
        pub parent_cversion: i32,
        /// The time to live in milliseconds.
        pub ttl_ms: i64,
    }
}

record! {
    /// Types 2 and 20: a node was deleted.
    pub struct DeleteTxn {
        /// Its path.
        pub path: Utf8Bytes,
    }
}

record! {
    /// Types 5 and 16: a node's data was set.
    pub struct SetDataTxn {
        /// Its path.
        pub path: Utf8Bytes,
        /// The new data.
        pub data: Option<Bytes>,
        /// The version afterwards.
        pub version: i32,
    }
}

record! {
    /// Type 7: a node's ACL was set.
    pub struct SetAclTxn {
        /// Its path.
        pub path: Utf8Bytes,
        /// The new ACL.
        pub acl: Vec<Acl>,
        /// The ACL version afterwards.
        pub version: i32,
    }
}

record! {
    /// Type 13, inside a multi: a version was checked; changes nothing.
    pub struct CheckVersionTxn {
        /// The node.
        pub path: Utf8Bytes,
        /// The version asked for.
        pub version: i32,
    }
}

record! {
    /// Type -10: a session began.
    #[derive(Copy)]
    pub struct CreateSessionTxn {
        /// Its timeout in milliseconds.
        pub timeout_ms: i32,
    }
}

record! {
    /// Type -11: a session ended and took these nodes with it (since 3.6; before, the body was empty).
    pub struct CloseSessionTxn {
        /// Its ephemeral nodes.
        pub paths_to_delete: Vec<Utf8Bytes>,
    }
}

record! {
    /// Type -1: a write was refused.
    #[derive(Copy)]
    pub struct ErrorTxn {
        /// An [`crate::ErrorCode`], raw.
        pub err: i32,
    }
}

record! {
    /// A part of a multi (`Txn` in `zookeeper.jute`): its type and its record, still encoded.
    pub struct RawTxn {
        /// The part's type: an [`OpCode`], raw.
        pub kind: i32,
        /// Its record.
        pub data: Option<Bytes>,
    }
}

record! {
    /// Type 14: several changes under one zxid.
    ///
    /// If any part is an error the whole is, and nothing was changed; the parts before the failing one are
    /// logged all the same.
    pub struct MultiTxn {
        /// The parts, in order.
        pub txns: Vec<RawTxn>,
    }
}

/// A transaction's body, by type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Txn {
    /// A node was created; type 1.
    Create(CreateTxn),
    /// A node was created and the client wants its Stat; type 15.
    Create2(CreateTxn),
    /// A container node was created.
    CreateContainer(CreateContainerTxn),
    /// A node with a time to live was created.
    CreateTtl(CreateTtlTxn),
    /// A node was deleted.
    Delete(DeleteTxn),
    /// An empty container or expired TTL node was deleted by the server.
    DeleteContainer(DeleteTxn),
    /// A node's data was set.
    SetData(SetDataTxn),
    /// The ensemble's configuration was changed.
    Reconfig(SetDataTxn),
    /// A node's ACL was set.
    SetAcl(SetAclTxn),
    /// A version was checked, inside a multi.
    Check(CheckVersionTxn),
    /// Several changes, or, if any part is an error, none.
    Multi(Vec<Self>),
    /// A session began.
    CreateSession(CreateSessionTxn),
    /// A session ended; `None` where the body is empty, as before 3.6: the applier's own list counts then.
    CloseSession(Option<CloseSessionTxn>),
    /// A write was refused.
    Error(ErrorTxn),
}

impl Txn {
    /// The type that stands in the header.
    #[must_use]
    pub const fn op_code(&self) -> OpCode {
        match self {
            Self::Create(_) => OpCode::Create,
            Self::Create2(_) => OpCode::Create2,
            Self::CreateContainer(_) => OpCode::CreateContainer,
            Self::CreateTtl(_) => OpCode::CreateTtl,
            Self::Delete(_) => OpCode::Delete,
            Self::DeleteContainer(_) => OpCode::DeleteContainer,
            Self::SetData(_) => OpCode::SetData,
            Self::Reconfig(_) => OpCode::Reconfig,
            Self::SetAcl(_) => OpCode::SetAcl,
            Self::Check(_) => OpCode::Check,
            Self::Multi(_) => OpCode::Multi,
            Self::CreateSession(_) => OpCode::CreateSession,
            Self::CloseSession(_) => OpCode::CloseSession,
            Self::Error(_) => OpCode::Error,
        }
    }

    /// Reads the body of a transaction of this type.
    ///
    /// # Errors
    /// [`DecodeError::UnknownValue`] for a type that is no transaction's, a multi inside a multi included,
    /// and what the record finds wrong.
    pub fn decode(kind: i32, input: &mut Reader) -> Result<Self, DecodeError> {
        match OpCode::from_i32(kind) {
            Some(OpCode::Multi) => {
                let parts = MultiTxn::decode(input)?.txns;
                parts
                    .into_iter()
                    .map(Self::decode_part)
                    .collect::<Result<_, _>>()
                    .map(Self::Multi)
            }
            Some(OpCode::CloseSession) if input.remaining() == 0 => Ok(Self::CloseSession(None)),
            _ => Self::decode_single(kind, input),
        }
    }

    fn decode_part(raw: RawTxn) -> Result<Self, DecodeError> {
        let mut input = Reader::new(raw.data.unwrap_or_default());
        let part = Self::decode_single(raw.kind, &mut input)?;
        // Apache's server calls the parts of a failed multi errors when it applies it, and leaves their records as they
        // are: so one that logs or sends it afterwards does (`DataTree.processTxn`).
        if !matches!(part, Self::Error(_)) {
            input.finish()?;
        }
        Ok(part)
    }

    fn decode_single(kind: i32, input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match OpCode::from_i32(kind) {
            Some(OpCode::Create) => Self::Create(Decode::decode(input)?),
            Some(OpCode::Create2) => Self::Create2(Decode::decode(input)?),
            Some(OpCode::CreateContainer) => Self::CreateContainer(Decode::decode(input)?),
            Some(OpCode::CreateTtl) => Self::CreateTtl(Decode::decode(input)?),
            Some(OpCode::Delete) => Self::Delete(Decode::decode(input)?),
            Some(OpCode::DeleteContainer) => Self::DeleteContainer(Decode::decode(input)?),
            Some(OpCode::SetData) => Self::SetData(Decode::decode(input)?),
            Some(OpCode::Reconfig) => Self::Reconfig(Decode::decode(input)?),
            Some(OpCode::SetAcl) => Self::SetAcl(Decode::decode(input)?),
            Some(OpCode::Check) => Self::Check(Decode::decode(input)?),
            Some(OpCode::CreateSession) => Self::CreateSession(Decode::decode(input)?),
            Some(OpCode::CloseSession) => Self::CloseSession(Some(Decode::decode(input)?)),
            Some(OpCode::Error) => Self::Error(Decode::decode(input)?),
            _ => {
                return Err(DecodeError::UnknownValue {
                    what: "transaction type",
                    value: kind.into(),
                });
            }
        })
    }
}

impl Encode for Txn {
    /// Writes the body alone; the header is the caller's.
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Create(r) | Self::Create2(r) => r.encode(out),
            Self::CreateContainer(r) => r.encode(out),
            Self::CreateTtl(r) => r.encode(out),
            Self::Delete(r) | Self::DeleteContainer(r) => r.encode(out),
            Self::SetData(r) | Self::Reconfig(r) => r.encode(out),
            Self::SetAcl(r) => r.encode(out),
            Self::Check(r) => r.encode(out),
            Self::Multi(parts) => {
                let raw = |part: &Self| RawTxn {
                    kind: part.op_code().code(),
                    data: Some(part.to_bytes()),
                };
                parts.iter().map(raw).collect::<Vec<_>>().encode(out);
            }
            Self::CreateSession(r) => r.encode(out),
            Self::CloseSession(Some(r)) => r.encode(out),
            Self::CloseSession(None) => {}
            Self::Error(r) => r.encode(out),
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::Create(r) | Self::Create2(r) => r.encoded_len(),
            Self::CreateContainer(r) => r.encoded_len(),
            Self::CreateTtl(r) => r.encoded_len(),
            Self::Delete(r) | Self::DeleteContainer(r) => r.encoded_len(),
            Self::SetData(r) | Self::Reconfig(r) => r.encoded_len(),
            Self::SetAcl(r) => r.encoded_len(),
            Self::Check(r) => r.encoded_len(),
            Self::Multi(parts) => {
                4 + parts
                    .iter()
                    .map(|part| 8 + part.encoded_len())
                    .sum::<usize>()
            }
            Self::CreateSession(r) => r.encoded_len(),
            Self::CloseSession(Some(r)) => r.encoded_len(),
            Self::CloseSession(None) => 0,
            Self::Error(r) => r.encoded_len(),
        }
    }
}
