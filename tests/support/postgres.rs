//! A private PostgreSQL server: a cluster of its own in a temporary directory, on a free loopback port.
//!
//! `.ci/postgres` installs Debian's. It does not run as root, so under root the cluster belongs to the account that
//! the package made. Tests that need it run where it is and say so loudly where it is not.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the outside world is its subject"
)]

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::ports;

/// The last line of a server's log before it serves.
const READY: &str = "database system is ready to accept connections";

/// What makes it fast: its data need not outlive the test.
const SETTINGS: [&str; 5] = [
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "unix_socket_directories=",
    "listen_addresses=127.0.0.1",
];

/// A running PostgreSQL server. Dropping it ends its processes and removes its files.
#[derive(Debug)]
pub struct Postgres {
    process: Child,
    addr: SocketAddr,
    _directory: TempDir,
}

/// Who runs it: nobody else, or, in root's place, a user and group id.
type Account = Option<(u32, u32)>;

impl Postgres {
    /// A running server where one can be started; otherwise says on standard error that `test` is skipped.
    ///
    /// `statements` of SQL, one a line, make roles and databases before it serves. Over TCP everybody needs a password.
    ///
    /// # Errors
    /// When PostgreSQL is installed and does not start; the text holds what it says.
    pub fn start_or_skip(test: &str, statements: &str) -> io::Result<Option<Self>> {
        let found = programs().zip(account());
        let Some((programs, account)) = found else {
            // Not eprintln!: the test harness would swallow it with the output of a passing test.
            let _ = writeln!(
                io::stderr(),
                "SKIPPED: {test}: no PostgreSQL (run .ci/postgres, or set ZK_POSTGRES_BIN)"
            );
            return Ok(None);
        };
        Self::start(&programs, account, statements).map(Some)
    }

    fn start(programs: &Path, account: Account, statements: &str) -> io::Result<Self> {
        let directory = TempDir::with_prefix("zk-postgres-")?;
        if let Some((user, group)) = account {
            chown(directory.path(), Some(user), Some(group))?;
        }
        let data = directory.path().join("data");
        let program = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command
                .env("PGDATA", &data)
                .current_dir(directory.path())
                .env("LC_ALL", "C")
                .stdin(Stdio::null());
            if let Some((user, group)) = account {
                command.uid(user).gid(group);
            }
            command
        };
        let mut initdb = program("initdb");
        initdb.args(["--no-sync", "--auth-host=scram-sha-256", "--encoding=UTF8"]);
        succeeded("initdb", &initdb.output()?)?;

        let mut single = program("postgres");
        // Older ones would make another kind of password.
        let passwords = "password_encryption=scram-sha-256";
        single.args(["--single", "-c", passwords, "-c", "fsync=off", "postgres"]);
        let mut single = single
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = single.stdin.take() {
            stdin.write_all(statements.as_bytes())?;
        }
        let single = single.wait_with_output()?;
        succeeded("postgres --single", &single)?;
        // It goes on after a statement that failed.
        if String::from_utf8_lossy(&single.stderr).contains("ERROR:") {
            return Err(failure("postgres --single", &single.stderr));
        }

        let addr = ports::free()?;
        let mut server = program("postgres");
        server.arg(format!("-p{}", addr.port()));
        for setting in SETTINGS {
            server.args(["-c", setting]);
        }
        let mut server = Self {
            process: server.stderr(Stdio::piped()).spawn()?,
            addr,
            _directory: directory,
        };
        server.wait_until_serving()?;
        Ok(server)
    }

    /// Reads its log up to the line that says so; the rest goes nowhere.
    fn wait_until_serving(&mut self) -> io::Result<()> {
        let stderr = self.process.stderr.take();
        let mut log = BufReader::new(stderr.ok_or_else(|| io::Error::other("no log"))?);
        let mut said = String::new();
        while !said.ends_with(&format!("{READY}\n")) {
            if log.read_line(&mut said)? == 0 {
                return Err(failure("postgres", said.as_bytes()));
            }
        }
        // A log that nobody reads would stop the server one day.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Ok(())
    }

    /// Where a client finds `database`, as `user` with `password`.
    #[must_use]
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@{}/{database}", self.addr)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: all its processes end at once.
        if let Some(pid) = Pid::from_raw(self.process.id().cast_signed()) {
            let _ = kill_process(pid, Signal::QUIT);
        }
        let _ = self.process.wait();
    }
}

/// The folder with `postgres` and `initdb`: named by `ZK_POSTGRES_BIN`, or Debian's newest.
fn programs() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = match env::var_os("ZK_POSTGRES_BIN") {
        Some(folder) => vec![folder.into()],
        None => fs::read_dir("/usr/lib/postgresql")
            .ok()?
            .filter_map(|version| Some(version.ok()?.path().join("bin")))
            .collect(),
    };
    folders.retain(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file());
    folders.sort();
    folders.pop()
}

/// Who can run it: whoever runs the test but root, in whose place the account `postgres` does.
fn account() -> Option<Account> {
    if !geteuid().is_root() {
        return Some(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    let fields = accounts
        .lines()
        .find_map(|line| line.strip_prefix("postgres:"))?;
    let mut ids = fields.split(':').skip(1).map(str::parse);
    Some(Some((ids.next()?.ok()?, ids.next()?.ok()?)))
}

fn succeeded(what: &str, output: &Output) -> io::Result<()> {
    match output.status.success() {
        true => Ok(()),
        false => Err(failure(what, &output.stderr)),
    }
}

fn failure(what: &str, said: &[u8]) -> io::Error {
    io::Error::other(format!("{what}: {}", String::from_utf8_lossy(said)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_server_ends_with_its_owner() {
        let test = "a_server_ends_with_its_owner";
        let Some(server) = Postgres::start_or_skip(test, "CREATE ROLE one LOGIN;\n").unwrap()
        else {
            return;
        };
        let addr = server.addr;
        assert!(TcpStream::connect(addr).is_ok());
        drop(server);
        assert!(TcpStream::connect(addr).is_err());
    }

    #[test]
    fn statements_that_fail_are_told() {
        let test = "statements_that_fail_are_told";
        match Postgres::start_or_skip(test, "CREATE NONSENSE;\n") {
            Ok(None) => {}
            told => assert!(told.unwrap_err().to_string().contains("NONSENSE")),
        }
    }
}
