//! Apache ZooKeeper 3.9.5, the oracle: where it is installed and how it is started. (Where the version does not matter,
//! `ZK_APACHE_HOME` may name another.)
//!
//! `.ci/apache` installs it. Tests that need it run where it is and say so loudly where it is not.

use std::{env, ffi::OsString, io::Write as _, path::PathBuf};

use crate::process::Launcher;

/// How a JVM that runs a server is told to behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heap {
    /// Its largest size (`-Xmx`), in MiB.
    pub max_mib: u32,
}

impl Heap {
    /// Enough for a test.
    pub const SMALL: Self = Self { max_mib: 512 };
    /// What the performance figures are measured with.
    pub const MEASURED: Self = Self { max_mib: 2048 };
}

/// The command that starts an Apache server; `None` where Apache is not installed.
///
/// It is looked for in `ZK_APACHE_HOME`, then where `.ci/apache` puts it.
#[must_use]
pub fn launcher(heap: Heap) -> Option<Launcher> {
    launcher_with(heap, &[])
}

/// As [`launcher`], with system properties (`name=value`), for what a `zoo.cfg` cannot say.
#[must_use]
pub fn launcher_with(heap: Heap, properties: &[&str]) -> Option<Launcher> {
    let lib = home()?.join("lib");
    let mut class_path = lib.into_os_string();
    class_path.push("/*");
    let heap = format!("-Xmx{}m", heap.max_mib);
    let mut args: Vec<OsString> = vec![heap.into()];
    args.extend(
        properties
            .iter()
            .map(|property| format!("-D{property}").into()),
    );
    args.extend(["-cp".into(), class_path]);
    args.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".into());
    Some(Launcher::new(java(), args))
}

/// As [`launcher`] for a small server; where there is none, says on standard error that `test` is skipped.
#[must_use]
pub fn launcher_or_skip(test: &str) -> Option<Launcher> {
    let found = launcher(Heap::SMALL);
    if found.is_none() {
        // Not eprintln!: the test harness would swallow it with the output of a passing test.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {test}: no Apache ZooKeeper (run .ci/apache, or set ZK_APACHE_HOME)"
        );
    }
    found
}

fn home() -> Option<PathBuf> {
    let home = match env::var_os("ZK_APACHE_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(env::var_os("HOME")?).join(".cache/zk-tests/apache-3.9.5"),
    };
    let jars = std::fs::read_dir(home.join("lib")).ok()?;
    let mut names = jars.filter_map(|jar| jar.ok()?.file_name().into_string().ok());
    names
        .any(|name| name.starts_with("zookeeper-") && name.ends_with(".jar"))
        .then_some(home)
}

fn java() -> PathBuf {
    match env::var_os("JAVA_HOME") {
        Some(home) => PathBuf::from(home).join("bin/java"),
        None => PathBuf::from("java"),
    }
}
