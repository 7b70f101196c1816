//! What survives, and what does not.

use std::collections::BTreeSet;

use super::*;

const SECTOR: usize = 512;

fn write(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let mut file = disk.create(name, Access::Default).unwrap();
    file.write_at(0, bytes).unwrap();
    file
}

fn read(disk: &dyn Disk, name: &str) -> Vec<u8> {
    let mut file = disk.open(name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.file_len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn names(disk: &dyn Disk) -> Vec<String> {
    let mut names: Vec<_> = disk.list().unwrap().into_iter().map(|f| f.name).collect();
    names.sort();
    names
}

#[test]
fn what_was_synced_survives_every_cut_and_what_was_not_is_torn_in_every_way() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..2000 {
        let disk = MemDisk::new();
        let mut file = write(&disk, "f", &[1; 700]);
        file.sync_data().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(700, &[2; 2 * SECTOR]).unwrap();
        disk.power_cut(seed);
        let left = read(&disk, "f");
        assert!(left.len() >= 700 && left[..700] == [1; 700], "seed {seed}");
        assert!(left.iter().all(|byte| *byte <= 2));
        // Per unsynced sector: were its new bytes kept, lost, or is the file too short to say?
        let kept = [800, 1100, 1600].map(|at| left.get(at).copied());
        outcomes.insert(kept);
    }
    for expected in [
        [Some(2), Some(2), Some(2)],
        [Some(0), Some(0), Some(0)],
        [None, None, None],
        [Some(2), Some(0), Some(0)],
        [Some(0), Some(2), Some(0)],
        [Some(0), Some(0), Some(2)],
    ] {
        assert!(outcomes.contains(&expected), "{expected:?} never happened");
    }
}

#[test]
fn the_same_seed_tears_the_same() {
    let cut = || {
        let disk = MemDisk::new();
        let mut file = write(&disk, "f", b"");
        disk.sync_dir().unwrap();
        file.write_at(0, &[7; 9000]).unwrap();
        disk.power_cut(42);
        read(&disk, "f")
    };
    assert_eq!(cut(), cut());
}

#[test]
fn an_overwrite_that_was_not_synced_may_go_back() {
    let outcomes: BTreeSet<_> = (0..200)
        .map(|seed| {
            let disk = MemDisk::new();
            let mut file = write(&disk, "f", b"old");
            file.sync_data().unwrap();
            disk.sync_dir().unwrap();
            file.write_at(0, b"new").unwrap();
            disk.power_cut(seed);
            read(&disk, "f")
        })
        .collect();
    assert_eq!(outcomes.len(), 2, "old or new, nothing between");
}

#[test]
fn names_survive_in_the_order_of_their_changes() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let disk = MemDisk::new();
        drop(write(&disk, "kept", b"k"));
        disk.sync_dir().unwrap();
        drop(write(&disk, "a", b"x"));
        disk.rename("a", "b").unwrap();
        disk.remove("kept").unwrap();
        disk.power_cut(seed);
        outcomes.insert(names(&disk));
    }
    let expected: BTreeSet<Vec<String>> = [&["kept"][..], &["a", "kept"], &["b", "kept"], &["b"]]
        .iter()
        .map(|names| names.iter().map(|name| (*name).to_owned()).collect())
        .collect();
    assert_eq!(outcomes, expected);
}

#[test]
fn a_directory_is_synced_alone_and_a_cut_hits_the_whole_disk() {
    let mut vanished = 0;
    for seed in 0..50 {
        let disk = MemDisk::new();
        let sub = disk.subdirectory("version-2").unwrap();
        let mut inner = write(&*sub, "log.1", b"inner");
        inner.sync_data().unwrap();
        sub.sync_dir().unwrap();
        drop(write(&disk, "outer", b"outer"));
        disk.power_cut(seed);
        assert_eq!(read(&*sub, "log.1"), b"inner");
        assert_eq!(sub.path_of("log.1"), "version-2/log.1");
        vanished += usize::from(names(&disk).is_empty());
    }
    assert!((1..50).contains(&vanished), "the outer name was not synced");
}

#[test]
fn a_dead_process_keeps_its_bytes_but_not_its_handles_and_locks() {
    let disk = MemDisk::new();
    let lock = disk.lock().unwrap();
    assert!(disk.lock().is_err());
    let mut file = write(&disk, "f", b"x");
    disk.kill();
    assert!(file.write_at(0, b"y").is_err() && file.sync_data().is_err());
    assert_eq!(read(&disk, "f"), b"x");
    let again = disk.lock().unwrap();
    drop(lock);
    assert!(disk.lock().is_err(), "the dead process's lock is not ours");
    drop(again);
    assert!(disk.lock().is_ok());
}

#[test]
fn a_lying_sync_loses_what_it_said_it_kept() {
    let lost = |seed| {
        let disk = MemDisk::new();
        disk.lie_about_sync();
        let mut file = write(&disk, "f", b"x");
        file.sync_data().unwrap();
        disk.sync_dir().unwrap();
        disk.power_cut(seed);
        names(&disk).is_empty()
    };
    assert!((0..50).any(lost));
}

#[test]
fn faults_strike_when_they_were_told_to() {
    let disk = MemDisk::new();
    let mut file = write(&disk, "f", b"");
    disk.fail(FaultyCall::Sync, 2, io::ErrorKind::Other);
    assert!(file.sync_data().is_ok() && !disk.has_failed(FaultyCall::Sync));
    assert!(file.sync_data().is_err() && file.sync_data().is_err());
    assert!(disk.has_failed(FaultyCall::Sync) && !disk.has_failed(FaultyCall::Write));
    disk.fail(FaultyCall::Write, 1, io::ErrorKind::Other);
    assert!(file.write_at(0, b"1234").is_err());
    assert_eq!(read(&disk, "f"), b"12", "half of it was written");
    disk.heal();
    assert!(file.sync_data().is_ok());

    disk.set_capacity(6);
    assert!(file.write_at(2, b"34").is_ok());
    assert_eq!(disk.free_bytes().unwrap(), 2);
    let full = file.write_at(4, b"5678").unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);

    disk.heal();
    disk.set_latency(Latency {
        sync: Duration::from_millis(30),
        write: Duration::from_millis(2),
    });
    let before = disk.elapsed();
    file.write_at(0, b"x").unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.elapsed() - before, Duration::from_millis(32));
}

#[test]
fn rot_is_seen_by_everybody_and_survives() {
    let disk = MemDisk::new();
    let mut file = write(&disk, "f", &[0b1010]);
    file.sync_data().unwrap();
    disk.sync_dir().unwrap();
    disk.rot("f", 0, 1).unwrap();
    disk.power_cut(1);
    assert_eq!(read(&disk, "f"), [0b1011]);
    assert!(disk.rot("f", 1, 1).is_err());
}
