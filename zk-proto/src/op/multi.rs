//! multi and multiRead: several operations under one header.
//!
//! ```text
//! request  : (MultiHeader{type, false, -1} record)*  MultiHeader{-1, true, -1}
//! response : (MultiHeader{type, false, 0}  record)*  MultiHeader{-1, true, -1}
//! ```
//! A failed part answers with type -1 and an [`ErrorResponse`] (`MultiResponse.java`).

use bytes::BytesMut;

use super::{
    CheckVersionRequest, Create2Response, CreateRequest, CreateResponse, CreateTtlRequest,
    DeleteContainerRequest, DeleteRequest, GetChildrenRequest, GetChildrenResponse, GetDataRequest,
    GetDataResponse, SetDataRequest, StatResponse,
};
use crate::{
    error::DecodeError,
    jute::{Decode, Encode, Reader},
    op_code::OpCode,
    record,
};

record! {
    /// Before every part of a multi, and at its end.
    #[derive(Copy)]
    pub struct MultiHeader {
        /// The part's operation; -1 for an error and at the end.
        pub op: i32,
        /// Whether this is the end.
        pub done: bool,
        /// An error code, or -1.
        pub err: i32,
    }
}

impl MultiHeader {
    const END: Self = Self {
        op: -1,
        done: true,
        err: -1,
    };

    const fn part(op: OpCode, err: i32) -> Self {
        Self {
            op: op.code(),
            done: false,
            err,
        }
    }
}

record! {
    /// An error code where a record is expected.
    #[derive(Copy)]
    pub struct ErrorResponse {
        /// An [`crate::ErrorCode`], raw.
        pub err: i32,
    }
}

/// One part of a multi or multiRead request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiOp {
    /// Create a node; answers its path.
    Create(CreateRequest),
    /// Create a node; answers its path and Stat.
    Create2(CreateRequest),
    /// Create a container node; answers its path and Stat.
    CreateContainer(CreateRequest),
    /// Create a node with a time to live; answers its path and Stat.
    CreateTtl(CreateTtlRequest),
    /// Delete a node.
    Delete(DeleteRequest),
    /// Delete an empty container; Apache's decoder takes it, no client should send it.
    DeleteContainer(DeleteContainerRequest),
    /// Set a node's data.
    SetData(SetDataRequest),
    /// Check a node's version.
    Check(CheckVersionRequest),
    /// Read a node's data (multiRead only).
    GetData(GetDataRequest),
    /// List a node's children (multiRead only).
    GetChildren(GetChildrenRequest),
}

impl MultiOp {
    /// The part's operation.
    #[must_use]
    pub const fn op_code(&self) -> OpCode {
        match self {
            Self::Create(_) => OpCode::Create,
            Self::Create2(_) => OpCode::Create2,
            Self::CreateContainer(_) => OpCode::CreateContainer,
            Self::CreateTtl(_) => OpCode::CreateTtl,
            Self::Delete(_) => OpCode::Delete,
            Self::DeleteContainer(_) => OpCode::DeleteContainer,
            Self::SetData(_) => OpCode::SetData,
            Self::Check(_) => OpCode::Check,
            Self::GetData(_) => OpCode::GetData,
            Self::GetChildren(_) => OpCode::GetChildren,
        }
    }

    /// Whether the part belongs into a multiRead.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::GetData(_) | Self::GetChildren(_))
    }

    fn record(&self) -> &dyn Encode {
        match self {
            Self::Create(r) | Self::Create2(r) | Self::CreateContainer(r) => r,
            Self::CreateTtl(r) => r,
            Self::Delete(r) => r,
            Self::DeleteContainer(r) => r,
            Self::SetData(r) => r,
            Self::Check(r) => r,
            Self::GetData(r) => r,
            Self::GetChildren(r) => r,
        }
    }

    fn decode_part(op: i32, input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match OpCode::from_i32(op) {
            Some(OpCode::Create) => Self::Create(Decode::decode(input)?),
            Some(OpCode::Create2) => Self::Create2(Decode::decode(input)?),
            Some(OpCode::CreateContainer) => Self::CreateContainer(Decode::decode(input)?),
            Some(OpCode::CreateTtl) => Self::CreateTtl(Decode::decode(input)?),
            Some(OpCode::Delete) => Self::Delete(Decode::decode(input)?),
            Some(OpCode::DeleteContainer) => Self::DeleteContainer(Decode::decode(input)?),
            Some(OpCode::SetData) => Self::SetData(Decode::decode(input)?),
            Some(OpCode::Check) => Self::Check(Decode::decode(input)?),
            Some(OpCode::GetData) => Self::GetData(Decode::decode(input)?),
            Some(OpCode::GetChildren) => Self::GetChildren(Decode::decode(input)?),
            _ => {
                return Err(DecodeError::UnknownValue {
                    what: "multi operation",
                    value: op.into(),
                });
            }
        })
    }
}

