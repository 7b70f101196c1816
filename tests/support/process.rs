//! A server as a process of its own: started from a `zoo.cfg`, killed, stopped and started again.
//!
//! Invariants: dropping a [`ServerProcess`] kills its process, reaps it and, where the directory was made
//! for it, removes the directory (not so when a test fails and `ZK_TESTS_KEEP` is set). A restart keeps address,
//! configuration and data.
//!
//! Deliberately not here: servers embedded in the test's own process.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the outside world is its subject"
)]

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::retry_on_intr,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};
use tempfile::TempDir;

use crate::ports;

/// How long a server may take to answer for the first time. A JVM on a busy machine needs seconds.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a server may take to stop after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How often a starting process is asked. That it listens is nothing yet, and what it logs when it serves is another line
/// for every make and version; that it answers is what both promise, and nobody is told when it begins to.
const GLANCE: Duration = Duration::from_millis(5);

/// The command that starts a server, complete but for the path of its `zoo.cfg`.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Launcher {
    /// A command of one's own; the configuration's path is appended to `args`.
    pub fn new<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
        }
    }

    /// Our server: `program` is the `zk-server` binary.
    pub fn zk_server(program: impl Into<PathBuf>) -> Self {
        Self::new(program, ["run"])
    }

    /// The same command, started by another one that becomes it: `words` stand before it (`nsenter --net=...`).
    #[must_use]
    pub fn through<W: Into<OsString>>(&self, words: impl IntoIterator<Item = W>) -> Self {
        let mut words = words.into_iter().map(Into::into);
        let Some(program) = words.next() else {
            return self.clone();
        };
        let own = self.args.iter().cloned();
        let args = words.chain([self.program.clone().into()]).chain(own);
        Self {
            program: program.into(),
            args: args.collect(),
        }
    }

    /// The program that is started.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn spawn(&self, config: &Path, log: &Path) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        Command::new(&self.program)
            .args(&self.args)
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", self.program.display()))
            })
    }
}

/// A process, and the news of its end.
#[derive(Debug)]
struct Running {
    child: Child,
    end: Arc<End>,
}

#[derive(Debug, Default)]
struct End {
    has_come: Mutex<bool>,
    comes: Condvar,
}

impl Running {
    fn watch(child: Child) -> Self {
        let (end, pid) = (Arc::new(End::default()), Pid::from_child(&child));
        let told = Arc::clone(&end);
        thread::spawn(move || {
            // Not reaped here: until its owner does that, the id is nobody else's.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), options));
            *told.has_come.lock().unwrap_or_else(PoisonError::into_inner) = true;
            told.comes.notify_all();
        });
        Self { child, end }
    }

    /// Waits for its end, so long at most.
    fn ends_within(&self, limit: Duration) -> bool {
        let has_come = self.end.has_come.lock();
        let has_come = has_come.unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .end
            .comes
            .wait_timeout_while(has_come, limit, |it| !*it);
        let (has_come, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *has_come
    }
}

/// One server with a directory and an address that are its own.
#[derive(Debug)]
pub struct ServerProcess {
    launcher: Launcher,
    running: Option<Running>,
    addr: SocketAddr,
    dir: TempDir,
}

impl ServerProcess {
    /// Writes the configuration of a server in a temporary directory, on a free loopback port; nothing runs yet.
    ///
    /// # Errors
    /// As [`prepare_in`](Self::prepare_in).
    pub fn prepare(launcher: Launcher, settings: &[(&str, &str)]) -> io::Result<Self> {
        Self::prepare_in(TempDir::with_prefix("zk-")?, launcher, settings)
    }

    /// Writes the configuration of a server in `dir`, on a free loopback port; nothing runs yet.
    ///
    /// `settings` are `zoo.cfg` keys; they override the ones every server gets (`tickTime`, `dataDir`,
    /// `clientPort`, `clientPortAddress`, `admin.enableServer=false`, every four-letter word allowed, no
    /// limit on connections).
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn prepare_in(
        dir: TempDir,
        launcher: Launcher,
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        let server = Self {
            launcher,
            running: None,
            addr: ports::free()?,
            dir,
        };
        fs::create_dir(server.data_dir())?;
        server.configure(settings)?;
        Ok(server)
    }

