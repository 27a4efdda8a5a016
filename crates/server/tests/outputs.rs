//! What a process writes to never ends it and never makes it wait: full disks, readers that are gone, pipes that nobody
//! reads. The processes are real ones.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio, id},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use socket2::SockRef;

const PATIENCE: Duration = Duration::from_secs(30);
/// The longest that a request may take while the log is stuck. A log that is waited for takes for ever.
const LATENCY_MAX: Duration = Duration::from_secs(2);
/// How long an orderly end may take though nobody reads what the process says.
const END_MAX: Duration = Duration::from_secs(10);

/// Ports that were free a moment ago, one behind the other.
fn free_ports(count: u16) -> u16 {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let first_free = || {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    loop {
        let first = first_free();
        if first < u16::MAX - count && (first..first + count).all(is_free) {
            return first;
        }
    }
}

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A folder for one test, with the cluster's secret.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("salp-outputs-{name}-{}", id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `salp` with these arguments, in a world of its own.
fn salp(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_salp"));
    isolate(command.args(args), &folder.0);
    command
}

fn isolate(command: &mut Command, home: &Path) {
    command
        .env("HOME", home)
        .env_remove("XDG_STATE_HOME")
        .env("ERL_EPMD_PORT", free_ports(1).to_string())
        .stdin(Stdio::null());
}

/// The arguments of one node that speaks to Redis clients on `port`, and to HTTP clients on the next one.
fn start_args(port: u16, log: &str) -> Vec<String> {
    let (resp, http) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 1));
    let args = ["start", "--name", "out@127.0.0.1", "--no-epmd", "--form-after", "0s"];
    let more = ["--resp", &resp, "--http", &http, "--log", log];
    args.iter().chain(&more).map(ToString::to_string).collect()
}

