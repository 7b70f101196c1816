//! What lies behind the intact part of a log: nothing, a torn write, or corruption.
//!
//! A batch that was being written when the power went out leaves a *torn* tail, which nobody was promised and
//! which may be cut. *Corruption* is damage to something that was durable once: cutting there would lose what
//! follows. The two are told apart by what follows the damage:
//!
//! * no intact record of this log: a torn write (or damage to the very last record, which cannot be told from
//!   one; it is reported with its offset), unless it is longer than any write can leave;
//! * an intact record: corruption, with one exception. Disks write sectors in any order, so the later part of a
//!   torn batch may be there while an earlier one is not. Space in a log is zeros before it is written; what a
//!   disk did not write is therefore whole sectors of zeros. If every damaged record misses such a piece, and all
//!   of it is within what is ever written without an fdatasync, the batch was torn.
//!
//! See `docs/decisions/0002-torn-batches.md`.

use std::io;

use bytes::Bytes;
use zk_proto::{
    Decode, Zxid,
    jute::Reader,
    persist::{RECORD_OVERHEAD, adler32, find_record},
    txn::TxnHeader,
};

use super::UNSYNCED_BYTES_MAX;
use crate::storage::disk::DiskFile;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Checksum and length, before a record's payload.
const PREFIX: usize = RECORD_OVERHEAD - 1;

/// The first bytes of a record are the upper half of a 64-bit checksum of 32 bits: always zero.
const ZERO_PREFIX: usize = 4;

/// How much behind damage is looked at: more than a torn batch with the longest record can leave.
const LOOK_BYTES_MAX: usize = 64 << 20;

/// What lies behind the intact part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Tail {
    /// Zeros, or nothing.
    Clean,
    /// What a torn write left, in this many bytes.
    Torn { bytes: u64 },
    /// Damage before this offset, at which an intact record begins.
    Corrupt { intact_at: u64 },
    /// So many bytes, more than a torn write leaves; whether intact records are among them was not looked at.
    Endless { bytes: u64 },
}

/// Looks at a log behind its intact part, which ends at `offset` with the record `last`.
pub(in crate::storage) fn examine_tail(
    file: &mut dyn DiskFile,
    offset: u64,
    len: u64,
    last: Zxid,
) -> io::Result<Tail> {
    let Some(end) = data_end(file, offset, len)? else {
        return Ok(Tail::Clean);
    };
    let bytes = end - offset;
    let look = usize::try_from(bytes).map_or(LOOK_BYTES_MAX, |n| n.min(LOOK_BYTES_MAX));
    let mut region = vec![0; look];
    let got = file.read_at(offset, &mut region)?;
    region.truncate(got);
    let region = Region {
        bytes: &region,
        sector_offset: usize::try_from(offset % SECTOR as u64).unwrap_or_default(),
        last,
    };
    Ok(match region.next_intact(0) {
        None if bytes > LOOK_BYTES_MAX as u64 => Tail::Endless { bytes },
        None => Tail::Torn { bytes },
        Some(next) if bytes == got as u64 && region.is_torn_batch(next) => Tail::Torn { bytes },
        Some(at) => Tail::Corrupt {
            intact_at: offset + at as u64,
        },
    })
}

/// Where the last byte that is not zero ends; `None` when all are zeros.
fn data_end(file: &mut dyn DiskFile, offset: u64, len: u64) -> io::Result<Option<u64>> {
    let left = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut piece = vec![0; left.min(256 << 10)];
    let (mut at, mut end) = (offset, None);
    while at < len {
        let got = file.read_at(at, &mut piece)?;
        if got == 0 {
            break;
        }
        let last = piece[..got].iter().rposition(|byte| *byte != 0);
        end = last.map(|last| at + last as u64 + 1).or(end);
        at += got as u64;
    }
    Ok(end)
}

