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
    error::{Error, Failure, Outcome, Result},
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
    if outcomes.len() != parts.len() {
        return Err(Error::in_part(misshapen(true), "multi", None, None));
    }
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

/// There are more results than parts, or fewer: no answer to what was asked.
pub(super) fn misshapen(changes_something: bool) -> Failure {
    let failure = Failure::answered(ErrorCode::MarshallingError);
    match changes_something {
        true => Failure {
            outcome: Outcome::Unknown,
            ..failure
        },
        false => failure,
    }
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
        let path = match &self.kind {
            PartKind::Create(_, spec) if spec.sequential => {
                surroundings.chroot.join_sequential(&self.path)
            }
            PartKind::Create(..) => surroundings.chroot.join(&self.path),
            _ => {
                validate(&self.path)?;
                surroundings.chroot.join(&self.path)
            }
        };
        let path = Utf8Bytes::from(path);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_answer_of_another_length_is_none() {
        let part = |path: &str| Part {
            path: path.to_owned(),
            kind: PartKind::Check(-1),
        };
        let parts = [part("/a"), part("/b")];
        let checked = |number| vec![Ok(MultiResult::Checked); number];
        assert_eq!(judge(checked(2), &parts, 1).unwrap().len(), 1);
        for number in [0, 1, 3] {
            let error = judge(checked(number), &parts, 0).unwrap_err();
            let kind = ErrorKind::Server(ErrorCode::MarshallingError);
            assert_eq!((error.kind(), error.outcome()), (kind, Outcome::Unknown));
            assert_eq!(error.path(), None);
        }
    }
}
