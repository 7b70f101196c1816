//! What the log, the snapshots and the epoch files did to Apache ZooKeeper, by the numbers of its issues.

use std::io::ErrorKind;

use zk_proto::Epoch;

use super::*;
use crate::storage::{
    EpochKind,
    layout::{log_name, snapshot_name},
    mem_disk::FaultyCall,
    purge,
    snapshot::write_tree,
};

/// So many records, a new file after every fifth, and a snapshot where one is asked for; all of it synced.
fn history(records: usize, snapshots: &[usize]) -> (MemDisk, Vec<Dump>) {
    let disk = MemDisk::new();
    let directories = directories(&disk);
    let mut log = recover(&directories, &options(&[SMALL])).unwrap().log;
    let mut author = Author::new();
    let mut dumps = vec![author.dump()];
    for n in 1..=records {
        let mut ops = vec![append(author.write())];
        ops.extend((n % 5 == 0).then_some(DiskOp::RollLog));
        execute(&mut log, ops).unwrap();
        dumps.push(author.dump());
        if snapshots.contains(&n) {
            write_tree(&directories, author.tree(), &options(&[]).snapshot).unwrap();
        }
    }
    log.close();
    (disk, dumps)
}

fn back(disk: &MemDisk) -> Dump {
    dump(&mut recovered(disk).tree)
}

#[test]
fn zookeeper_582_a_snapshot_at_any_point_leads_to_the_same_end() {
    for at in 1..=20 {
        let (disk, dumps) = history(20, &[at]);
        assert_eq!(back(&disk), dumps[20], "at {at}");
        assert_eq!(recovered(&disk).snapshot, Zxid(at as i64));
    }
}

#[test]
fn zookeeper_596_no_damaged_record_counts_for_the_last_zxid() {
    let (disk, dumps) = written(6);
    let (snapshot, log) = (content(&disk, "snapshot.0"), content(&disk, "log.1"));
    let (disk, _) = written(5);
    let last_record = content(&disk, "log.1").len();
    let mut cut = 0;
    for at in last_record..log.len() {
        for mask in [1, 0x80, 0xff] {
            let mut log = log.clone();
            log[at] ^= mask;
            let disk = disk_of(&[("snapshot.0", &snapshot), ("log.1", &log)]);
            let Ok(mut found) = try_recover(&disk) else {
                continue;
            };
            assert_eq!(found.log.last_zxid(), Zxid(5), "byte {at}");
            assert_eq!(dump(&mut found.tree), dumps[5], "byte {at}");
            cut += 1;
        }
    }
    assert!(cut > 100, "{cut}");
}

#[test]
fn zookeeper_1069_a_server_that_ends_as_soon_as_it_has_begun() {
    for writes in 0..4 {
        let disk = MemDisk::new();
        let mut author = Author::new();
        for life in 0..6 {
            let mut found = recovered(&disk);
            assert_eq!(dump(&mut found.tree), author.dump(), "{writes} {life}");
            for _ in 0..writes {
                execute(&mut found.log, vec![append(author.write())]).unwrap();
            }
            match life % 3 {
                0 => found.log.close(),
                1 => disk.kill(),
                _ => disk.power_cut(life),
            }
        }
        assert_eq!(back(&disk), author.dump());
    }
}

#[test]
fn zookeeper_1489_a_log_cut_after_any_record_goes_on_there() {
    for to in 0..=20 {
        let (disk, dumps) = history(20, &[]);
        let mut log = recovered(&disk).log;
        let cut = DiskOp::Truncate {
            to: Zxid(to as i64),
        };
        let mut author = Author::new();
        (0..to).for_each(|_| drop(author.write()));
        assert_eq!(author.dump(), dumps[to]);
        execute(&mut log, vec![cut]).unwrap();
        // By the same hand, and by one that comes after.
        execute(&mut log, vec![append(author.write())]).unwrap();
        assert_eq!(back(&disk), author.dump(), "cut after {to}");
        let mut log = recovered(&disk).log;
        execute(&mut log, vec![append(author.write())]).unwrap();
        assert_eq!(back(&disk), author.dump(), "cut after {to}");
    }
}

