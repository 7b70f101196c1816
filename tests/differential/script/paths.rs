//! Which node a request is about.

use super::Script;

/// Few names, so that sessions meet.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "größe"];

/// Paths that something is wrong with, or special about.
const ODD: [&str; 28] = [
    "",
    "a",
    "a/b",
    "/",
    "//",
    "/a/",
    "/a//b",
    "/./a",
    "/a/.",
    "/a/..",
    "/..",
    "/\0",
    "/a\0",
    "/\u{1}",
    "/a/\u{7f}",
    "/\u{e000}",
    "/😀",
    "/\u{f8ff}",
    "/\u{fff0}",
    "/\u{a0}",
    "/...",
    "/zookeeper",
    "/zookeeper/quota",
    "/zookeeper/config",
    "/zookeeper/config/x",
    "/zookeeper/nope",
    "/nope/nope",
    "/a b",
];

impl Script {
    /// A node that probably exists.
    pub(crate) fn existing(&mut self) -> String {
        let count = self.world.nodes.len();
        if count == 0 {
            return self.invented();
        }
        let nth = self.rng.usize(..count);
        let node = self.world.nodes.keys().nth(nth);
        node.expect("counted above").clone()
    }

    /// A node that was seen to be ephemeral: nothing may be made below it.
    fn ephemeral(&mut self) -> String {
        let nodes = self.world.nodes.iter();
        let known: Vec<&String> = nodes
            .filter(|(_, known)| known.is_ephemeral)
            .map(|(path, _)| path)
            .collect();
        match known.len() {
            0 => self.existing(),
            count => known[self.rng.usize(..count)].clone(),
        }
    }

    /// A node that may exist or not.
    pub(crate) fn invented(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..self.rng.usize(1..4) {
            path.push('/');
            let name = *self.pick(&NAMES);
            path.push_str(name);
        }
        path
    }

    /// A child, perhaps yet to be made, of a node that probably exists.
    pub(crate) fn child(&mut self) -> String {
        let parent = match self.rng.u32(..32) {
            0..=7 => String::new(),
            8 => self.ephemeral(),
            _ => self.existing(),
        };
        if parent.matches('/').count() > 4 {
            return self.invented();
        }
        format!("{parent}/{}", self.pick(&NAMES))
    }

    pub(crate) fn odd(&mut self) -> String {
        (*self.pick(&ODD)).to_owned()
    }

    /// A node for an operation that wants one to be there.
    pub(crate) fn target(&mut self) -> String {
        match self.rng.u32(..100) {
            0..=3 => self.odd(),
            4..=15 => self.invented(),
            16..=18 => "/".to_owned(),
            _ => self.existing(),
        }
    }

    /// A node for an operation that wants to make one.
    pub(crate) fn place(&mut self) -> String {
        match self.rng.u32(..100) {
            0..=3 => self.odd(),
            4..=9 => self.existing(),
            10..=35 => self.invented(),
            _ => self.child(),
        }
    }

    /// Its version, or any, or another one.
    pub(crate) fn version(&mut self, path: &str) -> i32 {
        let known = self.world.nodes.get(path).map_or(0, |known| known.version);
        self.some_version(known)
    }

    /// As [`version`](Self::version), of its ACL.
    pub(crate) fn aversion(&mut self, path: &str) -> i32 {
        let known = self.world.nodes.get(path).map_or(0, |known| known.aversion);
        self.some_version(known)
    }

    fn some_version(&mut self, known: i32) -> i32 {
        match self.rng.u32(..20) {
            0 => *self.pick(&[-2, i32::MIN, i32::MAX, known + 1, known.saturating_sub(1)]),
            1..=9 => known,
            _ => -1,
        }
    }
}
