//! Elections among a few servers on a small table network.

use super::*;

/// A handful of servers and the notifications between them, delivered in any order a seed says.
struct Table {
    servers: BTreeMap<ServerId, Election>,
    wire: Vec<(ServerId, ServerId, Notification)>,
    settled: BTreeMap<ServerId, (ServerState, Vote)>,
    down: BTreeSet<ServerId>,
    now: Now,
    random: u64,
}

impl Table {
    fn new(voters: &[i64], observers: &[i64], seed: u64) -> Self {
        let verifier = QuorumVerifier::majority(voters.iter().copied().map(ServerId)).unwrap();
        Self::with(verifier, voters, observers, seed)
    }

    fn with(verifier: QuorumVerifier, voters: &[i64], observers: &[i64], seed: u64) -> Self {
        let members: BTreeSet<_> = voters
            .iter()
            .chain(observers)
            .copied()
            .map(ServerId)
            .collect();
        let election = |me| {
            Election::new(ElectionConfig {
                me,
                members: members.clone(),
                verifiers: vec![verifier.clone()],
                text: None,
                observes: !verifier.is_voter(me),
            })
        };
        Self {
            servers: members.iter().map(|me| (*me, election(*me))).collect(),
            wire: Vec::new(),
            settled: BTreeMap::new(),
            down: BTreeSet::new(),
            now: Now::default(),
            random: seed.wrapping_mul(2) + 1,
        }
    }

    fn random(&mut self, below: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap() % below
    }

    fn input(&mut self, server: i64, input: Input) {
        let id = ServerId(server);
        let election = self.servers.get_mut(&id).unwrap();
        election.handle(self.now, input);
        while let Some(output) = election.poll_output() {
            match output {
                Output::Send { to, notification } => self.wire.push((id, to, notification)),
                Output::Settled { state, vote } => {
                    self.settled.insert(id, (state, vote));
                }
            }
        }
    }

    fn look(&mut self, server: i64, epoch: i64, zxid: i64) {
        self.settled.remove(&ServerId(server));
        self.input(
            server,
            Input::Look {
                last_zxid: Zxid(zxid),
                epoch: Epoch(epoch),
            },
        );
    }

    fn kill(&mut self, server: i64) {
        self.down.insert(ServerId(server));
        let others: Vec<_> = self
            .servers
            .keys()
            .map(|id| id.0)
            .filter(|id| *id != server)
            .collect();
        for other in others {
            self.input(other, Input::Unreachable(ServerId(server)));
        }
    }

    /// Delivers everything on the wire, and what follows from it, without any time passing.
    fn deliver(&mut self) {
        while !self.wire.is_empty() {
            let at = self.random(self.wire.len());
            let (from, to, notification) = self.wire.swap_remove(at);
            if !self.down.contains(&from)
                && !self.down.contains(&to)
                && self.servers.contains_key(&to)
            {
                self.input(to.0, Input::Notification { from, notification });
            }
        }
    }

    /// Lets the earliest deadline come.
    fn wait(&mut self) {
        let up = self
            .servers
            .iter()
            .filter(|(id, _)| !self.down.contains(id));
        let (at, id) = up
            .filter_map(|(id, e)| Some((e.next_deadline()?, id.0)))
            .min()
            .unwrap();
        self.now.mono = self.now.mono.max(at);
        self.input(id, Input::Deadline);
    }

    fn leaders(&self) -> BTreeSet<i64> {
        self.settled
            .values()
            .map(|(_, vote)| vote.leader.0)
            .collect()
    }

    /// Those whose leader does not lead: they find out when nobody answers on its quorum port.
    fn deceived(&self) -> Vec<i64> {
        let leads = |leader: ServerId| {
            self.settled
                .get(&leader)
                .is_some_and(|(state, _)| *state == ServerState::Leading)
        };
        self.settled
            .iter()
            .filter(|(_, (_, vote))| !leads(vote.leader))
            .map(|(id, _)| id.0)
            .collect()
    }

