//! The log, read back.

use super::*;
use crate::storage::{SnapshotOptions, read_history, snapshot::write_tree};

/// The zxids of what is read back, and `None` where nothing is told.
fn read(disk: &MemDisk, from: i64, limit: Option<u64>) -> Option<Vec<i64>> {
    let directories = Directories::on(Arc::new(disk.clone())).unwrap();
    let records = read_history(&directories, Zxid(from), limit, || true).unwrap()?;
    Some(records.iter().map(|(zxid, _)| zxid.0).collect())
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
        let expected: Vec<_> = (from.max(1)..=12).collect();
        assert_eq!(read(&disk, from, None), Some(expected), "from {from}");
    }
    assert_eq!(read(&disk, 99, None), Some(vec![12]));
    let directories = Directories::on(Arc::new(disk.clone())).unwrap();
    let whole = read_history(&directories, Zxid(1), None, || true)
        .unwrap()
        .unwrap();
    let bytes = whole.iter().map(|(_, entry)| entry.len() as u64).sum();
    let mut left = 5;
    let ended = read_history(&directories, Zxid(1), None, || {
        left -= 1;
        left > 0
    });
    assert_eq!(ended.unwrap(), None, "nobody waits for it any more");
    assert_eq!(left, 0, "and it is read no further");
    drop(directories);
    assert_eq!(read(&disk, 1, Some(bytes)).map(|all| all.len()), Some(12));
    assert_eq!(read(&disk, 1, Some(bytes - 1)), None);
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
    assert_eq!(read(&disk, 3, None), None, "5 to 9 are in no file");
    assert_eq!(read(&disk, 10, None), Some(vec![10]));
}

#[test]
fn a_torn_end_is_an_end_and_no_log_is_nothing() {
    let (disk, _) = written(3);
    let directories = Directories::on(Arc::new(disk.clone())).unwrap();
    let mut file = directories.logs.open("log.1").unwrap();
    let len = file.file_len().unwrap();
    file.set_len(len - 3).unwrap();
    drop((file, directories));
    assert_eq!(read(&disk, 1, None), Some(vec![1, 2]));
    let empty = MemDisk::new();
    recovered(&empty);
    assert_eq!(read(&empty, 0, None), None);
}
