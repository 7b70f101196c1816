//! How long writes stand still when a leader dies, seen by a client of a member that survives.
//!
//! The client writes one write after the other over a raw connection to one survivor and, once that is lost, tries
//! to resume its session there every 5 ms. What counts is the time from the leader's `kill -9` to the first
//! acknowledgement of a write sent after it. Both sides' ensembles run all the while and take turns.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        OnceLock,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use zk_proto::{Bytes, ErrorCode, OpCode, op::SetDataRequest};
use zk_tests::{ensemble::mode, process::Launcher};

use super::{
    Result,
    args::FailoverArgs,
    black_hole::{Network, Place},
    cluster::{self, Cluster},
    compare::refuse_memory,
    session::{Session, Ticket, prepare_nodes},
    work::{KEY, Shape, Work},
};

/// How long the writer waits before it connects again.
const AGAIN: Duration = Duration::from_millis(5);

const MEMBERS: usize = 3;

/// How many writes are acknowledged before a leader dies.
const WRITES_BEFORE: usize = 50;

/// How long nothing happens before a leader dies: a JVM that has just started is still busy with itself.
const REST: Duration = Duration::from_millis(1000);

/// Longer than any failover: detection of a silent leader takes `syncLimit` ticks.
const LIMIT: Duration = Duration::from_secs(120);

/// What ours must reach: the median, and nineteen of twenty.
const MEDIAN_GOAL: Duration = Duration::from_millis(60);
const P95_GOAL: Duration = Duration::from_millis(150);

/// How a leader goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// `kill -9`: its links are closed, its ports refuse.
    Killed,
    /// SIGSTOP: its links stay open, its ports accept, and nothing is said on them.
    Silent,
    /// Its address is a black hole: nothing reaches it, nothing of it reaches others, and nobody is told.
    Unreachable,
}

/// One outage, all times since the leader's end.
#[derive(Debug, Clone, Copy)]
struct Outage {
    /// When the survivor closed the writer's connection: it had noticed.
    noticed: Duration,
    /// When the survivor gave the writer its session back: it had a leader again.
    served: Duration,
    /// When the next write was acknowledged.
    acknowledged: Duration,
    attempts: u32,
}

struct Side {
    name: &'static str,
    cluster: Cluster,
    /// Where its members are, if each has a place of its own.
    places: Vec<Place>,
    outages: Vec<Outage>,
}

