//! Damage in logs that are not the last, holes, and what Apache leaves behind.

use super::*;
use crate::storage::layout::log_name;

/// Five logs of six records each; what each of them holds, and the tree at the end.
pub(super) fn five_logs() -> (Vec<(String, Vec<u8>)>, Dump) {
    let disk = MemDisk::new();
    let mut log = recovered(&disk).log;
    let mut author = Author::new();
    for _ in 0..5 {
        let mut ops: Vec<_> = (0..6).map(|_| append(author.write())).collect();
        ops.push(DiskOp::RollLog);
        execute(&mut log, ops).unwrap();
    }
    log.close();
    let files = names(&disk).into_iter();
    let files = files.map(|name| (name.clone(), content(&disk, &name)));
    (files.collect(), author.dump())
}

fn with(files: &[(String, Vec<u8>)], change: impl Fn(&mut Vec<(String, Vec<u8>)>)) -> MemDisk {
    let mut files = files.to_vec();
    change(&mut files);
    let files: Vec<_> = files
        .iter()
        .map(|(n, b)| (n.as_str(), b.as_slice()))
        .collect();
    disk_of(&files)
}

fn file<'a>(files: &'a mut [(String, Vec<u8>)], name: &str) -> &'a mut Vec<u8> {
    &mut files.iter_mut().find(|(n, _)| n == name).unwrap().1
}

fn refusal(disk: &MemDisk) -> String {
    try_recover(disk).map(drop).unwrap_err().to_string()
}

#[test]
fn a_missing_log_is_a_hole_that_is_refused() {
    let (files, dump_of_all) = five_logs();
    let mut whole = recovered(&with(&files, |_| {}));
    assert_eq!(dump(&mut whole.tree), dump_of_all);
    for n in 0..4 {
        let name = log_name(Zxid(n * 6 + 1));
        let why = refusal(&with(&files, |files| files.retain(|(n, _)| *n != name)));
        assert!(why.contains("missing"), "{why}");
    }
}

#[test]
fn damage_in_any_log_but_the_last_is_refused_even_in_its_last_record() {
    let (files, _) = five_logs();
    for n in 0..4 {
        let name = log_name(Zxid(n * 6 + 1));
        for from_end in [10, 90, 300] {
            let why = refusal(&with(&files, |files| {
                let log = file(files, &name);
                let at = log.len() - from_end;
                log[at] ^= 1;
            }));
            assert!(why.contains(&name) && why.contains("restore"), "{why}");
        }
        let why = refusal(&with(&files, |files| {
            let log = file(files, &name);
            log.truncate(log.len() - 3);
        }));
        assert!(why.contains(&name), "{why}");
    }
}

#[test]
fn a_torn_write_that_the_next_log_goes_on_after_lost_nothing() {
    let (files, dump_of_all) = five_logs();
    // Apache leaves such an end where it is.
    let disk = with(&files, |files| {
        let next = file(files, "log.7")[16..60].to_vec();
        let log = file(files, "log.1");
        log.extend(next);
        log.resize(4096, 0);
    });
    let mut back = recovered(&disk);
    assert_eq!(dump(&mut back.tree), dump_of_all);
    assert_eq!(back.torn, None);
}

#[test]
fn a_snapshot_in_between_makes_earlier_logs_unnecessary() {
    let (files, dump_of_all) = five_logs();
    let disk = with(&files, |files| files.truncate(3));
    assert_eq!(
        names(&disk),
        ["log.1", "log.13", "log.19"],
        "in the order of names"
    );
    let disk = with(&files, |_| {});
    let mut author = Author::new();
    (0..12).for_each(|_| drop(author.write()));
    disk.kill();
    crate::storage::snapshot::write_tree(
        &directories(&disk),
        author.tree(),
        &options(&[]).snapshot,
    )
    .unwrap();
    for gone in ["log.1", "snapshot.0", "log.7"] {
        version(&disk).remove(gone).unwrap();
    }
    assert_eq!(dump(&mut recovered(&disk).tree), dump_of_all);
    // Without the snapshot's own log, the records after it are a hole.
    version(&disk).remove("log.d").unwrap();
    assert!(refusal(&disk).contains("missing"));
}

