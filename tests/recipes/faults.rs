//! What goes wrong and when, drawn from a seed before a run begins.

use std::{fmt, time::Duration};

use fastrand::Rng;

use crate::{
    servers::Servers,
    world::{Reach, T},
};

/// How rarely a lossy network loses something.
const LOSS: u32 = 150;

/// A fault that begins at a time and is over some time later.
#[derive(Debug, Clone)]
struct Fault {
    kind: Kind,
    begins: Duration,
    ends: Duration,
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Nothing passes between a process and the servers.
    Partition(String),
    /// Nothing passes between a process and this one of the servers.
    Away(String, usize),
    /// Nothing of the process reaches the servers.
    Unheard(String),
    /// Nothing of the servers reaches the process: its requests are carried out and the replies are lost.
    Deaf(String),
    /// Everything between a process and the servers is late.
    Late(String),
    /// Connections break under replies.
    Lossy,
    /// A server loses its power, and its disk what was not synced.
    PowerCut(usize),
    /// A server's process is killed.
    Kill(usize),
    /// Nothing passes between two of the servers until this is over: then all of it, as TCP sends it again.
    Apart(usize, usize),
    /// The same between a server and all others.
    Alone(usize),
    /// A process is killed; it starts again when the fault is over.
    Crash(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ahead,
    Present,
    Past,
}

/// The faults of one run.
pub(crate) struct Plan {
    faults: Vec<Fault>,
    reach: Reach,
    servers: Servers,
    rng: Rng,
}

impl Plan {
    /// Between four and twelve faults before `until`. `processes` may be cut off, `mortals` also killed.
    pub(crate) fn draw(
        seed: u64,
        until: Duration,
        (processes, mortals): (&[String], &[String]),
        (reach, servers): (&Reach, &Servers),
    ) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0xfa17);
        let faults = (0..rng.usize(4..=12))
            .map(|_| {
                let begins = until.mul_f64(rng.f64());
                let ends = begins + (T * 3).mul_f64(rng.f64().powi(2));
                let kind = Kind::draw(&mut rng, processes, mortals, servers.names().len());
                let (ends, stage) = (ends.min(until), Stage::Ahead);
                Fault {
                    kind,
                    begins,
                    ends,
                    stage,
                }
            })
            .collect();
        let (reach, servers) = (reach.clone(), servers.clone());
        Self {
            faults,
            reach,
            servers,
            rng,
        }
    }

    /// Begins and ends what is due.
    pub(crate) fn step(&mut self, sim: &mut turmoil::Sim<'_>) {
        let now = sim.elapsed();
        for place in 0..self.faults.len() {
            let fault = self.faults[place].clone();
            match fault.stage {
                Stage::Ahead if fault.begins <= now => {
                    self.faults[place].stage = Stage::Present;
                    self.begin(&fault.kind, sim);
                }
                Stage::Present if fault.ends <= now => {
                    self.faults[place].stage = Stage::Past;
                    self.end(&fault.kind, sim);
                }
                _ => {}
            }
        }
    }

    fn begin(&mut self, kind: &Kind, sim: &mut turmoil::Sim<'_>) {
        let names = self.servers.names();
        for name in names {
            match kind {
                Kind::Partition(process) => sim.partition(process.as_str(), name.as_str()),
                Kind::Unheard(process) => sim.partition_oneway(process.as_str(), name.as_str()),
                Kind::Deaf(process) => sim.partition_oneway(name.as_str(), process.as_str()),
                Kind::Late(process) => sim.hold(process.as_str(), name.as_str()),
                _ => {}
            }
        }
        match kind {
            Kind::Away(process, server) => sim.partition(process.as_str(), &*names[*server]),
            Kind::Lossy => self.reach.one_in(LOSS),
            Kind::Crash(process) => sim.crash(process.as_str()),
            Kind::PowerCut(server) => {
                sim.crash(&*names[*server]);
                self.servers.disk(*server).power_cut(self.rng.u64(..));
            }
            Kind::Kill(server) => {
                sim.crash(&*names[*server]);
                self.servers.disk(*server).kill();
            }
            _ => {}
        }
        for (a, b) in self.between(|a, b| kind.cuts(a, b)) {
            sim.hold(&*names[a], &*names[b]);
        }
    }

    /// Ends a fault, unless another one of its kind goes on.
    fn end(&self, kind: &Kind, sim: &mut turmoil::Sim<'_>) {
        let goes_on = |other: &Fault| other.stage == Stage::Present && other.kind.same_place(kind);
        if self.faults.iter().any(goes_on) {
            return;
        }
        let names = self.servers.names();
        for name in names {
            match kind {
                Kind::Partition(process)
                | Kind::Away(process, _)
                | Kind::Unheard(process)
                | Kind::Deaf(process) => sim.repair(process.as_str(), name.as_str()),
                Kind::Late(process) => sim.release(process.as_str(), name.as_str()),
                _ => {}
            }
        }
        match kind {
            Kind::Lossy => self.reach.one_in(0),
            Kind::Crash(process) => sim.bounce(process.as_str()),
            Kind::PowerCut(server) | Kind::Kill(server) => sim.bounce(&*names[*server]),
            // The last of them ends all.
            Kind::Apart(..) | Kind::Alone(_) => {
                for (a, b) in self.between(|_, _| true) {
                    sim.release(&*names[a], &*names[b]);
                }
            }
            _ => {}
        }
    }

    /// Those pairs of servers.
    fn between(&self, those: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
        let count = self.servers.names().len();
        let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        pairs.filter(|(a, b)| those(*a, *b)).collect()
    }
}

