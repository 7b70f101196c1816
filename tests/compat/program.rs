//! Foreign programs: started with an input, watched until they end.

use std::{
    env,
    io::Write as _,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

/// Longer than any of them takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs a command to its end, with this as its standard input.
pub(crate) async fn run(command: &mut Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    output.expect("the program ends").unwrap()
}

/// A file that an environment variable names, or that is where `.ci/apache` puts it below the home directory.
pub(crate) fn installed(variable: &str, below_home: &str, test: &str) -> Option<PathBuf> {
    let path = match env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env::var_os("HOME")?).join(below_home),
    };
    if path.exists() {
        return Some(path);
    }
    // Not eprintln!: the test harness would swallow it with the output of a passing test.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {test}: {variable} is not installed (run .ci/apache)"
    );
    None
}
