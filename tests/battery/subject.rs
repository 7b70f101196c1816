//! Who is asked, and how.

use std::{fmt::Debug, net::SocketAddr, sync::OnceLock, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use zk_proto::{
    Encode, ErrorCode, OpCode, SessionId, Stat,
    connect::ConnectRequest,
    op::{MultiOp, MultiResult, Request, Response},
    watch::EventType,
};
use zk_server::Server;
use zk_tests::{
    apache,
    frames::{Event, FrameClient, Incoming, Reply},
    process::{Launcher, ServerProcess, four_letter_word},
    requests::{children, create, exists, get, multi},
    shared::SharedServer,
};

/// The timeout of a case's sessions, in milliseconds: the longest that `tickTime` allows.
pub(crate) const TIMEOUT_MS: i32 = 10_000;

/// What both servers are told. The tick is short so that expiry is.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("tickTime", "500"),
    ("extendedTypesEnabled", "true"),
    ("enforceQuota", "true"),
    // super:secret
    (
        "DigestAuthenticationProvider.superDigest",
        "super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
    ),
];

/// How often the server looks for containers and TTL nodes to delete, in milliseconds.
pub(crate) const REAPER_MS: u64 = 300;

/// Instantiates each case of a file for each subject.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod ours {
            $(
                #[tokio::test]
                async fn $case() {
                    let case = concat!(module_path!(), "::", stringify!($case));
                    super::$case(crate::subject::Subject::ours(case).await).await;
                }
            )*
        }
        mod apache {
            $(
                #[tokio::test]
                async fn $case() {
                    let case = concat!(module_path!(), "::", stringify!($case));
                    if let Some(subject) = crate::subject::Subject::apache(case).await {
                        super::$case(subject).await;
                    }
                }
            )*
        }
    };
}

/// As [`cases!`], for servers that are told something else beside [`SETTINGS`]; each case has its own.
macro_rules! cases_with {
    ($($case:ident: $settings:expr),* $(,)?) => {
        mod ours {
            $(
                #[tokio::test]
                async fn $case() {
                    let case = concat!(module_path!(), "::", stringify!($case));
                    super::$case(crate::subject::Subject::ours_with(case, &$settings).await).await;
                }
            )*
        }
        mod apache {
            $(
                #[tokio::test]
                async fn $case() {
                    let case = concat!(module_path!(), "::", stringify!($case));
                    let subject = crate::subject::Subject::apache_with(case, &$settings);
                    if let Some(subject) = subject.await {
                        super::$case(subject).await;
                    }
                }
            )*
        }
    };
}

/// Cases that count zxids need the server for themselves.
static TURN: RwLock<()> = RwLock::const_new(());

