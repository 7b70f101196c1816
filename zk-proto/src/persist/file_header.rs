//! The first sixteen bytes of every log and snapshot.

use crate::{error::DecodeError, jute::Reader, record};

record! {
    /// What a file is (`FileHeader` in `zookeeper.jute`).
    #[derive(Copy)]
    pub struct FileHeader {
        /// `ZKLG` or `ZKSN`.
        pub magic: i32,
        /// 2.
        pub version: i32,
        /// 0 in logs, -1 in snapshots; Apache looks at neither.
        pub dbid: i64,
    }
}

impl FileHeader {
    /// How many bytes it takes.
    pub const LEN: usize = 16;

    /// Of a transaction log.
    pub const LOG: Self = Self::new(*b"ZKLG", 0);

    /// Of a snapshot.
    pub const SNAPSHOT: Self = Self::new(*b"ZKSN", -1);

    const fn new(magic: [u8; 4], dbid: i64) -> Self {
        Self {
            magic: i32::from_be_bytes(magic),
            version: 2,
            dbid,
        }
    }

    /// Reads the header of a transaction log.
    ///
    /// # Errors
    /// [`DecodeError::BadMagic`] for another kind of file, [`DecodeError::UnknownValue`] for another version,
    /// [`DecodeError::Truncated`] for a file whose header was not written out.
    pub fn decode_log(input: &mut Reader) -> Result<Self, DecodeError> {
        Self::decode_expected(input, Self::LOG, "ZKLG")
    }

    /// Reads the header of a snapshot.
    ///
    /// # Errors
    /// As [`decode_log`](Self::decode_log).
    pub fn decode_snapshot(input: &mut Reader) -> Result<Self, DecodeError> {
        Self::decode_expected(input, Self::SNAPSHOT, "ZKSN")
    }

    fn decode_expected(
        input: &mut Reader,
        wanted: Self,
        name: &'static str,
    ) -> Result<Self, DecodeError> {
        let header = <Self as crate::jute::Decode>::decode(input)?;
        if header.magic != wanted.magic {
            return Err(DecodeError::BadMagic { expected: name });
        }
        if header.version != wanted.version {
            return Err(DecodeError::UnknownValue {
                what: "file version",
                value: header.version.into(),
            });
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::jute::Encode;

    #[test]
    fn headers_have_apaches_bytes() {
        let log = FileHeader::LOG.to_bytes();
        assert_eq!(&log[..], b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0");
        let snapshot = FileHeader::SNAPSHOT.to_bytes();
        assert_eq!(
            &snapshot[..],
            b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff"
        );
        let read = |bytes: &Bytes| FileHeader::decode_log(&mut Reader::new(bytes.clone()));
        assert_eq!(read(&log), Ok(FileHeader::LOG));
        assert_eq!(
            read(&snapshot),
            Err(DecodeError::BadMagic { expected: "ZKLG" })
        );
        assert_eq!(
            read(&log.slice(..9)),
            Err(DecodeError::Truncated { needed: 7 })
        );
        let newer = Bytes::from_static(b"ZKLG\0\0\0\x03\0\0\0\0\0\0\0\0");
        assert!(matches!(
            read(&newer),
            Err(DecodeError::UnknownValue { value: 3, .. })
        ));
    }
}
