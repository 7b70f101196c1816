//! The log, read back.

use zk_proto::txn::{SetDataTxn, Txn};

use super::*;
use crate::{
    reconfig::Configuration,
    storage::{
        HistoryPieces, SnapshotOptions, snapshot::write_tree, survey_history, txn_log::LogReader,
    },
};

/// Any two records may follow each other.
const ANY: fn(Zxid, Zxid) -> bool = |_, _| true;
const NEXT: fn(Zxid, Zxid) -> bool = |before, after| after.0 == before.0 + 1;

/// The first and the last zxid of what is there, and `None` where it is of no use.
fn survey(disk: &MemDisk, from: i64, limit: Option<u64>) -> Option<(i64, i64)> {
    let directories = Directories::on(Arc::new(disk.clone())).unwrap();
    let span = survey_history(&directories, Zxid(from), limit, ANY, || true).unwrap();
    span.map(|(first, last)| (first.0, last.0))
}

/// The zxids of what is read back in pieces of about so many bytes, and of how many bytes the largest piece was.
fn pieces(disk: &MemDisk, after: i64, until: i64, about: usize) -> (Vec<Vec<i64>>, usize) {
    let directories = Directories::on(Arc::new(disk.clone())).unwrap();
    let mut history = HistoryPieces::open(&directories, Zxid(after), Zxid(until), NEXT).unwrap();
    let (mut zxids, mut most) = (Vec::new(), 0);
    while let Some(piece) = history.next_piece(about).unwrap() {
        zxids.push(piece.iter().map(|(zxid, _)| zxid.0).collect());
        most = most.max(piece.iter().map(|(_, entry)| entry.len()).sum());
    }
    (zxids, most)
}

#[test]
fn it_begins_with_the_last_record_that_is_not_later_in_whatever_file_that_is() {
    let disk = MemDisk::new();
    let mut author = Author::new();
    let mut written = Vec::new();
    for _ in 0..3 {
        let mut back = recovered(&disk);
        for _ in 0..4 {
            let op = author.write();
            written.push(op.clone());
            execute(&mut back.log, vec![append(op)]).unwrap();
        }
    }
    assert_eq!(names(&disk), ["log.1", "log.5", "log.9", "snapshot.0"]);
    for from in 0..=12 {
        let expected = (from.max(1), 12);
        assert_eq!(survey(&disk, from, None), Some(expected), "from {from}");
    }
    assert_eq!(survey(&disk, 99, None), Some((12, 12)));
    let (_, bytes) = pieces(&disk, 0, 12, usize::MAX);
    let bytes = bytes as u64;
    let directories = Directories::on(Arc::new(disk.clone())).unwrap();
    let mut left = 5;
    let ended = survey_history(&directories, Zxid(1), None, NEXT, || {
        left -= 1;
        left > 0
    });
    assert_eq!(ended.unwrap(), None, "nobody waits for it any more");
    assert_eq!(left, 0, "and it is read no further");
    let odd: fn(Zxid, Zxid) -> bool = |_, after| after.0 != 7;
    let gap = survey_history(&directories, Zxid(1), None, odd, || true);
    assert_eq!(gap.unwrap(), None, "7 does not follow 6");
    drop(directories);
    assert_eq!(survey(&disk, 1, Some(bytes)), Some((1, 12)));
    assert_eq!(survey(&disk, 1, Some(bytes - 1)), None);
}

#[test]
fn it_comes_in_pieces_across_files_and_none_is_longer_than_asked_for_and_a_record() {
    let disk = MemDisk::new();
    let (mut author, mut longest) = (Author::new(), 0);
    for _ in 0..3 {
        let mut back = recovered(&disk);
        for _ in 0..20 {
            let op = author.write();
            execute(&mut back.log, vec![append(op)]).unwrap();
        }
    }
    for zxid in 1..=60 {
        longest = longest.max(pieces(&disk, zxid - 1, zxid, 1).1);
    }
    for about in [1, 200, 1000, usize::MAX] {
        for (after, until) in [(0, 60), (1, 60), (19, 21), (20, 41), (33, 59), (60, 60)] {
            let (found, most) = pieces(&disk, after, until, about);
            let expected: Vec<_> = (after + 1..=until).collect();
            assert_eq!(
                found.concat(),
                expected,
                "{about} bytes of {after} to {until}"
            );
            assert!(found.iter().all(|piece| !piece.is_empty()));
            assert!(most < about.saturating_add(longest), "{most} of {about}");
        }
    }
}

#[test]
fn what_was_purged_meanwhile_is_an_error_and_no_gap() {
    let disk = MemDisk::new();
    let mut author = Author::new();
    for _ in 0..3 {
        let mut back = recovered(&disk);
        let ops: Vec<_> = (0..4).map(|_| append(author.write())).collect();
        execute(&mut back.log, ops).unwrap();
    }
    let directories = Directories::on(Arc::new(disk.clone())).unwrap();
    let open = || HistoryPieces::open(&directories, Zxid(2), Zxid(12), NEXT);
    let mut begun = open().unwrap();
    assert_eq!(begun.next_piece(1).unwrap().unwrap()[0].0, Zxid(3));
    for name in ["log.1", "log.5"] {
        directories.logs.remove(name).unwrap();
    }
    assert!(open().is_err(), "3 and 4 are gone");
    let mut rest = std::iter::from_fn(|| begun.next_piece(1).transpose());
    assert!(rest.any(|piece| piece.is_err()), "5 to 8 are gone");
}

