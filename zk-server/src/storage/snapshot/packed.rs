//! The bytes of a snapshot file, unpacked where they are packed (`SnapStream`).
//!
//! Three kinds: plain, gzip, and snappy in the framing of the library `snappy-java`: a header of 16 bytes, then
//! blocks, each a big-endian length and that many bytes of raw snappy.

use std::io::{self, Read};

use crate::storage::{
    disk::{Disk, DiskFile},
    layout::{Packing, SnapshotFile},
};

/// The unpacked bytes of a snapshot, and how many there can be at most.
pub(super) struct Unpacked {
    pub(super) bytes: Box<dyn Read + Send>,
    pub(super) limit: u64,
    /// The length of the file.
    pub(super) file_len: u64,
}

/// Opens a snapshot file for reading from the beginning.
pub(super) fn open(disk: &dyn Disk, file: &SnapshotFile) -> io::Result<Unpacked> {
    let reader = FileReader {
        file: disk.open(&file.name)?,
        offset: 0,
    };
    let len = reader.file.file_len()?;
    Ok(match file.packing {
        Packing::Plain => Unpacked {
            bytes: Box::new(reader),
            limit: len,
            file_len: len,
        },
        Packing::Gzip => Unpacked {
            bytes: Box::new(flate2::read::MultiGzDecoder::new(reader)),
            limit: u64::MAX,
            file_len: len,
        },
        Packing::Snappy => Unpacked {
            bytes: Box::new(SnappyReader::new(io::BufReader::new(reader))?),
            limit: u64::MAX,
            file_len: len,
        },
    })
}

struct FileReader {
    file: Box<dyn DiskFile>,
    offset: u64,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(self.offset, buffer)?;
        self.offset += got as u64;
        Ok(got)
    }
}

/// What a stream of `SnappyOutputStream` begins with; two version numbers follow.
const SNAPPY_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

/// Longer than any block of `SnappyOutputStream`, whose largest block size is 512 MiB; ours to bound memory.
const BLOCK_LEN_MAX: usize = 64 << 20;

struct SnappyReader<R> {
    input: R,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> SnappyReader<R> {
    fn new(mut input: R) -> io::Result<Self> {
        let mut header = [0; 16];
        input.read_exact(&mut header)?;
        match header.starts_with(&SNAPPY_MAGIC) {
            true => Ok(Self {
                input,
                block: Vec::new(),
                at: 0,
            }),
            false => Err(invalid("not a snappy stream")),
        }
    }

    /// Unpacks the next block; an empty one at the end.
    fn next_block(&mut self) -> io::Result<()> {
        self.at = 0;
        self.block.clear();
        let mut len = [0; 4];
        match self.input.read(&mut len[..1])? {
            0 => return Ok(()),
            _ => self.input.read_exact(&mut len[1..])?,
        }
        let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len > BLOCK_LEN_MAX {
            return Err(invalid("a snappy block is too long"));
        }
        let mut packed = Vec::new();
        let got = (&mut self.input)
            .take(len as u64)
            .read_to_end(&mut packed)?;
        let unpacked = snap::raw::decompress_len(&packed).map_err(io::Error::other)?;
        if got < len || unpacked > BLOCK_LEN_MAX {
            return Err(invalid("a snappy block is damaged"));
        }
        self.block = snap::raw::Decoder::new()
            .decompress_vec(&packed)
            .map_err(io::Error::other)?;
        Ok(())
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            self.next_block()?;
        }
        let rest = &self.block[self.at..];
        let got = rest.len().min(buffer.len());
        buffer[..got].copy_from_slice(&rest[..got]);
        self.at += got;
        Ok(got)
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
