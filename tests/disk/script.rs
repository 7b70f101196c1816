//! Random writes, of which many succeed.

use zk_proto::{
    Acl, CreateMode, Utf8Bytes,
    op::{
        CreateRequest, CreateTtlRequest, DeleteRequest, MultiOp, MultiRequest, Request,
        SetAclRequest, SetDataRequest,
    },
};

/// The same seed always asks for the same.
pub(crate) struct Script {
    dice: fastrand::Rng,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dice: fastrand::Rng::with_seed(seed),
        }
    }

    /// The next write.
    pub(crate) fn request(&mut self) -> Request {
        match self.dice.u8(..10) {
            0..4 => self.create(),
            4 => Request::CreateTtl(CreateTtlRequest {
                path: self.path(),
                data: self.data(),
                acl: self.acl(),
                flags: CreateMode::PersistentWithTtl.flags(),
                ttl_ms: 60_000_000,
            }),
            5 => Request::SetData(SetDataRequest {
                path: self.path(),
                data: self.data(),
                version: -1,
            }),
            6 => Request::Delete(DeleteRequest {
                path: self.path(),
                version: -1,
            }),
            7 => Request::SetAcl(SetAclRequest {
                path: self.path(),
                acl: self.acl(),
                version: -1,
            }),
            _ => self.multi(),
        }
    }

    fn multi(&mut self) -> Request {
        let ops = (0..self.dice.usize(1..4)).map(|_| match self.create() {
            Request::Create(create) => MultiOp::Create(create),
            other => panic!("{other:?}"),
        });
        Request::Multi(MultiRequest { ops: ops.collect() })
    }

    fn create(&mut self) -> Request {
        let modes = [
            CreateMode::Persistent,
            CreateMode::Persistent,
            CreateMode::Ephemeral,
            CreateMode::PersistentSequential,
            CreateMode::EphemeralSequential,
        ];
        Request::Create(CreateRequest {
            path: self.path(),
            data: self.data(),
            acl: self.acl(),
            flags: self.dice.choice(modes).unwrap().flags(),
        })
    }

    /// Some of them exist, others do not, and some have a parent.
    fn path(&mut self) -> Utf8Bytes {
        let (top, below) = (self.dice.u8(..40), self.dice.u8(..20));
        match self.dice.bool() {
            true => format!("/n{top}").into(),
            false => format!("/n{top}/\u{fc}{below}").into(),
        }
    }

    fn data(&mut self) -> Option<bytes::Bytes> {
        let len = self.dice.usize(..600);
        let byte = self.dice.u8(..);
        (len > 20).then(|| vec![byte; len].into())
    }

    fn acl(&mut self) -> Vec<Acl> {
        match self.dice.u8(..3) {
            0 => Acl::read_only(),
            _ => Acl::open(),
        }
    }
}
