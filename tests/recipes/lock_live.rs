//! Guards against three real members, ours and Apache's, with real time: what a holder believes and what the next one gets.
//!
//! The holder is a process of its own (this program again), because it is stopped; it logs on CLOCK_BOOTTIME, which all
//! processes share. For each of its guards: the deadline precedes the next acquire, the first `ensure` after the
//! fault fails, and the fenced store, to which both processes really write, accepts no write of the past.
//! `ZK_LIVE_GUARDS` guards for each kind of fault (20 unless told), twenty at a time; `ZK_LIVE_SUSPENSIONS` suspensions (8
//! unless told). That the checks can fail is shown with a store that does not look at tokens, and with a holder that believes
//! too long.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::SocketAddr,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command},
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

#[tokio::test]
async fn a_store_without_a_fence_takes_writes_of_the_past() {
    let three = Three::start(&ours::launcher().unwrap()).await;
    let round = three.try_round(Fault::Stopped, "/unfenced", (Fence::None, Belief::Deadline));
    let violation = round.await.unwrap_err();
    assert!(violation.contains("a write of the past"), "{violation}");
}

#[tokio::test]
async fn a_holder_that_believes_too_long_is_seen() {
    let three = Three::start(&ours::launcher().unwrap()).await;
    let round = three.try_round(
        Fault::Unheard,
        "/believes",
        (Fence::Tokens, Belief::TooLong),
    );
    let violation = round.await.unwrap_err();
    assert!(violation.contains("certain until"), "{violation}");
}

async fn short_suspensions(launcher: Launcher, whose: &str) {
    let three = Three::start(&launcher).await;
    let follower = three.follower();
    let proxy = Proxy::start(three.clients[follower]).await.unwrap();
    let store = Store::start(Fence::Tokens).await;
    let mut holder = Holder::start(proxy.addr(), "/short", store.address, Belief::Deadline);
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
        let round = self.try_round(fault, base, (Fence::Tokens, Belief::Deadline));
        round.await.unwrap()
    }

    /// The same; fails with the first thing that must not be.
    async fn try_round(
        &self,
        fault: Fault,
        base: &str,
        (fence, belief): (Fence, Belief),
    ) -> Result<Duration, String> {
        let follower = self.follower();
        let proxy = Proxy::start(self.clients[follower]).await.unwrap();
        let store = Store::start(fence).await;
        let mut holder = Holder::start(proxy.addr(), base, store.address, belief);
        let held = holder.held().await;
        // The next ones, through the leader.
        let (client, mut nexts) = (self.client(self.leader).await, JoinSet::new());
        for place in 0..AT_ONCE {
            let (client, path) = (client.clone(), path(base, place));
            let written = store.written.clone();
            nexts.spawn(async move {
                let guard = client.lock(&path).await.unwrap();
                let acquired = client.clock();
                let accepted = written.write(place, guard.token());
                assert!(accepted, "the newest holder writes");
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
        holder.write_late().await;
        if fault == Fault::FollowerCutOff {
            self.between(follower, self.leader, Flow::Pass).await;
            while self.client(follower).await.sync("/").await.is_err() {}
        }
        let mut least = Duration::MAX;
        for (place, token, acquired) in acquired {
            let lost = &holder.lost[&place];
            if token <= held[&place] || lost.token != held[&place] {
                return Err(format!("{token} was granted after {:?}", held[&place]));
            }
            if lost.deadline > acquired {
                let deadline = lost.deadline;
                return Err(format!(
                    "{fault:?} {place}: certain until {deadline:?}, next at {acquired:?}"
                ));
            }
            least = least.min(acquired.saturating_sub(lost.deadline));
            store.written.judge(place, [held[&place], token])?;
        }
        assert_eq!(holder.lost.len(), AT_ONCE);
        Ok(least)
    }
}

/// Whether a store refuses what has an older token than it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fence {
    Tokens,
    None,
}

/// What the locks protect: one value for each, which holders write over connections of their own.
struct Store {
    address: SocketAddr,
    written: Written,
}

/// Every write in the order of arrival, and the rule by which it is accepted.
#[derive(Clone)]
struct Written {
    fence: Fence,
    writes: Arc<Mutex<BTreeMap<usize, Vec<Write>>>>,
}

#[derive(Debug, Clone, Copy)]
struct Write {
    token: Zxid,
    accepted: bool,
}

impl Store {
    async fn start(fence: Fence) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let writes = Arc::default();
        let written = Written { fence, writes };
        let served = written.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        Self { address, written }
    }
}

