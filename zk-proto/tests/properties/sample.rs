//! Where values of every record come from: one line for each type.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};
use zk_proto::{
    Acl, Epoch, Id, Password, Perms, ServerId, SessionId, Stat, Utf8Bytes, Xid, Zxid,
    connect::{ConnectRequest, ConnectResponse},
    header::{ReplyHeader, RequestHeader},
    op::*,
    persist::{AclEntry, DigestSection, FileHeader, NodeRecord, Seal, SessionEntry},
    quorum::*,
    stat::StatPersisted,
    txn::*,
    watch::{AddWatchMode, EventType, KeeperState, WatcherEvent, WatcherType},
};

/// A type whose values can be drawn.
pub(crate) trait Sample: std::fmt::Debug + Sized + 'static {
    fn any() -> BoxedStrategy<Self>;
}

macro_rules! plain {
    ($($ty:ty),*) => { $( impl Sample for $ty {
        fn any() -> BoxedStrategy<Self> {
            any::<$ty>().boxed()
        }
    } )* };
}

macro_rules! newtypes {
    ($($ty:path),*) => { $( impl Sample for $ty {
        fn any() -> BoxedStrategy<Self> {
            Sample::any().prop_map($ty).boxed()
        }
    } )* };
}

macro_rules! records {
    ($($ty:ident { $($field:ident),* })*) => { $( impl Sample for $ty {
        fn any() -> BoxedStrategy<Self> {
            fn draw<T: Sample>(_field: &str) -> BoxedStrategy<T> {
                T::any()
            }
            let fields = ($(draw(stringify!($field)),)*);
            fields.prop_map(|($($field,)*)| Self { $($field),* }).boxed()
        }
    } )* };
}

macro_rules! enums {
    ($($ty:ident { $($variant:ident),* $(; $($unit:ident),*)? })*) => { $( impl Sample for $ty {
        fn any() -> BoxedStrategy<Self> {
            prop_oneof![
                $( Sample::any().prop_map(Self::$variant), )*
                $( $( Just(Self::$unit), )* )?
            ].boxed()
        }
    } )* };
}

plain!(bool, i32, i64);
newtypes!(Zxid, Epoch, SessionId, Xid, ServerId, Perms, Secret);

