//! What a client is told before it connects.

use std::{fmt, sync::Arc, time::Duration};

use fastrand::Rng;
use zk_proto::{Acl, Password, SessionId, frame::MAX_BUFFER};

pub use crate::core::{OnExpiry, WhileDisconnected};
use crate::{
    client::Client,
    control,
    core::{Config, auth::Credential, chroot::Chroot, host_provider::parse_connect_string},
    driver::{Clock, Dialer, Driver, Net, Settings, Shared, TcpNet},
    error::{Error, Failure, Result},
    retry::RetryPolicy,
};

/// The longest reply that is accepted: far more than a server sends unless its own limit was raised.
const MAX_REPLY_LEN: usize = 64 * 1024 * 1024;

/// Options of a client; made by [`Client::builder`].
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    hosts: String,
    session_timeout: Duration,
    request_timeout: Duration,
    connect_timeout: Duration,
    while_disconnected: WhileDisconnected,
    on_expiry: OnExpiry,
    read_only: bool,
    default_acl: Vec<Acl>,
    identity: Option<String>,
    credentials: Vec<Credential>,
    resume: Option<(SessionId, Password)>,
    retry: RetryPolicy,
    max_request_len: usize,
    max_in_flight: usize,
    max_in_flight_bytes: usize,
    net: Option<Arc<dyn Net>>,
    #[cfg(feature = "tls-no-provider")]
    tls: Option<crate::tls::Tls>,
    #[cfg(feature = "sasl")]
    sasl: Option<Arc<dyn crate::sasl::Mechanism>>,
    seed: Option<u64>,
    #[cfg(feature = "testing")]
    first_xid: Option<zk_proto::Xid>,
}

impl ClientBuilder {
    pub(crate) fn new(hosts: String) -> Self {
        Self {
            hosts,
            session_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(15),
            while_disconnected: WhileDisconnected::default(),
            on_expiry: OnExpiry::default(),
            read_only: false,
            default_acl: Acl::open(),
            identity: None,
            credentials: Vec::new(),
            resume: None,
            retry: RetryPolicy::default(),
            max_request_len: MAX_BUFFER,
            max_in_flight: 4096,
            max_in_flight_bytes: 64 * 1024 * 1024,
            net: None,
            #[cfg(feature = "tls-no-provider")]
            tls: None,
            #[cfg(feature = "sasl")]
            sasl: None,
            seed: None,
            #[cfg(feature = "testing")]
            first_xid: None,
        }
    }

    pub(crate) fn from_env() -> Result<Self> {
        let variable = |name| std::env::var(name).ok();
        let bad = |why: String| Error::new(Failure::bad_arguments(why), "connect", None);
        let hosts =
            variable("ZK_CONNECT").ok_or_else(|| bad("ZK_CONNECT is not set".to_owned()))?;
        let mut builder = Self::new(hosts);
        if let Some(auth) = variable("ZK_AUTH") {
            let (scheme, secret) = auth
                .split_once(':')
                .ok_or_else(|| bad("ZK_AUTH is not scheme:secret".to_owned()))?;
            builder = builder.auth(scheme, secret.to_owned());
        }
        if let Some(timeout) = variable("ZK_SESSION_TIMEOUT_MS") {
            let ms = timeout
                .parse()
                .map_err(|_| bad(format!("bad ZK_SESSION_TIMEOUT_MS {timeout:?}")))?;
            builder = builder.session_timeout(Duration::from_millis(ms));
        }
        #[cfg(feature = "tls-no-provider")]
        if let Some(authority) = variable("ZK_TLS_CA") {
            let mut tls = crate::tls::Tls::new().ca_file(authority);
            if let Some(certificate) = variable("ZK_TLS_CERT") {
                let key = variable("ZK_TLS_KEY").unwrap_or_else(|| certificate.clone());
                tls = tls.identity_files(certificate, key);
            }
            builder = builder.tls(tls);
        }
        Ok(builder)
    }

    /// How long the session outlives its connection; 10 s unless told. The server may grant another timeout.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// How long an operation may take in all, the time without a connection included; 15 s unless told.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long [`connect`](Self::connect) tries to get a session; 15 s unless told.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// What happens to operations while there is no connection; they wait unless told.
    pub fn while_disconnected(mut self, behaviour: WhileDisconnected) -> Self {
        self.while_disconnected = behaviour;
        self
    }

