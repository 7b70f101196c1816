use tokio::time::{Instant, timeout};

use super::*;

/// A server that sends back what it gets, and the proxy before it.
async fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.write_all(b"end").await;
            });
        }
    });
    Proxy::start(addr).await.unwrap()
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn hear(stream: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, text.as_bytes());
}

/// The connection is broken, not ended.
async fn assert_broken(stream: &mut TcpStream) {
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Nothing comes, for as long as a test can wait for nothing.
async fn assert_silent(stream: &mut TcpStream) {
    let mut byte = [0];
    let heard = timeout(Duration::from_millis(30), stream.read(&mut byte)).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test]
async fn bytes_pass_and_ends_pass_too() {
    let proxy = echo().await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut stream, "one").await;
    hear(&mut stream, "one").await;
    stream.shutdown().await.unwrap();
    hear(&mut stream, "end").await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_cut_breaks_what_is_open_and_nothing_else() {
    let proxy = echo().await;
    let mut first = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut first, "one").await;
    hear(&mut first, "one").await;
    proxy.cut().await;
    assert_broken(&mut first).await;

    let mut second = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut second, "two").await;
    hear(&mut second, "two").await;
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn a_lost_reply_breaks_the_connection_after_the_request_arrived() {
    let proxy = echo().await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    proxy.set(Direction::ToClient, Flow::Cut);
    say(&mut stream, "one").await;
    assert_broken(&mut stream).await;
}

#[tokio::test]
async fn held_bytes_arrive_late_and_dropped_ones_never() {
    let proxy = echo().await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut stream, "a").await;
    hear(&mut stream, "a").await;
    proxy.set(Direction::ToClient, Flow::Hold);
    say(&mut stream, "b").await;
    assert_silent(&mut stream).await;
    proxy.set(Direction::ToClient, Flow::Pass);
    hear(&mut stream, "b").await;

    proxy.set(Direction::ToServer, Flow::Drop);
    say(&mut stream, "c").await;
    assert_silent(&mut stream).await;
    proxy.set(Direction::ToServer, Flow::Delay(Duration::from_millis(20)));
    let asked = Instant::now();
    say(&mut stream, "d").await;
    hear(&mut stream, "d").await;
    assert!(asked.elapsed() >= Duration::from_millis(20));
}

#[tokio::test]
async fn a_half_closed_connection_still_answers() {
    let proxy = echo().await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut stream, "one").await;
    hear(&mut stream, "one").await;
    proxy.half_close(Direction::ToServer);
    hear(&mut stream, "end").await;
}

#[tokio::test]
async fn a_refusing_port_is_closed_until_it_accepts_again() {
    let proxy = echo().await;
    let mut open = TcpStream::connect(proxy.addr()).await.unwrap();
    proxy.wait_accepted(1).await;
    proxy.refuse().await;
    let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    say(&mut open, "still here").await;
    hear(&mut open, "still here").await;
    proxy.accept().await;
    TcpStream::connect(proxy.addr()).await.unwrap();
}

#[tokio::test]
async fn a_dropped_proxy_leaves_nothing_open() {
    let proxy = echo().await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut stream, "one").await;
    hear(&mut stream, "one").await;
    let addr = proxy.addr();
    drop(proxy);
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_connection_that_comes_while_requests_wait_reaches_the_server_afterwards() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
    proxy.set_both(Flow::Hold);
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut stream, "one").await;
    proxy.wait_accepted(1).await;
    let early = timeout(Duration::from_millis(30), listener.accept()).await;
    assert!(early.is_err(), "{early:?}");
    proxy.set_both(Flow::Pass);
    let (mut server, _) = listener.accept().await.unwrap();
    hear(&mut server, "one").await;
}

#[tokio::test]
async fn who_dials_an_election_port_says_where_it_is_dialled_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let back: SocketAddr = "127.0.0.1:4321".parse().unwrap();
    let server = listener.local_addr().unwrap();
    let proxy = Proxy::start_at(ports::free().unwrap(), server, Some(back)).await;
    let proxy = proxy.unwrap();
    let hello = |port| InitialMessage {
        server_id: zk_proto::ServerId(7),
        addresses: vec![ElectionAddress {
            host: "127.0.0.1".into(),
            port,
        }],
    };
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let said = hello(5).to_bytes();
    let (first, second) = said.split_at(11);
    stream.write_all(first).await.unwrap();
    stream.write_all(second).await.unwrap();
    say(&mut stream, "behind it").await;
    let (mut server, _) = listener.accept().await.unwrap();
    let mut heard = vec![0; hello(4321).encoded_len()];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, hello(4321).to_bytes());
    hear(&mut server, "behind it").await;
}