    fn state(&self, server: i64) -> Option<ServerState> {
        self.settled.get(&ServerId(server)).map(|(state, _)| *state)
    }
}

#[test]
fn everybody_heard_settles_without_a_wait() {
    for seed in 0..200 {
        let mut table = Table::new(&[1, 2, 3], &[], seed);
        for server in [1, 2, 3] {
            table.look(server, 1, 0x1_0000_0005);
        }
        table.deliver();
        assert_eq!(table.leaders(), [3].into(), "seed {seed}");
        assert_eq!(table.settled.len(), 3);
        assert_eq!(table.now.mono, Duration::ZERO, "no time passed");
        assert_eq!(table.state(3), Some(ServerState::Leading));
        assert_eq!(table.state(1), Some(ServerState::Following));
    }
}

#[test]
fn the_longest_history_of_the_latest_epoch_wins() {
    let mut table = Table::new(&[1, 2, 3], &[], 7);
    table.look(1, 2, 0x2_0000_0009);
    table.look(2, 2, 0x2_0000_0008);
    table.look(3, 1, 0x1_0000_ffff);
    table.deliver();
    assert_eq!(table.leaders(), [1].into());
}

#[test]
fn one_that_cannot_answer_is_not_waited_for() {
    let mut table = Table::new(&[1, 2, 3], &[], 1);
    table.kill(3);
    table.look(1, 1, 5);
    table.look(2, 1, 5);
    table.deliver();
    assert_eq!(table.leaders(), [2].into());
    assert_eq!(table.now.mono, Duration::ZERO);
}

#[test]
fn one_that_is_merely_silent_is_waited_for() {
    let mut table = Table::new(&[1, 2, 3], &[], 1);
    table.down.insert(ServerId(3)); // silent, its links not reset
    table.look(1, 1, 5);
    table.look(2, 1, 5);
    table.deliver();
    assert!(table.settled.is_empty());
    while table.settled.len() < 2 {
        table.wait();
        table.deliver();
    }
    assert_eq!(table.leaders(), [2].into());
    assert_eq!(table.now.mono, FINALIZE_WAIT);
}

#[test]
fn a_better_vote_that_comes_while_waiting_wins() {
    let mut table = Table::new(&[1, 2, 3], &[], 1);
    table.look(1, 1, 5);
    table.look(2, 1, 5);
    table.deliver();
    assert!(table.settled.is_empty(), "server 3 may still know better");
    table.look(3, 1, 6);
    table.deliver();
    assert_eq!(table.leaders(), [3].into());
}

#[test]
fn a_late_joiner_follows_an_established_leader() {
    for seed in 0..50 {
        let mut table = Table::new(&[1, 2, 3], &[], seed);
        table.kill(3);
        table.look(1, 1, 5);
        table.look(2, 1, 5);
        table.deliver();
        for server in [1, 2] {
            table.input(server, Input::EpochEstablished(Epoch(2)));
        }
        table.down.clear();
        table.look(3, 1, 9); // a longer history does not depose a leader that a quorum follows
        table.deliver();
        assert_eq!(table.state(3), Some(ServerState::Following), "seed {seed}");
        assert_eq!(table.leaders(), [2].into());
    }
}

#[test]
fn a_leader_that_does_not_say_it_leads_is_not_followed() {
    let mut table = Table::new(&[1, 2, 3, 4, 5], &[], 3);
    table.look(1, 1, 5);
    table.wire.clear();
    // Servers 2, 3 and 4 still follow 5, which has crashed.
    for from in [2, 3, 4] {
        let notification = Notification {
            state: ServerState::Following,
            leader: ServerId(5),
            zxid: Zxid(5),
            round: 1,
            peer_epoch: Epoch(1),
            config: None,
        };
        table.input(
            1,
            Input::Notification {
                from: ServerId(from),
                notification,
            },
        );
    }
    assert_eq!(table.state(1), None);
}

