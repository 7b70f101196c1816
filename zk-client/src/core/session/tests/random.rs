//! Random schedules: every command completes exactly once, in order, and nothing is sent twice.

use fastrand::Rng;

use super::*;

struct Run {
    world: World,
    rng: Rng,
    /// What the server has seen on this connection and not answered.
    unanswered: Vec<Seen>,
    open: Vec<(u32, Answer)>,
    completed: Vec<u32>,
    next: u32,
    bodies: std::collections::BTreeSet<Bytes>,
}

impl Run {
    fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..=39 => self.submit(),
            40..=69 => self.answer(),
            70..=74 => self.world.cut(),
            75..=87 => self.shake_hands(),
            88 => self.change_hosts(),
            89 => self.search(),
            90..=91 => self
                .world
                .receive(&mut BytesMut::from(&b"\0\0\0\x02xx"[..])),
            _ => self
                .world
                .pass(Duration::from_millis(self.rng.u64(0..4000))),
        }
        self.look();
    }

    fn submit(&mut self) {
        for _ in 0..self.rng.u32(1..4) {
            let path = format!("/{}", self.next);
            let hurry = self.rng.u32(0..10) == 0;
            let deadline =
                hurry.then(|| self.world.now + Duration::from_millis(self.rng.u64(0..3000)));
            let kind = Kind::Request(OpCode::Delete, None);
            let answer = self
                .world
                .put(kind, &path, |command| command.deadline = deadline);
            self.open.push((self.next, answer));
            self.next += 1;
        }
        self.world.go();
    }

    fn answer(&mut self) {
        if !self.unanswered.is_empty() {
            let seen = self.unanswered.remove(0);
            self.world.ok(seen.xid, 1);
        }
    }

    fn shake_hands(&mut self) {
        if matches!(
            self.world.session.phase,
            super::super::Phase::Dialing { .. }
        ) {
            let asked = self.world.dialed().session_id;
            match self.rng.u32(0..6) {
                0 => self.world.refuse(),
                1 => self.world.cut(),
                _ => {
                    let id = match asked {
                        SessionId::NONE => SessionId(self.rng.i64(1..)),
                        id => id,
                    };
                    let password = Password::new(Bytes::from_static(b"0123456789abcdef"));
                    let read_only = self.rng.u32(0..4) == 0;
                    self.world.respond_as(id, 9000, password, read_only);
                }
            }
        }
    }

    fn change_hosts(&mut self) {
        let hosts: Vec<_> = (1..=self.rng.u16(1..5))
            .map(|port| Host {
                name: "h".to_owned(),
                port,
            })
            .collect();
        self.world.hosts = hosts.len();
        let mut changed = self.world.command(Kind::UpdateHosts(hosts));
        assert!(answered(&mut changed).is_ok());
    }

    /// What a search finds, asked for or not.
    fn search(&mut self) {
        let found = self.world.offered.first().cloned();
        let found = found.filter(|_| self.rng.bool());
        self.world.handle(Input::Searched(found));
    }

    fn look(&mut self) {
        if !self.world.session.is_live() {
            self.unanswered.clear();
            self.world.wire.clear();
        }
        for seen in self.world.seen() {
            if seen.op == OpCode::Delete {
                assert!(
                    self.bodies.insert(seen.body.clone()),
                    "sent twice: {:?}",
                    seen.body
                );
                self.unanswered.push(seen);
            } else if seen.op == OpCode::Ping {
                self.world.ok(Xid::PING, 0);
            }
        }
        let completed = &mut self.completed;
        self.open
            .retain_mut(|(number, answer)| match answer.try_recv().unwrap() {
                None => true,
                Some(_) => {
                    completed.push(*number);
                    false
                }
            });
    }
}

#[test]
fn every_command_completes_exactly_once_whatever_happens() {
    for seed in 0..300 {
        let mut run = Run {
            world: World::new(Config {
                allow_read_only: seed % 2 == 0,
                ..config()
            }),
            rng: Rng::with_seed(seed),
            unanswered: Vec::new(),
            open: Vec::new(),
            completed: Vec::new(),
            next: 0,
            bodies: std::collections::BTreeSet::new(),
        };
        for _ in 0..400 {
            run.step();
        }
        let _closed = run.world.command(Kind::Close);
        run.world.pass(REQUEST_TIMEOUT);
        run.look();
        assert!(run.world.stopped, "seed {seed}");
        assert!(
            run.open.is_empty(),
            "seed {seed}: {} commands hang",
            run.open.len()
        );
        assert_eq!(run.world.released, run.next as usize, "seed {seed}");
        let world = &run.world;
        assert_eq!(world.released_bytes, world.submitted_bytes, "seed {seed}");
        run.completed.sort_unstable();
        assert!(run.completed.iter().copied().eq(0..run.next), "seed {seed}");
    }
}
