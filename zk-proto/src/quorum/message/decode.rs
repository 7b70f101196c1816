//! From packets to what they mean.

use bytes::Bytes;

use super::{LearnerMessage, NO_EPOCH, SessionTouch};
use crate::{
    error::DecodeError,
    jute::{Decode, Reader, Utf8Bytes},
    quorum::{PacketType, QuorumPacket},
    zxid::Zxid,
};

impl LearnerMessage {
    /// The meaning of a packet.
    ///
    /// Data behind what the type calls for is ignored, as Apache does.
    ///
    /// # Errors
    /// [`DecodeError::UnknownValue`] for a type that does not exist, and whatever is wrong with the data.
    pub fn from_packet(packet: QuorumPacket) -> Result<Self, DecodeError> {
        let kind = PacketType::from_i32(packet.kind).ok_or_else(|| DecodeError::UnknownValue {
            what: "quorum packet type",
            value: packet.kind.into(),
        })?;
        let zxid = packet.zxid;
        Ok(match kind {
            PacketType::Ack => Self::Ack(zxid),
            PacketType::Commit => Self::Commit(zxid),
            PacketType::Sync => Self::Sync(zxid),
            PacketType::UpToDate => Self::UpToDate,
            PacketType::Diff => Self::Diff(zxid),
            PacketType::Trunc => Self::Trunc(zxid),
            PacketType::Snap => Self::Snap(zxid),
            PacketType::Ping => Self::Ping {
                zxid,
                touched: packet.data.map(decode_touched).transpose()?,
            },
            PacketType::NewLeader => Self::NewLeader {
                zxid,
                config: packet.data.map(Utf8Bytes::from_jute),
            },
            PacketType::Request => Self::decode_request(packet)?,
            _ => Self::decode_data(
                kind,
                zxid,
                &mut Reader::new(packet.data.unwrap_or_default()),
            )?,
        })
    }

    fn decode_request(packet: QuorumPacket) -> Result<Self, DecodeError> {
        let mut input = Reader::new(packet.data.unwrap_or_default());
        Ok(Self::Request {
            session: Decode::decode(&mut input)?,
            cxid: Decode::decode(&mut input)?,
            op: input.i32()?,
            body: input.take_rest(),
            identities: packet.authinfo,
        })
    }

    fn decode_data(kind: PacketType, zxid: Zxid, input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match kind {
            PacketType::Proposal => Self::Proposal {
                zxid,
                entry: input.take_rest(),
            },
            PacketType::Inform => Self::Inform {
                zxid,
                entry: input.take_rest(),
            },
            PacketType::CommitAndActivate => Self::CommitAndActivate {
                zxid,
                designated_leader: Decode::decode(input)?,
            },
            PacketType::InformAndActivate => Self::InformAndActivate {
                zxid,
                designated_leader: Decode::decode(input)?,
                entry: input.take_rest(),
            },
            PacketType::FollowerInfo => Self::FollowerInfo {
                accepted_epoch: zxid.epoch(),
                info: Decode::decode(input)?,
            },
            PacketType::ObserverInfo => Self::ObserverInfo {
                accepted_epoch: zxid.epoch(),
                info: Decode::decode(input)?,
            },
            PacketType::LeaderInfo => Self::LeaderInfo {
                epoch: zxid.epoch(),
                protocol_version: input.i32()?,
            },
            PacketType::AckEpoch => Self::AckEpoch {
                last_zxid: zxid,
                current_epoch: Some(input.i32()?).filter(|epoch| *epoch != NO_EPOCH),
            },
            // The question and its answer have one type; they differ in length.
            PacketType::Revalidate if input.remaining() >= SessionTouch::MIN_LEN => {
                Self::Revalidate(Decode::decode(input)?)
            }
            PacketType::Revalidate => Self::Revalidated {
                session: Decode::decode(input)?,
                valid: Decode::decode(input)?,
            },
            _ => {
                return Err(DecodeError::UnknownValue {
                    what: "quorum packet with data",
                    value: kind.code().into(),
                });
            }
        })
    }
}

/// The sessions in the answer to a ping, up to the end of the data.
fn decode_touched(data: Bytes) -> Result<Vec<SessionTouch>, DecodeError> {
    let mut input = Reader::new(data);
    let mut touched = Vec::with_capacity(input.remaining() / SessionTouch::MIN_LEN);
    while input.remaining() > 0 {
        touched.push(SessionTouch::decode(&mut input)?);
    }
    Ok(touched)
}