#[test]
fn what_can_be_read_no_more_is_an_error_and_no_gap() {
    let disk = MemDisk::new();
    let mut author = Author::new();
    for _ in 0..3 {
        let mut back = recovered(&disk);
        let ops: Vec<_> = (0..4).map(|_| append(author.write())).collect();
        execute(&mut back.log, ops).unwrap();
    }
    assert_eq!(survey(&disk, 1, None), Some((1, 12)));
    let directories = Directories::on(Arc::new(disk.clone())).unwrap();
    let mut log = LogReader::open(&*directories.logs, "log.5").unwrap();
    let mut records = std::iter::from_fn(|| log.next_record().unwrap());
    let seventh = records.nth(2).unwrap().offset;
    disk.rot("version-2/log.5", seventh + 20, 1).unwrap();
    let mut history = HistoryPieces::open(&directories, Zxid(1), Zxid(12), NEXT).unwrap();
    let mut read = Vec::new();
    let failed = loop {
        match history.next_piece(1) {
            Ok(Some(piece)) => read.push(piece[0].0.0),
            Ok(None) => panic!("7 and 8 are missing in {read:?}"),
            Err(failed) => break failed.to_string(),
        }
    };
    assert_eq!(read, [2, 3, 4, 5, 6]);
    assert!(failed.contains("the log goes from"), "{failed}");
}

#[test]
fn a_log_that_has_become_shorter_is_an_error_and_no_end() {
    let (disk, _) = written(4);
    let directories = Directories::on(Arc::new(disk.clone())).unwrap();
    let mut history = HistoryPieces::open(&directories, Zxid(1), Zxid(5), NEXT).unwrap();
    let piece = history.next_piece(usize::MAX).unwrap();
    assert_eq!(piece.map(|piece| piece.len()), Some(3));
    assert!(history.next_piece(usize::MAX).is_err(), "5 is missing");
}

#[test]
fn nothing_is_told_across_a_snapshot_that_jumped_over_history() {
    let (disk, _) = written(4);
    let back = recovered(&disk);
    let mut tree = back.tree;
    tree.set_last_zxid(Zxid(9));
    drop(back.log);
    let directories = Directories::on(Arc::new(disk.clone())).unwrap();
    let options = SnapshotOptions {
        digest: false,
        last_processed: true,
    };
    write_tree(&directories, &mut tree, &options).unwrap();
    drop(directories);
    let mut back = recovered(&disk);
    let mut author = Author::new();
    for _ in 0..9 {
        author.write();
    }
    execute(&mut back.log, vec![append(author.write())]).unwrap();
    drop(back);
    assert_eq!(names(&disk).first().map(String::as_str), Some("log.1"));
    assert_eq!(survey(&disk, 3, None), None, "5 to 9 are in no file");
    assert_eq!(survey(&disk, 10, None), Some((10, 10)));
}

#[test]
fn a_torn_end_is_an_end_and_no_log_is_nothing() {
    let (disk, _) = written(3);
    let directories = Directories::on(Arc::new(disk.clone())).unwrap();
    let mut file = directories.logs.open("log.1").unwrap();
    let len = file.file_len().unwrap();
    file.set_len(len - 3).unwrap();
    drop((file, directories));
    assert_eq!(survey(&disk, 1, None), Some((1, 2)));
    assert_eq!(pieces(&disk, 0, 2, 1).0.concat(), [1, 2]);
    let empty = MemDisk::new();
    recovered(&empty);
    assert_eq!(survey(&empty, 0, None), None);
}

/// The files of a member may tell of an older configuration than its log, by more than one: all of them count.
#[test]
fn every_configuration_that_the_log_passes_is_found() {
    let disk = MemDisk::new();
    let mut back = recovered(&disk);
    assert!(back.configurations.is_empty());
    let mut author = Author::new();
    let mut expected = Vec::new();
    let mut after = Zxid::ZERO;
    for ids in [&[1, 2, 3][..], &[1, 2], &[1, 2, 4, 5]] {
        execute(&mut back.log, vec![append(author.log_create())]).unwrap();
        let lines = ids.iter().map(|id| format!("server.{id}=h{id}:1:2;3\n"));
        let version = author.zxid().successor().unwrap();
        let text = lines.collect::<String>() + &format!("version={:x}", version.0);
        let txn = Txn::Reconfig(SetDataTxn {
            path: "/zookeeper/config".into(),
            data: Some(text.clone().into()),
            version: -1,
        });
        execute(&mut back.log, vec![append(author.log(txn))]).unwrap();
        expected.push((Configuration::parse(&text).unwrap(), Some(after)));
        after = version;
    }
    execute(&mut back.log, vec![append(author.log_create())]).unwrap();
    back.log.close();
    let found = |back: &Recovered| -> Vec<_> {
        let all = back.configurations.iter();
        all.map(|logged| (logged.configuration.clone(), logged.after))
            .collect()
    };
    let back = recovered(&disk);
    assert_eq!(found(&back), expected);
    // Behind a snapshot, nobody knows what was before the one in it.
    drop(back);
    let directories = directories(&disk);
    let snapshot = SnapshotOptions::of(&Config::default());
    write_tree(&directories, author.tree(), &snapshot).unwrap();
    drop(directories);
    assert_eq!(found(&recovered(&disk)), [(expected[2].0.clone(), None)]);
}
