//! What the script believes about nodes and sessions. It need not be right, only often.

use std::collections::BTreeMap;

use zk_proto::{
    ErrorCode, OpCode, Stat, Zxid,
    op::{MultiOp, MultiResult, Request, Response},
};

use super::{Ask, Connect, SLOTS, ask::part_path, watching::Watches};
use crate::neutral::{Answer, Heard};

/// A node's versions as last heard.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    pub(crate) version: i32,
    pub(crate) aversion: i32,
    pub(crate) is_ephemeral: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nodes: BTreeMap<String, Known>,
    pub(crate) slots: Vec<SlotMemory>,
}

/// What a slot has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// Neither session nor connection.
    #[default]
    Nothing,
    /// A session without a connection.
    Detached,
    Connected,
}

#[derive(Debug, Default)]
pub(crate) struct SlotMemory {
    pub(crate) state: SlotState,
    pub(crate) seen: Zxid,
    /// Whether nothing can be on its way: so that ending the connection loses nothing by chance.
    pub(crate) heard_everything: bool,
    pub(crate) watches: Watches,
    /// What was watched on the connection before.
    pub(crate) lost: Option<Watches>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            slots: (0..SLOTS).map(|_| SlotMemory::default()).collect(),
        }
    }
}

impl SlotMemory {
    pub(crate) fn detach(&mut self) {
        if self.state == SlotState::Connected {
            self.state = SlotState::Detached;
            self.lost = Some(std::mem::take(&mut self.watches));
        }
    }

    pub(crate) fn end(&mut self) {
        *self = Self {
            seen: self.seen,
            ..Self::default()
        };
    }

    pub(crate) fn watches_to_restore(&self) -> bool {
        self.lost.as_ref().is_some_and(|lost| !lost.is_empty())
    }

    pub(crate) fn fired(&mut self, event: &zk_tests::frames::Event) {
        self.seen = self.seen.max(event.zxid);
        self.watches.fired(event);
    }
}

impl World {
    pub(crate) fn learn_connect(&mut self, slot: usize, how: &Connect, heard: &[Heard]) {
        let admitted = heard
            .iter()
            .any(|heard| matches!(heard, Heard::Session { timeout_ms, .. } if *timeout_ms > 0));
        let slot = &mut self.slots[slot];
        match how {
            Connect::New { .. } | Connect::Resume { .. } if admitted => {
                slot.detach();
                slot.state = SlotState::Connected;
                slot.heard_everything = true;
            }
            _ => {}
        }
    }

    /// Nodes and watches after an answer. Others' events may be on their way once something has changed.
    pub(crate) fn learn(
        &mut self,
        slot: usize,
        ask: &Ask,
        answer: &Answer,
        record: Option<&Response>,
    ) {
        let writes = OpCode::from_i32(ask.op()).is_some_and(OpCode::is_write);
        if writes {
            for other in &mut self.slots {
                other.heard_everything = false;
            }
        }
        self.slots[slot].seen = self.slots[slot].seen.max(answer.zxid);
        let Some(request) = ask.request() else { return };
        self.slots[slot].watches.registered(&request, answer.code);
        match (&request, record) {
            (Request::Multi(multi), Some(Response::Multi(results))) => {
                for (part, result) in multi.ops.iter().zip(&results.results) {
                    self.learn_part(part, result);
                }
            }
            (Request::Delete(r), _) if matches!(answer.code, ErrorCode::Ok | ErrorCode::NoNode) => {
                self.nodes.remove(&*r.path);
            }
            (_, Some(Response::Create(r))) => self.created(&r.path),
            (_, Some(Response::Create2(r))) => self.created(&r.path),
            (_, Some(response)) => self.learn_stat(&request, response),
            _ if answer.code == ErrorCode::NoNode => self.missing(&request),
            _ => {}
        }
    }

    fn learn_part(&mut self, part: &MultiOp, result: &MultiResult) {
        match result {
            MultiResult::Create(r) => self.created(&r.path),
            MultiResult::Create2(r) => self.created(&r.path),
            MultiResult::Delete => drop(self.nodes.remove(part_path(part))),
            MultiResult::SetData(r) => self.saw(part_path(part), &r.stat),
            _ => {}
        }
    }

    fn learn_stat(&mut self, request: &Request, response: &Response) {
        let stat = match response {
            Response::Stat(r) => &r.stat,
            Response::GetData(r) => &r.stat,
            Response::GetAcl(r) => &r.stat,
            Response::GetChildren2(r) => &r.stat,
            _ => return,
        };
        self.saw(request.path().unwrap_or_default(), stat);
    }

    fn created(&mut self, path: &str) {
        self.is(path, Known::default());
    }

    fn saw(&mut self, path: &str, stat: &Stat) {
        let known = Known {
            version: stat.version,
            aversion: stat.aversion,
            is_ephemeral: stat.ephemeral_owner != zk_proto::SessionId::NONE,
        };
        self.is(path, known);
    }

    /// The quotas' nodes are left to steps of their own: a `zookeeper_stats` that is no such thing ends Apache.
    fn is(&mut self, path: &str, known: Known) {
        if path.len() > 1 && !path.starts_with("/zookeeper") {
            self.nodes.insert(path.to_owned(), known);
        }
    }

    fn missing(&mut self, request: &Request) {
        let reads = matches!(
            request,
            Request::Exists(_)
                | Request::GetData(_)
                | Request::SetData(_)
                | Request::GetChildren(_)
        );
        if let (true, Some(path)) = (reads, request.path()) {
            self.nodes.remove(path);
        }
    }
}
