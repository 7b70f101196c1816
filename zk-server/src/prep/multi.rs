//! multi: all of it or nothing, under one zxid.

use zk_proto::{
    CreateMode, Encode, ErrorCode, OpCode,
    op::{MultiOp, MultiRequest},
    txn::{ErrorTxn, Txn},
};

use super::{Change, create::Create};

impl Change<'_> {
    /// The parts in order. Where one fails, it and those after it are errors, and nothing is left outstanding; the
    /// parts before it stay in the transaction, and whoever applies it passes them over.
    ///
    /// # Errors
    /// [`ErrorCode::MarshallingError`] for what Apache's decoder refuses: reads among the parts, deleteContainer,
    /// flags that do not exist, and flags of a TTL node where there is no time to live; and for what becomes longer
    /// than a transaction may be.
    pub(super) fn multi(&mut self, request: &MultiRequest) -> Result<Txn, ErrorCode> {
        if !request.ops.iter().all(is_decodable) {
            return Err(ErrorCode::MarshallingError);
        }
        let mark = self.outstanding.mark();
        let mut parts = Vec::with_capacity(request.ops.len());
        let (mut failed, mut len) = (false, 0);
        for op in &request.ops {
            let part = match failed {
                true => Err(ErrorCode::RuntimeInconsistency),
                false => self.part(op),
            };
            let part = part.unwrap_or_else(|error| {
                failed = true;
                Txn::Error(ErrorTxn { err: error.code() })
            });
            len += part.encoded_len();
            if len > self.options.max_txn {
                self.outstanding.roll_back(mark);
                return Err(ErrorCode::MarshallingError);
            }
            parts.push(part);
        }
        if failed {
            self.outstanding.roll_back(mark);
        }
        Ok(Txn::Multi(parts))
    }

    /// In a multi the flags decide what is made where they name a container or TTL node (`Op.create`).
    fn part(&mut self, op: &MultiOp) -> Result<Txn, ErrorCode> {
        match op {
            MultiOp::Create(part) => self.create_part(OpCode::Create, &part.into(), part.flags),
            MultiOp::Create2(part) => self.create_part(OpCode::Create2, &part.into(), part.flags),
            MultiOp::CreateContainer(part) => {
                self.create_part(OpCode::CreateContainer, &part.into(), part.flags)
            }
            MultiOp::CreateTtl(part) => match CreateMode::from_flags(part.flags) {
                Some(mode) if mode.is_ttl() => self.create(OpCode::CreateTtl, &part.into()),
                _ => self.create_part(OpCode::Create, &Create::without_ttl(part), part.flags),
            },
            MultiOp::Delete(part) => self.delete(part),
            MultiOp::SetData(part) => self.set_data(part),
            MultiOp::Check(part) => self.check(part),
            MultiOp::DeleteContainer(_) | MultiOp::GetData(_) | MultiOp::GetChildren(_) => {
                Err(ErrorCode::MarshallingError)
            }
        }
    }

    fn create_part(
        &mut self,
        op: OpCode,
        create: &Create<'_>,
        flags: i32,
    ) -> Result<Txn, ErrorCode> {
        match CreateMode::from_flags(flags) {
            Some(CreateMode::Container) => self.create(OpCode::CreateContainer, create),
            _ => self.create(op, create),
        }
    }
}

fn is_decodable(op: &MultiOp) -> bool {
    match op {
        MultiOp::Create(part) | MultiOp::Create2(part) | MultiOp::CreateContainer(part) => {
            CreateMode::from_flags(part.flags).is_some_and(|mode| !mode.is_ttl())
        }
        MultiOp::CreateTtl(_) | MultiOp::Delete(_) | MultiOp::SetData(_) | MultiOp::Check(_) => {
            true
        }
        MultiOp::DeleteContainer(_) | MultiOp::GetData(_) | MultiOp::GetChildren(_) => false,
    }
}