#[derive(Debug)]
enum Turn {
    Shared {
        _guard: RwLockReadGuard<'static, ()>,
    },
    Alone {
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

/// A server, and a node of it that belongs to the case.
pub(crate) struct Subject {
    addr: SocketAddr,
    root: String,
    kind: Kind,
}

enum Kind {
    /// Our embedded server, the case's own.
    Ours { _server: Server },
    /// The Apache server that all cases of the binary share.
    Apache { turn: Option<Turn> },
    /// An Apache server of the case's own.
    OwnApache { _server: ServerProcess },
}

impl Subject {
    /// A server of ours, embedded in the test.
    pub(crate) async fn ours(case: &str) -> Self {
        Self::ours_with(case, &[]).await
    }

    /// A server of ours that is told these things, too.
    pub(crate) async fn ours_with(case: &str, settings: &[(&str, &str)]) -> Self {
        let reaper = REAPER_MS.to_string();
        let mut builder = Server::builder()
            .set("znode.container.checkIntervalMs", &reaper)
            .set("4lw.commands.whitelist", "*");
        for (key, value) in SETTINGS.iter().chain(settings) {
            builder = builder.set(key, value);
        }
        let server = builder.start().await.unwrap();
        let addr = server.local_addr();
        Self::with_root(addr, case, Kind::Ours { _server: server }).await
    }

    /// The Apache server that all cases share; `None`, loudly, where there is none.
    pub(crate) async fn apache(case: &str) -> Option<Self> {
        static SERVER: OnceLock<SharedServer> = OnceLock::new();
        apache::launcher_or_skip(case)?;
        let turn = Turn::Shared {
            _guard: TURN.read().await,
        };
        let addr = SERVER.get_or_init(launch_apache).addr();
        let kind = Kind::Apache { turn: Some(turn) };
        Some(Self::with_root(addr, case, kind).await)
    }

    /// An Apache server of the case's own that is told these things, too; `None`, loudly, where there is none.
    pub(crate) async fn apache_with(case: &str, settings: &[(&str, &str)]) -> Option<Self> {
        apache::launcher_or_skip(case)?;
        // Apache takes these from the virtual machine only.
        let is_property = |(key, _): &(&str, &str)| key.starts_with("jute.");
        let properties = settings.iter().copied().filter(is_property);
        let properties = properties.map(|(key, value)| format!("{key}={value}"));
        let launcher = apache_launcher(&properties.collect::<Vec<_>>());
        let told: Vec<_> = SETTINGS.iter().chain(settings).copied().collect();
        let server = ServerProcess::launch(launcher, &told).unwrap();
        let addr = server.addr();
        let kind = Kind::OwnApache { _server: server };
        Some(Self::with_root(addr, case, kind).await)
    }

    async fn with_root(addr: SocketAddr, case: &str, kind: Kind) -> Self {
        let root = format!("/{}", case.replace("::", "-"));
        let subject = Self { addr, root, kind };
        let mut peer = subject.peer().await;
        peer.create(&subject.root).await;
        peer.close().await;
        subject
    }

    /// Whether this is Apache's server, for the few differences we want.
    pub(crate) fn is_apache(&self) -> bool {
        matches!(self.kind, Kind::Apache { .. } | Kind::OwnApache { .. })
    }

    /// Waits until nobody else uses the server; from then on its zxids are this case's alone.
    pub(crate) async fn alone(&mut self) {
        let Kind::Apache { turn } = &mut self.kind else {
            return;
        };
        drop(turn.take());
        *turn = Some(Turn::Alone {
            _guard: TURN.write().await,
        });
        // The sessions of cases that have just ended may still be closing.
        while !self.word("mntr").await.contains("zk_global_sessions\t0\n") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The answer to a four-letter word.
    pub(crate) async fn word(&self, word: &'static str) -> String {
        let addr = self.addr;
        let answer = tokio::task::spawn_blocking(move || four_letter_word(addr, word));
        answer.await.unwrap().unwrap()
    }

    /// Everything that comes back for these first bytes of a connection.
    pub(crate) async fn answer_to(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A server that closes before it has read everything resets the connection.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    /// The case's own node, which exists.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// A path below the case's own node.
    pub(crate) fn path(&self, relative: &str) -> String {
        format!("{}/{relative}", self.root)
    }

    /// A new session.
    pub(crate) async fn peer(&self) -> Peer {
        self.peer_for(TIMEOUT_MS).await
    }

    /// A new session with this timeout in milliseconds.
    pub(crate) async fn peer_for(&self, timeout_ms: i32) -> Peer {
        Peer(FrameClient::connect(self.addr, timeout_ms).await.unwrap())
    }

    /// A connection that begins with this request; `None` where the server closes it without a word.
    pub(crate) async fn connect(&self, request: &ConnectRequest) -> Option<Peer> {
        match FrameClient::open(self.addr, request).await {
            Ok(client) => Some(Peer(client)),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => None,
            Err(error) => panic!("connect: {error}"),
        }
    }
}

fn launch_apache() -> SharedServer {
    SharedServer::launch(apache_launcher(&[]), SETTINGS).unwrap()
}

fn apache_launcher(properties: &[String]) -> Launcher {
    let reaper = format!("znode.container.checkIntervalMs={REAPER_MS}");
    let mut all = vec![reaper.as_str(), "znode.container.maxPerMinute=1000000"];
    all.extend(properties.iter().map(String::as_str));
    apache::launcher_with(apache::Heap::SMALL, &all).unwrap()
}

/// A session whose owner expects answers.
#[derive(Debug)]
pub(crate) struct Peer(pub(crate) FrameClient);

impl Peer {
    pub(crate) fn id(&self) -> SessionId {
        self.0.id()
    }

    /// Sends a request and waits for its answer, whatever that is.
    pub(crate) async fn ask(&mut self, request: impl Into<Request> + Debug) -> Reply {
        let request = request.into();
        match self.0.call(&request).await {
            Ok(reply) => reply,
            Err(error) => panic!("{request:?}: {error}"),
        }
    }

    /// The answer to a request that succeeds.
    pub(crate) async fn ok(&mut self, request: Request) -> Response {
        let op = request.op_code();
        let reply = self.ask(request.clone()).await;
        assert_eq!(reply.code, ErrorCode::Ok, "{request:?}");
        match reply.response(op) {
            Ok(response) => response,
            Err(error) => panic!("{request:?}: {error}: {:?}", reply.body),
        }
    }

    /// Sends a request that the server refuses with this code and without a body.
    pub(crate) async fn fails(&mut self, request: Request, code: ErrorCode) {
        let reply = self.ask(request.clone()).await;
        assert_eq!(reply.code, code, "{request:?}");
        assert_eq!(reply.body, Bytes::new(), "{request:?}");
    }

    /// Sends any number and any bytes as a request and waits for the answer.
    pub(crate) async fn raw(&mut self, op: OpCode, body: &[&dyn Encode]) -> Reply {
        let xid = self.0.next_xid();
        self.0.send_as(xid, op.code(), &Parts(body)).await.unwrap();
        let reply = self.0.reply().await.unwrap();
        assert_eq!(reply.xid, xid, "{op:?} {:?}", Parts(body).to_bytes());
        reply
    }

    /// Creates a persistent node.
    pub(crate) async fn create(&mut self, path: &str) {
        self.ok(create(path, b"")).await;
    }

    /// The path in the answer to a create of any kind.
    pub(crate) async fn created(&mut self, request: Request) -> String {
        match self.ok(request).await {
            Response::Create(created) => created.path.into(),
            Response::Create2(created) => created.path.into(),
            other => panic!("{other:?}"),
        }
    }

    /// The node's Stat; it exists.
    pub(crate) async fn stat(&mut self, path: &str) -> Stat {
        self.stat_of(exists(path)).await
    }

    /// The Stat in the answer to a request that has one.
    pub(crate) async fn stat_of(&mut self, request: Request) -> Stat {
        match self.ok(request).await {
            Response::Stat(r) => r.stat,
            Response::Create2(r) => r.stat,
            Response::GetData(r) => r.stat,
            Response::GetAcl(r) => r.stat,
            Response::GetChildren2(r) => r.stat,
            other => panic!("{other:?}"),
        }
    }

    /// The node's data.
    pub(crate) async fn data(&mut self, path: &str) -> Option<Bytes> {
        match self.ok(get(path)).await {
            Response::GetData(r) => r.data,
            other => panic!("{other:?}"),
        }
    }

    /// The names of the node's children, sorted: no order is promised.
    pub(crate) async fn names(&mut self, path: &str) -> Vec<String> {
        match self.ok(children(path)).await {
            Response::GetChildren(r) => sorted(r.children),
            other => panic!("{other:?}"),
        }
    }

    /// The results of a multi whose header says 0.
    pub(crate) async fn multi(&mut self, ops: Vec<MultiOp>) -> Vec<MultiResult> {
        match self.ok(multi(ops)).await {
            Response::Multi(r) => r.results,
            other => panic!("{other:?}"),
        }
    }

    /// The events that came before the replies so far.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        self.0.take_events()
    }

    /// As [`events`](Self::events), without zxids.
    pub(crate) fn told(&mut self) -> Vec<(EventType, String)> {
        self.events().into_iter().map(told).collect()
    }

    /// Waits for the next frame, which is an event.
    pub(crate) async fn event(&mut self) -> Event {
        match self.0.next().await.unwrap() {
            Incoming::Event(event) => event,
            other => panic!("not an event: {other:?}"),
        }
    }

    /// Everything that the server had sent when this was called.
    pub(crate) async fn heard(&mut self) -> Vec<(EventType, String)> {
        self.ok(Request::Ping).await;
        self.told()
    }

    /// Waits until the server has closed the connection, having sent nothing more; it does so at once, and not
    /// because a session has expired.
    pub(crate) async fn closed(&mut self) {
        let at_once = Duration::from_millis(TIMEOUT_MS.unsigned_abs().into()) / 2;
        let rest = tokio::time::timeout(at_once, self.0.rest()).await;
        assert_eq!(rest.expect("closed at once").unwrap(), []);
    }

    /// Closes the session and waits until it is closed.
    pub(crate) async fn close(self) {
        self.0.close().await.unwrap();
    }
}

/// What an event says, without its zxid.
pub(crate) fn told(event: Event) -> (EventType, String) {
    assert_eq!(event.state, 3, "{event:?}");
    (EventType::from_i32(event.kind).unwrap(), event.path)
}

/// Texts in their own order, since the server promises none.
pub(crate) fn sorted(texts: Vec<impl Into<String>>) -> Vec<String> {
    let mut texts: Vec<String> = texts.into_iter().map(Into::into).collect();
    texts.sort_unstable();
    texts
}

/// One record made of several.
struct Parts<'a>(&'a [&'a dyn Encode]);

impl Encode for Parts<'_> {
    fn encode(&self, out: &mut bytes::BytesMut) {
        for part in self.0 {
            part.encode(out);
        }
    }

    fn encoded_len(&self) -> usize {
        self.0.iter().map(|part| part.encoded_len()).sum()
    }
}
