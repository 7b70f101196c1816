//! The records of a transaction log: framing, and the walk over a file that may end in the middle of one.
//!
//! Invariant: what the walk yields has its end mark and its checksum, and everything before it had too.
//!
//! Deliberately not here: whether damage is a torn write or corruption. That depends on which file it is in
//! and on whether a valid record follows ([`find_record`]).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::{FileHeader, adler32};

/// How many bytes a record takes besides its payload: checksum, length and end mark.
pub const RECORD_OVERHEAD: usize = PREFIX + 1;

/// Checksum and length.
const PREFIX: usize = 12;

/// What stands after every payload (`EOR` in `FileTxnLog`).
const END_MARK: u8 = 0x42;

/// Appends one record.
///
/// The checksum covers the payload alone. An empty payload must not be written: it reads as the end.
pub fn put_record(out: &mut BytesMut, payload: &[u8]) {
    debug_assert!(!payload.is_empty(), "an empty record is the end of the log");
    out.reserve(RECORD_OVERHEAD + payload.len());
    out.put_i64(i64::from(adler32(payload)));
    crate::jute::put_buffer(out, payload);
    out.put_u8(END_MARK);
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Where it begins in the file.
    pub offset: u64,
    /// A [`TxnLogEntry`](crate::txn::TxnLogEntry), still encoded.
    pub payload: Bytes,
}

/// One step of a walk over a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogStep {
    /// The next record.
    Record(LogRecord),
    /// The file goes on, and at least this many more bytes of it must be fed first.
    NeedsBytes(usize),
    /// The file, or what is written of it, ends where a record ends: at [`LogCursor::offset`].
    End,
}

/// The log is not intact from `offset` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("log record at offset {offset}: {kind}")]
pub struct LogDamage {
    /// Where the damaged record begins; everything before it is intact.
    pub offset: u64,
    /// What is wrong with it.
    pub kind: LogDamageKind,
}

/// What is wrong with a log record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LogDamageKind {
    /// The file, or what was written of it, ends inside the record: Apache takes that for the log's end.
    #[error("not written to its end")]
    Torn,
    /// The payload is not the one the checksum was made of: fatal to Apache.
    #[error("checksum mismatch")]
    BadChecksum,
    /// The length is negative: fatal to Apache.
    #[error("length {0}")]
    BadLength(i32),
}

/// Walks over the records of a log, fed with the file's bytes piece by piece.
///
/// ```
/// use zk_proto::persist::{FileHeader, LogCursor, LogStep, put_record};
/// use zk_proto::jute::Encode;
///
/// let mut file = bytes::BytesMut::new();
/// FileHeader::LOG.encode(&mut file);
/// put_record(&mut file, b"one");
///
/// let mut log = LogCursor::new(file.len() as u64);
/// log.feed(&file[FileHeader::LEN..]);
/// let Ok(LogStep::Record(record)) = log.next_record() else { panic!("a whole record was fed") };
/// assert_eq!((record.offset, &record.payload[..]), (16, &b"one"[..]));
/// assert_eq!(log.next_record(), Ok(LogStep::End));
/// ```
#[derive(Debug)]
pub struct LogCursor {
    fed: BytesMut,
    offset: u64,
    file_len: u64,
}

impl LogCursor {
    /// A walk over a file of this length, from the first record on.
    #[must_use]
    pub fn new(file_len: u64) -> Self {
        Self {
            fed: BytesMut::new(),
            offset: FileHeader::LEN as u64,
            file_len,
        }
    }

    /// Gives the next bytes of the file; the first ones are those after the [`FileHeader`].
    pub fn feed(&mut self, bytes: &[u8]) {
        self.fed.extend_from_slice(bytes);
    }

