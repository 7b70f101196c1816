//! Dynamic configuration files: an ensemble's configuration where the next start finds it (`QuorumPeerConfig`).
//!
//! Beside `zoo.cfg` stand `zoo.cfg.dynamic.<version>`, the configuration in force, which the line `dynamicConfigFile` of
//! `zoo.cfg` names, and, while another one is on its way, `zoo.cfg.dynamic.next`. A server that was given no file keeps
//! them in `dataDir`.

#![allow(
    clippy::disallowed_methods,
    reason = "files that are not the server's data; written on the log's thread"
)]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use zk_proto::{ServerId, Zxid};

use super::{Config, ConfigError, properties};
use crate::reconfig::{Configuration, Configurations};

const NEXT: &str = ".dynamic.next";
const DYNAMIC: &str = ".dynamic.";
/// What is in front, for a server without a `zoo.cfg`.
const DEFAULT_NAME: &str = "zoo.cfg";

/// The version in the name of a dynamic configuration file; `None` where it ends with no hexadecimal number.
pub(super) fn version(path: &Path) -> Option<Zxid> {
    let name = path.file_name()?.to_str()?;
    let (_, version) = name.rsplit_once('.')?;
    i64::from_str_radix(version, 16).ok().map(Zxid)
}

/// The configuration that may come into force, if there is a file with one.
pub(super) fn next(static_file: &Path) -> Option<String> {
    fs::read_to_string(suffixed(static_file, NEXT)).ok()
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

impl Config {
    /// Takes in what an earlier life of this server wrote in `dataDir`, for a server without a file that may be
    /// reconfigured.
    ///
    /// # Errors
    /// [`ConfigError`] when the file that should be there cannot be read.
    pub(crate) fn read_written(&mut self) -> Result<(), ConfigError> {
        if self.file.is_some() || !self.reconfig_enabled || !self.is_ensemble() {
            return Ok(());
        }
        let base = self.data_dir.join(DEFAULT_NAME);
        self.next = next(&base);
        let prefix = format!("{DEFAULT_NAME}{DYNAMIC}");
        let files = fs::read_dir(&self.data_dir).into_iter().flatten().flatten();
        let newest = files
            .map(|file| file.path())
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| name.starts_with(&prefix))
            })
            .filter_map(|path| Some((version(&path)?, path)))
            .max();
        let Some((version, path)) = newest else {
            return Ok(());
        };
        let broken = |why: String| ConfigError(format!("{}: {why}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| broken(error.to_string()))?;
        let written = Configuration::parse(&text).map_err(|error| broken(error.to_string()))?;
        let own = self.my_id.and_then(|me| written.servers().get(&me));
        if let Some(client) = own.and_then(|own| own.client.clone()) {
            self.client_address = Some(client);
        }
        self.servers = written.servers().clone();
        self.groups = written.groups().clone();
        self.weights = written.weights().clone();
        self.version = version;
        Ok(())
    }
}

/// Writes the files.
#[derive(Debug)]
pub(crate) struct Files {
    base: PathBuf,
    /// Whether `base` is a file, which names the dynamic one.
    is_static: bool,
    me: ServerId,
    /// What is written as the one in force.
    version: Zxid,
}

impl Files {
    /// Of a member that may be reconfigured.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let me = config.my_id.filter(|_| config.reconfig_enabled)?;
        let default = || config.data_dir.join(DEFAULT_NAME);
        Some(Self {
            base: config.file.clone().unwrap_or_else(default),
            is_static: config.file.is_some(),
            me,
            version: config.version,
        })
    }

    /// Whether files can be put where they belong.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn can_be_written(&self) -> io::Result<()> {
        tempfile::NamedTempFile::new_in(directory(&self.base)).map(drop)
    }

    /// Makes the files say what this member knows; returns when they do so durably.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn write(&mut self, known: &Configurations) -> io::Result<()> {
        self.can_be_written()?;
        let next = suffixed(&self.base, NEXT);
        if known.in_progress() {
            replace(&next, &lines(known.last_seen(), true))?;
        }
        let committed = known.committed();
        if committed.version() > self.version {
            let name = format!("{DYNAMIC}{:x}", committed.version().0);
            let dynamic = suffixed(&self.base, &name);
            replace(&dynamic, &lines(committed, false))?;
            if self.is_static {
                self.point_to(&dynamic, committed)?;
            }
            self.version = committed.version();
        }
        if known.in_progress() {
            return Ok(());
        }
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes `zoo.cfg` name the dynamic file, and drops from it what that says. What it was at first is kept as
    /// `zoo.cfg.bak`.
    fn point_to(&self, dynamic: &Path, configuration: &Configuration) -> io::Result<()> {
        let before = fs::read(&self.base)?;
        let entries = properties::parse(&before).map_err(io::Error::other)?;
        if entries.iter().any(|(key, _)| key.starts_with("server.")) {
            replace(&suffixed(&self.base, ".bak"), &before)?;
        }
        let own = configuration.servers().get(&self.me);
        let has_client = own.is_some_and(|own| own.client.is_some());
        let is_elsewhere = |key: &str| {
            let dropped = [
                "server.",
                "group",
                "weight",
                "dynamicConfigFile",
                "peerType",
            ];
            dropped.iter().any(|start| key.starts_with(start))
                || (has_client && key.starts_with("clientPort") && key != "clientPortListenBacklog")
        };
        let mut after = String::new();
        for (key, value) in entries.iter().filter(|(key, _)| !is_elsewhere(key.trim())) {
            after.push_str(&format!("{}={}\n", key.trim(), value.trim()));
        }
        let dynamic = dynamic.canonicalize()?;
        after.push_str(&format!("dynamicConfigFile={}\n", dynamic.display()));
        replace(&self.base, after.as_bytes())
    }
}

