//! Paths between what a user writes and what a server knows.
//!
//! A connect string may end in a chroot: every path of the client is then below it. The prefix goes on when a
//! request is encoded and comes off every path in an answer or event; nothing in between sees both forms.
//!
//! Paths are checked here too (`PathUtils.validatePath`): a server checks those of writes itself, but with a
//! chroot in front it would not see the caller's mistake.

use bytes::{BufMut, BytesMut};

use crate::error::Failure;

/// The prefix of every path of a client; empty for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chroot {
    prefix: String,
}

impl Chroot {
    /// The chroot with this path; `""` and `"/"` are none.
    ///
    /// # Errors
    /// [`ErrorKind::BadArguments`](crate::ErrorKind::BadArguments) where it is no path.
    pub fn new(path: &str) -> Result<Self, Failure> {
        let prefix = match path {
            "" | "/" => String::new(),
            path => {
                validate(path)?;
                path.to_owned()
            }
        };
        Ok(Self { prefix })
    }

    /// The path as the server knows it.
    #[must_use]
    pub fn join(&self, path: &str) -> String {
        match (self.prefix.as_str(), path) {
            ("", path) => path.to_owned(),
            (prefix, "/") => prefix.to_owned(),
            (prefix, path) => [prefix, path].concat(),
        }
    }

    /// The path as the user knows it; unchanged where it is not below the chroot.
    #[must_use]
    pub fn strip<'p>(&self, path: &'p str) -> &'p str {
        match path.strip_prefix(self.prefix.as_str()) {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            _ => path,
        }
    }

    /// The path that the server appends a counter to, as the server knows it: `/` stands for a name that is the counter
    /// alone, below the chroot.
    #[must_use]
    pub fn join_sequential(&self, path: &str) -> String {
        [self.prefix.as_str(), path].concat()
    }

    /// Appends the path, as the server knows it, in its Jute form.
    pub(crate) fn put(&self, path: &str, out: &mut BytesMut) {
        let path = match (self.prefix.as_str(), path) {
            ("", path) => path,
            (_, "/") => "",
            (_, path) => path,
        };
        let len = self.prefix.len() + path.len();
        out.put_i32(i32::try_from(len).unwrap_or(i32::MAX));
        out.put_slice(self.prefix.as_bytes());
        out.put_slice(path.as_bytes());
    }
}

/// Checks that `path` names a node.
///
/// # Errors
/// [`ErrorKind::BadArguments`](crate::ErrorKind::BadArguments) with the reason.
pub fn validate(path: &str) -> Result<(), Failure> {
    match defect(path) {
        None => Ok(()),
        Some(why) => Err(Failure::bad_arguments(format!(
            "invalid path {path:?}: {why}"
        ))),
    }
}

/// Checks a path that the server appends a counter to: it may end in a slash.
///
/// # Errors
/// As [`validate`].
pub fn validate_sequential(path: &str) -> Result<(), Failure> {
    match path.strip_suffix('/') {
        Some("") => Ok(()),
        Some(parent) if parent != "/" => validate(parent),
        _ => validate(path),
    }
}

/// What is wrong with a path, by the rules of `PathUtils.validatePath`.
fn defect(path: &str) -> Option<&'static str> {
    let Some(rest) = path.strip_prefix('/') else {
        return Some(match path {
            "" => "it is empty",
            _ => "it does not start with '/'",
        });
    };
    if rest.is_empty() {
        return None;
    }
    for name in rest.split('/') {
        match name {
            "" => return Some("it has an empty name"),
            "." | ".." => return Some("it has a relative name"),
            name if name.chars().any(is_forbidden) => {
                return Some("it has a character that paths may not have");
            }
            _ => {}
        }
    }
    None
}

/// Control characters, surrogates, private use and specials, as `PathUtils` lists them.
const fn is_forbidden(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_prefix_goes_on_and_comes_off() {
        for (root, user, server) in [
            ("", "/", "/"),
            ("", "/a/b", "/a/b"),
            ("/app", "/", "/app"),
            ("/app", "/a", "/app/a"),
            ("/x/y", "/a/b", "/x/y/a/b"),
        ] {
            let chroot = Chroot::new(root).unwrap();
            assert_eq!(chroot.join(user), server);
            assert_eq!(chroot.strip(server), user);
            let mut out = BytesMut::new();
            chroot.put(user, &mut out);
            assert_eq!(&out[4..], server.as_bytes());
            assert_eq!(out[..4], u32::try_from(server.len()).unwrap().to_be_bytes());
        }
    }

    #[test]
    fn a_name_that_is_the_counter_alone_is_below_the_chroot() {
        for (root, user, server) in [
            ("", "/", "/"),
            ("/app", "/", "/app/"),
            ("/app", "/a/", "/app/a/"),
            ("/app", "/a-", "/app/a-"),
        ] {
            assert_eq!(Chroot::new(root).unwrap().join_sequential(user), server);
        }
    }

    #[test]
    fn a_path_beside_the_chroot_stays_as_it_is() {
        let chroot = Chroot::new("/app").unwrap();
        assert_eq!(chroot.strip("/apple"), "/apple");
        assert_eq!(chroot.strip("/zookeeper/config"), "/zookeeper/config");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in [
            "",
            "a",
            "a/b",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/a/../b",
            "/a/.",
            "/a\0",
            "/\u{1}",
            "/\u{f8ff}",
        ] {
            let failure = validate(bad).unwrap_err();
            assert_eq!(failure.kind, ErrorKind::BadArguments, "{bad:?}");
        }
        for good in [
            "/",
            "/a",
            "/a/b",
            "/.a",
            "/a..",
            "/\u{e4}",
            "/a b",
            "/\u{1f512}",
        ] {
            validate(good).unwrap();
        }
    }

    #[test]
    fn a_sequential_name_may_be_the_counter_alone() {
        for good in ["/", "/a/", "/a/b-"] {
            validate_sequential(good).unwrap();
        }
        for bad in ["a/", "//", "/a//", ""] {
            assert!(validate_sequential(bad).is_err(), "{bad:?}");
        }
    }
}
