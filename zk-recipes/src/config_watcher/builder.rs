//! How a configuration is decoded, validated, and begun with.

use std::{sync::Arc, time::Duration};

#[cfg(any(feature = "json", feature = "toml", feature = "yaml"))]
use serde::de::DeserializeOwned;
use zk_client::Client;

use super::{
    ConfigWatcher,
    format::{BoxError, Format},
    task,
};
use crate::{
    connection::within,
    error::{BadContent, Result},
};

/// A configuration's node, before its format is chosen.
///
/// Made by [`client.config(path)`](crate::ClientExt::config); nothing happens until [`ConfigSource::watch`].
#[must_use = "choose a format, then `watch`"]
#[derive(Debug)]
pub struct Config {
    client: Client,
    path: Arc<str>,
}

/// A configuration's node with its format, not yet watched.
#[must_use = "nothing is read until `watch`"]
pub struct ConfigSource<T> {
    pub(super) client: Client,
    pub(super) codec: Codec<T>,
    pub(super) start: Start<T>,
    pub(super) timeout: Option<Duration>,
}

/// From the node's bytes to a validated value.
pub(super) struct Codec<T> {
    pub(super) path: Arc<str>,
    pub(super) format: Format,
    decode: Decode<T>,
    validations: Vec<Validate<T>>,
}

type Decode<T> = Box<dyn Fn(&[u8]) -> Result<T, BoxError> + Send + Sync>;
pub(super) type Validate<T> = Box<dyn Fn(&T) -> Result<(), BoxError> + Send + Sync>;

/// What `watch` does when there is no good value yet.
#[derive(Debug, Clone)]
pub(super) enum Start<T> {
    Fail,
    Wait,
    With(Arc<T>),
}

impl<T> Start<T> {
    /// The value to begin with, and whether to wait for one.
    pub(super) fn into_parts(self) -> (Option<Arc<T>>, bool) {
        match self {
            Self::Fail => (None, false),
            Self::Wait => (None, true),
            Self::With(value) => (Some(value), true),
        }
    }
}

impl Config {
    pub(crate) fn new(client: Client, path: &str) -> Self {
        Self {
            client,
            path: path.into(),
        }
    }

    /// Settings in JSON.
    #[cfg(feature = "json")]
    pub fn json<T: DeserializeOwned>(self) -> ConfigSource<T> {
        self.format(Format::Json)
    }

    /// Settings in TOML.
    #[cfg(feature = "toml")]
    pub fn toml<T: DeserializeOwned>(self) -> ConfigSource<T> {
        self.format(Format::Toml)
    }

    /// Settings in YAML.
    #[cfg(feature = "yaml")]
    pub fn yaml<T: DeserializeOwned>(self) -> ConfigSource<T> {
        self.format(Format::Yaml)
    }

    /// Settings in a directory: one node for each field, all of them read as one, in JSON.
    #[cfg(feature = "json")]
    pub fn directory<T: DeserializeOwned>(self) -> super::DirectorySource<T> {
        super::DirectorySource::new(self.client, self.path)
    }

    /// Settings in any other format. They are written with [`ConfigWatcher::set_bytes`].
    pub fn decode_with<T, E: Into<BoxError>>(
        self,
        decode: impl Fn(&[u8]) -> Result<T, E> + Send + Sync + 'static,
    ) -> ConfigSource<T> {
        self.source(
            Format::Custom,
            Box::new(move |bytes| decode(bytes).map_err(Into::into)),
        )
    }

    #[cfg(any(feature = "json", feature = "toml", feature = "yaml"))]
    fn format<T: DeserializeOwned>(self, format: Format) -> ConfigSource<T> {
        self.source(format, Box::new(move |bytes| format.decode(bytes)))
    }

    fn source<T>(self, format: Format, decode: Decode<T>) -> ConfigSource<T> {
        let Self { client, path } = self;
        let codec = Codec {
            path,
            format,
            decode,
            validations: Vec::new(),
        };
        ConfigSource {
            client,
            codec,
            start: Start::Fail,
            timeout: None,
        }
    }
}

impl<T: Send + Sync + 'static> ConfigSource<T> {
    /// Refuses values that this function refuses, when they are read and before they are written.
    ///
    /// Several validations are asked in the order in which they were added. The function must not block.
    pub fn validate<E: Into<BoxError>>(
        mut self,
        check: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        let check: Validate<T> = Box::new(move |value| check(value).map_err(Into::into));
        self.codec.validations.push(check);
        self
    }

    /// Starts with this value when there is no node, or no good content in it, yet.
    pub fn or_start_with(mut self, value: T) -> Self {
        self.start = Start::With(Arc::new(value));
        self
    }

    /// Lets [`watch`](Self::watch) wait for the first good value instead of failing.
    pub fn or_wait(mut self) -> Self {
        self.start = Start::Wait;
        self
    }

    /// Lets [`watch`](Self::watch) give up after this long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Reads the configuration and goes on watching it.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`](crate::Error::Timeout) when a time was given and has passed; without a connection it waits.
    /// Without [`or_start_with`](Self::or_start_with) or [`or_wait`](Self::or_wait): [`Error::NoConfig`] when there is
    /// no node, [`Error::BadContent`] when its content is refused. Always: what the client reports when it cannot read
    /// the node. Cancel safe.
    ///
    /// [`Error::NoConfig`]: crate::Error::NoConfig
    /// [`Error::BadContent`]: crate::Error::BadContent
    pub async fn watch(self) -> Result<ConfigWatcher<T>> {
        let place = (self.client.clone(), Arc::clone(&self.codec.path));
        within((&place.0, &place.1), self.timeout, task::start(self)).await
    }
}

impl<T> std::fmt::Debug for ConfigSource<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigSource")
            .field("path", &self.codec.path)
            .field("format", &self.codec.format)
            .finish_non_exhaustive()
    }
}

impl<T> Codec<T> {
    /// The value in these bytes; `version` is that of the node that holds them, if one does.
    pub(super) fn decode(&self, bytes: &[u8], version: Option<i32>) -> Result<T, BadContent> {
        let value = (self.decode)(bytes);
        let valid = value.and_then(|value| self.validate(&value).map(|()| value));
        valid.map_err(|source| BadContent::new(&self.path, version, source))
    }

    fn validate(&self, value: &T) -> Result<(), BoxError> {
        self.validations.iter().try_for_each(|check| check(value))
    }
}
