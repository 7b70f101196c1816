//! Multis: mostly such as could succeed, since one bad part spoils all.

use zk_proto::{
    CreateMode,
    op::{
        CheckVersionRequest, CreateRequest, DeleteRequest, MultiOp, MultiRequest, Request,
        SetDataRequest,
    },
};
use zk_tests::requests::{part_children, part_get};

use super::{Ask, Script};

impl Script {
    pub(crate) fn multi(&mut self) -> Ask {
        let count = match self.rng.u32(..20) {
            0 => 0,
            1 => self.rng.usize(10..30),
            _ => self.rng.usize(1..5),
        };
        let mut ops: Vec<MultiOp> = (0..count).map(|_| self.part()).collect();
        match self.rng.u32(..100) {
            0 => ops.push(part_get(&self.target())),
            1 => ops.push(self.misfit()),
            2..=12 => self.spoil(&mut ops),
            _ => {}
        }
        Ask::from(Request::Multi(MultiRequest { ops }))
    }

    pub(crate) fn multi_read(&mut self) -> Ask {
        let count = self.rng.usize(0..5);
        let mut ops: Vec<MultiOp> = (0..count)
            .map(|_| {
                let path = self.target();
                if self.rng.bool() {
                    part_get(&path)
                } else {
                    part_children(&path)
                }
            })
            .collect();
        if self.rng.u32(..20) == 0 {
            ops.push(self.part());
        }
        Ask::from(Request::MultiRead(MultiRequest { ops }))
    }

    fn part(&mut self) -> MultiOp {
        match self.rng.u32(..100) {
            0..=24 => MultiOp::Create(self.part_create()),
            25..=34 => MultiOp::Create2(self.part_create()),
            35..=39 => MultiOp::CreateContainer(CreateRequest {
                flags: CreateMode::Container.flags(),
                ..self.part_create()
            }),
            40..=44 => MultiOp::CreateTtl(self.create_ttl_record()),
            45..=59 => {
                let path = self.existing();
                let version = self.version(&path);
                MultiOp::Delete(DeleteRequest {
                    path: path.into(),
                    version,
                })
            }
            60..=79 => {
                let path = self.existing();
                let version = self.version(&path);
                let data = self.data();
                MultiOp::SetData(SetDataRequest {
                    path: path.into(),
                    data,
                    version,
                })
            }
            _ => {
                let path = self.existing();
                let version = self.version(&path);
                MultiOp::Check(CheckVersionRequest {
                    path: path.into(),
                    version,
                })
            }
        }
    }

    /// A create that will go through, unless its node is there or its parent refuses.
    fn part_create(&mut self) -> CreateRequest {
        let mut record = self.create_record();
        if !(0..4).contains(&record.flags) {
            record.flags = 0;
        }
        if self.rng.u32(..4) > 0 {
            record.path = self.child().into();
        }
        record
    }

    /// A part with a flag that its operation does not know.
    fn misfit(&mut self) -> MultiOp {
        let mut record = self.create_record();
        record.flags = *self.pick(&[4, 5, 6, 7, -1]);
        match self.rng.u32(..3) {
            0 => MultiOp::Create(record),
            1 => MultiOp::Create2(record),
            _ => MultiOp::CreateContainer(record),
        }
    }

    /// One part somewhere that may well fail.
    fn spoil(&mut self, ops: &mut Vec<MultiOp>) {
        let at = self.rng.usize(..=ops.len());
        let path = self.target();
        let version = self.version(&path);
        let part = match self.rng.u32(..4) {
            0 => MultiOp::Create(self.create_record()),
            1 => MultiOp::Delete(DeleteRequest {
                path: path.into(),
                version,
            }),
            2 => MultiOp::SetData(SetDataRequest {
                path: path.into(),
                data: None,
                version,
            }),
            _ => MultiOp::Check(CheckVersionRequest {
                path: path.into(),
                version,
            }),
        };
        ops.insert(at, part);
    }
}
