//! Bugs put back on purpose: only in builds with `--cfg zkmut`.

use std::cell::Cell;

thread_local! {
    static ACTIVE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Puts one bug back, on this thread; `None` takes it out again.
pub fn set(name: Option<&'static str>) {
    ACTIVE.with(|active| active.set(name));
}

pub(crate) fn active(name: &str) -> bool {
    ACTIVE.with(Cell::get) == Some(name)
}
