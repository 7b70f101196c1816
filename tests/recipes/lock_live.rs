//! Guards against three real members, ours and Apache's, with real time: what a holder believes and what the next one gets.
//!
//! The holder is a process of its own (this program again), because it is stopped; it logs on CLOCK_BOOTTIME, which all
//! processes share. For each of its guards: the deadline precedes the next acquire, the first `ensure` after the
//! fault fails, and the fenced store accepts no write of the past. `ZK_LIVE_GUARDS` guards for each kind of fault (20 unless
//! told), twenty at a time; `ZK_LIVE_SUSPENSIONS` suspensions (8 unless told).

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::SocketAddr,
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
    time::{sleep, timeout},
};
use zk_client::{Client, Zxid};
use zk_recipes::prelude::*;
use zk_tests::{
    apache,
    ensemble::Members,
    ours, ports,
    process::Launcher,
    proxy::{Direction, Flow, Proxy},
};

const TICK: Duration = Duration::from_millis(250);
/// The session timeout: four ticks.
const T: Duration = Duration::from_secs(1);
/// How many guards a fault hits at once.
const AT_ONCE: usize = 20;
/// Nothing may take longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the holder is kept from its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGSTOP for three timeouts.
    Stopped,
    /// Nothing of it reaches its server.
    Unheard,
    /// Nothing of its server reaches it.
    Deaf,
    /// Its server is cut off from the leader, and goes on serving it.
    FollowerCutOff,
}

#[tokio::test]
async fn no_guard_outlives_its_deadline_with_our_members() {
    every_fault(ours::launcher().unwrap(), "ours").await;
}

#[tokio::test]
async fn no_guard_outlives_its_deadline_with_apaches_members() {
    if let Some(launcher) = apache::launcher_or_skip("tests/recipes/lock_live.rs") {
        every_fault(launcher, "apache").await;
    }
}

#[tokio::test]
async fn short_suspensions_lose_no_guard_with_our_members() {
    short_suspensions(ours::launcher().unwrap(), "ours").await;
}

#[tokio::test]
async fn short_suspensions_lose_no_guard_with_apaches_members() {
    if let Some(launcher) = apache::launcher_or_skip("tests/recipes/lock_live.rs") {
        short_suspensions(launcher, "apache").await;
    }
}

async fn short_suspensions(launcher: Launcher, whose: &str) {
    let three = Three::start(&launcher).await;
    let follower = three.follower();
    let proxy = Proxy::start(three.clients[follower]).await.unwrap();
    let mut holder = Holder::start(proxy.addr(), "/short");
    let guards = holder.held().await;
    let rounds = number("ZK_LIVE_SUSPENSIONS", 8);
    for round in 0..rounds {
        match round % 2 {
            0 => holder.suspended(T / 5).await,
            _ => {
                proxy.refuse().await;
                proxy.cut().await;
                sleep(T / 5).await;
                proxy.accept().await;
            }
        }
        // Long enough for a heartbeat.
        sleep(T / 2).await;
    }
    // The holder says when it loses one, and nothing when it does not.
    holder.finish().await;
    assert_eq!(holder.lost, BTreeMap::new(), "lost by a short suspension");
    let client = three.client(three.leader).await;
    for (place, token) in &guards {
        let holders = client
            .lock(&path("/short", *place))
            .contenders()
            .await
            .unwrap();
        assert_eq!(holders[0].token, *token);
    }
    println!("{whose}: {rounds} short suspensions, {AT_ONCE} guards, none lost");
}

async fn every_fault(launcher: Launcher, whose: &str) {
    let three = Three::start(&launcher).await;
    for fault in [
        Fault::Stopped,
        Fault::Unheard,
        Fault::Deaf,
        Fault::FollowerCutOff,
    ] {
        let mut left = number("ZK_LIVE_GUARDS", AT_ONCE);
        let (mut guards, mut least) = (0, Duration::MAX);
        while left > 0 {
            let base = format!("/{fault:?}-{left}");
            least = least.min(three.round(fault, &base).await);
            guards += AT_ONCE;
            left = left.saturating_sub(AT_ONCE);
        }
        println!(
            "{whose}, {fault:?}: {guards} guards, next acquire at least {least:?} after the deadline"
        );
    }
}

fn number(variable: &str, unless_told: usize) -> usize {
    let told = std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok());
    told.unwrap_or(unless_told)
}

fn path(base: &str, place: usize) -> String {
    format!("{base}-{place}")
}

