//! Paths of nodes, as text.

/// The path of a child.
pub(crate) fn child(path: &str, name: &str) -> String {
    match path {
        "/" => format!("/{name}"),
        _ => format!("{path}/{name}"),
    }
}
