//! Ten thousand sockets that begin a large frame and say no more.
//!
//! Half of them have a session. Those without must be closed at once, the others are held; meanwhile the server's
//! memory and what a well-behaved client, in a process of its own, sees of it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    Result,
    args::HalfOpenArgs,
    cluster::{self, Cluster},
    session::Session,
    usage,
};

/// How long the sockets with a session are held.
const HOLD: Duration = Duration::from_secs(5);
/// How long the well-behaved client measures: all of the hold and what comes before and after.
const WATCH: Duration = Duration::from_secs(9);
/// How long the well-behaved client runs before the sockets speak; a server may close a silent one after a few
/// seconds.
const SETTLE: Duration = Duration::from_millis(1500);
/// The length each socket announces.
const LENGTH: i32 = 1 << 20;
/// What the memory may grow by.
const GROWTH: u64 = 100 << 20;
/// Descriptors for everything that is no socket of ours.
const SPARE: u64 = 64;

/// Runs it and prints what it found; fails where that is too much.
pub(crate) fn half_open(args: &HalfOpenArgs) -> Result<ExitCode> {
    let sockets = allowed(args.sockets)?;
    let launcher = cluster::ours(args.ours.as_deref())?;
    // A length of 1 MiB is one more than `jute.maxbuffer` allows by itself.
    let settings = [("jute.maxbuffer", "2097152")];
    let cluster = Cluster::start_with(&launcher, 1, &args.dir, &settings)?;
    let (addr, pids) = (cluster.targets()[0], cluster.pids());
    let quiet = p99_of(watcher(addr, WATCH)?)?;
    let before = usage::of(&pids)?.rss;
    let mut crowd = Crowd::open(addr, sockets)?;
    let opened = usage::of(&pids)?.rss;
    let watching = watcher(addr, WATCH)?;
    thread::sleep(SETTLE);
    crowd.speak()?;
    let (gone, most) = crowd.hold(&pids)?;
    let stormy = p99_of(watching)?;
    let growth = most.max(opened).saturating_sub(before);
    println!(
        "{sockets} sockets, half of them with a session, each with the length {LENGTH} and one byte"
    );
    println!(
        "those without a session: all closed after {} ms",
        gone.as_millis()
    );
    println!("those with one: all held for {} s", HOLD.as_secs());
    println!(
        "resident memory: {} MiB before, {} MiB with all open, {} MiB at most; growth {} MiB (at most {})",
        before >> 20,
        opened >> 20,
        most >> 20,
        growth >> 20,
        GROWTH >> 20
    );
    println!("well-behaved client: p99 {quiet} us in quiet, {stormy} us meanwhile (at most twice)");
    let good = growth <= GROWTH && stormy <= quiet * 2.0;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How many of the sockets wanted this process may open: the limit is raised as far as it can be.
fn allowed(wanted: usize) -> Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    let most = limit
        .maximum
        .map_or(u64::MAX, |most| most.saturating_sub(SPARE));
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if most < wanted {
        println!("the limit of file descriptors allows {most} sockets only");
    }
    Ok(wanted.min(most))
}

/// The well-behaved client.
fn watcher(addr: SocketAddr, duration: Duration) -> Result<Child> {
    let duration = duration.as_secs().to_string();
    let child = Command::new(std::env::current_exe()?)
        .args([
            "run",
            "--work",
            "mixed",
            "--connections",
            "1",
            "--depth",
            "1",
        ])
        .args(["--keys", "100", "--warmup", "0.5", "--duration", &duration])
        .args(["--connect", &addr.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

fn p99_of(child: Child) -> Result<f64> {
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    let (_, rest) = text.split_once("p99 ").ok_or("the client printed no p99")?;
    let figure = rest.split_whitespace().next().unwrap_or_default();
    Ok(figure.parse()?)
}

/// The sockets.
struct Crowd {
    without: Vec<TcpStream>,
    with: Vec<TcpStream>,
}

impl Crowd {
    fn open(addr: SocketAddr, sockets: usize) -> Result<Self> {
        let mut crowd = Self {
            without: Vec::new(),
            with: Vec::new(),
        };
        for _ in 0..sockets / 2 {
            crowd.with.push(Session::open(addr)?.into_stream());
        }
        for _ in 0..sockets - sockets / 2 {
            crowd.without.push(TcpStream::connect(addr)?);
        }
        Ok(crowd)
    }

    /// Each begins its frame.
    fn speak(&mut self) -> Result<()> {
        let mut bytes = LENGTH.to_be_bytes().to_vec();
        bytes.push(b'x');
        for socket in self.without.iter_mut().chain(&mut self.with) {
            socket.write_all(&bytes)?;
            socket.set_nonblocking(true)?;
        }
        Ok(())
    }

    /// Waits until all without a session are closed, and holds the others; returns how long the former took, and
    /// the largest memory seen.
    fn hold(&mut self, pids: &[u32]) -> Result<(Duration, u64)> {
        let began = Instant::now();
        let (mut gone, mut most) = (None, 0);
        while began.elapsed() < HOLD {
            if gone.is_none() {
                self.without.retain_mut(is_open);
                gone = self.without.is_empty().then(|| began.elapsed());
            }
            most = most.max(usage::of(pids)?.rss);
            thread::sleep(Duration::from_millis(20));
        }
        let mut lost = 0;
        for socket in &mut self.with {
            lost += usize::from(!is_open(socket));
        }
        if lost > 0 {
            return Err(format!("{lost} sockets with a session were closed too early").into());
        }
        let open = self.without.len();
        let gone =
            gone.ok_or_else(|| format!("{open} sockets without a session were never closed"))?;
        Ok((gone, most))
    }
}

fn is_open(socket: &mut TcpStream) -> bool {
    let mut byte = [0];
    matches!(socket.read(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
}
