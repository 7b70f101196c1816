//! What a member that others can bring back makes of damage: it begins with what comes before, and says so.

use zk_proto::Epoch;

use super::{damage::five_logs, *};
use crate::storage::{Access, EpochKind, layout::log_name, mem_disk::FaultyCall};

const AWAITING: &str = "awaitingSync";

fn member(settings: &[&str]) -> RecoveryOptions {
    RecoveryOptions {
        can_be_synced: true,
        ..options(&[settings, &[SMALL]].concat())
    }
}

fn as_member(disk: &MemDisk) -> Recovered {
    disk.kill();
    recover(&directories(disk), &member(&[])).unwrap()
}

fn awaits(disk: &MemDisk) -> bool {
    disk.open(AWAITING).is_ok()
}

/// Whether Apache reads a number in `currentEpoch`, or makes one up.
fn apache_would_vote(disk: &MemDisk) -> bool {
    if !names(disk).contains(&"currentEpoch".to_owned()) {
        return true;
    }
    let text = content(disk, "currentEpoch");
    str::from_utf8(&text).unwrap().parse::<i64>().is_ok()
}

/// What a leader's sync ends with.
fn sync(recovered: &mut Recovered) {
    execute(&mut recovered.log, vec![DiskOp::HistoryComplete]).unwrap();
}

fn rotten(name: &str, offset: u64) -> (MemDisk, Vec<(String, Vec<u8>)>) {
    let (files, _) = five_logs();
    let all: Vec<_> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    let disk = disk_of(&all);
    disk.rot(&format!("version-2/{name}"), offset, 1).unwrap();
    (disk, files)
}

/// The trees after each record of [`five_logs`].
fn prefixes() -> Vec<Dump> {
    let mut author = Author::new();
    let mut dumps = vec![author.dump()];
    for _ in 0..30 {
        let _ = author.write();
        dumps.push(author.dump());
    }
    dumps
}

#[test]
fn the_history_before_the_damage_is_kept_and_the_files_from_there_on_are_set_aside() {
    let dumps = prefixes();
    for n in 0..5_i64 {
        let name = log_name(Zxid(n * 6 + 1));
        // The last log's last record would be a torn write.
        for offset in [3, 20, 200, 400] {
            let (disk, files) = rotten(&name, offset);
            let refused = try_recover(&disk).map(drop).unwrap_err().to_string();
            assert!(refused.contains(&name), "alone it refuses: {refused}");
            assert!(!awaits(&disk));

            let mut back = as_member(&disk);
            let last = usize::try_from(back.tree.last_zxid().0).unwrap();
            let first = usize::try_from(n * 6).unwrap();
            assert!(
                (first..first + 6).contains(&last),
                "{name} {offset}: {last}"
            );
            assert_eq!(dump(&mut back.tree), dumps[last]);
            assert!(back.awaits_sync && awaits(&disk));
            // Nothing is gone.
            for later in n..5 {
                let log = log_name(Zxid(later * 6 + 1));
                let (_, whole) = files.iter().find(|(name, _)| *name == log).unwrap();
                let aside = content(&disk, &format!("damaged.{log}"));
                let other = aside.iter().zip(whole).filter(|(one, other)| one != other);
                assert_eq!(other.count(), usize::from(later == n));
                assert_eq!(aside.len(), whole.len());
            }
            let again = as_member(&disk);
            assert!(again.awaits_sync, "until it is synced");
            assert_eq!(again.tree.last_zxid().0, i64::try_from(last).unwrap());
        }
    }
}

#[test]
fn the_file_goes_when_a_leader_has_synced_the_member_and_not_before() {
    let (disk, _) = rotten("log.7", 200);
    let mut back = as_member(&disk);
    // The current epoch may be written before the first proposal of it.
    let save = |kind| DiskOp::SaveEpoch {
        kind,
        epoch: Epoch(1),
    };
    let saves = vec![save(EpochKind::Accepted), save(EpochKind::Current)];
    execute(&mut back.log, saves).unwrap();
    assert!(awaits(&disk) && back.log.awaits_sync());
    assert!(!apache_would_vote(&disk));
    sync(&mut back);
    assert!(!awaits(&disk) && !back.log.awaits_sync());
    drop(back);
    disk.power_cut(1);
    assert!(!as_member(&disk).awaits_sync);
    assert_eq!(content(&disk, "currentEpoch"), b"1");
    assert_eq!(content(&disk, "acceptedEpoch"), b"1");
    recovered(&disk);
}

