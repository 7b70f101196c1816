use super::*;

fn create(path: &str, data: &'static str) -> Write {
    Write::Create {
        path: path.to_owned(),
        data: data.into(),
    }
}

fn set(path: &str, data: &'static str) -> Write {
    Write::Set {
        path: path.to_owned(),
        data: data.into(),
    }
}

fn delete(path: &str) -> Write {
    Write::Delete {
        path: path.to_owned(),
    }
}

fn node(data: &'static str, version: i32, mzxid: i64) -> Node {
    Node {
        data: data.into(),
        version,
        mzxid: Some(Zxid(mzxid)),
    }
}

fn nodes<const N: usize>(nodes: [(&str, Node); N]) -> Nodes {
    nodes.map(|(path, node)| (path.to_owned(), node)).into()
}

/// Five writes on a node that was there, the first `acknowledged` of them acknowledged as 11, 12, ...
fn history(acknowledged: i64) -> History {
    History {
        before: nodes([("/r", node("old", 4, 10))]),
        writes: vec![
            set("/r", "a"),
            create("/n", "b"),
            set("/r", "c"),
            set("/n", "d"),
            delete("/n"),
        ],
        acks: (11..11 + acknowledged).map(Zxid).collect(),
    }
}

/// The nodes of an honest server after each number of the history's writes.
fn honest() -> [Nodes; 6] {
    [
        nodes([("/r", node("old", 4, 10))]),
        nodes([("/r", node("a", 5, 11))]),
        nodes([("/n", node("b", 0, 12)), ("/r", node("a", 5, 11))]),
        nodes([("/n", node("b", 0, 12)), ("/r", node("c", 6, 13))]),
        nodes([("/n", node("d", 1, 14)), ("/r", node("c", 6, 13))]),
        nodes([("/r", node("c", 6, 13))]),
    ]
}

#[test]
fn exactly_the_prefixes_with_every_acknowledged_write_are_accepted() {
    for acknowledged in 0..=5 {
        for (survived, found) in honest().iter().enumerate() {
            let verdict = history(acknowledged as i64).check(found);
            if survived >= acknowledged {
                assert_eq!(verdict, Ok(survived), "{acknowledged} acknowledged");
            } else {
                let lost = history(0).writes[survived].clone();
                let expected = Violation::LostAcknowledged {
                    survived,
                    acknowledged,
                    lost,
                };
                assert_eq!(verdict, Err(expected), "{acknowledged} acknowledged");
            }
        }
    }
}

#[test]
fn a_write_lost_from_the_middle_is_no_prefix() {
    // The create (second) is there, the set before it is not.
    let found = nodes([("/n", node("b", 0, 12)), ("/r", node("old", 4, 10))]);
    for acknowledged in 0..=2 {
        let verdict = history(acknowledged).check(&found);
        assert!(
            matches!(verdict, Err(Violation::Inexplicable { .. })),
            "{acknowledged}: {verdict:?}"
        );
    }
}

#[test]
fn a_deleted_node_must_not_come_back() {
    let mut found = honest()[5].clone();
    found.insert("/n".to_owned(), node("d", 1, 14));
    assert!(matches!(
        history(5).check(&found),
        Err(Violation::LostAcknowledged { survived: 4, .. })
    ));
    assert_eq!(history(4).check(&found), Ok(4));
}

#[test]
fn a_write_applied_twice_is_seen_in_its_version() {
    let found = nodes([("/r", node("a", 6, 11))]);
    assert!(matches!(
        history(1).check(&found),
        Err(Violation::Inexplicable { path, .. }) if path == "/r"
    ));
}

#[test]
fn an_acknowledged_write_keeps_its_zxid() {
    let found = nodes([("/r", node("a", 5, 12))]);
    assert!(history(1).check(&found).is_err());
}

#[test]
fn a_write_that_was_not_acknowledged_is_newer_than_those_that_were() {
    let mut found = honest()[3].clone();
    assert_eq!(history(2).check(&found), Ok(3));
    found.insert("/r".to_owned(), node("c", 6, 12));
    assert!(history(2).check(&found).is_err());
}

#[test]
fn a_stray_node_is_noticed() {
    let mut found = honest()[5].clone();
    found.insert("/stray".to_owned(), node("", 0, 9));
    assert!(matches!(
        history(5).check(&found),
        Err(Violation::Inexplicable { path, .. }) if path == "/stray"
    ));
}

#[test]
fn acknowledged_zxids_grow_and_belong_to_one_write_each() {
    let mut backwards = history(2);
    backwards.acks.swap(0, 1);
    assert_eq!(
        backwards.check(&honest()[2]),
        Err(Violation::ZxidNotGrowing {
            earlier: Zxid(12),
            later: Zxid(11)
        })
    );
    assert_eq!(
        check_zxids([&history(2), &history(1)], Zxid(99)),
        Err(Violation::ZxidTwice(Zxid(11)))
    );
    assert_eq!(
        check_zxids([&history(2)], Zxid(11)),
        Err(Violation::ZxidLost {
            acknowledged: Zxid(12),
            found: Zxid(11)
        })
    );
    assert_eq!(check_zxids([&history(2)], Zxid(12)), Ok(()));
}
