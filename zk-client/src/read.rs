//! Operations that change nothing: get, exists, children, ACLs, sync and what a server knows of its client.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use zk_proto::{Acl, ErrorCode, OpCode, Stat, Utf8Bytes, op::Response};

use crate::{
    core::{Reply, chroot::validate},
    error::{ErrorKind, Failure},
    operation::{
        Attached, Call, Finish, Operation, Surroundings, Wants, sealed::Sealed, wrong_form,
    },
    watcher::WatchChange,
};

/// A node as it was read: data and metadata of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Its data, a slice of the received bytes; copy what is kept for long.
    pub data: Bytes,
    /// Its metadata.
    pub stat: Stat,
}

/// The names of a node's children, with the node's metadata of the same moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Children {
    /// The names, without the parent's path, in no order.
    pub names: Vec<String>,
    /// The parent's metadata.
    pub stat: Stat,
}

/// A node's ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeAcl {
    /// The entries; digest hashes are masked for those without ADMIN.
    pub acl: Vec<Acl>,
    /// The node's metadata; `aversion` is the ACL's version.
    pub stat: Stat,
}

/// An identity that the server takes the client for.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The scheme: `ip`, `digest`, ...
    pub scheme: String,
    /// The user, without any secret.
    pub user: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme, self.user)
    }
}

/// A read that can leave a one-shot watch.
pub trait Watchable: Call + Clone {}

/// A read that leaves a one-shot watch, and results in the future of the change, too.
#[derive(Debug, Clone)]
pub struct Watched<C> {
    read: C,
}

impl<'c, C: Watchable> Operation<'c, C> {
    /// Also leaves a one-shot watch: the result comes with a future of the first change after the read.
    ///
    /// The watch is there if and only if the read succeeds, without a gap between the two.
    pub fn watch(self) -> Operation<'c, Watched<C>> {
        self.map(|read| Watched { read })
    }
}

impl<C> Sealed for Watched<C> {}

impl<C: Watchable> Call for Watched<C> {
    type Output = (C::Output, WatchChange);

    fn op(&self) -> OpCode {
        self.read.op()
    }

    fn path(&self) -> &str {
        self.read.path()
    }

    fn is_absolute(&self) -> bool {
        self.read.is_absolute()
    }

    fn encode(&self, surroundings: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let surroundings = Surroundings {
            watch: true,
            ..*surroundings
        };
        self.read.encode(&surroundings, out)
    }

    fn wants(&self) -> Wants {
        Wants::Watch
    }

    fn finish(reply: Reply, mut context: Finish<'_>) -> Result<Self::Output, Failure> {
        let attached = std::mem::replace(&mut context.attached, Attached::Nothing);
        let output = C::finish(reply, context)?;
        match attached {
            Attached::Watch(change) => Ok((output, *change)),
            _ => Err(Failure::answered(ErrorCode::RuntimeInconsistency)),
        }
    }
}

