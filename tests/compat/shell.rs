//! Apache's shell, `ZooKeeperMain`: what it prints must be what it prints when it talks to Apache's server.
//!
//! `ZK_REWRITE=1` rewrites the expected transcript from the run against Apache.

use std::{env, fs, process::Output};

use tokio::process::Command;

use crate::{
    program::{installed, run},
    subject::Subject,
};

const COMMANDS: &str = include_str!("shell_commands.txt");
const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compat/shell_expected.txt");

#[tokio::test]
async fn apaches_shell_talks_to_our_server() {
    let subject = Subject::ours().await;
    converse(&subject, "compat::apaches_shell_talks_to_our_server", false).await;
}

#[tokio::test]
async fn apaches_shell_talks_to_apache() {
    let test = "compat::apaches_shell_talks_to_apache";
    let Some(subject) = Subject::apache(test) else {
        return;
    };
    converse(&subject, test, env::var_os("ZK_REWRITE").is_some()).await;
}

async fn converse(subject: &Subject, test: &str, rewrite: bool) {
    let Some(output) = shell(subject, test, &[], COMMANDS).await else {
        return;
    };
    let told = transcript(&output);
    if rewrite {
        fs::write(EXPECTED, &told).unwrap();
    }
    let expected = fs::read_to_string(EXPECTED).unwrap();
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        expected.lines().collect::<Vec<_>>()
    );
    let listed = shell(subject, test, &["ls", "/"], "").await.unwrap();
    assert!(listed.status.success());
    assert!(String::from_utf8_lossy(&listed.stdout).contains("[zookeeper]"));
    let missing = shell(subject, test, &["get", "/nope"], "").await.unwrap();
    assert_eq!(
        missing.status.code(),
        Some(1),
        "the shell's own way of saying no"
    );
}

async fn shell(subject: &Subject, test: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let home = installed("ZK_APACHE_HOME", ".cache/zk-tests/apache-3.9.5", test)?;
    let jars = home.join("lib").join("*");
    let mut command = Command::new("java");
    command
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"])
        .arg(jars)
        .args(["org.apache.zookeeper.ZooKeeperMain", "-server"])
        .arg(subject.addr().to_string())
        .args(arguments);
    Some(run(&mut command, input).await)
}

/// What both streams say, without prompts, times, session ids, and what the JVM adds.
///
/// Events stand behind the answers: a thread of their own prints them.
fn transcript(output: &Output) -> String {
    let mut answers = Vec::new();
    let mut events = Vec::new();
    for stream in [&output.stdout, &output.stderr] {
        for line in String::from_utf8_lossy(stream).lines() {
            let line = without_prompts(line);
            let foreign = [
                "Connecting to",
                "WARNING: ",
                "JLine",
                " org.jline.",
                "WATCHER::",
            ];
            if line.is_empty() || foreign.iter().any(|text| line.contains(text)) {
                continue;
            }
            let kind = if line.starts_with("WatchedEvent") {
                &mut events
            } else {
                &mut answers
            };
            kind.push(without_what_differs(line));
        }
    }
    // whoAmI tells the identities in no order.
    let identity = |line: &String| line.starts_with("digest: ") || line.starts_with("ip: ");
    for run in answers.chunk_by_mut(|a, b| identity(a) && identity(b)) {
        run.sort();
    }
    answers.append(&mut events);
    answers.join("\n") + "\n"
}

fn without_prompts(line: &str) -> &str {
    let mut rest = line;
    while let Some((_, behind)) = rest
        .strip_prefix("[zk: ")
        .and_then(|prompt| prompt.split_once("] "))
    {
        rest = behind;
    }
    rest
}

fn without_what_differs(line: &str) -> String {
    match line.split_once(" = ") {
        Some((key @ ("ctime" | "mtime"), _)) => format!("{key} = (a time)"),
        Some(("ephemeralOwner", owner)) if owner != "0x0" => {
            "ephemeralOwner = (a session)".to_owned()
        }
        _ => line.to_owned(),
    }
}