/// Three members, between each two of which there is a proxy for each of their links.
struct Three {
    _members: Members,
    clients: Vec<SocketAddr>,
    leader: usize,
    /// By who connects and to whom.
    links: BTreeMap<(usize, usize), [Proxy; 2]>,
}

impl Three {
    async fn start(launcher: &Launcher) -> Self {
        let mut members = Members::prepare(&vec![launcher.clone(); 3], &[]).unwrap();
        let real: Vec<[SocketAddr; 2]> = (0..3)
            .map(|_| [ports::free().unwrap(), ports::free().unwrap()])
            .collect();
        let mut links = BTreeMap::new();
        for from in 0..3 {
            for to in (0..3).filter(|to| *to != from) {
                let quorum = Proxy::start(real[to][0]).await.unwrap();
                let election = Proxy::start(real[to][1]).await.unwrap();
                links.insert((from, to), [quorum, election]);
            }
        }
        let tick = TICK.as_millis().to_string();
        for member in 0..3 {
            let line = |to: usize| {
                let [quorum, election] = match links.get(&(member, to)) {
                    Some(proxies) => [proxies[0].addr(), proxies[1].addr()],
                    None => real[to],
                };
                let (quorum, election) = (quorum.port(), election.port());
                let line = format!("127.0.0.1:{quorum}:{election}:participant");
                (format!("server.{}", to + 1), line)
            };
            let lines = [line(0), line(1), line(2)];
            let mut settings = vec![
                ("tickTime", &*tick),
                ("initLimit", "40"),
                // A follower without its leader serves on for five seconds.
                ("syncLimit", "20"),
            ];
            settings.extend(lines.iter().map(|(key, line)| (&**key, &**line)));
            members.member(member).configure(&settings).unwrap();
        }
        // It blocks, and the proxies run on this thread's runtime.
        let members = tokio::task::spawn_blocking(move || {
            members.start()?;
            let leader = members.wait_for_leader()?;
            io::Result::Ok((members, leader))
        });
        let (members, leader) = members.await.unwrap().unwrap();
        Self {
            clients: members.addresses(),
            _members: members,
            leader,
            links,
        }
    }

    fn follower(&self) -> usize {
        (self.leader + 1) % 3
    }

    async fn client(&self, member: usize) -> Client {
        let builder = Client::builder(self.clients[member].to_string()).session_timeout(T * 5);
        builder.connect().await.unwrap()
    }

    /// What goes over the links between two members.
    async fn between(&self, a: usize, b: usize, flow: Flow) {
        for ends in [(a, b), (b, a)] {
            for proxy in &self.links[&ends] {
                proxy.set_both(flow);
                if flow == Flow::Pass {
                    proxy.cut().await;
                }
            }
        }
    }

    /// One fault, for twenty guards; how long after its deadline the earliest next acquire was.
    async fn round(&self, fault: Fault, base: &str) -> Duration {
        let follower = self.follower();
        let proxy = Proxy::start(self.clients[follower]).await.unwrap();
        let mut holder = Holder::start(proxy.addr(), base);
        let held = holder.held().await;
        // The next ones, through the leader.
        let (client, mut nexts) = (self.client(self.leader).await, JoinSet::new());
        for place in 0..AT_ONCE {
            let (client, path) = (client.clone(), path(base, place));
            nexts.spawn(async move {
                let guard = client.lock(&path).await.unwrap();
                let acquired = client.clock();
                (place, guard.token(), acquired)
            });
        }
        for place in 0..AT_ONCE {
            while client
                .lock(&path(base, place))
                .contenders()
                .await
                .unwrap()
                .len()
                < 2
            {
                sleep(TICK / 10).await;
            }
        }
        match fault {
            Fault::Stopped => holder.suspended(T * 3).await,
            Fault::Unheard => proxy.set(Direction::ToServer, Flow::Drop),
            Fault::Deaf => proxy.set(Direction::ToClient, Flow::Drop),
            Fault::FollowerCutOff => self.between(follower, self.leader, Flow::Hold).await,
        }
        let acquired = timeout(PATIENCE, nexts.join_all()).await.unwrap();
        holder.finish().await;
        if fault == Fault::FollowerCutOff {
            self.between(follower, self.leader, Flow::Pass).await;
            while self.client(follower).await.sync("/").await.is_err() {}
        }
        let mut least = Duration::MAX;
        for (place, token, acquired) in acquired {
            let lost = &holder.lost[&place];
            assert!(token > held[&place], "tokens grow");
            assert!(
                lost.deadline <= acquired,
                "{fault:?} {place}: certain until {:?}, next at {acquired:?}",
                lost.deadline
            );
            least = least.min(acquired.saturating_sub(lost.deadline));
            // The store has seen the next one's token; the late write of the first one comes now.
            let mut store = Store::default();
            assert!(store.write(token));
            assert!(!store.write(lost.token), "a stale write was accepted");
        }
        assert_eq!(holder.lost.len(), AT_ONCE);
        least
    }
}

