//! Power cuts by the thousand.

use super::*;
use crate::storage::{EpochKind, mem_disk::FaultyCall, snapshot::write_tree};
use zk_proto::Epoch;

/// What one seeded life and death showed.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Everything that was reported synced is there, and the tree is one that was.
    Kept { torn: bool },
    /// Something that was reported synced is gone, or recovery refused.
    Lost,
}

/// Writes batches of random sizes, cuts the power in the middle of one, and looks.
fn life(seed: u64, lie: bool) -> Verdict {
    let disk = MemDisk::new();
    let mut back = recovered(&disk);
    if lie {
        disk.lie_about_sync();
    }
    let mut dice = seed;
    let mut below = |bound: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (dice >> 33) % bound
    };
    let mut author = Author::new();
    let mut dumps = vec![author.dump()];
    let mut synced = Zxid::ZERO;
    author.data_len = usize::try_from(below(600)).unwrap();
    // The power goes in one of the calls: a failing call leaves what a write cut short leaves.
    let fatal_call = [
        FaultyCall::Sync,
        FaultyCall::Write,
        FaultyCall::SyncDir,
        FaultyCall::Create,
    ][usize::try_from(below(4)).unwrap()];
    let nth = u32::try_from(1 + below(12)).unwrap();
    disk.fail(fatal_call, nth, std::io::ErrorKind::Other);
    for _ in 0..40 {
        let mut ops = Vec::new();
        for _ in 0..=below(24) {
            ops.push(append(author.write()));
            dumps.push(author.dump());
        }
        if below(5) == 0 {
            ops.push(DiskOp::RollLog);
        }
        let mut done = Vec::new();
        back.log.execute(ops, &mut done);
        if below(2) == 0 {
            while let Some(job) = back.log.background_job() {
                job.run();
            }
        }
        for done in &done {
            if let DiskDone::Synced { zxid, .. } = done {
                synced = zxid.get();
            }
        }
        if matches!(done.last(), Some(DiskDone::Failed(_))) {
            break;
        }
    }
    disk.power_cut(seed);
    disk.heal();
    let Ok(mut back) = try_recover(&disk) else {
        return Verdict::Lost;
    };
    let last = back.log.last_zxid();
    if last < synced {
        return Verdict::Lost;
    }
    let then = &dumps[usize::try_from(last.0).unwrap()];
    assert_eq!(
        &dump(&mut back.tree),
        then,
        "seed {seed}: a tree that never was"
    );
    Verdict::Kept {
        torn: back.torn.is_some(),
    }
}

#[test]
fn a_thousand_power_cuts_lose_nothing_that_was_reported_synced() {
    let mut torn = 0;
    for seed in 0..1000 {
        match life(seed, false) {
            Verdict::Kept { torn: true } => torn += 1,
            Verdict::Kept { torn: false } => {}
            Verdict::Lost => panic!("seed {seed} lost what was reported synced"),
        }
    }
    assert!(torn > 100, "only {torn} cuts tore anything");
}

#[test]
fn a_disk_whose_sync_lies_is_caught_by_the_same_check() {
    let caught = (0..1000).filter(|seed| life(*seed, true) == Verdict::Lost);
    let caught = caught.count();
    assert!(caught > 500, "caught {caught} of 1000");
}

#[test]
fn a_power_cut_while_a_snapshot_is_written_leaves_it_whole_or_not_at_all() {
    let (mut whole, mut absent) = (0, 0);
    for seed in 0..300 {
        let disk = MemDisk::new();
        let mut back = recovered(&disk);
        let mut author = Author::new();
        author.data_len = 900;
        let ops = (0..40)
            .map(|_| append(author.log_create()))
            .chain([DiskOp::RollLog]);
        back.log.execute(ops, &mut Vec::new());
        let call = [
            FaultyCall::Write,
            FaultyCall::Sync,
            FaultyCall::Rename,
            FaultyCall::SyncDir,
        ];
        disk.fail(
            call[usize::try_from(seed % 4).unwrap()],
            1,
            std::io::ErrorKind::Other,
        );
        disk.kill();
        let directories = directories(&disk);
        let failed = write_tree(&directories, author.tree(), &options(&[]).snapshot);
        assert!(failed.is_err());
        disk.heal();
        disk.power_cut(seed);
        let mut back = recovered(&disk);
        assert_eq!(dump(&mut back.tree), author.dump());
        match back.snapshot {
            Zxid::ZERO => absent += 1,
            _ => whole += 1,
        }
    }
    assert!(whole > 10 && absent > 100, "{whole} {absent}");
}

