//! multi: several writes that are carried out together or not at all.

use std::{fmt, marker::PhantomData, time::Duration};

use bytes::BytesMut;
use zk_proto::{
    Acl, Encode, ErrorCode, OpCode, Stat, Utf8Bytes,
    op::{
        CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, MultiOp, MultiRequest,
        MultiResult as Wire, Response, SetDataRequest,
    },
};

use crate::{
    client::Client,
    core::{Reply, chroot::validate},
    create::CreateSpec,
    error::{Error, Failure, Result},
    operation::{Call, Finish, Operation, Surroundings, sealed::Sealed},
    payload::Payload,
    write::ANY_VERSION,
};

/// Writes to be carried out together: [`Client::multi`].
///
/// A modifier belongs to the operation before it, which the type remembers: after [`create`](Multi::create) it is
/// a `Multi<Create>` with `sequential`, `ephemeral` and so on, after [`set`](Multi::set) a `Multi<Set>` with
/// `version`. [`any`](Multi::any) forgets it, for loops.
#[must_use = "a multi does nothing until it is committed"]
pub struct Multi<S = Any> {
    client: Client,
    /// A node whose existence everything depends on; invisible in results.
    fence: Option<String>,
    parts: Vec<Part>,
    state: PhantomData<fn() -> S>,
}

/// The state of a [`Multi`] whose last operation does not matter.
#[derive(Debug, Clone, Copy)]
pub enum Any {}
/// The state of a [`Multi`] after a create.
#[derive(Debug, Clone, Copy)]
pub enum Create {}
/// The state of a [`Multi`] after a set.
#[derive(Debug, Clone, Copy)]
pub enum Set {}
/// The state of a [`Multi`] after a delete.
#[derive(Debug, Clone, Copy)]
pub enum Delete {}
/// The state of a [`Multi`] after a check.
#[derive(Debug, Clone, Copy)]
pub enum Check {}

/// The result of one operation of a multi, in the order of the operations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiResult {
    /// The version matched.
    Checked,
    /// The node was created.
    Created {
        /// Its full path, with the counter of a sequential one.
        path: String,
        /// Its metadata; `None` from servers before 3.8.4.
        stat: Option<Stat>,
    },
    /// The node's data was set; its new metadata.
    Set(Stat),
    /// The node was deleted.
    Deleted,
}

