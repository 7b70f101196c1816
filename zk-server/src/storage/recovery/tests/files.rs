//! Which files are used, made and removed.

use zk_proto::{Zxid, persist::FileHeader};

use super::{damage::five_logs, *};
use crate::storage::{
    EpochKind, SnapshotOptions, mem_disk::FaultyCall, purge, snapshot::write_tree,
};
use zk_proto::Epoch;

#[test]
fn a_fresh_directory_gets_a_snapshot_and_nothing_else() {
    let disk = MemDisk::new();
    let mut first = recovered(&disk);
    assert_eq!(names(&disk), ["snapshot.0"]);
    assert_eq!(dump(&mut first.tree), Author::new().dump());
    assert_eq!(first.torn, None);
    disk.power_cut(3);
    assert_eq!(names(&disk), ["snapshot.0"], "it is durable at once");
    assert_eq!(dump(&mut recovered(&disk).tree), Author::new().dump());
}

#[test]
fn what_was_written_comes_back_in_as_many_lives_as_it_took() {
    let disk = MemDisk::new();
    let mut author = Author::new();
    for life in 0..5 {
        let mut back = recovered(&disk);
        assert_eq!(dump(&mut back.tree), author.dump(), "life {life}");
        assert_eq!(back.txns_since_snapshot, life * 9);
        assert_eq!(back.digest_mismatch, None);
        for _ in 0..9 {
            execute(&mut back.log, vec![append(author.write())]).unwrap();
        }
        assert_eq!(back.log.last_zxid(), author.dump().last);
    }
    assert_eq!(
        names(&disk),
        ["log.1", "log.13", "log.1c", "log.25", "log.a", "snapshot.0"]
    );
}

#[test]
fn a_life_without_a_write_leaves_no_log() {
    let (disk, dumps) = written(3);
    for _ in 0..3 {
        recovered(&disk).log.close();
    }
    assert_eq!(names(&disk), ["log.1", "snapshot.0"]);
    assert_eq!(dump(&mut recovered(&disk).tree), dumps[3]);
}

#[test]
fn a_snapshot_spares_the_log_before_it() {
    let disk = MemDisk::new();
    let mut back = recovered(&disk);
    let mut author = Author::new();
    for round in 0..4 {
        for _ in 0..10 {
            execute(&mut back.log, vec![append(author.write())]).unwrap();
        }
        execute(&mut back.log, vec![DiskOp::RollLog]).unwrap();
        let options = SnapshotOptions {
            digest: round % 2 == 0,
            last_processed: round < 2,
        };
        write_tree(&directories_again(&disk), author.tree(), &options).unwrap();
    }
    let last = append(author.write());
    execute(&mut back.log, vec![last]).unwrap();
    let back = &mut recovered(&disk);
    assert_eq!(dump(&mut back.tree), author.dump());
    assert_eq!((back.snapshot, back.txns_since_snapshot), (Zxid(40), 1));

    let purged = purge(&directories_again(&disk), 3).unwrap();
    assert_eq!(purged.files, ["log.1", "snapshot.0", "snapshot.a"]);
    assert_eq!(dump(&mut recovered(&disk).tree), author.dump());
}

/// The directories without their lock: for a second hand of the same process.
fn directories_again(disk: &MemDisk) -> Directories {
    disk.kill();
    directories(disk)
}

#[test]
fn logs_without_any_snapshot_are_refused_unless_that_is_trusted() {
    let (disk, dumps) = written(4);
    version(&disk).remove("snapshot.0").unwrap();
    let refused = try_recover(&disk).map(drop).unwrap_err().to_string();
    assert!(refused.contains("snapshot.trust.empty"), "{refused}");
    disk.kill();
    let trusting = options(&["snapshot.trust.empty=true", SMALL]);
    let mut back = recover(&directories(&disk), &trusting).unwrap();
    assert_eq!(dump(&mut back.tree), dumps[4]);
}

