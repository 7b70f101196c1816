//! Paths as text.

use zk_proto::ErrorCode;

/// The path and everything that counts for itself below it: quota and configuration.
pub(crate) const ZOOKEEPER: &str = "/zookeeper";
/// Where quotas are.
pub(crate) const QUOTA: &str = "/zookeeper/quota";
/// Where the ensemble's configuration is.
pub(crate) const CONFIG: &str = "/zookeeper/config";

/// The parent's path (of a child of the root: `""`) and the last name; `None` where there is no slash.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let cut = last_slash(path)?;
    Some((&path[..cut], &path[cut + 1..]))
}

/// Where the last slash is. Names are short: looking at bytes one by one beats a search in words.
pub(crate) fn last_slash(path: &str) -> Option<usize> {
    path.bytes().rposition(|byte| byte == b'/')
}

/// Whether a node with this path counts in the tree's digest: `/zookeeper` does, what is below it does not.
pub(super) fn counts(path: &[u8]) -> bool {
    !path.starts_with(b"/zookeeper/")
}

/// Whether a path is one of the nodes that cannot be deleted (`DataTree.isSpecialPath`).
pub(crate) fn is_special(path: &str) -> bool {
    matches!(path, "/" | ZOOKEEPER | QUOTA | CONFIG)
}

/// A text without what Java's `String.trim` takes off: control characters and spaces, but no other white space.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// Checks a path as writes do (`PathUtils.validatePath`).
///
/// # Errors
/// [`ErrorCode::BadArguments`] for a path that is empty, relative, ends with a slash, or has an empty name, `.` or
/// `..`, a control character, a private-use character or one beyond U+FFEF.
pub(crate) fn validate(path: &str) -> Result<(), ErrorCode> {
    if path == "/" {
        return Ok(());
    }
    let names = path.strip_prefix('/').ok_or(ErrorCode::BadArguments)?;
    let is_good = |name: &str| !matches!(name, "" | "." | "..") && is_plain(name);
    match names.split('/').all(is_good) {
        true => Ok(()),
        false => Err(ErrorCode::BadArguments),
    }
}

/// Whether a name has no forbidden character; mostly it is printable ASCII.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| matches!(byte, b' '..=b'~')) || !name.chars().any(is_forbidden)
}

/// Java looks at UTF-16 units: everything beyond U+FFFF is a pair of surrogates, which it forbids.
const fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_valid_as_apache_says() {
        for (path, valid) in [
            ("/", true),
            ("/a", true),
            ("/a/b", true),
            ("/zookeeper/quota", true),
            ("/...", true),
            ("/.a", true),
            ("/a.", true),
            ("/..a/b..", true),
            ("/a b", true),
            ("/\u{e4}\u{4e2d}", true),
            ("/\u{ffef}", true),
            ("", false),
            ("a", false),
            ("a/b", false),
            ("/a/", false),
            ("//", false),
            ("/a//b", false),
            ("/.", false),
            ("/..", false),
            ("/a/./b", false),
            ("/a/../b", false),
            ("/a/..", false),
            ("/a\0", false),
            ("/\u{1}", false),
            ("/\u{1f}", false),
            ("/\u{7f}", false),
            ("/\u{9f}", false),
            ("/\u{e000}", false),
            ("/\u{f8ff}", false),
            ("/\u{fff0}", false),
            ("/\u{1f600}", false),
        ] {
            assert_eq!(validate(path).is_ok(), valid, "{path:?}");
        }
    }

    #[test]
    fn only_what_java_takes_for_space_is_trimmed() {
        assert_eq!(trim(" \t\0a b\u{a0} \n"), "a b\u{a0}");
        assert_eq!(trim("\u{2003}"), "\u{2003}");
    }

    #[test]
    fn a_path_splits_at_its_last_slash() {
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a"), Some(("", "a")));
        assert_eq!(split("/"), Some(("", "")));
        assert_eq!(split("a"), None);
    }
}
