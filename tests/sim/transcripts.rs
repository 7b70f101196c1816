//! Situations as text: commands and the conversation that follows from them, to learn the protocol from.
//!
//! A line that begins with `> ` is a command, with `#` a remark; everything else is what the members did and said,
//! without their pings. `a -> b` is the quorum port, `a => b` the election port, and `a  ...` what a does by itself.
//! What a command that ends with `...` leads to is left out: it was told elsewhere. Votes are told in `election` only.
//! `until` waits for somebody to do or say that, and `break` ends a link within the next message of that name.
//! `ZK_REWRITE=1` writes down what happens now; the difference is to be read before it is kept.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path, time::Duration};

use fastrand::Rng;

use crate::{
    swarm::{Fault, Quorums, Swarm},
    world::World,
};

/// Messages take 1 ms, and nothing goes wrong that no command asks for.
pub(crate) fn quiet(
    voters: usize,
    observers: usize,
    committed_log: usize,
    reads_log: bool,
) -> World {
    let mut swarm = swarm(voters, observers, committed_log);
    swarm.reads_log = reads_log;
    World::empty(swarm, Rng::with_seed(1))
}

/// As [`quiet`], with so few zxids in an epoch.
pub(crate) fn quiet_up_to(voters: usize, counter_max: u32) -> World {
    let mut swarm = swarm(voters, 0, 500);
    swarm.counter_max = counter_max;
    World::empty(swarm, Rng::with_seed(1))
}

/// As [`quiet`], with servers that may join by a reconfiguration.
pub(crate) fn quiet_with_spares(voters: usize, spares: usize) -> World {
    let mut swarm = swarm(voters, 0, 500);
    swarm.spares = spares;
    swarm.faults = vec![Fault::Reconfig];
    World::empty(swarm, Rng::with_seed(1))
}

fn swarm(voters: usize, observers: usize, committed_log: usize) -> Swarm {
    let ms = Duration::from_millis;
    Swarm {
        voters,
        observers,
        quorums: Quorums::Majority,
        spares: 0,
        faults: Vec::new(),
        chaos: ms(0),
        fault_interval: ms(1),
        write_interval: ms(1),
        delay: (ms(1), ms(1)),
        sync_time: ms(1),
        committed_log,
        reads_log: false,
        tick: ms(100),
        counter_max: zk_server::zab::COUNTER_MAX,
        unwritten: BTreeSet::new(),
        leaves_some: false,
    }
}

/// Does what a line says; the first one makes the world.
fn obey(world: &mut Option<World>, command: &str) {
    let words: Vec<_> = command.split_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<usize>().ok());
    let member = |at: usize| number(at).and_then(|id| id.checked_sub(1)).unwrap();
    if words[0] == "members" {
        let (observers, memory) = (number(2).unwrap_or(0), number(3).unwrap_or(500));
        let mut swarm = swarm(number(1).unwrap(), observers, memory);
        swarm.reads_log = words.contains(&"log");
        swarm.quorums = match words.last() {
            Some(&"groups") => Quorums::Groups,
            Some(&"weighted") => Quorums::Weighted,
            Some(&"weightless") => Quorums::Weightless,
            _ => Quorums::Majority,
        };
        let setting = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
        if let Some(count) = setting("zxids=") {
            swarm.counter_max = count.parse().unwrap();
        }
        if words.contains(&"reconfig") {
            swarm.faults = vec![Fault::Reconfig];
        }
        *world = Some(World::empty(swarm, Rng::with_seed(1)));
        return;
    }
    let world = world.as_mut().unwrap();
    match words[0] {
        "start" => (1..words.len()).for_each(|at| world.restart(member(at))),
        "run" => world.run_for(Duration::from_millis(number(1).unwrap() as u64)),
        "write" => world.write_at(member(1)),
        "sync" => world.sync_at(member(1)),
        "kill" => (1..words.len()).for_each(|at| world.stop(member(at), false)),
        "power-cut" => (1..words.len()).for_each(|at| world.stop(member(at), true)),
        "cut" => world.cut(member(1), member(2)),
        "heal" => world.heal(),
        "until" => world.run_until(&words[1..].join(" ")),
        "break" => world.break_off_within(words[1]),
        "reconfig" => {
            let role = |word: &str| {
                ["voter", "moved", "observer", "nothing"]
                    .iter()
                    .position(|it| *it == word)
            };
            let change = |word: &&str| {
                let (server, to) = word.split_once('=').unwrap();
                let server: usize = server.parse().unwrap();
                (server - 1, role(to).unwrap() as u8)
            };
            let changes: Vec<_> = words[2..].iter().map(change).collect();
            world.propose_changes(member(1), &changes);
        }
        other => panic!("{other} is no command"),
    }
}

fn play(script: &str, elections: bool) -> String {
    let mut world = None;
    let mut transcript = String::new();
    for line in script.lines() {
        if line.starts_with('#') || line.is_empty() {
            let _ = writeln!(transcript, "{line}");
        }
        let Some(command) = line.strip_prefix("> ") else {
            continue;
        };
        let _ = writeln!(transcript, "{line}");
        let told_elsewhere = command.ends_with(" ...");
        obey(&mut world, command.trim_end_matches(" ..."));
        let said = world.iter_mut().flat_map(|world| world.trace.drain(..));
        for line in said.filter_map(|line| line.get(10..).map(str::to_owned)) {
            let is_vote = line.contains(" => ") && !elections;
            let hidden = told_elsewhere || is_vote || line.contains("PING");
            if !hidden {
                let _ = writeln!(transcript, "{line}");
            }
        }
    }
    transcript
}

fn check(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("transcripts")
        .join(folder);
    let rewrite = std::env::var_os("ZK_REWRITE").is_some();
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let expected = fs::read_to_string(&file).unwrap();
        let found = play(&expected, folder.ends_with("election"));
        if rewrite {
            fs::write(&file, found).unwrap();
        } else {
            assert_eq!(found, expected, "{}", file.display());
        }
    }
}

#[test]
fn elections_go_as_written_down() {
    check("election");
}

#[test]
fn zab_goes_as_written_down() {
    check("zab");
}
