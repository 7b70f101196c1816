//! The words of four letters.

use zk_server::Server;

use crate::client::tcp;

async fn ask(server: &Server, word: &str) -> String {
    let mut client = tcp(server).await;
    client.send_bytes(word.as_bytes()).await;
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut client.stream, &mut answer)
        .await
        .unwrap();
    answer
}

#[tokio::test]
async fn only_srvr_is_answered_unless_others_are_allowed() {
    let server = Server::builder().start().await.unwrap();
    let refused = "ruok is not executed because it is not in the whitelist.\n";
    assert_eq!(ask(&server, "ruok").await, refused);
    let srvr = ask(&server, "srvr\n").await;
    let lines: Vec<_> = srvr
        .lines()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    let expected = [
        "Zookeeper version",
        "Latency min/avg/max",
        "Received",
        "Sent",
        "Connections",
        "Outstanding",
        "Zxid",
        "Mode",
        "Node count",
    ];
    assert_eq!(lines, expected);
    assert!(
        srvr.contains("\nZxid: 0x0\nMode: standalone\nNode count: 5\n"),
        "{srvr}"
    );
}

#[tokio::test]
async fn every_word_is_answered_in_apaches_form() {
    let server = Server::builder()
        .set("4lw.commands.whitelist", "*")
        .start()
        .await
        .unwrap();
    let (_client, session) = tcp(&server).await.open().await;
    assert_eq!(ask(&server, "ruok").await, "imok");
    assert_eq!(ask(&server, "isro").await, "rw");
    assert_eq!(ask(&server, "crst").await, "Connection stats reset.\n");
    assert_eq!(ask(&server, "srst").await, "Server stats reset.\n");
    let none = "0 connections watching 0 paths\nTotal watches:0\n";
    assert_eq!(ask(&server, "wchs").await, none);
    assert!(
        ask(&server, "stat")
            .await
            .contains("\nClients:\n /127.0.0.1:")
    );
    let sid = format!(",sid={}", session.session_id);
    assert!(ask(&server, "cons").await.contains(&sid));
    let mntr = ask(&server, "mntr").await;
    for line in [
        "zk_server_state\tstandalone",
        "zk_znode_count\t5",
        "zk_global_sessions\t1",
    ] {
        assert!(mntr.contains(line), "{line} in {mntr}");
    }
    assert!(ask(&server, "conf").await.contains("\ntickTime="));
    assert!(ask(&server, "dirs").await.starts_with("datadir_size: "));
}

#[tokio::test]
async fn no_other_word_is_answered() {
    let server = Server::builder()
        .set("4lw.commands.whitelist", "*")
        .start()
        .await
        .unwrap();
    assert_eq!(ask(&server, "what").await, "");
}
