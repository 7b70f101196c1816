//! The operations' numbers.

macro_rules! op_codes {
    ($( $(#[$meta:meta])* $name:ident = $code:literal, )*) => {
        /// An operation's number (`ZooDefs.OpCode`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        pub enum OpCode { $( $(#[$meta])* $name = $code, )* }

        impl OpCode {
            /// Every operation, in the order of `ZooDefs.OpCode`.
            pub const ALL: &[Self] = &[ $( Self::$name, )* ];

            /// The operation with this number, if there is one.
            #[must_use]
            pub const fn from_i32(code: i32) -> Option<Self> {
                match code { $( $code => Some(Self::$name), )* _ => None }
            }
        }
    };
}

op_codes! {
    /// A watch event; never a request.
    Notification = 0,
    /// Create a node; answers its path.
    Create = 1,
    /// Delete a node.
    Delete = 2,
    /// Ask for a node's Stat.
    Exists = 3,
    /// Read a node's data.
    GetData = 4,
    /// Set a node's data.
    SetData = 5,
    /// Read a node's ACL.
    GetAcl = 6,
    /// Set a node's ACL.
    SetAcl = 7,
    /// List a node's children.
    GetChildren = 8,
    /// Catch up with the leader.
    Sync = 9,
    /// Keep the session alive.
    Ping = 11,
    /// List a node's children, with its Stat.
    GetChildren2 = 12,
    /// Check a node's version, inside a multi.
    Check = 13,
    /// Several writes, all or nothing.
    Multi = 14,
    /// Create a node; answers its path and Stat.
    Create2 = 15,
    /// Change the ensemble's members.
    Reconfig = 16,
    /// Ask whether a watch is there.
    CheckWatches = 17,
    /// Remove watches.
    RemoveWatches = 18,
    /// Create a container node.
    CreateContainer = 19,
    /// Delete an empty container or TTL node; the server's own, never a client's.
    DeleteContainer = 20,
    /// Create a node with a time to live.
    CreateTtl = 21,
    /// Several reads at one zxid.
    MultiRead = 22,
    /// Authenticate.
    Auth = 100,
    /// Register watches again after a reconnect.
    SetWatches = 101,
    /// A step of a SASL conversation.
    Sasl = 102,
    /// List the session's ephemeral nodes under a prefix.
    GetEphemerals = 103,
    /// Count all nodes below one.
    GetAllChildrenNumber = 104,
    /// As [`SetWatches`](Self::SetWatches), with persistent watches.
    SetWatches2 = 105,
    /// Add a persistent watch.
    AddWatch = 106,
    /// Ask whom the server takes one for.
    WhoAmI = 107,
    /// Begin a session; a transaction, never a request with a header.
    CreateSession = -10,
    /// End a session.
    CloseSession = -11,
    /// A refused write; a transaction, never a request.
    Error = -1,
}

impl OpCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// Whether it changes the tree or the sessions and so takes a transaction.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(
            self,
            Self::Create
                | Self::Create2
                | Self::CreateContainer
                | Self::CreateTtl
                | Self::Delete
                | Self::DeleteContainer
                | Self::SetData
                | Self::SetAcl
                | Self::Multi
                | Self::Check
                | Self::Reconfig
                | Self::CreateSession
                | Self::CloseSession
        )
    }
}