#[test]
fn zookeeper_769_observers_neither_count_nor_win() {
    for seed in 0..50 {
        let mut table = Table::new(&[1, 2, 3], &[4, 5], seed);
        table.kill(3);
        for (server, zxid) in [(4, 99), (5, 99), (1, 5), (2, 5)] {
            table.look(server, 1, zxid);
        }
        table.deliver();
        for _ in 0..8 {
            if table.settled.len() == 4 {
                break;
            }
            table.wait();
            table.deliver();
        }
        assert_eq!(table.leaders(), [2].into(), "seed {seed}");
        assert_eq!(table.state(4), Some(ServerState::Observing));
    }
}

#[test]
fn a_stranger_and_a_vote_for_a_stranger_change_nothing() {
    let mut table = Table::new(&[1, 2, 3], &[], 1);
    table.look(1, 1, 5);
    table.wire.clear();
    let notification = Notification {
        state: ServerState::Looking,
        leader: ServerId(9),
        zxid: Zxid(99),
        round: 1,
        peer_epoch: Epoch(9),
        config: None,
    };
    for from in [2, 9] {
        table.input(
            1,
            Input::Notification {
                from: ServerId(from),
                notification: notification.clone(),
            },
        );
    }
    assert_eq!(table.servers[&ServerId(1)].vote().leader, ServerId(1));
}

/// ZOOKEEPER-569, -822, -1419: elections that never settle. Under loss, duplication and any order, three, five or
/// seven servers, some of them down, end up with one leader.
#[test]
fn elections_settle_on_one_leader_under_loss_and_disorder() {
    for seed in 0..500 {
        let voters: &[i64] = [&[1, 2, 3][..], &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5, 6, 7]]
            [usize::try_from(seed % 3).unwrap()];
        let mut table = Table::new(voters, &[], seed);
        let minority = (voters.len() - 1) / 2;
        for _ in 0..table.random(minority + 1) {
            let server = voters[table.random(voters.len())];
            table.kill(server);
        }
        let up: Vec<_> = voters
            .iter()
            .copied()
            .filter(|id| !table.down.contains(&ServerId(*id)))
            .collect();
        for server in &up {
            let zxid = i64::try_from(table.random(4)).unwrap();
            table.look(*server, 1, zxid);
        }
        for _ in 0..5_000 {
            let done = up
                .iter()
                .all(|id| table.settled.contains_key(&ServerId(*id)));
            if done {
                for server in table.deceived() {
                    table.look(server, 1, 0);
                }
            }
            if done && table.deceived().is_empty() && table.leaders().len() == 1 {
                break;
            }
            if table.wire.is_empty() {
                table.wait();
                continue;
            }
            let at = table.random(table.wire.len());
            let (from, to, notification) = table.wire[at].clone();
            if table.random(10) > 0 {
                table.wire.swap_remove(at); // else it is delivered and stays: a duplicate
            }
            if table.random(10) > 0 && !table.down.contains(&to) {
                table.input(to.0, Input::Notification { from, notification });
            }
        }
        assert_eq!(table.leaders().len(), 1, "seed {seed}: {:?}", table.settled);
        let leader = *table.leaders().first().unwrap();
        assert_eq!(
            table.state(leader),
            Some(ServerState::Leading),
            "seed {seed}"
        );
    }
}

#[test]
fn a_server_without_weight_neither_leads_nor_is_waited_for() {
    let group = (1..=4).map(ServerId).collect();
    let weights = [(ServerId(4), 0)].into();
    let voters = [1, 2, 3, 4];
    let verifier =
        QuorumVerifier::hierarchical(voters.map(ServerId), vec![group], &weights).unwrap();
    for seed in 0..50 {
        let mut table = Table::with(verifier.clone(), &voters, &[], seed);
        for server in 1..=3 {
            table.look(server, 1, 5);
        }
        table.deliver();
        assert_eq!(table.leaders(), [3].into(), "at once, with seed {seed}");
        // It has the longest history of all, and the highest id.
        table.look(4, 1, 9);
        table.deliver();
        assert_eq!(table.settled.len(), 4);
        assert_eq!(table.leaders(), [3].into(), "seed {seed}");
    }
}

