//! The answers to writes (`FinalRequestProcessor`).

use bytes::BytesMut;
use zk_proto::{Encode, ErrorCode, OpCode, op::ErrorResponse};

use super::{
    Applied,
    read::{put_header, put_stat},
};

impl Applied {
    /// The error in the reply's header. A multi that failed has none: its parts tell.
    #[must_use]
    pub const fn error(&self) -> ErrorCode {
        match self {
            Self::Error(error) => *error,
            _ => ErrorCode::Ok,
        }
    }

    /// Appends the record that follows the reply's header; nothing where there is none.
    pub fn encode_reply(&self, out: &mut BytesMut) {
        match self {
            Self::Created { path, stat } => {
                path.encode(out);
                if let Some(stat) = stat {
                    put_stat(out, stat);
                }
            }
            Self::Set { stat } => stat.encode(out),
            Self::Reconfigured { data, stat } => {
                data.encode(out);
                stat.encode(out);
            }
            Self::Multi(parts) => {
                for part in parts {
                    part.encode_part(out);
                }
                put_header(out, OpCode::Error.code(), true, -1);
            }
            Self::Deleted
            | Self::Checked
            | Self::SessionCreated
            | Self::SessionClosed
            | Self::Error(_) => {}
        }
    }

    /// A part of a multi: the header of its kind, then its record.
    fn encode_part(&self, out: &mut BytesMut) {
        let op = match self {
            Self::Created { stat: None, .. } => OpCode::Create,
            Self::Created { stat: Some(_), .. } => OpCode::Create2,
            Self::Deleted => OpCode::Delete,
            Self::Set { .. } => OpCode::SetData,
            Self::Checked => OpCode::Check,
            Self::Reconfigured { .. }
            | Self::SessionCreated
            | Self::SessionClosed
            | Self::Multi(_)
            | Self::Error(_) => {
                let err = self.error().code();
                put_header(out, OpCode::Error.code(), false, err);
                ErrorResponse { err }.encode(out);
                return;
            }
        };
        put_header(out, op.code(), false, 0);
        self.encode_reply(out);
    }
}