#[test]
fn apache_does_not_start_on_what_is_left() {
    let (disk, _) = rotten("log.7", 200);
    for (name, was) in [("currentEpoch", "3"), ("acceptedEpoch", "4")] {
        put(&disk, name, was.as_bytes());
    }
    for _ in 0..2 {
        let back = as_member(&disk);
        assert!(back.awaits_sync && !apache_would_vote(&disk));
        let epochs = (back.current_epoch, back.accepted_epoch);
        assert_eq!(epochs, (Some(Epoch(3)), Some(Epoch(4))));
    }
    // A build that knew of no guard has been here.
    put(&disk, "currentEpoch", b"3");
    let mut back = as_member(&disk);
    assert!(!apache_would_vote(&disk));
    sync(&mut back);
    assert!(apache_would_vote(&disk));
    assert_eq!(content(&disk, "currentEpoch"), b"3");
    // A backup is in place, of everything but the epochs, and the file has been removed by hand.
    put(&disk, "currentEpoch", b"3 awaitingSync");
    assert_eq!(as_member(&disk).current_epoch, Some(Epoch(3)));
    assert_eq!(content(&disk, "currentEpoch"), b"3");
}

#[test]
fn one_whose_file_was_removed_under_it_goes_on() {
    let (disk, _) = rotten("log.7", 200);
    let mut back = as_member(&disk);
    disk.remove(AWAITING).unwrap();
    sync(&mut back);
    assert!(!awaits(&disk) && !back.log.awaits_sync());
    assert!(!as_member(&disk).awaits_sync);
    assert!(apache_would_vote(&disk));
}

#[test]
fn one_that_nobody_can_bring_back_does_not_start_with_the_history_before_the_damage() {
    let (disk, _) = rotten("log.7", 200);
    drop(as_member(&disk));
    let refused = try_recover(&disk).map(drop).unwrap_err().to_string();
    assert!(refused.contains(AWAITING), "{refused}");
}

#[test]
fn whenever_the_power_goes_there_is_the_damage_or_the_file_that_tells_of_it() {
    let calls = [
        FaultyCall::Create,
        FaultyCall::Write,
        FaultyCall::Sync,
        FaultyCall::Rename,
        FaultyCall::SyncDir,
    ];
    let mut cut_short = 0;
    for (seed, call) in (0..400).zip(calls.iter().cycle()) {
        let (disk, _) = rotten("log.7", 200);
        let nth = 1 + u32::try_from(seed % 11).unwrap();
        disk.fail(*call, nth, std::io::ErrorKind::Other);
        disk.kill();
        cut_short += u32::from(recover(&directories(&disk), &member(&[])).is_err());
        disk.heal();
        disk.power_cut(seed);
        assert!(awaits(&disk) || try_recover(&disk).is_err(), "seed {seed}");
        let is_set_aside = names(&disk).iter().any(|name| name.starts_with("damaged."));
        assert!(
            !is_set_aside || !apache_would_vote(&disk),
            "seed {seed}: it reads what is left"
        );
        let mut back = as_member(&disk);
        assert!(back.awaits_sync, "seed {seed}");
        let last = back.tree.last_zxid();
        assert!(last <= Zxid(12), "seed {seed}: {last}");
        // It takes what a leader sends.
        let mut author = Author::after(back.tree);
        execute(&mut back.log, vec![append(author.write())]).unwrap();
        drop(back.log);
        let back = as_member(&disk);
        assert_eq!(back.tree.last_zxid(), Zxid(last.0 + 1), "seed {seed}");
    }
    assert!(cut_short > 100, "{cut_short}");
}

