//! From requests to transactions: every check that can refuse a write (`PrepRequestProcessor`).
//!
//! Only the leader prepares. It looks at the tree and at what proposed transactions will have changed
//! (`outstanding`), so that any number of writes can be under way. What comes out is a transaction whose every
//! decision is made: names of sequential nodes, resulting versions, the nodes a closing session takes with it. A
//! refusal is a transaction too: it takes a zxid, is logged and acknowledged.
//!
//! Invariants: the order of the checks is Apache's, so that the same error wins; the digest that goes with a
//! transaction is the one [`DataTree::apply`] arrives at; a multi that fails leaves nothing outstanding.
//!
//! Deliberately not here: whether a session is alive and whose it is (the caller knows, see [`Standing`]), zxids,
//! the clock, and reads.

mod check;
mod create;
mod multi;
mod outstanding;
mod session;
#[cfg(test)]
mod tests;

use zk_proto::{
    Encode, ErrorCode, OpCode, SessionId, Utf8Bytes, Xid, Zxid,
    op::Request,
    persist::DIGEST_VERSION,
    txn::{ErrorTxn, Txn, TxnDigest, TxnHeader},
};

use self::outstanding::{Mark, Outstanding};
use crate::{
    auth::{AuthConfig, Credentials},
    time::Now,
    tree::DataTree,
};

/// What an operator decides about writes; all members that may lead should agree.
#[derive(Debug, Clone)]
pub struct PrepOptions {
    /// Which ACLs may be set.
    pub auth: AuthConfig,
    /// Whether hard quotas refuse writes (`enforceQuota`).
    pub enforce_quota: bool,
    /// Whether reconfig is allowed at all (`reconfigEnabled`).
    pub reconfig_enabled: bool,
    /// Whether an ensemble must have two voters (`standaloneEnabled`).
    pub standalone_enabled: bool,
    /// Whether the end of a session lists its nodes (`closeSessionTxn.enabled`).
    pub close_session_txn: bool,
    /// The longest transaction, in bytes (`jute.maxbuffer` and its `extrasize`): Apache reads no longer one back.
    pub max_txn: usize,
}

impl Default for PrepOptions {
    fn default() -> Self {
        Self {
            auth: AuthConfig::default(),
            enforce_quota: false,
            reconfig_enabled: false,
            standalone_enabled: true,
            close_session_txn: true,
            max_txn: 2 * zk_proto::frame::MAX_BUFFER,
        }
    }
}

/// What the session tracker says about a write's session (`checkSession`, `checkGlobalSession`).
///
/// It is looked at where Apache looks at it: after some checks and before others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is alive and attached where the request came from; else the error.
    pub session: Result<(), ErrorCode>,
    /// The same for the creation of an ephemeral node, which a local session may not own.
    pub ephemeral: Result<(), ErrorCode>,
}

impl Standing {
    /// A session that may do anything.
    pub const GOOD: Self = Self {
        session: Ok(()),
        ephemeral: Ok(()),
    };
}

/// A write to be prepared.
#[derive(Debug, Clone, Copy)]
pub struct WriteRequest<'a> {
    /// Who asks; 0 where the server does.
    pub session: SessionId,
    /// The client's number for it; 0 for the server's own.
    pub cxid: Xid,
    /// What the asker has authenticated as.
    pub credentials: &'a Credentials,
    /// What is known about the session.
    pub standing: Standing,
    /// What is asked for.
    pub op: WriteOp<'a>,
}