#[test]
fn an_empty_directory_must_be_meant_to_be_one_when_that_is_asked_for() {
    let disk = MemDisk::new();
    let careful = options(&["db.autocreate=false"]);
    let try_it = || {
        disk.kill();
        recover(&directories(&disk), &careful).map(drop)
    };
    assert!(try_it().unwrap_err().to_string().contains("initialize"));
    disk.create("initialize", crate::storage::Access::Default)
        .unwrap();
    try_it().unwrap();
    assert!(disk.open("initialize").is_err(), "it serves once");
    try_it().unwrap();
}

#[test]
fn leftovers_of_an_earlier_process_are_removed() {
    let (disk, dumps) = written(4);
    put(&disk, "prepared.7.log", &[0; 100]);
    put(&disk, "snapshot.4.tmp", b"half");
    put(&disk, "log.5", b"");
    put(&disk, "unrelated.tmp", b"");
    assert_eq!(dump(&mut recovered(&disk).tree), dumps[4]);
    assert_eq!(names(&disk), ["log.1", "snapshot.0", "unrelated.tmp"]);
}

#[test]
fn a_leftover_that_goes_by_itself_is_no_matter() {
    let (disk, dumps) = written(4);
    put(&disk, "prepared.7.log", &[0; 100]);
    disk.fail(FaultyCall::Remove, 1, std::io::ErrorKind::NotFound);
    assert_eq!(dump(&mut recovered(&disk).tree), dumps[4]);
    disk.fail(FaultyCall::Remove, 1, std::io::ErrorKind::Other);
    assert!(try_recover(&disk).is_err());
}

#[test]
fn epochs_come_back() {
    let disk = MemDisk::new();
    let mut back = recovered(&disk);
    assert_eq!((back.current_epoch, back.accepted_epoch), (None, None));
    let save = |kind, epoch| DiskOp::SaveEpoch {
        kind,
        epoch: Epoch(epoch),
    };
    let ops = vec![save(EpochKind::Accepted, 4), save(EpochKind::Current, 3)];
    execute(&mut back.log, ops).unwrap();
    disk.power_cut(1);
    let back = recovered(&disk);
    assert_eq!(back.current_epoch, Some(Epoch(3)));
    assert_eq!(back.accepted_epoch, Some(Epoch(4)));
}

#[test]
fn a_truncated_log_goes_on_from_where_it_was_cut() {
    for to in [0_usize, 1, 7, 11, 20] {
        let disk = MemDisk::new();
        let mut log = recovered(&disk).log;
        let mut author = Author::new();
        let mut dumps = vec![author.dump()];
        for n in 0..20 {
            let mut ops = vec![append(author.write())];
            ops.extend((n % 6 == 5).then_some(DiskOp::RollLog));
            execute(&mut log, ops).unwrap();
            dumps.push(author.dump());
        }
        let to_zxid = Zxid(to as i64);
        let mut done = Vec::new();
        log.execute([DiskOp::Truncate { to: to_zxid }], &mut done);
        assert!(
            matches!(&done[..], [DiskDone::Truncated { generation: 1, to }] if to.get() == to_zxid),
            "{done:?}"
        );
        disk.power_cut(to as u64);
        let mut back = recovered(&disk);
        assert_eq!(dump(&mut back.tree), dumps[to]);
        let mut author = Author::after(back.tree);
        execute(&mut back.log, vec![append(author.write())]).unwrap();
        assert_eq!(dump(&mut recovered(&disk).tree), author.dump());
    }
}

