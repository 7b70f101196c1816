//! The kinds of node, and how container and TTL nodes hide in `ephemeralOwner`.

/// What kind of node to create (`CreateMode` in Apache's client; the number is `CreateRequest.flags`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum CreateMode {
    /// Stays until deleted.
    #[default]
    Persistent = 0,
    /// Goes with its session; has no children.
    Ephemeral = 1,
    /// Persistent, with a ten-digit counter of the parent appended to its name.
    PersistentSequential = 2,
    /// Ephemeral, with a ten-digit counter of the parent appended to its name.
    EphemeralSequential = 3,
    /// Deleted by the server some time after its last child is gone.
    Container = 4,
    /// Deleted by the server when it has had no children and no change for its time to live.
    PersistentWithTtl = 5,
    /// As [`PersistentWithTtl`](Self::PersistentWithTtl), with the counter appended.
    PersistentSequentialWithTtl = 6,
}

impl CreateMode {
    /// The mode with this number, if there is one.
    #[must_use]
    pub const fn from_flags(flags: i32) -> Option<Self> {
        Some(match flags {
            0 => Self::Persistent,
            1 => Self::Ephemeral,
            2 => Self::PersistentSequential,
            3 => Self::EphemeralSequential,
            4 => Self::Container,
            5 => Self::PersistentWithTtl,
            6 => Self::PersistentSequentialWithTtl,
            _ => return None,
        })
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn flags(self) -> i32 {
        self as i32
    }

    /// Whether the node goes with its session.
    #[must_use]
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Whether the parent's counter is appended to the name.
    #[must_use]
    pub const fn is_sequential(self) -> bool {
        matches!(
            self,
            Self::PersistentSequential
                | Self::EphemeralSequential
                | Self::PersistentSequentialWithTtl
        )
    }

    /// Whether the server deletes it when it has had no children and no change for a while.
    #[must_use]
    pub const fn is_ttl(self) -> bool {
        matches!(
            self,
            Self::PersistentWithTtl | Self::PersistentSequentialWithTtl
        )
    }
}

/// What the persisted `ephemeralOwner` of a node says about its kind (`EphemeralType.java`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EphemeralOwner {
    /// 0: a persistent node.
    Persistent,
    /// A session id.
    Session(crate::SessionId),
    /// The smallest long.
    Container,
    /// `0xff` in the high byte, two reserved bytes, and a time to live of 40 bits.
    Ttl {
        /// The time to live in milliseconds.
        ttl_ms: i64,
    },
}

impl EphemeralOwner {
    /// The mark of a container node.
    pub const CONTAINER: i64 = i64::MIN;
    /// The largest time to live in milliseconds (40 bits).
    pub const TTL_MS_MAX: i64 = 0x00ff_ffff_ffff;
    const TTL_MASK: i64 = 0xff00_0000_0000_0000_u64.cast_signed();

    /// The meaning of a persisted `ephemeralOwner`.
    ///
    /// `extended` says whether TTL nodes are enabled (`zookeeper.extendedTypesEnabled`): without them the
    /// same bits are a session id of server 255.
    #[must_use]
    pub const fn from_raw(raw: i64, extended: bool) -> Self {
        match raw {
            0 => Self::Persistent,
            Self::CONTAINER => Self::Container,
            raw if extended && raw & Self::TTL_MASK == Self::TTL_MASK => Self::Ttl {
                ttl_ms: raw & Self::TTL_MS_MAX,
            },
            raw => Self::Session(crate::SessionId(raw)),
        }
    }

    /// As [`from_raw`](Self::from_raw) with TTL nodes enabled, where those of ZooKeeper 3.5.3 are to be understood
    /// too (`zookeeper.emulate353TTLNodes`): it marked them by the highest bit alone.
    #[must_use]
    pub const fn from_raw_353(raw: i64) -> Self {
        match raw {
            Self::CONTAINER => Self::Container,
            raw if raw < 0 => Self::Ttl {
                ttl_ms: raw & Self::TTL_MS_MAX,
            },
            raw => Self::from_raw(raw, true),
        }
    }

    /// The persisted form.
    #[must_use]
    pub const fn raw(self) -> i64 {
        match self {
            Self::Persistent => 0,
            Self::Session(id) => id.0,
            Self::Container => Self::CONTAINER,
            Self::Ttl { ttl_ms } => Self::TTL_MASK | (ttl_ms & Self::TTL_MS_MAX),
        }
    }
}
