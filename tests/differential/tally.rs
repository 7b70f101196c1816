//! How often each operation was tried and each code was heard.

use std::{collections::BTreeMap, fmt};

use zk_proto::{
    Decode, ErrorCode, OpCode,
    op::{MultiRequest, MultiResult, Response},
};

use crate::{
    neutral::{Body, Heard},
    script::{Ask, Step},
};

/// What no client may send; deleteContainer is the one of them that Apache takes from clients all the same.
const NEVER_SENT: [OpCode; 3] = [OpCode::Notification, OpCode::Error, OpCode::DeleteContainer];

/// The codes that a client of one server, with everything switched on but reconfig, can be answered with.
///
/// Neither SessionExpired nor SessionMoved: both servers end a connection whose session has ended or gone elsewhere,
/// and what was asked over it behind that is not answered.
const REACHABLE: [ErrorCode; 16] = [
    ErrorCode::Ok,
    ErrorCode::RuntimeInconsistency,
    ErrorCode::MarshallingError,
    ErrorCode::Unimplemented,
    ErrorCode::BadArguments,
    ErrorCode::NoNode,
    ErrorCode::NoAuth,
    ErrorCode::BadVersion,
    ErrorCode::NoChildrenForEphemerals,
    ErrorCode::NodeExists,
    ErrorCode::NotEmpty,
    ErrorCode::InvalidAcl,
    ErrorCode::AuthFailed,
    ErrorCode::NoWatcher,
    ErrorCode::ReconfigDisabled,
    ErrorCode::QuotaExceeded,
];

/// Counts of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ops: BTreeMap<i32, usize>,
    parts: BTreeMap<i32, usize>,
    codes: BTreeMap<i32, usize>,
    part_codes: BTreeMap<i32, usize>,
    resumed: usize,
    refused: usize,
    events: usize,
}

impl Tally {
    /// Requests with a header, and connect requests.
    pub(crate) fn operations(&self) -> usize {
        self.ops.values().sum()
    }

    /// The operations and codes that came up less often than this.
    pub(crate) fn rare(&self, least: usize) -> Vec<String> {
        let of = |counts: &BTreeMap<i32, usize>, key: i32| counts.get(&key).copied().unwrap_or(0);
        let ops = OpCode::ALL.iter().filter(|op| !NEVER_SENT.contains(op));
        let ops = ops.map(|op| {
            (
                format!("{op:?}"),
                of(&self.ops, op.code()) + of(&self.parts, op.code()),
            )
        });
        let codes = REACHABLE.iter();
        let codes = codes.map(|code| {
            (
                format!("{code:?}"),
                of(&self.codes, code.code()) + of(&self.part_codes, code.code()),
            )
        });
        let rare = ops.chain(codes).filter(|(_, count)| *count < least);
        rare.map(|(name, count)| format!("{name} {count}"))
            .collect()
    }

    /// How many of a hundred operations were multis.
    pub(crate) fn percent_multi(&self) -> usize {
        let multis = self.ops.get(&OpCode::Multi.code()).copied().unwrap_or(0);
        100 * multis / self.operations().max(1)
    }

    pub(crate) fn count(&mut self, step: &Step, heard: &[Heard]) {
        match step {
            Step::Connect { .. } => *self.ops.entry(OpCode::CreateSession.code()).or_default() += 1,
            Step::Ask { asks, .. } => asks.iter().for_each(|(_, ask)| self.count_ask(ask)),
            Step::Cut { .. } => {}
        }
        for heard in heard {
            match heard {
                Heard::Event(_) => self.events += 1,
                Heard::Answer(answer) => {
                    *self.codes.entry(answer.code.code()).or_default() += 1;
                    if let Body::Record(Response::Multi(multi)) = &answer.body {
                        multi
                            .results
                            .iter()
                            .for_each(|result| self.count_result(result));
                    }
                }
                Heard::Session { timeout_ms: 0, .. } => self.refused += 1,
                Heard::Session { .. } if step.resumes() => self.resumed += 1,
                _ => {}
            }
        }
    }

    fn count_ask(&mut self, ask: &Ask) {
        *self.ops.entry(ask.op()).or_default() += 1;
        if [OpCode::Multi.code(), OpCode::MultiRead.code()].contains(&ask.op()) {
            let parts = MultiRequest::from_bytes(ask.bytes())
                .unwrap_or_default()
                .ops;
            for part in parts {
                *self.parts.entry(part.op_code().code()).or_default() += 1;
            }
        }
    }

    fn count_result(&mut self, result: &MultiResult) {
        let code = match result {
            MultiResult::Error(error) => error.err,
            _ => 0,
        };
        *self.part_codes.entry(code).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.operations();
        writeln!(
            f,
            "{total} operations, {} % of them multi",
            self.percent_multi()
        )?;
        writeln!(
            f,
            "{} events, {} sessions resumed, {} refused",
            self.events, self.resumed, self.refused
        )?;
        writeln!(f, "operation              alone   in multi")?;
        let ops: std::collections::BTreeSet<_> = self.ops.keys().chain(self.parts.keys()).collect();
        for op in ops {
            let name =
                OpCode::from_i32(*op).map_or_else(|| "unknown".to_owned(), |op| format!("{op:?}"));
            let of = |counts: &BTreeMap<i32, usize>| counts.get(op).copied().unwrap_or(0);
            writeln!(
                f,
                "{op:>4} {name:<20} {:>7} {:>7}",
                of(&self.ops),
                of(&self.parts)
            )?;
        }
        writeln!(f, "code                        alone   in multi")?;
        let codes: std::collections::BTreeSet<_> =
            self.codes.keys().chain(self.part_codes.keys()).collect();
        for code in codes {
            let name = format!("{:?}", ErrorCode::from_i32(*code));
            let of = |counts: &BTreeMap<i32, usize>| counts.get(code).copied().unwrap_or(0);
            writeln!(
                f,
                "{code:>5} {name:<24} {:>7} {:>7}",
                of(&self.codes),
                of(&self.part_codes)
            )?;
        }
        Ok(())
    }
}
