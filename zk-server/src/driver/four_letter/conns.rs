//! Who is connected: `cons`, `crst`, and the list within `stat`.

use std::{
    fmt::{self, Write},
    sync::atomic::Ordering::Relaxed,
};

use zk_proto::OpCode;

use crate::{conn::handle::ConnHandle, driver::Hub};

pub(super) fn cons(hub: &Hub, out: &mut String) -> fmt::Result {
    for conn in hub.shared.conns.all() {
        connection(&conn, false, out)?;
        writeln!(out)?;
    }
    writeln!(out)
}

/// `ServerCnxn.dumpConnectionInfo`.
pub(super) fn connection(conn: &ConnHandle, brief: bool, out: &mut String) -> fmt::Result {
    let stats = &conn.stats;
    let session = stats.session().0;
    let interest = i32::from(session != 0);
    write!(
        out,
        " /{}[{interest}](queued={},recved={},sent={}",
        conn.remote,
        stats.queued.load(Relaxed),
        stats.received.load(Relaxed),
        stats.sent.load(Relaxed),
    )?;
    if !brief && session != 0 {
        write!(
            out,
            ",sid={session:#x},lop={},est={},to={}",
            last_op(stats.last_op.load(Relaxed)),
            stats.established_ms,
            stats.timeout_ms.load(Relaxed),
        )?;
        let cxid = stats.last_cxid.load(Relaxed);
        if cxid >= 0 {
            write!(out, ",lcxid={cxid:#x}")?;
        }
        write!(
            out,
            ",lzxid={:#x},lresp={},llat={},minlat={},avglat={},maxlat={}",
            stats.last_zxid.load(Relaxed),
            stats.last_response_ms.load(Relaxed),
            stats.last_latency_ms.load(Relaxed),
            stats.latency.min(),
            stats.latency.sum() / stats.latency.count().max(1),
            stats.latency.max(),
        )?;
    }
    write!(out, ")")
}

/// The four letters that Apache's final processor gives an operation.
fn last_op(op: i32) -> &'static str {
    match OpCode::from_i32(op) {
        Some(OpCode::Create | OpCode::Create2 | OpCode::CreateTtl | OpCode::CreateContainer) => {
            "CREA"
        }
        Some(OpCode::Delete | OpCode::DeleteContainer) => "DELE",
        Some(OpCode::Exists) => "EXIS",
        Some(OpCode::GetData) => "GETD",
        Some(OpCode::SetData) => "SETD",
        Some(OpCode::GetAcl) => "GETA",
        Some(OpCode::SetAcl) => "SETA",
        Some(OpCode::GetChildren | OpCode::GetChildren2) => "GETC",
        Some(OpCode::GetAllChildrenNumber) => "GETACN",
        Some(OpCode::GetEphemerals) => "GETE",
        Some(OpCode::Sync) => "SYNC",
        Some(OpCode::Ping) => "PING",
        Some(OpCode::Multi) => "MULT",
        Some(OpCode::MultiRead) => "MLTR",
        Some(OpCode::Reconfig) => "RECO",
        Some(OpCode::CheckWatches) => "CHKW",
        Some(OpCode::RemoveWatches) => "REMW",
        Some(OpCode::SetWatches) => "SETW",
        Some(OpCode::SetWatches2) => "STW2",
        Some(OpCode::AddWatch) => "ADDW",
        Some(OpCode::WhoAmI) => "HOMI",
        Some(OpCode::CloseSession) => "CLOS",
        _ => "NA",
    }
}

pub(super) fn crst(hub: &Hub, out: &mut String) -> fmt::Result {
    for conn in hub.shared.conns.all() {
        conn.stats.reset();
    }
    writeln!(out, "Connection stats reset.")
}
