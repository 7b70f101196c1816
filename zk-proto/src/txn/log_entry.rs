//! A transaction as the log and proposals carry it.

use bytes::BytesMut;

use super::{Txn, TxnDigest, TxnHeader};
use crate::{
    error::DecodeError,
    jute::{Decode, Encode, Reader},
};

/// A header, the body it names and, mostly, the digest of the tree afterwards (`TxnLogEntry`).
///
/// The payload of a log record and the data of a PROPOSAL; encoded once, the same bytes go to both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnLogEntry {
    /// Who, when and which.
    pub header: TxnHeader,
    /// What happened.
    pub txn: Txn,
    /// The tree's digest once it is applied. Refusals mostly have none, nor have servers before 3.6 any.
    pub digest: Option<TxnDigest>,
}

impl Encode for TxnLogEntry {
    fn encode(&self, out: &mut BytesMut) {
        debug_assert_eq!(self.header.kind, self.txn.op_code().code());
        self.header.encode(out);
        self.txn.encode(out);
        if let Some(digest) = &self.digest {
            digest.encode(out);
        }
    }

    fn encoded_len(&self) -> usize {
        self.header.encoded_len()
            + self.txn.encoded_len()
            + self.digest.as_ref().map_or(0, Encode::encoded_len)
    }
}

impl Decode for TxnLogEntry {
    const MIN_LEN: usize = TxnHeader::MIN_LEN;

    /// Reads to the end of `input`: only there does it show whether there is a digest.
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let header = TxnHeader::decode(input)?;
        let start = input.clone();
        let (txn, digest) = match decode_rest(header.kind, input) {
            // With `closeSessionTxn.enabled=false` the body of a closeSession is empty though a digest follows.
            Err(error) if header.kind == crate::OpCode::CloseSession.code() => {
                *input = start;
                (
                    Txn::CloseSession(None),
                    Some(decode_last(input).map_err(|_| error)?),
                )
            }
            other => other?,
        };
        Ok(Self {
            header,
            txn,
            digest,
        })
    }
}

fn decode_rest(kind: i32, input: &mut Reader) -> Result<(Txn, Option<TxnDigest>), DecodeError> {
    let txn = Txn::decode(kind, input)?;
    let digest = match input.remaining() {
        0 => None,
        _ => Some(decode_last(input)?),
    };
    Ok((txn, digest))
}

fn decode_last(input: &mut Reader) -> Result<TxnDigest, DecodeError> {
    let digest = TxnDigest::decode(input)?;
    input.finish()?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        ids::{SessionId, Xid},
        op_code::OpCode,
        txn::{CloseSessionTxn, RawTxn},
        zxid::Zxid,
    };

    /// What two members of Apache's logged for one multi, a setData and a create before a check that failed: the second one
    /// had applied it when it wrote it.
    #[test]
    fn a_failed_multi_is_one_whatever_its_parts_are_called() {
        let set = |kind| (kind, &b"\0\0\0\x09/Ours-0/a\0\0\0\x02no\0\0\0\x02"[..]);
        let create = |kind| {
            let record = &b"\0\0\0\x09/Ours-0/b\0\0\0\0\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone\0\0\0\0\x0b"[..];
            (kind, record)
        };
        let failed = (-1, &b"\xff\xff\xff\x99"[..]);
        for parts in [[set(5), create(1), failed], [set(-1), create(-1), failed]] {
            let mut bytes = BytesMut::new();
            TxnHeader {
                client_id: SessionId(1),
                cxid: Xid(20),
                zxid: Zxid(0x1_0000_0023),
                time: 1_795_290_000_000,
                kind: OpCode::Multi.code(),
            }
            .encode(&mut bytes);
            let parts = parts.map(|(kind, record)| RawTxn {
                kind,
                data: Some(Bytes::from_static(record)),
            });
            parts.to_vec().encode(&mut bytes);
            let digest = TxnDigest {
                version: 2,
                tree_digest: 0xc_4f06_cc6e,
            };
            digest.encode(&mut bytes);
            let entry = TxnLogEntry::from_bytes(bytes.freeze()).unwrap();
            assert_eq!(entry.digest, Some(digest));
            let Txn::Multi(parts) = entry.txn else {
                panic!("{:?}", entry.txn);
            };
            assert_eq!(parts.len(), 3);
            assert!(matches!(&parts[2], Txn::Error(error) if error.err == -103));
        }
    }

    #[test]
    fn a_close_of_any_age_reads_back() {
        let paths = |paths: &[&'static str]| CloseSessionTxn {
            paths_to_delete: paths.iter().map(|path| (*path).into()).collect(),
        };
        let digest = TxnDigest {
            version: 2,
            tree_digest: 0x5_1c6d_6601,
        };
        for body in [None, Some(paths(&[])), Some(paths(&["/a", "/b"]))] {
            for digest in [None, Some(digest)] {
                let header = TxnHeader {
                    client_id: SessionId(1),
                    cxid: Xid(0),
                    zxid: Zxid(2),
                    time: 3,
                    kind: OpCode::CloseSession.code(),
                };
                let entry = TxnLogEntry {
                    header,
                    txn: Txn::CloseSession(body.clone()),
                    digest,
                };
                assert_eq!(TxnLogEntry::from_bytes(entry.to_bytes()), Ok(entry));
            }
        }
    }
}
