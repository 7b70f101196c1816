//! Frames to a client, written in place: length, header, record, and the length put in at the end.

use bytes::{BufMut, BytesMut};
use zk_proto::{
    Encode, ErrorCode, Xid, Zxid,
    header::ReplyHeader,
    watch::{EventType, KeeperState},
};

use crate::frames::{Frames, Mark};

/// Length, xid, zxid and error code.
const HEADER: usize = 4 + 4 + 8 + 4;

/// Appends a reply whose record `body` writes; an error from it makes a reply without a record.
pub fn put_reply<F>(out: &mut Frames, xid: Xid, zxid: Zxid, body: F) -> Result<(), ErrorCode>
where
    F: FnOnce(&mut Frames) -> Result<(), ErrorCode>,
{
    let at = out.mark();
    let own = out.own_mut();
    own.reserve(HEADER + 64);
    own.put_u32(0);
    put_header(own, xid, zxid, ErrorCode::Ok);
    let result = body(out);
    if let Err(code) = result {
        out.truncate(&at);
        out.own_mut().put_u32(0);
        put_header(out.own_mut(), xid, zxid, code);
    }
    set_len(out, &at);
    result
}

/// Appends a reply without a record.
pub fn put_empty(out: &mut Frames, xid: Xid, zxid: Zxid, code: ErrorCode) {
    let out = out.own_mut();
    out.reserve(HEADER);
    out.put_u32(16);
    put_header(out, xid, zxid, code);
}

/// Appends a frame without a header: the connect response.
pub fn put_bare(out: &mut Frames, record: &impl Encode) {
    let at = out.mark();
    out.own_mut().put_u32(0);
    record.encode(out.own_mut());
    set_len(out, &at);
}

/// Appends a watch event.
pub fn put_event(out: &mut Frames, zxid: Zxid, event: EventType, path: &str) {
    let at = out.mark();
    let own = out.own_mut();
    own.reserve(HEADER + 12 + path.len());
    own.put_u32(0);
    put_header(own, Xid::NOTIFICATION, zxid, ErrorCode::Ok);
    own.put_i32(event as i32);
    own.put_i32(KeeperState::SyncConnected as i32);
    own.put_u32(u32::try_from(path.len()).unwrap_or(u32::MAX));
    own.put_slice(path.as_bytes());
    set_len(out, &at);
}

fn put_header(out: &mut BytesMut, xid: Xid, zxid: Zxid, code: ErrorCode) {
    let err = code.code();
    ReplyHeader { xid, zxid, err }.encode(out);
}

fn set_len(out: &mut Frames, at: &Mark) {
    let len = u32::try_from(out.len_since(at) - 4).unwrap_or(u32::MAX);
    out.own_since(at)[..4].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use zk_proto::{Decode, frame, watch::WatcherEvent};

    use super::*;

    #[test]
    fn an_error_leaves_nothing_of_the_record() {
        let mut out = Frames::new();
        out.own_mut().put_slice(b"before");
        let result = put_reply(&mut out, Xid(7), Zxid(9), |out| {
            out.own_mut().put_slice(b"half a record");
            out.push_shared(bytes::Bytes::from_static(b"and data"));
            Err(ErrorCode::NoNode)
        });
        assert_eq!(result, Err(ErrorCode::NoNode));
        let mut same = Frames::new();
        same.own_mut().put_slice(b"before");
        put_empty(&mut same, Xid(7), Zxid(9), ErrorCode::NoNode);
        assert_eq!(out.len(), same.len());
        assert_eq!(out.own_mut(), same.own_mut());
    }

    #[test]
    fn an_event_reads_back() {
        let mut out = Frames::new();
        put_event(&mut out, Zxid(5), EventType::NodeDeleted, "/a");
        let out = out.own_mut();
        let body = frame::take_frame(out, 1024).unwrap().unwrap();
        let mut reader = zk_proto::Reader::new(body);
        let header = ReplyHeader::decode(&mut reader).unwrap();
        assert_eq!(
            (header.xid, header.zxid, header.err),
            (Xid::NOTIFICATION, Zxid(5), 0)
        );
        let event = WatcherEvent::decode(&mut reader).unwrap();
        assert_eq!(event.path, "/a");
        assert_eq!(event.event_type, EventType::NodeDeleted);
        assert!(out.is_empty() && reader.finish().is_ok());
    }
}
