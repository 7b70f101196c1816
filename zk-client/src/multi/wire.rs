//! A multi on its way to the server and back.

use bytes::{Bytes, BytesMut};
use zk_proto::{
    Encode, ErrorCode, OpCode, Utf8Bytes,
    op::{
        CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, MultiOp, MultiRequest,
        MultiResult as Wire, Response, SetDataRequest,
    },
};

use super::MultiResult;
use crate::{
    core::{Reply, chroot::validate},
    create::CreateSpec,
    error::{Error, Failure, Result},
    operation::{Call, Finish, Surroundings, sealed::Sealed},
};

/// One operation of a multi.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) path: String,
    pub(super) kind: PartKind,
}

#[derive(Debug, Clone)]
pub(super) enum PartKind {
    Create(Bytes, CreateSpec),
    Set(Bytes, i32),
    Delete(i32),
    Check(i32),
}

/// The call behind [`Multi::commit`](super::Multi::commit).
pub(super) struct Commit<'m> {
    pub(super) parts: &'m [Part],
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
pub(super) type MultiOutcome = Result<MultiResult, ErrorCode>;

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
pub(super) fn judge(
    outcomes: Vec<MultiOutcome>,
    parts: &[Part],
    fenced: usize,
) -> Result<Vec<MultiResult>> {
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
        data: &Bytes,
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