/// Runs it and prints what it found; fails where ours misses its goals.
pub(crate) fn failover(args: &FailoverArgs) -> Result<ExitCode> {
    refuse_memory(&args.dir)?;
    let mut network = match args.black_holes {
        0 => None,
        _ => Some(Network::begin()?),
    };
    let tick = args.tick.to_string();
    let settings = [("tickTime", tick.as_str())];
    let mut start = |name, launcher: Launcher| -> Result<Side> {
        let places = match &mut network {
            Some(network) => (0..MEMBERS)
                .map(|_| network.place())
                .collect::<Result<_>>()?,
            None => Vec::new(),
        };
        let apart = |place: &Place| (place.launcher(&launcher), place.addr());
        let apart: Vec<_> = places.iter().map(apart).collect();
        let cluster = match apart.is_empty() {
            true => Cluster::start_with(&launcher, MEMBERS, &args.dir, &settings)?,
            false => Cluster::start_apart(&apart, &args.dir, &settings)?,
        };
        let shape = Shape {
            work: Work::Set,
            connections: 1,
            depth: 1,
            size: 128,
            keys: 1,
        };
        prepare_nodes(&cluster.targets(), &shape)?;
        Ok(Side {
            name,
            cluster,
            places,
            outages: Vec::new(),
        })
    };
    let mut sides = vec![start("ours", cluster::ours(args.ours.as_deref())?)?];
    if !args.alone {
        sides.push(start("Apache", cluster::apache()?)?);
    }
    let mut good = true;
    for (end, runs) in [
        (End::Killed, args.runs),
        (End::Silent, args.stops),
        (End::Unreachable, args.black_holes),
    ] {
        for run in 0..runs {
            for side in &mut sides {
                side.run(run, end, Duration::from_millis(args.explain))?;
            }
        }
        good &= report(&mut sides, end);
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Side {
    /// Ends the leader once, measures, and brings it back.
    fn run(&mut self, number: usize, end: End, explain: Duration) -> Result<()> {
        let members = self.cluster.members();
        let leader = members.wait_for_leader()?;
        let all = members.addresses();
        // Two members that lead in turn are no reason to write at the third one only.
        let survivor = (leader + 1 + number / 2 % 2) % all.len();
        let target = all[survivor];
        let logged: Vec<usize> = members.iter().map(|member| member.log().len()).collect();
        thread::sleep(REST);
        let gone = OnceLock::new();
        let (tell, written) = channel();
        let (outage, began) = thread::scope(|scope| -> Result<_> {
            let writer = scope.spawn(|| {
                let written = write(target, &gone, &tell);
                drop(tell);
                written.map_err(|error| error.to_string())
            });
            // Fewer if it gives up; it says why when it is joined.
            let _ = written.iter().take(WRITES_BEFORE).count();
            let wall = SystemTime::now();
            let began = Instant::now();
            match end {
                End::Killed => members.member(leader).kill()?,
                End::Silent => members.member(leader).pause()?,
                End::Unreachable => self.places[leader].cut()?,
            }
            // What is sent from here on meets no leader that is still on its way out.
            let _ = gone.set((began, Instant::now()));
            let outage = writer.join().map_err(|_| "the writer panicked")??;
            Ok((outage, wall))
        })?;
        let new = members.wait_for_leader_but(leader)?;
        println!(
            "{:6} {number:2}: {:6.1} ms  (noticed {:5.1}, served {:5.1}; leader {} -> {}, writer at {}, {} attempts)",
            self.name,
            millis(outage.acknowledged),
            millis(outage.noticed),
            millis(outage.served),
            leader + 1,
            new + 1,
            survivor + 1,
            outage.attempts,
        );
        if self.name == "ours" && end == End::Killed && outage.acknowledged > explain {
            for (at, (member, before)) in members.iter().zip(logged).enumerate() {
                if at != leader {
                    print!("{}", phases(at + 1, &member.log()[before..], began));
                }
            }
        }
        self.outages.push(outage);
        match end {
            End::Killed => members.member(leader).start()?,
            End::Silent => {
                members.member(leader).resume()?;
                wait_to_follow(all[leader])?;
            }
            End::Unreachable => {
                self.places[leader].heal()?;
                let healed = Instant::now();
                wait_to_follow(all[leader])?;
                println!("       it follows {:.1} ms later", millis(healed.elapsed()));
            }
        }
        Ok(())
    }
}

/// Waits until a leader that stood still has found out that it leads no more; nobody is told of that but who asks.
fn wait_to_follow(addr: SocketAddr) -> Result<()> {
    let limit = Instant::now() + LIMIT;
    while mode(addr).as_deref() != Some("follower") {
        if Instant::now() > limit {
            return Err(format!("{addr} does not follow its successor").into());
        }
        thread::sleep(AGAIN);
    }
    Ok(())
}

/// Writes until a write that was sent after the leader had gone is acknowledged.
fn write(
    target: SocketAddr,
    gone: &OnceLock<(Instant, Instant)>,
    acknowledged: &Sender<()>,
) -> Result<Outage> {
    let limit = Instant::now() + LIMIT;
    let mut ticket = None;
    let (mut noticed, mut attempts) = (None, 0);
    while Instant::now() < limit {
        attempts += u32::from(noticed.is_some());
        let Ok(mut session) = attach(target, &mut ticket) else {
            thread::sleep(AGAIN);
            continue;
        };
        let served = Instant::now();
        loop {
            let sent = Instant::now();
            if set(&mut session).is_err() {
                break;
            }
            let _ = acknowledged.send(());
            if let Some((began, over)) = gone.get()
                && sent > *over
            {
                let since = |at: Instant| at.saturating_duration_since(*began);
                return Ok(Outage {
                    noticed: since(noticed.unwrap_or(*began)),
                    served: since(served),
                    acknowledged: began.elapsed(),
                    attempts,
                });
            }
        }
        noticed.get_or_insert_with(Instant::now);
        thread::sleep(AGAIN);
    }
    Err("nothing is acknowledged any more".into())
}

/// The session that there was, or a new one where it is known no more.
fn attach(target: SocketAddr, ticket: &mut Option<Ticket>) -> Result<Session> {
    let session = match ticket.take() {
        None => Session::open(target)?,
        Some(known) => {
            let resumed = Session::resume(target, known.clone());
            match resumed {
                Ok(Some(session)) => session,
                Ok(None) => return Err("the session has expired".into()),
                Err(error) => {
                    *ticket = Some(known);
                    return Err(error);
                }
            }
        }
    };
    *ticket = Some(session.ticket());
    Ok(session)
}

fn set(session: &mut Session) -> Result<()> {
    let record = SetDataRequest {
        path: KEY.into(),
        data: Some(Bytes::from_static(&[b'x'; 128])),
        version: -1,
    };
    session.ask(OpCode::SetData, &record);
    match session.answer()? {
        ErrorCode::Ok => Ok(()),
        code => Err(code.to_string().into()),
    }
}

/// What a member of ours logged, each line with its time since `began`.
fn phases(id: usize, log: &str, began: SystemTime) -> String {
    let began = began.duration_since(UNIX_EPOCH).unwrap_or_default();
    let day = f64::from(24 * 60 * 60);
    let began = began.as_secs_f64() % day;
    let mut text = String::new();
    for line in log.lines().map(without_colours) {
        // 2026-11-21T17:31:42.123456Z  INFO zk_server::...: what
        let (Some(clock), Some(what)) = (line.get(11..26), line.get(27..)) else {
            continue;
        };
        let mut parts = clock.splitn(3, ':').map(|part| part.parse::<f64>().ok());
        let (Some(Some(hours)), Some(Some(minutes)), Some(Some(seconds))) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let at = (hours * 60.0 + minutes) * 60.0 + seconds;
        let after = (at - began).rem_euclid(day) * 1e3;
        if after < LIMIT.as_secs_f64() * 1e3 {
            let _ = writeln!(text, "       {after:7.1} ms, member {id}: {}", what.trim());
        }
    }
    text
}

/// A line without the escape sequences (`ESC [ ... m`) that colour it.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let end = part.find('m').map_or(0, |end| end + 1);
        text + &part[end..]
    })
}

