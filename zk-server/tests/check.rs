//! `zk-server check`: says what `run` would do, and touches nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs, io,
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

fn check(zoo_cfg: &Path, set: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zk-server"));
    command.arg("check").arg(zoo_cfg).env("RUST_LOG", "info");
    for setting in set {
        command.args(["--set", setting]);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every file under a directory with its content.
fn content(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(content(&path)),
            false => found.push((path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

#[test]
fn beside_a_member_that_serves_nothing_is_touched_and_nobody_is_called() {
    let dir = tempfile::tempdir().unwrap();
    // The member itself, and the two others: what a second member with its number would bind or call.
    let listeners: Vec<_> = (0..7)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let port = |at: usize| listeners[at].local_addr().unwrap().port();
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("version-2")).unwrap();
    fs::write(data.join("myid"), "2").unwrap();
    fs::write(data.join("version-2/snapshot.10000001f"), "s").unwrap();
    fs::write(data.join("version-2/log.100000020"), "l").unwrap();
    fs::write(data.join("version-2/currentEpoch"), "1").unwrap();
    let cfg = dir.path().join("zoo.cfg");
    let mut lines = format!(
        "dataDir={}\nclientPort={}\nobserverMasterPort=1\n",
        data.display(),
        port(0)
    );
    for id in 1..=3 {
        let (quorum, election) = (port(id * 2 - 1), port(id * 2));
        lines += &format!("server.{id}=127.0.0.1:{quorum}:{election}\n");
    }
    fs::write(&cfg, lines).unwrap();
    let before = content(dir.path());

    let output = check(&cfg, &[]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said} {}", text(&output.stderr));
    for line in [
        "member 2 of 3, participant",
        "1 snapshots, the newest 0x10000001f; 1 logs, the newest 0x100000020",
        "currentEpoch 1",
        "run would start",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    assert!(text(&output.stderr).contains("observerMasterPort"));
    assert_eq!(content(dir.path()), before);
    for listener in &listeners {
        listener.set_nonblocking(true).unwrap();
        let error = listener.accept().expect_err("somebody called");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn what_would_end_the_start_is_told_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let cfg = dir.path().join("zoo.cfg");
    let data = dir.path().join("data");
    let others = "server.2=127.0.0.1:3:4\nserver.3=127.0.0.1:5:6\n";
    // 192.0.2.0/24 is nobody's (RFC 5737).
    let text_of = |own: &str| {
        format!(
            "dataDir={}\nclientPort=1\nserver.1={own}:1:2\n{others}",
            data.display()
        )
    };
    let failing = |set: &[&str], why: &str| {
        let output = check(&cfg, set);
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{}", text(&output.stdout));
        assert!(said.contains(why), "no {why:?} in {said}");
    };
    fs::write(&cfg, text_of("127.0.0.1")).unwrap();
    failing(&[], "myid");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("myid"), "1").unwrap();
    failing(&["sslQuorum=true"], "more servers would get in");
    failing(&["datadir.autocreate=false"], "does not exist");
    fs::write(&cfg, text_of("192.0.2.1")).unwrap();
    failing(&[], "quorumListenOnAllIPs");
    let all = ["quorumListenOnAllIPs=true", "admin.enableServer=false"];
    let passing = check(&cfg, &all);
    let said = text(&passing.stderr);
    assert!(passing.status.success(), "{said}");
    assert!(!said.contains("admin.enableServer"), "{said}");
    // Snapshots that somebody has moved away, and left the logs of another directory behind.
    let logs = dir.path().join("logs");
    fs::create_dir_all(logs.join("version-2")).unwrap();
    fs::write(logs.join("version-2/log.100000020"), "l").unwrap();
    fs::write(&cfg, text_of("127.0.0.1")).unwrap();
    let there = format!("dataLogDir={}", logs.display());
    failing(&[&there], "no snapshot");
    let trusting = check(&cfg, &[&there, "snapshot.trust.empty=true"]);
    assert!(trusting.status.success(), "{}", text(&trusting.stderr));
    let said = text(&trusting.stdout);
    assert!(!said.contains("no vote"), "{said}");
    // Part of its history is lost.
    fs::create_dir(data.join("version-2")).unwrap();
    fs::write(data.join("version-2/currentEpoch"), "7 awaitingSync").unwrap();
    let waiting = check(&cfg, &[]);
    let said = text(&waiting.stdout);
    assert!(
        said.contains("no vote until a leader has synced it"),
        "{said}"
    );
}
