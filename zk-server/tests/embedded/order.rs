//! Replies and events in the order that ZooKeeper promises.

use zk_proto::{
    CreateMode, Encode, ErrorCode, OpCode, Xid, Zxid,
    op::{MultiOp, MultiRequest, MultiResponse, MultiResult, Request, SetDataRequest, SyncRequest},
    watch::EventType,
};
use zk_server::Server;

use crate::client::{PING, bare, create, exists, get, get_and_watch, set, tcp};

#[tokio::test]
async fn a_pipeline_of_writes_and_reads_is_answered_in_order_and_each_read_sees_its_write() {
    let server = Server::builder().start().await.unwrap();
    let (mut client, _) = tcp(&server).await.open().await;
    let mut requests = vec![create("/a", "0", CreateMode::Persistent)];
    for i in 1..=50 {
        requests.push(set("/a", &i.to_string()));
        requests.push(get("/a"));
        requests.push(get("/a"));
    }
    client.send(1, &requests).await;
    let mut last = Zxid(0);
    for (xid, request) in (1..).zip(&requests) {
        let reply = client.reply().await.unwrap();
        assert_eq!(reply.header.xid, Xid(xid));
        assert!(reply.header.zxid >= last, "zxids never go back");
        last = reply.header.zxid;
        if request.op_code() == OpCode::GetData {
            let (data, stat) = reply.data();
            let written = (xid - 1).div_euclid(3) + i32::from((xid - 1) % 3 != 0);
            assert_eq!(data, written.to_string(), "request {xid}");
            assert_eq!(stat.mzxid, last, "nobody else writes");
        }
    }
}

#[tokio::test]
async fn an_event_comes_before_the_first_reply_that_shows_its_cause() {
    let server = Server::builder().start().await.unwrap();
    let (mut watcher, _) = tcp(&server).await.open().await;
    let (mut writer, _) = tcp(&server).await.open().await;
    writer
        .call(1, create("/a", "0", CreateMode::Persistent))
        .await;
    for i in 1..100 {
        let (_, before) = watcher.call(1, get_and_watch("/a")).await.data();
        let write = async {
            let written = writer.call(2, set("/a", &i.to_string())).await;
            written.header.zxid
        };
        let read = async {
            let mut event = None;
            loop {
                watcher.send(2, &[get("/a")]).await;
                let mut reply = watcher.reply().await.unwrap();
                if reply.header.xid == Xid::NOTIFICATION {
                    let zxid = reply.header.zxid;
                    assert_eq!(reply.event().event_type, EventType::NodeDataChanged);
                    event = Some(zxid);
                    reply = watcher.reply().await.unwrap();
                }
                let (_, now) = reply.data();
                if now.mzxid != before.mzxid {
                    assert_eq!(
                        event,
                        Some(now.mzxid),
                        "the event came first, with its zxid"
                    );
                    return now.mzxid;
                }
                assert_eq!(event, None, "no event before its cause can be seen");
            }
        };
        let (written, seen) = tokio::join!(write, read);
        assert_eq!(written, seen);
    }
}

#[tokio::test]
async fn the_writer_hears_of_its_own_write_first() {
    let server = Server::builder().start().await.unwrap();
    let (mut client, _) = tcp(&server).await.open().await;
    client
        .call(1, create("/a", "0", CreateMode::Persistent))
        .await;
    client
        .send(2, &[get_and_watch("/a"), set("/a", "1"), get("/a")])
        .await;
    let mut xids = Vec::new();
    for _ in 0..4 {
        xids.push(client.reply().await.unwrap().header.xid.0);
    }
    assert_eq!(xids, [2, -1, 3, 4]);
}

