//! Whole servers that lose their power, by the thousand: what a client was told is there afterwards.
//!
//! `ZK_POWER_CUTS=n` tries that many seeds instead of a thousand, `ZK_POWER_SEED=n` that one alone.

use std::{io::ErrorKind, ops::Range, sync::Arc};

use zk_proto::{
    CreateMode,
    op::{GetChildrenRequest, GetChildrenResponse, Request},
};
use zk_server::{
    Server,
    storage::{MemDisk, mem_disk::FaultyCall},
};

use crate::{
    client::{Client, create},
    memory_net::MemoryNet,
};

type Connection = Client<tokio::io::DuplexStream>;

/// One disk, the servers that ran on it, and what they told their client.
struct Life {
    disk: MemDisk,
    dice: fastrand::Rng,
    lie: bool,
    /// The nodes `/0`, `/1`, ... up to here were acknowledged.
    acknowledged: u32,
    /// Up to here they were asked for.
    asked: u32,
}

/// Something that was acknowledged is gone, or the server does not start.
#[derive(Debug, PartialEq, Eq)]
struct Lost(String);

impl Life {
    fn new(seed: u64, lie: bool) -> Self {
        Self {
            disk: MemDisk::new(),
            dice: fastrand::Rng::with_seed(seed),
            lie,
            acknowledged: 0,
            asked: 0,
        }
    }

    /// Two servers one after the other lose their power; a third shows what is left.
    async fn run(mut self) -> Result<(), Lost> {
        for _ in 0..2 {
            let (server, mut client) = self.start().await?;
            self.put_a_fault_in();
            self.write(&mut client).await;
            self.disk.power_cut(self.dice.u64(..));
            self.disk.heal();
            let _ = server.shutdown().await;
            // What is on its way was sent before.
            while self.take_answer(&mut client).await {}
        }
        self.start().await.map(drop)
    }

    /// A server on what the last one left, looked at: all that was acknowledged, and nothing without what was asked
    /// for before it.
    async fn start(&mut self) -> Result<(Server, Connection), Lost> {
        let net = MemoryNet::new(1 << 20);
        let server = Server::builder()
            .net(net.clone())
            .disk(Arc::new(self.disk.clone()))
            .set("tickTime", "2000")
            .set("snapCount", "60");
        let server = server
            .start()
            .await
            .map_err(|error| Lost(error.to_string()))?;
        let (mut client, _) = net.connect().open().await;
        let request = Request::GetChildren(GetChildrenRequest {
            path: "/".into(),
            watch: false,
        });
        let GetChildrenResponse { children } = client.call(1, request).await.record();
        let mut found: Vec<u32> = children
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        found.sort_unstable();
        let count = u32::try_from(found.len()).unwrap();
        let is_prefix = found.iter().copied().eq(0..count);
        if !is_prefix || !(self.acknowledged..=self.asked).contains(&count) {
            let (acknowledged, asked) = (self.acknowledged, self.asked);
            let what =
                format!("{acknowledged} acknowledged, {asked} asked for, there are {found:?}");
            return Err(Lost(what));
        }
        (self.acknowledged, self.asked) = (count, count);
        Ok((server, client))
    }

    /// The power goes in the middle of a call, or between two.
    fn put_a_fault_in(&mut self) {
        let calls = [
            FaultyCall::Write,
            FaultyCall::Sync,
            FaultyCall::SyncDir,
            FaultyCall::Create,
            FaultyCall::Rename,
        ];
        if let Some(call) = calls.get(self.dice.usize(..=calls.len())) {
            let nth = self.dice.u32(1..25);
            self.disk.fail(*call, nth, ErrorKind::Other);
        }
        if self.lie {
            self.disk.lie_about_sync();
        }
    }

    /// Creates, pipelined, of which the last are not waited for.
    async fn write(&mut self, client: &mut Connection) {
        let data = "x".repeat(self.dice.usize(..900));
        for _ in 0..self.dice.u8(1..20) {
            let batch: Range<u32> = self.asked..self.asked + self.dice.u32(1..25);
            let creates: Vec<_> = batch
                .clone()
                .map(|n| create(&format!("/{n}"), &data, CreateMode::Persistent))
                .collect();
            self.asked = batch.end;
            client.send(1, &creates).await;
            for _ in 0..self.dice.u32(..=self.asked - self.acknowledged) {
                if !self.take_answer(client).await {
                    return;
                }
            }
        }
    }

    /// Answers come in order; `false` at the end of the connection.
    async fn take_answer(&mut self, client: &mut Connection) -> bool {
        let Some(reply) = client.reply().await else {
            return false;
        };
        assert_eq!(reply.header.err, 0);
        self.acknowledged += 1;
        true
    }
}

fn seeds() -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    match number("ZK_POWER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ZK_POWER_CUTS").unwrap_or(1000),
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_power_cuts_keep_what_was_acknowledged() {
    for seed in seeds() {
        let kept = Life::new(seed, false).run().await;
        assert_eq!(kept, Ok(()), "ZK_POWER_SEED={seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_lies_about_its_syncs_is_caught() {
    let mut caught = 0;
    for seed in 0..300 {
        caught += usize::from(Life::new(seed, true).run().await.is_err());
    }
    assert!(caught > 150, "caught {caught} of 300");
}
