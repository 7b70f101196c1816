//! Apache's shell changes an ensemble of ours, an Apache member joins it, comes to lead it, and leaves it again.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes, which send no event to wait for"
)]

use std::{fs, io, time::Duration};

use tokio::{
    process::Command,
    time::{sleep, timeout},
};
use zk_client::{Client, ErrorKind};
use zk_tests::{
    apache::{self, Heap},
    ours, ports,
    process::{ServerProcess, four_letter_word},
};

use crate::reconfig::reconfigure;

/// A JVM on a busy machine takes its time.
const LIMIT: Duration = Duration::from_secs(180);

/// Three of ours, and one of Apache's that knows them and is no member.
fn prepare(test: &str) -> Option<(Vec<ServerProcess>, Vec<String>)> {
    apache::launcher_or_skip(test)?;
    let theirs = apache::launcher_with(Heap::SMALL, &["zookeeper.skipACL=yes"])?;
    let own = ours::launcher().unwrap();
    let mut members = Vec::new();
    for launcher in [own.clone(), own.clone(), own, theirs] {
        members.push(ServerProcess::prepare(launcher, &[]).unwrap());
    }
    let line = |member: &ServerProcess| {
        let (quorum, election) = (ports::free()?.port(), ports::free()?.port());
        let client = member.addr();
        Ok::<_, io::Error>(format!(
            "127.0.0.1:{quorum}:{election}:participant;{client}"
        ))
    };
    let lines: Vec<_> = members.iter().map(|member| line(member).unwrap()).collect();
    for (at, member) in members.iter().enumerate() {
        let knows = if at < 3 { 3 } else { 4 };
        let names: Vec<_> = (1..=knows).map(|id| format!("server.{id}")).collect();
        let mut settings = vec![
            ("tickTime", "500"),
            ("initLimit", "10"),
            ("syncLimit", "5"),
            ("reconfigEnabled", "true"),
            ("standaloneEnabled", "false"),
            ("skipACL", "yes"),
        ];
        settings.extend(
            names
                .iter()
                .zip(&lines)
                .map(|(name, line)| (&**name, &**line)),
        );
        member.configure(&settings).unwrap();
        fs::write(member.data_dir().join("myid"), (at + 1).to_string()).unwrap();
    }
    Some((members, lines))
}

/// Waits until a member is this.
async fn is(member: &ServerProcess, mode: &str) {
    let mode = format!("Mode: {mode}");
    while !four_letter_word(member.addr(), "srvr").is_ok_and(|told| told.contains(&mode)) {
        sleep(Duration::from_millis(20)).await;
    }
}

/// Creates a node, whoever leads meanwhile.
async fn write(client: &Client, path: &str) {
    loop {
        match client.create(path, "").await.map_err(|error| error.kind()) {
            Ok(_) | Err(ErrorKind::NodeExists) => return,
            Err(ErrorKind::ConnectionLoss) => sleep(Duration::from_millis(20)).await,
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// What Apache's shell prints.
async fn shell(member: &ServerProcess, arguments: &[&str]) -> String {
    let home = std::env::var("ZK_APACHE_HOME");
    let home = home.unwrap_or_else(|_| {
        format!(
            "{}/.cache/zk-tests/apache-3.9.5",
            std::env::var("HOME").unwrap()
        )
    });
    let mut command = Command::new("java");
    command
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"])
        .arg(format!("{home}/lib/*"))
        .args(["org.apache.zookeeper.ZooKeeperMain", "-server"])
        .arg(member.addr().to_string())
        .args(arguments);
    let output = command.output().await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn an_apache_member_joins_leads_and_leaves() {
    let Some((mut members, lines)) = prepare("ensemble::an_apache_member_joins_leads_and_leaves")
    else {
        return;
    };
    timeout(LIMIT, async {
        for member in &mut members[..3] {
            member.spawn().unwrap();
        }
        for member in &mut members[..3] {
            member.wait_until_serving().unwrap();
        }
        let told = shell(&members[0], &["config"]).await;
        assert!(told.contains(&format!("server.3={}\n", lines[2])), "{told}");
        members[3].spawn().unwrap();
        members[3].wait_until_serving().unwrap();
        let fourth = format!("server.4={}", lines[3]);
        let told = shell(&members[0], &["reconfig", "-add", &fourth]).await;
        assert!(told.contains("Committed new configuration"), "{told}");
        assert!(told.contains(&fourth), "{told}");

        let all: Vec<_> = members
            .iter()
            .map(|member| member.addr().to_string())
            .collect();
        let client = Client::connect(all.join(",")).await.unwrap();
        write(&client, "/a").await;
        for id in [3, 2, 1] {
            reconfigure(&client, &[], &[id]).await.unwrap();
        }
        is(&members[3], "leader").await;
        write(&client, "/b").await;
        for (id, line) in (1..).zip(&lines[..2]) {
            reconfigure(&client, &[(id, line.clone())], &[])
                .await
                .unwrap();
        }
        let observes = lines[2].replace(":participant", ":observer");
        reconfigure(&client, &[(3, observes)], &[]).await.unwrap();
        is(&members[2], "observer").await;
        is(&members[3], "leader").await;
        reconfigure(&client, &[], &[4]).await.unwrap();
        members[3].kill().unwrap();
        write(&client, "/c").await;
        is(&members[2], "observer").await;
        let reader = Client::connect(members[2].addr().to_string())
            .await
            .unwrap();
        reader.sync("/").await.unwrap();
        for path in ["/a", "/b", "/c"] {
            assert!(reader.exists(path).await.unwrap().is_some(), "{path}");
        }
        let config = reader.ensemble_config().await.unwrap();
        let ids: Vec<_> = config.servers.iter().map(|server| server.id).collect();
        assert_eq!(ids, [1, 2, 3]);
        reader.close().await.unwrap();
        client.close().await.unwrap();
    })
    .await
    .unwrap();
}