fn node(folder: &Folder, port: u16, log: &str) -> Command {
    let args = start_args(port, log);
    salp(folder, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    #[track_caller]
    fn lives(&mut self) {
        assert_eq!(self.0.try_wait().unwrap(), None);
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
    }

    #[track_caller]
    fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < limit, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A Redis client.
struct Client(BufReader<TcpStream>);

impl Client {
    /// Waits until the node serves. It is to hold no key: one that nobody takes over makes its end a failure.
    fn connect(port: u16) -> Self {
        let began = Instant::now();
        loop {
            if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut client = Self(BufReader::new(stream));
                if client.ask("GET k") == "$-1" {
                    return client;
                }
            }
            assert!(began.elapsed() < PATIENCE, "no node serves on {port}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The first line of the reply.
    fn ask(&mut self, request: &str) -> String {
        self.0.get_mut().write_all(format!("{request}\r\n").as_bytes()).unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn log_lines_dropped(&mut self) -> u64 {
        let length: usize = self.ask("INFO stats").trim_start_matches('$').parse().unwrap();
        let mut text = vec![0; length + 2];
        self.0.read_exact(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let found = text.lines().find_map(|line| line.strip_prefix("log_lines_dropped:"));
        found.unwrap().parse().unwrap()
    }

    /// Waits until more than so many lines were dropped, and returns how many.
    #[track_caller]
    fn await_dropped(&mut self, beyond: u64) -> u64 {
        let began = Instant::now();
        loop {
            let dropped = self.log_lines_dropped();
            if dropped > beyond {
                return dropped;
            }
            assert!(began.elapsed() < PATIENCE, "{dropped} log lines were dropped");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A figure of `GET /metrics`.
fn metric(http: u16, name: &str) -> u64 {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, http)).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap().parse().unwrap()
}

/// Has the node log lines at level debug: connections that break.
fn provoke(port: u16, lines: usize) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for _ in 0..lines {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Provokes lines until some were dropped, while a client is served.
#[track_caller]
fn fill_the_pipe(client: &mut Client, port: u16) -> u64 {
    let before = client.log_lines_dropped();
    let began = Instant::now();
    while client.log_lines_dropped() == before {
        assert!(began.elapsed() < PATIENCE, "the buffer of the log does not fill up");
        provoke(port, 500);
        let asked = Instant::now();
        assert_eq!(client.ask("PING"), "+PONG");
        assert!(asked.elapsed() < LATENCY_MAX, "{:?}", asked.elapsed());
    }
    client.log_lines_dropped()
}

#[test]
fn a_node_whose_log_is_on_a_full_disk_serves_on() {
    let (folder, port) = (Folder::new("full"), free_ports(2));
    let mut node = Running::spawn(node(&folder, port, "debug").stdout(full_disk()).stderr(full_disk()));
    let mut client = Client::connect(port);
    provoke(port, 10);
    let dropped = client.await_dropped(0);
    assert!(metric(port + 1, "salp_log_lines_dropped_total") >= dropped);
    node.lives();
    node.terminate();
    assert_eq!(node.ended_within(END_MAX).code(), Some(0));
}

/// `ulimit -f`: the kernel sends SIGXFSZ, which ends a process by default.
#[test]
fn a_node_whose_log_file_may_not_grow_serves_on() {
    let (folder, port) = (Folder::new("limit"), free_ports(2));
    let log = folder.0.join("log");
    let mut command = Command::new("sh");
    let script = "ulimit -f 1; exec \"$0\" \"$@\"";
    isolate(command.args(["-c", script, env!("CARGO_BIN_EXE_salp")]), &folder.0);
    command
        .args(start_args(port, "debug"))
        .stderr(File::create(&log).unwrap());
    let mut node = Running::spawn(&mut command);
    let mut client = Client::connect(port);
    provoke(port, 50);
    client.await_dropped(0);
    node.lives();
    assert!(fs::read_to_string(&log).unwrap().contains("node started"));
}

#[test]
fn a_node_whose_log_has_lost_its_reader_serves_on() {
    let (folder, port) = (Folder::new("gone"), free_ports(2));
    let mut node = Running::spawn(
        node(&folder, port, "debug")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut client = Client::connect(port);
    drop((node.0.stdout.take(), node.0.stderr.take()));
    provoke(port, 10);
    client.await_dropped(0);
    node.lives();
    node.terminate();
    assert_eq!(node.ended_within(END_MAX).code(), Some(0));
}

#[test]
fn a_node_whose_log_nobody_reads_serves_on_says_what_is_missing_and_ends() {
    let (folder, port) = (Folder::new("unread"), free_ports(2));
    let mut node = Running::spawn(node(&folder, port, "debug").stderr(Stdio::piped()));
    let mut client = Client::connect(port);
    let dropped = fill_the_pipe(&mut client, port);

    let mut log = BufReader::new(node.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("log lines were dropped") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the log ends");
    }
    let told: u64 = line.trim_end().rsplit("lines=").next().unwrap().parse().unwrap();
    assert!(told >= dropped && line.contains("WARN"), "{dropped}: {line}");

    fill_the_pipe(&mut client, port);
    node.terminate();
    assert_eq!(node.ended_within(END_MAX).code(), Some(0));
}

/// Lines that others cause are few, however often they do: here handshakes that fail.
#[test]
fn a_flood_of_one_kind_is_a_few_lines_and_a_count() {
    let (folder, port) = (Folder::new("flood"), free_ports(3));
    let dist = (port + 2).to_string();
    let mut command = node(&folder, port, "info");
    let mut node = Running::spawn(command.args(["--dist-port", &dist]).stderr(Stdio::piped()));
    Client::connect(port);
    // With more of them, nothing more from this address would be looked at.
    for _ in 0..50 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port + 2)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // No handshake begins so. The node may close before all is written, or read.
        let _ = stream.write_all(b"\0\x05hello");
        let _ = stream.read(&mut [0]);
    }
    // The count comes within a second.
    thread::sleep(Duration::from_millis(1500));
    node.terminate();
    let mut log = String::new();
    node.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let failed = log
        .lines()
        .filter(|line| line.contains("WARN handshake failed "))
        .count();
    let counts = log.lines().filter(|line| line.contains("not logged: handshake failed"));
    let more: usize = counts
        .filter_map(|line| line.rsplit("lines=").next()?.parse::<usize>().ok())
        .sum();
    assert_eq!(failed + more, 50, "{log}");
    assert!((10..=40).contains(&failed), "{failed} lines");
}

/// `salp dev` with two nodes; the port of the first.
fn dev(folder: &Folder, log: &str) -> (Command, u16) {
    let port = free_ports(4);
    let (resp, http) = (port.to_string(), (port + 2).to_string());
    let args = [
        "dev",
        "--nodes",
        "2",
        "--base-resp",
        &resp,
        "--base-http",
        &http,
        "--log",
        log,
    ];
    (salp(folder, &args), port)
}

#[test]
fn the_nodes_of_dev_live_on_when_its_outputs_fail() {
    let folder = Folder::new("dev");
    for is_full in [true, false] {
        let (mut command, port) = dev(&folder, "debug");
        let output = || if is_full { full_disk() } else { Stdio::piped() };
        let mut dev = Running::spawn(command.stdout(output()).stderr(output()));
        drop((dev.0.stdout.take(), dev.0.stderr.take()));
        for port in [port, port + 1] {
            let mut client = Client::connect(port);
            provoke(port, 100);
            assert_eq!(client.ask("PING"), "+PONG");
        }
        // The table is due once all nodes answer; then it has failed to be written.
        thread::sleep(Duration::from_millis(500));
        dev.lives();
        dev.terminate();
        assert_eq!(dev.ended_within(END_MAX).code(), Some(0));
    }
}

#[test]
fn the_nodes_of_dev_do_not_wait_for_who_reads_it() {
    let folder = Folder::new("dev-unread");
    let (mut command, port) = dev(&folder, "debug");
    let mut dev = Running::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut client = Client::connect(port);
    for _ in 0..16 {
        provoke(port, 500);
        let asked = Instant::now();
        assert_eq!(client.ask("PING"), "+PONG");
        assert!(asked.elapsed() < LATENCY_MAX, "{:?}", asked.elapsed());
    }
    // What the node has counted is a second old at most.
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(client.log_lines_dropped(), 0, "dev reads all that its nodes say");
    dev.terminate();
    assert_eq!(dev.ended_within(END_MAX).code(), Some(0));
}

#[test]
fn a_command_whose_reader_is_gone_ends_quietly_and_one_on_a_full_disk_says_so() {
    let folder = Folder::new("command");
    for args in [&["cookie"][..], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = salp(&folder, args).stdout(writer).output().unwrap();
        assert_eq!(
            (ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()),
            (Some(0), "")
        );
        let ended = salp(&folder, args).stdout(full_disk()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with("salp: stdout: ") && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[test]
fn an_error_that_cannot_be_written_has_its_exit_code_all_the_same() {
    let folder = Folder::new("wrong");
    for args in [&["start", "--name", "nameless"][..], &["start", "--wrong"]] {
        let mut full = Running::spawn(salp(&folder, args).stderr(full_disk()));
        assert_eq!(full.ended_within(END_MAX).code(), Some(2));

        let (_reader, mut writer) = std::io::pipe().unwrap();
        // As much as fits into a pipe of Linux.
        writer.write_all(&[b'.'; 64 << 10]).unwrap();
        let mut blocked = Running::spawn(salp(&folder, args).stderr(writer));
        assert_eq!(blocked.ended_within(END_MAX).code(), Some(2));
    }
}
