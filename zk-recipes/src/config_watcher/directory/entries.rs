//! The nodes of a directory as one value, and back.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use zk_client::{Stat, Zxid};

use crate::{
    config_watcher::{builder::Validate, format::BoxError},
    error::BadContent,
};

/// The content of each field's node, by the field's name.
pub(super) type Entries = BTreeMap<String, Bytes>;

/// A directory as it was at one moment.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The directory's own data and metadata.
    pub(super) data: Bytes,
    pub(super) stat: Stat,
    pub(super) nodes: BTreeMap<String, (Bytes, Stat)>,
}

impl Seen {
    pub(super) fn entries(&self) -> Entries {
        let entry = |(name, (data, _)): (&String, &(Bytes, Stat))| (name.clone(), data.clone());
        self.nodes.iter().map(entry).collect()
    }

    /// Which nodes there are, and when each was written last.
    pub(super) fn moments(&self) -> Vec<(String, Zxid)> {
        let moment = |(name, (_, stat)): (&String, &(Bytes, Stat))| (name.clone(), stat.mzxid);
        self.nodes.iter().map(moment).collect()
    }

    /// The last write that made the nodes what they are; `None` where there are none. (Each later change of one is a later write
    /// to it, or to the directory's list of them.)
    pub(super) fn written(&self) -> Option<Zxid> {
        let newest = self.nodes.values().map(|(_, stat)| stat.mzxid).max();
        newest.map(|newest| newest.max(self.stat.pzxid))
    }

    /// The directory's metadata, as if every change of its nodes were one of its own data.
    pub(super) fn stat(&self) -> Stat {
        Stat {
            mzxid: self.written().unwrap_or(self.stat.pzxid),
            ..self.stat
        }
    }
}

/// From the nodes to a validated value.
pub(in crate::config_watcher) struct DirectoryCodec<T> {
    pub(super) path: Arc<str>,
    from_value: fn(Value) -> serde_json::Result<T>,
    validations: Vec<Validate<T>>,
}

impl<T: DeserializeOwned> DirectoryCodec<T> {
    pub(super) fn new(path: Arc<str>) -> Self {
        Self {
            path,
            from_value: serde_json::from_value,
            validations: Vec::new(),
        }
    }
}

impl<T> DirectoryCodec<T> {
    pub(super) fn validate<E: Into<BoxError>>(
        &mut self,
        check: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static,
    ) {
        let check: Validate<T> = Box::new(move |value| check(value).map_err(Into::into));
        self.validations.push(check);
    }

    /// The value in these nodes; `version` is the directory's, if it is there.
    pub(super) fn decode(&self, entries: &Entries, version: Option<i32>) -> Result<T, BadContent> {
        self.value(entries)
            .map_err(|source| BadContent::new(&self.path, version, source))
    }

    fn value(&self, entries: &Entries) -> Result<T, BoxError> {
        let mut fields = Map::new();
        for (name, content) in entries {
            let field = serde_json::from_slice(content).map_err(|error| format!("{name}: {error}"));
            fields.insert(name.clone(), field?);
        }
        let value = (self.from_value)(Value::Object(fields))?;
        self.validations
            .iter()
            .try_for_each(|check| check(&value))?;
        Ok(value)
    }

    /// The nodes that make this value.
    pub(super) fn encode(&self, value: &T) -> Result<Entries, BadContent>
    where
        T: Serialize,
    {
        encode(value).map_err(|source| BadContent::new(&self.path, None, source))
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Entries, BoxError> {
    let Value::Object(fields) = serde_json::to_value(value)? else {
        return Err("a directory holds a struct or a map".into());
    };
    let mut entries = Entries::new();
    for (name, value) in fields {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(format!("{name:?} is no name of a node").into());
        }
        if !value.is_null() {
            entries.insert(name, serde_json::to_vec_pretty(&value)?.into());
        }
    }
    match entries.is_empty() {
        true => Err("a directory without nodes is no configuration".into()),
        false => Ok(entries),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Settings {
        url: String,
        sizes: Vec<u32>,
        note: Option<String>,
    }

    #[test]
    fn a_struct_is_a_node_for_each_field() {
        let mut codec = DirectoryCodec::new("/c".into());
        codec.validate(|settings: &Settings| match settings.sizes.is_empty() {
            true => Err("no sizes"),
            false => Ok(()),
        });
        let (url, sizes) = ("db".to_owned(), vec![1, 2]);
        let settings = Settings {
            url,
            sizes,
            note: None,
        };
        let entries = codec.encode(&settings).unwrap();
        assert_eq!(entries.keys().collect::<Vec<_>>(), ["sizes", "url"]);
        assert_eq!(codec.decode(&entries, None).unwrap(), settings);
        for (name, content, why) in [
            ("url", "db", "url"),
            ("url", "3", ""),
            ("sizes", "[]", "no sizes"),
        ] {
            let mut bad = entries.clone();
            bad.insert(name.into(), Bytes::from_static(content.as_bytes()));
            let error = codec.decode(&bad, Some(1)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let map: BTreeMap<&str, u8> = [("a/b", 1)].into();
        assert!(encode(&map).is_err() && encode(&3).is_err());
        // Every reader would take it for no configuration.
        let nothing: BTreeMap<&str, Option<u8>> = [("a", None)].into();
        assert!(encode(&nothing).is_err());
    }
}
