//! A request frame that is encoded once and patched for every use.

use bytes::BytesMut;
use zk_proto::{Encode, OpCode, Xid, frame::put_frame, header::RequestHeader};

/// Where the xid is: after the frame's length.
const XID_AT: usize = 4;

/// Where the path is: after length, header and the path's own length. Every request here begins with one.
const PATH_AT: usize = 16;

/// How many digits a patched path ends with: as many as a sequential node's counter has.
pub(crate) const DIGITS: usize = 10;

/// A whole frame; [`append`](Self::append) fills in the xid and, if need be, the last ten characters of the path.
#[derive(Debug)]
pub(crate) struct Template {
    frame: Vec<u8>,
    digits_at: usize,
}

impl Template {
    /// The frame of `record`, whose first field is `path`.
    pub(crate) fn new(op: OpCode, path: &str, record: &dyn Encode) -> Self {
        let header = RequestHeader {
            xid: Xid(0),
            op: op.code(),
        };
        let mut frame = BytesMut::new();
        put_frame(&mut frame, &[&header, record]);
        debug_assert_eq!(&frame[PATH_AT..PATH_AT + path.len()], path.as_bytes());
        Self {
            frame: frame.to_vec(),
            digits_at: (PATH_AT + path.len()).saturating_sub(DIGITS),
        }
    }

    /// Appends the frame with this xid and, where given, this end of its path.
    pub(crate) fn append(&self, out: &mut Vec<u8>, xid: i32, digits: Option<[u8; DIGITS]>) {
        let at = out.len();
        out.extend_from_slice(&self.frame);
        out[at + XID_AT..at + XID_AT + 4].copy_from_slice(&xid.to_be_bytes());
        if let Some(digits) = digits {
            let digits_at = at + self.digits_at;
            out[digits_at..digits_at + DIGITS].copy_from_slice(&digits);
        }
    }
}

/// A number with leading zeros.
pub(crate) fn digits(mut number: u32) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use zk_proto::op::GetDataRequest;

    #[test]
    fn a_patched_frame_is_the_one_that_encoding_gives() {
        let get = |path: &str| GetDataRequest {
            path: path.into(),
            watch: false,
        };
        let path = "/load/k0000000000";
        let template = Template::new(OpCode::GetData, path, &get(path));
        let mut patched = Vec::new();
        template.append(&mut patched, 7, Some(digits(4_294_967_295)));

        let header = RequestHeader {
            xid: Xid(7),
            op: OpCode::GetData.code(),
        };
        let mut encoded = BytesMut::new();
        put_frame(&mut encoded, &[&header, &get("/load/k4294967295")]);
        assert_eq!(patched, encoded);
    }
}
