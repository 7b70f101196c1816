//! The text in a quota's nodes.

use std::collections::BTreeMap;

/// Limits, or what there is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StatsTrack {
    values: BTreeMap<String, i64>,
}

impl StatsTrack {
    /// So many nodes, and so many bytes.
    pub(super) fn of(nodes: i64, bytes: i64) -> Self {
        let values = [("count", nodes), ("bytes", bytes)];
        Self {
            values: values.map(|(key, value)| (key.to_owned(), value)).into(),
        }
    }

    /// Reads `count=1,bytes=2=;countHardLimit=3`; what has no number, or is not there, counts as -1: no limit.
    ///
    /// Apache fails where there is no number, a write under such a quota or its whole server.
    pub(super) fn parse(data: &[u8]) -> Self {
        let text = String::from_utf8_lossy(data);
        let pairs = text.split([',', ';']).filter(|pair| !pair.is_empty());
        let value = |pair: &str| {
            let mut parts = pair.split('=');
            let key = parts.next()?.to_owned();
            Some((key, parts.next()?.parse().ok()?))
        };
        Self {
            values: pairs.filter_map(value).collect(),
        }
    }

    fn get(&self, key: &str) -> i64 {
        self.values.get(key).copied().unwrap_or(-1)
    }

    pub(super) fn add(&mut self, key: &str, difference: i64) {
        let value = self.get(key).wrapping_add(difference);
        self.values.insert(key.to_owned(), value);
    }

    /// `count` and `bytes` first; then, behind a `=` that makes old readers stop, the others by name.
    pub(super) fn to_text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.get("count"), self.get("bytes"));
        let is_other = |(key, _): &(&String, _)| !matches!(key.as_str(), "count" | "bytes");
        let others: String = self
            .values
            .iter()
            .filter(is_other)
            .map(|(key, value)| format!(";{key}={value}"))
            .collect();
        if !others.is_empty() {
            text.push('=');
            text.push_str(&others);
        }
        text
    }

    /// Whether a value may grow by so much under these limits; the hard limit counts where there is one.
    pub(super) fn allows(&self, limits: &Self, soft: &str, hard: &str, difference: i64) -> bool {
        let hard = limits.get(hard);
        let limit = if hard > -1 { hard } else { limits.get(soft) };
        let after = self.get(soft).wrapping_add(difference);
        if difference == 0 || limit < 0 || after <= limit {
            return true;
        }
        if hard < 0 && self.get(soft) <= limit {
            tracing::warn!(limit, after, "soft quota of {soft} exceeded");
        }
        hard < 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_read_and_write_as_apache_does() {
        for (text, canonical) in [
            ("count=5,bytes=-1", "count=5,bytes=-1"),
            ("count=5", "count=5,bytes=-1"),
            ("bytes=7,count=5", "count=5,bytes=7"),
            (
                "count=1,bytes=2=;countHardLimit=3;byteHardLimit=4",
                "count=1,bytes=2=;byteHardLimit=4;countHardLimit=3",
            ),
            ("", "count=-1,bytes=-1"),
            ("count=x,,bytes", "count=-1,bytes=-1"),
            ("#;=;count=;x=1", "count=-1,bytes=-1=;x=1"),
        ] {
            assert_eq!(
                StatsTrack::parse(text.as_bytes()).to_text(),
                canonical,
                "{text}"
            );
        }
    }

    #[test]
    fn only_hard_limits_refuse() {
        let stats = StatsTrack::parse(b"count=5,bytes=100");
        for (limits, count, bytes) in [
            ("count=5,bytes=100", true, true),
            (
                "count=-1,bytes=-1=;countHardLimit=5;byteHardLimit=100",
                false,
                false,
            ),
            (
                "count=5,bytes=100=;countHardLimit=6;byteHardLimit=101",
                true,
                true,
            ),
            ("count=1,bytes=1=;byteHardLimit=100", true, false),
        ] {
            let limits = StatsTrack::parse(limits.as_bytes());
            assert_eq!(stats.allows(&limits, "count", "countHardLimit", 1), count);
            assert_eq!(stats.allows(&limits, "bytes", "byteHardLimit", 1), bytes);
            assert!(stats.allows(&limits, "bytes", "byteHardLimit", 0));
            assert!(stats.allows(&limits, "bytes", "byteHardLimit", -1));
        }
    }
}
