//! Many clients of one kind do not silence a node for the others, and secrets cannot be guessed quickly. The processes
//! and sockets are real ones.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio, id},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// A probe that takes longer is lost to whoever asks.
const PROBE_MAX: Duration = Duration::from_secs(2);

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A node in a process of its own, which may open so many files. It ends with the test.
struct Node {
    process: Child,
    home: PathBuf,
    resp: u16,
    http: u16,
    dist: u16,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}

impl Node {
    fn start(name: &str, files: u32, options: &[&str]) -> Self {
        let home = std::env::temp_dir().join(format!("salp-crowds-{name}-{}", id()));
        fs::create_dir_all(&home).unwrap();
        let [resp, http, dist] = [free_port(), free_port(), free_port()];
        let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        let process = Command::new("sh")
            .args([
                "-c",
                &script,
                env!("CARGO_BIN_EXE_salp"),
                "start",
                "--name",
                &format!("{name}@127.0.0.1"),
            ])
            .args([
                "--resp",
                &format!("127.0.0.1:{resp}"),
                "--http",
                &format!("127.0.0.1:{http}"),
            ])
            .args([
                "--dist-port",
                &dist.to_string(),
                "--no-epmd",
                "--cookie",
                "a_cookie_of_this_test",
                "--state-dir",
                "none",
                "--log",
                "warn",
            ])
            .args(options)
            .env("HOME", &home)
            .env_remove("XDG_STATE_HOME")
            .stdin(Stdio::null())
            .stderr(fs::File::create(home.join("log")).unwrap())
            .spawn()
            .unwrap();
        let node = Self {
            process,
            home,
            resp,
            http,
            dist,
        };
        let start = Instant::now();
        while node.probe("/readyz").is_none_or(|status| status != 200) {
            assert!(start.elapsed() < PATIENCE, "{}", node.log());
            thread::sleep(Duration::from_millis(50));
        }
        node
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap()
    }

    /// The status of `GET path`, asked on a connection of its own.
    fn probe(&self, path: &str) -> Option<u16> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http)).ok()?;
        stream.set_read_timeout(Some(PROBE_MAX)).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// What `GET /nodes` answers.
    fn nodes(&self) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http)).unwrap();
        write!(
            stream,
            "GET /nodes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn redis(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.resp)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    #[track_caller]
    fn check_probes(&self) {
        for path in ["/healthz", "/readyz", "/metrics"] {
            let start = Instant::now();
            assert_eq!(self.probe(path), Some(200), "{path}: {}", self.log());
            assert!(start.elapsed() < PROBE_MAX, "{path} took {:?}", start.elapsed());
        }
    }
}

/// One line of what a Redis client is told, sending `command` first.
fn told(stream: &mut TcpStream, command: &str) -> String {
    let _ = stream.write_all(command.as_bytes());
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line);
    line
}

#[test]
fn redis_clients_leave_files_for_everybody_else() {
    let node = Node::start("files", 160, &[]);
    let mut clients: Vec<TcpStream> = (0..300).map(|_| node.redis()).collect();
    let answers: Vec<String> = clients.iter_mut().map(|client| told(client, "PING\r\n")).collect();
    let served = answers.iter().filter(|line| *line == "+PONG\r\n").count();
    let refused = answers
        .iter()
        .filter(|line| line.contains("max number of clients reached"))
        .count();
    assert_eq!((served + refused, served), (300, 80), "160 less 32, 8 and twice 20");
    node.check_probes();
    let log = node.log();
    assert!(
        log.contains("too few files") && !log.contains("could not be accepted"),
        "{log}"
    );
    let other = Node::start("joins", 1024, &["--join", &format!("files@127.0.0.1:{}", node.dist)]);
    assert!(other.nodes().contains("files@127.0.0.1"), "{}", other.log());
}