impl<T: Sample> Sample for Vec<T> {
    fn any() -> BoxedStrategy<Self> {
        vec(T::any(), 0..4).boxed()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn any() -> BoxedStrategy<Self> {
        option::of(T::any()).boxed()
    }
}

impl Sample for Bytes {
    fn any() -> BoxedStrategy<Self> {
        vec(any::<u8>(), 0..40).prop_map(Self::from).boxed()
    }
}

impl Sample for Utf8Bytes {
    fn any() -> BoxedStrategy<Self> {
        let char = prop_oneof![Just('/'), prop::char::range('a', 'z'), any::<char>()];
        let text = vec(char, 0..12).prop_map(String::from_iter);
        text.prop_map(Self::from).boxed()
    }
}

impl Sample for Password {
    fn any() -> BoxedStrategy<Self> {
        Bytes::any().prop_map(Self::new).boxed()
    }
}

records! {
    Id { scheme, id }
    Acl { perms, id }
    Stat { czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, data_length, num_children, pzxid }
    StatPersisted { czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, pzxid }
    RequestHeader { xid, op }
    ReplyHeader { xid, zxid, err }
    ConnectRequest { protocol_version, last_zxid_seen, timeout_ms, session_id, password, read_only }
    ConnectResponse { protocol_version, timeout_ms, session_id, password, read_only }
    WatcherEvent { event_type, state, path }
    CreateRequest { path, data, acl, flags }
    CreateTtlRequest { path, data, acl, flags, ttl_ms }
    CreateResponse { path }
    Create2Response { path, stat }
    DeleteRequest { path, version }
    DeleteContainerRequest { path }
    ExistsRequest { path, watch }
    StatResponse { stat }
    GetDataRequest { path, watch }
    GetDataResponse { data, stat }
    SetDataRequest { path, data, version }
    GetAclRequest { path }
    GetAclResponse { acl, stat }
    SetAclRequest { path, acl, version }
    GetChildrenRequest { path, watch }
    GetChildrenResponse { children }
    GetChildren2Response { children, stat }
    GetAllChildrenNumberRequest { path }
    GetAllChildrenNumberResponse { total }
    GetEphemeralsRequest { prefix }
    GetEphemeralsResponse { ephemerals }
    SyncRequest { path }
    SyncResponse { path }
    CheckVersionRequest { path, version }
    ReconfigRequest { joining, leaving, new_members, config_id }
    CheckWatchesRequest { path, kind }
    RemoveWatchesRequest { path, kind }
    AddWatchRequest { path, mode }
    SetWatchesRequest { relative_zxid, data, exist, child }
    SetWatches2Request { relative_zxid, data, exist, child, persistent, persistent_recursive }
    AuthRequest { kind, scheme, auth }
    SaslRequest { token }
    SaslResponse { token }
    ClientInfo { scheme, user }
    WhoAmIResponse { client_info }
    ErrorResponse { err }
    MultiRequest { ops }
    MultiResponse { results }

    TxnHeader { client_id, cxid, zxid, time, kind }
    TxnDigest { version, tree_digest }
    CreateTxn { path, data, acl, ephemeral, parent_cversion }
    CreateContainerTxn { path, data, acl, parent_cversion }
    CreateTtlTxn { path, data, acl, parent_cversion, ttl_ms }
    DeleteTxn { path }
    SetDataTxn { path, data, version }
    SetAclTxn { path, acl, version }
    CheckVersionTxn { path, version }
    CreateSessionTxn { timeout_ms }
    CloseSessionTxn { paths_to_delete }
    ErrorTxn { err }
    RawTxn { kind, data }
    MultiTxn { txns }

    FileHeader { magic, version, dbid }
    SessionEntry { id, timeout_ms }
    AclEntry { id, acl }
    NodeRecord { path, data, acl, stat }
    Seal { checksum, end }
    DigestSection { zxid, version, digest }

    QuorumPacket { kind, zxid, data, authinfo }
    QuorumAuthPacket { magic, status, token }
    LearnerInfo { server_id, protocol_version, config_version }
    SessionTouch { session, timeout_ms }
    Notification { state, leader, zxid, round, peer_epoch, config }
}

enums! {
    EventType {; None, NodeCreated, NodeDeleted, NodeDataChanged, NodeChildrenChanged, DataWatchRemoved, ChildWatchRemoved, PersistentWatchRemoved }
    KeeperState {; Disconnected, SyncConnected, AuthFailed, ConnectedReadOnly, SaslAuthenticated, Expired, Closed }
    AddWatchMode {; Persistent, PersistentRecursive }
    WatcherType {; Children, Data, Any, Persistent, PersistentRecursive }
    ServerState {; Looking, Following, Leading, Observing }
    MultiOp { Create, Create2, CreateContainer, CreateTtl, Delete, DeleteContainer, SetData, Check, GetData, GetChildren }
    MultiResult { Create, Create2, SetData, GetData, GetChildren, Error; Delete, Check }
    Request {
        Create, Create2, CreateContainer, CreateTtl, Delete, DeleteContainer, Exists, GetData, SetData, GetAcl, SetAcl,
        GetChildren, GetChildren2, GetAllChildrenNumber, GetEphemerals, Sync, Check, Multi, MultiRead, Reconfig,
        CheckWatches, RemoveWatches, SetWatches, SetWatches2, AddWatch, Auth, Sasl;
        Ping, WhoAmI, CloseSession
    }
    Response {
        Create, Create2, Stat, GetData, GetAcl, GetChildren, GetChildren2, GetAllChildrenNumber, GetEphemerals, Sync,
        Multi, Error, Sasl, WhoAmI;
        Empty
    }
}

impl Sample for Txn {
    fn any() -> BoxedStrategy<Self> {
        let parts = vec(part(), 0..4).prop_map(Self::Multi);
        let close = Option::<CloseSessionTxn>::any().prop_map(Self::CloseSession);
        prop_oneof![4 => part(), 1 => parts, 1 => close].boxed()
    }
}

/// A transaction that can stand in a multi.
fn part() -> BoxedStrategy<Txn> {
    prop_oneof![
        Sample::any().prop_map(Txn::Create),
        Sample::any().prop_map(Txn::Create2),
        Sample::any().prop_map(Txn::CreateContainer),
        Sample::any().prop_map(Txn::CreateTtl),
        Sample::any().prop_map(Txn::Delete),
        Sample::any().prop_map(Txn::DeleteContainer),
        Sample::any().prop_map(Txn::SetData),
        Sample::any().prop_map(Txn::Reconfig),
        Sample::any().prop_map(Txn::SetAcl),
        Sample::any().prop_map(Txn::Check),
        Sample::any().prop_map(Txn::CreateSession),
        Sample::any().prop_map(Txn::Error),
    ]
    .boxed()
}

impl Sample for TxnLogEntry {
    fn any() -> BoxedStrategy<Self> {
        // The version is always 2, and no tree has the digest 0.
        let digest = (1..i64::MAX).prop_map(|tree_digest| TxnDigest {
            version: 2,
            tree_digest,
        });
        (TxnHeader::any(), Txn::any(), option::of(digest))
            .prop_map(|(mut header, txn, digest)| {
                header.kind = txn.op_code().code();
                Self {
                    header,
                    txn,
                    digest,
                }
            })
            .boxed()
    }
}

impl Sample for InitialMessage {
    fn any() -> BoxedStrategy<Self> {
        let address = ("[a-z0-9.:-]{1,12}", any::<u16>())
            .prop_map(|(host, port)| ElectionAddress { host, port });
        (ServerId::any(), vec(address, 1..4))
            .prop_map(|(server_id, addresses)| Self {
                server_id,
                addresses,
            })
            .boxed()
    }
}

/// An epoch that fits into the high half of a zxid.
fn epoch() -> impl Strategy<Value = Epoch> {
    any::<i32>().prop_map(|epoch| Epoch(epoch.into()))
}

macro_rules! messages {
    ($($variant:ident { $($field:ident $(: $strategy:expr)?),* })*) => {
        impl Sample for LearnerMessage {
            fn any() -> BoxedStrategy<Self> {
                prop_oneof![
                    Sample::any().prop_map(Self::Ack),
                    Sample::any().prop_map(Self::Commit),
                    Sample::any().prop_map(Self::Sync),
                    Sample::any().prop_map(Self::Diff),
                    Sample::any().prop_map(Self::Trunc),
                    Sample::any().prop_map(Self::Snap),
                    Sample::any().prop_map(Self::Revalidate),
                    Just(Self::UpToDate),
                    $( {
                        let fields = ($(messages!(@draw $($strategy)?),)*);
                        fields.prop_map(|($($field,)*)| Self::$variant { $($field),* })
                    }, )*
                ].boxed()
            }
        }
    };
    (@draw) => { Sample::any() };
    (@draw $strategy:expr) => { $strategy };
}

messages! {
    Request { session, cxid, op, body, identities }
    Proposal { zxid, entry }
    Inform { zxid, entry }
    Ping { zxid, touched }
    Revalidated { session, valid }
    CommitAndActivate { zxid, designated_leader }
    InformAndActivate { zxid, designated_leader, entry }
    NewLeader { zxid, config }
    FollowerInfo { accepted_epoch: epoch(), info }
    ObserverInfo { accepted_epoch: epoch(), info }
    LeaderInfo { epoch: epoch(), protocol_version }
    AckEpoch { last_zxid, current_epoch: option::of(0..i32::MAX) }
}
