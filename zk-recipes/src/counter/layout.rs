//! How a counter's value is written into its node, and with whose counter that is compatible.
//!
//! | layout | content | the same as |
//! |---|---|---|
//! | `CuratorLong` | 8 bytes, big-endian | Curator's `DistributedAtomicLong` |
//! | `CuratorCount` | 4 bytes, big-endian | Curator's `SharedCount` and `DistributedAtomicInteger`, kazoo's `Counter` with `support_curator` |
//! | `KazooText` | decimal digits | kazoo's `Counter` |
//!
//! An empty node counts as 0 here and for Curator's atomic numbers. Curator's `SharedCount` cannot read one, which is why
//! none is made here, and kazoo's `Counter` takes its `default` for it, which has to be 0 to be shared. Content of another form is refused: eight digits as a long would be a number that
//! nobody meant.

use bytes::Bytes;

/// How a counter's value is written, and so with whose counter it can be shared.
///
/// Everybody who uses one counter must use the same layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CounterLayout {
    /// 8 bytes, big-endian: Curator's `DistributedAtomicLong`. The default of an [`AtomicLong`](super::AtomicLong).
    #[default]
    CuratorLong,
    /// 4 bytes, big-endian: Curator's `SharedCount`, and kazoo's `Counter` with `support_curator`. The default of a
    /// [`SharedCount`](super::SharedCount).
    CuratorCount,
    /// Decimal digits: kazoo's `Counter`.
    KazooText,
}

impl CounterLayout {
    /// The value in these bytes, or what is wrong with them.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<i64, &'static str> {
        if bytes.is_empty() {
            return Ok(0);
        }
        match self {
            Self::CuratorLong => {
                let long: [u8; 8] = bytes
                    .try_into()
                    .map_err(|_| "not 8 bytes, as a DistributedAtomicLong has")?;
                match long.iter().all(u8::is_ascii_digit) {
                    true => Err("8 decimal digits: another layout's"),
                    false => Ok(i64::from_be_bytes(long)),
                }
            }
            Self::CuratorCount => bytes
                .try_into()
                .map(|count| i64::from(i32::from_be_bytes(count)))
                .map_err(|_| "not 4 bytes, as a SharedCount has"),
            Self::KazooText => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or("no decimal number, as kazoo's Counter has"),
        }
    }

    /// The bytes of a value; `None` for one that this layout has no room for.
    pub(crate) fn encode(self, value: i64) -> Option<Bytes> {
        Some(match self {
            Self::CuratorLong => {
                let long = value.to_be_bytes();
                // What could not be read back cannot be written.
                if long.iter().all(u8::is_ascii_digit) {
                    return None;
                }
                Bytes::copy_from_slice(&long)
            }
            Self::CuratorCount => Bytes::copy_from_slice(&i32::try_from(value).ok()?.to_be_bytes()),
            Self::KazooText => value.to_string().into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [CounterLayout; 3] = [
        CounterLayout::CuratorLong,
        CounterLayout::CuratorCount,
        CounterLayout::KazooText,
    ];

    #[test]
    fn each_layout_is_written_as_its_family_writes_it() {
        let cases: [(CounterLayout, i64, &[u8]); 6] = [
            (CounterLayout::CuratorLong, 258, &[0, 0, 0, 0, 0, 0, 1, 2]),
            (CounterLayout::CuratorLong, -1, &[255; 8]),
            (CounterLayout::CuratorCount, 258, &[0, 0, 1, 2]),
            (CounterLayout::CuratorCount, -2, &[255, 255, 255, 254]),
            (CounterLayout::KazooText, 258, b"258"),
            (CounterLayout::KazooText, -7, b"-7"),
        ];
        for (layout, value, bytes) in cases {
            assert_eq!(layout.encode(value).as_deref(), Some(bytes));
            assert_eq!(layout.decode(bytes), Ok(value));
        }
        for layout in ALL {
            assert_eq!(layout.decode(b""), Ok(0));
        }
    }

    #[test]
    fn content_of_another_layout_is_refused() {
        assert!(CounterLayout::CuratorLong.decode(b"5").is_err());
        assert!(CounterLayout::CuratorLong.decode(b"12345678").is_err());
        assert!(CounterLayout::CuratorLong.decode(&[0, 0, 0, 5]).is_err());
        assert!(CounterLayout::CuratorCount.decode(b"5").is_err());
        assert!(CounterLayout::CuratorCount.decode(&[0; 8]).is_err());
        assert!(CounterLayout::KazooText.decode(&[0, 0, 0, 5]).is_err());
        assert!(CounterLayout::KazooText.decode(b"5.5").is_err());
    }

    #[test]
    fn what_has_no_room_is_not_written() {
        assert_eq!(CounterLayout::CuratorCount.encode(1 << 31), None);
        assert_eq!(
            CounterLayout::CuratorLong.encode(i64::from_be_bytes(*b"12345678")),
            None
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value: i64, small: i32) {
            for layout in ALL {
                for value in [value, i64::from(small)] {
                    if let Some(bytes) = layout.encode(value) {
                        prop_assert_eq!(layout.decode(&bytes), Ok(value));
                    }
                }
            }
        }

        #[test]
        fn any_content_is_answered(bytes: Vec<u8>) {
            for layout in ALL {
                let _ = layout.decode(&bytes);
            }
        }
    }
}