/// What a write asks for.
#[derive(Debug, Clone, Copy)]
pub enum WriteOp<'a> {
    /// A client's request. One that only the server may make, or that is no write, is refused.
    Request(&'a Request),
    /// A client's reconfiguration, and what comes of it: the text of the next configuration or the error. Whether the
    /// client may, and whether anybody may, is still to be seen.
    Reconfig(&'a Result<Utf8Bytes, ErrorCode>),
    /// A client's write that could not be decoded.
    Malformed,
    /// Begin the session.
    CreateSession {
        /// Its negotiated timeout in milliseconds.
        timeout_ms: i32,
    },
    /// End the session, whether the client asked for it or it expired.
    CloseSession,
    /// Delete a container or TTL node that is not needed any more.
    DeleteContainer(&'a str),
}

/// A transaction, ready to be proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Its header; the type is that of `txn`.
    pub header: TxnHeader,
    /// What will have happened; [`Txn::Error`] where the write is refused.
    pub txn: Txn,
    /// The tree's digest afterwards; none with a refusal, nor where digests are switched off.
    pub digest: Option<TxnDigest>,
}

/// Makes transactions of requests.
#[derive(Debug, Default)]
pub struct Prep {
    options: PrepOptions,
    outstanding: Outstanding,
}

impl Prep {
    /// Nothing is outstanding.
    #[must_use]
    pub fn new(options: PrepOptions) -> Self {
        Self {
            options,
            outstanding: Outstanding::default(),
        }
    }

    /// How it prepares.
    #[must_use]
    pub const fn options(&self) -> &PrepOptions {
        &self.options
    }

    /// Makes a transaction of a request, under this zxid and with this time.
    ///
    /// The tree is as of the last [`applied`](Self::applied). Never fails: what must not be done becomes
    /// [`Txn::Error`].
    pub fn prepare(
        &mut self,
        tree: &DataTree,
        request: &WriteRequest<'_>,
        zxid: Zxid,
        now: Now,
    ) -> Prepared {
        self.outstanding.begin(tree);
        let mark = self.outstanding.mark();
        let mut change = Change {
            tree,
            options: &self.options,
            outstanding: &mut self.outstanding,
            request,
            zxid,
            time: now.wall_ms,
        };
        let txn = change
            .txn()
            .and_then(|txn| change.bounded(txn, mark))
            .unwrap_or_else(|error| Txn::Error(ErrorTxn { err: error.code() }));
        let has_digest = tree.options().digest && !matches!(txn, Txn::Error(_));
        Prepared {
            header: TxnHeader {
                client_id: request.session,
                cxid: request.cxid,
                zxid,
                time: now.wall_ms,
                kind: txn.op_code().code(),
            },
            txn,
            digest: has_digest.then(|| TxnDigest {
                version: DIGEST_VERSION,
                tree_digest: self.outstanding.digest().to_i64(),
            }),
        }
    }

    /// Forgets the changes of transactions up to this one: the tree has them now.
    pub fn applied(&mut self, zxid: Zxid) {
        self.outstanding.applied(zxid);
    }

    /// Forgets everything: the member leads no more, and what it proposed may never be applied.
    pub fn clear(&mut self) {
        self.outstanding.clear();
    }
}

/// A write being prepared.
struct Change<'a> {
    tree: &'a DataTree,
    options: &'a PrepOptions,
    outstanding: &'a mut Outstanding,
    request: &'a WriteRequest<'a>,
    zxid: Zxid,
    time: i64,
}

impl Change<'_> {
    fn txn(&mut self) -> Result<Txn, ErrorCode> {
        match self.request.op {
            WriteOp::Request(request) => self.client_txn(request),
            WriteOp::Reconfig(next) => self.reconfig(Some(next)),
            WriteOp::Malformed => Err(ErrorCode::MarshallingError),
            WriteOp::CreateSession { timeout_ms } => Ok(Self::create_session(timeout_ms)),
            WriteOp::CloseSession => Ok(self.close_session()),
            WriteOp::DeleteContainer(path) => self.delete_container(path),
        }
    }

    /// Refuses a transaction that is longer than one may be. A session must end all the same: without a list of its
    /// nodes, which the tree knows.
    fn bounded(&mut self, txn: Txn, before: Mark) -> Result<Txn, ErrorCode> {
        if txn.encoded_len() <= self.options.max_txn {
            return Ok(txn);
        }
        if let Txn::CloseSession(_) = txn {
            return Ok(Txn::CloseSession(None));
        }
        self.outstanding.roll_back(before);
        Err(ErrorCode::MarshallingError)
    }

    fn client_txn(&mut self, request: &Request) -> Result<Txn, ErrorCode> {
        match request {
            Request::Create(request) => self.create(OpCode::Create, &request.into()),
            Request::Create2(request) => self.create(OpCode::Create2, &request.into()),
            Request::CreateContainer(request) => {
                self.create(OpCode::CreateContainer, &request.into())
            }
            Request::CreateTtl(request) => self.create(OpCode::CreateTtl, &request.into()),
            Request::Delete(request) => self.delete(request),
            Request::SetData(request) => self.set_data(request),
            Request::SetAcl(request) => self.set_acl(request),
            Request::Multi(request) => self.multi(request),
            Request::Reconfig(_) => self.reconfig(None),
            Request::CloseSession => Ok(self.close_session()),
            // No write, or (deleteContainer) none of a client's: Apache carries it out without asking any ACL.
            _ => Err(ErrorCode::Unimplemented),
        }
    }
}
