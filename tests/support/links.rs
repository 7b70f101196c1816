//! The links of an ensemble, through proxies: each member's way to each other's quorum port and election port has its
//! own two, so that any two members can be cut off from each other.
//!
//! It takes a configuration of its own for every member, which knows the others by their proxies. Clients connect
//! directly.

#![allow(
    clippy::disallowed_methods,
    reason = "proxies go on while a test blocks its thread"
)]

use std::{collections::BTreeMap, io, net::SocketAddr, sync::mpsc, thread, time::Duration};

use tokio::{runtime, sync::oneshot};

use crate::{
    ports,
    proxy::{Direction, Flow, Place, Proxy},
};

/// How two members are cut off from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing arrives, and nobody is told: what is on its way comes when the cut is healed.
    Silent,
    /// Connections break, and new ones are refused.
    Refused,
}

/// A member's two ports: for learners, and for elections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Where learners connect.
    pub quorum: SocketAddr,
    /// Where votes go.
    pub election: SocketAddr,
}

impl Ports {
    /// Two ports that nobody uses.
    ///
    /// # Errors
    /// As [`ports::free`].
    pub fn free() -> io::Result<Self> {
        let (quorum, election) = (ports::free()?, ports::free()?);
        Ok(Self { quorum, election })
    }

    /// What stands in a `server.N` line before the role.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { quorum, election } = self;
        format!("{quorum}:{}", election.port())
    }
}

/// The way of one member to another.
#[derive(Debug)]
struct Way {
    at: Ports,
    proxies: [Proxy; 2],
}

/// All ways between the members of one ensemble, counted from 0.
#[derive(Debug)]
pub struct Links {
    ways: BTreeMap<(usize, usize), Way>,
    _end: oneshot::Sender<()>,
}

impl Links {
    /// Proxies between members that have these ports.
    ///
    /// # Errors
    /// When ports cannot be had.
    pub fn between(members: &[Ports]) -> io::Result<Self> {
        let all = members.to_vec();
        let (tell, told) = mpsc::channel();
        let (end, ended) = oneshot::channel::<()>();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                let _ = tell.send(start(&all).await);
                let _ = ended.await;
            });
        });
        let ways = told.recv().map_err(io::Error::other)??;
        Ok(Self { ways, _end: end })
    }

    /// Where `from` finds `to`.
    ///
    /// # Panics
    /// When there are no such members.
    #[must_use]
    pub fn way(&self, from: usize, to: usize) -> Ports {
        self.ways[&(from, to)].at
    }

    /// From the return on, nothing goes between these two.
    pub async fn cut(&self, one: usize, other: usize, how: Cut) {
        for proxy in self.both_ways(one, other) {
            match how {
                Cut::Silent => proxy.set_both(Flow::Hold),
                Cut::Refused => {
                    proxy.refuse().await;
                    proxy.cut().await;
                }
            }
        }
    }

    /// Everything goes everywhere again.
    pub async fn heal(&self) {
        for proxy in self.ways.values().flat_map(|way| &way.proxies) {
            proxy.set_both(Flow::Pass);
            proxy.accept().await;
        }
    }

    /// Whatever a leader says to this learner takes so much longer from the next connection on, for every 64 KiB.
    ///
    /// # Panics
    /// When there are no such members.
    pub fn slow_down(&self, learner: usize, leader: usize, by: Duration) {
        let proxy = self.learns_by(learner, leader);
        proxy.set(Direction::ToClient, Flow::Delay(by));
    }

    /// What a leader says to this learner ends there, on the connection that it has now.
    ///
    /// # Panics
    /// When there are no such members.
    pub fn end_at(&self, learner: usize, leader: usize, place: Place) {
        self.learns_by(learner, leader)
            .end_at(Direction::ToClient, place);
    }

    /// How often this learner has connected to a leader.
    ///
    /// # Panics
    /// When there are no such members.
    #[must_use]
    pub fn connected(&self, learner: usize, leader: usize) -> u64 {
        self.learns_by(learner, leader).accepted()
    }

    /// Waits until it has done so that many times since the start.
    ///
    /// # Panics
    /// When there are no such members.
    pub async fn wait_connected(&self, learner: usize, leader: usize, count: u64) {
        self.learns_by(learner, leader).wait_accepted(count).await;
    }

    fn learns_by(&self, learner: usize, leader: usize) -> &Proxy {
        &self.ways[&(learner, leader)].proxies[0]
    }

    fn both_ways(&self, one: usize, other: usize) -> impl Iterator<Item = &Proxy> {
        let ways = [(one, other), (other, one)].into_iter();
        ways.flat_map(|way| self.ways.get(&way).into_iter().flat_map(|way| &way.proxies))
    }
}

async fn start(members: &[Ports]) -> io::Result<BTreeMap<(usize, usize), Way>> {
    let mut at = BTreeMap::new();
    for from in 0..members.len() {
        for to in (0..members.len()).filter(|to| *to != from) {
            at.insert((from, to), Ports::free()?);
        }
    }
    let mut ways = BTreeMap::new();
    for (way @ (from, to), own) in &at {
        let back = at[&(*to, *from)].election;
        let proxies = [
            Proxy::start_at(own.quorum, members[*to].quorum, None).await?,
            Proxy::start_at(own.election, members[*to].election, Some(back)).await?,
        ];
        ways.insert(*way, Way { at: *own, proxies });
    }
    Ok(ways)
}
