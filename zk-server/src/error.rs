//! What ends a member, as opposed to a link or a request.

use std::{fmt, io, sync::Arc};

/// This member cannot keep its promises any more: log it once and stop the member.
///
/// A failed write or fsync is never retried: after one, nobody knows which bytes are on the disk.
#[derive(Debug, Clone)]
pub struct Fatal {
    what: Arc<str>,
}

impl Fatal {
    /// An end with this explanation, which should say what to do about it.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into().into(),
        }
    }

    /// The failure of an operation on the disk: what was being done, and what the system said.
    #[must_use]
    pub fn io(doing: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(format!("{doing}: {error}"))
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fatal {}
