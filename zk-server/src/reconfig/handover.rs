//! Who leads a new configuration (`Leader.getDesignatedLeader`).

use std::collections::BTreeMap;

use zk_proto::{ServerId, Zxid};

use super::Configuration;

/// Chooses the leader of a new configuration that is committed now, as transaction `new.version()`.
///
/// The present one, unless it is no voter any more or is reached elsewhere. Else, of the voters that have logged the
/// new configuration, the one whose log is longest, so that as little as possible of what is on its way is lost; of
/// those the one with the lowest id. `None` if there is no such voter.
#[must_use]
pub fn designated_leader(
    present: ServerId,
    old: &Configuration,
    new: &Configuration,
    logged: &BTreeMap<ServerId, Zxid>,
) -> Option<ServerId> {
    if old.keeps_voter(new, present) {
        return Some(present);
    }
    let candidates = logged.iter().filter(|(server, zxid)| {
        **server != present && **zxid >= new.version() && new.verifier().weight(**server) > 0
    });
    candidates
        .max_by_key(|(server, zxid)| (**zxid, std::cmp::Reverse(**server)))
        .map(|(server, _)| *server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_logged_most_leads_when_the_leader_cannot() {
        let parse = |text| Configuration::parse(text).unwrap().with_version(Zxid(5));
        let old = parse("server.1=h:1:2;3\nserver.2=h:4:5;6\nserver.3=h:7:8;9");
        let without_3 = parse("server.1=h:1:2;3\nserver.2=h:4:5;6\nserver.4=h:14:15;16");
        let moved_3 = parse("server.1=h:1:2;3\nserver.2=h:4:5:observer;6\nserver.3=h:17:8;9");
        let same = parse("server.1=h:1:2;3\nserver.3=h:7:8;9");
        for (new, logged, expected) in [
            (&same, vec![(1, 9), (3, 5)], Some(3)),
            (&without_3, vec![(1, 5), (2, 5), (3, 9)], Some(1)),
            (&without_3, vec![(1, 5), (2, 6), (4, 6)], Some(2)),
            (&without_3, vec![(1, 4), (2, 4), (4, 5)], Some(4)),
            (&without_3, vec![(1, 4), (3, 5)], None),
            (&moved_3, vec![(1, 5), (2, 9), (3, 9)], Some(1)),
        ] {
            let logged = logged
                .into_iter()
                .map(|(server, zxid)| (ServerId(server), Zxid(zxid)))
                .collect();
            assert_eq!(
                designated_leader(ServerId(3), &old, new, &logged),
                expected.map(ServerId),
                "{new} {logged:?}"
            );
        }
    }
}
