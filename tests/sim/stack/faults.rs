//! What goes wrong, and starting again.

use zk_server::{
    election,
    peer::{Input, QuorumInput},
};

use super::{Event, World, id};
use crate::node::spoil;

impl World {
    pub(super) fn start(&mut self, server: usize) {
        if self.servers[server].process.is_some() {
            return;
        }
        let config = self.config(server);
        self.servers[server].start(self.now, config, self.answers_early);
        self.input(server, Input::Quorum(QuorumInput::Start));
        for other in 0..self.servers.len() {
            if other != server && self.servers[other].process.is_some() {
                self.election(server, other, election::Input::Reachable(id(other)));
                self.election(other, server, election::Input::Reachable(id(server)));
            }
        }
    }

    pub(super) fn stop(&mut self, server: usize, power: bool) {
        if self.servers[server].process.take().is_none() {
            return;
        }
        match power {
            true => self.servers[server].disk.power_cut(self.random.u64(..)),
            false => self.servers[server].disk.kill(),
        }
        self.close_links(server);
        for other in 0..self.servers.len() {
            if other != server && self.servers[other].process.is_some() {
                self.election(other, server, election::Input::Unreachable(id(server)));
            }
        }
        let conns: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| link.1 == server)
            .map(|(id, _)| *id)
            .collect();
        for conn in conns {
            let at = self.soon(2);
            self.schedule(at, Event::ToClient { conn, bytes: None });
        }
        let at = self.soon(900);
        self.schedule(at, Event::Start(server));
    }

    /// Stops a server and spoils a record in its log that another one follows; false if there is none. Always the same
    /// server: what two have forgotten nobody may know.
    fn damage(&mut self, server: usize) -> bool {
        let spoiled = self.servers.iter().position(|other| other.spoiled);
        let server = spoiled.unwrap_or(server);
        self.stop(server, false);
        let choice = self.random.usize(..);
        let damaged = spoil(&self.servers[server].disk, choice);
        self.servers[server].spoiled |= damaged;
        damaged
    }

    /// The connection of a client breaks.
    fn reset_client(&mut self) {
        let conns: Vec<_> = self.links.keys().copied().collect();
        if let Some(conn) = conns.get(self.random.usize(0..conns.len().max(1))) {
            self.schedule(
                self.now,
                Event::ToClient {
                    conn: *conn,
                    bytes: None,
                },
            );
            self.schedule(
                self.now,
                Event::ToServer {
                    conn: *conn,
                    bytes: None,
                },
            );
        }
    }

    pub(super) fn fault(&mut self) {
        if self.calm {
            return;
        }
        let at = self.soon(1_500);
        self.schedule(at, Event::Fault);
        let server = self.random.usize(0..self.servers.len());
        let fault = match self.random.u8(0..9) {
            0 => {
                self.stop(server, false);
                "kill"
            }
            1 => {
                self.stop(server, true);
                "power cut"
            }
            2 => {
                for server in 0..self.servers.len() {
                    self.stop(server, true);
                }
                "power cut of all"
            }
            3 => {
                let until = self.soon(1_500);
                for other in 0..self.servers.len() {
                    self.network.cut(server, other, until);
                }
                self.schedule(until, Event::Heal);
                "isolation"
            }
            4 => {
                // One that is over sooner does not end the other: what waits for its end would be overtaken.
                let until = self.soon(1_500);
                let paused = &mut self.servers[server].paused_until;
                *paused = (*paused).max(until);
                "pause"
            }
            5 => {
                self.reset_links(server);
                "reset of a server's links"
            }
            6 => {
                self.reset_client();
                "reset of a client"
            }
            7 => {
                if !self.damage(server) {
                    return;
                }
                "damaged log"
            }
            _ => {
                self.servers[server].skew_ms = self.random.i64(-3_600_000..3_600_000);
                "clock"
            }
        };
        *self.faults.entry(fault).or_default() += 1;
    }
}
