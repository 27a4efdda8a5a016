//! Nodes that are told to stop, and what their clients see: no reply is lost, and what was not answered was not done.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod client;

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use client::Client;
use salp::Node;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use wire::resp::client::{Value, write_request};

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(name: &str, join: Option<&Node>) -> Node {
    let joined = join.map(|other| format!("{}:{}", other.name(), other.dist().port()));
    let builder = Node::builder()
        .name(name)
        .cookie("testing")
        .resp("127.0.0.1:0")
        .http("127.0.0.1:0")
        .epmd(false);
    let node = builder.join(joined).start().await.unwrap();
    assert_eq!(timeout(PATIENCE, node.ready()).await, Ok(true), "{name} is not ready");
    node
}

impl Client {
    async fn connect(node: &Node) -> Self {
        Self::to(node.resp().unwrap()).await.unwrap()
    }

    /// False if the connection is closed.
    async fn send(&mut self, request: &[&str], times: usize) -> bool {
        let args: Vec<&[u8]> = request.iter().map(|arg| arg.as_bytes()).collect();
        let mut bytes = Vec::new();
        for _ in 0..times {
            write_request(&mut bytes, &args);
        }
        self.stream.write_all(&bytes).await.is_ok()
    }
}

fn is_refused(value: &Value) -> bool {
    matches!(value, Value::Error(text) if text.starts_with("LOADING stopping "))
}

/// Increments as fast as it can, so many at a time, until the connection is closed: how many were done.
async fn increment(mut client: Client, depth: usize) -> i64 {
    let mut done = 0;
    while client.send(&["INCR", "hot"], depth).await {
        for _ in 0..depth {
            match client.reply().await {
                Some(Value::Int(_)) => done += 1,
                Some(value) => assert!(is_refused(&value), "{value:?}"),
                None => return done,
            }
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_answered_was_not_done() {
    let one = start("stops_1@127.0.0.1", None).await;
    let two = start("stops_2@127.0.0.1", Some(&one)).await;
    let mut running = Vec::new();
    for depth in [1, 1, 16, 500] {
        running.push(tokio::spawn(increment(Client::connect(&one).await, depth)));
    }
    let mut at_two = Client::connect(&two).await;
    sleep(Duration::from_millis(300)).await;
    assert!(one.leave().await, "everything is handed over");
    let mut done = 0;
    for client in running {
        let count = client.await.unwrap();
        assert!(count > 0);
        done += count;
    }
    at_two.send(&["GET", "hot"], 1).await;
    assert_eq!(at_two.reply().await, Some(Value::Bulk(done.to_string().into_bytes())));
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_connection_is_closed_and_keeps_nobody_waiting() {
    let one = start("quiet_1@127.0.0.1", None).await;
    let two = start("quiet_2@127.0.0.1", Some(&one)).await;
    let mut client = Client::connect(&one).await;
    client.send(&["PING"], 1).await;
    assert!(client.reply().await.is_some());
    let address = one.resp().unwrap();
    let leaving = tokio::spawn(one.leave());
    assert_eq!(client.reply().await, None);
    let refused = TcpStream::connect(address).await;
    assert!(refused.is_err(), "nobody can connect to a node that ends");
    assert!(leaving.await.unwrap());
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_connection_ends_with_a_response_that_says_so() {
    let one = start("web_1@127.0.0.1", None).await;
    let two = start("web_2@127.0.0.1", Some(&one)).await;
    let mut stream = TcpStream::connect(one.http().unwrap()).await.unwrap();
    let leaving = tokio::spawn(one.leave());
    let mut last = String::new();
    for number in 0.. {
        let request = format!(
            "PUT /kv/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\n{:03}",
            number % 1000
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
        last = String::from_utf8_lossy(&answer[..length]).to_lowercase();
        assert!(last.starts_with("http/1.1 20"), "{last}");
        if last.contains("connection: close") {
            break;
        }
    }
    assert!(last.contains("connection: close"));
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "then it is closed");
    assert!(leaving.await.unwrap());
    two.stop().await;
}

/// A process `salp start` without peers, with a log.
struct Lone {
    child: Child,
    folder: std::path::PathBuf,
    resp: u16,
}

impl Lone {
    async fn start(name: &str) -> (Self, Client) {
        let folder = std::env::temp_dir().join(format!("salp-stops-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = |listener: std::net::TcpListener| listener.local_addr().unwrap().port();
        let (resp, dist) = (port(free()), port(free()));
        let child = Command::new(env!("CARGO_BIN_EXE_salp"))
            .args(["start", "--name", &format!("{name}@127.0.0.1"), "--cookie", "testing"])
            .args(["--no-epmd", "--http", "off", "--state-dir", "none"])
            .args(["--resp", &format!("127.0.0.1:{resp}"), "--dist-port", &dist.to_string()])
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let lone = Self { child, folder, resp };
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "it does not serve");
            if let Ok(mut client) = Client::to(("127.0.0.1", lone.resp)).await {
                client.send(&["GET", "k"], 1).await;
                if matches!(client.reply().await, Some(Value::Null)) {
                    return (lone, client);
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its exit code after SIGTERM, and what it has logged.
    fn terminate(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let began = Instant::now();
        let code = self.child.wait().unwrap().code();
        assert!(began.elapsed() < Duration::from_secs(3), "it ends promptly");
        let log = fs::read_to_string(self.folder.join("log")).unwrap();
        fs::remove_dir_all(&self.folder).unwrap();
        (code, log)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_node_alone_says_what_goes_with_it_and_fails() {
    let (lone, mut client) = Lone::start("lone_full").await;
    client.send(&["SET", "k", "v"], 1).await;
    assert_eq!(client.reply().await, Some(Value::Status("OK".into())));
    let (code, log) = lone.terminate();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("WARN 1 key in 1 shard are lost with this node"), "{log}");
    assert!(!log.contains("every shard is handed over"), "{log}");
    assert_eq!(client.reply().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_node_alone_that_holds_no_key_succeeds() {
    let (lone, client) = Lone::start("lone_empty").await;
    drop(client);
    let (code, log) = lone.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("there was nothing to hand over"), "{log}");
}
