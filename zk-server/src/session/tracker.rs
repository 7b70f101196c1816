//! The leader's book of sessions (`SessionTrackerImpl.java`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use zk_proto::{ErrorCode, ServerId, SessionId};

use super::ExpiryQueue;
use crate::{
    conn::{handle::ConnHandle, heard::HeardOf},
    time::Now,
};

/// Every session that may still be used, its connection here if it has one, and when it will be over.
#[derive(Debug)]
pub struct SessionTracker {
    sessions: HashMap<SessionId, Session>,
    queue: ExpiryQueue<SessionId>,
    next_id: i64,
    local: usize,
    /// Of whom was heard here, at a member that follows; there, only local sessions expire.
    heard_of: Option<Arc<HeardOf>>,
}

#[derive(Debug)]
struct Session {
    timeout: Duration,
    /// The latest of: made, attached, detached; its connection's clock may know of a later sign of life.
    heard: Duration,
    conn: Option<Arc<ConnHandle>>,
    /// Whether it was heard last over a connection of this server, which may have ended.
    is_here: bool,
    closing: bool,
    is_local: bool,
    bucket: u64,
}

/// What [`SessionTracker::attach`] did.
#[derive(Debug)]
pub struct Attached {
    /// The connection that had the session until now; to be closed.
    pub before: Option<Arc<ConnHandle>>,
}

impl Session {
    fn last_heard(&self) -> Duration {
        let by_conn = self
            .conn
            .as_ref()
            .map(|conn| Duration::from_millis(conn.last_heard_ms.load(Relaxed)));
        self.heard.max(by_conn.unwrap_or_default())
    }
}

impl SessionTracker {
    /// A book without sessions; ids begin as Apache's do: the server's id in the high byte, then 40 bits of
    /// milliseconds, then 16 bits to count in.
    ///
    /// Apache takes the milliseconds since boot, and so may give an id again after a reboot; the wall clock
    /// does not.
    #[must_use]
    pub fn new(tick: Duration, server: ServerId, now: Now) -> Self {
        Self {
            sessions: HashMap::new(),
            queue: ExpiryQueue::new(tick),
            next_id: first_id(server, now.wall_ms),
            local: 0,
            heard_of: None,
        }
    }

    /// The book of a member that does not lead: it hears of every session of the ensemble, and none but its own local
    /// ones expire here.
    #[must_use]
    pub fn that_follows(mut self) -> Self {
        self.heard_of = Some(Arc::default());
        self
    }

    /// Goes on counting where another book stopped.
    pub fn keep_ids_of(&mut self, before: &Self) {
        self.next_id = self.next_id.max(before.next_id);
    }

    /// Whether a session may be used by a client of another server.
    ///
    /// # Errors
    /// [`ErrorCode::SessionExpired`] when there is no such session, it is closing or only this member's,
    /// [`ErrorCode::SessionMoved`] when a connection here has it.
    pub fn check_remote(&self, id: SessionId) -> Result<(), ErrorCode> {
        match self.sessions.get(&id) {
            None => Err(ErrorCode::SessionExpired),
            Some(session) if session.closing || session.is_local => Err(ErrorCode::SessionExpired),
            Some(session) if session.conn.is_some() => Err(ErrorCode::SessionMoved),
            Some(_) => Ok(()),
        }
    }

    /// A client has come with the session to another server; returns the connection that had it here.
    ///
    /// # Errors
    /// [`ErrorCode::SessionExpired`] when there is no such session, it is closing or only this member's.
    pub fn move_away(
        &mut self,
        id: SessionId,
        timeout: Duration,
        now: Now,
    ) -> Result<Option<Arc<ConnHandle>>, ErrorCode> {
        let session = self
            .sessions
            .get_mut(&id)
            .filter(|session| !session.closing && !session.is_local);
        let session = session.ok_or(ErrorCode::SessionExpired)?;
        let before = session.conn.take();
        self.touch(id, timeout, now);
        Ok(before)
    }

    /// A client is about to come with the session over another connection; returns the one that has it.
    ///
    /// # Errors
    /// [`ErrorCode::SessionExpired`] when there is no such session, it is closing or only this member's.
    pub fn take_conn(&mut self, id: SessionId) -> Result<Option<Arc<ConnHandle>>, ErrorCode> {
        let session = self.sessions.get_mut(&id);
        let session = session.filter(|session| !session.closing && !session.is_local);
        let session = session.ok_or(ErrorCode::SessionExpired)?;
        session.heard = session.last_heard();
        Ok(session.conn.take())
    }

