//! The word `dump`: sessions by when they expire, ephemeral nodes by session, and connections.
//!
//! Only the peer knows when sessions expire; so it answers this word, and not the connection's task.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{LocalSessions, Peer};
use crate::{
    conn::handle::ConnHandle,
    frames::Frames,
    time::{Now, java_date},
};

/// The buckets that Apache files connections in (`nio.sessionlessCnxnTimeout`), and how long one without a session
/// has there.
const CONNECTION_TICK_MS: u64 = 10_000;

impl Peer {
    /// Answers `dump` and ends the connection.
    pub(super) fn dump(&mut self, now: Now, conn: &Arc<ConnHandle>) {
        let mut text = String::new();
        let _ = self.write_dump(now, &mut text);
        let mut frames = Frames::new();
        frames.own_mut().extend_from_slice(text.as_bytes());
        conn.outbox.append(&mut frames, 0);
        self.shared.metrics.packets_sent.add(1);
        self.close(conn);
    }

    fn write_dump(&self, now: Now, out: &mut String) -> fmt::Result {
        writeln!(out, "SessionTracker dump:")?;
        self.write_sessions(now, out)?;
        writeln!(out, "ephemeral nodes dump:")?;
        self.write_ephemerals(out)?;
        writeln!(out, "Connections dump:")?;
        write_sets("Connections", now, &self.connections(), out)
    }

    /// `LeaderSessionTracker.dumpSessions`, `LearnerSessionTracker.dumpSessions`: a learner does not know when the
    /// ensemble's sessions end.
    fn write_sessions(&self, now: Now, out: &mut String) -> fmt::Result {
        if self.options.local_sessions != LocalSessions::Off {
            write_sets("Local Session", now, &self.sessions.by_expiry(true), out)?;
            if self.leads() {
                out.push_str("Global ");
            }
        }
        if self.leads() {
            return write_sets("Session", now, &self.sessions.by_expiry(false), out);
        }
        let global = self.sessions.global();
        writeln!(out, "Global Sessions({}):", global.len())?;
        for (session, timeout) in global {
            writeln!(out, "{session}\t{}ms", timeout.as_millis())?;
        }
        Ok(())
    }

    fn write_ephemerals(&self, out: &mut String) -> fmt::Result {
        let tree = self.shared.tree.read();
        let count = tree.ephemeral_sessions().count();
        writeln!(out, "Sessions with Ephemerals ({count}):")?;
        for session in tree.ephemeral_sessions() {
            writeln!(out, "{session}:")?;
            for path in tree.ephemerals(session) {
                writeln!(out, "\t{path}")?;
            }
        }
        Ok(())
    }

    fn connections(&self) -> BTreeMap<Duration, Vec<String>> {
        let mut sets = BTreeMap::<_, Vec<_>>::new();
        for conn in self.shared.conns.all() {
            let timeout = match conn.stats.timeout_ms.load(Relaxed) {
                0 => CONNECTION_TICK_MS,
                timeout => timeout.into(),
            };
            let ends = conn.last_heard_ms.load(Relaxed) + timeout;
            let bucket =
                Duration::from_millis((ends / CONNECTION_TICK_MS + 1) * CONNECTION_TICK_MS);
            let (remote, session) = (conn.remote, conn.stats.session());
            let line = format!("ip: /{remote} sessionId: {session}");
            sets.entry(bucket).or_default().push(line);
        }
        sets
    }
}

/// `ExpiryQueue.dump`.
fn write_sets<'a, T>(
    what: &str,
    now: Now,
    sets: &'a BTreeMap<Duration, T>,
    out: &mut String,
) -> fmt::Result
where
    &'a T: IntoIterator<Item: Display>,
{
    let sizes = sets.values().map(|set| set.into_iter().count());
    writeln!(
        out,
        "{what} Sets ({})/({}):",
        sets.len(),
        sizes.sum::<usize>()
    )?;
    for (ends, set) in sets {
        let left = i64::try_from(ends.saturating_sub(now.mono).as_millis()).unwrap_or_default();
        let when = java_date(now.wall_ms.saturating_add(left));
        writeln!(out, "{} expire at {when}:", set.into_iter().count())?;
        for entry in set {
            writeln!(out, "\t{entry}")?;
        }
    }
    Ok(())
}
