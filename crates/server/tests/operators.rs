//! What operators do to the clients of a node and see of them, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod client;

use client::Client;
use salp::Node;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wire::resp::client::Value;

async fn start(name: &str, clients_max: &str) -> Node {
    let builder = Node::builder().name(name).cookie("testing").epmd(false);
    let builder = builder.setting("max-clients", clients_max).http("127.0.0.1:0");
    let node = builder.resp("127.0.0.1:0").start().await.unwrap();
    assert!(node.ready().await);
    node
}

async fn connect(node: &Node) -> Client {
    Client::to(node.resp().unwrap()).await.unwrap()
}

async fn send(client: &mut Client, line: &str) {
    let line = format!("{line}\r\n");
    client.stream.write_all(line.as_bytes()).await.unwrap();
}

async fn ask(client: &mut Client, line: &str) -> Value {
    send(client, line).await;
    client.reply().await.expect("an open connection")
}

fn ok() -> Value {
    Value::Status("OK".into())
}

/// The number in a line of `INFO`.
async fn figure(client: &mut Client, section: &str, name: &str) -> u64 {
    let Value::Bulk(text) = ask(client, &format!("INFO {section}")).await else {
        panic!("INFO is text");
    };
    let text = String::from_utf8(text).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    value.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
}

async fn id(client: &mut Client) -> i64 {
    match ask(client, "CLIENT ID").await {
        Value::Int(id) => id,
        other => panic!("an id, not {other:?}"),
    }
}

#[tokio::test]
async fn a_killed_client_is_closed_and_what_it_waited_for_is_not_executed() {
    let node = start("killed@127.0.0.1", "100").await;
    let (mut operator, mut idle, mut paused) = (connect(&node).await, connect(&node).await, connect(&node).await);
    let (idle_id, paused_id) = (id(&mut idle).await, id(&mut paused).await);
    assert_eq!(
        ask(&mut operator, &format!("CLIENT KILL ID {idle_id}")).await,
        Value::Int(1)
    );
    assert_eq!(idle.reply().await, None);

    assert_eq!(ask(&mut operator, "CLIENT PAUSE 600000 WRITE").await, ok());
    send(&mut paused, "SET k v").await;
    while figure(&mut operator, "clients", "blocked_clients").await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        ask(&mut operator, &format!("CLIENT KILL ID {paused_id}")).await,
        Value::Int(1)
    );
    assert_eq!(paused.reply().await, None);
    assert_eq!(ask(&mut operator, "CLIENT UNPAUSE").await, ok());
    assert_eq!(ask(&mut operator, "GET k").await, Value::Null);

    assert_eq!(ask(&mut operator, "CLIENT KILL SKIPME no").await, Value::Int(1));
    assert_eq!(operator.reply().await, None, "the own connection is closed, too");
    assert_eq!(ask(&mut connect(&node).await, "SET k v").await, ok());
}

#[tokio::test]
async fn bytes_and_refused_connections_are_counted() {
    let node = start("counted@127.0.0.1", "1").await;
    let mut client = connect(&node).await;
    assert_eq!(ask(&mut client, "SET k v").await, ok());
    let refused = connect(&node).await.reply().await;
    assert!(matches!(refused, Some(Value::Error(_))), "{refused:?}");
    assert_eq!(figure(&mut client, "stats", "rejected_connections").await, 1);
    let input = figure(&mut client, "stats", "total_net_input_bytes").await;
    assert_eq!(input, "SET k v\r\nINFO stats\r\nINFO stats\r\n".len() as u64);
    let output = figure(&mut client, "stats", "total_net_output_bytes").await;
    assert_eq!(
        ask(&mut client, "ECHO 0123456789").await,
        Value::Bulk(b"0123456789".into())
    );
    let more = figure(&mut client, "stats", "total_net_output_bytes").await;
    assert!(
        more > output + "$10\r\n0123456789\r\n".len() as u64,
        "{output}, and then {more}"
    );
}

#[tokio::test]
async fn a_request_that_waits_is_slow() {
    let node = start("slow@127.0.0.1", "100").await;
    let (mut operator, mut client) = (connect(&node).await, connect(&node).await);
    assert_eq!(ask(&mut operator, "CLIENT PAUSE 100 WRITE").await, ok());
    assert_eq!(ask(&mut client, "SET k v").await, ok());
    let Value::Array(log) = ask(&mut operator, "SLOWLOG GET -1").await else {
        panic!("a list of entries");
    };
    let slow = log.iter().find_map(|entry| match entry {
        Value::Array(fields)
            if fields[3] == Value::Array(["SET", "k", "v"].map(|arg| Value::Bulk(arg.into())).into()) =>
        {
            Some(fields[2].clone())
        }
        _ => None,
    });
    // Milliseconds are rounded, so the pause may end one early.
    assert!(matches!(slow, Some(Value::Int(99_000..))), "{log:?}");

    let mut http = TcpStream::connect(node.http().unwrap()).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    http.write_all(request).await.unwrap();
    let mut text = String::new();
    http.read_to_string(&mut text).await.unwrap();
    for line in [
        "salp_command_duration_seconds_count{command=\"set\"} 1\n",
        "salp_commands_failed_total{command=\"set\"} 0\n",
        "salp_node_behind{node=\"slow@127.0.0.1\"} 0\n",
        "salp_connections_rejected_total 0\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}
