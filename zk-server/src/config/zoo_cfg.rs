//! From a file and the command line to a [`Config`].

use std::collections::BTreeMap;
#[cfg(feature = "driver")]
use std::path::Path;

#[cfg(feature = "driver")]
use zk_proto::{ServerId, Zxid};

#[cfg(feature = "driver")]
use super::dynamic;
use super::{Config, ConfigError, Parsed, PeerRole, apache_keys, keys, properties};

impl Config {
    /// Reads the content of a `zoo.cfg` and the `key=value` settings that override it.
    ///
    /// # Errors
    /// [`ConfigError`] when the file is malformed, a value is not one of its key's, what Apache requires is
    /// missing.
    pub fn parse(zoo_cfg: &[u8], overrides: &[&str]) -> Result<Parsed, ConfigError> {
        Settings::of_file(zoo_cfg, overrides)?.apply_file()
    }

    /// The configuration of a server that was given no file: loopback, `./zk-data`, and these settings.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn without_file(overrides: &[&str]) -> Result<Parsed, ConfigError> {
        let mut settings = Settings::default();
        settings.put_overrides(overrides)?;
        settings.apply(Self::default())
    }

    /// Reads a file, or takes the defaults if there is none, and the settings that override it.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and when the file cannot be read.
    #[cfg(feature = "driver")]
    pub fn load(path: Option<&Path>, overrides: &[&str]) -> Result<Parsed, ConfigError> {
        let Some(path) = path else {
            return Self::without_file(overrides);
        };
        let load = || {
            let mut settings = Settings::of_file(&read(path)?, overrides)?;
            let mut version = Zxid::ZERO;
            let members = settings.0.remove("dynamicConfigFile");
            if let Some(members) = &members {
                let members = Path::new(members);
                settings.put_members(&read(members)?)?;
                version = dynamic::version(members).unwrap_or_default();
            }
            let mut parsed = settings.apply_file()?;
            parsed.config.version = version;
            parsed.config.file = Some(path.to_owned());
            if members.is_some() {
                parsed.config.next = dynamic::next(path);
            }
            parsed.config.read_my_id()?;
            Ok(parsed)
        };
        load().map_err(|ConfigError(why)| ConfigError(format!("{}: {why}", path.display())))
    }

    /// Whether the session timeouts fit together, which no setting can tell alone.
    pub(crate) fn check_timeouts(&self) -> Result<(), ConfigError> {
        match self.min_session_timeout() > self.max_session_timeout() {
            true => Err(ConfigError(
                "minSessionTimeout must not be larger than maxSessionTimeout".to_owned(),
            )),
            false => Ok(()),
        }
    }

    fn check(&mut self) -> Result<(), ConfigError> {
        self.check_timeouts()?;
        let voters = self
            .servers
            .values()
            .filter(|s| s.role == PeerRole::Participant);
        match (voters.count(), self.servers.len()) {
            (_, 0) => {}
            (1, 1) => self.adopt_client_address(),
            (0, _) => {
                return Err(ConfigError(
                    "observers without participants are no ensemble".to_owned(),
                ));
            }
            _ => {}
        }
        let all_say_where = self.servers.values().all(|server| server.client.is_some());
        match self.client_address {
            Some(_) => Ok(()),
            None if self.is_ensemble() && all_say_where => Ok(()),
            None => Err(ConfigError(
                "clientPort is not set: no client could connect".to_owned(),
            )),
        }
    }

    /// Whether there are others.
    #[must_use]
    pub fn is_ensemble(&self) -> bool {
        self.servers.len() > usize::from(self.standalone_enabled)
    }

    /// Which of the servers this is, from the file `myid` in `dataDir`, and so where it serves clients.
    #[cfg(feature = "driver")]
    fn read_my_id(&mut self) -> Result<(), ConfigError> {
        if !self.is_ensemble() {
            return Ok(());
        }
        let path = self.data_dir.join("myid");
        let text = read(&path)?;
        let id = String::from_utf8_lossy(&text).trim().parse().map(ServerId);
        let id = id.map_err(|_| ConfigError(format!("{}: not a number", path.display())))?;
        let Some(server) = self.servers.get(&id) else {
            let why = format!("{}: there is no server.{} line", path.display(), id.0);
            return Err(ConfigError(why));
        };
        self.client_address = match server.client.clone() {
            Some(client) => Some(client),
            None => self.client_address.take(),
        };
        self.my_id = Some(id);
        Ok(())
    }

    /// A lone `server.N` line is a standalone server, and may say where it serves clients.
    fn adopt_client_address(&mut self) {
        let client = self
            .servers
            .values()
            .find_map(|server| server.client.clone());
        if let Some(client) = client {
            self.client_address = Some(client);
        }
    }
}

