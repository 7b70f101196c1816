//! Five voters and two observers, mixed at random: members are killed, stopped and cut off from each other while clients
//! write, and nothing that was acknowledged is lost.
//!
//! Only where `ZK_MIXED_FAULTS=n` asks for so many faults for each of `ZK_MIXED_SEEDS` seeds (`3`, or `1..=10`): every
//! seed takes a minute or two. `ZK_TESTS_KEEP=1` keeps the members' directories when one fails.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "real servers of which it says what befell them"
)]

use std::{
    collections::BTreeSet,
    env, io,
    time::{Duration, Instant},
};

use fastrand::Rng;
use zk_tests::{
    apache::{self, Heap},
    ensemble::Members,
    links::{Cut, Links},
    ours,
};

use crate::{
    load::{Ledger, Load},
    mixed::{
        Make::{self, Ours, Theirs},
        assert_well, seeds,
    },
};

const VOTERS: usize = 5;
const MEMBERS: usize = 7;
/// A JVM takes memory and a second of a processor.
const THEIRS_MOST: usize = 4;
const WRITERS: usize = 3;
/// How many writes are acknowledged while a fault lasts, and again before the next one.
const BETWEEN: u64 = 100;
/// How many faults go by between two looks at everything.
const LOOK_EVERY: u32 = 5;
const LIMIT: Duration = Duration::from_secs(90);

/// What befalls an ensemble; a quorum is left every time.
#[derive(Debug)]
enum Fault {
    /// SIGKILL.
    Kill(BTreeSet<usize>),
    /// SIGTERM.
    Stop(BTreeSet<usize>),
    /// These and the others cannot reach each other.
    Part(BTreeSet<usize>, Cut),
    /// These two cannot.
    Between(usize, usize, Cut),
}

struct Scene {
    makes: Vec<Make>,
    members: Members,
    links: Links,
    load: Load,
    random: Rng,
    led: [u32; 2],
}

impl Scene {
    async fn begin(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let makes = makes(&mut random);
        println!("seed {seed}: {makes:?}, the last two observe");
        let theirs = apache::launcher_with(Heap::SMALL, &[]).unwrap();
        let launcher = |make: &Make| match make {
            Ours => ours::launcher().unwrap(),
            Theirs => theirs.clone(),
        };
        let launchers: Vec<_> = makes.iter().map(launcher).collect();
        let settings = [
            ("tickTime", "500"),
            ("initLimit", "20"),
            ("syncLimit", "4"),
            ("maxSessionTimeout", "40000"),
            ("snapCount", "500"),
            ("preAllocSize", "512"),
            ("extendedTypesEnabled", "true"),
            ("sessionPasswords", "apache"),
            ("znode.container.checkIntervalMs", "100000000"),
        ];
        let (voting, observing) = launchers.split_at(VOTERS);
        let (mut members, links) = Members::prepare_linked(voting, observing, &settings).unwrap();
        members.start().unwrap();
        let load = Load::begin(members.addresses(), WRITERS, true).await;
        Self {
            makes,
            members,
            links,
            load,
            random,
            led: [0; 2],
        }
    }

    /// Up to two voters and any observers; the leader among them every other time.
    fn victims(&mut self, leader: Option<usize>) -> BTreeSet<usize> {
        let mut victims: BTreeSet<usize> =
            leader.into_iter().filter(|_| self.random.bool()).collect();
        let count = self.random.usize(1..=2);
        while victims.len() < count {
            victims.insert(self.random.usize(0..VOTERS));
        }
        victims.extend((VOTERS..MEMBERS).filter(|_| self.random.u8(0..3) == 0));
        victims
    }

    fn fault(&mut self) -> Fault {
        let leader = self.members.leader();
        let victims = self.victims(leader);
        let cut = match self.random.bool() {
            true => Cut::Silent,
            false => Cut::Refused,
        };
        match self.random.u8(0..10) {
            0..3 => Fault::Kill(victims),
            3..5 => Fault::Stop(victims),
            5..9 => Fault::Part(victims, cut),
            _ => {
                let one = leader.unwrap_or(0);
                let other = (one + self.random.usize(1..MEMBERS)) % MEMBERS;
                Fault::Between(one, other, cut)
            }
        }
    }

    async fn befall(&mut self, fault: &Fault) -> io::Result<()> {
        match fault {
            Fault::Kill(victims) => {
                for victim in victims {
                    self.members.member(*victim).kill()?;
                }
            }
            Fault::Stop(victims) => {
                for victim in victims {
                    self.members.member(*victim).terminate()?;
                }
            }
            Fault::Part(away, how) => {
                for one in away {
                    for other in (0..MEMBERS).filter(|other| !away.contains(other)) {
                        self.links.cut(*one, other, *how).await;
                    }
                }
            }
            Fault::Between(one, other, how) => self.links.cut(*one, *other, *how).await,
        }
        Ok(())
    }

    /// Everybody runs and reaches everybody again; not always is that waited for.
    async fn recover(&mut self, patiently: bool) -> io::Result<()> {
        self.links.heal().await;
        for member in 0..MEMBERS {
            let process = self.members.member(member);
            if process.pid().is_none() {
                process.spawn()?;
            }
        }
        match patiently {
            true => self.members.wait_until_serving(),
            false => Ok(()),
        }
    }

    async fn live_through(&mut self, number: u32) -> io::Result<()> {
        let fault = self.fault();
        println!("fault {number}: {fault:?}");
        self.befall(&fault).await?;
        self.load.acknowledged_after(Instant::now(), LIMIT).await;
        self.load.grown(BETWEEN, LIMIT).await;
        let looks = number.is_multiple_of(LOOK_EVERY);
        let patiently = looks || self.random.u8(0..10) < 7;
        self.recover(patiently).await?;
        self.load.grown(BETWEEN, LIMIT).await;
        if let Some(leader) = self.members.leader() {
            self.led[self.makes[leader] as usize] += 1;
        }
        if looks {
            let ledgers = assert_well(&self.members, &mut self.load).await;
            self.load.go_on(ledgers);
        }
        Ok(())
    }
}

/// At least one of each among the voters.
fn makes(random: &mut Rng) -> Vec<Make> {
    loop {
        let makes: Vec<_> = (0..MEMBERS)
            .map(|_| [Ours, Theirs][usize::from(random.bool())])
            .collect();
        let theirs = makes.iter().filter(|make| **make == Theirs).count();
        let voters = &makes[..VOTERS];
        if theirs <= THEIRS_MOST && voters.contains(&Ours) && voters.contains(&Theirs) {
            return makes;
        }
    }
}

#[tokio::test]
async fn seven_members_of_both_makes_lose_nothing_by_faults() {
    let faults = env::var("ZK_MIXED_FAULTS").map_or(0, |count| count.parse().unwrap());
    if faults == 0 || apache::launcher_or_skip("faults among seven members").is_none() {
        return;
    }
    for seed in seeds() {
        let mut scene = Scene::begin(seed).await;
        for number in 1..=faults {
            scene.live_through(number).await.unwrap();
        }
        scene.recover(true).await.unwrap();
        let ledgers = assert_well(&scene.members, &mut scene.load).await;
        let resumed: u64 = ledgers.iter().map(Ledger::resumed).sum();
        let lost: u64 = ledgers.iter().map(Ledger::lost_sessions).sum();
        let [ours, theirs] = scene.led;
        println!(
            "seed {seed}: {faults} faults, {} writes acknowledged, none lost; after a fault ours led {ours} times, Apache's \
             {theirs}; a session moved {resumed} times, {lost} ended",
            scene.load.acknowledged()
        );
    }
}