/// The bytes behind the intact part; positions count from there.
struct Region<'a> {
    bytes: &'a [u8],
    /// Where in its sector the region begins.
    sector_offset: usize,
    last: Zxid,
}

impl Region<'_> {
    /// The next place at or after `from` where an intact record of this log begins.
    fn next_intact(&self, from: usize) -> Option<usize> {
        let mut from = from;
        loop {
            let at = from + find_record(self.bytes.get(from..)?)?;
            if self.belongs(at) {
                return Some(at);
            }
            from = at + 1;
        }
    }

    /// Whether the record there can be one of this log: a value that a client stored may hold the image of one.
    ///
    /// Records between the intact part and this one have taken zxids and space.
    fn belongs(&self, at: usize) -> bool {
        let payload = self.bytes.get(at + PREFIX..).unwrap_or_default();
        let header = payload.get(..TxnHeader::MIN_LEN).unwrap_or_default();
        let mut input = Reader::new(Bytes::copy_from_slice(header));
        let Ok(TxnHeader { zxid, .. }) = TxnHeader::decode(&mut input) else {
            return false;
        };
        let between = (at / (RECORD_OVERHEAD + TxnHeader::MIN_LEN)) as i64 + 1;
        match zxid.epoch().cmp(&self.last.epoch()) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => zxid > self.last && zxid.0 - self.last.0 <= between,
            std::cmp::Ordering::Greater => i64::from(zxid.counter()) <= between,
        }
    }

    /// Whether lost sectors of one batch explain all of the damage, the first of which ends at or before `next`.
    fn is_torn_batch(&self, next: usize) -> bool {
        let (mut at, mut next, mut last_start) = (0, Some(next), 0);
        while let Some(intact) = next {
            at = match self.lost_from(at) {
                None => return false,
                Some(Lost::UpTo(end)) => end.min(intact),
                Some(Lost::Unknown) => intact,
            };
            while let Some(len) = self.intact_len(at) {
                last_start = at;
                at += len;
            }
            next = self.next_intact(at);
        }
        last_start <= UNSYNCED_BYTES_MAX
    }

    fn intact_len(&self, at: usize) -> Option<usize> {
        let rest = self.bytes.get(at..)?;
        let len = self.len_at(at)?;
        let record = rest.get(..len)?;
        (find_record(record) == Some(0) && self.belongs(at)).then_some(len)
    }

    /// The length of the record that begins at `at`, if it has one.
    fn len_at(&self, at: usize) -> Option<usize> {
        let field = self.bytes.get(at + 8..at + PREFIX)?;
        let len = i32::from_be_bytes(field.try_into().ok()?);
        let payload = usize::try_from(len).ok().filter(|len| *len > 0)?;
        payload.checked_add(RECORD_OVERHEAD)
    }

    /// Which part of the damaged record at `at` was never written, if any.
    fn lost_from(&self, at: usize) -> Option<Lost> {
        let sector_end = self.sector_end(at);
        let head = self.zeros_until(at, sector_end);
        let in_head = sector_end - at;
        if head && in_head >= PREFIX {
            return Some(Lost::Unknown);
        }
        // Where the length is lost with the next sector, this says nothing yet.
        if head
            && in_head > ZERO_PREFIX
            && let Some(lost) = self.lost_head(at, in_head)
        {
            return Some(lost);
        }
        if in_head < PREFIX && self.is_lost_sector(sector_end) {
            return Some(Lost::Unknown);
        }
        let end = at + self.len_at(at)?;
        let mut sector = sector_end;
        while sector < end {
            if self.is_lost_sector(sector) {
                return Some(Lost::UpTo(end));
            }
            sector += SECTOR;
        }
        None
    }

    /// The first few bytes of a record are zeros, up to the end of their sector: if what is left of its prefix
    /// fits the rest, they were lost; a checksum can also begin with a zero of its own.
    fn lost_head(&self, at: usize, lost: usize) -> Option<Lost> {
        if lost > 8 {
            return Some(Lost::Unknown);
        }
        let len = self.len_at(at)?;
        let record = self.bytes.get(at..at + len)?;
        let sum = u64::from(adler32(&record[PREFIX..len - 1])).to_be_bytes();
        (sum[lost..] == record[lost..8]).then_some(Lost::UpTo(at + len))
    }

    fn sector_end(&self, at: usize) -> usize {
        at + SECTOR - (self.sector_offset + at) % SECTOR
    }

    /// Behind the last byte that is not zero, everything is.
    fn zeros_until(&self, from: usize, to: usize) -> bool {
        let part = self.bytes.get(from..to.min(self.bytes.len()));
        part.unwrap_or_default().iter().all(|byte| *byte == 0)
    }

    fn is_lost_sector(&self, start: usize) -> bool {
        start < self.bytes.len() && self.zeros_until(start, start + SECTOR)
    }
}