/// A multi or multiRead request; which of the two is in the request header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MultiRequest {
    /// The parts, carried out in this order.
    pub ops: Vec<MultiOp>,
}

impl Encode for MultiRequest {
    fn encode(&self, out: &mut BytesMut) {
        for op in &self.ops {
            MultiHeader::part(op.op_code(), -1).encode(out);
            op.record().encode(out);
        }
        MultiHeader::END.encode(out);
    }

    fn encoded_len(&self) -> usize {
        self.ops
            .iter()
            .map(|op| 9 + op.record().encoded_len())
            .sum::<usize>()
            + 9
    }
}

impl Decode for MultiRequest {
    const MIN_LEN: usize = 9;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let mut ops = Vec::new();
        loop {
            let header = MultiHeader::decode(input)?;
            if header.done {
                return Ok(Self { ops });
            }
            ops.push(MultiOp::decode_part(header.op, input)?);
        }
    }
}

/// The answer to one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiResult {
    /// The node created.
    Create(CreateResponse),
    /// The node created, with its Stat.
    Create2(Create2Response),
    /// Deleted.
    Delete,
    /// The node's Stat after the change.
    SetData(StatResponse),
    /// The version matches.
    Check,
    /// A node's data (multiRead only).
    GetData(GetDataResponse),
    /// A node's children (multiRead only).
    GetChildren(GetChildrenResponse),
    /// The part failed, or another part did.
    Error(ErrorResponse),
}

impl MultiResult {
    fn header(&self) -> MultiHeader {
        match self {
            Self::Create(_) => MultiHeader::part(OpCode::Create, 0),
            Self::Create2(_) => MultiHeader::part(OpCode::Create2, 0),
            Self::Delete => MultiHeader::part(OpCode::Delete, 0),
            Self::SetData(_) => MultiHeader::part(OpCode::SetData, 0),
            Self::Check => MultiHeader::part(OpCode::Check, 0),
            Self::GetData(_) => MultiHeader::part(OpCode::GetData, 0),
            Self::GetChildren(_) => MultiHeader::part(OpCode::GetChildren, 0),
            Self::Error(error) => MultiHeader::part(OpCode::Error, error.err),
        }
    }

    fn record(&self) -> Option<&dyn Encode> {
        match self {
            Self::Create(r) => Some(r),
            Self::Create2(r) => Some(r),
            Self::Delete | Self::Check => None,
            Self::SetData(r) => Some(r),
            Self::GetData(r) => Some(r),
            Self::GetChildren(r) => Some(r),
            Self::Error(r) => Some(r),
        }
    }

    fn decode_part(op: i32, input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match OpCode::from_i32(op) {
            Some(OpCode::Create) => Self::Create(Decode::decode(input)?),
            Some(OpCode::Create2) => Self::Create2(Decode::decode(input)?),
            Some(OpCode::Delete) => Self::Delete,
            Some(OpCode::SetData) => Self::SetData(Decode::decode(input)?),
            Some(OpCode::Check) => Self::Check,
            Some(OpCode::GetData) => Self::GetData(Decode::decode(input)?),
            Some(OpCode::GetChildren) => Self::GetChildren(Decode::decode(input)?),
            Some(OpCode::Error) => Self::Error(Decode::decode(input)?),
            _ => {
                return Err(DecodeError::UnknownValue {
                    what: "multi result",
                    value: op.into(),
                });
            }
        })
    }
}

/// Answer to multi and multiRead: a result for each part, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MultiResponse {
    /// The results. Where a multi failed, all of them are errors.
    pub results: Vec<MultiResult>,
}

impl Encode for MultiResponse {
    fn encode(&self, out: &mut BytesMut) {
        for result in &self.results {
            result.header().encode(out);
            if let Some(record) = result.record() {
                record.encode(out);
            }
        }
        MultiHeader::END.encode(out);
    }

    fn encoded_len(&self) -> usize {
        let part = |result: &MultiResult| 9 + result.record().map_or(0, Encode::encoded_len);
        self.results.iter().map(part).sum::<usize>() + 9
    }
}

impl Decode for MultiResponse {
    const MIN_LEN: usize = 9;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let mut results = Vec::new();
        loop {
            let header = MultiHeader::decode(input)?;
            if header.done {
                return Ok(Self { results });
            }
            results.push(MultiResult::decode_part(header.op, input)?);
        }
    }
}
