//! The packet of the quorum port, and where it ends in a stream without lengths.

use bytes::{Bytes, BytesMut};

use crate::{
    acl::Id,
    error::DecodeError,
    jute::{Decode, Reader},
    record,
    zxid::Zxid,
};

/// The string after the snapshot that follows SNAP.
pub const SNAP_SIGNATURE: &str = "BenWasHere";

macro_rules! packet_types {
    ($( $(#[$meta:meta])* $name:ident = $code:literal, )*) => {
        /// A packet's type (`Leader.java`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum PacketType { $( $(#[$meta])* $name = $code, )* }

        impl PacketType {
            /// Every type.
            pub const ALL: &[Self] = &[ $( Self::$name, )* ];

            /// The type with this number, if there is one.
            #[must_use]
            pub const fn from_i32(code: i32) -> Option<Self> {
                match code { $( $code => Some(Self::$name), )* _ => None }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> i32 {
                self as i32
            }
        }
    };
}

packet_types! {
    /// A learner forwards a client's write, sync or session.
    Request = 1,
    /// The leader proposes a transaction.
    Proposal = 2,
    /// A follower has a transaction on disk, or has taken NEWLEADER or UPTODATE.
    Ack = 3,
    /// The leader commits a transaction.
    Commit = 4,
    /// Both ways; the answer names the sessions heard of since the last one.
    Ping = 5,
    /// A learner asks whether a session is alive; the leader answers.
    Revalidate = 6,
    /// The leader answers a forwarded sync.
    Sync = 7,
    /// The leader tells an observer of a committed transaction.
    Inform = 8,
    /// The leader commits a reconfig.
    CommitAndActivate = 9,
    /// The leader has sent its history up to here.
    NewLeader = 10,
    /// A follower introduces itself.
    FollowerInfo = 11,
    /// The leader lets the learner serve clients.
    UpToDate = 12,
    /// The leader will send the transactions the learner misses.
    Diff = 13,
    /// The learner must cut its log.
    Trunc = 14,
    /// The leader will send a snapshot.
    Snap = 15,
    /// An observer introduces itself.
    ObserverInfo = 16,
    /// The leader names the new epoch.
    LeaderInfo = 17,
    /// A learner has accepted the new epoch.
    AckEpoch = 18,
    /// The leader tells an observer of a committed reconfig.
    InformAndActivate = 19,
}

record! {
    /// A packet between leader and learner (`QuorumPacket` in `zookeeper.jute`), as yet without a meaning.
    pub struct QuorumPacket {
        /// A [`PacketType`], raw.
        pub kind: i32,
        /// What it is depends on the type.
        pub zxid: Zxid,
        /// What it is depends on the type.
        pub data: Option<Bytes>,
        /// The identities of the client, in REQUEST.
        pub authinfo: Option<Vec<Id>>,
    }
}

/// More identities than this no client has: each of them is looked at whenever more of the packet arrives.
const IDENTITIES_MAX: usize = 1 << 10;

/// Takes the next whole packet off the front of a stream; `None` until it has arrived.
///
/// # Errors
/// [`DecodeError::NegativeLength`], and [`DecodeError::TooLong`] as soon as the lengths received so far make the
/// packet longer than `limit` bytes. The link is of no more use after either.
pub fn take_packet(
    input: &mut BytesMut,
    limit: usize,
) -> Result<Option<QuorumPacket>, DecodeError> {
    let Some(len) = packet_len(input, limit)? else {
        return Ok(None);
    };
    QuorumPacket::decode(&mut Reader::new(input.split_to(len).freeze())).map(Some)
}

/// How long the packet at the front is, once all of it is there; looks at its lengths alone.
fn packet_len(input: &[u8], limit: usize) -> Result<Option<usize>, DecodeError> {
    let mut scan = Scan {
        input,
        at: 4 + Zxid::MIN_LEN,
        limit,
    };
    if !scan.skip_buffer()? {
        return Ok(None);
    }
    let Some(ids) = scan.length()? else {
        return Ok(None);
    };
    if ids > IDENTITIES_MAX {
        let (len, limit) = (ids, IDENTITIES_MAX);
        return Err(DecodeError::TooLong { len, limit });
    }
    for _ in 0..ids {
        if !(scan.skip_buffer()? && scan.skip_buffer()?) {
            return Ok(None);
        }
    }
    Ok((scan.at <= input.len()).then_some(scan.at))
}

/// Walks over lengths that may not have arrived yet.
struct Scan<'a> {
    input: &'a [u8],
    at: usize,
    limit: usize,
}

impl Scan<'_> {
    /// The length here, null as 0; `None` where it has not arrived.
    fn length(&mut self) -> Result<Option<usize>, DecodeError> {
        let Some(prefix) = self
            .input
            .get(self.at..)
            .and_then(|rest| rest.first_chunk())
        else {
            return Ok(None);
        };
        self.at += 4;
        match i32::from_be_bytes(*prefix) {
            -1 => Ok(Some(0)),
            len => usize::try_from(len)
                .map(Some)
                .map_err(|_| DecodeError::NegativeLength(len)),
        }
    }

    /// Whether the length of the buffer here has arrived; then goes to its end, which may not have.
    fn skip_buffer(&mut self) -> Result<bool, DecodeError> {
        let Some(len) = self.length()? else {
            return Ok(false);
        };
        self.at = self.at.saturating_add(len);
        if self.at > self.limit {
            let (len, limit) = (self.at, self.limit);
            return Err(DecodeError::TooLong { len, limit });
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::Encode;

    fn packet(data: Option<&'static [u8]>, authinfo: Option<&[(&str, &str)]>) -> QuorumPacket {
        let id = |(scheme, id): &(&str, &str)| Id {
            scheme: (*scheme).into(),
            id: (*id).into(),
        };
        QuorumPacket {
            kind: 1,
            zxid: Zxid(-1),
            data: data.map(Bytes::from_static),
            authinfo: authinfo.map(|ids| ids.iter().map(id).collect()),
        }
    }

    #[test]
    fn an_empty_packet_has_twenty_bytes() {
        let bytes = packet(None, None).to_bytes();
        assert_eq!(
            &bytes[..],
            b"\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
        );
    }

    #[test]
    fn packets_come_out_of_a_stream_when_their_last_byte_is_in() {
        let packets = [
            packet(None, None),
            packet(Some(b"data"), None),
            packet(Some(b""), Some(&[])),
            packet(
                Some(b"more data"),
                Some(&[("ip", "127.0.0.1"), ("digest", "")]),
            ),
        ];
        let mut wire = BytesMut::new();
        packets.iter().for_each(|packet| packet.encode(&mut wire));
        let mut arrived = BytesMut::new();
        let mut found = Vec::new();
        for byte in wire.iter() {
            arrived.extend_from_slice(&[*byte]);
            let before = arrived.len();
            match take_packet(&mut arrived, 64).unwrap() {
                Some(packet) => found.push(packet),
                None => assert_eq!(
                    arrived.len(),
                    before,
                    "an incomplete packet stays where it is"
                ),
            }
        }
        assert_eq!(found, packets);
        assert!(arrived.is_empty());
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_arrive() {
        let long = packet(Some(b"12345678"), None).to_bytes();
        let head = || BytesMut::from(&long[..16]);
        assert_eq!(take_packet(&mut head(), 24), Ok(None));
        assert_eq!(
            take_packet(&mut head(), 23),
            Err(DecodeError::TooLong { len: 24, limit: 23 })
        );
        let mut negative = head();
        negative[12] = 0x80;
        assert!(matches!(
            take_packet(&mut negative, 64),
            Err(DecodeError::NegativeLength(_))
        ));
        // Two thousand million identities, none of which has arrived.
        let mut many = BytesMut::from(&packet(None, None).to_bytes()[..16]);
        many.extend_from_slice(&i32::MAX.to_be_bytes());
        let (len, limit) = (2_147_483_647, IDENTITIES_MAX);
        let refused = Err(DecodeError::TooLong { len, limit });
        assert_eq!(take_packet(&mut many, 64), refused);
    }

    #[test]
    fn types_have_their_numbers() {
        let codes = PacketType::ALL.iter().map(|kind| kind.code());
        assert!(codes.eq(1..=19));
        assert_eq!(PacketType::from_i32(12), Some(PacketType::UpToDate));
        assert_eq!(
            (PacketType::from_i32(0), PacketType::from_i32(20)),
            (None, None)
        );
    }
}
