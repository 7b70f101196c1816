//! Keys that Apache ZooKeeper 3.9 knows and this server does not act upon.
//!
//! Four kinds: what concerns only Apache's own insides (threads, caches, queues), what concerns only ensembles, what
//! is not supported yet, and what may not be ignored because it decides who gets in.

/// What there is to say about a key without effect, or why it may not be ignored.
pub(super) fn judge(key: &str, value: &str) -> Result<Option<String>, String> {
    if value.eq_ignore_ascii_case("true") {
        let let_in = |who| {
            format!("not supported yet, and without it more {who} would get in than you meant")
        };
        if REFUSED_CLIENTS.contains(&key) {
            return Err(let_in("clients"));
        }
        if REFUSED_PEERS.contains(&key) {
            return Err(let_in("servers"));
        }
    }
    // What is switched off here as well.
    let off = key == "admin.enableServer" && value.eq_ignore_ascii_case("false");
    if off || listed(ENSEMBLE, key) {
        return Ok(None);
    }
    Ok(Some(if listed(INTERNAL, key) {
        format!("{key} has no effect: it concerns the insides of Apache's server")
    } else if listed(NOT_YET, key) || REFUSED_CLIENTS.contains(&key) {
        not_yet(key)
    } else {
        format!("unknown key {key} is ignored")
    }))
}

/// What a member of an ensemble says of a key on which a standalone server is silent.
pub(super) fn judge_member(key: &str) -> Option<String> {
    listed(ENSEMBLE, key).then(|| not_yet(key))
}

fn not_yet(key: &str) -> String {
    format!("{key} is not supported yet and has no effect")
}

/// A name that ends with a dot stands for all keys that begin with it.
fn listed(names: &[&str], key: &str) -> bool {
    names.iter().any(|name| match name.ends_with('.') {
        true => key.starts_with(name),
        false => key == *name,
    })
}

/// Switches that keep clients out.
const REFUSED_CLIENTS: &[&str] = &["enforce.auth.enabled", "sessionRequireClientSASLAuth"];

/// Switches that keep out who would read the whole tree as a learner, or vote.
const REFUSED_PEERS: &[&str] = &[
    "quorum.auth.enableSasl",
    "quorum.auth.learnerRequireSasl",
    "quorum.auth.serverRequireSasl",
    "sslQuorum",
];

/// Threads, caches, queues and switches of the Java implementation.
const INTERNAL: &[&str] = &[
    "bitHashCacheSize",
    "commitProcessor.",
    "flushDelay",
    "follower.nodelay",
    "follower.skipLearnerRequestToNextProcessor",
    "forward_learner_requests_to_commit_processor_disabled",
    "intBufferStartingSizeBytes",
    "jmx.",
    "jute.maxbuffer.extrasize",
    "jvm.pause.",
    "leader.closeSocketAsync",
    "leader.nodelay",
    "learner.asyncSending",
    "learner.closeSocketAsync",
    "maxBatchSize",
    "maxGetChildrenResponseCacheSize",
    "maxInProcessingDeadWatchers",
    "maxResponseCacheSize",
    "maxWriteQueuePollTime",
    "messageTracker.",
    "netty.",
    "nio.",
    "quorum.cnxn.threads.size",
    "request_throttler.shutdownTimeout",
    "serverCnxnFactory",
    "watchManagerName",
    "watcherCleanIntervalInSeconds",
    "watcherCleanThreadsNum",
    "watcherCleanThreshold",
];

/// What only members of an ensemble look at; a standalone server of Apache's ignores it just as silently.
const ENSEMBLE: &[&str] = &[
    "cnxTimeout",
    "commitLogCount",
    "connectToLearnerMasterLimit",
    "electionAlg",
    "electionPortBindRetry",
    "enableEagerACLCheck",
    "fastleader.",
    "forceSnapshotSync",
    "leader.ackLoggingFrequency",
    "leader.maxConcurrentDiffSyncs",
    "leader.maxConcurrentSnapSyncs",
    "leader.maxTimeToWaitForEpoch",
    "leaderConnectDelayDuringRetryMs",
    "multiAddress.",
    "observer.",
    "observerMaster.sizeLimit",
    "observerMasterPort",
    "quorumCnxnTimeoutMs",
    "tcpKeepAlive",
];

/// What a server of ours may do one day.
const NOT_YET: &[&str] = &[
    "DigestAuthenticationProvider.digestAlg",
    "IPAuthenticationProvider.usexforwardedfor",
    "SASLAuthenticationProvider.superPassword",
    "X509AuthenticationProvider.superUser",
    "admin.",
    "allowSaslFailedClients",
    "audit.",
    "authProvider.",
    "client.certReload",
    "client.portUnification",
    "client.secure",
    "connection_throttle_decrease_ratio",
    "connection_throttle_drop_decrease",
    "connection_throttle_drop_increase",
    "connection_throttle_fill_count",
    "connection_throttle_fill_time",
    "connection_throttle_freeze_time",
    "connection_throttle_global_session_weight",
    "connection_throttle_local_session_weight",
    "connection_throttle_renew_session_weight",
    "connection_throttle_tokens",
    "connection_throttle_weight_enabled",
    "enforce.auth.schemes",
    "ensembleAuthName",
    "fips-mode",
    "kerberos.",
    "largeRequestMaxBytes",
    "largeRequestThreshold",
    "letAnySaslUserDoX",
    "metricsProvider.",
    "oraclePath",
    "pathStats.",
    "portUnification",
    "quorum.auth.",
    "request_stale_connection_check",
    "request_stale_latency_check",
    "request_throttle_drop_stale",
    "request_throttle_max_requests",
    "request_throttle_stall_time",
    "requireKerberosConfig",
    "sasl.",
    "secureClientPort",
    "secureClientPortAddress",
    "security.auth_to_local",
    "snapshot.compression.method",
    "ssl.",
    "sslQuorum",
    "sslQuorumReloadCertFiles",
    "superUser",
    "throttled_op_wait_time",
];
