//! The walk over a snapshot, in a file or on the link from a leader.
//!
//! Invariant: the checksum covers what the walk has gone over, no more and no less, so that it is the seal's at
//! the end.

use bytes::{Bytes, BytesMut};

use super::{AclEntry, Adler32, NodeRecord, SessionEntry};
use crate::{
    error::DecodeError,
    jute::{Decode, Reader},
};

/// One step of a walk over a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotStep {
    /// A session; sessions come first.
    Session(SessionEntry),
    /// An entry of the ACL cache; they come before the nodes.
    Acl(AclEntry),
    /// A node; its parent came before.
    Node(NodeRecord),
    /// At least this many more bytes must be fed first.
    NeedsBytes(usize),
    /// The end of the tree; [`SnapshotCursor::finish`] gives what was fed behind it.
    End,
}

/// What is due.
#[derive(Debug, Clone, Copy)]
enum Due {
    SessionCount,
    Sessions(usize),
    AclCount,
    Acls(usize),
    Nodes,
    Nothing,
}

/// Walks over the sessions, the ACL cache and the nodes of a snapshot, fed piece by piece.
///
/// Data and paths are slices of the pieces fed: whoever keeps them keeps the piece.
#[derive(Debug)]
pub struct SnapshotCursor {
    fed: Reader,
    due: Due,
    checksum: Adler32,
    limit: usize,
}

impl SnapshotCursor {
    /// A walk from the count of sessions on.
    ///
    /// `before` has taken in the bytes before it: the [`FileHeader`](super::FileHeader) of a file, nothing on a link.
    /// A session, an ACL or a node that takes more than `limit` bytes is refused instead of waited for.
    #[must_use]
    pub const fn new(before: Adler32, limit: usize) -> Self {
        Self {
            fed: Reader::new(Bytes::new()),
            due: Due::SessionCount,
            checksum: before,
            limit,
        }
    }

    /// Gives the next bytes.
    pub fn feed(&mut self, bytes: Bytes) {
        if self.fed.remaining() == 0 {
            self.fed = Reader::new(bytes);
            return;
        }
        let mut joined = BytesMut::with_capacity(self.fed.remaining() + bytes.len());
        joined.extend_from_slice(self.fed.rest());
        joined.extend_from_slice(&bytes);
        self.fed = Reader::new(joined.freeze());
    }

