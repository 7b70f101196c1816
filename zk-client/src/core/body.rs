//! The bodies of answers: checked when they are received, decoded where they are read.
//!
//! Most answers are a node's data with its Stat, or a Stat alone. Whether one of these is whole is seen from its length, so
//! it stays a slice of what was received until its caller reads it: much smaller than what it decodes to, on a way on which
//! it is moved several times. All others are decoded at once.

#[cfg(any(feature = "driver", test))]
use bytes::Buf;
use bytes::Bytes;
use zk_proto::{Decode, DecodeError, OpCode, Reader, Stat, op::Response};

/// The body of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// None, or one that says nothing (the path of a sync).
    Empty,
    /// Data and a Stat, both whole.
    Data(Bytes),
    /// A Stat, whole.
    Stat(Bytes),
    /// Any other one.
    Decoded(Box<Response>),
}

impl Body {
    /// Takes the body that answers a request of this operation.
    ///
    /// # Errors
    /// As [`Response::decode`].
    #[inline]
    pub(crate) fn take(op: OpCode, input: &mut Reader) -> Result<Self, DecodeError> {
        match op {
            OpCode::GetData | OpCode::Reconfig if is_data(input.rest()) => {
                return Ok(Self::Data(input.take_rest()));
            }
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl
                if input.remaining() >= Stat::MIN_LEN =>
            {
                return Ok(Self::Stat(input.take_rest()));
            }
            _ => {}
        }
        // Among them those of the two kinds above that are not whole: they are told what is wrong with them.
        Ok(match Response::decode(op, input)? {
            Response::Empty | Response::Sync(_) => Self::Empty,
            response => Self::Decoded(Box::new(response)),
        })
    }

    /// The data and the Stat, where it is these; null is as good as empty.
    #[cfg(any(feature = "driver", test))]
    #[inline]
    pub(crate) fn into_data(self) -> Option<(Bytes, Stat)> {
        let Self::Data(mut bytes) = self else {
            return None;
        };
        let len = data_len(&bytes)?;
        let stat = stat_at(&bytes, LENGTH + len)?;
        // Empty data does not keep what was received.
        if len == 0 {
            return Some((Bytes::new(), stat));
        }
        bytes.advance(LENGTH);
        bytes.truncate(len);
        Some((bytes, stat))
    }

    /// The Stat, where it is one.
    #[cfg(any(feature = "driver", test))]
    #[inline]
    pub(crate) fn into_stat(self) -> Option<Stat> {
        match self {
            Self::Stat(bytes) => stat_at(&bytes, 0),
            _ => None,
        }
    }
}

/// The bytes of a length.
const LENGTH: usize = 4;

/// Whether it is data and a Stat to the end.
fn is_data(bytes: &[u8]) -> bool {
    data_len(bytes).is_some_and(|len| bytes.len() >= LENGTH + len + Stat::MIN_LEN)
}

/// How long the data is; 0 for null.
fn data_len(bytes: &[u8]) -> Option<usize> {
    match i32::from_be_bytes(*bytes.first_chunk()?) {
        -1 => Some(0),
        len => usize::try_from(len).ok(),
    }
}

#[cfg(any(feature = "driver", test))]
fn stat_at(bytes: &[u8], at: usize) -> Option<Stat> {
    bytes.get(at..)?.first_chunk().map(Stat::from_array)
}

#[cfg(test)]
mod tests {
    use zk_proto::{
        Encode, Zxid,
        op::{GetDataResponse, StatResponse},
    };

    use super::*;

    fn stat() -> Stat {
        Stat {
            czxid: Zxid(5),
            version: 7,
            pzxid: Zxid(9),
            ..Stat::default()
        }
    }

    fn take(op: OpCode, bytes: Bytes) -> Result<Body, DecodeError> {
        Body::take(op, &mut Reader::new(bytes))
    }

    #[test]
    fn data_and_stat_are_those_of_the_record() {
        for data in [None, Some(&b""[..]), Some(b"x"), Some(&[7; 300])] {
            let record = GetDataResponse {
                data: data.map(Bytes::from_static),
                stat: stat(),
            };
            let body = take(OpCode::GetData, record.to_bytes()).unwrap();
            let expected = (record.data.unwrap_or_default(), stat());
            assert_eq!(body.into_data(), Some(expected));
        }
        let body = take(OpCode::SetData, StatResponse { stat: stat() }.to_bytes());
        assert_eq!(body.unwrap().into_stat(), Some(stat()));
    }

    #[test]
    fn what_is_not_whole_is_refused_as_the_record_refuses_it() {
        let data = Some(Bytes::from_static(b"data"));
        let whole = GetDataResponse { data, stat: stat() }.to_bytes();
        for (op, whole) in [
            (OpCode::GetData, whole),
            (OpCode::Exists, StatResponse { stat: stat() }.to_bytes()),
        ] {
            for len in 0..whole.len() {
                let cut = whole.slice(..len);
                let refused = Response::decode(op, &mut Reader::new(cut.clone()));
                assert_eq!(take(op, cut), Err(refused.unwrap_err()));
            }
        }
        let negative = Bytes::from_static(&[0xff; 100]).slice(..);
        let mut bytes = bytes::BytesMut::from(&negative[..]);
        bytes[3] = 0xfe;
        assert_eq!(
            take(OpCode::GetData, bytes.freeze()),
            Err(DecodeError::NegativeLength(-2))
        );
    }
}
