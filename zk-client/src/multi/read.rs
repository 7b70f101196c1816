//! multiRead: several reads of one moment.

use std::fmt;

use bytes::BytesMut;
use zk_proto::{
    Encode, ErrorCode, OpCode, Utf8Bytes,
    op::{
        GetChildrenRequest, GetDataRequest, MultiOp, MultiRequest, MultiResult as Wire, Response,
    },
};

use super::{PendingMultiRead, wire::misshapen};
use crate::{
    client::Client,
    core::{Reply, chroot::validate},
    error::{Error, Failure, Result},
    operation::{Call, Finish, Operation, Surroundings, sealed::Sealed},
    read::Node,
};

/// Reads that see one and the same state: [`Client::multi_read`].
#[must_use = "nothing is read until it is run"]
#[derive(Clone)]
pub struct MultiRead {
    client: Client,
    parts: Vec<Part>,
}

/// What one of several reads found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiReadResult {
    /// A node's data and metadata.
    Node(Node),
    /// The names of a node's children, in no order.
    Children(Vec<String>),
}

impl MultiReadResult {
    /// The node, where one was read.
    #[must_use]
    pub const fn node(&self) -> Option<&Node> {
        match self {
            Self::Node(node) => Some(node),
            Self::Children(_) => None,
        }
    }

    /// The names of the children, where they were listed.
    #[must_use]
    pub fn children(&self) -> Option<&[String]> {
        match self {
            Self::Node(_) => None,
            Self::Children(names) => Some(names),
        }
    }
}

/// What was found, its errors with the node they are about.
pub(super) fn named(
    found: Vec<Result<MultiReadResult, ErrorCode>>,
    parts: &[Part],
) -> Result<Vec<Result<MultiReadResult>>> {
    if found.len() != parts.len() {
        return Err(Error::new(misshapen(false), "multiRead", None));
    }
    let named = |(found, part): (Result<MultiReadResult, ErrorCode>, &Part)| {
        found.map_err(|code| part.error(code))
    };
    Ok(found.into_iter().zip(parts).map(named).collect())
}

#[derive(Debug, Clone)]
pub(super) struct Part {
    path: String,
    op: OpCode,
}

impl MultiRead {
    pub(crate) const fn new(client: Client) -> Self {
        Self {
            client,
            parts: Vec::new(),
        }
    }

    /// Reads a node's data and metadata.
    pub fn get(self, path: &str) -> Self {
        self.with(path, OpCode::GetData)
    }

    /// Lists the names of a node's children.
    pub fn children(self, path: &str) -> Self {
        self.with(path, OpCode::GetChildren)
    }

    /// Reads everything; each read has a result of its own, in the order in which they were asked for.
    ///
    /// # Errors
    /// The outer error is of the whole; that one node is missing or may not be read is an inner one. Servers
    /// before 3.6 do not know the operation and close the connection.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the results.
    pub async fn run(self) -> Result<Vec<Result<MultiReadResult>>> {
        let Self { client, parts } = self;
        let found = Operation::new(&client, ReadAll { parts: &parts }).await?;
        named(found, &parts)
    }

    /// Queues the reads and returns at once, with their results to be awaited later ([`Operation::submit`]).
    ///
    /// # Errors
    /// When they cannot be queued: an invalid path, a closed client.
    ///
    /// # Cancel safety
    /// Dropping the future while it waits for room gives up its place, and nothing is sent.
    pub async fn submit(self) -> Result<PendingMultiRead> {
        let Self { client, parts } = self;
        let answer = Operation::new(&client, ReadAll { parts: &parts })
            .submit()
            .await?;
        Ok(PendingMultiRead { answer, parts })
    }

    fn with(mut self, path: &str, op: OpCode) -> Self {
        let path = path.to_owned();
        self.parts.push(Part { path, op });
        self
    }
}

impl fmt::Debug for MultiRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.parts.iter().map(|part| part.path.as_str()).collect();
        f.debug_struct("MultiRead")
            .field("paths", &paths)
            .finish_non_exhaustive()
    }
}

impl Part {
    fn error(&self, code: ErrorCode) -> Error {
        let op = match self.op {
            OpCode::GetData => "getData",
            _ => "getChildren",
        };
        Error::new(Failure::answered(code), op, Some(&self.path))
    }

    fn to_wire(&self, surroundings: &Surroundings<'_>) -> Result<MultiOp, Failure> {
        validate(&self.path)?;
        let path = Utf8Bytes::from(surroundings.chroot.join(&self.path));
        let watch = false;
        Ok(match self.op {
            OpCode::GetData => MultiOp::GetData(GetDataRequest { path, watch }),
            _ => MultiOp::GetChildren(GetChildrenRequest { path, watch }),
        })
    }
}

/// The call behind [`MultiRead::run`].
struct ReadAll<'m> {
    parts: &'m [Part],
}

impl Sealed for ReadAll<'_> {}

impl Call for ReadAll<'_> {
    type Output = Vec<Result<MultiReadResult, ErrorCode>>;

    fn op(&self) -> OpCode {
        OpCode::MultiRead
    }

    fn path(&self) -> &str {
        ""
    }

    fn encode(&self, surroundings: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let ops = self
            .parts
            .iter()
            .map(|part| part.to_wire(surroundings))
            .collect::<Result<Vec<_>, _>>()?;
        MultiRequest { ops }.encode(out);
        Ok(())
    }

    fn finish(reply: Reply, _: Finish<'_>) -> Result<Self::Output, Failure> {
        let Response::Multi(answer) = reply.body()? else {
            return Err(Failure::answered(ErrorCode::MarshallingError));
        };
        Ok(answer.results.into_iter().map(found).collect())
    }
}

fn found(result: Wire) -> Result<MultiReadResult, ErrorCode> {
    match result {
        Wire::GetData(answer) => Ok(MultiReadResult::Node(Node {
            data: answer.data.unwrap_or_default(),
            stat: answer.stat,
        })),
        Wire::GetChildren(answer) => {
            let names = answer.children.iter().map(Utf8Bytes::to_string).collect();
            Ok(MultiReadResult::Children(names))
        }
        Wire::Error(error) => Err(ErrorCode::from_i32(error.err)),
        _ => Err(ErrorCode::MarshallingError),
    }
}
