//! Creating a node: its kind, its ACL, and what makes a lost connection survivable.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use zk_proto::{Acl, CreateMode, Encode, OpCode, Stat, create_mode::EphemeralOwner, op::Response};

use crate::{
    core::{
        Reply,
        chroot::{Chroot, validate, validate_sequential},
    },
    error::Failure,
    operation::{Call, Finish, Operation, Surroundings, sealed::Sealed, wrong_form},
    payload::Payload,
    write::put_data,
};

/// A node that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// Its full path, with the counter of a sequential one.
    pub path: String,
    /// Its metadata; `czxid` is the transaction that created it.
    pub stat: Stat,
}

/// Create a node: [`Client::create`](crate::Client::create).
#[derive(Debug, Clone)]
pub struct Create<'p> {
    pub(crate) path: &'p str,
    pub(crate) data: Payload<'p>,
    pub(crate) spec: CreateSpec,
}

/// What kind of node to create, and for whom.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CreateSpec {
    /// The path is the server's: no chroot goes before it.
    pub(crate) absolute: bool,
    pub(crate) ephemeral: bool,
    pub(crate) sequential: bool,
    pub(crate) container: bool,
    pub(crate) ttl: Option<Duration>,
    pub(crate) acl: Option<Vec<Acl>>,
}

impl CreateSpec {
    /// The kind of node, or why there is none like it.
    pub(crate) fn mode(&self) -> Result<CreateMode, Failure> {
        let Self {
            ephemeral,
            sequential,
            container,
            ttl,
            ..
        } = self;
        match (ephemeral, sequential, container, ttl.is_some()) {
            (false, false, false, false) => Ok(CreateMode::Persistent),
            (true, false, false, false) => Ok(CreateMode::Ephemeral),
            (false, true, false, false) => Ok(CreateMode::PersistentSequential),
            (true, true, false, false) => Ok(CreateMode::EphemeralSequential),
            (false, false, true, false) => Ok(CreateMode::Container),
            (false, false, false, true) => Ok(CreateMode::PersistentWithTtl),
            (false, true, false, true) => Ok(CreateMode::PersistentSequentialWithTtl),
            (_, _, true, _) => Err(Failure::bad_arguments(
                "a container node is nothing else besides",
            )),
            (true, _, _, true) => Err(Failure::bad_arguments(
                "an ephemeral node has no time to live",
            )),
        }
    }

    /// The operation that creates such a node and answers with its Stat.
    pub(crate) const fn op(&self) -> OpCode {
        match (self.container, self.ttl) {
            (true, _) => OpCode::CreateContainer,
            (_, Some(_)) => OpCode::CreateTtl,
            _ => OpCode::Create2,
        }
    }

    pub(crate) fn ttl_ms(&self) -> Result<Option<i64>, Failure> {
        let Some(ttl) = self.ttl else {
            return Ok(None);
        };
        match i64::try_from(ttl.as_millis()) {
            Ok(ms @ 1..=EphemeralOwner::TTL_MS_MAX) => Ok(Some(ms)),
            _ => Err(Failure::bad_arguments(format!(
                "a node cannot have a time to live of {ttl:?}"
            ))),
        }
    }

    pub(crate) fn validate(&self, path: &str) -> Result<(), Failure> {
        match self.sequential {
            true => validate_sequential(path),
            false => validate(path),
        }
    }
}

impl Operation<'_, Create<'_>> {
    /// The node goes with the session.
    pub fn ephemeral(mut self) -> Self {
        self.call.spec.ephemeral = true;
        self
    }

    /// The server appends a ten-digit counter of the parent to the name.
    pub fn sequential(mut self) -> Self {
        self.call.spec.sequential = true;
        self
    }

    /// The server deletes the node some time after its last child is gone. Servers from 3.5 on.
    pub fn container(mut self) -> Self {
        self.call.spec.container = true;
        self
    }

    /// The server deletes the node when it has had neither children nor changes for this long.
    ///
    /// Needs `zookeeper.extendedTypesEnabled` on Apache's servers; UNIMPLEMENTED without.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.call.spec.ttl = Some(ttl);
        self
    }

    /// Who may do what with the node; the client's default ACL unless given.
    pub fn acl(mut self, acl: impl Into<Vec<Acl>>) -> Self {
        self.call.spec.acl = Some(acl.into());
        self
    }
}

impl Sealed for Create<'_> {}

impl Call for Create<'_> {
    type Output = Created;

    fn op(&self) -> OpCode {
        self.spec.op()
    }

    fn path(&self) -> &str {
        self.path
    }

    fn encode(&self, surroundings: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        self.spec.validate(self.path)?;
        let mode = self.spec.mode()?;
        match (self.spec.absolute, self.path) {
            (true, path) => Chroot::default().put(path, out),
            (false, "/") if self.spec.sequential => {
                let path = surroundings.chroot.join_sequential("/");
                Chroot::default().put(&path, out);
            }
            (false, path) => surroundings.chroot.put(path, out),
        }
        put_data(&self.data, out);
        put_acl(
            self.spec.acl.as_deref().unwrap_or(surroundings.default_acl),
            out,
        );
        out.put_i32(mode.flags());
        if let Some(ttl_ms) = self.spec.ttl_ms()? {
            out.put_i64(ttl_ms);
        }
        Ok(())
    }

    fn finish(reply: Reply, context: Finish<'_>) -> Result<Created, Failure> {
        match reply.body()? {
            Response::Create2(answer) => Ok(Created {
                path: context.user_path(&answer.path),
                stat: answer.stat,
            }),
            other => wrong_form(other),
        }
    }
}

fn put_acl(acl: &[Acl], out: &mut BytesMut) {
    out.put_i32(i32::try_from(acl.len()).unwrap_or(i32::MAX));
    for entry in acl {
        entry.encode(out);
    }
}
