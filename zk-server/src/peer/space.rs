//! Writes that are refused while there is little room left for the log.
//!
//! A full disk would end the member; this way clients can still read, delete, and end their sessions, whose records
//! are small. A refusal is no transaction, or it would take up room itself. Apache has nothing like it.

use zk_proto::op::{MultiOp, Request};

/// Whether a request leaves more on the disk than its record: whatever adds or replaces data.
pub(super) fn needs_room(request: &Request) -> bool {
    match request {
        Request::Create(_)
        | Request::Create2(_)
        | Request::CreateContainer(_)
        | Request::CreateTtl(_)
        | Request::SetData(_)
        | Request::SetAcl(_)
        | Request::Reconfig(_) => true,
        Request::Multi(multi) => multi
            .ops
            .iter()
            .any(|op| !matches!(op, MultiOp::Delete(_) | MultiOp::Check(_))),
        _ => false,
    }
}
