//! Under which paths nodes may be created.

use crate::create::{BAD, tail};
use crate::subject::Subject;
use zk_proto::{Acl, CreateMode, ErrorCode, OpCode};
use zk_tests::requests::{ANY, create, create_as, create_for, delete};

cases! {
    sequential_names_may_be_empty_or_dots,
    the_root_exists,
    the_path_must_begin_with_a_slash,
    double_slashes_and_dots_are_refused,
    characters_that_are_refused,
    invalid_utf8_becomes_a_refused_character,
    unicode_names,
    a_trailing_slash,
    below_zookeeper,
    a_null_path,
}

async fn sequential_names_may_be_empty_or_dots(s: Subject) {
    let mut p = s.peer().await;
    for (name, expected) in [
        ("", "0000000000"),
        (".", ".0000000001"),
        ("..", "..0000000002"),
    ] {
        let request = create_as(&s.path(name), b"", CreateMode::PersistentSequential);
        assert_eq!(p.created(request).await, s.path(expected));
    }
}

async fn the_root_exists(s: Subject) {
    let mut p = s.peer().await;
    p.fails(create("/", b""), ErrorCode::NodeExists).await;
    let sequential = create_as("/", b"", CreateMode::EphemeralSequential);
    let path = p.created(sequential).await;
    assert!(
        path.len() == 11 && path[1..].bytes().all(|b| b.is_ascii_digit()),
        "{path}"
    );
}

async fn the_path_must_begin_with_a_slash(s: Subject) {
    let mut p = s.peer().await;
    for path in ["", "a"] {
        p.fails(create(path, b""), BAD).await;
        p.fails(create_as(path, b"", CreateMode::PersistentSequential), BAD)
            .await;
    }
    // The parent, "a", is looked for first.
    p.fails(create("a/b", b""), ErrorCode::NoNode).await;
}

async fn double_slashes_and_dots_are_refused(s: Subject) {
    let mut p = s.peer().await;
    for path in ["//", "//x", "/.", "/.."] {
        p.fails(create(path, b""), BAD).await;
    }
    p.fails(create_as("//", b"", CreateMode::PersistentSequential), BAD)
        .await;
    p.fails(create(&s.path("."), b""), BAD).await;
    p.fails(create(&s.path(".."), b""), BAD).await;
    for name in ["...", "a.", ".a", "..a", "a..b"] {
        p.create(&s.path(name)).await;
    }
}

async fn characters_that_are_refused(s: Subject) {
    let mut p = s.peer().await;
    let refused = [
        '\0',
        '\u{1}',
        '\u{1f}',
        '\u{7f}',
        '\u{80}',
        '\u{9f}',
        '\u{e000}',
        '\u{f8ff}',
        '\u{fff0}',
        '\u{ffff}',
        '\u{10000}',
        '😀',
    ];
    for character in refused {
        p.fails(create(&s.path(&format!("a{character}")), b""), BAD)
            .await;
    }
    for character in [' ', '~', '\u{a0}', '\u{d7ff}', '\u{f900}', '\u{ffef}'] {
        p.create(&s.path(&format!("a{character}"))).await;
    }
}

async fn invalid_utf8_becomes_a_refused_character(s: Subject) {
    let mut p = s.peer().await;
    let mut path = s.path("x").into_bytes();
    path.push(0xff);
    let reply = p
        .raw(OpCode::Create, &[&Some(bytes::Bytes::from(path)), &tail()])
        .await;
    assert_eq!(reply.code, BAD);
}

async fn unicode_names(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("größe-漢")).await;
    assert_eq!(p.names(s.root()).await, ["größe-漢"]);
    p.ok(create(&s.path("größe-漢/ü"), "naïve".as_bytes()))
        .await;
    assert_eq!(
        p.data(&s.path("größe-漢/ü")).await.as_deref(),
        Some("naïve".as_bytes())
    );
}

async fn a_trailing_slash(s: Subject) {
    let mut p = s.peer().await;
    p.fails(create(&s.path("nope/"), b""), ErrorCode::NoNode)
        .await;
    p.create(&s.path("there")).await;
    p.fails(create(&s.path("there/"), b""), BAD).await;
    p.ok(create_for(&s.path("locked"), Acl::read_only())).await;
    p.fails(create(&s.path("locked/"), b""), ErrorCode::NoAuth)
        .await;
}

async fn below_zookeeper(s: Subject) {
    let mut p = s.peer().await;
    let own = s.root().replace('/', "");
    for parent in ["/zookeeper", "/zookeeper/quota"] {
        let path = format!("{parent}/{own}");
        p.create(&path).await;
        p.ok(delete(&path, ANY)).await;
    }
    p.fails(create("/zookeeper/config/c", b""), ErrorCode::NoAuth)
        .await;
}

async fn a_null_path(s: Subject) {
    let mut p = s.peer().await;
    let reply = p.raw(OpCode::Create, &[&-1_i32, &tail()]).await;
    assert_eq!(reply.code, ErrorCode::MarshallingError);
    p.create(&s.path("on")).await;
}