#[test]
fn zookeeper_1520_no_log_but_the_last_is_read_in_part() {
    let (disk, dumps) = history(8, &[]);
    let files: Vec<_> = names(&disk)
        .into_iter()
        .map(|name| (name.clone(), content(&disk, &name)))
        .collect();
    let first = log_name(Zxid(1));
    let damage = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = files.clone();
        for (name, bytes) in &mut files {
            if *name == first {
                change(bytes);
            }
        }
        let files: Vec<_> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
        disk_of(&files)
    };
    assert_eq!(back(&damage(&|_| {})), dumps[8]);
    let len = files
        .iter()
        .find(|(name, _)| *name == first)
        .unwrap()
        .1
        .len();
    for at in 16..len {
        let flipped = damage(&|bytes| bytes[at] ^= 0x10);
        assert!(try_recover(&flipped).is_err(), "byte {at}");
        let short = damage(&|bytes| bytes.truncate(at));
        assert!(try_recover(&short).is_err(), "cut at {at}");
    }
}

#[test]
fn zookeeper_1653_2307_2354_4269_an_epoch_is_the_old_or_the_new_one_whenever_the_power_goes() {
    let calls = [
        FaultyCall::Create,
        FaultyCall::Write,
        FaultyCall::Sync,
        FaultyCall::Rename,
        FaultyCall::SyncDir,
    ];
    for kind in [EpochKind::Accepted, EpochKind::Current] {
        for (call, seed) in calls
            .iter()
            .flat_map(|call| (0..20).map(move |n| (*call, n)))
        {
            let (disk, dumps) = history(3, &[]);
            let mut log = recovered(&disk).log;
            let save = |epoch| DiskOp::SaveEpoch {
                kind,
                epoch: Epoch(epoch),
            };
            execute(&mut log, vec![save(7)]).unwrap();
            disk.fail(call, 1, ErrorKind::Other);
            assert!(execute(&mut log, vec![save(8)]).is_err(), "{call:?}");
            disk.power_cut(seed);
            disk.heal();
            // What another server's process may have left behind, too.
            put(&disk, "currentEpoch.tmp", b"");
            let mut found = recovered(&disk);
            let epoch = match kind {
                EpochKind::Accepted => found.accepted_epoch,
                EpochKind::Current => found.current_epoch,
            };
            assert!(
                [Some(Epoch(7)), Some(Epoch(8))].contains(&epoch),
                "{epoch:?}"
            );
            assert_eq!(dump(&mut found.tree), dumps[3]);
        }
    }
}

#[test]
fn zookeeper_1797_2420_2574_3231_no_purge_removes_what_is_needed() {
    for broken in 0..=2 {
        let (disk, dumps) = history(40, &[8, 16, 24, 32, 38]);
        for zxid in [38, 32].into_iter().take(broken) {
            let name = snapshot_name(Zxid(zxid));
            let bytes = content(&disk, &name);
            version(&disk).remove(&name).unwrap();
            put(&disk, &name, &bytes[..bytes.len() / 2]);
        }
        disk.kill();
        // While the log is rolled, and written on.
        let directories = directories(&disk);
        let mut log = recover(&directories, &options(&[SMALL])).unwrap().log;
        let mut author = Author::new();
        (0..40).for_each(|_| drop(author.write()));
        execute(&mut log, vec![DiskOp::RollLog, append(author.write())]).unwrap();
        let purged = purge(&directories, 3).unwrap();
        assert!(!purged.files.is_empty());
        execute(&mut log, vec![DiskOp::RollLog, append(author.write())]).unwrap();
        drop(directories);
        assert_eq!(back(&disk), author.dump(), "{broken} broken");
        assert_eq!(dumps.len(), 41);
    }
}

#[test]
fn zookeeper_2325_3056_3644_3781_a_missing_or_empty_snapshot_is_never_an_empty_tree() {
    const AT: [usize; 3] = [6, 12, 18];
    // Of the snapshots, and the first: in order (0), missing (1), empty (2).
    for state in 0..81 {
        let (disk, dumps) = history(20, &AT);
        let all = [0, 6, 12, 18];
        let mut good = 0;
        for (n, at) in all.iter().enumerate() {
            let name = snapshot_name(Zxid(*at));
            match state / 3_i32.pow(u32::try_from(n).unwrap()) % 3 {
                0 => good += 1,
                1 => version(&disk).remove(&name).unwrap(),
                _ => {
                    version(&disk).remove(&name).unwrap();
                    put(&disk, &name, b"");
                }
            }
        }
        match try_recover(&disk) {
            Ok(mut found) => assert_eq!(dump(&mut found.tree), dumps[20], "state {state}"),
            Err(_) => assert_eq!(good, 0, "state {state}: one would have done"),
        }
    }
}