macro_rules! reads {
    ($( $(#[$meta:meta])* $name:ident($op:ident, watch: $watch:tt) -> $output:ty, $finish:expr; )*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $name<'p> {
            pub(crate) path: &'p str,
        }

        impl Sealed for $name<'_> {}

        impl Call for $name<'_> {
            type Output = $output;

            fn op(&self) -> OpCode {
                OpCode::$op
            }

            fn path(&self) -> &str {
                self.path
            }

            fn encode(&self, surroundings: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure> {
                validate(self.path)?;
                surroundings.chroot.put(self.path, out);
                reads!(@flag $watch surroundings out);
                Ok(())
            }

            fn finish(reply: Reply, context: Finish<'_>) -> Result<$output, Failure> {
                let finish: fn(Reply, Finish<'_>) -> Result<$output, Failure> = $finish;
                finish(reply, context)
            }
        }

        reads!(@watchable $watch $name);
    )* };
    (@flag yes $surroundings:ident $out:ident) => { $out.put_u8(u8::from($surroundings.watch)) };
    (@flag flag $surroundings:ident $out:ident) => { $out.put_u8(u8::from($surroundings.watch)) };
    (@flag no $surroundings:ident $out:ident) => {};
    (@watchable yes $name:ident) => { impl Watchable for $name<'_> {} };
    (@watchable $other:ident $name:ident) => {};
}

reads! {
    /// Read a node: [`Client::get`](crate::Client::get).
    Get(GetData, watch: yes) -> Node, |reply, _| node(reply);
    /// Read a node that may not be there: [`Client::get_opt`](crate::Client::get_opt).
    GetOpt(GetData, watch: flag) -> Option<Node>, |reply, _| optional(reply, node);
    /// Ask for a node's metadata: [`Client::exists`](crate::Client::exists).
    Exists(Exists, watch: yes) -> Option<Stat>, |reply, _| optional(reply, Reply::stat);
    /// List a node's children: [`Client::children`](crate::Client::children).
    ListChildren(GetChildren, watch: yes) -> Vec<String>, |reply, _| match reply.body()? {
        Response::GetChildren(children) => Ok(strings(&children.children)),
        other => wrong_form(other),
    };
    /// List a node's children with its metadata:
    /// [`Client::children_with_stat`](crate::Client::children_with_stat).
    ListChildrenWithStat(GetChildren2, watch: yes) -> Children, |reply, _| match reply.body()? {
        Response::GetChildren2(children) => {
            Ok(Children { names: strings(&children.children), stat: children.stat })
        }
        other => wrong_form(other),
    };
    /// Count the nodes below one: [`Client::count_descendants`](crate::Client::count_descendants).
    CountDescendants(GetAllChildrenNumber, watch: no) -> usize, |reply, _| match reply.body()? {
        Response::GetAllChildrenNumber(number) => Ok(usize::try_from(number.total).unwrap_or_default()),
        other => wrong_form(other),
    };
    /// Read a node's ACL: [`Client::get_acl`](crate::Client::get_acl).
    GetAcl(GetAcl, watch: no) -> NodeAcl, |reply, _| match reply.body()? {
        Response::GetAcl(answer) => Ok(NodeAcl { acl: answer.acl, stat: answer.stat }),
        other => wrong_form(other),
    };
    /// List the session's own ephemeral nodes: [`Client::ephemerals`](crate::Client::ephemerals).
    ListEphemerals(GetEphemerals, watch: no) -> Vec<String>, |reply, context| match reply.body()? {
        Response::GetEphemerals(answer) => {
            Ok(answer.ephemerals.iter().map(|path| context.user_path(path)).collect())
        }
        other => wrong_form(other),
    };
    /// Catch up with the leader: [`Client::sync`](crate::Client::sync).
    SyncPath(Sync, watch: no) -> (), |reply, _| reply.accepted();
}

/// Ask whom the server takes the client for: [`Client::who_am_i`](crate::Client::who_am_i).
#[derive(Debug, Clone, Copy)]
pub struct WhoAmI;

impl Sealed for WhoAmI {}

impl Call for WhoAmI {
    type Output = Vec<Identity>;

    fn op(&self) -> OpCode {
        OpCode::WhoAmI
    }

    fn path(&self) -> &str {
        ""
    }

    fn encode(&self, _: &Surroundings<'_>, _: &mut BytesMut) -> Result<(), Failure> {
        Ok(())
    }

    fn finish(reply: Reply, _: Finish<'_>) -> Result<Vec<Identity>, Failure> {
        let Response::WhoAmI(answer) = reply.body()? else {
            return Err(Failure::answered(ErrorCode::MarshallingError));
        };
        let identity = |info: &zk_proto::op::ClientInfo| Identity {
            scheme: info.scheme.to_string(),
            user: info.user.to_string(),
        };
        Ok(answer.client_info.iter().map(identity).collect())
    }
}

fn node(reply: Reply) -> Result<Node, Failure> {
    let (data, stat) = reply.data()?;
    Ok(Node { data, stat })
}

fn optional<T>(reply: Reply, read: fn(Reply) -> Result<T, Failure>) -> Result<Option<T>, Failure> {
    match read(reply) {
        Ok(value) => Ok(Some(value)),
        Err(failure) if failure.kind == ErrorKind::NoNode => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn strings(names: &[Utf8Bytes]) -> Vec<String> {
    names.iter().map(Utf8Bytes::to_string).collect()
}