impl MultiResult {
    /// The path of a node that was created.
    #[must_use]
    pub fn created_path(&self) -> Option<&str> {
        match self {
            Self::Created { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The node's metadata after a create or a set.
    #[must_use]
    pub const fn stat(&self) -> Option<&Stat> {
        match self {
            Self::Created { stat, .. } => stat.as_ref(),
            Self::Set(stat) => Some(stat),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Part {
    path: String,
    kind: PartKind,
}

#[derive(Debug, Clone)]
enum PartKind {
    Create(bytes::Bytes, CreateSpec),
    Set(bytes::Bytes, i32),
    Delete(i32),
    Check(i32),
}

impl Multi {
    pub(crate) const fn new(client: Client) -> Self {
        Self {
            client,
            fence: None,
            parts: Vec::new(),
            state: PhantomData,
        }
    }
}

impl<S> Multi<S> {
    /// Goes through only if the node exists and its data has this version (-1: any).
    pub fn check(self, path: &str, version: i32) -> Multi<Check> {
        self.with(path, PartKind::Check(version))
    }

    /// Creates a node.
    pub fn create<'d>(self, path: &str, data: impl Into<Payload<'d>>) -> Multi<Create> {
        self.with(
            path,
            PartKind::Create(data.into().into_bytes(), CreateSpec::default()),
        )
    }

    /// Sets a node's data.
    pub fn set<'d>(self, path: &str, data: impl Into<Payload<'d>>) -> Multi<Set> {
        self.with(path, PartKind::Set(data.into().into_bytes(), ANY_VERSION))
    }

    /// Deletes a node.
    pub fn delete(self, path: &str) -> Multi<Delete> {
        self.with(path, PartKind::Delete(ANY_VERSION))
    }

    /// The same without the memory of its last operation, for loops.
    pub fn any(self) -> Multi {
        self.cast()
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there is no operation yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The same operations by another handle: a clone, or one bound to a session.
    pub fn through(mut self, client: &Client) -> Self {
        self.client = client.clone();
        self
    }

    /// Goes through only while this node exists; invisible in the results and in the indices of errors.
    ///
    /// When the node is gone, the error is [`NoNode`](crate::ErrorKind::NoNode) of a `check` with this path and
    /// no [`multi_index`](Error::multi_index).
    #[doc(hidden)]
    pub fn fenced_by(mut self, path: &str) -> Self {
        self.fence = Some(path.to_owned());
        self
    }

    /// Carries everything out, or nothing; the results are in the order of the operations.
    ///
    /// # Errors
    /// The code of the operation that failed, with its [`path`](Error::path) and
    /// [`multi_index`](Error::multi_index). After CONNECTIONLOSS either all was carried out or nothing.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the multi to its fate; it is never carried out by half.
    pub async fn commit(self) -> Result<Vec<MultiResult>> {
        let fenced = usize::from(self.fence.is_some());
        let fence = self.fence.map(|path| Part {
            path,
            kind: PartKind::Check(ANY_VERSION),
        });
        let parts: Vec<_> = fence.into_iter().chain(self.parts).collect();
        let outcomes = Operation::new(&self.client, Commit { parts: &parts }).await?;
        judge(outcomes, &parts, fenced)
    }

    fn with<T>(mut self, path: &str, kind: PartKind) -> Multi<T> {
        self.parts.push(Part {
            path: path.to_owned(),
            kind,
        });
        self.cast()
    }

    fn cast<T>(self) -> Multi<T> {
        Multi {
            client: self.client,
            fence: self.fence,
            parts: self.parts,
            state: PhantomData,
        }
    }

    fn last(mut self, change: impl FnOnce(&mut PartKind)) -> Self {
        if let Some(part) = self.parts.last_mut() {
            change(&mut part.kind);
        }
        self
    }

    fn spec(self, change: impl FnOnce(&mut CreateSpec)) -> Self {
        self.last(|kind| {
            if let PartKind::Create(_, spec) = kind {
                change(spec);
            }
        })
    }
}

impl Multi<Create> {
    /// The node goes with the session.
    pub fn ephemeral(self) -> Self {
        self.spec(|spec| spec.ephemeral = true)
    }

    /// The server appends a ten-digit counter of the parent to the name.
    pub fn sequential(self) -> Self {
        self.spec(|spec| spec.sequential = true)
    }

    /// The server deletes the node some time after its last child is gone.
    pub fn container(self) -> Self {
        self.spec(|spec| spec.container = true)
    }

    /// The server deletes the node when it has had neither children nor changes for this long.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.spec(|spec| spec.ttl = Some(ttl))
    }

    /// Who may do what with the node; the client's default ACL unless given.
    pub fn acl(self, acl: impl Into<Vec<Acl>>) -> Self {
        self.spec(|spec| spec.acl = Some(acl.into()))
    }
}

impl Multi<Set> {
    /// Only if the node's data has this version.
    pub fn version(self, version: i32) -> Self {
        self.last(|kind| {
            if let PartKind::Set(_, expected) = kind {
                *expected = version;
            }
        })
    }
}

impl Multi<Delete> {
    /// Only if the node's data has this version.
    pub fn version(self, version: i32) -> Self {
        self.last(|kind| {
            if let PartKind::Delete(expected) = kind {
                *expected = version;
            }
        })
    }
}

impl<S> Clone for Multi<S> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            parts: self.parts.clone(),
            fence: self.fence.clone(),
            state: PhantomData,
        }
    }
}

impl<S> fmt::Debug for Multi<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.parts.iter().map(|part| part.path.as_str()).collect();
        f.debug_struct("Multi")
            .field("paths", &paths)
            .finish_non_exhaustive()
    }
}

/// The call behind [`Multi::commit`].
struct Commit<'m> {
    parts: &'m [Part],
}

impl Sealed for Commit<'_> {}

impl Call for Commit<'_> {
    type Output = Vec<MultiOutcome>;

    fn op(&self) -> OpCode {
        OpCode::Multi
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

    fn finish(reply: Reply, context: Finish<'_>) -> Result<Vec<MultiOutcome>, Failure> {
        let Response::Multi(answer) = reply.body()? else {
            return Err(Failure::answered(ErrorCode::MarshallingError));
        };
        Ok(answer
            .results
            .into_iter()
            .map(|result| outcome(result, &context))
            .collect())
    }
}

