//! What a cache mirrors of the tree, as a question about paths.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included},
};

/// How much of the tree below its root a cache mirrors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The root alone.
    Node,
    /// The root's children, without the root.
    Children,
    /// The root and everything below it.
    Tree,
}

impl Scope {
    /// Whether this node's data is mirrored.
    pub(super) fn holds(self, root: &str, path: &str) -> bool {
        match self {
            Self::Node => path == root,
            Self::Children => parent(path) == Some(root),
            Self::Tree => path == root || is_below(root, path),
        }
    }

    /// Whether the names of this node's children are needed.
    pub(super) fn lists(self, root: &str, path: &str) -> bool {
        match self {
            Self::Node => false,
            Self::Children => path == root,
            Self::Tree => path == root || is_below(root, path),
        }
    }
}

fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/') {
        Some(("", "")) | None => None,
        Some(("", _)) => Some("/"),
        Some((above, _)) => Some(above),
    }
}

fn is_below(root: &str, path: &str) -> bool {
    let rest = match root {
        "/" => path.strip_prefix('/'),
        _ => path
            .strip_prefix(root)
            .and_then(|rest| rest.strip_prefix('/')),
    };
    rest.is_some_and(|rest| !rest.is_empty())
}

/// The entries of a map by path that lie below a node.
pub(super) fn below<'m, K, V>(
    map: &'m BTreeMap<K, V>,
    path: &str,
) -> impl Iterator<Item = (&'m str, &'m V)> + use<'m, K, V>
where
    K: Ord + std::borrow::Borrow<str>,
{
    // In the order of bytes '0' follows '/'.
    let stem = if path == "/" { "" } else { path };
    let (first, end) = (format!("{stem}/"), format!("{stem}0"));
    let entries = map.range::<str, _>((Included(first.as_str()), Excluded(end.as_str())));
    entries
        .map(|(key, value)| (key.borrow(), value))
        .filter(|(key, _)| *key != "/")
}

/// Whether a path that lies below `path` is that of a child.
pub(super) fn is_child(path: &str, below: &str) -> bool {
    parent(below) == Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_hold_what_they_say() {
        let paths = ["/", "/a", "/ab", "/a/b", "/a/b/c", "/b"];
        let held = |scope: Scope, root| paths.map(|path| scope.holds(root, path));
        assert_eq!(
            held(Scope::Node, "/a"),
            [false, true, false, false, false, false]
        );
        assert_eq!(
            held(Scope::Children, "/a"),
            [false, false, false, true, false, false]
        );
        assert_eq!(
            held(Scope::Tree, "/a"),
            [false, true, false, true, true, false]
        );
        assert_eq!(held(Scope::Tree, "/"), [true; 6]);
        assert_eq!(
            held(Scope::Children, "/"),
            [false, true, true, false, false, true]
        );
    }

    #[test]
    fn what_is_below_is_found_and_nothing_else() {
        let paths = ["/", "/a", "/a!", "/a/b", "/a/b/c", "/a0", "/ab"];
        let map: BTreeMap<&str, ()> = paths.map(|path| (path, ())).into();
        let found = |path| below(&map, path).map(|(path, ())| path).collect::<Vec<_>>();
        assert_eq!(found("/a"), ["/a/b", "/a/b/c"]);
        assert_eq!(found("/a/b/c"), [""; 0]);
        assert_eq!(found("/"), &paths[1..]);
        assert!(is_child("/a", "/a/b") && !is_child("/a", "/a/b/c") && is_child("/", "/a"));
    }
}
