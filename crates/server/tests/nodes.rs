//! Real nodes over loopback, through the library: one, two, and what clients see of them.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod client;

use std::time::{Duration, Instant};

use client::Client;
use salp::{Batch, Node};
use tokio::io::AsyncWriteExt;
use wire::resp::client::{Value, write_request};

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(name: &str, join: Option<&Node>) -> Node {
    let joined = join.map(|other| format!("{}:{}", other.name(), other.dist().port()));
    let builder = Node::builder()
        .name(name)
        .cookie("testing")
        .resp("127.0.0.1:0")
        .epmd(false);
    let node = builder.join(joined).start().await.unwrap();
    let ready = tokio::time::timeout(PATIENCE, node.ready()).await;
    assert_eq!(ready, Ok(true), "{name} does not become ready");
    node
}

impl Client {
    async fn connect(node: &Node) -> Self {
        Self::to(node.resp().expect("it takes clients")).await.unwrap()
    }

    async fn send(&mut self, requests: &[&[&str]]) {
        let mut bytes = Vec::new();
        for request in requests {
            let args: Vec<&[u8]> = request.iter().map(|arg| arg.as_bytes()).collect();
            write_request(&mut bytes, &args);
        }
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn ask(&mut self, request: &[&str]) -> Value {
        self.send(&[request]).await;
        self.reply().await.expect("an answer")
    }

    /// Asks until the answer is the one expected.
    async fn ask_until(&mut self, request: &[&str], expected: &Value) {
        let start = Instant::now();
        loop {
            let answer = self.ask(request).await;
            if answer == *expected {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{request:?} gives {answer:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn ok() -> Value {
    Value::Status("OK".into())
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_node_serves_clients_and_handles() {
    let node = start("one@127.0.0.1", None).await;
    let mut client = Client::connect(&node).await;
    assert_eq!(client.ask(&["SET", "k", "v"]).await, ok());
    let mut batch = Batch::new();
    batch.push(&[b"GET", b"k"]);
    let batch = node.handle().ask(0, None, batch).await.unwrap();
    assert_eq!(batch.replies.tokens().next(), Some(wire::reply::Reply::Bulk(b"v")));
    let status = node.handle().status().await.unwrap();
    assert_eq!((status.name.as_str(), status.nodes.len()), ("one@127.0.0.1", 1));
    let handle = node.handle().clone();
    assert!(!node.leave().await, "one that is alone has nobody to hand over to");
    assert_eq!(handle.status().await.unwrap_err(), salp::Gone);
    assert_eq!(client.reply().await, None, "its clients are let go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_may_come_in_pieces_and_in_heaps() {
    let node = start("heaps@127.0.0.1", None).await;
    let mut client = Client::connect(&node).await;
    for piece in ["*2\r\n$4\r\nEC", "HO\r\n$3\r", "\nabc\r\n"] {
        client.stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(client.reply().await, Some(bulk("abc")));

    // Far more than one read takes, with a value that is larger than one read itself.
    let large = "x".repeat(300_000);
    let texts: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let mut requests: Vec<Vec<&str>> = texts.iter().map(|text| vec!["ECHO", text]).collect();
    requests.insert(10_000, vec!["SET", "large", &large]);
    requests.push(vec!["GET", "large"]);
    let requests: Vec<&[&str]> = requests.iter().map(Vec::as_slice).collect();
    client.send(&requests).await;
    for request in &requests[..requests.len() - 1] {
        let expected = if request[0] == "SET" { ok() } else { bulk(request[1]) };
        assert_eq!(client.reply().await, Some(expected));
    }
    assert_eq!(client.reply().await, Some(bulk(&large)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let node = start("slow@127.0.0.1", None).await;
    let mut other = Client::connect(&node).await;
    assert_eq!(other.ask(&["SET", "large", &"x".repeat(1 << 20)]).await, ok());
    let mut slow = Client::connect(&node).await;
    let many: Vec<&[&str]> = vec![&["GET", "large"]; 100];
    slow.send(&many).await;
    slow.send(&[&["SET", "late", "1"]]).await;
    for number in 0..100 {
        assert_eq!(
            other.ask(&["ECHO", &number.to_string()]).await,
            bulk(&number.to_string())
        );
    }
    for _ in 0..100 {
        assert!(matches!(slow.reply().await, Some(Value::Bulk(value)) if value.len() == 1 << 20));
    }
    assert_eq!(slow.reply().await, Some(ok()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_request_is_answered_and_closed() {
    let node = start("rude@127.0.0.1", None).await;
    let mut client = Client::connect(&node).await;
    client
        .stream
        .write_all(b"*1\r\n$4\r\nPING\r\n*1\r\n!oops\r\n")
        .await
        .unwrap();
    assert_eq!(client.reply().await, Some(Value::Status("PONG".into())));
    let error = client.reply().await;
    assert!(
        matches!(&error, Some(Value::Error(text)) if text.starts_with("ERR Protocol error")),
        "{error:?}"
    );
    assert_eq!(client.reply().await, None);
    let mut client = Client::connect(&node).await;
    assert_eq!(client.ask(&["QUIT"]).await, ok());
    assert_eq!(client.reply().await, None);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_nodes_hold_the_same_and_one_may_go() {
    let one = start("first@127.0.0.1", None).await;
    let two = start("second@127.0.0.1", Some(&one)).await;
    let (mut at_one, mut at_two) = (Client::connect(&one).await, Client::connect(&two).await);
    for number in 0..500 {
        let (key, value) = (format!("k{number}"), number.to_string());
        assert_eq!(at_two.ask(&["SET", &key, &value]).await, ok());
        assert_eq!(
            at_one.ask(&["GET", &key]).await,
            bulk(&value),
            "a write that was confirmed is everywhere"
        );
    }
    assert!(one.leave().await, "it hands over in time");
    for number in 0..500 {
        at_two
            .ask_until(&["GET", &format!("k{number}")], &bulk(&number.to_string()))
            .await;
    }
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_node_that_dies_takes_nothing_with_it() {
    let one = start("stays@127.0.0.1", None).await;
    let two = start("dies@127.0.0.1", Some(&one)).await;
    let (mut at_one, mut at_two) = (Client::connect(&one).await, Client::connect(&two).await);
    for number in 0..200 {
        assert_eq!(at_two.ask(&["SET", &format!("k{number}"), "v"]).await, ok());
    }
    two.stop().await;
    for number in 0..200 {
        at_one.ask_until(&["GET", &format!("k{number}")], &bulk("v")).await;
    }
    at_one.ask_until(&["SET", "k", "2"], &ok()).await;
    one.stop().await;
}

#[tokio::test]
async fn a_wrong_setting_is_one_line() {
    let error = Node::builder()
        .name("nameless")
        .cookie("c")
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("name: ") && error.contains("nameless@127.0.0.1"),
        "{error}"
    );
}