    /// A client of another server has this session, and asks for something.
    pub fn heard(&mut self, id: SessionId, now: Now) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.heard = now.mono;
            session.is_here = false;
        }
    }

    /// Another server has heard of a session.
    pub fn touch(&mut self, id: SessionId, timeout: Duration, now: Now) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.heard = now.mono;
        session.is_here = false;
        session.timeout = timeout;
        self.file_earlier(id, now.mono + timeout);
    }

    /// Sees to it that a session is looked at by then.
    fn file_earlier(&mut self, id: SessionId, deadline: Duration) {
        let bucket = self.queue.bucket_of(deadline);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if bucket < session.bucket {
            session.bucket = bucket;
            if session.is_local || self.heard_of.is_none() {
                self.queue.push(bucket, id);
            }
        }
    }

    /// The ensemble's sessions that were heard of here since this was asked last, with their timeouts; also over
    /// connections that have ended meanwhile. Takes as long as they are many, and not as there are sessions.
    pub fn take_heard(&self) -> impl Iterator<Item = (SessionId, Duration)> + '_ {
        let heard = self.heard_of.as_ref().map(|heard_of| heard_of.take());
        heard.into_iter().flatten().filter_map(|id| {
            let session = self.sessions.get(&id)?;
            if let Some(conn) = &session.conn {
                conn.beacon.put_out();
            }
            (session.is_here && !session.is_local).then_some((id, session.timeout))
        })
    }

    /// An id that no session has.
    pub fn new_id(&mut self) -> SessionId {
        loop {
            let id = SessionId(self.next_id);
            self.next_id = self.next_id.wrapping_add(1);
            if !self.sessions.contains_key(&id) && id != CONTAINER_OWNER && id != SessionId::NONE {
                return id;
            }
        }
    }

    /// Begins to watch over a session; it has its full timeout from now on.
    pub fn track(&mut self, id: SessionId, timeout: Duration, now: Now) {
        self.begin(id, timeout, false, now);
    }

    fn begin(&mut self, id: SessionId, timeout: Duration, is_local: bool, now: Now) {
        let bucket = self.queue.bucket_of(now.mono + timeout);
        let session = Session {
            timeout,
            heard: now.mono,
            conn: None,
            is_here: false,
            closing: false,
            is_local,
            bucket,
        };
        self.sessions.insert(id, session);
        self.local += usize::from(is_local);
        if is_local || self.heard_of.is_none() {
            self.queue.push(bucket, id);
        }
    }

    /// The ensemble has agreed on a session: begins to watch over it, unless this member did already.
    pub fn commit(&mut self, id: SessionId, timeout: Duration, now: Now) {
        match self.contains(id) {
            true => _ = self.make_global(id),
            false => self.track(id, timeout, now),
        }
    }

    /// As [`track`](Self::track), a session that only this member knows.
    pub fn track_local(&mut self, id: SessionId, timeout: Duration, now: Now) {
        self.begin(id, timeout, true, now);
    }

    /// Whether only this member knows the session.
    #[must_use]
    pub fn is_local(&self, id: SessionId) -> bool {
        self.local > 0
            && self
                .sessions
                .get(&id)
                .is_some_and(|session| session.is_local)
    }

    /// How many such sessions there are.
    #[must_use]
    pub const fn local_len(&self) -> usize {
        self.local
    }

    /// The session becomes the whole ensemble's; returns its timeout, zero where there is no such session.
    pub fn make_global(&mut self, id: SessionId) -> Duration {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Duration::ZERO;
        };
        self.local -= usize::from(std::mem::take(&mut session.is_local));
        if let Some((heard_of, conn)) = self.heard_of.as_ref().zip(session.conn.as_ref()) {
            conn.beacon.aim(id, heard_of);
            heard_of.enter(id);
        }
        session.timeout
    }

    /// Gives the session to a connection, with a timeout agreed anew.
    ///
    /// # Errors
    /// [`ErrorCode::SessionExpired`] when there is no such session or it is closing.
    pub fn attach(
        &mut self,
        id: SessionId,
        conn: &Arc<ConnHandle>,
        timeout: Duration,
        now: Now,
    ) -> Result<Attached, ErrorCode> {
        let session = self
            .sessions
            .get_mut(&id)
            .filter(|session| !session.closing)
            .ok_or(ErrorCode::SessionExpired)?;
        session.heard = now.mono;
        session.is_here = true;
        session.timeout = timeout;
        let before = session.conn.replace(conn.clone());
        if let Some(heard_of) = self.heard_of.as_ref().filter(|_| !session.is_local) {
            conn.beacon.aim(id, heard_of);
            heard_of.enter(id);
        }
        self.file_earlier(id, now.mono + timeout);
        Ok(Attached { before })
    }

    /// The connection is gone; its session lives on until it is resumed or expires.
    pub fn detach(&mut self, id: SessionId, conn: &ConnHandle) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.is_of(conn)
        {
            session.heard = session.last_heard();
            session.conn = None;
        }
    }

    /// Whether a request of this session that came over this connection may be carried out.
    ///
    /// # Errors
    /// [`ErrorCode::SessionMoved`] over any connection but the session's own, [`ErrorCode::SessionExpired`]
    /// when the session is closing or gone.
    pub fn check(&self, id: SessionId, conn: &ConnHandle) -> Result<(), ErrorCode> {
        match self.sessions.get(&id) {
            None => Err(ErrorCode::SessionExpired),
            Some(session) if session.closing => Err(ErrorCode::SessionExpired),
            Some(session) if !session.is_of(conn) => Err(ErrorCode::SessionMoved),
            Some(_) => Ok(()),
        }
    }

    /// A closeSession for it is on its way: no request of it is accepted any more.
    ///
    /// Returns whether it was there and not closing already.
    pub fn set_closing(&mut self, id: SessionId) -> bool {
        match self.sessions.get_mut(&id) {
            Some(session) => !std::mem::replace(&mut session.closing, true),
            None => false,
        }
    }

    /// The session is over; returns the connection it had.
    pub fn remove(&mut self, id: SessionId) -> Option<Arc<ConnHandle>> {
        let session = self.sessions.remove(&id)?;
        self.local -= usize::from(session.is_local);
        session.conn
    }

    /// Whether it is known, closing or not.
    #[must_use]
    pub fn contains(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// When to call [`expire`](Self::expire) next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.queue.next_deadline()
    }

    /// Those sessions that are the whole ensemble's, closing or not, with their timeouts.
    #[must_use]
    pub fn global(&self) -> BTreeMap<SessionId, Duration> {
        let global = self
            .sessions
            .iter()
            .filter(|(_, session)| !session.is_local);
        global.map(|(id, session)| (*id, session.timeout)).collect()
    }

    /// The open sessions, either those that only this member knows or the ensemble's, by when they will expire if
    /// nothing more is heard of them.
    #[must_use]
    pub fn by_expiry(&self, is_local: bool) -> BTreeMap<Duration, BTreeSet<SessionId>> {
        let mut sets = BTreeMap::<_, BTreeSet<_>>::new();
        #[expect(clippy::iter_over_hash_type, reason = "what is collected is sorted")]
        for (id, session) in &self.sessions {
            if !session.closing && session.is_local == is_local {
                let bucket = self.queue.bucket_of(session.last_heard() + session.timeout);
                sets.entry(self.queue.end_of(bucket))
                    .or_default()
                    .insert(*id);
            }
        }
        sets
    }

    /// Looks at every bucket that is due, files again the sessions that were heard since, and marks as
    /// closing and returns those that were not.
    pub fn expire(&mut self, now: Now) -> Vec<SessionId> {
        self.expire_those(now, |_| true)
    }

    /// As [`expire`](Self::expire), for a member that does not lead: only the sessions that nobody else knows. The
    /// others are not looked at again, since the book ends with the member's part in the ensemble.
    pub fn expire_local(&mut self, now: Now) -> Vec<SessionId> {
        self.expire_those(now, |session| session.is_local)
    }

    fn expire_those(&mut self, now: Now, is_ours: impl Fn(&Session) -> bool) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some((bucket, entries)) = self.queue.pop_due(now.mono) {
            for id in entries {
                let Some(session) = self.sessions.get_mut(&id) else {
                    continue;
                };
                if session.closing || session.bucket != bucket || !is_ours(session) {
                    continue;
                }
                let due = self.queue.bucket_of(session.last_heard() + session.timeout);
                if due > bucket {
                    session.bucket = due;
                    self.queue.push(due, id);
                } else {
                    session.closing = true;
                    expired.push(id);
                }
            }
        }
        expired
    }
}

