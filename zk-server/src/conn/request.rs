//! From a request's frame to where it is carried out.

use zk_proto::{
    Decode, DecodeError, ErrorCode, OpCode, Reader, Xid, header::RequestHeader, op::Request,
};

/// A request, with the place that carries it out.
#[derive(Debug, PartialEq)]
pub enum Routed {
    /// On the connection's own task, under the tree's read lock.
    Read {
        /// The client's number for it.
        xid: Xid,
        /// What it asks for.
        request: Request,
    },
    /// On the connection's own task, without the tree: auth and sasl.
    Local {
        /// The client's number for it.
        xid: Xid,
        /// What it asks for.
        request: Request,
    },
    /// By the peer: everything that takes a zxid or has to be ordered among those that do, and reads behind them.
    Peer {
        /// The client's number for it.
        xid: Xid,
        /// What it asks for; `None` for a multi that cannot be decoded, which takes a zxid all the same.
        request: Option<Request>,
    },
    /// Refused without being carried out.
    Refused(Refusal),
}

/// A request that is answered with an error and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The client's number for it.
    pub xid: Xid,
    /// The answer.
    pub code: ErrorCode,
    /// Whether the connection ends with the answer; its zxid is then -1, else the last one applied.
    pub close: bool,
}

/// Reads a request and decides who carries it out.
///
/// An unknown operation is refused with `Unimplemented` and ends the connection; so do the operations that
/// are the server's own, two of which (createSession, deleteContainer) Apache carries out for clients
/// without any check. A record that cannot be decoded is refused with `MarshallingError` (as Apache does),
/// and the connection goes on: frames keep requests apart.
///
/// # Errors
/// [`DecodeError`] when not even the header is there.
pub(super) fn route(mut reader: Reader) -> Result<Routed, DecodeError> {
    let RequestHeader { xid, op } = RequestHeader::decode(&mut reader)?;
    let Some(op) = OpCode::from_i32(op).filter(|op| is_for_clients(*op)) else {
        return Ok(Routed::Refused(Refusal {
            xid,
            code: ErrorCode::Unimplemented,
            close: true,
        }));
    };
    let request = match Request::decode(op, &mut reader) {
        Ok(request) => request,
        Err(_) if op == OpCode::Multi => return Ok(Routed::Peer { xid, request: None }),
        Err(_) => {
            return Ok(Routed::Refused(Refusal {
                xid,
                code: ErrorCode::MarshallingError,
                close: false,
            }));
        }
    };
    Ok(match op {
        OpCode::Auth | OpCode::Sasl => Routed::Local { xid, request },
        OpCode::Sync => Routed::Peer {
            xid,
            request: Some(request),
        },
        op if op.is_write() => Routed::Peer {
            xid,
            request: Some(request),
        },
        _ => Routed::Read { xid, request },
    })
}

/// Whether a client may send the operation at all.
const fn is_for_clients(op: OpCode) -> bool {
    !matches!(
        op,
        OpCode::Notification
            | OpCode::Check
            | OpCode::CreateSession
            | OpCode::DeleteContainer
            | OpCode::Error
    )
}