    /// What happens when the session expires; a new one is opened unless told.
    pub fn on_expiry(mut self, behaviour: OnExpiry) -> Self {
        self.on_expiry = behaviour;
        self
    }

    /// Accepts a server that has lost its quorum and only serves reads, while none of a quorum is found.
    ///
    /// The state is [`ReadOnly`](crate::SessionState::ReadOnly) then, writes fail with
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly), and the client goes on looking for a server that takes writes. A session
    /// that was opened by a read-only server exists there alone: elsewhere another one takes its place, as after an
    /// expiry and whatever [`OnExpiry`] says. A session of the quorum is resumed by a read-only server that takes it.
    ///
    /// Apache's 3.8 and 3.9 take none ("Refusing global session reconnection in RO mode"): such a client stays
    /// [`Suspended`](crate::SessionState::Suspended) until the quorum is back. It opens new sessions in read-only mode
    /// only with `localSessionsEnabled`.
    pub fn allow_read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The ACL of every node that is created without one of its own; open to everybody unless told.
    pub fn default_acl(mut self, acl: impl Into<Vec<Acl>>) -> Self {
        self.default_acl = acl.into();
        self
    }

    /// Who this client says it is, for "who holds this lock?"; `host:pid` unless told.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Credentials to present on every connection before anything else, in the scheme's own form
    /// (`user:password` for `digest`). May be given several times.
    pub fn auth(mut self, scheme: &str, secret: impl Into<bytes::Bytes>) -> Self {
        self.credentials.push(Credential::new(scheme, secret));
        self
    }

    /// Speaks TLS with the servers; their client ports must be secure ones.
    #[cfg(feature = "tls-no-provider")]
    pub fn tls(mut self, tls: crate::tls::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Proves itself to the servers by SASL, on every connection before anything else.
    ///
    /// A failure is [`AuthFailed`](crate::ErrorKind::AuthFailed) and ends the client.
    #[cfg(feature = "sasl")]
    pub fn sasl(mut self, mechanism: impl crate::sasl::Mechanism) -> Self {
        self.sasl = Some(Arc::new(mechanism));
        self
    }

    /// Resumes a session by its id and password, as [`Session`](crate::Session) tells them.
    ///
    /// Where it has expired, [`OnExpiry`] decides: a new session, or an error. A resumed session still owns the
    /// ephemeral nodes of the process that had it before; look for them before waiting for them to vanish.
    pub fn session(mut self, id: SessionId, password: Password) -> Self {
        self.resume = Some((id, password));
        self
    }

    /// The pauses between rounds over all servers, and how often a read is repeated when its connection breaks.
    pub fn retry(mut self, policy: impl Into<RetryPolicy>) -> Self {
        self.retry = policy.into();
        self
    }

    /// The longest request that the servers accept (`jute.maxbuffer`), in bytes; 1 MiB unless told.
    pub fn max_request_len(mut self, bytes: usize) -> Self {
        self.max_request_len = bytes;
        self
    }

    /// How many requests may be unanswered before further ones wait; 4096 unless told.
    ///
    /// They wait in a queue: a future that waits in it, is not polled and not dropped either, holds up those behind it until
    /// its deadline.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// How many bytes the unanswered requests may have before further ones wait; 64 MiB unless told. The one that
    /// reaches the limit is still sent.
    pub fn max_in_flight_bytes(mut self, bytes: usize) -> Self {
        self.max_in_flight_bytes = bytes;
        self
    }

    /// The network to use instead of TCP, for tests. The client then takes tokio's clock, which can be paused.
    pub fn net(mut self, net: Arc<dyn Net>) -> Self {
        self.net = Some(net);
        self
    }

    /// Where the client's random decisions start (order of servers, delays, GUIDs), for tests.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The number of the client's first request instead of 1, for tests of what comes after `i32::MAX`: 1 again.
    ///
    /// What is below 1 is taken for 1: those numbers mean something else.
    #[cfg(feature = "testing")]
    pub fn first_xid(mut self, xid: i32) -> Self {
        self.first_xid = Some(zk_proto::Xid(xid.max(1)));
        self
    }

    /// Connects, and returns once there is a session.
    ///
    /// # Errors
    /// [`BadArguments`](crate::ErrorKind::BadArguments) for a connect string that is none, for TLS certificates that are
    /// no good and outside a tokio runtime, [`ConnectFailed`](crate::ErrorKind::ConnectFailed) when no server grants a session in time,
    /// [`AuthFailed`](crate::ErrorKind::AuthFailed) when one refuses the credentials.
    ///
    /// # Cancel safety
    /// Dropping the future closes what there is, in the background; a session that a server is granting at that moment,
    /// too. Only one whose grant is lost with its connection is left to expire.
    pub async fn connect(self) -> Result<Client> {
        let timeout = self.connect_timeout;
        let client = self.connect_lazy()?;
        control::ready(&client.parts().shared, timeout).await?;
        Ok(client)
    }

    /// Begins to connect and returns at once; operations wait for the session.
    ///
    /// # Errors
    /// [`BadArguments`](crate::ErrorKind::BadArguments) for a connect string that is none, for TLS certificates that are
    /// no good and outside a tokio runtime.
    pub fn connect_lazy(self) -> Result<Client> {
        self.start()
            .map_err(|failure| Error::new(failure, "connect", None))
    }

    fn start(self) -> Result<Client, Failure> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| Failure::bad_arguments("a client needs a tokio runtime"))?;
        let (hosts, chroot) = parse_connect_string(&self.hosts)?;
        let chroot = Chroot::new(chroot)?;
        let mut rng = self.seed.map_or_else(Rng::new, Rng::with_seed);
        let (clock, net) = match self.net {
            Some(net) => (Clock::tokio(), net),
            None => (Clock::Boot, Arc::new(TcpNet) as Arc<dyn Net>),
        };
        let dialer = Dialer {
            net,
            #[cfg(feature = "tls-no-provider")]
            tls: match self.tls {
                Some(tls) => Some(Arc::new(secure(tls)?)),
                None => None,
            },
        };
        let settings = Settings {
            max_in_flight: self.max_in_flight,
            max_in_flight_bytes: self.max_in_flight_bytes,
            request_timeout: self.request_timeout,
            max_request_len: self.max_request_len,
            read_attempts: match self.while_disconnected {
                WhileDisconnected::Wait => self.retry.read_attempt_limit(),
                WhileDisconnected::FailFast => 1,
            },
            default_acl: self.default_acl,
            identity: self.identity.unwrap_or_else(host_and_pid).into(),
            on_expiry: self.on_expiry,
        };
        let config = Config {
            hosts,
            session_timeout: self.session_timeout,
            request_timeout: self.request_timeout,
            while_disconnected: self.while_disconnected,
            on_expiry: self.on_expiry,
            allow_read_only: self.read_only,
            #[cfg(feature = "sasl")]
            sasl: self.sasl.is_some(),
            #[cfg(not(feature = "sasl"))]
            sasl: false,
            credentials: self.credentials,
            resume: self.resume,
            retry: self.retry,
            max_reply_len: MAX_REPLY_LEN,
            seed: rng.u64(..),
        };
        let shared = Arc::new(Shared::new(clock, runtime.clone(), chroot, settings, rng));
        let driver = Driver::new(Arc::clone(&shared), dialer, config);
        #[cfg(feature = "sasl")]
        let driver = driver.with_sasl(self.sasl);
        #[cfg(feature = "testing")]
        let driver = driver.numbering_from(self.first_xid);
        runtime.spawn(driver.run());
        Ok(Client::new(shared))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// Reads the certificates now, so that a mistake is told at once.
#[cfg(feature = "tls-no-provider")]
fn secure(tls: crate::tls::Tls) -> Result<crate::driver::tls::Connector, Failure> {
    crate::driver::tls::Connector::new(tls)
        .map_err(|error| Failure::bad_arguments(error.to_string()))
}

/// The machine's name and the process's id.
fn host_and_pid() -> String {
    format!("{}:{}", host_name(), std::process::id())
}

#[cfg(target_os = "linux")]
fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(not(target_os = "linux"))]
fn host_name() -> String {
    ["HOSTNAME", "COMPUTERNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok())
        .unwrap_or_default()
}