impl fmt::Debug for Plan {
    /// One line for each fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Fault {
            kind, begins, ends, ..
        } in &self.faults
        {
            writeln!(f, "{begins:>8.3?} - {ends:>8.3?} {kind:?}")?;
        }
        Ok(())
    }
}

impl Kind {
    fn draw(rng: &mut Rng, processes: &[String], mortals: &[String], servers: usize) -> Self {
        let process = processes[rng.usize(..processes.len())].clone();
        let kind = match rng.u8(..16) {
            0..3 => Self::Partition(process),
            3..5 => Self::Unheard(process),
            5..7 => Self::Deaf(process),
            7..9 => Self::Late(process),
            9..12 => Self::Lossy,
            12 => Self::PowerCut(0),
            13 => Self::Kill(0),
            _ => match mortals {
                [] => Self::Partition(process),
                mortals => Self::Crash(mortals[rng.usize(..mortals.len())].clone()),
            },
        };
        match servers {
            1 => kind,
            _ => kind.among(rng, servers),
        }
    }

    /// The same where there are several servers, or something that only happens there.
    fn among(self, rng: &mut Rng, servers: usize) -> Self {
        let server = rng.usize(..servers);
        let kind = match self {
            Self::PowerCut(_) => Self::PowerCut(server),
            Self::Kill(_) => Self::Kill(server),
            Self::Partition(process) if rng.bool() => Self::Away(process, server),
            kind => kind,
        };
        match rng.u8(..8) {
            0 => Self::Apart(server, (server + rng.usize(1..servers)) % servers),
            1 => Self::Alone(server),
            2 => Self::Kill(server),
            _ => kind,
        }
    }

    /// Whether nothing passes between these two servers.
    const fn cuts(&self, a: usize, b: usize) -> bool {
        match self {
            Self::Apart(one, other) => (*one == a && *other == b) || (*one == b && *other == a),
            Self::Alone(server) => *server == a || *server == b,
            _ => false,
        }
    }

    /// Whether ending one of them would end the other.
    fn same_place(&self, other: &Self) -> bool {
        self.link().is_some() && self.link() == other.link()
            || self == other
            || self.down().is_some() && self.down() == other.down()
            || self.is_between() && other.is_between()
    }

    fn link(&self) -> Option<&str> {
        match self {
            Self::Partition(process)
            | Self::Away(process, _)
            | Self::Unheard(process)
            | Self::Deaf(process)
            | Self::Late(process) => Some(process),
            _ => None,
        }
    }

    /// The server that does not run.
    const fn down(&self) -> Option<usize> {
        match self {
            Self::PowerCut(server) | Self::Kill(server) => Some(*server),
            _ => None,
        }
    }

    const fn is_between(&self) -> bool {
        matches!(self, Self::Apart(..) | Self::Alone(_))
    }
}