#[test]
fn a_failed_snapshot_leaves_nothing_behind_and_the_log_at_work() {
    let disk = MemDisk::new();
    let directories = directories(&disk);
    let mut back = recover(&directories, &options(&[SMALL])).unwrap();
    let mut author = Author::new();
    execute(&mut back.log, vec![append(author.write())]).unwrap();
    disk.set_capacity(0);
    let failed = write_tree(&directories, author.tree(), &options(&[]).snapshot);
    assert_eq!(failed.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(names(&disk), ["log.1", "snapshot.0"]);
    disk.heal();
    execute(&mut back.log, vec![append(author.write())]).unwrap();
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_written_any_more() {
    for call in [
        FaultyCall::Write,
        FaultyCall::Sync,
        FaultyCall::SyncDir,
        FaultyCall::Create,
    ] {
        let disk = MemDisk::new();
        let mut back = recovered(&disk);
        let mut author = Author::new();
        disk.fail(call, 1, std::io::ErrorKind::Other);
        let failed = execute(&mut back.log, vec![append(author.write())]).unwrap_err();
        assert!(failed.to_string().contains("log"), "{failed}");
        disk.heal();
        // A retry could succeed and prove nothing.
        let mut done = Vec::new();
        back.log
            .execute([append(author.write()), DiskOp::Barrier(1)], &mut done);
        assert!(done.is_empty());
        assert!(back.log.background_job().is_none());
    }
}

#[test]
fn a_full_disk_ends_the_log_with_what_the_system_says() {
    let disk = MemDisk::new();
    let mut back = recovered(&disk);
    let mut author = Author::new();
    author.data_len = 3000;
    disk.set_capacity(40_000);
    let failed = (0..30).find_map(|_| execute(&mut back.log, vec![append(author.write())]).err());
    let why = failed.unwrap().to_string();
    assert!(why.contains("log.1") && why.contains("storage"), "{why}");
}

#[test]
fn one_batch_is_one_sync() {
    let disk = MemDisk::new();
    disk.set_latency(crate::storage::mem_disk::Latency {
        sync: std::time::Duration::from_millis(1),
        write: std::time::Duration::ZERO,
    });
    let mut back = recovered(&disk);
    let mut author = Author::new();
    execute(&mut back.log, vec![append(author.write())]).unwrap();
    let before = disk.elapsed();
    let ops = (0..100).map(|_| append(author.write()));
    let mut done = Vec::new();
    back.log.execute(ops.chain([DiskOp::Barrier(5)]), &mut done);
    assert_eq!((disk.elapsed() - before).as_millis(), 1);
    assert!(
        matches!(
            &done[..],
            [DiskDone::Synced { zxid, generation: 0, .. }, DiskDone::Barrier { number: 5, .. }] if zxid.get() == Zxid(101)
        ),
        "{done:?}"
    );
}

#[test]
fn what_a_failed_sync_left_in_memory_alone_is_written_again() {
    for seed in 0..20 {
        let (disk, _) = written(2);
        let mut author = Author::new();
        (0..2).for_each(|_| drop(author.write()));
        let mut log = recovered(&disk).log;
        // The first sync is that of the new file's header.
        disk.fail(FaultyCall::Sync, 2, std::io::ErrorKind::Other);
        // More than a sector of them: cutting the zeros behind them off writes the last sector again.
        let ops = (0..40).map(|_| append(author.write())).collect();
        assert!(execute(&mut log, ops).is_err());
        disk.heal();
        // The process comes back, finds the records and lets others rely on them; then the power goes.
        let mut back = recovered(&disk).tree;
        let seen = dump(&mut back);
        assert_eq!(seen.last, Zxid(42));
        disk.power_cut(seed);
        assert_eq!(dump(&mut recovered(&disk).tree), seen, "seed {seed}");
    }
}

#[test]
fn an_epoch_that_recovery_has_read_survives_the_next_power_cut() {
    for seed in 0..50 {
        let disk = MemDisk::new();
        let mut log = recovered(&disk).log;
        for kind in [EpochKind::Accepted, EpochKind::Current] {
            let save = |epoch| DiskOp::SaveEpoch {
                kind,
                epoch: Epoch(epoch),
            };
            execute(&mut log, vec![save(3)]).unwrap();
            // The new file has its name, and nobody knows whether the directory has it on the disk.
            disk.fail(FaultyCall::SyncDir, 1, std::io::ErrorKind::Other);
            assert!(execute(&mut log, vec![save(4)]).is_err());
            disk.heal();
            log = recovered(&disk).log;
        }
        let epochs = |back: &Recovered| (back.accepted_epoch, back.current_epoch);
        let seen = epochs(&recovered(&disk));
        assert_eq!(seen, (Some(Epoch(4)), Some(Epoch(4))));
        disk.power_cut(seed);
        assert_eq!(epochs(&recovered(&disk)), seen, "seed {seed}");
    }
}

#[test]
fn a_snapshot_that_recovery_has_used_survives_the_next_power_cut() {
    for seed in 0..50 {
        let (data, log) = (MemDisk::new(), MemDisk::new());
        let back = || {
            data.kill();
            log.kill();
            let [data, log] = [&data, &log].map(|disk| Arc::new(disk.clone()));
            let directories = Directories::on_separate(data, log).unwrap();
            let back = recover(&directories, &options(&[SMALL])).unwrap();
            (directories, back)
        };
        let (directories, mut first) = back();
        let mut author = Author::new();
        execute(&mut first.log, vec![append(author.write())]).unwrap();
        data.fail(FaultyCall::SyncDir, 1, std::io::ErrorKind::Other);
        assert!(write_tree(&directories, author.tree(), &options(&[]).snapshot).is_err());
        data.heal();
        drop(directories);
        assert_eq!(back().1.snapshot, Zxid(1), "the purge may count on it");
        data.power_cut(seed);
        assert_eq!(back().1.snapshot, Zxid(1), "seed {seed}");
    }
}