/// What the locks protect.
#[derive(Default)]
struct Store {
    newest: Zxid,
}

impl Store {
    fn write(&mut self, token: Zxid) -> bool {
        let accepted = token >= self.newest;
        self.newest = self.newest.max(token);
        accepted
    }
}

/// What the holder said of a guard that it lost.
#[derive(Debug, PartialEq, Eq)]
struct Loss {
    token: Zxid,
    /// Until when it was certain, on CLOCK_BOOTTIME.
    deadline: Duration,
}

/// The holder's process; killed with this value.
struct Holder {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    lost: BTreeMap<usize, Loss>,
}

impl Holder {
    fn start(server: SocketAddr, base: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "lock_live::holder_process",
                "--ignored",
                "--nocapture",
            ])
            .env("ZK_LIVE_HOLDER", format!("{server} {base}"))
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            process,
            lines,
            lost: BTreeMap::new(),
        }
    }

    /// The next thing it says.
    async fn says(&mut self) -> Option<Vec<String>> {
        let line = timeout(PATIENCE, self.lines.next_line())
            .await
            .unwrap()
            .unwrap()?;
        Some(line.split(' ').map(str::to_owned).collect())
    }

    /// Waits until it holds everything: the tokens.
    async fn held(&mut self) -> BTreeMap<usize, Zxid> {
        let mut held = BTreeMap::new();
        while held.len() < AT_ONCE {
            let words = self.says().await.expect("the holder ended");
            if words[0] == "held" {
                held.insert(words[1].parse().unwrap(), Zxid(words[2].parse().unwrap()));
            }
        }
        held
    }

    /// Stops it for a while.
    async fn suspended(&self, time: Duration) {
        self.signal("-STOP").await;
        sleep(time).await;
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = self.process.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().await;
        assert!(sent.unwrap().success());
    }

    /// Waits until it has lost everything, or, if it loses nothing, until it has had time to say so.
    async fn finish(&mut self) {
        let all = async {
            while self.lost.len() < AT_ONCE {
                let Ok(Some(line)) = self.lines.next_line().await else {
                    return;
                };
                let words: Vec<&str> = line.split(' ').collect();
                assert_ne!(words[0], "violation", "{line}");
                if words[0] == "lost" {
                    let deadline = Duration::from_nanos(words[3].parse().unwrap());
                    let token = Zxid(words[2].parse().unwrap());
                    self.lost
                        .insert(words[1].parse().unwrap(), Loss { token, deadline });
                }
            }
        };
        // Long enough for everybody who will ever say it.
        let _ = timeout(T * 3, all).await;
    }
}

/// Not a test by itself: the holder's process.
#[tokio::test]
#[ignore = "started by the others"]
async fn holder_process() {
    let Ok(told) = std::env::var("ZK_LIVE_HOLDER") else {
        return;
    };
    let (server, base) = told.split_once(' ').unwrap();
    let client = Client::builder(server)
        .session_timeout(T)
        .connect()
        .await
        .unwrap();
    let mut guards = Vec::new();
    say("");
    for place in 0..AT_ONCE {
        let guard = client.lock(&path(base, place)).await.unwrap();
        say(&format!("held {place} {}", guard.token().0));
        guards.push((place, guard, Duration::ZERO));
    }
    let mut last_look = client.clock();
    while !guards.is_empty() {
        let before = client.clock();
        let was_away = before.saturating_sub(last_look) > T;
        last_look = before;
        guards.retain_mut(|(place, guard, deadline)| {
            match guard.ensure() {
                Ok(_) if was_away => {
                    say(&format!(
                        "violation {place}: certain after a pause longer than the timeout"
                    ));
                    true
                }
                Ok(left) => {
                    *deadline = (*deadline).max(client.clock() + left);
                    true
                }
                Err(_) => {
                    // What it would write now is a write of the past.
                    say(&format!(
                        "lost {place} {} {}",
                        guard.token().0,
                        deadline.as_nanos()
                    ));
                    false
                }
            }
        });
        sleep(Duration::from_millis(2)).await;
    }
}

fn say(line: &str) {
    // Whoever listened may be gone.
    let _ = writeln!(io::stdout(), "{line}");
}