#[test]
fn idle_http_connections_make_way_for_probes() {
    let node = Node::start("idle", 4096, &["--max-clients", "50"]);
    let connect = |_| TcpStream::connect((Ipv4Addr::LOCALHOST, node.http)).unwrap();
    let mut idle: Vec<TcpStream> = (0..600).map(connect).collect();
    node.check_probes();
    // Half a request, and a stream of events, are no reason to keep a probe out either.
    for stream in &mut idle {
        let _ = stream.write_all(b"GET /kv/a HTTP/1.1\r\nHost: local");
    }
    node.check_probes();
    let mut events: Vec<TcpStream> = (0..100).map(connect).collect();
    for stream in &mut events {
        let _ = stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    node.check_probes();
    thread::sleep(Duration::from_millis(1_500));
    assert_eq!(
        node.probe("/kv"),
        Some(200),
        "a connection that was silent for a second made way"
    );
    let mut stream = node.redis();
    assert_eq!(told(&mut stream, "PING\r\n"), "+PONG\r\n");
}

#[test]
fn a_connection_beyond_all_seats_is_told_so() {
    let node = Node::start("seats", 4096, &["--max-clients", "4"]);
    let mut busy: Vec<TcpStream> = Vec::new();
    let statuses: Vec<String> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, node.http)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
                .write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            busy.push(stream);
            String::from_utf8_lossy(&head[9..]).into_owned()
        })
        .collect();
    assert_eq!(
        statuses.iter().filter(|status| *status == "200").count(),
        4,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| *status == "503").count(),
        4,
        "{statuses:?}"
    );
}

#[test]
fn passwords_cannot_be_guessed_quickly() {
    let node = Node::start("guess", 4096, &["--resp-password", "the right password"]);
    let mut known = node.redis();
    assert_eq!(told(&mut known, "AUTH \"the right password\"\r\n"), "+OK\r\n");
    let start = Instant::now();
    let (mut looked_at, mut refused) = (0, 0);
    for round in 0..120 {
        // One by one, all at once, and in other words.
        let guess = match round % 3 {
            0 => "AUTH wrong\r\n".to_owned(),
            1 => "AUTH wrong\r\n".repeat(1000),
            _ => "HELLO 3 AUTH default wrong SETNAME x\r\n".repeat(3),
        };
        let mut stream = node.redis();
        stream.write_all(guess.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        let _ = stream.read_to_string(&mut answers);
        looked_at += answers.matches("WRONGPASS").count();
        refused += answers.matches("too many wrong passwords").count();
    }
    // A batch that shows more of them than are left is refused as a whole, or in part.
    assert_eq!(looked_at, 100);
    assert!(refused > 0);
    assert_eq!(
        told(&mut known, "PING\r\n"),
        "+PONG\r\n",
        "who showed it earlier goes on"
    );
    while told(&mut node.redis(), "AUTH \"the right password\"\r\n") != "+OK\r\n" {
        assert!(start.elapsed() < PATIENCE, "the window ends");
        thread::sleep(Duration::from_millis(500));
    }
    let lines = node.log().matches("wrong password").count();
    assert!((1..=20).contains(&lines), "{}", node.log());
}

#[test]
fn tokens_cannot_be_guessed_quickly() {
    let node = Node::start("token", 4096, &["--http-token", "the-right-token"]);
    let ask = |token: &str| -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, node.http)).unwrap();
        let request = "GET /kv HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer";
        write!(stream, "{request} {token}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let statuses: Vec<String> = (0..130)
        .map(|number| ask(&format!("guess-{number}"))[9..12].to_owned())
        .collect();
    assert_eq!(
        statuses.iter().filter(|status| *status == "401").count(),
        100,
        "{statuses:?}"
    );
    let refused = ask("the-right-token");
    assert!(
        refused.starts_with("HTTP/1.1 429") && refused.contains("\r\nretry-after: 10\r\n"),
        "{refused}"
    );
    assert_eq!(node.probe("/healthz"), Some(200));
}
