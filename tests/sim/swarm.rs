//! What differs from seed to seed: the ensemble, its speed, and which faults may strike.

use std::{collections::BTreeSet, time::Duration};

use fastrand::Rng;
use zk_server::zab::COUNTER_MAX;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The process ends; what it has written stays.
    Kill,
    /// The power of one member fails: unsynced bytes are lost or torn.
    PowerCut,
    /// The power of all of them fails.
    PowerCutAll,
    /// The process stands still for a while.
    Pause,
    /// Two members do not reach each other.
    Cut,
    /// One member does not reach another one, which reaches it.
    OneWayCut,
    /// A member reaches nobody.
    Isolate,
    /// A link of the quorum port breaks, with what is on it.
    Reset,
    /// The next message on a link of the quorum port arrives in part, and the link breaks.
    BreakOff,
    /// A disk takes its time.
    SlowDisk,
    /// A disk fails: the process ends.
    DiskError,
    /// A disk is full: the process ends.
    DiskFull,
    /// A disk is replaced by an empty one. Of the voters' disks, only where the others have everything: who loses
    /// more than a minority's disks has lost the data (no member can know what it has forgotten).
    Wipe,
    /// A member's disk spoils a record that others follow. Always the same member's, and only where the others are a quorum:
    /// what two have forgotten nobody may know.
    Damage,
    /// No fault: a member takes a snapshot and rolls its log.
    Snapshot,
    /// No fault: the leader is asked for another configuration.
    Reconfig,
    /// A member's configuration files cannot be written. Drawn for a whole seed, apart from the others.
    Unwritten,
    /// Some servers do not come back when it is over, which the rest can do without. Drawn for a whole seed.
    Left,
}

impl Fault {
    /// Every kind.
    pub(crate) const ALL: [Self; 18] = [
        Self::Kill,
        Self::PowerCut,
        Self::PowerCutAll,
        Self::Pause,
        Self::Cut,
        Self::OneWayCut,
        Self::Isolate,
        Self::Reset,
        Self::BreakOff,
        Self::SlowDisk,
        Self::DiskError,
        Self::DiskFull,
        Self::Wipe,
        Self::Damage,
        Self::Snapshot,
        Self::Reconfig,
        Self::Unwritten,
        Self::Left,
    ];

    /// Whether it may strike at any time.
    const fn strikes(self) -> bool {
        !matches!(self, Self::Unwritten | Self::Left)
    }

    /// Whether it may find nothing to strike: it counts when it does.
    pub(crate) const fn may_miss(self) -> bool {
        matches!(
            self,
            Self::DiskError
                | Self::DiskFull
                | Self::Wipe
                | Self::Damage
                | Self::Reconfig
                | Self::BreakOff
                | Self::Unwritten
                | Self::Left
        )
    }
}

/// Who is a quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quorums {
    /// A majority of the voters.
    Majority,
    /// One voter counts for nothing.
    Weightless,
    /// The first voter counts for two.
    Weighted,
    /// Most of the groups {1, 2}, {3} and {4, 5}.
    Groups,
}

impl Quorums {
    fn draw(random: &mut Rng, voters: usize) -> Self {
        match (random.u8(0..9), voters) {
            (0, _) => Self::Weightless,
            (1, _) => Self::Weighted,
            (2 | 3, 5) => Self::Groups,
            _ => Self::Majority,
        }
    }

    /// What it says in a configuration.
    pub(crate) fn lines(self, voters: usize) -> String {
        let all: Vec<_> = (1..=voters).map(|id| id.to_string()).collect();
        let one = format!("group.1={}\n", all.join(":"));
        match self {
            Self::Majority => String::new(),
            Self::Weightless => format!("{one}weight.{voters}=0\n"),
            Self::Weighted => format!("{one}weight.1=2\n"),
            Self::Groups => "group.1=1:2\ngroup.2=3\ngroup.3=4:5\n".to_owned(),
        }
    }
}

