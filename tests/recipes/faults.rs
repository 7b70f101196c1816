//! What goes wrong and when, drawn from a seed before a run begins.

use std::{fmt, time::Duration};

use fastrand::Rng;
use zk_server::storage::MemDisk;

use crate::world::{Lossy, SERVER, T};

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
    /// Nothing passes between a process and the server.
    Partition(String),
    /// Nothing of the process reaches the server.
    Unheard(String),
    /// Nothing of the server reaches the process: its requests are carried out and the replies are lost.
    Deaf(String),
    /// Everything between a process and the server is late.
    Late(String),
    /// Connections break under replies.
    Lossy,
    /// The server loses its power, and its disk what was not synced.
    PowerCut,
    /// The server's process is killed.
    Kill,
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
    lossy: Lossy,
    disk: MemDisk,
    rng: Rng,
}

impl Plan {
    /// Between four and twelve faults before `until`. `processes` may be cut off, `mortals` also killed.
    pub(crate) fn draw(
        seed: u64,
        until: Duration,
        (processes, mortals): (&[String], &[String]),
        (lossy, disk): (&Lossy, &MemDisk),
    ) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0xfa17);
        let faults = (0..rng.usize(4..=12))
            .map(|_| {
                let begins = until.mul_f64(rng.f64());
                let ends = begins + (T * 3).mul_f64(rng.f64().powi(2));
                let kind = Kind::draw(&mut rng, processes, mortals);
                let (ends, stage) = (ends.min(until), Stage::Ahead);
                Fault {
                    kind,
                    begins,
                    ends,
                    stage,
                }
            })
            .collect();
        let (lossy, disk) = (lossy.clone(), disk.clone());
        Self {
            faults,
            lossy,
            disk,
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
        match kind {
            Kind::Partition(process) => sim.partition(process.as_str(), SERVER),
            Kind::Unheard(process) => sim.partition_oneway(process.as_str(), SERVER),
            Kind::Deaf(process) => sim.partition_oneway(SERVER, process.as_str()),
            Kind::Late(process) => sim.hold(process.as_str(), SERVER),
            Kind::Lossy => self.lossy.one_in(LOSS),
            Kind::Crash(process) => sim.crash(process.as_str()),
            Kind::PowerCut | Kind::Kill => {
                sim.crash(SERVER);
                match kind {
                    Kind::Kill => self.disk.kill(),
                    _ => self.disk.power_cut(self.rng.u64(..)),
                }
            }
        }
    }

    /// Ends a fault, unless another one of its kind goes on.
    fn end(&self, kind: &Kind, sim: &mut turmoil::Sim<'_>) {
        let goes_on = |other: &Fault| other.stage == Stage::Present && other.kind.same_place(kind);
        if self.faults.iter().any(goes_on) {
            return;
        }
        match kind {
            Kind::Partition(process) | Kind::Unheard(process) | Kind::Deaf(process) => {
                sim.repair(process.as_str(), SERVER);
            }
            Kind::Late(process) => sim.release(process.as_str(), SERVER),
            Kind::Lossy => self.lossy.one_in(0),
            Kind::Crash(process) => sim.bounce(process.as_str()),
            Kind::PowerCut | Kind::Kill => sim.bounce(SERVER),
        }
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
    fn draw(rng: &mut Rng, processes: &[String], mortals: &[String]) -> Self {
        let process = processes[rng.usize(..processes.len())].clone();
        match rng.u8(..16) {
            0..3 => Self::Partition(process),
            3..5 => Self::Unheard(process),
            5..7 => Self::Deaf(process),
            7..9 => Self::Late(process),
            9..12 => Self::Lossy,
            12 => Self::PowerCut,
            13 => Self::Kill,
            _ => match mortals {
                [] => Self::Partition(process),
                mortals => Self::Crash(mortals[rng.usize(..mortals.len())].clone()),
            },
        }
    }

    /// Whether ending one of them would end the other.
    fn same_place(&self, other: &Self) -> bool {
        self.link().is_some() && self.link() == other.link()
            || self == other
            || self.is_server() && other.is_server()
    }

    fn link(&self) -> Option<&str> {
        match self {
            Self::Partition(process)
            | Self::Unheard(process)
            | Self::Deaf(process)
            | Self::Late(process) => Some(process),
            _ => None,
        }
    }

    const fn is_server(&self) -> bool {
        matches!(self, Self::PowerCut | Self::Kill)
    }
}