/// Keys and values, the last of each key; sorted, so that `clientPort` comes before `clientPortAddress`.
#[derive(Default)]
struct Settings(BTreeMap<String, String>);

#[cfg(feature = "driver")]
fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path)
        .map_err(|error| ConfigError(format!("cannot read {}: {error}", path.display())))
}

impl Settings {
    fn of_file(zoo_cfg: &[u8], overrides: &[&str]) -> Result<Self, ConfigError> {
        let mut settings = Self::default();
        for (key, value) in properties::parse(zoo_cfg).map_err(ConfigError)? {
            settings.put(&key, &value);
        }
        settings.put_overrides(overrides)?;
        Ok(settings)
    }

    /// Takes the members in from the file that `dynamicConfigFile` names.
    #[cfg(feature = "driver")]
    fn put_members(&mut self, dynamic: &[u8]) -> Result<(), ConfigError> {
        for (key, value) in properties::parse(dynamic).map_err(ConfigError)? {
            self.put(&key, &value);
        }
        self.0.remove("version");
        Ok(())
    }

    fn apply_file(self) -> Result<Parsed, ConfigError> {
        if self.0.contains_key("dynamicConfigFile") {
            return Err(ConfigError(
                "dynamicConfigFile names a file that was not read".to_owned(),
            ));
        }
        if !self.0.contains_key("dataDir") {
            return Err(ConfigError("dataDir is not set".to_owned()));
        }
        // An address is what the file says or none: Apache serves no port that was not asked for.
        self.apply(Config {
            client_address: None,
            ..Config::default()
        })
    }

    fn put(&mut self, key: &str, value: &str) {
        self.0
            .insert(keys::canonical(key).to_owned(), value.trim().to_owned());
    }

    fn put_overrides(&mut self, overrides: &[&str]) -> Result<(), ConfigError> {
        for setting in overrides {
            let Some((key, value)) = setting.split_once('=') else {
                return Err(ConfigError(format!("--set {setting}: expected key=value")));
            };
            self.put(key, value);
        }
        Ok(())
    }

    fn apply(self, mut config: Config) -> Result<Parsed, ConfigError> {
        let mut warnings = Vec::new();
        for (key, value) in &self.0 {
            warnings.extend(keys::set(&mut config, key, value)?);
        }
        config.check()?;
        if config.is_ensemble() {
            let silent = self
                .0
                .keys()
                .filter_map(|key| apache_keys::judge_member(key));
            warnings.extend(silent);
        }
        Ok(Parsed { config, warnings })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::PathBuf, time::Duration};

    use super::*;
    use crate::config::{FourLetterWords, HostPort, Secret, SessionPasswords};

    /// Apache's `zoo_sample.cfg`, with the lines that administrators usually add.
    const SAMPLE: &str = "\
        # The number of milliseconds of each tick\n\
        tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/tmp/zookeeper\nclientPort=2181\n\
        #maxClientCnxns=60\n\
        autopurge.snapRetainCount=5\nautopurge.purgeInterval=1\n4lw.commands.whitelist=stat, mntr\n";

    fn parse(text: &str, overrides: &[&str]) -> Result<Parsed, String> {
        Config::parse(text.as_bytes(), overrides).map_err(|error| error.0)
    }

    /// The configuration of a file with this line besides what every file must have.
    fn with(line: &str) -> Result<Parsed, String> {
        parse(&format!("dataDir=d\nclientPort=2181\n{line}\n"), &[])
    }

    fn config(line: &str) -> Config {
        with(line).unwrap().config
    }

