//! What clients make a node hold besides stored data has a bound, and is given back.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use salp::Node;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wire::resp::client::{Value, write_request};

mod client;

use client::Client;

const MIB: usize = 1 << 20;

/// A node whose buffers are small.
async fn start(name: &str) -> Node {
    let builder = Node::builder().name(name).cookie("testing").epmd(false);
    let builder = builder.resp("127.0.0.1:0").http("127.0.0.1:0");
    let builder = builder.setting("max-buffers", "16mb").setting("max-value", "4mb");
    let node = builder.start().await.unwrap();
    assert!(node.ready().await);
    node
}

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_request(&mut bytes, args);
    bytes
}

/// What the node answers to an HTTP request.
async fn http(node: &Node, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(node.http().unwrap()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A sample of `/metrics`.
async fn figure(node: &Node, name: &str) -> u64 {
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = http(node, request).await;
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap().parse().unwrap()
}

/// Waits until nothing is held for clients.
async fn check_that_all_is_given_back(node: &Node) {
    while figure(node, "salp_buffer_bytes").await > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_large_request_without_its_end_makes_way_for_another() {
    let node = start("half@127.0.0.1").await;
    let set = request(&[b"SET", b"k", &vec![b'v'; 4 * MIB]]);
    let mut half = Client::to(node.resp().unwrap()).await.unwrap();
    half.stream.write_all(&set[..4 * MIB]).await.unwrap();
    while figure(&node, "salp_buffer_bytes").await < 4 * MIB as u64 {
        tokio::task::yield_now().await;
    }
    let mut small = Client::to(node.resp().unwrap()).await.unwrap();
    let mut whole = Client::to(node.resp().unwrap()).await.unwrap();
    let writes = async {
        whole.stream.write_all(&set).await.unwrap();
        whole.reply().await
    };
    let asks = async {
        small
            .stream
            .write_all(&request(&[b"SET", b"small", b"v"]))
            .await
            .unwrap();
        small.reply().await
    };
    let (written, asked, refused) = tokio::join!(writes, asks, half.reply());
    assert_eq!(asked, Some(Value::Status("OK".into())));
    assert_eq!(written, Some(Value::Status("OK".into())), "it has waited for room");
    let Some(Value::Error(text)) = refused else {
        panic!("the half request got {refused:?}");
    };
    assert!(
        text.starts_with("OOM the buffers of this node are full (max-buffers)"),
        "{text}"
    );
    assert_eq!(figure(&node, "salp_buffer_refusals_total").await, 1);
    drop((half, whole, small));
    check_that_all_is_given_back(&node).await;
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_counted() {
    let node = start("unread@127.0.0.1").await;
    let mut unread = Client::to(node.resp().unwrap()).await.unwrap();
    let set = request(&[b"SET", b"k", &vec![b'v'; 4 * MIB]]);
    unread.stream.write_all(&set).await.unwrap();
    assert_eq!(unread.reply().await, Some(Value::Status("OK".into())));
    let get = request(&[b"GET", b"k"]).repeat(50);
    unread.stream.write_all(&get).await.unwrap();
    while figure(&node, "salp_clients_cut_total").await == 0 {
        tokio::task::yield_now().await;
    }
    check_that_all_is_given_back(&node).await;
    let mut reads = Client::to(node.resp().unwrap()).await.unwrap();
    for _ in 0..50 {
        reads.stream.write_all(&request(&[b"GET", b"k"])).await.unwrap();
        assert!(matches!(reads.reply().await, Some(Value::Bulk(value)) if value.len() == 4 * MIB));
    }
    assert_eq!(figure(&node, "salp_clients_cut_total").await, 1);
    node.stop().await;
}

#[tokio::test]
async fn a_body_above_its_limit_is_refused_before_it_comes() {
    let node = start("body@127.0.0.1").await;
    let request = format!(
        "POST /batch HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n[",
        4 * MIB + 1
    );
    let answer = http(&node, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // Of unknown length: as soon as it is beyond the limit, and without its end.
    let mut chunked = b"POST /batch HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                        transfer-encoding: chunked\r\n\r\n"
        .to_vec();
    for _ in 0..5 {
        chunked.extend(format!("{MIB:x}\r\n").bytes());
        chunked.extend(vec![b' '; MIB]);
        chunked.extend(b"\r\n");
    }
    let mut stream = TcpStream::connect(node.http().unwrap()).await.unwrap();
    stream.write_all(&chunked).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    drop(stream);
    check_that_all_is_given_back(&node).await;
    node.stop().await;
}
