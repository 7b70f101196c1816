//! From bytes to settings and back.

use std::error::Error as StdError;

use serde::Serialize;
#[cfg(any(feature = "json", feature = "toml", feature = "yaml"))]
use serde::de::DeserializeOwned;

/// Any error, as decoders and validations return it.
pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// A text format that settings are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    #[cfg(feature = "json")]
    Json,
    #[cfg(feature = "toml")]
    Toml,
    #[cfg(feature = "yaml")]
    Yaml,
    /// The caller's own decoder; there is no encoder.
    Custom,
}

impl Format {
    /// Reads a value. `Custom` has its own decoder and never comes here.
    #[cfg(any(feature = "json", feature = "toml", feature = "yaml"))]
    pub(super) fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, BoxError> {
        match self {
            #[cfg(feature = "json")]
            Self::Json => Ok(serde_json::from_slice(bytes)?),
            #[cfg(feature = "toml")]
            Self::Toml => Ok(toml::from_str(std::str::from_utf8(bytes)?)?),
            #[cfg(feature = "yaml")]
            Self::Yaml => Ok(serde_saphyr::from_slice(bytes)?),
            Self::Custom => Err("a custom format has its own decoder".into()),
        }
    }

    /// Writes a value, readable by people where the format allows it.
    #[cfg_attr(
        not(any(feature = "json", feature = "toml", feature = "yaml")),
        allow(unused_variables)
    )]
    pub(super) fn encode<T: Serialize>(self, value: &T) -> Result<Vec<u8>, BoxError> {
        match self {
            #[cfg(feature = "json")]
            Self::Json => Ok(serde_json::to_vec_pretty(value)?),
            #[cfg(feature = "toml")]
            Self::Toml => Ok(toml::to_string_pretty(value)?.into_bytes()),
            #[cfg(feature = "yaml")]
            Self::Yaml => Ok(serde_saphyr::to_string(value)?.into_bytes()),
            Self::Custom => {
                Err("a configuration with its own decoder is written with `set_bytes`".into())
            }
        }
    }
}

#[cfg(all(test, feature = "json", feature = "toml", feature = "yaml"))]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Settings {
        url: String,
        pool: Pool,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pool {
        size: u32,
        hosts: Vec<String>,
    }

    fn settings() -> Settings {
        let hosts = vec!["a".into(), "b: c".into()];
        Settings {
            url: "mysql://é@h/db".into(),
            pool: Pool { size: 8, hosts },
        }
    }

    #[test]
    fn every_format_reads_what_it_writes() {
        for format in [Format::Json, Format::Toml, Format::Yaml] {
            let bytes = format.encode(&settings()).unwrap();
            assert_eq!(
                format.decode::<Settings>(&bytes).unwrap(),
                settings(),
                "{format:?}"
            );
        }
    }

    #[test]
    fn every_format_reads_what_people_write() {
        let json = br#"{"url": "x", "pool": {"size": 1, "hosts": []}}"#.as_slice();
        let toml = b"url = 'x' # comment\n[pool]\nsize = 1\nhosts = []\n".as_slice();
        let yaml = b"url: x # comment\npool:\n  size: 1\n  hosts: []\n".as_slice();
        for (format, text) in [
            (Format::Json, json),
            (Format::Toml, toml),
            (Format::Yaml, yaml),
        ] {
            let read: Settings = format.decode(text).unwrap();
            assert_eq!((read.url.as_str(), read.pool.size), ("x", 1), "{format:?}");
        }
    }

    #[test]
    fn bad_content_is_an_error_in_every_format() {
        for format in [Format::Json, Format::Toml, Format::Yaml] {
            for text in [
                b"".as_slice(),
                b"{",
                b"\xff\xfe",
                b"url: [",
                b"{\"url\": 3}",
                b"\0",
            ] {
                assert!(
                    format.decode::<Settings>(text).is_err(),
                    "{format:?} {text:?}"
                );
            }
        }
    }
}
