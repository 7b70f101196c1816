//! How long an answer will be.

use zk_proto::{
    Encode,
    op::{MultiOp, Request},
};

use super::Caller;
use crate::tree::DataTree;

/// How many bytes the answer to a read may take, known before it is built: [`read`](super::read()) appends no more for the same
/// tree.
///
/// Does not look at ACLs; answers of fixed size count as the largest of them.
#[must_use]
pub fn reply_len(tree: &DataTree, caller: &Caller<'_>, request: &Request) -> usize {
    const STAT: usize = 68;
    let data = |path: &str| {
        let data = tree.node(path).and_then(|node| node.data());
        data.map_or(0, <[u8]>::len) + 4 + STAT
    };
    let children = |path: &str| tree.node(path).map_or(0, |node| node.children_len());
    match request {
        Request::GetData(request) => data(&request.path),
        Request::GetChildren(request) => children(&request.path),
        Request::GetChildren2(request) => children(&request.path) + STAT,
        Request::GetAcl(request) => {
            let acl = tree.node(&request.path).map(|node| node.acl());
            acl.map_or(0, |acl| acl.encoded_len()) + STAT
        }
        Request::GetEphemerals(_) => {
            let paths = tree.ephemerals(caller.session);
            4 + paths.map(|path| path.len() + 4).sum::<usize>()
        }
        Request::WhoAmI => {
            let ids = caller.credentials.ids().iter();
            4 + ids.map(Encode::encoded_len).sum::<usize>()
        }
        Request::MultiRead(request) => {
            let part_len = |part: &MultiOp| match part {
                MultiOp::GetData(part) => data(&part.path),
                MultiOp::GetChildren(part) => children(&part.path),
                _ => 0,
            };
            let parts = request.ops.iter();
            9 + parts.map(|part| part_len(part) + 13).sum::<usize>()
        }
        _ => 0,
    }
    .max(STAT)
}
