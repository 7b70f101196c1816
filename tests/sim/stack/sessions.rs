//! The world around the session cores: what they wish for, and what they are told.

use std::time::Duration;

use super::{
    Event, MS, Owner, World,
    session::{SessionClient, Wish},
};

/// A session core and its place in the world.
pub(super) struct Seat {
    pub(super) client: SessionClient,
    pub(super) conn: Option<u64>,
    /// Which attempt to connect counts.
    attempt: u64,
    timer: Option<Duration>,
    /// Until when its machine sleeps.
    pub(super) asleep_until: Duration,
}

impl Seat {
    pub(super) const fn new(client: SessionClient) -> Self {
        Self {
            client,
            conn: None,
            attempt: 0,
            timer: None,
            asleep_until: Duration::ZERO,
        }
    }
}

impl World {
    /// A session's caller wants something, or its machine goes to sleep for longer than the session lasts.
    pub(super) fn session(&mut self, at: usize) {
        if self.calm {
            return;
        }
        let next = self.soon(40);
        self.schedule(next, Event::Session(at));
        if self.random.u8(0..200) == 0 {
            self.seats[at].asleep_until = self.now + 3_000 * MS;
        } else if self.seats[at].client.unanswered() < 8 {
            let client = &mut self.seats[at].client;
            let wishes = client.ask(&mut self.random, self.now, &mut self.history);
            self.grant(at, wishes);
        }
    }

    pub(super) fn session_timer(&mut self, at: usize, due: Duration) {
        if self.seats[at].timer != Some(due) {
            return;
        }
        self.seats[at].timer = None;
        let wishes = self.seats[at].client.deadline(self.now, &mut self.history);
        self.grant(at, wishes);
    }

    /// Connects it, if there is somebody to connect it to.
    pub(super) fn dialed(&mut self, at: usize, attempt: u64, found: Option<(usize, usize)>) {
        if self.seats[at].attempt != attempt {
            return;
        }
        let up = found.filter(|(_, server)| self.servers[*server].process.is_some());
        let seat = &mut self.seats[at];
        let wishes = match up {
            None => seat.client.dial_failed(self.now, &mut self.history),
            Some((place, server)) => {
                let conn = self.open(Owner::Session(at), server);
                let seat = &mut self.seats[at];
                seat.conn = conn;
                seat.client.dialed(self.now, place, &mut self.history)
            }
        };
        self.grant(at, wishes);
    }

    pub(super) fn at_session(&mut self, at: usize, conn: u64, bytes: Option<&[u8]>) {
        let seat = &mut self.seats[at];
        if seat.conn != Some(conn) {
            return;
        }
        let wishes = match bytes {
            Some(bytes) => seat.client.hear(self.now, bytes, &mut self.history),
            None => {
                seat.conn = None;
                self.links.remove(&conn);
                seat.client.link_closed(self.now, &mut self.history)
            }
        };
        self.grant(at, wishes);
    }

    pub(super) fn grant(&mut self, at: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Write(bytes) => {
                    if let Some(conn) = self.seats[at].conn {
                        self.send(conn, bytes);
                    }
                }
                Wish::HangUp => {
                    self.seats[at].attempt += 1;
                    if let Some(conn) = self.seats[at].conn.take() {
                        let after = self.soon(2);
                        let way = (conn as usize + 1_000, 0);
                        let after = self.network.after_last(way, after);
                        self.schedule(after, Event::ToServer { conn, bytes: None });
                    }
                }
                Wish::Dial(servers) => {
                    let mut found = servers.into_iter().enumerate();
                    let found = found.find(|(_, server)| self.servers[*server].process.is_some());
                    self.seats[at].attempt += 1;
                    let attempt = self.seats[at].attempt;
                    let after = self.soon(4);
                    self.schedule(after, Event::Dialed { at, attempt, found });
                }
            }
        }
        self.set_alarm(at);
    }

    /// Sees to it that its deadline comes.
    fn set_alarm(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        if let Some(wanted) = seat.client.next_deadline()
            && seat.timer.is_none_or(|timer| wanted < timer)
        {
            seat.timer = Some(wanted);
            let after = wanted.max(self.now);
            let due = wanted;
            self.schedule(after, Event::SessionTimer { at, due });
        }
    }
}
