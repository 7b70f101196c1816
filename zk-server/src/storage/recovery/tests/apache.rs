//! A data directory that Apache ZooKeeper 3.9.5 wrote.

use super::*;

const LOG_1: &[u8] = include_bytes!("../../../../../zk-proto/testdata/disk/log.1");
const LOG_41: &[u8] = include_bytes!("../../../../../zk-proto/testdata/disk/log.41");
const SNAPSHOT_0: &[u8] = include_bytes!("../../../../../zk-proto/testdata/disk/snapshot.0");
const SNAPSHOT_40: &[u8] = include_bytes!("../../../../../zk-proto/testdata/disk/snapshot.40");
/// What a client of Apache's server saw.
const EXPECTED: &str = include_str!("../../../../../zk-proto/testdata/disk/expected.txt");

/// The tree in the form of the file.
fn lines(tree: &DataTree, paths: impl Iterator<Item = String>) -> Vec<String> {
    let line = |path: String| {
        let node = tree.node(&path).unwrap();
        let stat = node.stat();
        let hex = |data: &[u8]| data.iter().map(|byte| format!("{byte:02x}")).collect();
        let data: String = node.data().map_or_else(|| "null".to_owned(), hex);
        let acl = node.acl().entries().iter();
        let acl = acl.map(|acl| format!("{}:{}:{}", acl.perms.0, acl.id.scheme, acl.id.id));
        format!(
            "{path}\t{data}\t{} {} {} {} {} {} {} {:x} {}\t{}",
            stat.czxid.0,
            stat.mzxid.0,
            stat.ctime,
            stat.mtime,
            stat.version,
            stat.cversion,
            stat.aversion,
            stat.ephemeral_owner.0,
            stat.pzxid.0,
            acl.collect::<Vec<_>>().join(",")
        )
    };
    paths.map(line).collect()
}

fn check(files: &[(&str, &[u8])], snapshot: i64) {
    let disk = disk_of(files);
    let back = recovered(&disk);
    assert_eq!(back.snapshot, Zxid(snapshot));
    assert_eq!(back.digest_mismatch, None);
    assert_eq!(back.torn, None);
    let expected: Vec<_> = EXPECTED
        .lines()
        .filter(|line| line.starts_with('/'))
        .collect();
    let paths = expected
        .iter()
        .map(|line| line.split('\t').next().unwrap().to_owned());
    for (found, expected) in lines(&back.tree, paths).iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    // Apache counts the root twice.
    assert_eq!(back.tree.node_count(), expected.len() + 1);
    for line in EXPECTED.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["#", "zxid", zxid, "digest", digest] => {
                assert_eq!(format!("{:x}", back.tree.last_zxid().0), zxid);
                assert_eq!(format!("{:x}", back.tree.digest()), digest);
            }
            ["#", "session", id, "timeout", timeout] => {
                let id = SessionId(i64::from_str_radix(id, 16).unwrap());
                let found = back.tree.session_timeout(id);
                assert_eq!(found, timeout.parse().ok(), "session {id}");
            }
            ["#", "owner", owner, path] => {
                let stat = back.tree.node(path).unwrap().stat_persisted();
                assert_eq!(format!("{:x}", stat.ephemeral_owner), owner);
            }
            _ => {}
        }
    }
}

#[test]
fn apaches_directory_recovers_to_the_tree_that_its_client_saw() {
    check(
        &[
            ("log.1", LOG_1),
            ("log.41", LOG_41),
            ("snapshot.0", SNAPSHOT_0),
            ("snapshot.40", SNAPSHOT_40),
        ],
        0x40,
    );
}

#[test]
fn it_does_so_from_the_first_snapshot_and_both_logs_too() {
    check(
        &[
            ("log.1", LOG_1),
            ("log.41", LOG_41),
            ("snapshot.0", SNAPSHOT_0),
        ],
        0,
    );
}

#[test]
fn packed_snapshots_are_read() {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gz, SNAPSHOT_40).unwrap();
    let gz = gz.finish().unwrap();
    check(&[("log.41", LOG_41), ("snapshot.40.gz", &gz)], 0x40);

    // As SnappyOutputStream writes it: magic, two versions, blocks of 32 KiB at most.
    let mut snappy = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in SNAPSHOT_40.chunks(1000) {
        let packed = snap::raw::Encoder::new().compress_vec(block).unwrap();
        snappy.extend(u32::try_from(packed.len()).unwrap().to_be_bytes());
        snappy.extend(packed);
    }
    check(&[("log.41", LOG_41), ("snapshot.40.snappy", &snappy)], 0x40);

    for cut in [3, 20, 200, gz.len() - 9] {
        let disk = disk_of(&[("log.41", LOG_41), ("snapshot.40.gz", &gz[..cut])]);
        assert!(try_recover(&disk).is_err());
    }
    for cut in [3, 17, 200, snappy.len() - 9] {
        let disk = disk_of(&[("log.41", LOG_41), ("snapshot.40.snappy", &snappy[..cut])]);
        assert!(try_recover(&disk).is_err());
    }
}