    /// The next session, ACL or node.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] over the limit, and what the record finds wrong; the walk cannot go on then.
    pub fn next_step(&mut self) -> Result<SnapshotStep, DecodeError> {
        loop {
            let (due, step) = match self.attempt() {
                Ok(done) => done,
                Err(DecodeError::Truncated { needed }) => return self.needs(needed),
                Err(error) => return Err(error),
            };
            self.due = due;
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Takes what is due, if it is there; else leaves everything as it was.
    fn attempt(&mut self) -> Result<(Due, Option<SnapshotStep>), DecodeError> {
        let mut input = self.fed.clone();
        let done = match self.due {
            Due::SessionCount => (Due::Sessions(count(&mut input)?), None),
            Due::Sessions(0) => (Due::AclCount, None),
            Due::Sessions(left) => {
                let session = SessionEntry::decode(&mut input)?;
                (
                    Due::Sessions(left - 1),
                    Some(SnapshotStep::Session(session)),
                )
            }
            Due::AclCount => (Due::Acls(count(&mut input)?), None),
            Due::Acls(0) => (Due::Nodes, None),
            Due::Acls(left) => {
                let acl = AclEntry::decode(&mut input)?;
                (Due::Acls(left - 1), Some(SnapshotStep::Acl(acl)))
            }
            Due::Nodes => match NodeRecord::decode_next(&mut input)? {
                Some(node) => (Due::Nodes, Some(SnapshotStep::Node(node))),
                None => (Due::Nothing, Some(SnapshotStep::End)),
            },
            Due::Nothing => (Due::Nothing, Some(SnapshotStep::End)),
        };
        let taken = self.fed.remaining() - input.remaining();
        self.checksum.update(&self.fed.rest()[..taken]);
        self.fed = input;
        Ok(done)
    }

    fn needs(&self, needed: usize) -> Result<SnapshotStep, DecodeError> {
        match self.fed.remaining().saturating_add(needed) {
            len if len > self.limit => Err(DecodeError::TooLong {
                len,
                limit: self.limit,
            }),
            _ => Ok(SnapshotStep::NeedsBytes(needed)),
        }
    }

    /// The checksum of everything gone over, and the bytes that were fed behind it.
    ///
    /// In a file, [`SnapshotTrailer::take`](super::SnapshotTrailer::take) reads on from there; on a link,
    /// [`SNAP_SIGNATURE`](crate::quorum::SNAP_SIGNATURE) and packets follow.
    #[must_use]
    pub fn finish(mut self) -> (Adler32, Bytes) {
        (self.checksum, self.fed.take_rest())
    }
}

fn count(input: &mut Reader) -> Result<usize, DecodeError> {
    let count = input.i32()?;
    usize::try_from(count).map_err(|_| DecodeError::NegativeLength(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        acl::Acl,
        ids::SessionId,
        jute::{Encode, put_string},
        persist::{SnapshotTrailer, TREE_END, put_node},
        stat::StatPersisted,
        zxid::Zxid,
    };

    fn session(id: i64) -> SessionEntry {
        SessionEntry {
            id: SessionId(id),
            timeout_ms: 4000,
        }
    }

    fn acl(id: i64) -> AclEntry {
        AclEntry {
            id,
            acl: Acl::open(),
        }
    }

    fn snapshot(trailer: &SnapshotTrailer) -> Bytes {
        let mut out = BytesMut::new();
        vec![session(1), session(2)].encode(&mut out);
        vec![acl(1)].encode(&mut out);
        put_node(&mut out, "", None, -1, &StatPersisted::default());
        put_node(&mut out, "/a", Some(b"data"), 1, &StatPersisted::default());
        put_string(&mut out, TREE_END);
        let mut checksum = Adler32::new();
        checksum.update(&out);
        trailer.put(&mut out, &mut checksum);
        out.freeze()
    }

    #[test]
    fn everything_comes_back_whatever_the_pieces_and_the_seals_hold() {
        let trailer = SnapshotTrailer {
            digest: None,
            last_processed: Some(Zxid(7)),
        };
        let whole = snapshot(&trailer);
        for chunk in 1..=whole.len() {
            let mut cursor = SnapshotCursor::new(Adler32::new(), 1 << 20);
            let (mut rest, mut steps) = (whole.clone(), Vec::new());
            loop {
                match cursor.next_step().unwrap() {
                    SnapshotStep::NeedsBytes(needed) => {
                        assert!(needed > 0 && needed <= rest.len(), "asks for what there is");
                        cursor.feed(rest.split_to(chunk.min(rest.len())));
                    }
                    SnapshotStep::End => break,
                    SnapshotStep::Node(node) => steps.push(node.path.to_string()),
                    SnapshotStep::Session(session) => steps.push(session.id.to_string()),
                    SnapshotStep::Acl(acl) => steps.push(acl.id.to_string()),
                }
            }
            assert_eq!(steps, ["0x1", "0x2", "1", "", "/a"]);
            assert_eq!(cursor.next_step(), Ok(SnapshotStep::End));
            let (mut checksum, behind) = cursor.finish();
            let mut end = BytesMut::from(&behind[..]);
            end.extend_from_slice(&rest);
            let mut end = Reader::new(end.freeze());
            assert_eq!(SnapshotTrailer::take(&mut end, &mut checksum), Ok(trailer));
        }
    }

    #[test]
    fn a_claimed_length_over_the_limit_is_refused_at_once() {
        let mut cursor = SnapshotCursor::new(Adler32::new(), 64);
        let mut head = BytesMut::new();
        [0_i32, 0, 0, i32::MAX]
            .iter()
            .for_each(|int| int.encode(&mut head));
        cursor.feed(head.freeze());
        assert!(matches!(
            cursor.next_step(),
            Err(DecodeError::TooLong { limit: 64, .. })
        ));
    }
}
