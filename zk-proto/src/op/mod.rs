//! Requests and their replies, one file per family, and the one table from operation to record.

mod acl;
mod auth;
mod check;
mod children;
mod create;
mod data;
mod delete;
mod multi;
mod sync;
mod watches;

use bytes::BytesMut;

pub use acl::{GetAclRequest, GetAclResponse, SetAclRequest};
pub use auth::{AuthRequest, ClientInfo, SaslRequest, SaslResponse, Secret, WhoAmIResponse};
pub use check::CheckVersionRequest;
pub use children::{
    GetAllChildrenNumberRequest, GetAllChildrenNumberResponse, GetChildren2Response,
    GetChildrenRequest, GetChildrenResponse, GetEphemeralsRequest, GetEphemeralsResponse,
};
pub use create::{Create2Response, CreateRequest, CreateResponse, CreateTtlRequest};
pub use data::{ExistsRequest, GetDataRequest, GetDataResponse, SetDataRequest, StatResponse};
pub use delete::{DeleteContainerRequest, DeleteRequest};
pub use multi::{ErrorResponse, MultiHeader, MultiOp, MultiRequest, MultiResponse, MultiResult};
pub use sync::{ReconfigRequest, SyncRequest, SyncResponse};
pub use watches::{
    AddWatchRequest, CheckWatchesRequest, RemoveWatchesRequest, SetWatches2Request,
    SetWatchesRequest,
};

use crate::{
    error::DecodeError,
    jute::{Decode, Encode, Reader},
    op_code::OpCode,
};

