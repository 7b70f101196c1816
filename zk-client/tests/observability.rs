//! What operators see, and what nobody may see.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::panic
)]

mod log;

use std::{
    collections::BTreeMap,
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
};

use log::{Log, forms};
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt as _, registry::LookupSpan};
use zk_client::{Acl, Client, ErrorKind, SessionState};
use zk_server::Server;

/// One at a time: what is enabled is cached for all threads together.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const SECRET: &str = "s3cr3t-pa55word";

/// The fields of finished spans.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<BTreeMap<String, String>>>>);

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        cx.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, cx: Context<'_, S>) {
        let span = cx.span(id).unwrap();
        values.record(span.extensions_mut().get_mut::<Fields>().unwrap());
    }

    fn on_close(&self, id: span::Id, cx: Context<'_, S>) {
        let fields = cx.span(&id).unwrap().extensions_mut().remove::<Fields>();
        self.0.lock().unwrap().extend(fields.map(|fields| fields.0));
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        let text = text.trim_matches('"').to_owned();
        self.0.insert(field.name().to_owned(), text);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_request_is_a_span_with_the_names_of_opentelemetry() {
    let _turn = TURN.lock().await;
    let spans = Spans::default();
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Server::builder().start().await.unwrap();
    let client = Client::connect(&server.connect_string()).await.unwrap();
    let created = client.create("/a", "x").await.unwrap();
    client.get("/nothing").await.unwrap_err();
    client.exists("/a").submit().await.unwrap().await.unwrap();
    let spans = spans.0.lock().unwrap();
    let requests: Vec<_> = spans
        .iter()
        .filter(|span| span.contains_key("db.operation.name"))
        .collect();
    let field = |at: usize, name: &str| requests[at].get(name).map(String::as_str);
    assert_eq!(requests.len(), 3);
    let session = client.session().id().to_string();
    for (at, (op, path)) in [("create", "/a"), ("getData", "/nothing"), ("exists", "/a")]
        .into_iter()
        .enumerate()
    {
        assert_eq!(field(at, "db.system.name"), Some("zookeeper"));
        assert_eq!(field(at, "otel.kind"), Some("client"));
        assert_eq!(field(at, "db.operation.name"), Some(op));
        assert_eq!(field(at, "zookeeper.path"), Some(path));
        assert_eq!(field(at, "zookeeper.session_id"), Some(session.as_str()));
        assert_eq!(
            field(at, "zookeeper.xid"),
            Some((at + 1).to_string().as_str())
        );
        assert!(field(at, "zookeeper.latency_us").is_some_and(|us| us.parse::<u64>().is_ok()));
    }
    let zxid = created.stat.czxid.to_string();
    assert_eq!(field(0, "zookeeper.zxid"), Some(zxid.as_str()));
    assert_eq!(field(0, "error.type"), None);
    assert_eq!(field(1, "error.type"), Some("NoNode"));
    assert_eq!(field(1, "otel.status_code"), Some("ERROR"));
    assert_eq!(field(1, "db.response.status_code"), Some("-101"));
}

#[tokio::test(flavor = "current_thread")]
async fn neither_logs_nor_debug_show_a_password() {
    let _turn = TURN.lock().await;
    let (log, _guard) = Log::begin();
    let server = Server::builder().start().await.unwrap();
    let hosts = server.connect_string();
    let builder = Client::builder(&*hosts).auth("digest", format!("alice:{SECRET}"));
    let mut shown = format!("{builder:?} {builder:#?}");
    let client = builder.connect().await.unwrap();
    let mut show = |value: &dyn Debug| {
        let _ = write!(shown, "{value:?} {value:#?}");
    };
    let add_auth = client.add_auth("digest", format!("bob:{SECRET}"));
    show(&add_auth);
    add_auth.await.unwrap();
    show(&client.add_auth("nonsense", SECRET).await.unwrap_err());
    let create = client.create("/a", SECRET).acl(Acl::creator_all());
    show(&create);
    show(&create.submit().await.unwrap());
    show(&client.set("/a", SECRET));
    show(&client.multi().set("/a", SECRET));
    let session = client.session();
    show(&client);
    show(&session);
    show(&session.password());
    show(&client.who_am_i().await.unwrap());
    show(&client.states());
    let mut states = client.states();
    server.expire_session(session.id());
    while !matches!(states.next().await, Some(SessionState::Renewed { .. })) {}
    let resumed = Client::builder(&*hosts)
        .session(client.session().id(), client.session().password().clone());
    show(&resumed);
    client.close().await.unwrap();

    let log = log.text();
    assert!(log.contains("answered") && shown.contains("Client"));
    for (text, what) in [(&log, "the log"), (&shown, "Debug")] {
        let password = session.password().as_bytes();
        for hidden in [forms(password), forms(SECRET.as_bytes())].concat() {
            assert!(!text.contains(&hidden), "{what} shows {hidden:?}:\n{text}");
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_error_says_what_failed_and_nothing_secret() {
    let _turn = TURN.lock().await;
    let server = Server::builder().start().await.unwrap();
    let client = Client::connect(&server.connect_string()).await.unwrap();
    let error = client.set("/no", SECRET).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoNode);
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("/no") && !shown.contains(SECRET), "{shown}");
}