impl Session {
    fn is_of(&self, conn: &ConnHandle) -> bool {
        self.conn
            .as_ref()
            .is_some_and(|own| own.serial == conn.serial)
    }
}

/// What the owner field of a container holds; no session may have it for its id.
const CONTAINER_OWNER: SessionId = SessionId(i64::MIN);

/// `SessionTrackerImpl.initializeNextSessionId`.
const fn first_id(server: ServerId, ms: i64) -> i64 {
    let millis = ((ms as u64) << 24) >> 8;
    (millis & 0x00ff_ffff_ffff_ffff).cast_signed() | (server.0 << 56)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::{auth::Credentials, tree::watches::ConnId};

    const TICK: Duration = Duration::from_secs(2);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn at(ms: u64) -> Now {
        Now {
            mono: Duration::from_millis(ms),
            wall_ms: 1_700_000_000_000,
        }
    }

    fn tracker() -> SessionTracker {
        SessionTracker::new(TICK, ServerId(1), at(0))
    }

    fn conn(serial: u64) -> Arc<ConnHandle> {
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        Arc::new(ConnHandle::new(
            ConnId(1),
            serial,
            remote,
            Credentials::none(),
            at(0),
        ))
    }

    /// Runs the queue from deadline to deadline; returns when the first session expired.
    fn run_until_expiry(tracker: &mut SessionTracker) -> (Duration, Vec<SessionId>) {
        loop {
            let mono = tracker.next_deadline().unwrap();
            let expired = tracker.expire(Now { mono, wall_ms: 0 });
            if !expired.is_empty() {
                return (mono, expired);
            }
        }
    }

    #[test]
    fn ids_are_made_as_apache_makes_them() {
        // (1700000000000L << 24) >>> 8 | 1L << 56
        assert_eq!(tracker().new_id(), SessionId(0x018b_cfe5_6800_0000));
        let mut tracker = tracker();
        let (a, b) = (tracker.new_id(), tracker.new_id());
        assert_eq!(b.0, a.0 + 1);
        assert!(
            first_id(ServerId(255), 1) < 0,
            "the high byte is the server's alone"
        );
    }

    #[test]
    fn a_silent_session_lives_its_timeout_and_at_most_a_tick_more() {
        for start in [0, 1, 777, 1999, 2000] {
            let mut tracker = tracker();
            let id = tracker.new_id();
            tracker.track(id, TIMEOUT, at(start));
            let (when, expired) = run_until_expiry(&mut tracker);
            assert_eq!(expired, [id]);
            let lived = when - Duration::from_millis(start);
            assert!(
                lived >= TIMEOUT && lived <= TIMEOUT + TICK,
                "lived {lived:?}"
            );
        }
    }

    #[test]
    fn a_sign_of_life_is_seen_when_the_bucket_falls_due() {
        let mut tracker = tracker();
        let (id, conn) = (tracker.new_id(), conn(1));
        tracker.track(id, TIMEOUT, at(0));
        tracker.attach(id, &conn, TIMEOUT, at(0)).unwrap();
        conn.heard(at(9_000));
        let (when, _) = run_until_expiry(&mut tracker);
        assert!(when >= Duration::from_secs(19) && when <= Duration::from_secs(21));
    }

    #[test]
    fn detaching_keeps_what_the_connection_had_heard() {
        let mut tracker = tracker();
        let (id, conn) = (tracker.new_id(), conn(1));
        tracker.track(id, TIMEOUT, at(0));
        tracker.attach(id, &conn, TIMEOUT, at(0)).unwrap();
        conn.heard(at(5_000));
        tracker.detach(id, &conn);
        conn.heard(at(100_000));
        let (when, _) = run_until_expiry(&mut tracker);
        assert!(when >= Duration::from_secs(15) && when <= Duration::from_secs(17));
    }

    fn told(tracker: &SessionTracker) -> Vec<SessionId> {
        tracker.take_heard().map(|(id, _)| id).collect()
    }

    #[test]
    fn what_an_ended_connection_had_heard_is_told_and_what_others_heard_is_not() {
        let mut tracker = tracker().that_follows();
        let (id, conn) = (tracker.new_id(), conn(1));
        tracker.track(id, TIMEOUT, at(0));
        assert_eq!(told(&tracker), [], "nobody has come with it");
        tracker.attach(id, &conn, TIMEOUT, at(1_000)).unwrap();
        assert_eq!(told(&tracker), [id]);
        conn.heard(at(5_000));
        conn.heard(at(5_001));
        tracker.detach(id, &conn);
        assert_eq!(told(&tracker), [id]);
        assert_eq!(told(&tracker), []);
        tracker.attach(id, &conn, TIMEOUT, at(6_000)).unwrap();
        tracker.touch(id, TIMEOUT, at(9_000));
        assert_eq!(told(&tracker), [], "another server has heard of it later");
    }

    #[test]
    fn whoever_was_heard_of_is_told_once_among_any_number_of_others() {
        let mut tracker = tracker().that_follows();
        let mut come = |number| {
            let (id, conn) = (tracker.new_id(), conn(number));
            tracker.track(id, TIMEOUT, at(0));
            tracker.attach(id, &conn, TIMEOUT, at(0)).unwrap();
            (id, conn)
        };
        let all: Vec<_> = (0..1_000).map(&mut come).collect();
        assert_eq!(told(&tracker).len(), all.len());
        for round in 1..4 {
            for (_, conn) in &all[500..500 + round] {
                (0..3).for_each(|_| conn.heard(at(1_000)));
            }
            let heard = tracker.heard_of.as_ref().unwrap().take();
            let expected: Vec<_> = all[500..500 + round].iter().map(|(id, _)| *id).collect();
            assert_eq!(heard, expected, "nobody else is looked at");
            heard
                .iter()
                .for_each(|id| tracker.heard_of.as_ref().unwrap().enter(*id));
            assert_eq!(told(&tracker), expected);
        }
    }

    #[test]
    fn a_local_session_is_told_of_from_when_it_is_the_ensembles() {
        let mut tracker = tracker().that_follows();
        let (id, conn) = (tracker.new_id(), conn(1));
        tracker.track_local(id, TIMEOUT, at(0));
        tracker.attach(id, &conn, TIMEOUT, at(0)).unwrap();
        conn.heard(at(1_000));
        assert_eq!(told(&tracker), []);
        tracker.make_global(id);
        assert_eq!(told(&tracker), [id]);
        conn.heard(at(2_000));
        assert_eq!(told(&tracker), [id]);
    }

    #[test]
    fn a_shorter_timeout_takes_effect_at_once() {
        let mut tracker = tracker();
        let id = tracker.new_id();
        tracker.track(id, Duration::from_secs(40), at(0));
        tracker
            .attach(id, &conn(1), Duration::from_secs(4), at(1_000))
            .unwrap();
        let (when, expired) = run_until_expiry(&mut tracker);
        assert_eq!(expired, [id]);
        assert!(when <= Duration::from_secs(7), "{when:?}");
        assert!(
            tracker.expire(at(60_000)).is_empty(),
            "the stale entry is skipped"
        );
    }

    #[test]
    fn the_book_of_who_follows_does_not_grow_with_sessions_that_come_and_go() {
        let mut tracker = tracker().that_follows();
        for ms in 0..10_000 {
            let id = tracker.new_id();
            tracker.commit(id, TIMEOUT, at(ms));
            tracker.touch(id, TIMEOUT / 2, at(ms));
            tracker.remove(id);
        }
        assert_eq!(tracker.next_deadline(), None, "nothing is remembered");
        let (local, other) = (tracker.new_id(), tracker.new_id());
        tracker.track_local(local, TIMEOUT, at(0));
        tracker.track(other, TIMEOUT, at(0));
        let mono = tracker.next_deadline().unwrap();
        let now = Now { mono, wall_ms: 0 };
        assert_eq!(tracker.expire_local(now), [local]);
        assert_eq!(tracker.next_deadline(), None);
    }

    #[test]
    fn a_moved_session_takes_requests_over_its_new_connection_only() {
        let mut tracker = tracker();
        let id = tracker.new_id();
        let (old, new) = (conn(1), conn(2));
        tracker.track(id, TIMEOUT, at(0));
        assert!(
            tracker
                .attach(id, &old, TIMEOUT, at(0))
                .unwrap()
                .before
                .is_none()
        );
        assert_eq!(tracker.check(id, &old), Ok(()));
        let before = tracker.attach(id, &new, TIMEOUT, at(1)).unwrap().before;
        assert_eq!(before.map(|conn| conn.serial), Some(1));
        assert_eq!(tracker.check(id, &old), Err(ErrorCode::SessionMoved));
        assert_eq!(tracker.check(id, &new), Ok(()));
        tracker.detach(id, &old);
        assert_eq!(
            tracker.check(id, &new),
            Ok(()),
            "the old connection's end changes nothing"
        );
    }

    #[test]
    fn a_closing_session_takes_nothing_and_cannot_be_resumed() {
        let mut tracker = tracker();
        let (id, conn) = (tracker.new_id(), conn(1));
        tracker.track(id, TIMEOUT, at(0));
        tracker.attach(id, &conn, TIMEOUT, at(0)).unwrap();
        assert!(tracker.set_closing(id) && !tracker.set_closing(id));
        assert_eq!(tracker.check(id, &conn), Err(ErrorCode::SessionExpired));
        assert!(tracker.attach(id, &conn, TIMEOUT, at(1)).is_err());
        assert!(tracker.remove(id).is_some());
        assert!(!tracker.contains(id));
    }
}
