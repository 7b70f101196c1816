//! Requests, one at a time.

use bytes::Bytes;
use zk_proto::{
    CreateMode, OpCode,
    op::{
        CreateRequest, CreateTtlRequest, DeleteRequest, ExistsRequest, GetChildrenRequest,
        GetDataRequest, ReconfigRequest, Request, SaslRequest, Secret, SetAclRequest,
        SetDataRequest,
    },
    watch::{AddWatchMode, WatcherType},
};
use zk_tests::requests::{
    add_watch, all_children_number, auth, check_watches, create, delete, ephemerals, get_acl,
    remove_watches, set, sync,
};

use super::{Ask, Script, acls::SECRETS};

/// Above so many nodes, more are deleted than made.
const MANY_NODES: usize = 120;

/// Where quotas come and go: on two subtrees, and within one of them.
const QUOTAS: [&str; 3] = [
    "/zookeeper/quota/d",
    "/zookeeper/quota/e",
    "/zookeeper/quota/d/a",
];

const LIMITS: [&str; 10] = [
    "count=5,bytes=20",
    "count=-1,bytes=-1=;byteHardLimit=12;countHardLimit=4",
    "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3",
    "count=2,bytes=2=;byteHardLimit=8;countHardLimit=-1",
    "count=-1,bytes=-1=;byteHardLimit=0;countHardLimit=0",
    "count=-1,bytes=-1",
    "countHardLimit=3,byteHardLimit=10",
    "byteHardLimit=10;",
    "",
    "countHardLimit=2=3",
];

impl Script {
    /// A request whose answer keeps its place in a pipeline.
    pub(crate) fn ordinary(&mut self, slot: usize) -> Ask {
        match self.rng.u32(..1000) {
            0..=239 => self.multi(),
            240..=269 => self.multi_read(),
            270..=349 => Request::Create(self.create_record()).into(),
            350..=389 => Request::Create2(self.create_record()).into(),
            390..=414 => Request::CreateContainer(self.container_record()).into(),
            415..=439 => Request::CreateTtl(self.create_ttl_record()).into(),
            440..=529 => self.delete(),
            530..=599 => self.set_data(),
            600..=634 => self.set_acl(),
            635..=659 => get_acl(&self.target()).into(),
            660..=714 => Request::Exists(ExistsRequest {
                path: self.place().into(),
                watch: self.rng.bool(),
            })
            .into(),
            715..=774 => {
                let path = match self.rng.u32(..10) {
                    0 => format!("{}/zookeeper_stats", self.pick(&QUOTAS)),
                    _ => self.target(),
                };
                Request::GetData(GetDataRequest {
                    path: path.into(),
                    watch: self.rng.bool(),
                })
                .into()
            }
            775..=809 => Request::GetChildren(self.children_record()).into(),
            810..=844 => Request::GetChildren2(self.children_record()).into(),
            845..=859 => {
                // Apache echoes what is beyond U+FFFF as six bytes that are no UTF-8.
                sync(&self.target().replace('😀', "-")).into()
            }
            860..=879 => Request::Ping.into(),
            880..=889 => all_children_number(&self.target()).into(),
            890..=897 => ephemerals(&self.target()).into(),
            898..=921 => {
                let mode =
                    *self.pick(&[AddWatchMode::Persistent, AddWatchMode::PersistentRecursive]);
                add_watch(&self.target(), mode).into()
            }
            922..=966 => self.about_watches(slot),
            967..=973 => Request::WhoAmI.into(),
            974..=983 => self.set_quota(),
            984..=987 => Request::Reconfig(reconfig()).into(),
            988..=989 => self.restore_watches(slot),
            _ => self.malformed(),
        }
    }

    /// A request whose answer overtakes others.
    pub(crate) fn special(&mut self) -> Ask {
        match self.rng.u32(..4) {
            0 => Request::Sasl(SaslRequest {
                token: Secret(Some(Bytes::new())),
            })
            .into(),
            1 => auth("ip", b"10.0.0.1").into(),
            _ => auth("digest", self.pick(&SECRETS).as_bytes()).into(),
        }
    }

    pub(crate) fn create_record(&mut self) -> CreateRequest {
        let flags = match self.rng.u32(..100) {
            0..=44 => 0,
            45..=59 => 1,
            60..=79 => 2,
            80..=94 => 3,
            95 => *self.pick(&[5, 6, 7, -1, 100]),
            _ => 4,
        };
        let path = self.place();
        let path = if matches!(flags, 2 | 3) && self.rng.u32(..8) == 0 {
            format!("{path}/")
        } else {
            path
        };
        CreateRequest {
            path: path.into(),
            data: self.data(),
            acl: self.acl(),
            flags,
        }
    }

    fn container_record(&mut self) -> CreateRequest {
        let flags = *self.pick(&[4, 4, 4, 0, 1, 2, 3, 5]);
        CreateRequest {
            flags,
            ..self.create_record()
        }
    }