/// Prints the figures of both sides and forgets them; whether ours are as they must be.
fn report(sides: &mut [Side], end: End) -> bool {
    let mut good = true;
    for side in sides {
        let mut times: Vec<Duration> = side.outages.iter().map(|run| run.acknowledged).collect();
        side.outages.clear();
        times.sort_unstable();
        // The smallest that so many of a hundred do not exceed.
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.max(1) - 1).copied()
        };
        let (Some(median), Some(p95), Some(max)) = (at(50), at(95), times.last()) else {
            continue;
        };
        let what = match end {
            End::Killed => "leader killed -> next acknowledged write",
            End::Silent => "leader silent -> next acknowledged write",
            End::Unreachable => "leader unreachable -> next acknowledged write",
        };
        println!(
            "{what}, {}, {} runs: median {:.1} ms, p95 {:.1} ms, max {:.1} ms",
            side.name,
            times.len(),
            millis(median),
            millis(p95),
            millis(*max),
        );
        if side.name == "ours" && end == End::Killed {
            good &= median <= MEDIAN_GOAL && p95 <= P95_GOAL;
        }
    }
    good
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_logged_is_told_by_its_time_since_the_leader_went() {
        let began = UNIX_EPOCH + Duration::from_millis(1_000);
        let log = "\u{1b}[2m1970-01-01T00:00:01.250000Z\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m it leads\nno time\n";
        let told = phases(3, log, began);
        assert!(told.contains("250.0 ms, member 3: INFO it leads"), "{told}");
        assert_eq!(told.lines().count(), 1);
    }
}