    /// A running server in a temporary directory.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare) and [`start`](Self::start).
    pub fn launch(launcher: Launcher, settings: &[(&str, &str)]) -> io::Result<Self> {
        let mut server = Self::prepare(launcher, settings)?;
        server.start()?;
        Ok(server)
    }

    /// Writes the configuration again; it holds from the next start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, settings: &[(&str, &str)]) -> io::Result<()> {
        let port = self.addr.port().to_string();
        let data_dir = self.data_dir();
        let host = self.addr.ip().to_string();
        let basic = [
            ("tickTime", "2000"),
            ("dataDir", data_dir.to_str().unwrap_or_default()),
            ("clientPort", &port),
            ("clientPortAddress", &host),
            ("maxClientCnxns", "0"),
            ("admin.enableServer", "false"),
            ("4lw.commands.whitelist", "*"),
        ];
        let mut text = String::new();
        let overridden = |key: &str| settings.iter().any(|(name, _)| *name == key);
        let kept = basic.iter().filter(|(key, _)| !overridden(key));
        for (key, value) in kept.chain(settings) {
            let _ = writeln!(text, "{key}={value}");
        }
        fs::write(self.config_file(), text)
    }

    /// From the next start on it is this command that serves: same directory, same configuration.
    pub fn launch_as(&mut self, launcher: Launcher) {
        self.launcher = launcher;
    }

    /// From now on it is here that it is found; that it serves here is its configuration's business.
    pub fn move_to(&mut self, addr: SocketAddr) {
        self.addr = addr;
    }

    /// Starts the process and waits until it serves. Blocks the calling thread for as long.
    ///
    /// # Errors
    /// When the process cannot be spawned, ends, or does not serve within a minute; the text holds the end of its
    /// log.
    pub fn start(&mut self) -> io::Result<()> {
        self.spawn()?;
        self.wait_until_serving()
    }

    /// Starts the process without waiting: an ensemble's member serves only once others run too.
    ///
    /// # Errors
    /// When it runs already or cannot be spawned.
    pub fn spawn(&mut self) -> io::Result<()> {
        if self.running.is_some() {
            return Err(io::Error::other("the server runs already"));
        }
        let child = self.launcher.spawn(&self.config_file(), &self.log_file())?;
        self.running = Some(Running::watch(child));
        Ok(())
    }

    /// Waits until the server answers `srvr` with its mode. Blocks the calling thread for as long.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn wait_until_serving(&mut self) -> io::Result<()> {
        let limit = Instant::now() + START_LIMIT;
        loop {
            match four_letter_word(self.addr, "srvr") {
                Ok(answer) if answer.contains("Mode: ") => return Ok(()),
                _ => {}
            }
            if let Some(status) = self.exited()? {
                return Err(self.failure(&format!("ended with {status} instead of serving")));
            }
            if Instant::now() > limit {
                return Err(self.failure("does not serve"));
            }
            if let Some(running) = &self.running {
                running.ends_within(GLANCE);
            }
        }
    }

    /// Ends the process with SIGKILL and reaps it; without a running process, nothing.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(Running { mut child, .. }) = self.running.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks the process to stop (SIGTERM) and waits until it has. Blocks the calling thread for as long.
    ///
    /// # Errors
    /// When nothing runs, or it has not stopped within half a minute; it is killed then.
    pub fn terminate(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        match &mut self.running {
            Some(running) if running.ends_within(STOP_LIMIT) => {
                let status = running.child.wait()?;
                self.running = None;
                Ok(status)
            }
            _ => {
                self.kill()?;
                Err(self.failure("does not stop"))
            }
        }
    }

    /// Stands the process still (SIGSTOP): its connections stay open, and nothing is answered on them.
    ///
    /// # Errors
    /// When nothing runs.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a process that stands still go on (SIGCONT).
    ///
    /// # Errors
    /// When nothing runs.
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.ok_or_else(|| io::Error::other("no server runs"))?;
        Ok(kill_process(pid, signal)?)
    }

    /// The exit status of a process that has ended by itself since it was started.
    ///
    /// # Errors
    /// When the process cannot be asked.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = match &mut self.running {
            Some(running) => running.child.try_wait()?,
            None => None,
        };
        if status.is_some() {
            self.running = None;
        }
        Ok(status)
    }

    /// Where clients connect; the same after a restart.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// `dataDir`.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Everything the process has written to its standard output and error, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn config_file(&self) -> PathBuf {
        self.dir.path().join("zoo.cfg")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    fn failure(&self, what: &str) -> io::Error {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        let program = self.launcher.program.display();
        io::Error::other(format!(
            "{program} at {} {what}; its log ends with:\n{tail}",
            self.addr
        ))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.kill();
        // What a failure is explained by.
        if thread::panicking() && env::var_os("ZK_TESTS_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            let _ = writeln!(io::stderr(), "kept: {}", self.dir.path().display());
        }
    }
}

