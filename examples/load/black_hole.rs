//! Servers in network namespaces of their own, so that the address of one can become a black hole.
//!
//! Namespaces and not addresses of one loopback device, because a server's outgoing connections come from its own
//! address only where it has no other. All of them hang together by this process's namespace, which routes between
//! them; a routing rule there drops what goes to one of them and what comes from it without telling anybody.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use zk_tests::process::Launcher;

use super::Result;

/// How long a namespace may take to come about.
const LIMIT: Duration = Duration::from_secs(10);

/// The network that this process routes.
#[derive(Debug)]
pub(crate) struct Network {
    places: u8,
}

/// A namespace with one address; it ends with this.
#[derive(Debug)]
pub(crate) struct Place {
    /// Keeps it.
    holder: Child,
    addr: Ipv4Addr,
}

impl Network {
    /// Begins one in this process's namespace, which must have nothing but its loopback device: `unshare --net`.
    pub(crate) fn begin() -> Result<Self> {
        let devices = fs::read_to_string("/proc/net/dev")?;
        let mut others = devices.lines().filter_map(|line| line.split_once(':'));
        if let Some((name, _)) = others.find(|(name, _)| name.trim() != "lo") {
            return Err(format!(
                "black holes are not made in the machine's own network (it has {}): run this below `unshare --net`",
                name.trim()
            )
            .into());
        }
        run("ip link set lo up")?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        Ok(Self { places: 0 })
    }

    /// One more place, reachable from this process and from all others.
    pub(crate) fn place(&mut self) -> Result<Place> {
        self.places += 1;
        let number = self.places;
        let own = fs::read_link("/proc/self/ns/net")?;
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "infinity"]);
        let place = Place {
            holder: command
                .stdin(Stdio::null())
                .spawn()
                .map_err(|error| format!("unshare: {error}"))?,
            addr: Ipv4Addr::new(10, 99, number, 2),
        };
        let pid = place.holder.id();
        let limit = Instant::now() + LIMIT;
        // Until `unshare` has done its work it is in this namespace, and before that nowhere.
        while fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|its| its == own) {
            if Instant::now() > limit {
                return Err("unshare makes no network namespace".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        run(&format!(
            "ip link add zk{number} type veth peer name eth0 netns {pid}"
        ))?;
        run(&format!(
            "ip address add 10.99.{number}.1/30 dev zk{number}"
        ))?;
        run(&format!("ip link set zk{number} up"))?;
        let within = |command: &str| run(&format!("nsenter --net=/proc/{pid}/ns/net {command}"));
        within("ip link set lo up")?;
        within(&format!("ip address add {}/30 dev eth0", place.addr))?;
        within("ip link set eth0 up")?;
        within(&format!("ip route add default via 10.99.{number}.1"))?;
        Ok(place)
    }
}

impl Place {
    pub(crate) fn addr(&self) -> IpAddr {
        self.addr.into()
    }

    /// The command that runs this server here.
    pub(crate) fn launcher(&self, launcher: &Launcher) -> Launcher {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        launcher.through(["nsenter".to_owned(), namespace])
    }

    /// Makes the address a black hole.
    pub(crate) fn cut(&self) -> Result<()> {
        self.rules("add")
    }

    /// Ends that.
    pub(crate) fn heal(&self) -> Result<()> {
        self.rules("del")
    }

    fn rules(&self, what: &str) -> Result<()> {
        for side in ["from", "to"] {
            run(&format!("ip rule {what} {side} {} blackhole", self.addr))?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn run(command: &str) -> Result<()> {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default();
    let ended = Command::new(program).args(words).output();
    let ended = ended.map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("there is no {program} here"),
        _ => format!("{command}: {error}"),
    })?;
    match ended.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&ended.stderr);
            Err(format!("{command}: {}", said.trim()).into())
        }
    }
}