/// Names each operation once: its variant, its number and its record.
macro_rules! requests {
    ($( $(#[$meta:meta])* $variant:ident $(($record:ty))?, )*) => {
        /// What a client asks for, after its [`crate::header::RequestHeader`].
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each variant is the operation of that name")]
        pub enum Request { $( $(#[$meta])* $variant $(($record))?, )* }

        impl Request {
            /// Its operation.
            #[must_use]
            pub const fn op_code(&self) -> OpCode {
                match self { $( Self::$variant { .. } => OpCode::$variant, )* }
            }

            /// Reads the record that follows a header with this operation.
            ///
            /// # Errors
            /// [`DecodeError::UnknownValue`] for an operation that no client may send, and what the record
            /// itself finds wrong.
            pub fn decode(op: OpCode, input: &mut Reader) -> Result<Self, DecodeError> {
                match op {
                    $( OpCode::$variant => Ok(requests!(@decode input $variant $(($record))?)), )*
                    other => Err(DecodeError::UnknownValue { what: "operation", value: other.code().into() }),
                }
            }
        }
    };
    (@decode $input:ident $variant:ident) => { Self::$variant };
    (@decode $input:ident $variant:ident ($record:ty)) => { Self::$variant(<$record>::decode($input)?) };
}

requests! {
    Create(CreateRequest),
    Create2(CreateRequest),
    CreateContainer(CreateRequest),
    CreateTtl(CreateTtlRequest),
    Delete(DeleteRequest),
    DeleteContainer(DeleteContainerRequest),
    Exists(ExistsRequest),
    GetData(GetDataRequest),
    SetData(SetDataRequest),
    GetAcl(GetAclRequest),
    SetAcl(SetAclRequest),
    GetChildren(GetChildrenRequest),
    GetChildren2(GetChildrenRequest),
    GetAllChildrenNumber(GetAllChildrenNumberRequest),
    GetEphemerals(GetEphemeralsRequest),
    Sync(SyncRequest),
    Ping,
    Check(CheckVersionRequest),
    Multi(MultiRequest),
    MultiRead(MultiRequest),
    Reconfig(ReconfigRequest),
    CheckWatches(CheckWatchesRequest),
    RemoveWatches(RemoveWatchesRequest),
    SetWatches(SetWatchesRequest),
    SetWatches2(SetWatches2Request),
    AddWatch(AddWatchRequest),
    Auth(AuthRequest),
    Sasl(SaslRequest),
    WhoAmI,
    CloseSession,
}

impl Request {
    fn record(&self) -> Option<&dyn Encode> {
        Some(match self {
            Self::Create(r) | Self::Create2(r) | Self::CreateContainer(r) => r,
            Self::CreateTtl(r) => r,
            Self::Delete(r) => r,
            Self::DeleteContainer(r) => r,
            Self::Exists(r) => r,
            Self::GetData(r) => r,
            Self::SetData(r) => r,
            Self::GetAcl(r) => r,
            Self::SetAcl(r) => r,
            Self::GetChildren(r) | Self::GetChildren2(r) => r,
            Self::GetAllChildrenNumber(r) => r,
            Self::GetEphemerals(r) => r,
            Self::Sync(r) => r,
            Self::Check(r) => r,
            Self::Multi(r) | Self::MultiRead(r) => r,
            Self::Reconfig(r) => r,
            Self::CheckWatches(r) => r,
            Self::RemoveWatches(r) => r,
            Self::SetWatches(r) => r,
            Self::SetWatches2(r) => r,
            Self::AddWatch(r) => r,
            Self::Auth(r) => r,
            Self::Sasl(r) => r,
            Self::Ping | Self::WhoAmI | Self::CloseSession => return None,
        })
    }

    /// The path it is about, where it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        Some(match self {
            Self::Create(r) | Self::Create2(r) | Self::CreateContainer(r) => &r.path,
            Self::CreateTtl(r) => &r.path,
            Self::Delete(r) => &r.path,
            Self::DeleteContainer(r) => &r.path,
            Self::Exists(r) => &r.path,
            Self::GetData(r) => &r.path,
            Self::SetData(r) => &r.path,
            Self::GetAcl(r) => &r.path,
            Self::SetAcl(r) => &r.path,
            Self::GetChildren(r) | Self::GetChildren2(r) => &r.path,
            Self::GetAllChildrenNumber(r) => &r.path,
            Self::GetEphemerals(r) => &r.prefix,
            Self::Sync(r) => &r.path,
            Self::Check(r) => &r.path,
            Self::CheckWatches(r) => &r.path,
            Self::RemoveWatches(r) => &r.path,
            Self::AddWatch(r) => &r.path,
            _ => return None,
        })
    }
}

impl Encode for Request {
    /// Writes the record alone; the header is the caller's.
    fn encode(&self, out: &mut BytesMut) {
        if let Some(record) = self.record() {
            record.encode(out);
        }
    }

    fn encoded_len(&self) -> usize {
        self.record().map_or(0, Encode::encoded_len)
    }
}

/// What a server answers, after a [`crate::header::ReplyHeader`] whose error is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// No body: delete, ping, auth, setWatches(2), checkWatches, removeWatches, closeSession.
    Empty,
    /// To create.
    Create(CreateResponse),
    /// To create2, createContainer and createTTL.
    Create2(Create2Response),
    /// To exists, setData and setACL.
    Stat(StatResponse),
    /// To getData and reconfig.
    GetData(GetDataResponse),
    /// To getACL.
    GetAcl(GetAclResponse),
    /// To getChildren.
    GetChildren(GetChildrenResponse),
    /// To getChildren2.
    GetChildren2(GetChildren2Response),
    /// To getAllChildrenNumber.
    GetAllChildrenNumber(GetAllChildrenNumberResponse),
    /// To getEphemerals.
    GetEphemerals(GetEphemeralsResponse),
    /// To sync.
    Sync(SyncResponse),
    /// To multi and multiRead.
    Multi(MultiResponse),
    /// To addWatch.
    Error(ErrorResponse),
    /// To sasl.
    Sasl(SaslResponse),
    /// To whoAmI.
    WhoAmI(WhoAmIResponse),
}

impl Response {
    /// Reads the body that answers a request of this operation.
    ///
    /// # Errors
    /// What the record finds wrong, and [`DecodeError::UnknownValue`] for an operation without answer.
    pub fn decode(op: OpCode, input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::Ping
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::Check
            | OpCode::CloseSession => Self::Empty,
            OpCode::Create => Self::Create(Decode::decode(input)?),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Self::Create2(Decode::decode(input)?)
            }
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl => Self::Stat(Decode::decode(input)?),
            OpCode::GetData | OpCode::Reconfig => Self::GetData(Decode::decode(input)?),
            OpCode::GetAcl => Self::GetAcl(Decode::decode(input)?),
            OpCode::GetChildren => Self::GetChildren(Decode::decode(input)?),
            OpCode::GetChildren2 => Self::GetChildren2(Decode::decode(input)?),
            OpCode::GetAllChildrenNumber => Self::GetAllChildrenNumber(Decode::decode(input)?),
            OpCode::GetEphemerals => Self::GetEphemerals(Decode::decode(input)?),
            OpCode::Sync => Self::Sync(Decode::decode(input)?),
            OpCode::Multi | OpCode::MultiRead => Self::Multi(Decode::decode(input)?),
            OpCode::AddWatch => Self::Error(Decode::decode(input)?),
            OpCode::Sasl => Self::Sasl(Decode::decode(input)?),
            OpCode::WhoAmI => Self::WhoAmI(Decode::decode(input)?),
            OpCode::Notification | OpCode::CreateSession | OpCode::Error => {
                return Err(DecodeError::UnknownValue {
                    what: "answered operation",
                    value: op.code().into(),
                });
            }
        })
    }

    fn record(&self) -> Option<&dyn Encode> {
        Some(match self {
            Self::Empty => return None,
            Self::Create(r) => r,
            Self::Create2(r) => r,
            Self::Stat(r) => r,
            Self::GetData(r) => r,
            Self::GetAcl(r) => r,
            Self::GetChildren(r) => r,
            Self::GetChildren2(r) => r,
            Self::GetAllChildrenNumber(r) => r,
            Self::GetEphemerals(r) => r,
            Self::Sync(r) => r,
            Self::Multi(r) => r,
            Self::Error(r) => r,
            Self::Sasl(r) => r,
            Self::WhoAmI(r) => r,
        })
    }
}

impl Encode for Response {
    /// Writes the record alone; the header is the caller's.
    fn encode(&self, out: &mut BytesMut) {
        if let Some(record) = self.record() {
            record.encode(out);
        }
    }

    fn encoded_len(&self) -> usize {
        self.record().map_or(0, Encode::encoded_len)
    }
}