/// Sends a four-letter word on a connection of its own and returns the answer.
///
/// # Errors
/// When nobody listens there, or the answer does not come within two seconds.
pub fn four_letter_word(addr: SocketAddr, word: &str) -> io::Result<String> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&addr, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Launcher {
        Launcher::new("sh", ["-c", script, "sh"])
    }

    fn is_alive(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_command_goes_through_another_one() {
        let launcher = shell("echo $0 $1 $TOLD; exit 3").through(["env", "TOLD=so"]);
        let mut server = ServerProcess::prepare(launcher, &[]).unwrap();
        let config = server.config_file().display().to_string();
        let error = server.start().unwrap_err().to_string();
        let expected = format!("sh {config} so");
        assert!(error.contains(&expected), "{error}");
        assert_eq!(shell("").through([""; 0]).program(), Path::new("sh"));
    }

    #[test]
    fn a_server_that_ends_instead_of_serving_says_why() {
        let mut server = ServerProcess::prepare(shell("echo boom; exit 3"), &[]).unwrap();
        let error = server.start().unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("boom"),
            "{error}"
        );
        assert_eq!(server.pid(), None);
    }

    #[test]
    fn a_dropped_server_takes_its_process_and_its_directory_along() {
        let mut server = ServerProcess::prepare(shell("exec sleep 600"), &[]).unwrap();
        server.spawn().unwrap();
        let (pid, dir) = (server.pid().unwrap(), server.data_dir());
        assert!(is_alive(pid) && dir.is_dir());
        drop(server);
        assert!(!is_alive(pid) && !dir.exists());
    }

    #[test]
    fn sigterm_is_sent_and_its_status_returned() {
        let script = "trap 'exit 7' TERM; echo > ${1%zoo.cfg}ready; while :; do sleep 0.01; done";
        let mut server = ServerProcess::prepare(shell(script), &[]).unwrap();
        let ready = server.dir.path().join("ready");
        assert!(
            Command::new("mkfifo")
                .arg(&ready)
                .status()
                .unwrap()
                .success()
        );
        server.spawn().unwrap();
        // Ends when somebody has written.
        fs::read(&ready).unwrap();
        assert_eq!(server.terminate().unwrap().code(), Some(7));
        assert!(server.terminate().is_err(), "nothing runs any more");
    }

    #[test]
    fn settings_override_what_every_server_gets() {
        let settings = [("tickTime", "100"), ("snapCount", "9")];
        let server = ServerProcess::prepare(shell(""), &settings).unwrap();
        let config = fs::read_to_string(server.config_file()).unwrap();
        let ticks: Vec<&str> = config
            .lines()
            .filter(|line| line.starts_with("tickTime"))
            .collect();
        assert_eq!(ticks, ["tickTime=100"]);
        assert!(config.contains("snapCount=9\n"), "{config}");
        assert!(config.contains(&format!("clientPort={}\n", server.addr().port())));
    }
}
