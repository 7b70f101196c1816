//! Many sessions that watch one node, and how long it takes until all of them are told.
//!
//! Beside it, in turns, the same from the bare server of [`floor`](super::floor), which writes the same frame to as many
//! sockets and does nothing else.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use zk_proto::{
    Bytes, ErrorCode, OpCode, Xid,
    frame::{MAX_BUFFER, put_frame, take_frame},
    header::RequestHeader,
    op::{GetDataRequest, SetDataRequest},
};
use zk_tests::process::Launcher;

use super::{
    Result,
    args::FanOutArgs,
    cluster::{self, Cluster},
    session::{ANSWER_LIMIT, Session},
};

const NODE: &str = "/watched";

/// How many times the bare server's time ours may take.
const SLOWER: f64 = 1.5;

/// Runs it and prints what it found; fails where ours takes too long.
pub(crate) fn fan_out(args: &FanOutArgs) -> Result<ExitCode> {
    let ours = Cluster::start(&cluster::ours(args.ours.as_deref())?, 1, &args.dir)?;
    let floor = Launcher::new(std::env::current_exe()?, ["floor"]);
    let floor = Cluster::start(&floor, 1, &args.dir)?;
    let mut is_good = true;
    for watchers in [1000, 5000] {
        // The bare server first: its sessions do not expire while the others are opened.
        let floor = Crowd::open(floor.targets()[0], watchers)?;
        let mut sides = [Crowd::open(ours.targets()[0], watchers)?, floor];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..args.rounds.max(1) {
            for (crowd, times) in sides.iter_mut().zip(&mut times) {
                times.push(crowd.round()?);
            }
        }
        let [ours, floor] = times.map(median);
        let slower = ours.as_secs_f64() / floor.as_secs_f64();
        is_good &= slower <= SLOWER;
        println!(
            "{watchers} watchers of one node, all told after {:.1} ms; by a bare server {:.1} ms: {slower:.2} times (at most {SLOWER})",
            ours.as_secs_f64() * 1e3,
            floor.as_secs_f64() * 1e3,
        );
    }
    Ok(match is_good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Sessions that watch, and one that writes.
struct Crowd {
    poll: Poll,
    watchers: Vec<Watcher>,
    writer: Session,
}

struct Watcher {
    stream: TcpStream,
    input: BytesMut,
    frames: usize,
}

impl Crowd {
    fn open(addr: SocketAddr, watchers: usize) -> Result<Self> {
        let mut writer = Session::open(addr)?;
        writer.ensure(NODE)?;
        let mut crowd = Self {
            poll: Poll::new()?,
            watchers: Vec::with_capacity(watchers),
            writer,
        };
        for at in 0..watchers {
            let stream = Session::open(addr)?.into_stream();
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let registry = crowd.poll.registry();
            registry.register(&mut stream, Token(at), Interest::READABLE)?;
            crowd.watchers.push(Watcher {
                stream,
                input: BytesMut::new(),
                frames: 0,
            });
        }
        Ok(crowd)
    }

    /// Everybody watches; how long after the write was sent has everybody heard of it?
    fn round(&mut self) -> Result<Duration> {
        let mut watch = BytesMut::new();
        let header = RequestHeader {
            xid: Xid(1),
            op: OpCode::GetData.code(),
        };
        let get = GetDataRequest {
            path: NODE.into(),
            watch: true,
        };
        put_frame(&mut watch, &[&header, &get]);
        for watcher in &mut self.watchers {
            watcher.stream.write_all(&watch)?;
        }
        self.hear_one_frame_each()?;
        let set = SetDataRequest {
            path: NODE.into(),
            data: Some(Bytes::from_static(b"x")),
            version: -1,
        };
        let begun = Instant::now();
        self.writer.tell(OpCode::SetData, &set)?;
        self.hear_one_frame_each()?;
        let told = begun.elapsed();
        match self.writer.answer()? {
            ErrorCode::Ok => Ok(told),
            code => Err(format!("set {NODE}: {code}").into()),
        }
    }

    fn hear_one_frame_each(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut silent = 0;
        for watcher in &mut self.watchers {
            watcher.frames = 0;
            silent += 1;
        }
        let limit = Instant::now() + ANSWER_LIMIT;
        while silent > 0 {
            self.poll.poll(&mut events, Some(Duration::from_secs(1)))?;
            for event in &events {
                let watcher = &mut self.watchers[event.token().0];
                let before = watcher.frames;
                watcher.receive()?;
                silent -= usize::from(before == 0 && watcher.frames > 0);
            }
            if Instant::now() > limit {
                return Err(format!("{silent} sessions hear nothing").into());
            }
        }
        Ok(())
    }
}

impl Watcher {
    fn receive(&mut self) -> Result<()> {
        let mut chunk = [0; 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(len) => self.input.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        while take_frame(&mut self.input, MAX_BUFFER)?.is_some() {
            self.frames += 1;
        }
        Ok(())
    }
}
