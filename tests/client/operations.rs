//! Every operation, and the order in which they are carried out.

use std::time::Duration;

use futures::future::join_all;
use zk_client::{Acl, Client, ErrorKind, MultiResult, Node, Outcome, Perms};

use crate::subject::Subject;

cases! {
    a_node_is_created_read_changed_listed_and_deleted,
    reads_tell_what_there_is,
    refusals_say_what_and_where,
    a_multi_goes_through_as_a_whole_or_not_at_all,
    reads_of_one_moment_tell_each_its_own,
    container_and_ttl_nodes_are_what_they_are_called,
    a_protected_create_has_a_name_that_is_found_again,
    whole_trees_are_made_and_removed,
    composed_creates_take_names_that_are_a_number_alone_and_refuse_bad_paths,
    parents_and_what_is_ensured_are_as_asked,
    multis_and_reads_of_one_moment_can_be_pipelined,
    updates_of_many_tasks_are_all_counted,
    a_pipeline_is_carried_out_in_the_order_of_its_submission,
    a_pipeline_longer_than_what_servers_hold_does_not_stall,
    an_acl_binds_those_who_are_not_in_it,
    data_of_any_size_and_content_comes_back,
}

async fn a_node_is_created_read_changed_listed_and_deleted(subject: &Subject) {
    let client = subject.client().await;
    let created = client.create("/a", b"x").await.unwrap();
    assert_eq!(created.path, "/a");
    let node = client.get("/a").await.unwrap();
    assert_eq!((&node.data[..], node.stat), (&b"x"[..], created.stat));
    let stat = client.set("/a", "y").version(0).await.unwrap();
    assert_eq!(stat.version, 1);
    assert_eq!(client.exists("/a").await.unwrap(), Some(stat));
    assert_eq!(client.children("/").await.unwrap(), ["a"]);
    client.sync("/").await.unwrap();
    client.delete("/a").version(1).await.unwrap();
    assert_eq!(client.exists("/a").await.unwrap(), None);
    client.close().await.unwrap();
}

async fn reads_tell_what_there_is(subject: &Subject) {
    let client = subject.client().await;
    let missing = "/nothing";
    assert_eq!(client.get_opt(missing).await.unwrap(), None);
    assert_eq!(client.exists(missing).await.unwrap(), None);
    client.create("/a", b"1").await.unwrap();
    let job = client.create("/a/job-", b"").ephemeral().sequential();
    let job = job.await.unwrap();
    assert_eq!(job.path, "/a/job-0000000000");
    assert_eq!(job.stat.ephemeral_owner, client.session().id());
    let listed = client.children_with_stat("/a").await.unwrap();
    assert_eq!(listed.names, ["job-0000000000"]);
    assert_eq!((listed.stat.num_children, listed.stat.cversion), (1, 1));
    assert_eq!(client.get_opt("/a").await.unwrap().unwrap().data, "1");
    assert_eq!(client.count_descendants("/").await.unwrap(), 2);
    assert_eq!(client.ephemerals("/").await.unwrap(), [job.path]);
    let ip = client.who_am_i().await.unwrap();
    assert!(ip.iter().any(|identity| identity.scheme == "ip"), "{ip:?}");
}

async fn refusals_say_what_and_where(subject: &Subject) {
    use ErrorKind::{
        BadArguments, BadVersion, NoChildrenForEphemerals, NoNode, NodeExists, NotEmpty,
    };

    let c = subject.client().await;
    c.create("/a", b"x").await.unwrap();
    c.create("/a/b", b"").ephemeral().await.unwrap();
    refused(c.set("/a", "z").version(7).await, BadVersion, "setData /a");
    refused(c.get("/no").await, NoNode, "getData /no");
    refused(c.children("/no").await, NoNode, "getChildren /no");
    refused(c.get_acl("/no").await, NoNode, "getACL /no");
    refused(c.create("/a", "").await, NodeExists, "create /a");
    refused(c.create("/no/x", "").await, NoNode, "create /no/x");
    let below = c.create("/a/b/c", "").await;
    refused(below, NoChildrenForEphemerals, "create /a/b/c");
    refused(c.delete("/a").await, NotEmpty, "delete /a");
    refused(c.delete("/no").await, NoNode, "delete /no");
    refused(c.create("no", "").await, BadArguments, "create no");
    refused(c.get("/a//b").await, BadArguments, "getData /a//b");
    let nobody: Vec<Acl> = Vec::new();
    let invalid = c.create("/acl", "").acl(nobody).await;
    refused(invalid, ErrorKind::InvalidAcl, "create /acl");
}

/// Nothing happened, trying again is no use, and the error says which operation it was.
fn refused<T: std::fmt::Debug>(result: zk_client::Result<T>, kind: ErrorKind, what: &str) {
    let error = result.unwrap_err();
    let named = format!("{} {}", error.op(), error.path().unwrap_or_default());
    assert_eq!((error.kind(), named.as_str()), (kind, what));
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    assert!(!error.is_retryable(), "{error}");
}