/// The lines of a file, sorted; `.dynamic.next` has a version, the others have it in their names.
fn lines(configuration: &Configuration, with_version: bool) -> Vec<u8> {
    let text = configuration.to_string();
    let lines = text.lines();
    let mut lines: Vec<_> = lines
        .filter(|line| with_version || !line.starts_with("version"))
        .collect();
    lines.sort_unstable();
    lines.join("\n").into_bytes()
}

fn directory(path: &Path) -> &Path {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    directory.unwrap_or_else(|| Path::new("."))
}

/// Replaces a file durably.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = directory(path);
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    io::Write::write_all(&mut file, content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "server.1=127.0.0.1:2:3:participant;127.0.0.1:4\nserver.2=127.0.0.1:5:6:participant;127.0.0.1:7";

    fn known(version: i64) -> Configurations {
        let configuration = Configuration::parse(TWO).unwrap();
        Configurations::new(ServerId(1), configuration.with_version(Zxid(version)), true)
    }

    #[test]
    fn what_is_written_is_found_at_the_next_start_as_apache_would_find_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zoo.cfg");
        let data = directory.path().display();
        let text = format!(
            "# mine\ntickTime=500\ndataDir={data}\nclientPort=4\nreconfigEnabled=true\n{TWO}\n"
        );
        fs::write(&path, &text).unwrap();
        fs::write(directory.path().join("myid"), "1\n").unwrap();
        let config = Config::load(Some(&path), &[]).unwrap().config;
        assert_eq!(config.version, Zxid::ZERO);
        let mut files = Files::of(&config).unwrap();
        let mut known = known(0x1_0000_0000);
        let three = format!("{TWO}\nserver.3=127.0.0.1:8:9:observer;127.0.0.1:10");
        let three = Configuration::parse(&three).unwrap();
        known.see(three.with_version(Zxid(0x1_0000_0007)));
        files.write(&known).unwrap();

        let read = |name: &str| fs::read_to_string(directory.path().join(name));
        assert_eq!(read("zoo.cfg.bak").unwrap(), text);
        assert_eq!(read("zoo.cfg.dynamic.100000000").unwrap(), TWO);
        let next = read("zoo.cfg.dynamic.next").unwrap();
        assert!(next.ends_with("version=100000007"), "{next}");
        let now = read("zoo.cfg").unwrap();
        assert!(
            now.contains("tickTime=500")
                && !now.contains("clientPort=")
                && !now.contains("server.")
        );
        let config = Config::load(Some(&path), &[]).unwrap().config;
        assert_eq!(
            (config.version, config.servers.len()),
            (Zxid(0x1_0000_0000), 2)
        );
        assert_eq!(config.client_address.map(|at| at.port), Some(4));
        assert_eq!(config.next, Some(next));

        known.commit(Zxid(0x1_0000_0007));
        files.write(&known).unwrap();
        assert!(read("zoo.cfg.dynamic.next").is_err());
        let config = Config::load(Some(&path), &[]).unwrap().config;
        assert_eq!(
            (config.version, config.servers.len()),
            (Zxid(0x1_0000_0007), 3)
        );
    }

    #[test]
    fn what_cannot_be_written_is_an_error_even_where_there_is_nothing_to_write() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("conf");
        let config = Config {
            file: Some(place.join("zoo.cfg")),
            my_id: Some(ServerId(1)),
            reconfig_enabled: true,
            ..Config::default()
        };
        let mut files = Files::of(&config).unwrap();
        assert!(files.can_be_written().is_err() && files.write(&known(0)).is_err());
        fs::create_dir(&place).unwrap();
        assert!(files.can_be_written().is_ok() && files.write(&known(0)).is_ok());
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        // It is no matter of the directory alone.
        assert!(files.write(&known(0x1f)).is_err(), "there is no zoo.cfg");
        fs::write(place.join("zoo.cfg"), "tickTime=500\n").unwrap();
        files.write(&known(0x1f)).unwrap();
    }

    #[test]
    fn a_server_without_a_file_finds_its_own_in_the_data_directory() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config {
            data_dir: directory.path().to_owned(),
            servers: Configuration::parse(TWO).unwrap().servers().clone(),
            my_id: Some(ServerId(1)),
            reconfig_enabled: true,
            ..Config::default()
        };
        let mut files = Files::of(&config).unwrap();
        for version in [0xf, 0x1f] {
            files.write(&known(version)).unwrap();
        }
        config.servers.clear();
        config
            .servers
            .extend(known(1).committed().servers().clone().into_iter().skip(1));
        config.standalone_enabled = false;
        config.read_written().unwrap();
        assert_eq!((config.version, config.servers.len()), (Zxid(0x1f), 2));

        let in_groups = format!("{TWO}\ngroup.1=1\ngroup.2=2\nweight.2=3");
        let in_groups = Configuration::parse(&in_groups).unwrap();
        let in_groups = in_groups.with_version(Zxid(0x2f));
        let known = Configurations::new(ServerId(1), in_groups, true);
        files.write(&known).unwrap();
        config.read_written().unwrap();
        assert_eq!((config.version, config.groups.len()), (Zxid(0x2f), 2));
        assert_eq!(config.weights[&ServerId(2)], 3);
    }
}