    #[test]
    fn apaches_sample_means_what_it_meant_and_raises_no_warning() {
        let Parsed { config, warnings } = parse(SAMPLE, &[]).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(config.client_address, Some(HostPort::any(2181)));
        assert_eq!(config.data_dir, PathBuf::from("/tmp/zookeeper"));
        assert_eq!(config.log_dir(), config.data_dir);
        assert_eq!(config.min_session_timeout(), Duration::from_secs(4));
        assert_eq!(config.max_session_timeout(), Duration::from_secs(40));
        assert_eq!(config.max_client_cnxns, Some(60));
        assert_eq!(config.purge_interval, Some(Duration::from_secs(3600)));
        assert_eq!(config.snap_retain_count, 5);
        for (word, answered) in [
            ("stat", true),
            ("mntr", true),
            ("srvr", true),
            ("ruok", false),
        ] {
            assert_eq!(config.four_letter_words.allow(word), answered, "{word}");
        }
    }

    #[test]
    fn without_a_file_only_loopback_is_served() {
        let config = Config::without_file(&["tickTime=100"]).unwrap().config;
        assert_eq!(config.client_address, Some(HostPort::at("127.0.0.1", 2181)));
        assert_eq!(config.data_dir, PathBuf::from("zk-data"));
        assert_eq!(config.tick_time, Duration::from_millis(100));
        let port = Config::without_file(&["clientPort=0"]).unwrap().config;
        assert_eq!(port.client_address, Some(HostPort::at("127.0.0.1", 0)));
    }