async fn a_multi_goes_through_as_a_whole_or_not_at_all(subject: &Subject) {
    let client = subject.client().await;
    let results = client
        .multi()
        .create("/a", "1")
        .create("/a/s-", "2")
        .sequential()
        .set("/a", "3")
        .version(0)
        .check("/a", 1)
        .delete("/a/s-0000000000")
        .commit()
        .await
        .unwrap();
    assert_eq!(results.len(), 5);
    assert_eq!(results[1].created_path(), Some("/a/s-0000000000"));
    assert_eq!(results[2].stat().map(|stat| stat.version), Some(1));
    assert_eq!(
        (&results[3], &results[4]),
        (&MultiResult::Checked, &MultiResult::Deleted)
    );
    let error = client
        .multi()
        .set("/a", "4")
        .delete("/nothing")
        .set("/a", "5")
        .commit()
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.multi_index(), error.path()),
        (ErrorKind::NoNode, Some(1), Some("/nothing"))
    );
    assert_eq!(client.get("/a").await.unwrap().data, "3");
}

async fn reads_of_one_moment_tell_each_its_own(subject: &Subject) {
    let client = subject.client().await;
    client.create_all("/a/b", "x").await.unwrap();
    let read = client.multi_read().get("/a/b").get("/no").children("/a");
    let results = read.run().await.unwrap();
    let first = results[0].as_ref().unwrap();
    assert_eq!(first.node().map(|node| &node.data[..]), Some(&b"x"[..]));
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(
        (error.kind(), error.path()),
        (ErrorKind::NoNode, Some("/no"))
    );
    let names = results[2].as_ref().unwrap().children();
    assert_eq!(names, Some(&["b".to_owned()][..]));
}

async fn container_and_ttl_nodes_are_what_they_are_called(subject: &Subject) {
    let client = subject.client().await;
    client.create("/box", b"").container().await.unwrap();
    let ttl = Duration::from_secs(300);
    let made = client.create("/tmp", b"").ttl(ttl).await.unwrap();
    assert_eq!(made.path, "/tmp");
    let made = client.create("/tmp-", b"").ttl(ttl).sequential().await;
    assert_eq!(made.unwrap().path, "/tmp-0000000002");
    let error = client.create("/no", b"").container().ephemeral().await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::BadArguments);
}

async fn a_protected_create_has_a_name_that_is_found_again(subject: &Subject) {
    let client = subject.client().await;
    let create = client.create("/lock-", b"").ephemeral().sequential();
    let created = create.protected().await.unwrap();
    let name = created.path.strip_prefix("/_c_").unwrap();
    assert!(
        name.ends_with("-lock-0000000000") && name.len() == 36 + 16,
        "{name}"
    );
}

async fn whole_trees_are_made_and_removed(subject: &Subject) {
    let client = subject.client().await;
    client.create_all("/a/b/c", b"deep").await.unwrap();
    assert_eq!(client.get("/a/b/c").await.unwrap().data, "deep");
    let error = client.create_all("/a/b/c", b"").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NodeExists);
    client.ensure("/a/b/c/d").container().await.unwrap();
    client.ensure("/a/b/c/d").await.unwrap();
    let wide: Vec<_> = (0..300).map(|n| format!("/a/b/{n}")).collect();
    for created in join_all(wide.iter().map(|path| client.create(path, ""))).await {
        created.unwrap();
    }
    client.delete_all("/a").await.unwrap();
    assert!(client.children("/").await.unwrap().is_empty());
    let error = client.delete_all("/a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoNode);
}

async fn parents_and_what_is_ensured_are_as_asked(subject: &Subject) {
    let client = subject.client().await;
    let created = client.create_all("/c/d/leaf", "x").container_parents();
    created.await.unwrap();
    // No server tells of a container that it is one: that they are asked for is tested with the client.
    for path in ["/c", "/c/d", "/c/d/leaf"] {
        assert!(client.exists(path).await.unwrap().is_some(), "{path}");
    }
    let acl = Acl::read_only();
    client.ensure("/e").acl(acl.clone()).await.unwrap();
    assert_eq!(client.get_acl("/e").await.unwrap().acl, acl);
}

async fn multis_and_reads_of_one_moment_can_be_pipelined(subject: &Subject) {
    let client = subject.client().await;
    client.create("/a", "0").await.unwrap();
    let (mut multis, mut reads) = (Vec::new(), Vec::new());
    for n in 0..20 {
        let path = format!("/{n:02}");
        let multi = client.multi().create(&path, "").set("/a", n.to_string());
        multis.push(multi.submit().await.unwrap());
        let read = client.multi_read().get("/a").children("/").get("/none");
        reads.push(read.submit().await.unwrap());
    }
    let refused = client.multi().check("/none", 0).delete("/a").submit();
    let refused = refused.await.unwrap();
    for (n, (multi, read)) in multis.into_iter().zip(reads).enumerate() {
        let results = multi.await.unwrap();
        assert_eq!(results[0].created_path(), Some(format!("/{n:02}").as_str()));
        let read = read.await.unwrap();
        let node = read[0].as_ref().unwrap().node().unwrap();
        assert_eq!(node.data, n.to_string(), "in the order of submission");
        let names = read[1].as_ref().unwrap().children().unwrap();
        assert_eq!(names.len(), n + 2);
        assert_eq!(read[2].as_ref().unwrap_err().kind(), ErrorKind::NoNode);
    }
    let error = refused.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.multi_index()),
        (ErrorKind::NoNode, Some(0))
    );
    assert!(client.exists("/a").await.unwrap().is_some());
}