#[test]
fn a_damaged_snapshot_that_the_log_does_not_reach_is_refused() {
    let (files, _) = five_logs();
    let disk = with(&files, |_| {});
    let mut author = Author::new();
    (0..30).for_each(|_| drop(author.write()));
    disk.kill();
    crate::storage::snapshot::write_tree(
        &directories(&disk),
        author.tree(),
        &options(&[]).snapshot,
    )
    .unwrap();
    disk.rot("version-2/snapshot.1e", 40, 1).unwrap();
    recovered(&disk);
    version(&disk).remove("log.19").unwrap();
    let why = refusal(&disk);
    assert!(
        why.contains("snapshot.1e") && why.contains("data is missing"),
        "{why}"
    );
}

#[test]
fn a_new_epoch_follows_any_record_of_the_old_one() {
    let disk = MemDisk::new();
    let mut log = recovered(&disk).log;
    let mut author = Author::new();
    for _ in 0..3 {
        let ops = (0..4).map(|_| append(author.log_create())).collect();
        execute(&mut log, ops).unwrap();
        author.elect();
    }
    let mut back = recovered(&disk);
    assert_eq!(dump(&mut back.tree), author.dump());
    assert_eq!(back.log.last_zxid(), Zxid(0x2_0000_0004));
}

#[test]
fn a_value_that_is_the_image_of_a_record_does_not_stop_recovery() {
    // A client stores the bytes of old records; then the write that stores them is torn.
    let (files, _) = five_logs();
    let image = files.iter().find(|(name, _)| name == "log.1").unwrap().1[16..].to_vec();
    let disk = with(&files, |_| {});
    let mut back = recovered(&disk);
    let mut author = Author::after(back.tree);
    let before = author.dump();
    let txn = zk_proto::txn::Txn::SetData(zk_proto::txn::SetDataTxn {
        path: "/".into(),
        data: Some(image.into()),
        version: 1,
    });
    let (zxid, record) = author.log(txn);
    execute(&mut back.log, vec![append((zxid, record))]).unwrap();
    back.log.close();
    let name = log_name(zxid);
    let len = content(&disk, &name).len() as u64;
    disk.kill();
    let mut file = version(&disk).open(&name).unwrap();
    file.set_len(len - 2).unwrap();
    let mut back = recovered(&disk);
    assert!(back.torn.is_some());
    assert_eq!(dump(&mut back.tree), before);
}

#[test]
fn an_epoch_whose_beginning_is_missing_is_refused() {
    let disk = MemDisk::new();
    let mut log = recovered(&disk).log;
    let mut author = Author::new();
    for _ in 0..3 {
        for _ in 0..2 {
            let mut ops: Vec<_> = (0..2).map(|_| append(author.log_create())).collect();
            ops.push(DiskOp::RollLog);
            execute(&mut log, ops).unwrap();
        }
        author.elect();
    }
    log.close();
    let files: Vec<_> = names(&disk)
        .into_iter()
        .map(|name| (name.clone(), content(&disk, &name)))
        .collect();
    let mut whole = recovered(&with(&files, |_| {}));
    assert_eq!(dump(&mut whole.tree), author.dump());
    for epoch in 1..3 {
        let name = log_name(Zxid((epoch << 32) + 1));
        let why = refusal(&with(&files, |files| files.retain(|(n, _)| *n != name)));
        assert!(why.contains("missing"), "{why}");
    }
}

#[test]
fn more_than_any_write_leaves_is_no_torn_write() {
    let (disk, _) = written(6);
    let name = log_name(Zxid(1));
    let mut log = version(&disk).open(&name).unwrap();
    let end = log.file_len().unwrap();
    log.write_at(end, &vec![0xff; 66 << 20]).unwrap();
    let why = refusal(&disk);
    assert!(why.contains(&name) && why.contains("more than"), "{why}");
}

#[test]
fn a_header_torn_at_any_offset_is_a_file_without_a_record() {
    let (whole, _) = written(1);
    let header = content(&whole, "log.1")[..16].to_vec();
    for len in 0..=header.len() {
        let (disk, dumps) = written(2);
        put(&disk, "log.3", &header[..len]);
        let mut back = recovered(&disk);
        assert_eq!(dump(&mut back.tree), dumps[2], "{len} bytes");
        assert!(!names(&disk).contains(&"log.3".to_owned()), "{len} bytes");
    }
    for other in [&b"Y"[..], b"ZKSN", b"ZKLF\0\0\0\x02"] {
        let (disk, _) = written(2);
        put(&disk, "log.3", other);
        assert!(refusal(&disk).contains("log.3 is damaged"));
    }
}