/// One seed's choice.
#[derive(Debug)]
pub(crate) struct Swarm {
    pub(crate) voters: usize,
    pub(crate) observers: usize,
    pub(crate) quorums: Quorums,
    /// Servers that run and belong to no configuration at first.
    pub(crate) spares: usize,
    pub(crate) faults: Vec<Fault>,
    pub(crate) chaos: Duration,
    /// The longest pause between two faults.
    pub(crate) fault_interval: Duration,
    pub(crate) write_interval: Duration,
    pub(crate) delay: (Duration, Duration),
    pub(crate) sync_time: Duration,
    pub(crate) committed_log: usize,
    /// Whether the log on disk is used to bring learners up to date.
    pub(crate) reads_log: bool,
    pub(crate) tick: Duration,
    /// How many zxids an epoch has.
    pub(crate) counter_max: u32,
    /// Whose configuration files cannot be written.
    pub(crate) unwritten: BTreeSet<usize>,
    /// Whether somebody may be missing at the end.
    pub(crate) leaves_some: bool,
}

impl Swarm {
    pub(crate) fn draw(random: &mut Rng) -> Self {
        let ms = Duration::from_millis;
        let us = Duration::from_micros;
        let all = Fault::ALL.into_iter().filter(|fault| fault.strikes());
        let mut faults: Vec<_> = all.filter(|_| random.bool()).collect();
        if faults.is_empty() {
            faults.push(Fault::Kill);
        }
        let slowest = *[300, 1_000, 8_000].get(random.usize(0..3)).unwrap_or(&300);
        let voters = if random.u8(0..3) == 0 { 5 } else { 3 };
        Self {
            voters,
            observers: random.usize(0..3),
            quorums: Quorums::draw(random, voters),
            spares: match faults.contains(&Fault::Reconfig) {
                true => random.usize(0..3),
                false => 0,
            },
            faults,
            chaos: ms(random.u64(1_500..5_000)),
            fault_interval: ms(random.u64(30..1_500)),
            write_interval: us(random.u64(5_000..60_000)),
            delay: (us(50), us(50 + random.u64(1..slowest))),
            sync_time: us(random.u64(50..4_000)),
            committed_log: if random.bool() {
                random.usize(1..20)
            } else {
                500
            },
            reads_log: random.bool(),
            tick: ms(random.u64(40..120)),
            counter_max: match random.u8(0..4) {
                0 => random.u32(5..60),
                _ => COUNTER_MAX,
            },
            unwritten: BTreeSet::new(),
            leaves_some: false,
        }
    }

    /// What was thought of later; with dice of its own, so that every seed is what it was.
    pub(crate) fn draw_apart(&mut self, random: &mut Rng) {
        if !self.faults.contains(&Fault::Reconfig) {
            return;
        }
        match random.u8(0..4) {
            0 => {
                let all = 0..self.voters + self.observers + self.spares;
                let some = random.bool();
                self.unwritten = all.filter(|_| !some || random.bool()).collect();
            }
            1 | 2 => self.leaves_some = true,
            _ => {}
        }
    }

    /// Few members, most of them new ones, that come, go and die within moments: where a configuration is on its way and
    /// those who know it are gone.
    pub(crate) fn reconfigure_often(&mut self, random: &mut Rng) {
        let ms = Duration::from_millis;
        let rest = [Fault::Cut, Fault::PowerCutAll, Fault::Isolate, Fault::Reset];
        self.faults = vec![
            Fault::Reconfig,
            Fault::Reconfig,
            Fault::Reconfig,
            Fault::Reconfig,
            Fault::Kill,
            Fault::PowerCut,
            Fault::OneWayCut,
            Fault::SlowDisk,
        ];
        self.faults
            .extend(rest.into_iter().filter(|_| random.bool()));
        (self.voters, self.quorums) = (3, Quorums::Majority);
        self.observers = random.usize(0..2);
        self.spares = random.usize(1..3);
        self.fault_interval = ms(random.u64(60..400));
        self.chaos = ms(random.u64(5_000..10_000));
        self.tick = ms(random.u64(40..60));
    }
}