    pub(crate) fn create_ttl_record(&mut self) -> CreateTtlRequest {
        let CreateRequest {
            path, data, acl, ..
        } = self.create_record();
        let sequential = CreateMode::PersistentSequentialWithTtl.flags();
        let flags = *self.pick(&[5, 5, 5, sequential, sequential, 0, 4]);
        // A year and more, or not allowed: none runs out while the script runs. Not -1 with a flag that is no
        // TTL node's: a log with that in it ends Apache, now and at every start.
        let ttl_ms = match self.rng.u32(..12) {
            0 if flags >= 5 => *self.pick(&[0, -1, 1 << 40, i64::MAX]),
            _ => (1 << 40) - 1 - self.rng.i64(0..1000),
        };
        CreateTtlRequest {
            path,
            data,
            acl,
            flags,
            ttl_ms,
        }
    }

    fn children_record(&mut self) -> GetChildrenRequest {
        GetChildrenRequest {
            path: self.target().into(),
            watch: self.rng.bool(),
        }
    }

    fn delete(&mut self) -> Ask {
        let path = self.target();
        let version = self.version(&path);
        // The tree stays small.
        if self.world.nodes.len() > MANY_NODES {
            return delete(&self.existing(), -1).into();
        }
        Request::Delete(DeleteRequest {
            path: path.into(),
            version,
        })
        .into()
    }

    fn set_data(&mut self) -> Ask {
        let path = self.target();
        let version = self.version(&path);
        let data = self.data();
        Request::SetData(SetDataRequest {
            path: path.into(),
            data,
            version,
        })
        .into()
    }

    fn set_acl(&mut self) -> Ask {
        let path = self.target();
        let version = self.aversion(&path);
        // Above these everybody must go on.
        let acl = match path.as_str() {
            "" | "/" => zk_proto::Acl::open(),
            path if path.starts_with("/zookeeper") => zk_proto::Acl::open(),
            _ => self.acl(),
        };
        Request::SetAcl(SetAclRequest {
            path: path.into(),
            acl,
            version,
        })
        .into()
    }

    pub(crate) fn data(&mut self) -> Option<Bytes> {
        match self.rng.u32(..10) {
            0 => None,
            1 => Some(Bytes::new()),
            _ => {
                let length = self.rng.usize(1..12);
                Some((0..length).map(|_| self.rng.u8(..)).collect())
            }
        }
    }

    fn about_watches(&mut self, slot: usize) -> Ask {
        let kinds = [
            WatcherType::Children,
            WatcherType::Data,
            WatcherType::Any,
            WatcherType::Persistent,
            WatcherType::PersistentRecursive,
        ];
        let kind = *self.pick(&kinds);
        let path = self.watched(slot).unwrap_or_else(|| self.target());
        if self.rng.u32(..3) > 0 {
            check_watches(&path, kind).into()
        } else {
            remove_watches(&path, kind).into()
        }
    }

    /// A step towards, or away from, a quota on one of two subtrees.
    fn set_quota(&mut self) -> Ask {
        let node = *self.pick(&QUOTAS);
        let limits = *self.pick(&LIMITS);
        let (limits_node, stats_node) = (
            format!("{node}/zookeeper_limits"),
            format!("{node}/zookeeper_stats"),
        );
        match self.rng.u32(..8) {
            0 | 1 => create(node, b"").into(),
            2 => create(&limits_node, limits.as_bytes()).into(),
            3 | 4 => create(&stats_node, b"count=0,bytes=0").into(),
            5 => set(&limits_node, limits.as_bytes(), -1).into(),
            6 => delete(&limits_node, -1).into(),
            _ => delete(&stats_node, -1).into(),
        }
    }

    /// A record with its end missing, or a number that cannot be.
    fn malformed(&mut self) -> Ask {
        let path = zk_proto::Utf8Bytes::from(self.target());
        let ops = [
            OpCode::Create,
            OpCode::Delete,
            OpCode::SetData,
            OpCode::SetAcl,
            OpCode::GetData,
            OpCode::Exists,
            OpCode::GetAcl,
            OpCode::GetChildren2,
            OpCode::SetWatches,
            OpCode::Multi,
            OpCode::MultiRead,
            OpCode::Create2,
            OpCode::CreateTtl,
            OpCode::AddWatch,
            OpCode::RemoveWatches,
        ];
        let op = *self.pick(&ops);
        let mut body = zk_proto::Encode::to_bytes(&path).to_vec();
        match self.rng.u32(..3) {
            0 => body.truncate(self.rng.usize(..=body.len())),
            1 => body[..4].copy_from_slice(&self.rng.i32(..).to_be_bytes()),
            _ => body.extend_from_slice(&99_i32.to_be_bytes()),
        }
        Ask::raw(op.code(), &body)
    }
}

fn reconfig() -> ReconfigRequest {
    ReconfigRequest {
        joining: None,
        leaving: Some("1".into()),
        new_members: None,
        config_id: -1,
    }
}
