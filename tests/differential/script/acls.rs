//! Lists that grant little, much, or nothing that can be understood.

use zk_proto::{Acl, Perms};

use super::Script;

/// Who a session may authenticate as.
pub(crate) const SECRETS: [&str; 5] = ["u:1", "v:2", "super:secret", "nocolon", "super:wrong"];

const U: &str = "u:MSSbUxfHgM7O9gj7tEMl+nSDGs8=";
const V: &str = "v:CeYvbNM4QGbNauvZ21GPxtryZD0=";

const ENTRIES: [(&str, &str); 14] = [
    ("world", "anyone"),
    ("world", "anyone"),
    ("auth", ""),
    ("auth", "x"),
    ("digest", U),
    ("digest", V),
    ("digest", "a:b"),
    ("ip", "127.0.0.1"),
    ("ip", "127.0.0.0/8"),
    ("ip", "10.0.0.0/8"),
    ("ip", "::1"),
    ("digest", "a:b:"),
    ("ip", "127.0.0.1/32"),
    ("ip", "0.0.0.0/0"),
];

const BAD_ENTRIES: [(&str, &str); 12] = [
    ("world", "everyone"),
    ("nosuch", "x"),
    ("", ""),
    ("super", U),
    ("digest", "abc"),
    ("digest", "a:b:c"),
    ("digest", ""),
    ("ip", "1.2.3"),
    ("ip", "1.2.3.4/33"),
    ("ip", "localhost"),
    ("x509", "CN=x"),
    ("sasl", "bob"),
];

impl Script {
    /// Mostly open, or the tree would soon be closed to everybody.
    pub(crate) fn acl(&mut self) -> Vec<Acl> {
        match self.rng.u32(..100) {
            0..=69 => Acl::open(),
            70..=74 => Acl::read_only(),
            75..=79 => Acl::creator_all(),
            80..=83 => self.bad_list(),
            _ => self.list(),
        }
    }

    fn list(&mut self) -> Vec<Acl> {
        let entries = self.rng.usize(1..5);
        (0..entries)
            .map(|_| {
                let (scheme, id) = *self.pick(&ENTRIES);
                Acl::new(self.perms(), scheme, id)
            })
            .collect()
    }

    fn bad_list(&mut self) -> Vec<Acl> {
        let mut list = if self.rng.bool() {
            Acl::open()
        } else {
            Vec::new()
        };
        if self.rng.u32(..4) > 0 {
            let (scheme, id) = *self.pick(&BAD_ENTRIES);
            list.push(Acl::new(Perms::ALL, scheme, id));
        }
        list
    }

    fn perms(&mut self) -> Perms {
        match self.rng.u32(..10) {
            0..=4 => Perms::ALL,
            5 => Perms(*self.pick(&[0, -1, 32, 63])),
            _ => Perms(self.rng.i32(0..32)),
        }
    }
}