/// Apache leaves a write that was cut short where it is, and goes on in the next file.
#[test]
fn a_log_is_truncated_to_the_last_record_before_a_torn_write() {
    let (files, _) = five_logs();
    let torn = |whole: &[u8], next: &[u8]| {
        let record = &next[FileHeader::LEN..];
        [whole, &record[..50]].concat()
    };
    for to in 6..13 {
        let mut files = files.clone();
        files.retain(|(name, _)| !["log.13", "log.19"].contains(&name.as_str()));
        let at = |name: &str| files.iter().position(|(n, _)| n == name).unwrap();
        let (first, second) = (at("log.1"), at("log.7"));
        files[first].1 = torn(&files[first].1, &files[second].1);
        let all: Vec<_> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
        let disk = disk_of(&all);
        let mut back = recovered(&disk);
        assert_eq!(back.tree.last_zxid(), Zxid(18));
        let mut done = Vec::new();
        back.log
            .execute([DiskOp::Truncate { to: Zxid(to) }], &mut done);
        assert!(
            matches!(&done[..], [DiskDone::Truncated { to: kept, .. }] if kept.get() == Zxid(to)),
            "{to}: {done:?}"
        );
        drop(back);
        assert_eq!(recovered(&disk).tree.last_zxid(), Zxid(to));
    }
}

#[test]
fn large_batches_roll_into_prepared_files() {
    let disk = MemDisk::new();
    disk.kill();
    let mut back = recover(&directories(&disk), &options(&["preAllocSize=2048"])).unwrap();
    let mut author = Author::new();
    author.data_len = 50_000;
    for _ in 0..20 {
        let batch = (0..10).map(|_| append(author.write())).collect();
        execute(&mut back.log, batch).unwrap();
    }
    let files = names(&disk);
    assert!(files.iter().filter(|name| name.starts_with("log.")).count() > 2);
    let prepared = |files: &[String]| files.iter().any(|name| name.starts_with("prepared."));
    assert!(prepared(&files));
    back.log.close();
    assert!(!prepared(&names(&disk)));
    let mut again = recovered(&disk);
    assert_eq!(again.txns_since_snapshot, 200);
    assert_eq!(dump(&mut again.tree), author.dump());
}

#[test]
fn zeros_ahead_of_need_follow_what_snapshots_are_apart() {
    let disk = MemDisk::new();
    disk.kill();
    let mut back = recover(&directories(&disk), &options(&["preAllocSize=65536"])).unwrap();
    let mut author = Author::new();
    author.data_len = 60_000;
    let (mut used, mut zeros, mut prepared) = (0, 0, Vec::new());
    for span in 0..3 {
        let before: u64 = lens(&disk, "log.").iter().sum();
        for _ in 0..25 {
            let batch = (0..6).map(|_| append(author.log_create())).collect();
            execute(&mut back.log, batch).unwrap();
            prepared.extend(lens(&disk, "prepared."));
        }
        let written: u64 = lens(&disk, "log.").iter().sum();
        execute(&mut back.log, vec![DiskOp::RollLog]).unwrap();
        let kept: u64 = lens(&disk, "log.").iter().sum();
        if span > 0 {
            used += kept - before;
            zeros += written - before;
        }
    }
    let quarter = 2 << 20..3 << 20;
    assert!(quarter.contains(prepared.iter().max().unwrap()));
    assert!(
        used > 16 << 20 && zeros < used * 5 / 4,
        "{zeros} for {used}"
    );
}

fn lens(disk: &MemDisk, prefix: &str) -> Vec<u64> {
    let files = version(disk).list().unwrap().into_iter();
    let of_kind = files.filter(|file| file.name.starts_with(prefix));
    of_kind.map(|file| file.len).collect()
}

#[test]
fn a_job_that_outlives_its_server_does_nothing() {
    let disk = MemDisk::new();
    let mut back = recovered(&disk);
    let mut author = Author::new();
    author.data_len = 9000;
    let mut done = Vec::new();
    back.log
        .execute((0..4).map(|_| append(author.write())), &mut done);
    let job = back.log.background_job().expect("the file is nearly full");
    drop(back);
    job.run();
    assert_eq!(names(&disk), ["log.1", "snapshot.0"]);
}