#[test]
fn most_of_the_groups_elect_and_most_of_the_servers_do_not() {
    let ids = |ids: &[i64]| ids.iter().copied().map(ServerId).collect();
    let groups = vec![ids(&[1, 2, 3, 4, 5]), ids(&[6]), ids(&[7])];
    let voters = [1, 2, 3, 4, 5, 6, 7];
    let verifier =
        QuorumVerifier::hierarchical(voters.map(ServerId), groups, &BTreeMap::new()).unwrap();
    for (down, expected) in [(&[6, 7], false), (&[1, 2], true)] {
        let mut table = Table::with(verifier.clone(), &voters, &[], 1);
        for server in down {
            table.kill(*server);
        }
        for server in voters.iter().filter(|server| !down.contains(server)) {
            table.look(*server, 1, 5);
        }
        table.deliver();
        assert_eq!(!table.settled.is_empty(), expected, "without {down:?}");
    }
}

/// Server 3 has logged a reconfiguration to {3, 4, 5} that the others never saw; 4 and 5 are gone.
fn with_a_lost_reconfiguration(seed: u64) -> Table {
    let mut table = Table::new(&[1, 2, 3], &[], seed);
    let quorum = |ids: [i64; 3]| QuorumVerifier::majority(ids.map(ServerId)).unwrap();
    let config = ElectionConfig {
        me: ServerId(3),
        members: (1..=5).map(ServerId).collect(),
        verifiers: vec![quorum([1, 2, 3]), quorum([3, 4, 5])],
        text: None,
        observes: false,
    };
    let server = table.servers.get_mut(&ServerId(3)).unwrap();
    server.reconfigure(config);
    table
}

#[test]
fn one_with_a_reconfiguration_that_nobody_else_knows_joins_whom_a_quorum_follows() {
    for seed in 0..50 {
        let mut table = with_a_lost_reconfiguration(seed);
        table.kill(3);
        table.look(1, 1, 5);
        table.look(2, 1, 5);
        table.deliver();
        for server in [1, 2] {
            table.input(server, Input::EpochEstablished(Epoch(2)));
        }
        table.down.clear();
        table.look(3, 1, 9);
        table.deliver();
        assert_eq!(table.state(3), Some(ServerState::Following), "seed {seed}");
        assert_eq!(table.leaders(), [2].into());
    }
}

#[test]
fn electing_takes_the_quorum_of_the_next_configuration_too() {
    let mut table = with_a_lost_reconfiguration(1);
    for server in [1, 2, 3] {
        table.look(server, 1, if server == 3 { 9 } else { 5 });
    }
    table.deliver();
    for _ in 0..10 {
        table.wait();
        table.deliver();
    }
    assert_eq!(table.state(3), None, "4 or 5 must agree");
}

/// As soon as those who follow 3, or any other that does not lead, have found out, they look again. Returns how long it took
/// until everybody had a leader that leads.
fn settle_in_the_end(table: &mut Table, looks: impl Fn(i64) -> (i64, i64)) -> Duration {
    let discovery = Duration::from_secs(1);
    let mut since = BTreeMap::<i64, Duration>::new();
    while table.settled.len() < table.servers.len() || !table.deceived().is_empty() {
        assert!(
            table.now.mono < Duration::from_secs(60),
            "{:?}",
            table.settled
        );
        let deceived = table.deceived();
        since.retain(|server, _| deceived.contains(server));
        let first = deceived
            .iter()
            .map(|server| (*since.entry(*server).or_insert(table.now.mono), *server))
            .min();
        let deadlines = table
            .servers
            .values()
            .filter_map(Election::next_deadline)
            .min();
        match first {
            Some((at, server)) if deadlines.is_none_or(|next| at + discovery <= next) => {
                table.now.mono = table.now.mono.max(at + discovery);
                let (epoch, zxid) = looks(server);
                since.remove(&server);
                table.look(server, epoch, zxid);
            }
            _ => table.wait(),
        }
        table.deliver();
    }
    table.now.mono
}

