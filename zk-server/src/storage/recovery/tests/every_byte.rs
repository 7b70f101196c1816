//! Every place at which a file can end, and every bit in it that can change.

use super::*;
use crate::storage::TornTail;

/// Files, the tree after each record, and where each record ends.
struct Written {
    snapshot: Vec<u8>,
    log: Vec<u8>,
    dumps: Vec<Dump>,
    ends: Vec<usize>,
}

/// A log of about this many bytes in one file, one record per batch.
fn log_of(bytes: usize) -> Written {
    let disk = MemDisk::new();
    let one_file = options(&["preAllocSize=128"]);
    let mut log = recover(&directories(&disk), &one_file).unwrap().log;
    let mut author = Author::new();
    let (mut dumps, mut ends) = (vec![author.dump()], vec![16]);
    while *ends.last().unwrap() < bytes {
        // Shorter and longer than a sector.
        author.data_len = [30, 1500, 700, 2500][dumps.len() % 4];
        let (zxid, record) = match dumps.len() % 2 {
            0 => author.write(),
            _ => author.log_create(),
        };
        ends.push(ends.last().unwrap() + record.len() + 13);
        // No job is run, so that no other file is ready when this one's space is used up.
        log.execute([append((zxid, record))], &mut Vec::new());
        dumps.push(author.dump());
    }
    log.close();
    let log = content(&disk, "log.1");
    assert_eq!(log.len(), *ends.last().unwrap());
    Written {
        snapshot: content(&disk, "snapshot.0"),
        log,
        dumps,
        ends,
    }
}

/// Every offset at which a 64 KiB log can be torn, the rest of it missing or zeros: the exact prefix comes back.
#[test]
fn a_log_torn_at_any_offset_recovers_the_exact_prefix() {
    let Written {
        snapshot,
        log,
        dumps,
        ends,
    } = log_of(64 << 10);
    let mut whole = 0;
    for cut in 16..=log.len() {
        if ends.get(whole + 1) == Some(&cut) {
            whole += 1;
        }
        let torn = cut > ends[whole] + 4;
        let near_an_end = cut.abs_diff(ends[whole]) < 20;
        // Missing or zeros, in turns; both where it matters most.
        for zeros in [0, 700]
            .into_iter()
            .filter(|n| near_an_end || (*n == 0) == (cut % 2 == 0))
        {
            // Where a dump of every prefix would take long, some are enough: digests compare all nodes.
            let mut file = log[..cut].to_vec();
            file.resize(cut + zeros, 0);
            let disk = disk_of(&[("snapshot.0", &snapshot), ("log.1", &file)]);
            let mut back = recovered(&disk);
            assert_eq!(back.log.last_zxid(), dumps[whole].last, "cut at {cut}");
            assert_eq!(back.tree.digest(), dumps[whole].digest);
            if cut % 97 == 0 || cut == ends[whole] {
                assert_eq!(dump(&mut back.tree), dumps[whole]);
            }
            let last_byte = log[..cut].iter().rposition(|byte| *byte != 0).unwrap() + 1;
            let expected = (torn && last_byte > ends[whole]).then(|| TornTail {
                file: "version-2/log.1".to_owned(),
                offset: ends[whole] as u64,
                bytes: (last_byte - ends[whole]) as u64,
            });
            assert_eq!(back.torn, expected);
            if whole > 0 {
                assert_eq!(content(&disk, "log.1"), log[..ends[whole]]);
            }
        }
    }
    assert_eq!(whole + 1, dumps.len());
}

/// What became of a log with one bit flipped.
#[derive(Debug, Default)]
struct Outcomes {
    refused: usize,
    cut: usize,
    unharmed: usize,
}

#[test]
fn any_bit_of_a_log_may_flip_without_a_loss_that_nobody_is_told_of() {
    let Written {
        snapshot,
        log,
        dumps,
        ends,
    } = log_of(16 << 10);
    let last_record = ends[ends.len() - 2];
    let mut outcomes = Outcomes::default();
    for bit in 0..log.len() * 8 {
        let mut file = log.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        let disk = disk_of(&[("snapshot.0", &snapshot), ("log.1", &file)]);
        match try_recover(&disk) {
            Err(fatal) => {
                let why = fatal.to_string();
                assert!(why.contains("log.1") && why.contains("restore"), "{why}");
                outcomes.refused += 1;
            }
            Ok(mut back) => match &back.torn {
                Some(torn) => {
                    assert_eq!(torn.offset, last_record as u64, "bit {bit}");
                    assert!(bit / 8 >= last_record, "bit {bit}");
                    assert_eq!(dump(&mut back.tree), dumps[dumps.len() - 2]);
                    outcomes.cut += 1;
                }
                None => {
                    assert_eq!(dump(&mut back.tree), dumps[dumps.len() - 1], "bit {bit}");
                    outcomes.unharmed += 1;
                }
            },
        }
    }
    // The eight bytes of dbid in the header mean nothing.
    assert_eq!(outcomes.unharmed, 64, "{outcomes:?}");
    assert_eq!(outcomes.cut, (log.len() - last_record) * 8);
}

#[test]
fn any_bit_of_a_snapshot_may_flip_and_the_older_one_and_the_log_make_up_for_it() {
    let Written {
        snapshot,
        log,
        dumps,
        ..
    } = log_of(24 << 10);
    let newest = dumps.last().unwrap();
    let disk = disk_of(&[("snapshot.0", &snapshot), ("log.1", &log)]);
    let mut tree = recovered(&disk).tree;
    disk.kill();
    let directories = directories(&disk);
    crate::storage::snapshot::write_tree(&directories, &mut tree, &options(&[]).snapshot).unwrap();
    let name = crate::storage::layout::snapshot_name(newest.last);
    let good = content(&disk, &name);
    assert!(good.len() > 16 << 10, "{}", good.len());
    let (mut alone_refused, mut with_log) = (0, 0);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let alone = disk_of(&[(&name, &bad)]);
        match try_recover(&alone) {
            Err(_) => alone_refused += 1,
            Ok(mut back) => assert_eq!(&dump(&mut back.tree), newest, "bit {bit}"),
        }
        if bit % 31 == 0 {
            let files: [(&str, &[u8]); 3] =
                [(&name, &bad), ("snapshot.0", &snapshot), ("log.1", &log)];
            let mut back = recovered(&disk_of(&files));
            assert_eq!(&dump(&mut back.tree), newest, "bit {bit}");
            with_log += 1;
        }
    }
    assert_eq!(
        alone_refused,
        good.len() * 8,
        "no bit of a snapshot is free"
    );
    assert!(with_log > 1000);
}
