//! Clients' connections.

use bytes::Bytes;
use zk_tests::requests::create;

use super::{
    Event, MS, Owner, World,
    client::{QUEUE, SHARED},
};

impl World {
    pub(super) fn client(&mut self, client: usize) {
        if self.calm {
            return;
        }
        if self.random.u8(0..200) == 0 {
            return self.sleep(client);
        }
        let at = self.soon(40);
        self.schedule(at, Event::Client(client));
        let Some(conn) = self.conn_of[client] else {
            return self.dial(client);
        };
        if self.clients[client].has_session() && self.clients[client].unanswered() < 8 {
            let mut bytes = Vec::new();
            for _ in 0..self.random.usize(1..4) {
                let asked = self.clients[client].ask(&mut self.random, &self.history);
                bytes.extend_from_slice(&asked);
            }
            self.send(conn, bytes.into());
        }
    }

    /// The client's machine sleeps for longer than its session lasts.
    fn sleep(&mut self, client: usize) {
        if let Some(conn) = self.conn_of[client] {
            let now = self.now;
            self.schedule(now, Event::ToClient { conn, bytes: None });
            self.schedule(now, Event::ToServer { conn, bytes: None });
        }
        let wakes = self.now + 3_000 * MS;
        self.schedule(wakes, Event::Client(client));
    }

    pub(super) fn dial(&mut self, client: usize) {
        let server = self.random.usize(0..self.servers.len());
        let Some(conn) = self.open(Owner::Client(client), server) else {
            return;
        };
        self.conn_of[client] = Some(conn);
        let hello = self.clients[client].greet();
        self.send(conn, hello);
    }

    /// A connection to a server, if it is up.
    pub(super) fn open(&mut self, owner: Owner, server: usize) -> Option<u64> {
        let now = self.servers[server].now(self.now);
        let incarnation = self.servers[server].incarnation;
        let process = self.servers[server].process.as_mut()?;
        self.last_conn += 1;
        process.accept(self.last_conn, now);
        let link = (owner, server, incarnation);
        self.links.insert(self.last_conn, link);
        Some(self.last_conn)
    }

    pub(super) fn dial_first(&mut self) {
        match self.conn_of[0] {
            None => self.dial(0),
            Some(conn) if self.clients[0].has_session() && self.clients[0].unanswered() == 0 => {
                let first = match self.history.acknowledged.len() {
                    0 => create(SHARED, b"first"),
                    _ => create(QUEUE, b""),
                };
                let bytes = self.clients[0].ask_for(first, &self.history);
                self.send(conn, bytes);
            }
            Some(_) => {}
        }
    }

    pub(super) fn send(&mut self, conn: u64, bytes: Bytes) {
        let at = self.soon(2);
        let at = self.network.after_last((conn as usize + 1_000, 0), at);
        // Cut anywhere, as a network does.
        let mut bytes = bytes;
        let first = bytes.split_to(self.random.usize(0..=bytes.len()));
        self.schedule(
            at,
            Event::ToServer {
                conn,
                bytes: Some(first),
            },
        );
        let at = self
            .network
            .after_last((conn as usize + 1_000, 0), at + MS / 20);
        self.schedule(
            at,
            Event::ToServer {
                conn,
                bytes: Some(bytes),
            },
        );
    }

    pub(super) fn at_server(&mut self, conn: u64, bytes: Option<Bytes>) {
        let Some((_, server, incarnation)) = self.links.get(&conn).copied() else {
            return;
        };
        if !self.is_current(server, incarnation) {
            return;
        }
        if bytes.as_ref().is_some_and(|bytes| !bytes.is_empty()) {
            self.note_bytes(server, conn);
        }
        let now = self.servers[server].now(self.now);
        let Some(process) = &mut self.servers[server].process else {
            return;
        };
        let mut inputs = Vec::new();
        match bytes {
            None => {
                process.hang_up(conn, &mut inputs);
                if !self.is_held(conn) {
                    self.links.remove(&conn);
                }
            }
            Some(bytes) => {
                let served = process.serve(conn, now, &bytes);
                inputs = served.to_peer;
                let at = self.soon(2);
                let at = self.network.after_last((conn as usize + 1_000, 1), at);
                if !served.to_client.is_empty() {
                    let bytes = Some(served.to_client);
                    self.schedule(at, Event::ToClient { conn, bytes });
                }
                if served.ended {
                    let at = self
                        .network
                        .after_last((conn as usize + 1_000, 1), at + MS / 20);
                    self.schedule(at, Event::ToClient { conn, bytes: None });
                }
            }
        }
        for input in inputs {
            self.input(server, input);
        }
    }

    /// Whether its client still has this connection.
    pub(super) fn is_held(&self, conn: u64) -> bool {
        match self.links.get(&conn) {
            Some((Owner::Client(client), ..)) => self.conn_of[*client] == Some(conn),
            Some((Owner::Session(at), ..)) => self.seats[*at].conn == Some(conn),
            None => false,
        }
    }

    pub(super) fn at_client(&mut self, conn: u64, bytes: Option<Bytes>) {
        let Some((owner, ..)) = self.links.get(&conn).copied() else {
            return;
        };
        match (owner, bytes) {
            (Owner::Session(at), bytes) => self.at_session(at, conn, bytes.as_deref()),
            (Owner::Client(client), Some(bytes)) => {
                self.clients[client].hear(&bytes, &mut self.history);
            }
            (Owner::Client(client), None) => {
                self.clients[client].cut(&mut self.history);
                self.links.remove(&conn);
                self.conn_of[client] = None;
            }
        }
    }
}
