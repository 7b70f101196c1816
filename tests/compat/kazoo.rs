//! kazoo, the Python client: CRUD, watches, transactions, ACLs, sessions, and its recipes.

use tokio::process::Command;

use crate::{
    program::{installed, run},
    subject::Subject,
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compat/kazoo_drive.py");

#[tokio::test]
async fn kazoo_drives_our_server() {
    let subject = Subject::ours().await;
    drive(&subject, "compat::kazoo_drives_our_server").await;
}

#[tokio::test]
async fn kazoo_drives_apache() {
    let test = "compat::kazoo_drives_apache";
    let Some(subject) = Subject::apache(test) else {
        return;
    };
    drive(&subject, test).await;
}

async fn drive(subject: &Subject, test: &str) {
    let Some(python) = installed("ZK_KAZOO_PYTHON", ".cache/zk-tests/kazoo/bin/python", test)
    else {
        return;
    };
    let mut command = Command::new(python);
    command
        .arg("-B")
        .arg(SCRIPT)
        .arg(subject.addr().to_string());
    let output = run(&mut command, "").await;
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    assert!(
        told.lines().filter(|line| line.starts_with("ok ")).count() > 30,
        "{told}"
    );
}