impl Written {
    /// Reads writes, a line each, and answers whether they were accepted.
    async fn serve(self, stream: TcpStream) {
        let (lines, mut answers) = stream.into_split();
        let mut lines = BufReader::new(lines).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let (place, token) = line.split_once(' ').unwrap();
            let accepted = self.write(place.parse().unwrap(), Zxid(token.parse().unwrap()));
            let answer = format!("{accepted}\n");
            answers.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    fn write(&self, place: usize, token: Zxid) -> bool {
        let mut writes = self.writes.lock();
        let writes = writes.entry(place).or_default();
        let newest = writes.iter().map(|write| write.token).max();
        let accepted = self.fence == Fence::None || newest.is_none_or(|newest| token >= newest);
        writes.push(Write { token, accepted });
        accepted
    }

    /// All of these holders wrote, the first one also after the last one, and the last one's is the last that was accepted.
    fn judge(&self, place: usize, holders: [Zxid; 2]) -> Result<(), String> {
        let writes = self.writes.lock().get(&place).cloned().unwrap_or_default();
        let tokens: Vec<_> = writes.iter().map(|write| write.token).collect();
        if tokens != [holders[0], holders[1], holders[0]] {
            return Err(format!("{holders:?} should have written: {writes:?}"));
        }
        let accepted = writes.iter().filter(|write| write.accepted);
        match accepted.map(|write| write.token).is_sorted() {
            true => Ok(()),
            false => Err(format!("a write of the past was accepted: {writes:?}")),
        }
    }
}

/// How long a holder believes that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belief {
    /// As long as its guard says so.
    Deadline,
    /// Until it has waited long enough for the next one to have it, as one does that asks nobody.
    TooLong,
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
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    lost: BTreeMap<usize, Loss>,
}

impl Holder {
    fn start(server: SocketAddr, base: &str, store: SocketAddr, belief: Belief) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "lock_live::holder_process",
                "--ignored",
                "--nocapture",
            ])
            .env(
                "ZK_LIVE_HOLDER",
                format!("{server} {base} {store} {belief:?}"),
            )
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let orders = process.stdin.take().unwrap();
        Self {
            process,
            orders,
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

    /// Lets it write what it would have written before the fault.
    async fn write_late(&mut self) {
        self.orders.write_all(b"write\n").await.unwrap();
        while let Some(words) = self.says().await {
            if words[0] == "written" {
                return;
            }
        }
        panic!("the holder ended");
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
        let _ = timeout(T * 5, all).await;
    }
}

/// Not a test by itself: the holder's process.
#[tokio::test]
#[ignore = "started by the others"]
async fn holder_process() {
    let Ok(told) = std::env::var("ZK_LIVE_HOLDER") else {
        return;
    };
    let [server, base, store, belief] = *told.split(' ').collect::<Vec<_>>() else {
        panic!("{told}");
    };
    let belief = match belief {
        "TooLong" => Belief::TooLong,
        _ => Belief::Deadline,
    };
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let mut store = RemoteStore::connect(store).await;
    let client = Client::builder(server)
        .session_timeout(T)
        .connect()
        .await
        .unwrap();
    let (mut guards, mut late) = (Vec::new(), Vec::new());
    say("");
    for place in 0..AT_ONCE {
        let guard = client.lock(&path(base, place)).await.unwrap();
        store.write(place, guard.token()).await;
        say(&format!("held {place} {}", guard.token().0));
        late.push((place, guard.token()));
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
                // The next one has it by then.
                Err(_) if belief == Belief::TooLong && *deadline + T * 3 > before => true,
                Err(_) => {
                    if belief == Belief::TooLong {
                        *deadline = before;
                    }
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
    // What was about to be written when the fault came.
    while let Ok(Some(_)) = orders.next_line().await {
        for (place, token) in &late {
            store.write(*place, *token).await;
        }
        say("written");
    }
}

/// The holder's connection to the store.
struct RemoteStore(BufReader<TcpStream>);

impl RemoteStore {
    async fn connect(address: &str) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// Writes, whether that is accepted or not.
    async fn write(&mut self, place: usize, token: Zxid) {
        let line = format!("{place} {}\n", token.0);
        self.0.write_all(line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).await.unwrap();
        assert!(!answer.is_empty(), "the store is gone");
    }
}

fn say(line: &str) {
    // Whoever listened may be gone.
    let _ = writeln!(io::stdout(), "{line}");
}
