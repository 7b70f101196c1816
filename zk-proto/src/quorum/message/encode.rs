//! From messages to the packets that say them.

use bytes::{BufMut, Bytes, BytesMut};

use super::{LearnerMessage, NO_EPOCH};
use crate::{
    jute::Encode,
    quorum::{PacketType, QuorumPacket},
    zxid::Zxid,
};

/// The zxid of packets that have none.
const NO_ZXID: Zxid = Zxid(-1);

impl LearnerMessage {
    /// The type of the packet that says it.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Request { .. } => PacketType::Request,
            Self::Proposal { .. } => PacketType::Proposal,
            Self::Ack(_) => PacketType::Ack,
            Self::Commit(_) => PacketType::Commit,
            Self::Ping { .. } => PacketType::Ping,
            Self::Revalidate(_) | Self::Revalidated { .. } => PacketType::Revalidate,
            Self::Sync(_) => PacketType::Sync,
            Self::Inform { .. } => PacketType::Inform,
            Self::CommitAndActivate { .. } => PacketType::CommitAndActivate,
            Self::NewLeader { .. } => PacketType::NewLeader,
            Self::FollowerInfo { .. } => PacketType::FollowerInfo,
            Self::UpToDate => PacketType::UpToDate,
            Self::Diff(_) => PacketType::Diff,
            Self::Trunc(_) => PacketType::Trunc,
            Self::Snap(_) => PacketType::Snap,
            Self::ObserverInfo { .. } => PacketType::ObserverInfo,
            Self::LeaderInfo { .. } => PacketType::LeaderInfo,
            Self::AckEpoch { .. } => PacketType::AckEpoch,
            Self::InformAndActivate { .. } => PacketType::InformAndActivate,
        }
    }

    /// The zxid of the packet that says it.
    const fn packet_zxid(&self) -> Zxid {
        match self {
            Self::Proposal { zxid, .. }
            | Self::Ack(zxid)
            | Self::Commit(zxid)
            | Self::Ping { zxid, .. }
            | Self::Sync(zxid)
            | Self::Inform { zxid, .. }
            | Self::CommitAndActivate { zxid, .. }
            | Self::NewLeader { zxid, .. }
            | Self::Diff(zxid)
            | Self::Trunc(zxid)
            | Self::Snap(zxid)
            | Self::AckEpoch {
                last_zxid: zxid, ..
            }
            | Self::InformAndActivate { zxid, .. } => *zxid,
            Self::FollowerInfo { accepted_epoch, .. }
            | Self::ObserverInfo { accepted_epoch, .. } => Zxid::new(*accepted_epoch, 0),
            Self::LeaderInfo { epoch, .. } => Zxid::new(*epoch, 0),
            Self::Request { .. }
            | Self::Revalidate(_)
            | Self::Revalidated { .. }
            | Self::UpToDate => NO_ZXID,
        }
    }

    /// The data of the packet that says it.
    fn packet_data(&self) -> Option<Bytes> {
        Some(match self {
            Self::Ack(_)
            | Self::Commit(_)
            | Self::Sync(_)
            | Self::UpToDate
            | Self::Diff(_)
            | Self::Trunc(_)
            | Self::Snap(_) => return None,
            Self::Request {
                session,
                cxid,
                op,
                body,
                ..
            } => joined(&[session, cxid, op], body),
            Self::Proposal { entry, .. } | Self::Inform { entry, .. } => entry.clone(),
            Self::Ping { touched, .. } => {
                let touched = touched.as_ref()?.iter();
                joined(&touched.map(|touch| touch as _).collect::<Vec<_>>(), b"")
            }
            Self::Revalidate(touch) => touch.to_bytes(),
            Self::Revalidated { session, valid } => joined(&[session, valid], b""),
            Self::CommitAndActivate {
                designated_leader, ..
            } => designated_leader.to_bytes(),
            Self::InformAndActivate {
                designated_leader,
                entry,
                ..
            } => joined(&[designated_leader], entry),
            Self::NewLeader { config, .. } => config.as_ref()?.as_bytes().clone(),
            Self::FollowerInfo { info, .. } | Self::ObserverInfo { info, .. } => info.to_bytes(),
            Self::LeaderInfo {
                protocol_version, ..
            } => protocol_version.to_bytes(),
            Self::AckEpoch { current_epoch, .. } => current_epoch.unwrap_or(NO_EPOCH).to_bytes(),
        })
    }

    /// The packet that says it.
    #[must_use]
    pub fn to_packet(&self) -> QuorumPacket {
        let authinfo = match self {
            Self::Request { identities, .. } => identities.clone(),
            _ => None,
        };
        QuorumPacket {
            kind: self.packet_type().code(),
            zxid: self.packet_zxid(),
            data: self.packet_data(),
            authinfo,
        }
    }
}

/// Records one after another, and bytes behind them.
fn joined(records: &[&dyn Encode], rest: &[u8]) -> Bytes {
    let len = records
        .iter()
        .map(|record| record.encoded_len())
        .sum::<usize>();
    let mut data = BytesMut::with_capacity(len + rest.len());
    records.iter().for_each(|record| record.encode(&mut data));
    data.put_slice(rest);
    data.freeze()
}
