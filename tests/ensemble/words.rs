//! What members of an ensemble answer to the words of four letters.

#![allow(
    clippy::disallowed_methods,
    reason = "waits for what real sockets and disks do"
)]

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::time::{sleep, timeout};
use zk_client::Client;
use zk_server::Ensemble;
use zk_tests::process::four_letter_word;

use crate::members::LIMIT;

/// A word's answer; the servers are on this thread, so it is asked from another one.
async fn ask(member: SocketAddr, word: &'static str) -> String {
    tokio::task::spawn_blocking(move || four_letter_word(member, word).unwrap())
        .await
        .unwrap()
}

async fn mntr(member: SocketAddr) -> BTreeMap<String, String> {
    let answer = ask(member, "mntr").await;
    let lines = answer.lines().filter_map(|line| line.split_once('\t'));
    lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[tokio::test]
async fn a_leader_counts_its_learners_and_proposals_and_the_others_do_not() {
    timeout(LIMIT, async {
        let settings = [("4lw.commands.whitelist", "*")];
        let ensemble = Ensemble::start_with(3, &settings).await.unwrap();
        let leader = ensemble.leader().await;
        let at = |member: usize| ensemble.client_address(member).unwrap();
        let client = Client::connect(ensemble.connect_string()).await.unwrap();
        client.create("/a", "1").await.unwrap();
        let told = loop {
            let told = mntr(at(leader)).await;
            if told["zk_synced_followers"] == "2" {
                break told;
            }
            sleep(Duration::from_millis(5)).await;
        };
        for (name, expected) in [
            ("zk_server_state", "leader"),
            ("zk_quorum_size", "3"),
            ("zk_learners", "2"),
            ("zk_synced_non_voting_followers", "0"),
            ("zk_synced_observers", "0"),
            ("zk_pending_syncs", "0"),
            ("zk_cnt_election_time", "1"),
            ("zk_cnt_leader_unavailable_time", "1"),
            ("zk_looking_count", "1"),
        ] {
            assert_eq!(told[name], expected, "{name}");
        }
        let size = |name: &str| told[name].parse::<u64>().unwrap();
        assert!(size("zk_min_proposal_size") > 0);
        assert!(size("zk_max_proposal_size") >= size("zk_last_proposal_size"));
        let proposals = format!(
            "Proposal sizes last/min/max: {}/{}/{}\n",
            size("zk_last_proposal_size"),
            size("zk_min_proposal_size"),
            size("zk_max_proposal_size")
        );
        assert!(ask(at(leader), "srvr").await.ends_with(&proposals));
        assert!(ask(at(leader), "stat").await.ends_with(&proposals));

        let follower = at((leader + 1) % 3);
        let told = mntr(follower).await;
        assert_eq!(told["zk_server_state"], "follower");
        assert_eq!(told["zk_quorum_size"], "3");
        assert!(!told.contains_key("zk_learners"));
        assert!(!ask(follower, "srvr").await.contains("Proposal sizes"));
        assert_eq!(ask(follower, "isro").await, "rw");
        client.close().await.unwrap();
    })
    .await
    .unwrap();
}