async fn composed_creates_take_names_that_are_a_number_alone_and_refuse_bad_paths(
    subject: &Subject,
) {
    let client = subject.client().await;
    let created = client.create_all("/jobs/", b"").sequential().await.unwrap();
    assert_eq!(created.path, "/jobs/0000000000");
    for path in ["job", "", "/a//b"] {
        let refused = client.create(path, b"").protected().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BadArguments, "{path:?}");
    }
    assert_eq!(client.children("/").await.unwrap(), ["jobs"]);
}

async fn updates_of_many_tasks_are_all_counted(subject: &Subject) {
    let client = subject.client().await;
    client.create("/n", "0").await.unwrap();
    let add = |_| async {
        let plus_one = |old: &Node| {
            let number: u32 = std::str::from_utf8(&old.data).unwrap().parse().unwrap();
            (number + 1).to_string()
        };
        client.update("/n", plus_one).await.unwrap()
    };
    join_all((0..10).map(add)).await;
    assert_eq!(client.get("/n").await.unwrap().data, "10");
}

async fn a_pipeline_is_carried_out_in_the_order_of_its_submission(subject: &Subject) {
    let client = subject.client().await;
    let mut pending = Vec::new();
    pending.push(client.create("/a", b"").submit().await.unwrap());
    for n in 0..100 {
        let path = format!("/a/{n}");
        pending.push(client.create(&path, b"x").submit().await.unwrap());
    }
    let last = client.children("/a").submit().await.unwrap();
    let mut zxids = Vec::new();
    for created in pending {
        zxids.push(created.await.unwrap().stat.czxid);
    }
    assert!(zxids.is_sorted());
    assert_eq!(last.await.unwrap().len(), 100);
}

async fn a_pipeline_longer_than_what_servers_hold_does_not_stall(subject: &Subject) {
    // Shorter than the pause until the next ping, which would wake a server that went to sleep over it.
    let builder = subject.builder().session_timeout(Duration::from_secs(60));
    let client = builder.request_timeout(Duration::from_secs(18)).connect();
    let client = client.await.unwrap();
    let paths: Vec<_> = (0..4000).map(|n| format!("/{n}")).collect();
    let created = join_all(paths.iter().map(|path| client.create(path, b""))).await;
    let failed: Vec<_> = created.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} of 4000: {}", failed.len(), failed[0]);
}

async fn an_acl_binds_those_who_are_not_in_it(subject: &Subject) {
    let client = subject.client().await;
    client.add_auth("digest", "alice:secret").await.unwrap();
    let mine = client.create("/mine", b"x").acl(Acl::creator_all());
    mine.await.unwrap();
    let who = client.who_am_i().await.unwrap();
    assert!(
        who.iter()
            .any(|identity| identity.scheme == "digest" && identity.user == "alice"),
        "{who:?}"
    );
    let acl = client.get_acl("/mine").await.unwrap();
    assert_eq!((acl.acl.len(), acl.acl[0].perms), (1, Perms::ALL));
    let stat = client.set_acl("/mine", acl.acl.clone()).version(0).await;
    assert_eq!(stat.unwrap().aversion, 1);
    let stale = client.set_acl("/mine", acl.acl).version(0).await;
    assert_eq!(stale.unwrap_err().kind(), ErrorKind::BadVersion);
    let stranger: Client = subject.client().await;
    let error = stranger.get("/mine").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::NoAuth, Outcome::NotApplied)
    );
    let everybody = stranger.set_acl("/mine", Acl::open()).await;
    assert_eq!(everybody.unwrap_err().kind(), ErrorKind::NoAuth);
}

async fn data_of_any_size_and_content_comes_back(subject: &Subject) {
    let client = subject.client().await;
    let large = vec![0xa5_u8; 1_000_000];
    client.create("/large", large.clone()).await.unwrap();
    assert_eq!(client.get("/large").await.unwrap().data, large);
    client.create("/empty", "").await.unwrap();
    assert_eq!(client.get("/empty").await.unwrap().data, "");
    let odd = "/ключ-鍵";
    client.create(odd, &[0, 255]).await.unwrap();
    assert_eq!(&client.get(odd).await.unwrap().data[..], [0, 255]);
    let too_large = client.create("/more", vec![0; 2_000_000]).await;
    let error = too_large.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::TooLarge, Outcome::NotApplied)
    );
    assert_eq!(
        client.exists("/more").await.unwrap(),
        None,
        "the session lives"
    );
}