    #[test]
    fn values_have_the_units_and_the_limits_of_their_keys() {
        assert_eq!(config("preAllocSize=64").pre_alloc_size_bytes, 64 << 10);
        let min_free = |line| config(line).min_free_space_bytes;
        assert_eq!(min_free("minFreeSpaceInKb=5"), Some(5 << 10));
        assert_eq!(min_free("minFreeSpaceInKb=0"), None);
        assert_eq!(config("snapSizeLimitInKb=0").snap_size_limit_bytes, None);
        assert_eq!(
            config("snapSizeLimitInKb=2").snap_size_limit_bytes,
            Some(2048)
        );
        assert_eq!(config("snapCount=1").snap_count, 2);
        assert_eq!(config("jute.maxbuffer=0xfffff").jute_max_buffer, 0xf_ffff);
        assert_eq!(config("autopurge.snapRetainCount=1").snap_retain_count, 3);
        assert_eq!(config("maxClientCnxns=0").max_client_cnxns, None);
        assert!(config("skipACL=yes").skip_acl);
        assert!(!config("skipACL=true").skip_acl);
        assert!(!config("forceSync=no").force_sync);
        assert_eq!(config("maxSessionTimeout=-1").max_session_timeout, None);
        assert_eq!(
            config("clientPortAddress=::1").client_address,
            Some(HostPort::at("::1", 2181))
        );
        assert_eq!(
            config("4lw.commands.whitelist=*").four_letter_words,
            FourLetterWords::All
        );
        assert_eq!(
            config("sessionPasswords=apache").session_passwords,
            Some(SessionPasswords::Apache)
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (line, why) in [
            ("tickTime=0", "tickTime"),
            ("tickTime=fast", "tickTime"),
            ("clientPort=66000", "clientPort"),
            ("localSessionsEnabled=maybe", "true or false"),
            (
                "minSessionTimeout=9000\nmaxSessionTimeout=8000",
                "must not be larger",
            ),
            ("sessionPasswords=md5", "apache or hmac"),
            ("server.1=a:1:2:observer", "without participants"),
            ("dynamicConfigFile=zoo.cfg.dynamic", "not read"),
            ("enforce.auth.enabled=true", "more clients would get in"),
            ("sslQuorum=true", "more servers would get in"),
            ("quorum.auth.serverRequireSasl=true", "more servers"),
            ("peerType=king", "king"),
        ] {
            let error = with(line).expect_err(line);
            assert!(error.contains(why), "{line}: {error}");
        }
        assert!(
            parse("clientPort=2181", &[])
                .expect_err("no dataDir")
                .contains("dataDir")
        );
        assert!(
            parse("dataDir=d", &[])
                .expect_err("no port")
                .contains("clientPort")
        );
        assert!(
            parse("dataDir=d\nclientPortAddress=::1", &[])
                .expect_err("no port")
                .contains("clientPort")
        );
        assert!(
            parse(SAMPLE, &["tickTime"])
                .expect_err("no value")
                .contains("key=value")
        );
    }

    #[test]
    fn a_lone_server_line_is_a_standalone_server() {
        assert_eq!(config("server.1=localhost:2888:3888").servers.len(), 1);
        let parsed = parse("dataDir=d\nserver.1=h:1:2;127.0.0.1:2191", &[]).unwrap();
        assert_eq!(
            parsed.config.client_address,
            Some(HostPort::at("127.0.0.1", 2191))
        );
    }

    #[test]
    fn groups_and_weights_are_read_as_apache_reads_them() {
        let config = config("group.1=1:2\ngroup.2=3\nweight.3=0\nleaderServes=no");
        let ids = |ids: &[i64]| ids.iter().copied().map(ServerId).collect::<BTreeSet<_>>();
        assert_eq!(config.groups, [(1, ids(&[1, 2])), (2, ids(&[3]))].into());
        assert_eq!(config.weights, [(ServerId(3), 0)].into());
        assert!(!config.leader_serves);
        for bad in ["group.x=1", "group.1=1:x", "weight.1=much", "weight.x=1"] {
            with(bad).expect_err(bad);
        }
    }

    #[test]
    fn every_key_that_is_not_acted_upon_gets_one_warning_of_its_kind() {
        for (line, words) in [
            ("nio.numWorkerThreads=4", "insides"),
            ("ssl.keyStore.password=x", "not supported yet"),
            ("admin.enableServer=true", "not supported yet"),
            ("dataDri=/oops", "unknown key"),
            (
                "testing.replyEarly=true",
                if cfg!(feature = "testing") {
                    ""
                } else {
                    "unknown key"
                },
            ),
        ] {
            let warnings = with(line).unwrap().warnings;
            match words {
                "" => assert_eq!(warnings, Vec::<String>::new()),
                words => {
                    assert_eq!(warnings.len(), 1, "{line}");
                    assert!(warnings[0].contains(words), "{}", warnings[0]);
                }
            }
        }
    }

    #[test]
    fn what_only_members_look_at_is_told_to_members() {
        let members = "server.1=h:1:2\nserver.2=h:1:2\nserver.3=h:1:2";
        for key in ["observerMasterPort=2191", "multiAddress.enabled=true"] {
            assert_eq!(with(key).unwrap().warnings, Vec::<String>::new());
            let warnings = with(&format!("{members}\n{key}")).unwrap().warnings;
            assert_eq!(warnings.len(), 1, "{warnings:?}");
        }
        let all = with(&format!("{members}\nquorumListenOnAllIPs=true")).unwrap();
        assert_eq!(all.warnings, Vec::<String>::new());
        assert!(all.config.quorum_listen_on_all_ips);
    }

    #[test]
    fn an_override_wins_and_the_prefix_does_not_matter() {
        let overrides = ["zookeeper.snapCount=7", "tickTime=50"];
        let config = parse(
            &format!("{SAMPLE}\nzookeeper.skipACL=yes\nsnapCount=9"),
            &overrides,
        );
        let config = config.unwrap().config;
        assert_eq!((config.snap_count, config.skip_acl), (7, true));
        assert_eq!(config.tick_time, Duration::from_millis(50));
        let mut config = Config::default();
        assert_eq!(config.set("snapCount", "12").unwrap(), None);
        assert_eq!(config.snap_count, 12);
    }

    #[test]
    fn a_secret_does_not_show() {
        let config = config("DigestAuthenticationProvider.superDigest=super:hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        let secret = config.super_digest.as_ref().map(Secret::expose);
        assert_eq!(secret, Some("super:hunter2"));
    }

    #[cfg(feature = "driver")]
    #[test]
    fn members_may_stand_in_a_file_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let dynamic = dir.path().join("zoo.cfg.dynamic");
        let cfg = dir.path().join("zoo.cfg");
        std::fs::write(
            &cfg,
            format!(
                "dataDir=d\nclientPort=1\ndynamicConfigFile={}",
                dynamic.display()
            ),
        )
        .unwrap();
        let load = || Config::load(Some(&cfg), &[]).map_err(|error| error.0);
        assert!(load().expect_err("missing").contains("zoo.cfg.dynamic"));
        std::fs::write(&dynamic, "server.1=h:1:2\nversion=100000000").unwrap();
        assert_eq!(load().unwrap().config.servers.len(), 1);
        std::fs::write(&dynamic, "server.1=h:1:2\nserver.2=h:1:2\nserver.3=h:1:2").unwrap();
        assert!(
            load()
                .expect_err("an ensemble's member must know who it is")
                .contains("myid")
        );
    }
}