/// The others would wait for 3 for ever, and 3 for 4 or 5.
#[test]
fn one_that_alone_knows_what_is_to_come_steps_aside() {
    for seed in 0..100 {
        let mut table = with_a_lost_reconfiguration(seed);
        for server in [1, 2, 3] {
            table.look(server, 1, if server == 3 { 9 } else { 5 });
        }
        table.deliver();
        assert_eq!(table.state(3), None);
        let took = settle_in_the_end(&mut table, |server| (1, if server == 3 { 9 } else { 5 }));
        assert_eq!(table.leaders(), [2].into(), "seed {seed}");
        assert_eq!(table.state(3), Some(ServerState::Following), "seed {seed}");
        assert!(took <= candidature::WITHDRAW_AFTER * 3, "{took:?}");
    }
}

/// {1, 2, 3, 4, 5} is in force, 1 and 2 have logged {1, 2, 6, 7, 8}, and 6, 7 and 8 are gone: both step aside at once, though
/// 2 votes for 1.
#[test]
fn all_that_know_what_is_to_come_step_aside_together() {
    for seed in 0..50 {
        let mut table = Table::new(&[1, 2, 3, 4, 5], &[], seed);
        let next = QuorumVerifier::majority([1, 2, 6, 7, 8].map(ServerId)).unwrap();
        for id in [1, 2] {
            let server = table.servers.get_mut(&ServerId(id)).unwrap();
            let mut config = server.config.clone();
            config.members.extend([6, 7, 8].map(ServerId));
            config.verifiers.push(next.clone());
            server.reconfigure(config);
        }
        let looks = |server| {
            (
                1,
                if server == 1 {
                    9
                } else if server == 2 {
                    8
                } else {
                    5
                },
            )
        };
        for server in 1..=5 {
            let (epoch, zxid) = looks(server);
            table.look(server, epoch, zxid);
        }
        table.deliver();
        settle_in_the_end(&mut table, looks);
        assert_eq!(table.leaders(), [5].into(), "seed {seed}");
    }
}

/// Whoever steps aside is not lost as a candidate: where nobody else may lead, it stands again, less and less often.
#[test]
fn one_that_steps_aside_stands_again() {
    let mut table = with_a_lost_reconfiguration(1);
    for server in [1, 2, 3] {
        table.look(server, 1, if server == 3 { 9 } else { 5 });
    }
    table.deliver();
    for _ in 0..2 {
        table.kill(1);
        table.kill(2);
        table.settled.clear();
        let stood = |table: &Table| table.servers[&ServerId(3)].vote().leader == ServerId(3);
        while stood(&table) {
            assert!(table.now.mono < Duration::from_secs(60), "it still stands");
            table.now.mono = table.servers[&ServerId(3)].next_deadline().unwrap();
            table.input(3, Input::Deadline);
        }
        let aside = table.now.mono;
        while !stood(&table) {
            table.now.mono = table.servers[&ServerId(3)].next_deadline().unwrap();
            table.input(3, Input::Deadline);
        }
        assert!(table.now.mono >= aside + candidature::ASIDE_MIN);
        table.wire.clear();
        table.down.clear();
        for server in [1, 2] {
            table.look(server, 1, 5);
        }
        table.deliver();
        assert_eq!(table.leaders(), [3].into(), "the others wait for it again");
        assert_eq!(table.state(3), None);
    }
}