#[test]
fn zookeeper_2236_2332_a_log_that_was_never_begun_does_not_stop_the_next_start() {
    for len in 0..16 {
        let (disk, dumps) = history(7, &[]);
        let header = content(&disk, "log.1")[..len].to_vec();
        put(&disk, &log_name(Zxid(8)), &header);
        assert_eq!(back(&disk), dumps[7], "{len} bytes of a header");
    }
    // As a full disk leaves it.
    for capacity in 0..20 {
        let (disk, dumps) = history(7, &[]);
        let mut log = recovered(&disk).log;
        disk.set_capacity(capacity);
        let mut author = Author::new();
        (0..7).for_each(|_| drop(author.write()));
        assert!(execute(&mut log, vec![append(author.write())]).is_err());
        disk.heal();
        assert_eq!(back(&disk), dumps[7], "{capacity} bytes left");
    }
}

#[test]
fn zookeeper_3082_a_snapshot_that_a_full_disk_cut_short_is_not_believed() {
    let (disk, _) = history(7, &[7]);
    let len = content(&disk, &snapshot_name(Zxid(7))).len();
    let used = |disk: &MemDisk| -> u64 {
        let files = version(disk).list().unwrap().into_iter();
        files.map(|file| file.len).sum()
    };
    for room in (0..len).step_by(7) {
        let (disk, dumps) = history(7, &[]);
        disk.kill();
        let directories = directories(&disk);
        let mut author = Author::new();
        (0..7).for_each(|_| drop(author.write()));
        disk.set_capacity(used(&disk) + room as u64);
        let written = write_tree(&directories, author.tree(), &options(&[]).snapshot);
        assert_eq!(
            written.unwrap_err().kind(),
            ErrorKind::StorageFull,
            "{room}"
        );
        disk.heal();
        drop(directories);
        assert_eq!(recovered(&disk).snapshot, Zxid::ZERO);
        assert_eq!(back(&disk), dumps[7], "{room}");
    }
}

#[test]
fn zookeeper_3701_a_cut_that_fails_is_reported_and_nothing_is_done_after_it() {
    for call in [FaultyCall::SetLen, FaultyCall::Sync, FaultyCall::SyncDir] {
        let (disk, dumps) = history(7, &[]);
        let mut log = recovered(&disk).log;
        disk.fail(call, 1, ErrorKind::StorageFull);
        let mut done = Vec::new();
        let ops = [DiskOp::Truncate { to: Zxid(6) }, DiskOp::Barrier(1)];
        log.execute(ops, &mut done);
        assert!(
            matches!(done[..], [DiskDone::Failed(_)]),
            "{call:?}: {done:?}"
        );
        disk.heal();
        let found = back(&disk);
        assert!(found == dumps[6] || found == dumps[7], "{call:?}");
    }
}

#[test]
fn zookeeper_4837_after_a_cut_no_snapshot_holds_what_was_cut() {
    for to in 1..20 {
        for seed in 0..4 {
            let (disk, dumps) = history(20, &[4, 9, 14, 20]);
            let mut log = recovered(&disk).log;
            let cut = DiskOp::Truncate {
                to: Zxid(to as i64),
            };
            execute(&mut log, vec![cut]).unwrap();
            disk.power_cut(seed);
            let mut found = recovered(&disk);
            assert_eq!(dump(&mut found.tree), dumps[to], "cut after {to}");
            assert!(found.snapshot <= Zxid(to as i64));
        }
    }
}

#[test]
fn zookeeper_4882_what_a_failed_disk_never_had_is_not_found_there() {
    for call in [FaultyCall::Write, FaultyCall::Sync] {
        let disk = MemDisk::new();
        let mut log = recovered(&disk).log;
        let mut author = Author::new();
        execute(&mut log, vec![append(author.write())]).unwrap();
        disk.fail(call, 1, ErrorKind::StorageFull);
        assert!(execute(&mut log, vec![append(author.write())]).is_err());
        disk.heal();
        // Whoever went on after it would leave a hole; nobody can.
        let mut done = Vec::new();
        log.execute([append(author.write())], &mut done);
        assert!(done.is_empty());
        disk.power_cut(1);
        assert!(recovered(&disk).log.last_zxid() <= Zxid(2));
    }
}
