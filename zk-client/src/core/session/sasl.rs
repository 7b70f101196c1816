//! The SASL conversation: between the connect response and everything else, on every connection.
//!
//! The mechanism itself is the driver's, since it may have to ask somebody (a Kerberos server); here is only
//! who speaks when. A token goes out as a request of its own, and the next one waits for its answer.

use bytes::Bytes;
use zk_proto::{
    Decode, DecodeError, ErrorCode, OpCode, Reader, Xid,
    frame::put_frame,
    header::{ReplyHeader, RequestHeader},
    op::{SaslRequest, SaslResponse, Secret},
};

use super::{Phase, Session, link::broken};
use crate::core::{Output, SaslStep};

/// Nothing else is under way on the connection; requests count from 1.
const SASL_XID: Xid = Xid(0);

impl Session {
    pub(super) fn begin_sasl(&mut self, read_only: bool) {
        self.phase = Phase::Authenticating {
            give_up: self.now + self.usual_patience(),
            read_only,
        };
        self.outputs.push_back(Output::SaslBegin);
    }

    /// The mechanism has taken a step.
    pub(super) fn sasl_step(&mut self, step: SaslStep) {
        let Phase::Authenticating { read_only, .. } = self.phase else {
            return;
        };
        match step {
            SaslStep::Respond(token) => {
                let header = RequestHeader {
                    xid: SASL_XID,
                    op: OpCode::Sasl.code(),
                };
                let token = Secret(Some(token));
                put_frame(&mut self.out, &[&header, &SaslRequest { token }]);
            }
            SaslStep::Done => self.go_live(read_only),
            SaslStep::Failed(error) => {
                tracing::warn!(%error, "the SASL conversation failed");
                self.last_error = Some(error);
                self.auth_failed();
            }
        }
    }

    /// The server's answer to the last token.
    pub(super) fn sasl_answer(&mut self, frame: Bytes) {
        match decode(frame) {
            Ok((header, _)) if header.xid != SASL_XID => {
                self.link_lost(broken("the server answered a request that nobody made"));
            }
            Ok((_, Ok(token))) => self.outputs.push_back(Output::SaslChallenge(token)),
            Ok((_, Err(code))) => {
                tracing::warn!(?code, "the server refused the SASL token");
                self.last_error = Some(broken("the server refused the SASL token"));
                self.auth_failed();
            }
            Err(error) => self.link_lost(std::sync::Arc::new(error)),
        }
    }
}

type Answer = Result<Secret, ErrorCode>;

fn decode(frame: Bytes) -> Result<(ReplyHeader, Answer), DecodeError> {
    let mut input = Reader::new(frame);
    let header = ReplyHeader::decode(&mut input)?;
    let answer = match ErrorCode::from_i32(header.err) {
        ErrorCode::Ok => Ok(SaslResponse::decode(&mut input)?.token),
        code => Err(code),
    };
    Ok((header, answer))
}
