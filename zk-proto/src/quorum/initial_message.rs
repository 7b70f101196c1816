//! The hello on the election port.

use std::fmt;

use bytes::{Buf, BufMut, BytesMut};

use crate::{
    error::DecodeError,
    ids::ServerId,
    jute::{Encode, put_string},
};

/// One address (`PROTOCOL_VERSION_V1`).
const ONE_ADDRESS: i64 = -65536;
/// Several, joined by `|` (`PROTOCOL_VERSION_V2`, with `multiAddress.enabled`).
const MANY_ADDRESSES: i64 = -65535;
/// The most bytes the addresses may take (`QuorumCnxManager.maxBuffer`).
const ADDRESSES_MAX: usize = 2048;
/// What stands before the addresses.
const PREFIX: usize = 20;

/// An address of a member's election port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ElectionAddress {
    /// A name or an address, IPv6 without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What the member that dials says first (`QuorumCnxManager.InitialMessage`).
///
/// It must be written in one piece: Apache reads the addresses with a single `read`. A member with the larger id
/// that is dialled hangs up and dials back, to the address given here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialMessage {
    /// Who dials.
    pub server_id: ServerId,
    /// Where it can be dialled; never empty.
    pub addresses: Vec<ElectionAddress>,
}

impl InitialMessage {
    /// Takes the hello off the front of a connection's first bytes; `None` until it has arrived.
    ///
    /// # Errors
    /// [`DecodeError::UnknownValue`] for another version (the bare server id of servers before 3.5 included) and for
    /// an address that is none, [`DecodeError::TooLong`] and [`DecodeError::NegativeLength`].
    pub fn take(input: &mut BytesMut) -> Result<Option<Self>, DecodeError> {
        let Some(prefix) = input.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let mut prefix = &prefix[..];
        let (version, server_id) = (prefix.get_i64(), ServerId(prefix.get_i64()));
        if !matches!(version, ONE_ADDRESS | MANY_ADDRESSES) {
            return Err(DecodeError::UnknownValue {
                what: "election protocol version",
                value: version,
            });
        }
        let claimed = prefix.get_i32();
        let len = usize::try_from(claimed).map_err(|_| DecodeError::NegativeLength(claimed))?;
        if len > ADDRESSES_MAX {
            let limit = ADDRESSES_MAX;
            return Err(DecodeError::TooLong { len, limit });
        }
        if input.len() < PREFIX + len {
            return Ok(None);
        }
        input.advance(PREFIX);
        let text = input.split_to(len);
        let text = str::from_utf8(&text).map_err(|_| DecodeError::NotUtf8)?;
        let addresses = text.split('|').map(ElectionAddress::parse);
        Ok(Some(Self {
            server_id,
            addresses: addresses.collect::<Result<_, _>>()?,
        }))
    }

    fn text(&self) -> String {
        let texts: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        texts.join("|")
    }
}

impl Encode for InitialMessage {
    fn encode(&self, out: &mut BytesMut) {
        out.put_i64(match self.addresses.len() {
            0 | 1 => ONE_ADDRESS,
            _ => MANY_ADDRESSES,
        });
        self.server_id.encode(out);
        put_string(out, &self.text());
    }

    fn encoded_len(&self) -> usize {
        PREFIX + self.text().len()
    }
}

impl ElectionAddress {
    /// Reads `host:port` or `[IPv6]:port`.
    fn parse(text: &str) -> Result<Self, DecodeError> {
        let parts = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:"),
            None => text.split_once(':'),
        };
        let bad = || DecodeError::UnknownValue {
            what: "election address",
            value: i64::try_from(text.len()).unwrap_or(i64::MAX),
        };
        let is_host = |host: &str| !host.is_empty() && !host.contains(['[', ']']);
        let (host, port) = parts.filter(|(host, _)| is_host(host)).ok_or_else(bad)?;
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| bad())?,
        })
    }
}

impl fmt::Display for ElectionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(addresses: &[(&str, u16)]) -> InitialMessage {
        let address = |(host, port): &(&str, u16)| ElectionAddress {
            host: (*host).to_owned(),
            port: *port,
        };
        InitialMessage {
            server_id: ServerId(1),
            addresses: addresses.iter().map(address).collect(),
        }
    }

    #[test]
    fn a_hello_is_laid_out_as_apache_has_it() {
        let bytes = hello(&[("127.0.0.1", 32012)]).to_bytes();
        let wire = b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x01\0\0\0\x0f127.0.0.1:32012";
        assert_eq!(&bytes[..], wire);
    }

    #[test]
    fn a_hello_comes_out_when_its_last_byte_is_in() {
        for hello in [
            hello(&[("zk1", 3888)]),
            hello(&[("::1", 3888)]),
            hello(&[("zk1", 1), ("fe80::2", 65535), ("10.0.0.1", 3888)]),
        ] {
            let bytes = hello.to_bytes();
            for cut in 0..bytes.len() {
                assert_eq!(
                    InitialMessage::take(&mut BytesMut::from(&bytes[..cut])),
                    Ok(None)
                );
            }
            let mut whole = BytesMut::from(&bytes[..]);
            whole.extend_from_slice(b"next");
            assert_eq!(InitialMessage::take(&mut whole), Ok(Some(hello)));
            assert_eq!(&whole[..], b"next");
        }
    }

    #[test]
    fn what_is_no_hello_is_refused() {
        let with = |version: i64, text: &str| {
            let mut bytes = BytesMut::new();
            bytes.put_i64(version);
            bytes.put_i64(1);
            put_string(&mut bytes, text);
            InitialMessage::take(&mut bytes)
        };
        assert!(with(ONE_ADDRESS, "zk1:3888").is_ok());
        for text in [
            "",
            "zk1",
            ":3888",
            "zk1:",
            "zk1:x",
            "zk1:65536",
            "[::1]",
            "::1:3888",
            "a:1|",
        ] {
            assert!(with(ONE_ADDRESS, text).is_err(), "{text:?} is no address");
        }
        assert!(with(1, "zk1:3888").is_err());
        assert!(with(ONE_ADDRESS, &"x".repeat(2049)).is_err());
    }
}