/// Server 1 is the only voter and has logged that 2 becomes one; 2 has not, and is some rounds ahead.
#[test]
fn one_that_does_not_know_that_it_votes_does_not_hold_up_the_election() {
    let mut table = Table::new(&[1], &[2], 1);
    let quorum = |ids: &[i64]| QuorumVerifier::majority(ids.iter().copied().map(ServerId)).unwrap();
    let config = ElectionConfig {
        me: ServerId(1),
        members: [1, 2].map(ServerId).into(),
        verifiers: vec![quorum(&[1]), quorum(&[1, 2])],
        text: None,
        observes: false,
    };
    table.kill(1);
    for _ in 0..3 {
        table.look(2, 1, 5);
    }
    table.deliver();
    table.down.clear();
    let server = table.servers.get_mut(&ServerId(1)).unwrap();
    server.reconfigure(config);
    table.look(1, 1, 9);
    table.deliver();
    for _ in 0..8 {
        table.wait();
        table.deliver();
        if table.settled.len() == 2 {
            break;
        }
    }
    assert_eq!(table.state(1), Some(ServerState::Leading));
    assert_eq!(table.leaders(), [1].into());
}

/// Server 3 weighs nothing, and in the next configuration, {1, 3}, its vote is needed.
#[test]
fn a_server_without_weight_votes_for_one_that_can_be_elected() {
    let group = (1..=3).map(ServerId).collect();
    let weights = [(ServerId(3), 0)].into();
    let voters = [1, 2, 3];
    let now = QuorumVerifier::hierarchical(voters.map(ServerId), vec![group], &weights).unwrap();
    let next = QuorumVerifier::majority([1, 3].map(ServerId)).unwrap();
    for seed in 0..50 {
        let mut table = Table::with(now.clone(), &voters, &[], seed);
        for server in table.servers.values_mut() {
            let mut config = server.config.clone();
            config.verifiers.push(next.clone());
            server.reconfigure(config);
        }
        for server in voters {
            table.look(server, 1, 5);
        }
        table.deliver();
        assert_eq!(table.leaders(), [2].into(), "seed {seed}");
        assert_eq!(table.settled.len(), 3, "seed {seed}");
    }
}

/// Servers of one configuration, of which some have logged the next one.
fn amid_a_reconfiguration(now: &[i64], next: &[i64], know: &[i64], seed: u64) -> Table {
    let outside: Vec<_> = next
        .iter()
        .filter(|id| !now.contains(id))
        .copied()
        .collect();
    let mut table = Table::new(now, &outside, seed);
    let next = next.iter().copied().map(ServerId);
    let next = QuorumVerifier::majority(next).unwrap();
    for id in know {
        let server = table.servers.get_mut(&ServerId(*id)).unwrap();
        let mut config = server.config.clone();
        config.verifiers.push(next.clone());
        config.observes = false;
        server.reconfigure(config);
    }
    table
}

/// {1} is in force, {1, 4} is logged, and 4's log is the longer one (simulator, seed 25416).
#[test]
fn one_that_the_next_configuration_needs_stands_once_a_leader_has_refused_it() {
    for seed in 0..50 {
        let mut table = amid_a_reconfiguration(&[1], &[1, 4], &[1, 4], seed);
        table.look(1, 2, 7);
        table.look(4, 2, 10);
        table.deliver();
        assert_eq!(table.leaders(), [1].into(), "it does not stand at first");
        table.servers.get_mut(&ServerId(4)).unwrap().stand(true);
        table.look(1, 2, 7);
        table.look(4, 2, 10);
        table.deliver();
        assert_eq!(table.leaders(), [4].into(), "seed {seed}");
        assert_eq!(table.settled.len(), 2, "seed {seed}");
        assert_eq!(table.now.mono, Duration::ZERO, "seed {seed}");
    }
}

