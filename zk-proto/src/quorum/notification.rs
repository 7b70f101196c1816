//! The vote a member tells the others.

use bytes::{BufMut, BytesMut};

use crate::{
    error::DecodeError,
    ids::ServerId,
    jute::{Decode, Encode, Reader, Utf8Bytes},
    zxid::{Epoch, Zxid},
};

/// The most bytes a message on the election port may have (`QuorumCnxManager.PACKETMAXSIZE`).
///
/// Messages stand in frames; [`crate::frame::take_frame`] with this limit takes them off the stream.
pub const ELECTION_MESSAGE_MAX: usize = 512 * 1024;

/// What a member is doing (`QuorumPeer.ServerState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ServerState {
    /// Looks for a leader.
    Looking = 0,
    /// Follows one.
    Following = 1,
    /// Leads.
    Leading = 2,
    /// Observes.
    Observing = 3,
}

impl ServerState {
    /// The state with this number, if there is one.
    #[must_use]
    pub const fn from_i32(code: i32) -> Option<Self> {
        Some(match code {
            0 => Self::Looking,
            1 => Self::Following,
            2 => Self::Leading,
            3 => Self::Observing,
            _ => return None,
        })
    }
}

/// A member's vote, and what it is doing (`FastLeaderElection.Notification`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What the sender is doing.
    pub state: ServerState,
    /// Whom it votes for, or follows.
    pub leader: ServerId,
    /// The last zxid of the one voted for; from a member that is not looking, as it was at the election.
    pub zxid: Zxid,
    /// The sender's round of election (`electionEpoch`, its logical clock).
    pub round: i64,
    /// The epoch of the one voted for.
    pub peer_epoch: Epoch,
    /// The sender's configuration, in the text form of a dynamic configuration file. Members before 3.5 send
    /// none; without it the older form is written.
    pub config: Option<Utf8Bytes>,
}

/// Length of the form of 3.4.0 to 3.4.5, which has no epoch.
const LEN_WITHOUT_EPOCH: usize = 28;
/// Length of the form of 3.4.6, which has an epoch and a version that nobody looks at.
const LEN_WITHOUT_CONFIG: usize = 40;
/// The version of the form with a configuration (`Notification.CURRENTVERSION`).
const VERSION: i32 = 2;

impl Encode for Notification {
    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(self.state as i32);
        self.leader.encode(out);
        self.zxid.encode(out);
        out.put_i64(self.round);
        out.put_i64(self.peer_epoch.0);
        match &self.config {
            Some(config) => {
                out.put_i32(VERSION);
                config.encode(out);
            }
            None => out.put_i32(VERSION - 1),
        }
    }

    fn encoded_len(&self) -> usize {
        LEN_WITHOUT_CONFIG + self.config.as_ref().map_or(0, Encode::encoded_len)
    }
}

impl Decode for Notification {
    const MIN_LEN: usize = LEN_WITHOUT_EPOCH;

    /// Reads one message; how long it is tells its form, as it does to Apache.
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let len = input.remaining();
        let code = input.i32()?;
        let state = ServerState::from_i32(code).ok_or_else(|| DecodeError::UnknownValue {
            what: "server state",
            value: code.into(),
        })?;
        let leader = ServerId::decode(input)?;
        let zxid = Zxid::decode(input)?;
        let round = input.i64()?;
        let peer_epoch = match len {
            LEN_WITHOUT_EPOCH => zxid.epoch(),
            _ => Epoch(input.i64()?),
        };
        let has_config = match len {
            LEN_WITHOUT_EPOCH => false,
            _ => input.i32()? >= VERSION && len != LEN_WITHOUT_CONFIG,
        };
        let config = has_config.then(|| Decode::decode(input)).transpose()?;
        Ok(Self {
            state,
            leader,
            zxid,
            round,
            peer_epoch,
            config,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(config: Option<&str>) -> Notification {
        Notification {
            state: ServerState::Leading,
            leader: ServerId(3),
            zxid: Zxid(0x5_0000_0007),
            round: 9,
            peer_epoch: Epoch(6),
            config: config.map(Into::into),
        }
    }

    #[test]
    fn the_current_form_is_laid_out_as_apache_has_it() {
        let bytes = vote(Some("version=0")).to_bytes();
        assert_eq!(bytes.len(), 44 + 9);
        let wire = b"\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x05\0\0\0\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x06\0\0\0\x02\0\0\0\x09version=0";
        assert_eq!(&bytes[..], wire);
        assert_eq!(Notification::from_bytes(bytes), Ok(vote(Some("version=0"))));
    }

    #[test]
    fn older_forms_are_told_by_their_length() {
        let without_config = vote(None).to_bytes();
        assert_eq!(without_config.len(), 40);
        assert_eq!(
            Notification::from_bytes(without_config.clone()),
            Ok(vote(None))
        );

        let oldest = Notification::from_bytes(without_config.slice(..28)).unwrap();
        assert_eq!(oldest.peer_epoch, Epoch(5), "from the zxid");
        assert!(Notification::from_bytes(without_config.slice(..27)).is_err());
        assert!(Notification::from_bytes(without_config.slice(..36)).is_err());
    }

    #[test]
    fn a_state_that_does_not_exist_is_refused() {
        let mut bytes = BytesMut::from(&vote(None).to_bytes()[..]);
        bytes[3] = 4;
        assert!(matches!(
            Notification::from_bytes(bytes.freeze()),
            Err(DecodeError::UnknownValue { value: 4, .. })
        ));
    }
}
