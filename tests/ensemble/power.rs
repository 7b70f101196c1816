//! The power of a whole ensemble goes, again and again: each member is on an ext4 file system of its own, which is shut
//! down under it (`EXT4_IOC_SHUTDOWN` without a flush of the journal), so that what was not synced is gone.
//!
//! `ZK_ENSEMBLE_POWER_CUTS=n` cuts it so many times. Needs the right to mount; where there is none, it says so and
//! is skipped: `ZK_SIM_SEEDS` and `tests/sim/museum.rs` cut the power of simulated disks everywhere.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "mounts real file systems and says what became of them"
)]

use std::{
    io::{self, Write as _},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tempfile::TempDir;
use zk_tests::{ensemble::Members, ours};

use crate::{
    drills::assert_nothing_lost,
    load::{Ledger, Load},
};

const LIMIT: Duration = Duration::from_secs(60);

/// Shuts the file system down that the argument is on; 2 is `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// An ext4 file system in a file.
struct Ext4 {
    home: TempDir,
}

fn run(program: &str, args: &[&Path]) -> io::Result<()> {
    let mut command = Command::new(program);
    let status = command.args(args).stdin(Stdio::null()).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{program} {args:?}: {status}"))),
    }
}

impl Ext4 {
    fn make() -> io::Result<Self> {
        let disk = Self {
            home: TempDir::with_prefix("zk-ext4-")?,
        };
        std::fs::File::create(disk.image())?.set_len(300 << 20)?;
        std::fs::create_dir(disk.root())?;
        run("mkfs.ext4", &[Path::new("-q"), &disk.image()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("disk")
    }

    fn mount(&self) -> io::Result<()> {
        let how = Path::new("-oloop");
        run("mount", &[how, &self.image(), &self.root()])
    }

    fn unmount(&self) -> io::Result<()> {
        run("umount", &[&self.root()])
    }

    fn shut_down(&self) -> io::Result<()> {
        let (flag, script) = (Path::new("-c"), Path::new(SHUT_DOWN));
        run("python3", &[flag, script, &self.root()])
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

/// Three of them, shut down once to see whether that is allowed; `None`, and loudly, where it is not.
fn three_or_skip() -> Option<Vec<Ext4>> {
    let disks = || -> io::Result<Vec<Ext4>> {
        let disks = (0..3)
            .map(|_| Ext4::make())
            .collect::<io::Result<Vec<_>>>()?;
        disks[0].shut_down()?;
        disks[0].unmount()?;
        disks[0].mount()?;
        Ok(disks)
    };
    match disks() {
        Ok(disks) => Some(disks),
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "SKIPPED: power cuts on real file systems: {error}"
            );
            None
        }
    }
}

/// Cuts the power so many times; everything must be there afterwards.
async fn outlive(cuts: u32, disks: &[Ext4], force_sync: &str) {
    let homes = disks
        .iter()
        .map(|disk| TempDir::with_prefix_in("zk-member-", disk.root()));
    let homes = homes.collect::<io::Result<Vec<_>>>().unwrap();
    let launchers = vec![ours::launcher().unwrap(); 3];
    let settings = [
        ("tickTime", "1000"),
        ("snapCount", "500"),
        ("preAllocSize", "1024"),
        ("forceSync", force_sync),
    ];
    let mut members = Members::prepare_at(homes, &launchers, &settings).unwrap();
    members.start().unwrap();
    // What the members were told to begin with is not to go with the first cut.
    run("sync", &[]).unwrap();
    let mut load = Load::begin(members.addresses(), 4, false).await;
    for cut in 0..cuts {
        load.grown(50 + u64::from(cut % 7) * 20, LIMIT).await;
        disks.iter().for_each(|disk| disk.shut_down().unwrap());
        for (member, disk) in disks.iter().enumerate() {
            members.member(member).kill().unwrap();
            disk.unmount().unwrap();
            disk.mount().unwrap();
        }
        members.start().unwrap();
        load.acknowledged_after(Instant::now(), LIMIT).await;
    }
    let count = load.acknowledged();
    let ledgers = load.pause();
    assert_nothing_lost(&members, &ledgers).await;
    let resumed: u64 = ledgers.iter().map(Ledger::resumed).sum();
    println!("{cuts} power cuts, {count} writes acknowledged, {resumed} times a session went on");
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_when_the_power_of_all_members_goes() {
    if let Some(disks) = three_or_skip() {
        let cuts = std::env::var("ZK_ENSEMBLE_POWER_CUTS");
        outlive(cuts.map_or(3, |cuts| cuts.parse().unwrap()), &disks, "yes").await;
    }
}

#[tokio::test]
async fn members_that_do_not_sync_are_caught() {
    if let Some(disks) = three_or_skip() {
        let life = AssertUnwindSafe(outlive(10, &disks, "no"));
        assert!(life.catch_unwind().await.is_err(), "nothing was lost");
    }
}