#[tokio::test]
async fn a_multi_is_all_or_nothing_at_one_zxid() {
    let server = Server::builder().start().await.unwrap();
    let (mut client, _) = tcp(&server).await.open().await;
    let Request::Create(create_a) = create("/a", "1", CreateMode::Persistent) else {
        unreachable!()
    };
    let set_b = SetDataRequest {
        path: "/b".into(),
        data: None,
        version: -1,
    };
    let ops = vec![MultiOp::Create(create_a.clone()), MultiOp::SetData(set_b)];
    let failed = client.call(1, Request::Multi(MultiRequest { ops })).await;
    let MultiResponse { results } = failed.record();
    let errors: Vec<_> = results
        .iter()
        .map(|result| match result {
            MultiResult::Error(error) => ErrorCode::from_i32(error.err),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(errors, [ErrorCode::Ok, ErrorCode::NoNode]);
    let missing = client.call(2, exists("/a")).await;
    assert_eq!(missing.header.err, ErrorCode::NoNode.code());
    let set_a = SetDataRequest {
        path: "/a".into(),
        data: None,
        version: 0,
    };
    let ops = vec![MultiOp::Create(create_a), MultiOp::SetData(set_a)];
    let done = client.call(3, Request::Multi(MultiRequest { ops })).await;
    let zxid = done.header.zxid;
    let MultiResponse { results } = done.record();
    assert!(matches!(
        &results[..],
        [MultiResult::Create(_), MultiResult::SetData(set)] if set.stat.mzxid == zxid && set.stat.czxid == zxid
    ));
}

#[tokio::test]
async fn refused_writes_take_a_zxid_and_undecodable_ones_do_not() {
    let server = Server::builder().start().await.unwrap();
    let (mut client, _) = tcp(&server).await.open().await;
    let refused = client.call(1, set("/nope", "")).await.header;
    assert_eq!(refused.err, ErrorCode::NoNode.code());
    client
        .send_bytes(&bare(2, OpCode::SetData.code(), &[&7_i32]))
        .await;
    let undecodable = client.reply().await.unwrap().header;
    assert_eq!(undecodable.err, ErrorCode::MarshallingError.code());
    assert_eq!(undecodable.zxid, refused.zxid);
    client
        .send_bytes(&bare(3, OpCode::Multi.code(), &[&7_i32]))
        .await;
    let multi = client.reply().await.unwrap().header;
    assert_eq!(multi.err, ErrorCode::MarshallingError.code());
    assert_eq!(multi.zxid.0, refused.zxid.0 + 1);
}

#[tokio::test]
async fn sync_and_ping_keep_their_place_in_the_line() {
    let server = Server::builder().start().await.unwrap();
    let (mut client, _) = tcp(&server).await.open().await;
    let sync = || Request::Sync(SyncRequest { path: "/x".into() });
    let write = create("/a", "", CreateMode::Persistent);
    client.send(1, &[sync(), write, sync(), get("/a")]).await;
    client.send_bytes(&bare(-2, PING, &[])).await;
    let mut replies = Vec::new();
    for _ in 0..5 {
        replies.push(client.reply().await.unwrap().header);
    }
    let xids: Vec<_> = replies.iter().map(|header| header.xid.0).collect();
    assert_eq!(xids, [1, 2, 3, 4, -2]);
    assert!(replies.iter().all(|header| header.err == 0));
    assert_eq!(replies[0].zxid.0 + 1, replies[1].zxid.0);
    assert!(
        replies[2..]
            .iter()
            .all(|header| header.zxid == replies[1].zxid)
    );
}

#[tokio::test]
async fn what_follows_an_unknown_operation_is_dropped_with_the_connection() {
    let server = Server::builder().start().await.unwrap();
    let (mut client, _) = tcp(&server).await.open().await;
    let mut wire = bare(1, 999, &[]);
    let path = zk_proto::Utf8Bytes::from_static("/");
    wire.extend_from_slice(&bare(
        2,
        OpCode::Exists.code(),
        &[&path as &dyn Encode, &false],
    ));
    client.send_bytes(&wire).await;
    let refused = client.reply().await.unwrap().header;
    assert_eq!(refused.err, ErrorCode::Unimplemented.code());
    assert_eq!((refused.xid, refused.zxid), (Xid(1), Zxid(-1)));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_pipeline_longer_than_a_connection_may_have_unanswered_does_not_stand_still() {
    let server = Server::builder().start().await.unwrap();
    let (mut client, _) = tcp(&server).await.open().await;
    let mut requests = vec![create("/a", "", CreateMode::Persistent)];
    for i in 0..3_000 {
        requests.push(if i % 3 == 0 {
            set("/a", "x")
        } else {
            get("/a")
        });
    }
    client.send(1, &requests).await;
    for xid in 1..=3_001 {
        assert_eq!(client.reply().await.unwrap().header.xid, Xid(xid));
    }
}
