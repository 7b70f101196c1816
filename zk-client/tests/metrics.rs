//! The numbers that the feature `metrics` gives out.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use zk_client::{Client, SessionState, testing::FaultProxy};
use zk_server::Server;

/// What was counted, by name and labels.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<BTreeMap<String, f64>>>);

struct Number(Numbers, String);

impl Numbers {
    fn at(&self, key: &Key) -> Arc<Number> {
        let labels = key.labels().filter(|label| label.key() != "client");
        let labels: Vec<_> = labels.map(|label| label.value().to_owned()).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        Arc::new(Number(self.clone(), name.trim_end().to_owned()))
    }

    fn get(&self, name: &str) -> f64 {
        self.0
            .lock()
            .unwrap()
            .get(name)
            .copied()
            .unwrap_or_default()
    }
}

impl Number {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut numbers = self.0.0.lock().unwrap();
        let number = numbers.entry(self.1.clone()).or_default();
        *number = change(*number);
    }
}

impl CounterFn for Number {
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    fn increment(&self, value: u64) {
        self.change(|number| number + value as f64);
    }

    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl GaugeFn for Number {
    fn increment(&self, value: f64) {
        self.change(|number| number + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|number| number - value);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl HistogramFn for Number {
    fn record(&self, value: f64) {
        self.change(|count| count + 1.0);
        let longest = Self(self.0.clone(), format!("{} longest", self.1));
        longest.change(|longest| longest.max(value));
    }
}

impl Recorder for Numbers {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.at(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.at(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.at(key))
    }
}

#[tokio::test(flavor = "current_thread")]
async fn requests_reconnects_expiries_and_the_leader_are_counted() {
    let numbers = Numbers::default();
    let _guard = metrics::set_default_local_recorder(&numbers);
    let server = Server::builder().start().await.unwrap();
    let proxy = FaultProxy::start(server.local_addr()).await.unwrap();
    let client = Client::connect(proxy.connect_string()).await.unwrap();
    assert!(numbers.get("zk_client_connected") > 0.5);
    assert!(numbers.get("zk_client_leader_heard_timestamp_seconds") < 0.5);
    client.exists("/").await.unwrap();
    assert!(numbers.get("zk_client_leader_heard_timestamp_seconds") < 0.5);
    client.create("/a", "").await.unwrap();
    assert!(numbers.get("zk_client_leader_heard_timestamp_seconds") > 1e9);
    client.create("/a", "").await.unwrap_err();
    let total = |what: &str| numbers.get(&format!("zk_client_requests_total {what}"));
    let totals = (
        total("create ok"),
        total("create refused"),
        total("exists ok"),
    );
    assert!((totals.0 - 1.0).abs() < 0.5 && (totals.1 - 1.0).abs() < 0.5 && totals.2 > 0.5);
    assert!((numbers.get("zk_client_request_duration_seconds create") - 2.0).abs() < 0.5);

    let mut states = client.states();
    for resumed in [1.0, 2.0] {
        proxy.cut();
        while states.next().await != Some(SessionState::Suspended) {}
        while states.next().await != Some(SessionState::Connected) {}
        assert!((numbers.get("zk_client_reconnects_total") - resumed).abs() < 0.5);
        assert!((numbers.get("zk_client_connections_lost_total") - resumed).abs() < 0.5);
    }
    assert!(numbers.get("zk_client_sessions_expired_total") < 0.5);
    server.expire_session(client.session().id());
    while !matches!(states.next().await, Some(SessionState::Renewed { .. })) {}
    assert!((numbers.get("zk_client_connections_lost_total") - 3.0).abs() < 0.5);
    assert!((numbers.get("zk_client_sessions_expired_total") - 1.0).abs() < 0.5);
    assert!(
        (numbers.get("zk_client_reconnects_total") - 2.0).abs() < 0.5,
        "a renewed session is not a resumed one"
    );
    client.close().await.unwrap();
    assert!(numbers.get("zk_client_connected") < 0.5);
}

#[tokio::test(flavor = "current_thread")]
async fn latency_ends_with_the_answer_and_what_nobody_waits_for_is_counted() {
    let numbers = Numbers::default();
    let _guard = metrics::set_default_local_recorder(&numbers);
    let server = Server::builder().start().await.unwrap();
    let client = Client::connect(server.connect_string()).await.unwrap();
    let start = std::time::Instant::now();
    let pending = client.create("/a", "").submit().await.unwrap();
    client.exists("/a").await.unwrap();
    // Answers come in order, so by now the first is there.
    let answered = start.elapsed();
    while start.elapsed() < answered * 3 {
        client.exists("/a").await.unwrap();
    }
    pending.await.unwrap();
    let longest = numbers.get("zk_client_request_duration_seconds create longest");
    assert!(
        longest > 0.0 && longest <= answered.as_secs_f64(),
        "{longest} of {answered:?}"
    );

    // One that is given up before its answer, and one that is answered before it is given up.
    drop(client.delete("/none").submit().await.unwrap());
    let pending = client.set("/a", "").submit().await.unwrap();
    client.exists("/a").await.unwrap();
    drop(pending);
    let total = |what: &str| numbers.get(&format!("zk_client_requests_total {what}"));
    for what in ["delete cancelled", "setData ok", "create ok"] {
        assert!((total(what) - 1.0).abs() < 0.5, "{what}: {}", total(what));
    }
    client.close().await.unwrap();
}