/// 3 and 4 know nothing of 5, whose log is longest; without them there is no quorum of {1, 2, 3, 4}.
#[test]
fn one_that_not_everybody_knows_withdraws() {
    for seed in 0..50 {
        let all = [1, 2, 3, 4, 5];
        let mut table = amid_a_reconfiguration(&all[..4], &all, &[1, 2, 5], seed);
        table.servers.get_mut(&ServerId(5)).unwrap().stand(true);
        for (server, zxid) in [(5, 9), (1, 7), (2, 7), (3, 5), (4, 5)] {
            table.look(server, 2, zxid);
            table.deliver();
        }
        assert!(table.settled.is_empty());
        while table.settled.len() < all.len() {
            table.wait();
            table.deliver();
            assert!(table.now.mono <= 2 * candidature::WITHDRAW_AFTER);
        }
        assert_eq!(table.leaders(), [2].into(), "seed {seed}");
    }
}

/// Of three voters, the first has no vote; `Some` are up.
fn with_one_abstaining(up: &[i64], seed: u64) -> Table {
    let mut table = Table::new(&[1, 2, 3], &[], seed);
    table.servers.get_mut(&ServerId(1)).unwrap().abstain(true);
    for down in [1, 2, 3].into_iter().filter(|id| !up.contains(id)) {
        table.kill(down);
    }
    // It would win.
    table.look(1, 9, 0x9_0000_0009);
    for server in up.iter().filter(|id| **id != 1) {
        table.look(*server, 2, 0x2_0000_0001);
    }
    table
}

#[test]
fn one_without_a_vote_follows_whom_the_others_elect() {
    for seed in 0..200 {
        let mut table = with_one_abstaining(&[1, 2, 3], seed);
        table.deliver();
        while table.settled.len() < 3 {
            table.wait();
            table.deliver();
        }
        assert_eq!(table.leaders(), [3].into(), "seed {seed}");
        assert_eq!(table.state(1), Some(ServerState::Following));
        assert!(table.now.mono <= FINALIZE_WAIT);
    }
}

#[test]
fn one_without_a_vote_makes_no_quorum() {
    for seed in 0..50 {
        let mut table = with_one_abstaining(&[1, 2], seed);
        for _ in 0..30 {
            table.deliver();
            assert!(table.settled.is_empty(), "seed {seed}");
            table.wait();
        }
        // The third comes: the two are a quorum.
        table.down.clear();
        table.look(3, 2, 0x2_0000_0000);
        for server in [1, 2] {
            table.input(server, Input::Reachable(ServerId(3)));
        }
        table.deliver();
        while table.settled.len() < 3 {
            table.wait();
            table.deliver();
        }
        assert_eq!(table.leaders(), [2].into(), "seed {seed}");
    }
}

#[test]
fn one_without_a_vote_tells_of_nobody_and_joins_a_leader_of_any_round() {
    let mut table = with_one_abstaining(&[1], 1);
    assert!(
        table
            .wire
            .iter()
            .all(|(from, _, told)| from.0 != 1 || told.leader == ServerId(i64::MIN))
    );
    let told = |state, leader, round| Notification {
        state,
        leader: ServerId(leader),
        zxid: Zxid(5),
        round,
        peer_epoch: Epoch(9),
        config: None,
    };
    // Those who believe that it leads are no reason to.
    for from in [2, 3] {
        let notification = told(ServerState::Following, 1, 1);
        let from = ServerId(from);
        table.input(1, Input::Notification { from, notification });
    }
    assert!(table.settled.is_empty());
    for (from, state) in [(2, ServerState::Following), (3, ServerState::Leading)] {
        let notification = told(state, 3, 77);
        let from = ServerId(from);
        table.input(1, Input::Notification { from, notification });
    }
    assert_eq!(table.state(1), Some(ServerState::Following));
    // Now it says whom it follows.
    table.wire.clear();
    let notification = told(ServerState::Looking, 2, 78);
    let from = ServerId(2);
    table.input(1, Input::Notification { from, notification });
    assert!(
        table
            .wire
            .iter()
            .all(|(_, _, told)| told.leader == ServerId(3))
    );
    assert!(!table.wire.is_empty());
}