#[test]
fn without_any_snapshot_that_holds_a_member_begins_empty() {
    let (disk, _) = rotten("log.7", 200);
    put(&disk, "snapshot.0", b"nonsense");
    let mut back = as_member(&disk);
    assert!(back.awaits_sync);
    assert_eq!(dump(&mut back.tree), Author::new().dump());
    let left = names(&disk);
    let damaged = left.iter().filter(|name| name.starts_with("damaged."));
    assert_eq!(damaged.count(), 6, "{left:?}");
    assert!(left.contains(&"snapshot.0".to_owned()), "the new one");
}

#[test]
fn a_snapshot_that_the_log_does_not_reach_is_set_aside() {
    let (files, _) = five_logs();
    let files: Vec<_> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    let disk = disk_of(&files);
    put(&disk, "snapshot.ff", b"nonsense");
    let back = as_member(&disk);
    assert!(back.awaits_sync);
    assert_eq!(back.tree.last_zxid(), Zxid(30));
    assert!(names(&disk).contains(&"damaged.snapshot.ff".to_owned()));
}

#[test]
fn a_second_damage_leaves_what_the_first_one_set_aside() {
    let (disk, _) = rotten("log.7", 200);
    drop(as_member(&disk));
    disk.rot("version-2/log.7", 30, 1).unwrap();
    put(&disk, "log.8", b"ZKLG, and nothing that makes sense");
    assert!(as_member(&disk).awaits_sync);
    let left = names(&disk);
    assert!(left.contains(&"damaged.log.7".to_owned()), "{left:?}");
    assert!(left.contains(&"damaged.log.7.again".to_owned()), "{left:?}");
}

#[test]
fn an_empty_directory_that_is_not_meant_to_be_is_a_loss() {
    let careful = member(&["db.autocreate=false"]);
    let start = |disk: &MemDisk| {
        disk.kill();
        recover(&directories(disk), &careful).unwrap().awaits_sync
    };
    let disk = MemDisk::new();
    assert!(start(&disk));
    assert!(start(&disk), "a snapshot of nothing makes it no better");
    disk.create("initialize", Access::Default).unwrap();
    assert!(!start(&disk), "now it is meant to be");
    assert!(!start(&disk));
    let disk = MemDisk::new();
    disk.create("initialize", Access::Default).unwrap();
    assert!(!start(&disk));
    assert!(!start(&disk));
    assert!(!as_member(&MemDisk::new()).awaits_sync);
}

#[test]
fn others_must_be_a_quorum_to_bring_a_member_back() {
    let of = |servers: i64, me: i64, further: &[&str]| {
        let lines: Vec<_> = (1..=servers)
            .map(|id| format!("server.{id}=h{id}:1:2"))
            .collect();
        let mut settings: Vec<_> = lines.iter().map(String::as_str).collect();
        settings.extend(further);
        let mut config = Config::without_file(&settings).unwrap().config;
        config.my_id = Some(zk_proto::ServerId(me));
        RecoveryOptions::of(&config, 1).can_be_synced
    };
    assert!(!of(0, 1, &[]) && !of(1, 1, &["standaloneEnabled=false"]));
    // One line alone makes no ensemble, and then nobody looks for a `myid`.
    let mut alone = Config::without_file(&["server.1=h:1:2"]).unwrap().config;
    alone.my_id = None;
    assert!(!RecoveryOptions::of(&alone, 1).can_be_synced);
    assert!(!of(2, 1, &[]) && of(3, 1, &[]) && of(5, 3, &[]));
    let heavy = ["group.1=1:2:3", "weight.1=3"];
    assert!(!of(3, 1, &heavy) && of(3, 2, &heavy));
    let observer = ["server.3=h3:1:2:observer"];
    assert!(of(2, 3, &observer) && !of(2, 2, &observer));
}

#[test]
fn what_the_system_does_not_let_be_read_is_not_damaged() {
    let (files, _) = five_logs();
    let files: Vec<_> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    let disk = disk_of(&files);
    let before = names(&disk);
    disk.fail(FaultyCall::Read, 1, std::io::ErrorKind::PermissionDenied);
    disk.kill();
    let refused = recover(&directories(&disk), &member(&[])).unwrap_err();
    assert!(refused.to_string().contains("snapshot."), "{refused}");
    disk.heal();
    assert!(!awaits(&disk));
    assert_eq!(names(&disk), before);
    assert!(!as_member(&disk).awaits_sync, "all is well again");
}
