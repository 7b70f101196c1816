//! One connection of the closed loop: a full pipeline, refilled as the answers come.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    time::Instant,
};

use mio::net::TcpStream;
use zk_proto::{
    Acl, Bytes, CreateMode, OpCode,
    op::{CreateRequest, DeleteRequest, GetDataRequest, SetDataRequest},
};

use super::{
    Result,
    answer::{InFlight, check},
    engine::Tally,
    session::{Session, create},
    template::{DIGITS, Template, digits},
    work::{KEY, Kind, LOCKS, Shape, created_by},
};

/// The least room for answers; grows with the shape's data.
const INPUT: usize = 256 * 1024;

/// The frames one connection sends.
#[derive(Debug)]
struct Templates {
    get: Template,
    set: Template,
    create: Template,
    create_lock: Template,
    delete: Template,
}

/// A session under load.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    templates: Templates,
    shape: Shape,
    rng: fastrand::Rng,
    in_flight: VecDeque<InFlight>,
    xid: i32,
    created: u32,
    draining: bool,
    out: Vec<u8>,
    written: usize,
    input: Box<[u8]>,
    begin: usize,
    end: usize,
}

impl Connection {
    /// Puts a session, which waits for nothing, under load; `seed` decides its keys.
    pub(crate) fn new(session: Session, shape: &Shape, seed: u64) -> Result<Self> {
        let templates = Templates::new(session.id, shape);
        let stream = session.into_stream();
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            templates,
            shape: *shape,
            rng: fastrand::Rng::with_seed(seed),
            in_flight: VecDeque::with_capacity(shape.depth),
            xid: 0,
            created: 0,
            draining: false,
            out: Vec::new(),
            written: 0,
            input: vec![0; INPUT.max(2 * (shape.size + 1024))].into_boxed_slice(),
            begin: 0,
            end: 0,
        })
    }

    pub(crate) fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Fills the pipeline for the first time.
    pub(crate) fn start(&mut self, now: Instant) -> Result<()> {
        for _ in 0..self.shape.depth {
            let kind = self.shape.work.next(&mut self.rng);
            self.submit(kind, now, None);
        }
        self.flush()
    }

    /// Sends nothing new from now on.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether an answer is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// When the oldest request without an answer was sent.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.in_flight.front().map(|oldest| oldest.since)
    }

    /// Queues the end of the session.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.out.extend_from_slice(&8_i32.to_be_bytes());
        self.out.extend_from_slice(&0_i32.to_be_bytes());
        self.out
            .extend_from_slice(&OpCode::CloseSession.code().to_be_bytes());
        self.flush()
    }

    /// Takes every answer that has arrived and refills the pipeline.
    pub(crate) fn pump(&mut self, tally: &mut Tally) -> Result<()> {
        loop {
            self.make_room();
            match self.stream.read(&mut self.input[self.end..]) {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(len) => {
                    // A short read has emptied the socket: the next arrival wakes us again.
                    let emptied = len < self.input.len() - self.end;
                    self.end += len;
                    self.take_answers(tally)?;
                    if emptied {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.flush()
    }

    fn make_room(&mut self) {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        } else if self.end == self.input.len() {
            self.input.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
    }

    fn take_answers(&mut self, tally: &mut Tally) -> Result<()> {
        let now = Instant::now();
        while let Some(prefix) = self.input[self.begin..self.end].first_chunk::<4>() {
            let len = usize::try_from(i32::from_be_bytes(*prefix))?;
            let body = self.begin + 4..self.begin + 4 + len;
            if len > self.input.len() - 4 {
                return Err(format!("an answer of {len} bytes is longer than any expected").into());
            }
            if body.end > self.end {
                break;
            }
            self.begin = body.end;
            let Some(asked) = self.in_flight.pop_front() else {
                return Err("an answer to no question".into());
            };
            let counter = check(&asked, &self.input[body], &self.shape)?;
            tally.record(now.duration_since(asked.since));
            if self.draining {
                continue;
            }
            match asked.kind {
                Kind::CreateLock => self.submit(Kind::Delete, now, counter),
                _ => {
                    let kind = self.shape.work.next(&mut self.rng);
                    self.submit(kind, now, None);
                }
            }
        }
        Ok(())
    }

    fn submit(&mut self, kind: Kind, now: Instant, counter: Option<[u8; DIGITS]>) {
        self.xid = self.xid.wrapping_add(1) & i32::MAX;
        let end = match kind {
            Kind::Get | Kind::Set => Some(digits(self.rng.u32(0..self.shape.keys))),
            Kind::Create => {
                self.created += 1;
                Some(digits(self.created))
            }
            Kind::CreateLock => None,
            Kind::Delete => counter,
        };
        let template = self.templates.of(kind);
        template.append(&mut self.out, self.xid, end);
        self.in_flight.push_back(InFlight {
            kind,
            xid: self.xid,
            since: now,
        });
    }

    fn flush(&mut self) -> Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(len) => self.written += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }
}

impl Templates {
    fn new(session: i64, shape: &Shape) -> Self {
        let data = Bytes::from(vec![b'y'; shape.size]);
        let made = format!("{}/0000000000", created_by(session));
        let lock = format!("{LOCKS}/lock-");
        let doomed = format!("{lock}0000000000");
        let get = GetDataRequest {
            path: KEY.into(),
            watch: false,
        };
        let set = SetDataRequest {
            path: KEY.into(),
            data: Some(data.clone()),
            version: -1,
        };
        let locking = CreateRequest {
            path: lock.as_str().into(),
            data: Some(Bytes::new()),
            acl: Acl::open(),
            flags: CreateMode::EphemeralSequential as i32,
        };
        let delete = DeleteRequest {
            path: doomed.as_str().into(),
            version: -1,
        };
        Self {
            get: Template::new(OpCode::GetData, KEY, &get),
            set: Template::new(OpCode::SetData, KEY, &set),
            create: Template::new(OpCode::Create, &made, &create(&made, data)),
            create_lock: Template::new(OpCode::Create, &lock, &locking),
            delete: Template::new(OpCode::Delete, &doomed, &delete),
        }
    }

    fn of(&self, kind: Kind) -> &Template {
        match kind {
            Kind::Get => &self.get,
            Kind::Set => &self.set,
            Kind::Create => &self.create,
            Kind::CreateLock => &self.create_lock,
            Kind::Delete => &self.delete,
        }
    }
}
