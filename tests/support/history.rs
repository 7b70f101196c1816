//! What one session wrote, what was acknowledged, and what a server may therefore hold after a crash.
//!
//! A session's writes are carried out in the order in which they were sent (guarantee G1), an acknowledged one is durable,
//! and one that was sent but not acknowledged may or may not have been carried out. So after a crash its nodes are those
//! after a *prefix* of its writes, and the prefix holds at least every acknowledged one.
//!
//! The checker is a pure function of the recorded history and the nodes found; it presumes that no other
//! session writes the same nodes.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use zk_proto::Zxid;

/// A write as it was sent. All are unconditional, so each of them succeeds in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Create a node that is not there.
    Create {
        /// The node.
        path: String,
        /// Its data.
        data: Bytes,
    },
    /// Set the data of a node that is there.
    Set {
        /// The node.
        path: String,
        /// Its new data.
        data: Bytes,
    },
    /// Delete a node that is there.
    Delete {
        /// The node.
        path: String,
    },
}

/// A node as it was found, or as a history says it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its data.
    pub data: Bytes,
    /// How often it was set.
    pub version: i32,
    /// The last write's zxid; in an expectation `None` where that write was not acknowledged.
    pub mzxid: Option<Zxid>,
}

/// Nodes by path.
pub type Nodes = BTreeMap<String, Node>;

/// One session's writes between two looks at its nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Its nodes at the first look.
    pub before: Nodes,
    /// Everything it sent, in order.
    pub writes: Vec<Write>,
    /// The zxids of the acknowledgements received, in order: those of the first writes.
    pub acks: Vec<Zxid>,
}

/// Why no honest server holds what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// The nodes are those of too short a prefix.
    LostAcknowledged {
        /// How many writes survived.
        survived: usize,
        /// How many had been acknowledged.
        acknowledged: usize,
        /// The first that is lost.
        lost: Write,
    },
    /// No prefix of the writes gives these nodes.
    Inexplicable {
        /// A node that differs from the state after the acknowledged writes.
        path: String,
        /// As it should be; `None`: not there.
        expected: Option<Box<Node>>,
        /// As it is.
        found: Option<Box<Node>>,
    },
    /// Acknowledgements of one session whose zxids do not grow.
    ZxidNotGrowing {
        /// The earlier one.
        earlier: Zxid,
        /// The one that should be larger.
        later: Zxid,
    },
    /// Two writes were acknowledged under one zxid.
    ZxidTwice(Zxid),
    /// The server's last zxid is older than one it has acknowledged.
    ZxidLost {
        /// The newest acknowledged.
        acknowledged: Zxid,
        /// The server's.
        found: Zxid,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostAcknowledged {
                survived,
                acknowledged,
                lost,
            } => write!(
                f,
                "{acknowledged} writes were acknowledged and {survived} survived; the first that is lost: {lost:?}"
            ),
            Self::Inexplicable {
                path,
                expected,
                found,
            } => write!(
                f,
                "no prefix of the writes explains {path}: found {found:?}, after the acknowledged ones {expected:?}"
            ),
            Self::ZxidNotGrowing { earlier, later } => {
                write!(f, "acknowledged {later} after {earlier}")
            }
            Self::ZxidTwice(zxid) => write!(f, "two writes were acknowledged as {zxid}"),
            Self::ZxidLost {
                acknowledged,
                found,
            } => write!(
                f,
                "{acknowledged} was acknowledged, and the last zxid is {found}"
            ),
        }
    }
}

impl History {
    /// How many of the writes `found` shows to have been carried out.
    ///
    /// # Errors
    /// The violation, where `found` is not what a prefix with every acknowledged write gives.
    pub fn check(&self, found: &Nodes) -> Result<usize, Violation> {
        self.check_acks()?;
        let acknowledged = self.acks.len();
        let explains = |survived: &usize| matches(&self.after(*survived), found, &self.acks);
        if let Some(survived) = (acknowledged..=self.writes.len()).find(explains) {
            return Ok(survived);
        }
        match (0..acknowledged).find(explains) {
            Some(survived) => Err(Violation::LostAcknowledged {
                survived,
                acknowledged,
                lost: self.writes[survived].clone(),
            }),
            None => Err(difference(&self.after(acknowledged), found)),
        }
    }

    /// The nodes after the first `count` writes.
    fn after(&self, count: usize) -> Nodes {
        let mut nodes = self.before.clone();
        for (index, write) in self.writes[..count].iter().enumerate() {
            apply(&mut nodes, write, self.acks.get(index).copied());
        }
        nodes
    }

    fn check_acks(&self) -> Result<(), Violation> {
        let before = self.before.values().filter_map(|node| node.mzxid).max();
        let mut earlier = before.unwrap_or(Zxid::ZERO);
        for later in self.acks.iter().copied() {
            if later <= earlier {
                return Err(Violation::ZxidNotGrowing { earlier, later });
            }
            earlier = later;
        }
        Ok(())
    }
}

/// Checks what holds for all sessions of one server together.
///
/// # Errors
/// A zxid acknowledged twice, or one newer than the server's last.
pub fn check_zxids<'a>(
    histories: impl IntoIterator<Item = &'a History>,
    last: Zxid,
) -> Result<(), Violation> {
    let mut acks: Vec<Zxid> = histories
        .into_iter()
        .flat_map(|history| history.acks.iter().copied())
        .collect();
    acks.sort_unstable();
    if let Some(twice) = acks.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Violation::ZxidTwice(twice[0]));
    }
    match acks.last() {
        Some(acknowledged) if *acknowledged > last => Err(Violation::ZxidLost {
            acknowledged: *acknowledged,
            found: last,
        }),
        _ => Ok(()),
    }
}

fn apply(nodes: &mut Nodes, write: &Write, mzxid: Option<Zxid>) {
    match write {
        Write::Create { path, data } => {
            let node = Node {
                data: data.clone(),
                version: 0,
                mzxid,
            };
            nodes.insert(path.clone(), node);
        }
        Write::Set { path, data } => {
            if let Some(node) = nodes.get_mut(path) {
                node.data = data.clone();
                node.version += 1;
                node.mzxid = mzxid;
            }
        }
        Write::Delete { path } => {
            nodes.remove(path);
        }
    }
}

/// Whether `found` is `expected`. Where the expectation knows no zxid, the write was not acknowledged: the zxid found must be newer
/// than every acknowledged one.
fn matches(expected: &Nodes, found: &Nodes, acks: &[Zxid]) -> bool {
    expected.len() == found.len()
        && expected.iter().zip(found).all(|(expected, found)| {
            let (wanted, node) = (expected.1, found.1);
            expected.0 == found.0
                && wanted.data == node.data
                && wanted.version == node.version
                && match wanted.mzxid {
                    Some(_) => wanted.mzxid == node.mzxid,
                    None => node.mzxid.as_ref() > acks.last(),
                }
        })
}

/// The first node that is not as expected.
fn difference(expected: &Nodes, found: &Nodes) -> Violation {
    let paths = expected.keys().chain(found.keys());
    let path = paths
        .filter(|path| expected.get(*path) != found.get(*path))
        .min()
        .cloned()
        .unwrap_or_default();
    Violation::Inexplicable {
        expected: expected.get(&path).cloned().map(Box::new),
        found: found.get(&path).cloned().map(Box::new),
        path,
    }
}

#[cfg(test)]
mod tests;