/// The extent of a damaged record of which a piece was never written.
enum Lost {
    /// It ends here.
    UpTo(usize),
    /// Its length was lost, too.
    Unknown,
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use zk_proto::{Encode, SessionId, Xid, persist::put_record};

    use super::*;
    use crate::storage::{Access, Disk, MemDisk};

    fn put(out: &mut BytesMut, zxid: i64, len: usize) {
        let header = TxnHeader {
            client_id: SessionId(1),
            cxid: Xid(1),
            zxid: Zxid(zxid),
            time: 1_700_000_000_000 + zxid * 7919,
            kind: 5,
        };
        let mut payload = BytesMut::new();
        header.encode(&mut payload);
        payload.resize(payload.len() + len, b'x');
        put_record(out, &payload);
    }

    /// A synced record and a batch behind it: the bytes, where each record ends.
    fn log(first: usize) -> (Vec<u8>, Vec<usize>) {
        let (mut out, mut ends) = (BytesMut::zeroed(16), Vec::new());
        for (zxid, len) in (1..).zip([first, 30, 700, 90, 1300, 25, 3]) {
            put(&mut out, zxid, len);
            ends.push(out.len());
        }
        out.resize(out.len() + 1000, 0);
        (out.to_vec(), ends)
    }

    fn tail_of(bytes: &[u8], whole: &[u8], ends: &[usize]) -> Tail {
        let intact = ends
            .iter()
            .take_while(|end| bytes[..**end] == whole[..**end]);
        let count = intact.count();
        let disk = MemDisk::new();
        let mut file = disk.create("log", Access::Default).unwrap();
        file.write_at(0, bytes).unwrap();
        let offset = ends[count - 1] as u64;
        examine_tail(&mut *file, offset, bytes.len() as u64, Zxid(count as i64)).unwrap()
    }

    #[test]
    fn whatever_sectors_of_a_batch_are_lost_it_is_a_torn_one() {
        for first in 0..SECTOR {
            let (whole, ends) = log(first);
            let (start, end) = (ends[0], *ends.last().unwrap());
            for from in start / SECTOR..=end / SECTOR {
                for to in from..=(from + 3).min(end / SECTOR) {
                    for other in [None, Some(to + 2)] {
                        let mut bytes = whole.clone();
                        for sector in (from..=to).chain(other) {
                            let (a, b) = (sector * SECTOR, (sector + 1) * SECTOR);
                            let b = b.min(bytes.len());
                            bytes[a.max(start).min(b)..b].fill(0);
                        }
                        let tail = tail_of(&bytes, &whole, &ends);
                        let is_good = matches!(tail, Tail::Torn { .. } | Tail::Clean);
                        assert!(is_good, "{first} {from}..={to} {other:?}: {tail:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_before_an_intact_record_is_corruption() {
        let (whole, ends) = log(100);
        for at in ends[0]..ends[5] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let tail = tail_of(&bytes, &whole, &ends);
            assert!(matches!(tail, Tail::Corrupt { .. }), "{at}: {tail:?}");
        }
    }
}
