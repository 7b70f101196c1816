//! Credentials, presented again on every connection before anything else is sent.
//!
//! A server answers auth packets outside its pipeline, in their own order, under the reserved xid -4; so they
//! have a queue of their own. What the server accepts, it forgets with the connection.

use std::{collections::VecDeque, fmt};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    OpCode, Utf8Bytes, Xid,
    frame::put_frame,
    header::RequestHeader,
    op::{AuthRequest, Secret},
};

use super::{Moment, Slot};

/// A scheme and a secret; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    scheme: Utf8Bytes,
    secret: Bytes,
}

impl Credential {
    /// These credentials, in the scheme's own form (`user:password` for digest).
    #[must_use]
    pub fn new(scheme: &str, secret: impl Into<Bytes>) -> Self {
        Self {
            scheme: scheme.into(),
            secret: secret.into(),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, ..)", self.scheme)
    }
}

/// The credentials of a client, and who waits for the server's word on them.
#[derive(Debug, Default)]
pub(crate) struct Auth {
    entries: Vec<Entry>,
    /// Which entries were sent on this connection and not answered yet.
    unanswered: VecDeque<u64>,
    next_id: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    credential: Credential,
    /// Whether the server ever accepted it, or it was there from the start.
    established: bool,
    /// Who waits for the server's word, and until when.
    waiting: Option<(Slot, Moment)>,
}

/// What an answer to an auth packet means.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nobody sent one: the server is confused.
    Unexpected,
    /// It was accepted.
    Accepted(Option<Slot>),
    /// A new credential was refused; it is forgotten.
    RefusedNew(Option<Slot>),
    /// A credential that the client depends on was refused.
    RefusedEstablished,
}

impl Auth {
    pub(crate) fn new(credentials: Vec<Credential>) -> Self {
        let mut auth = Self::default();
        for credential in credentials {
            auth.add(credential, true, None);
        }
        auth
    }

    /// Adds a credential and writes its packet if there is a connection.
    pub(crate) fn present(
        &mut self,
        credential: Credential,
        waiting: Option<(Slot, Moment)>,
        out: Option<&mut BytesMut>,
    ) {
        let id = self.add(credential, false, waiting);
        if let (Some(out), Some(entry)) = (out, self.entries.last()) {
            put_packet(&entry.credential, out);
            self.unanswered.push_back(id);
        }
    }

    /// Writes every credential, at the beginning of a connection.
    pub(crate) fn replay(&mut self, out: &mut BytesMut) {
        self.unanswered.clear();
        for entry in &self.entries {
            put_packet(&entry.credential, out);
            self.unanswered.push_back(entry.id);
        }
    }

    /// The server's answer to the oldest unanswered packet.
    pub(crate) fn answered(&mut self, accepted: bool) -> Verdict {
        let Some(id) = self.unanswered.pop_front() else {
            return Verdict::Unexpected;
        };
        let Some(at) = self.entries.iter().position(|entry| entry.id == id) else {
            return Verdict::Unexpected;
        };
        if accepted {
            return Verdict::Accepted(self.establish(at));
        }
        if self.entries[at].established {
            return Verdict::RefusedEstablished;
        }
        Verdict::RefusedNew(self.entries.remove(at).take_slot())
    }

    /// From now on the client depends on this one; twice the same is once.
    fn establish(&mut self, at: usize) -> Option<Slot> {
        let entry = &mut self.entries[at];
        entry.established = true;
        let (slot, credential, id) = (entry.take_slot(), entry.credential.clone(), entry.id);
        let same = |other: &Entry| other.credential == credential && other.id != id;
        if self
            .entries
            .iter()
            .any(|other| other.established && same(other))
        {
            self.entries.remove(at);
        }
        slot
    }

    /// Whether the server has answered everything that was presented on this connection.
    pub(crate) fn is_settled(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Takes everybody who waits.
    pub(crate) fn take_slots(&mut self) -> Vec<Slot> {
        self.entries
            .iter_mut()
            .filter_map(Entry::take_slot)
            .collect()
    }

    /// Takes those who have waited long enough; their credentials stay.
    pub(crate) fn take_expired(&mut self, now: Moment) -> Vec<Slot> {
        let due = |entry: &&mut Entry| {
            entry
                .waiting
                .as_ref()
                .is_some_and(|(_, deadline)| *deadline <= now)
        };
        self.entries
            .iter_mut()
            .filter(due)
            .filter_map(Entry::take_slot)
            .collect()
    }

    /// When the next one has waited long enough.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.entries
            .iter()
            .filter_map(|entry| entry.waiting.as_ref())
            .map(|(_, deadline)| *deadline)
            .min()
    }

    fn add(
        &mut self,
        credential: Credential,
        established: bool,
        waiting: Option<(Slot, Moment)>,
    ) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.entries.push(Entry {
            id,
            credential,
            established,
            waiting,
        });
        id
    }
}

impl Entry {
    fn take_slot(&mut self) -> Option<Slot> {
        self.waiting.take().map(|(slot, _)| slot)
    }
}

fn put_packet(credential: &Credential, out: &mut BytesMut) {
    let header = RequestHeader {
        xid: Xid::AUTH,
        op: OpCode::Auth.code(),
    };
    let request = AuthRequest {
        kind: 0,
        scheme: credential.scheme.clone(),
        auth: Secret(Some(credential.secret.clone())),
    };
    put_frame(out, &[&header, &request]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        Auth::new(vec![Credential::new("digest", "alice:secret")])
    }

    #[test]
    fn a_secret_is_never_printed() {
        let printed = format!("{:?}", auth());
        assert!(
            printed.contains("digest") && !printed.contains("secret\""),
            "{printed}"
        );
        assert!(!printed.contains("alice"), "{printed}");
    }

    #[test]
    fn a_refused_newcomer_is_forgotten_and_an_established_credential_is_fatal() {
        let mut auth = auth();
        let mut out = BytesMut::new();
        auth.replay(&mut out);
        auth.present(Credential::new("nonsense", ""), None, Some(&mut out));
        assert!(matches!(auth.answered(true), Verdict::Accepted(None)));
        assert!(matches!(auth.answered(false), Verdict::RefusedNew(None)));
        assert!(matches!(auth.answered(true), Verdict::Unexpected));
        auth.replay(&mut out);
        assert!(matches!(auth.answered(false), Verdict::RefusedEstablished));
    }

    #[test]
    fn a_credential_added_without_a_connection_goes_out_with_the_next() {
        let mut auth = auth();
        auth.present(Credential::new("digest", "bob:x"), None, None);
        let mut out = BytesMut::new();
        auth.replay(&mut out);
        let one = 4 + 8 + 4 + (4 + 6);
        assert_eq!(
            out.len(),
            2 * one + (4 + "alice:secret".len()) + (4 + "bob:x".len())
        );
    }
}