/// What became of one operation.
type MultiOutcome = Result<MultiResult, ErrorCode>;

fn outcome(result: Wire, context: &Finish<'_>) -> MultiOutcome {
    match result {
        Wire::Create(created) => Ok(MultiResult::Created {
            path: context.user_path(&created.path),
            stat: None,
        }),
        Wire::Create2(created) => Ok(MultiResult::Created {
            path: context.user_path(&created.path),
            stat: Some(created.stat),
        }),
        Wire::SetData(set) => Ok(MultiResult::Set(set.stat)),
        Wire::Delete => Ok(MultiResult::Deleted),
        Wire::Check => Ok(MultiResult::Checked),
        Wire::Error(error) => Err(ErrorCode::from_i32(error.err)),
        Wire::GetData(_) | Wire::GetChildren(_) => Err(ErrorCode::MarshallingError),
    }
}

/// All results, or the operation that failed: the first with a code of its own.
///
/// A failed multi answers 0 for what came before the failure, the code at it, and "not carried out" after it.
fn judge(outcomes: Vec<MultiOutcome>, parts: &[Part], fenced: usize) -> Result<Vec<MultiResult>> {
    let own = |outcome: &MultiOutcome| match outcome {
        Err(ErrorCode::Ok | ErrorCode::RuntimeInconsistency) | Ok(_) => false,
        Err(_) => true,
    };
    let failed = outcomes.iter().position(own);
    let Some(at) = failed.or_else(|| outcomes.iter().position(Result::is_err)) else {
        return Ok(outcomes.into_iter().flatten().skip(fenced).collect());
    };
    let code = outcomes.get(at).and_then(|outcome| outcome.as_ref().err());
    let failure = Failure::answered(code.copied().unwrap_or(ErrorCode::RuntimeInconsistency));
    let (op, path) = match parts.get(at) {
        Some(part) => (part.op_name(), Some(part.path.clone())),
        None => ("multi", None),
    };
    Err(Error::in_part(failure, op, path, at.checked_sub(fenced)))
}

impl Part {
    const fn op_name(&self) -> &'static str {
        match self.kind {
            PartKind::Create(..) => "create",
            PartKind::Set(..) => "setData",
            PartKind::Delete(_) => "delete",
            PartKind::Check(_) => "check",
        }
    }

    fn to_wire(&self, surroundings: &Surroundings<'_>) -> Result<MultiOp, Failure> {
        let path = Utf8Bytes::from(surroundings.chroot.join(&self.path));
        match &self.kind {
            PartKind::Create(..) => {}
            _ => validate(&self.path)?,
        }
        Ok(match &self.kind {
            PartKind::Create(data, spec) => self.create_to_wire(path, data, spec, surroundings)?,
            PartKind::Set(data, version) => {
                let (data, version) = (Some(data.clone()), *version);
                MultiOp::SetData(SetDataRequest {
                    path,
                    data,
                    version,
                })
            }
            PartKind::Delete(version) => MultiOp::Delete(DeleteRequest {
                path,
                version: *version,
            }),
            PartKind::Check(version) => MultiOp::Check(CheckVersionRequest {
                path,
                version: *version,
            }),
        })
    }

    fn create_to_wire(
        &self,
        path: Utf8Bytes,
        data: &bytes::Bytes,
        spec: &CreateSpec,
        surroundings: &Surroundings<'_>,
    ) -> Result<MultiOp, Failure> {
        spec.validate(&self.path)?;
        let data = Some(data.clone());
        let acl = spec
            .acl
            .clone()
            .unwrap_or_else(|| surroundings.default_acl.to_vec());
        let flags = spec.mode()?.flags();
        if let Some(ttl_ms) = spec.ttl_ms()? {
            return Ok(MultiOp::CreateTtl(CreateTtlRequest {
                path,
                data,
                acl,
                flags,
                ttl_ms,
            }));
        }
        let request = CreateRequest {
            path,
            data,
            acl,
            flags,
        };
        Ok(match spec.op() {
            OpCode::CreateContainer => MultiOp::CreateContainer(request),
            _ => MultiOp::Create2(request),
        })
    }
}
