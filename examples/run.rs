//! The examples, as a reader would run them: the same output from a server of their own and from Apache.
//!
//! `cargo test` builds the examples that need no feature; `config_reload` is run where somebody built it
//! (`.ci/run` does), and its absence is told.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "all of this is a test"
)]

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use zk_client::{Client, testing::FaultProxy};
use zk_recipes::ClientExt as _;
use zk_server::Server;
use zk_tests::{apache, postgres::Postgres, process::ServerProcess};

/// Where cargo puts the examples: beside the folder of this test's own executable.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples").join(name)
}

/// Runs an example to its end and gives back what it printed.
fn output(name: &str, arguments: &[&str]) -> String {
    let run = Command::new(example(name))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        run.status.success(),
        "{name} {arguments:?}: {said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    said
}

const QUICKSTART: &str = "\
lock    alice and bob take turns on /quickstart/lock
lock    turn 1: alice holds it
lock    turn 1: bob holds it
lock    turn 2: alice holds it
lock    turn 2: bob holds it
lock    turn 3: alice holds it
lock    turn 3: bob holds it
lock    6 turns, 6 different fencing tokens
config  the program starts with Settings { greeting: \"hello\", workers: 2 }
config  an operator writes      Settings { greeting: \"good morning\", workers: 4 }
config  the program runs with   Settings { greeting: \"good morning\", workers: 4 }
config  an operator writes      Settings { greeting: \"good night\", workers: 1 }
config  the program runs with   Settings { greeting: \"good night\", workers: 1 }
done
";

const MEMBERSHIP: &str = "\
group     alice is at 10.0.0.1
group     bob is at 10.0.0.2
group     alice's session has expired, and her node with it
group     alice is back, with no code of hers
group     alice has left
services  billing is at http://a.example.org:8080/
services  billing is at http://b.example.org:8080/
services  billing is at http://a.example.org:8080/
shards    alice has 4
shards    alice is told that somebody came, and lets go
shards    alice has 2
shards    bob has 2
shards    alice is certain of hers: true
done
";

const TREE_CACHE: &str = "\
+ /examples/tree\x20
+ /examples/tree/apples 3
that is all: 2 nodes
= /examples/tree/apples 4
+ /examples/tree/pears 1
- /examples/tree/apples
- /examples/tree/pears
- /examples/tree
";

const SETTINGS_DIRECTORY: &str = "\
written   [\"pool_size\", \"url\"]
current   Settings { url: \"db-2\", pool_size: 16, comment: Some(\"moved\") }
written   [\"comment\", \"pool_size\", \"url\"]
refused   an empty pool
current   Settings { url: \"db-2\", pool_size: 16, comment: Some(\"moved\") }
current   Settings { url: \"db-2\", pool_size: 20, comment: Some(\"moved\") }
";

/// With a database that lists its connections; without one, without the lines of the database.
const CONFIG_RELOAD: &str = "\
service   answers requests, eight at a time, from the pool of the first settings
database  lists connections of the first settings (one at first) only
operator  writes the second settings
settings  second settings: the new pool took over, the old one is closed
service   answers as \"second settings\"
database  lists connections of the second settings (two at second) only
operator  lets the pool be larger
settings  third settings: the new pool took over, the old one is closed
service   answers as \"third settings\"
database  lists connections of the third settings (two at second) only
operator  writes settings without connections
settings  refused, bad content in version 3 of /config_reload/settings: max_connections is 0, not 1 to 100; the old pool goes on
service   answers as \"third settings\"
database  lists connections of the third settings (two at second) only
operator  writes settings with no such database
settings  fourth settings: refused, no such database; the old pool goes on
service   answers as \"third settings\"
database  lists connections of the third settings (two at second) only
operator  writes something that is no JSON
settings  refused, bad content in version 5 of /config_reload/settings: expected value at line 1 column 1; the old pool goes on
service   answers as \"third settings\"
database  lists connections of the third settings (two at second) only
operator  deletes the settings
settings  deleted; the old pool goes on
service   answers as \"third settings\"
database  lists connections of the third settings (two at second) only
requests  none failed
";

fn config_reload_without_a_list() -> String {
    let lines = CONFIG_RELOAD.lines();
    lines
        .filter(|line| !line.starts_with("database"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Two accounts, each with a database of its own.
const ACCOUNTS: &str = "\
CREATE ROLE one LOGIN PASSWORD 'secret one';
CREATE ROLE two LOGIN PASSWORD 'secret-two';
CREATE DATABASE first OWNER one;
CREATE DATABASE second OWNER two;
";

const BARRIER: &str = "\
the start is open
round 0: 4 workers are in
round 0: all have left
round 1: 4 workers are in
round 1: all have left
round 2: 4 workers are in
round 2: all have left
done
";

const QUEUE: &str = "\
7 items are put
6 jobs are done
dead letter: poison
";

const COUNTER: &str = "\
hits: 100
workers: 2
workers: 4
two orders, 1 apart
";

/// Whether the example was built: `config_reload` takes a feature. What is left out is told.
fn built(name: &str) -> bool {
    let built = example(name).is_file();
    if !built {
        // Not eprintln!: the test harness would swallow it with the output of a passing test.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {name} is not built (--features config-reload)"
        );
    }
    built
}

/// Turns begin and end one at a time, whoever has them, and everybody has as many as were asked for.
fn check_turns(said: &str, each: usize) {
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 4 * each, "{said}");
    for turn in lines.chunks(2) {
        assert!(turn[0].ends_with("begins"), "{said}");
        assert_eq!(turn[1], turn[0].replace("begins", "ends"), "{said}");
    }
    for name in ["a:", "b:"] {
        assert_eq!(
            lines.iter().filter(|line| line.starts_with(name)).count(),
            2 * each,
            "{said}"
        );
    }
}

#[test]
fn quickstart_shows_turns_and_changes() {
    assert_eq!(output("quickstart", &[]), QUICKSTART);
}

#[test]
fn barriers_queues_and_counters_do_what_they_say() {
    for (name, expected) in [("barrier", BARRIER), ("queue", QUEUE), ("counter", COUNTER)] {
        assert_eq!(output(name, &[]), expected, "{name}");
    }
}

#[test]
fn members_come_back_and_services_are_found() {
    assert_eq!(output("membership", &[]), MEMBERSHIP);
}

#[test]
fn a_tree_is_followed_from_its_first_state_to_its_end() {
    assert_eq!(output("tree_cache", &[]), TREE_CACHE);
}

#[test]
fn a_directory_of_settings_is_one() {
    assert_eq!(output("settings_directory", &[]), SETTINGS_DIRECTORY);
}

/// The example `service` as a process, and what it says.
struct Service {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn start(hosts: &str) -> Self {
        let mut process = Command::new(example("service"))
            .args(["--connect", hosts, "--name", "it"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut service = Self { process, lines };
        service.until("is ready");
        service
    }

    /// Waits for a line with this in it.
    fn until(&mut self, what: &str) {
        let found = self
            .lines
            .find(|line| line.as_ref().unwrap().contains(what));
        assert!(found.is_some(), "it ended without {what:?}");
    }

    /// Asks it to end; how long that took, and what it said last.
    fn terminate(mut self) -> (Duration, String) {
        let start = Instant::now();
        let process = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &process])
                .status()
                .unwrap()
                .success()
        );
        let last = self.lines.last().unwrap().unwrap();
        assert!(self.process.wait().unwrap().success());
        (start.elapsed(), last)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_a_program_in_time_with_and_without_a_server() {
    // Into the outage; `ZK_OUTAGE_SECONDS=600` is what was asked for, and longer than anybody waits for a test.
    let told = std::env::var("ZK_OUTAGE_SECONDS").ok();
    let outage_lasts = Duration::from_secs(told.map_or(0, |told| told.parse().unwrap()));
    let server = Server::builder().start().await.unwrap();
    let proxy = FaultProxy::start(server.local_addr()).await.unwrap();
    let observer = Client::connect(server.connect_string()).await.unwrap();
    let members = || async {
        let group = observer.group("/examples/service");
        group.members().await.unwrap().len()
    };
    for outage in [false, true] {
        let hosts = proxy.connect_string();
        let start = tokio::task::spawn_blocking(move || Service::start(&hosts));
        let mut service = start.await.unwrap();
        assert_eq!(members().await, 1);
        if outage {
            proxy.down();
        }
        let end = tokio::task::spawn_blocking(move || {
            if outage {
                service.until("Suspended");
                thread::sleep(outage_lasts);
            }
            service.terminate()
        });
        let (took, last) = end.await.unwrap();
        assert!(took < Duration::from_secs(2), "{took:?} {last}");
        // Gone at once where there was somebody to tell it, and else when its session ends.
        let stays = outage && outage_lasts.is_zero();
        assert_eq!(members().await, usize::from(stays));
        assert_eq!(last.starts_with("left without"), outage, "{last}");
    }
}

#[test]
fn distributed_lock_takes_turns() {
    check_turns(
        &output("distributed_lock", &["--turns", "3", "--work-ms", "20"]),
        3,
    );
}

/// Leaders one after another, epochs that grow, and everybody has the terms that were asked for.
fn check_elections(said: &str) {
    let terms: Vec<_> = said
        .lines()
        .filter(|line| line.contains(" leads"))
        .collect();
    for (name, expected) in [("a leads,", 2), ("b leads,", 2), ("c leads: true", 1)] {
        let count = terms.iter().filter(|line| line.starts_with(name)).count();
        assert_eq!(count, expected, "{said}");
    }
    let epoch = |line: &&str| {
        let number = line.rsplit_once(" 0x").unwrap().1;
        u64::from_str_radix(number, 16).unwrap()
    };
    let epochs: Vec<u64> = terms.iter().map(epoch).collect();
    assert!(epochs.is_sorted_by(|a, b| a < b), "{said}");
    assert!(said.contains("c takes part since"), "{said}");
}

fn check_sharing(said: &str) {
    let mut lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 11, "{said}");
    assert!(lines[0].starts_with("writes alone, with token"), "{said}");
    assert_eq!(lines[1], "two read together; nobody writes: true");
    lines[2..8].sort_unstable();
    assert_eq!(
        (lines[2], lines[7]),
        ("file 1 is here", "file 6 is here"),
        "{said}"
    );
    assert!(
        lines[8].starts_with("holds /examples/accounts/a with token"),
        "{said}"
    );
    assert!(
        lines[9].starts_with("holds /examples/accounts/b with token"),
        "{said}"
    );
    assert_eq!(lines[10], "the holder let go when it was asked");
}

#[test]
fn leaders_and_those_who_share_take_turns() {
    check_elections(&output("leader_election", &[]));
    check_sharing(&output("shared_access", &[]));
}

#[test]
fn config_reload_fails_no_request() {
    if built("config_reload") {
        assert_eq!(output("config_reload", &[]), config_reload_without_a_list());
    }
}

#[test]
fn config_reload_leaves_no_connection_of_the_past_in_postgres() {
    if !built("config_reload") {
        return;
    }
    let Some(postgres) =
        Postgres::start_or_skip("config_reload with PostgreSQL", ACCOUNTS).unwrap()
    else {
        return;
    };
    let first = postgres.url("one", "secret%20one", "first");
    let second = postgres.url("two", "secret-two", "second");
    let arguments = ["--database", &first, "--database", &second];
    assert_eq!(output("config_reload", &arguments), CONFIG_RELOAD);
}

#[test]
fn apache_makes_no_difference() {
    let Some(launcher) = apache::launcher_or_skip("the examples against Apache") else {
        return;
    };
    let server = ServerProcess::launch(launcher, &[]).unwrap();
    let hosts = server.addr().to_string();
    assert_eq!(output("quickstart", &["--connect", &hosts]), QUICKSTART);
    for (name, expected) in [("barrier", BARRIER), ("queue", QUEUE), ("counter", COUNTER)] {
        assert_eq!(output(name, &["--connect", &hosts]), expected, "{name}");
    }
    assert_eq!(output("membership", &["--connect", &hosts]), MEMBERSHIP);
    assert_eq!(
        output("settings_directory", &["--connect", &hosts]),
        SETTINGS_DIRECTORY
    );
    check_elections(&output("leader_election", &["--connect", &hosts]));
    check_sharing(&output("shared_access", &["--connect", &hosts]));
    if built("config_reload") {
        assert_eq!(
            output("config_reload", &["--connect", &hosts]),
            config_reload_without_a_list()
        );
    }
    thread::scope(|scope| {
        let contend = |name: &'static str| {
            let hosts = &hosts;
            scope.spawn(move || {
                output(
                    "distributed_lock",
                    &[
                        "--connect",
                        hosts,
                        "--name",
                        name,
                        "--turns",
                        "2",
                        "--work-ms",
                        "20",
                    ],
                )
            })
        };
        for (name, run) in [("a", contend("a")), ("b", contend("b"))] {
            let said = run.join().unwrap();
            assert_eq!(
                said.lines()
                    .filter(|line| line.starts_with(&format!("{name}:")))
                    .count(),
                4,
                "{said}"
            );
        }
    });
}

#[test]
fn an_argument_nobody_knows_is_refused() {
    for name in [
        "quickstart",
        "distributed_lock",
        "membership",
        "tree_cache",
        "settings_directory",
        "service",
    ] {
        let run = Command::new(example(name))
            .arg("--conect")
            .output()
            .unwrap();
        assert!(!run.status.success(), "{name}");
        assert!(
            String::from_utf8_lossy(&run.stderr).contains("--conect"),
            "{name} names it"
        );
    }
}
