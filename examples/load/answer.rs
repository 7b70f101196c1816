//! Whether an answer is the one that was due, read where it lies.

use std::time::Instant;

use zk_proto::ErrorCode;

use super::{
    Result,
    template::DIGITS,
    work::{Kind, Shape},
};

/// A reply's header: xid, zxid, error.
const HEADER: usize = 16;

/// A node's Stat on the wire.
const STAT: usize = 68;

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) kind: Kind,
    pub(crate) xid: i32,
    pub(crate) since: Instant,
}

/// Checks that `answer` is what was asked for; gives the counter of a new sequential node.
pub(crate) fn check(
    asked: &InFlight,
    answer: &[u8],
    shape: &Shape,
) -> Result<Option<[u8; DIGITS]>> {
    let (Some(xid), Some(error)) = (int(answer, 0), int(answer, 12)) else {
        return Err("an answer without a header".into());
    };
    if xid != asked.xid {
        return Err(format!("answer {xid} came where {} was due", asked.xid).into());
    }
    if error != ErrorCode::Ok.code() {
        let code = ErrorCode::from_i32(error);
        return Err(format!("{:?}: {code}", asked.kind).into());
    }
    let fits = match asked.kind {
        Kind::Get => answer.len() == HEADER + 4 + shape.size + STAT,
        Kind::Set => answer.len() == HEADER + STAT,
        Kind::Create | Kind::CreateLock => answer.len() > HEADER + 4 + DIGITS,
        Kind::Delete => answer.len() == HEADER,
    };
    if !fits {
        return Err(format!("{:?}: an answer of {} bytes", asked.kind, answer.len()).into());
    }
    Ok(answer.last_chunk::<DIGITS>().copied())
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(i32::from_be_bytes(*bytes))
}
