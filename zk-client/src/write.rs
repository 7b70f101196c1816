//! Operations that change a node: set, delete, setACL.

use bytes::{BufMut, BytesMut};
use zk_proto::{Acl, Encode, OpCode, Stat};

use crate::{
    core::{Reply, chroot::validate},
    error::Failure,
    operation::{Call, Finish, Operation, Surroundings, sealed::Sealed},
    payload::Payload,
};

/// "Any version": what a conditional operation checks against unless told.
pub(crate) const ANY_VERSION: i32 = -1;

/// Set a node's data: [`Client::set`](crate::Client::set).
#[derive(Debug, Clone)]
pub struct Set<'p> {
    pub(crate) path: &'p str,
    pub(crate) data: Payload<'p>,
    pub(crate) version: i32,
}

/// Delete a node: [`Client::delete`](crate::Client::delete).
#[derive(Debug, Clone)]
pub struct Delete<'p> {
    pub(crate) path: &'p str,
    pub(crate) version: i32,
}

/// Set a node's ACL: [`Client::set_acl`](crate::Client::set_acl).
#[derive(Debug, Clone)]
pub struct SetAcl<'p> {
    pub(crate) path: &'p str,
    pub(crate) acl: Vec<Acl>,
    pub(crate) version: i32,
}

impl Operation<'_, Set<'_>> {
    /// Only if the node's data has this version (`stat.version`); else BADVERSION.
    pub fn version(mut self, version: i32) -> Self {
        self.call.version = version;
        self
    }
}

impl Operation<'_, Delete<'_>> {
    /// Only if the node's data has this version (`stat.version`); else BADVERSION.
    pub fn version(mut self, version: i32) -> Self {
        self.call.version = version;
        self
    }
}

impl Operation<'_, SetAcl<'_>> {
    /// Only if the node's ACL has this version (`stat.aversion`); else BADVERSION.
    pub fn version(mut self, version: i32) -> Self {
        self.call.version = version;
        self
    }
}

impl Sealed for Set<'_> {}

impl Call for Set<'_> {
    type Output = Stat;

    fn op(&self) -> OpCode {
        OpCode::SetData
    }

    fn path(&self) -> &str {
        self.path
    }

    fn encode(&self, surroundings: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        validate(self.path)?;
        surroundings.chroot.put(self.path, out);
        put_data(&self.data, out);
        out.put_i32(self.version);
        Ok(())
    }

    fn finish(reply: Reply, _: Finish<'_>) -> Result<Stat, Failure> {
        reply.stat()
    }
}

impl Sealed for Delete<'_> {}

impl Call for Delete<'_> {
    type Output = ();

    fn op(&self) -> OpCode {
        OpCode::Delete
    }

    fn path(&self) -> &str {
        self.path
    }

    fn encode(&self, surroundings: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        validate(self.path)?;
        surroundings.chroot.put(self.path, out);
        out.put_i32(self.version);
        Ok(())
    }

    fn finish(reply: Reply, _: Finish<'_>) -> Result<(), Failure> {
        reply.accepted()
    }
}

impl Sealed for SetAcl<'_> {}

impl Call for SetAcl<'_> {
    type Output = Stat;

    fn op(&self) -> OpCode {
        OpCode::SetAcl
    }

    fn path(&self) -> &str {
        self.path
    }

    fn encode(&self, surroundings: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        validate(self.path)?;
        surroundings.chroot.put(self.path, out);
        self.acl.encode(out);
        out.put_i32(self.version);
        Ok(())
    }

    fn finish(reply: Reply, _: Finish<'_>) -> Result<Stat, Failure> {
        reply.stat()
    }
}

/// Appends a Jute buffer; longer ones than an `int` can say are stopped by the frame limit.
pub(crate) fn put_data(data: &Payload<'_>, out: &mut BytesMut) {
    let bytes = data.as_slice();
    out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    out.put_slice(bytes);
}
