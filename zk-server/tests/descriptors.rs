//! A process that has no file descriptor left; alone in its process, for it takes them all.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test ends where it fails, and this one opens files"
)]

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zk_server::storage::{Access, Disk, FsDisk};

#[test]
fn a_log_is_rolled_when_every_file_descriptor_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FsDisk::open(directory.path()).unwrap();
    let limit = Rlimit {
        current: Some(64),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    let mut log = disk.create("log.1", Access::Default).unwrap();
    log.write_at(0, b"record").unwrap();
    log.sync_data().unwrap();
    disk.sync_dir().unwrap();
    assert!(
        disk.create("log.2", Access::Default).is_err(),
        "there is one in reserve"
    );
    // Two are free again: one is for the file, and one goes back into the reserve.
    taken.truncate(taken.len() - 2);
    let next = disk.create("log.2", Access::Default).unwrap();
    assert!(File::open("/dev/null").is_err());
    drop((log, next));
}
