//! A client of another kind in a process of its own, told line by line what to do.
//!
//! A line is what, where, what to do with it, and an argument: `lock /path acquire`. Each is answered by one line.

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::support::soon;

/// Killed with this value.
pub(crate) struct Peer {
    _process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    yes: &'static str,
}

impl Peer {
    /// kazoo, or `None` where it is not installed, loudly.
    pub(crate) fn kazoo(address: &str) -> Option<Self> {
        let python = installed("ZK_KAZOO_PYTHON", "kazoo/bin/python")?;
        let mut command = Command::new(python);
        command.args([
            "-B",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/kazoo_peer.py"),
            address,
        ]);
        Some(Self::start(command, "True"))
    }

    /// Curator, or `None` where it is not installed, loudly.
    pub(crate) fn curator(address: &str) -> Option<Self> {
        let home = installed("ZK_CURATOR_HOME", "curator-5.9.0").filter(|_| java_compiles())?;
        let mut jars = home.join("lib").into_os_string();
        jars.push("/*");
        let mut command = Command::new("java");
        let quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=off";
        let arguments: [OsString; 6] = [
            "-Xmx256m".into(),
            quiet.into(),
            "-cp".into(),
            jars,
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/CuratorPeer.java").into(),
            address.into(),
        ];
        command.args(arguments);
        Some(Self::start(command, "true"))
    }

    fn start(mut command: Command, yes: &'static str) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            _process: process,
            commands,
            answers,
            yes,
        }
    }

    pub(crate) async fn tell(&mut self, what: &str, path: &str, words: &str) {
        let line = format!("{what} {path} {words}\n");
        self.commands.write_all(line.as_bytes()).await.unwrap();
    }

    pub(crate) async fn answer(&mut self) -> String {
        let answer = soon("the other client's answer", self.answers.next_line()).await;
        answer.unwrap().expect("the other client ended")
    }

    pub(crate) async fn ask(&mut self, what: &str, path: &str, words: &str) -> String {
        self.tell(what, path, words).await;
        self.answer().await
    }

    pub(crate) async fn acquires(&mut self, what: &str, path: &str) {
        assert_eq!(self.ask(what, path, "acquire").await, self.yes);
    }

    /// Whether it gets it without waiting.
    pub(crate) async fn tries(&mut self, what: &str, path: &str) -> bool {
        self.ask(what, path, "try").await == self.yes
    }

    /// What it was told to acquire is its own now.
    pub(crate) async fn has_acquired(&mut self) {
        assert_eq!(self.answer().await, self.yes);
    }

    pub(crate) async fn releases(&mut self, what: &str, path: &str) {
        assert_eq!(self.ask(what, path, "release").await, self.yes);
    }
}

/// What `.ci/apache` installed, or the variable names.
fn installed(variable: &str, place: &str) -> Option<PathBuf> {
    let usual = || {
        Some(
            PathBuf::from(std::env::var_os("HOME")?)
                .join(".cache/zk-tests")
                .join(place),
        )
    };
    let named = std::env::var_os(variable).map(PathBuf::from);
    let found = named.or_else(usual).filter(|found| found.exists());
    if found.is_none() {
        skip(&format!(
            "{place} is not installed (run .ci/apache, or set {variable})"
        ));
    }
    found
}

/// Whether `java` can run a source file, or not, loudly.
fn java_compiles() -> bool {
    let modules = std::process::Command::new("java")
        .arg("--list-modules")
        .output();
    let compiles = modules
        .is_ok_and(|modules| String::from_utf8_lossy(&modules.stdout).contains("jdk.compiler"));
    if !compiles {
        skip("there is no java with a compiler");
    }
    compiles
}

fn skip(why: &str) {
    // Not eprintln!: the test harness would swallow it with the output of a passing test.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