    /// Where in the file the next record begins; after the end or damage, where the intact part ends.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record, if it is there and intact.
    ///
    /// # Errors
    /// [`LogDamage`]; the walk cannot go on after it, and asking again gives the same answer.
    pub fn next_record(&mut self) -> Result<LogStep, LogDamage> {
        let left = usize::try_from(self.file_len.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        if left < PREFIX {
            return self.remnant(left);
        }
        let Some((crc, len)) = prefix(&self.fed) else {
            return Ok(LogStep::NeedsBytes(PREFIX - self.fed.len()));
        };
        if len == 0 {
            // Preallocated space is zeros; a checksum before it was the start of a record.
            return match crc {
                0 => Ok(LogStep::End),
                _ => self.damage(LogDamageKind::Torn),
            };
        }
        let Ok(payload_len) = usize::try_from(len) else {
            return self.damage(LogDamageKind::BadLength(len));
        };
        let whole = RECORD_OVERHEAD + payload_len;
        if whole > left {
            return self.damage(LogDamageKind::Torn);
        }
        if self.fed.len() < whole {
            return Ok(LogStep::NeedsBytes(whole - self.fed.len()));
        }
        match judge(&self.fed[..whole], crc) {
            Some(kind) => self.damage(kind),
            None => Ok(LogStep::Record(self.take(payload_len))),
        }
    }

    /// The file ends before another prefix would fit.
    fn remnant(&self, left: usize) -> Result<LogStep, LogDamage> {
        if self.fed.len() < left {
            return Ok(LogStep::NeedsBytes(left - self.fed.len()));
        }
        match self.fed[..left].iter().all(|byte| *byte == 0) {
            true => Ok(LogStep::End),
            false => self.damage(LogDamageKind::Torn),
        }
    }

    fn take(&mut self, payload_len: usize) -> LogRecord {
        let offset = self.offset;
        self.offset += (RECORD_OVERHEAD + payload_len) as u64;
        self.fed.advance(PREFIX);
        let payload = self.fed.split_to(payload_len).freeze();
        self.fed.advance(1);
        LogRecord { offset, payload }
    }

    const fn damage(&self, kind: LogDamageKind) -> Result<LogStep, LogDamage> {
        Err(LogDamage {
            offset: self.offset,
            kind,
        })
    }
}

/// The checksum and the length at the front, once they are there.
fn prefix(mut bytes: &[u8]) -> Option<(i64, i32)> {
    (bytes.len() >= PREFIX).then(|| (bytes.get_i64(), bytes.get_i32()))
}

/// What is wrong with a whole record, if anything is; the end mark first, as in Apache.
fn judge(record: &[u8], crc: i64) -> Option<LogDamageKind> {
    match record.split_last() {
        Some((&END_MARK, record)) if i64::from(adler32(&record[PREFIX..])) == crc => None,
        Some((&END_MARK, _)) => Some(LogDamageKind::BadChecksum),
        _ => Some(LogDamageKind::Torn),
    }
}

/// Finds the first place at which an intact record begins, however little sense the bytes before it make.
///
/// For what follows damage: bytes after a torn write hold no intact record, bytes after corruption do. A value
/// that a client stored can contain the image of a record; compare the zxid found with the log's own.
#[must_use]
pub fn find_record(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|at| {
        let rest = &bytes[*at..];
        let Some((crc, len)) = prefix(rest) else {
            return false;
        };
        let plausible = len > 0 && u32::try_from(crc).is_ok();
        let whole =
            usize::try_from(len).map_or(usize::MAX, |len| len.saturating_add(RECORD_OVERHEAD));
        plausible
            && rest
                .get(..whole)
                .is_some_and(|record| judge(record, crc).is_none())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOADS: [&[u8]; 3] = [b"one", b"two, a longer one", &[0xff; 40]];

    fn body() -> BytesMut {
        let mut out = BytesMut::new();
        PAYLOADS.iter().for_each(|p| put_record(&mut out, p));
        out
    }

    /// Walks over `body` as a file of `file_len` bytes, feeding `chunk` bytes whenever some are asked for.
    fn walk(body: &[u8], chunk: usize) -> (Vec<Bytes>, Result<u64, LogDamage>) {
        let mut cursor = LogCursor::new((FileHeader::LEN + body.len()) as u64);
        let (mut rest, mut found) = (body, Vec::new());
        loop {
            match cursor.next_record() {
                Ok(LogStep::Record(record)) => found.push(record.payload),
                Ok(LogStep::End) => return (found, Ok(cursor.offset())),
                Err(damage) => return (found, Err(damage)),
                Ok(LogStep::NeedsBytes(count)) => {
                    assert!(
                        count > 0 && count <= rest.len(),
                        "asks for what the file has"
                    );
                    let (now, later) = rest.split_at(chunk.max(1).min(rest.len()));
                    cursor.feed(now);
                    rest = later;
                }
            }
        }
    }

    fn record_ends() -> Vec<usize> {
        let mut end = 0;
        let step = |p: &&[u8]| {
            end += p.len() + RECORD_OVERHEAD;
            end
        };
        PAYLOADS.iter().map(step).collect()
    }

    #[test]
    fn records_come_back_whatever_the_pieces() {
        let body = body();
        for chunk in 1..=body.len() {
            let (found, end) = walk(&body, chunk);
            assert_eq!(found, PAYLOADS);
            assert_eq!(end, Ok(16 + body.len() as u64));
        }
    }

    #[test]
    fn zeros_after_the_last_record_are_the_end() {
        for zeros in 0..64 {
            let mut body = body();
            let written = 16 + body.len() as u64;
            body.put_bytes(0, zeros);
            assert_eq!(walk(&body, 7).1, Ok(written));
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_torn_at_the_record_that_was_cut() {
        let (body, ends) = (body(), record_ends());
        for cut in 0..body.len() {
            let whole = ends.iter().take_while(|end| **end <= cut).count();
            let intact = whole.checked_sub(1).map_or(0, |last| ends[last]);
            let (found, end) = walk(&body[..cut], 5);
            assert_eq!(found, PAYLOADS[..whole]);
            let offset = 16 + intact as u64;
            // The checksum's first four bytes are zeros: alone, they look like padding.
            match cut <= intact + 4 {
                true => assert_eq!(end, Ok(offset)),
                false => assert_eq!(
                    end.map_err(|d| (d.offset, d.kind)),
                    Err((offset, LogDamageKind::Torn))
                ),
            }
        }
    }

    #[test]
    fn a_record_cut_in_preallocated_space_is_torn_or_fails_its_checksum() {
        let (body, ends) = (body(), record_ends());
        for cut in ends[0]..ends[1] - 1 {
            let mut file = BytesMut::from(&body[..cut]);
            file.put_bytes(0, 256);
            let (found, end) = walk(&file, 64);
            assert_eq!(found, PAYLOADS[..1]);
            let at = 16 + ends[0] as u64;
            // As above: cut there, nothing shows that a record began.
            match cut <= ends[0] + 4 {
                true => assert_eq!(end, Ok(at)),
                false => assert_eq!(end.map_err(|d| d.offset), Err(at)),
            }
        }
    }

    #[test]
    fn a_flipped_bit_never_passes() {
        let (body, ends) = (body(), record_ends());
        for bit in 0..ends[0] * 8 {
            let mut file = body.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            let (found, end) = walk(&file, file.len());
            assert!(found.is_empty());
            let damage = end.expect_err("a damaged record was taken for intact");
            assert_eq!(damage.offset, 16);
        }
        let mut file = body;
        file[14] ^= 1;
        assert_eq!(
            walk(&file, 9).1.map_err(|d| d.kind),
            Err(LogDamageKind::BadChecksum)
        );
        file[8] = 0xff;
        assert!(matches!(
            walk(&file, 9).1.map_err(|d| d.kind),
            Err(LogDamageKind::BadLength(..0))
        ));
    }

    #[test]
    fn an_intact_record_is_found_behind_damage() {
        let (body, ends) = (body(), record_ends());
        assert_eq!(find_record(&body), Some(0));
        assert_eq!(find_record(&body[1..]), Some(ends[0] - 1));
        let mut torn = BytesMut::from(&body[ends[0] + 1..ends[1]]);
        assert_eq!(find_record(&torn), None);
        torn.put_bytes(0, 4096);
        assert_eq!(find_record(&torn), None);
    }
}
