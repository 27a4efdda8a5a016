//! Real nodes that are killed, stopped and started again with the same command line; and nodes that do not belong
//! together. Each test has its own port mapper and its own state directory.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A directory and a port mapper's port of one test. All nodes of it are killed at its end.
struct Place {
    directory: PathBuf,
    epmd: u16,
}

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("salp-restarts-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self {
            directory,
            epmd: free_port(),
        }
    }

    /// A node that is called `name@127.0.0.1`, with further options.
    fn node(&self, name: &str, options: &[&str]) -> Salp {
        Salp {
            name: format!("{name}@127.0.0.1"),
            http: SocketAddr::from(([127, 0, 0, 1], free_port())),
            state: self.directory.clone(),
            epmd: self.epmd,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            child: None,
        }
    }

    /// The node started, and ready.
    fn ready(&self, name: &str, options: &[&str]) -> Salp {
        let mut node = self.node(name, options);
        node.start();
        node.wait_ready();
        node
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// One command line, and the process that runs it.
struct Salp {
    name: String,
    http: SocketAddr,
    state: PathBuf,
    epmd: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl Salp {
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_salp"));
        command
            .args(["start", "--name", &self.name, "--cookie", "testing", "--resp", "off"])
            .args(["--http", &self.http.to_string(), "--shards", "64", "--tick-time", "2s"])
            .args(&self.options)
            .env("ERL_EPMD_PORT", self.epmd.to_string())
            .env("SALP_STATE_DIR", &self.state)
            .current_dir(&self.state)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn start(&mut self) {
        let mut command = self.command();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        self.child = Some(command.stderr(log).spawn().unwrap());
    }

    fn log_path(&self) -> PathBuf {
        self.state.join(format!("{}.log", self.name))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap()
    }

    /// Exit code and standard error of one that is to end by itself.
    fn run_to_its_end(&self) -> (Option<i32>, String) {
        let mut child = self.command().spawn().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("{} does not end", self.name);
            }
            thread::sleep(Duration::from_millis(20));
        }
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (child.wait().unwrap().code(), said)
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and the wait for its end with this exit code.
    fn terminate(&mut self, code: i32) {
        let mut child = self.child.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = child.wait().unwrap();
        assert_eq!(ended.code(), Some(code), "{}: {}", self.name, self.log());
    }

    /// Status and body of a request; none if nobody answers.
    fn request(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.http).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Some((status, body.to_owned()))
    }

    fn status(&self, path: &str) -> Option<u16> {
        Some(self.request("GET", path, "")?.0)
    }

    #[track_caller]
    fn wait_for(&self, path: &str, wanted: u16) {
        let begun = Instant::now();
        loop {
            let status = self.status(path);
            if status == Some(wanted) {
                return;
            }
            let log = || fs::read_to_string(self.log_path()).unwrap_or_default();
            assert!(
                begun.elapsed() < PATIENCE,
                "{} {path}: {status:?}\n{}",
                self.name,
                log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_ready(&self) {
        self.wait_for("/readyz", 200);
    }

    fn put(&self, key: &str, value: &str) {
        let status = self.request("PUT", &format!("/kv/{key}"), value).unwrap().0;
        assert!(matches!(status, 201 | 204), "{status}");
    }

    fn get(&self, key: &str) -> Option<(u16, String)> {
        self.request("GET", &format!("/kv/{key}"), "")
    }
}

impl Drop for Salp {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn state_file(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(format!("{name}@127.0.0.1.toml"))).unwrap()
}

#[test]
fn the_first_node_comes_back_with_its_command_and_overwrites_nothing() {
    let place = Place::new();
    let mut a = place.ready("a", &[]);
    let b = place.ready("b", &["--join", "a@127.0.0.1"]);
    let _c = place.ready("c", &["--join", "a@127.0.0.1"]);
    for number in 0..50 {
        b.put(&format!("k{number}"), "value");
    }
    a.kill();
    thread::sleep(Duration::from_millis(500));
    a.start();
    let begun = Instant::now();
    let mut right = 0;
    while right < 50 {
        assert!(begun.elapsed() < PATIENCE, "{}", a.log());
        match a.get(&format!("k{right}")) {
            Some((200, value)) if value == "value" => right += 1,
            Some((503, _)) | None => thread::sleep(Duration::from_millis(5)),
            other => panic!("k{right}: {other:?}\n{}", a.log()),
        }
    }
    a.wait_ready();
    assert_eq!(b.get("k7"), Some((200, "value".into())));
}

#[test]
fn a_node_that_reaches_nobody_it_is_to_join_serves_nothing_and_says_for_whom_it_waits() {
    let place = Place::new();
    let mut a = place.node("a", &["--join", "b@127.0.0.1"]);
    a.start();
    a.wait_for("/readyz", 503);
    thread::sleep(Duration::from_secs(5));
    let (status, body) = a.request("GET", "/readyz", "").unwrap();
    assert_eq!(status, 503);
    assert!(body.contains("waits for b@127.0.0.1"), "{body}");
    let (status, body) = a.get("k").unwrap();
    assert!(status == 503 && body.contains("no_nodes"), "{status} {body}");
    assert!(a.log().contains("waits for b@127.0.0.1"), "{}", a.log());
    // Not without the word.
    assert_eq!(a.request("POST", "/form", "").unwrap().0, 400);
    let url = format!("http://{}", a.http);
    let formed = Command::new(env!("CARGO_BIN_EXE_salp"))
        .args(["form", "--accept-loss", "--url", &url])
        .output()
        .unwrap();
    let said = String::from_utf8(formed.stdout).unwrap();
    assert!(
        said.starts_with("declared gone: b@127.0.0.1; 79 shards begin empty"),
        "{said}"
    );
    a.wait_ready();
}

#[test]
fn other_settings_or_another_cluster_end_a_node_that_starts() {
    let place = Place::new();
    let a = place.ready("a", &[]);
    a.put("k", "v");
    let join = ["--join", "a@127.0.0.1"];
    let (code, said) = place
        .node("b", &[&join[..], &["--replicas", "2"]].concat())
        .run_to_its_end();
    assert_eq!(code, Some(2), "{said}");
    let line = said.lines().last().unwrap();
    assert!(
        line.starts_with("salp: --replicas: is 2 here and 3 at a@127.0.0.1; give all nodes"),
        "{line}"
    );
    let (code, said) = place
        .node("b", &["--join", "a@127.0.0.1", "--config", "two.toml"])
        .run_with_keyspaces();
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("[[keyspace]]: is default, jobs (prefix 2) here and 16 databases at a@127.0.0.1"),
        "{said}"
    );
    let (code, said) = place
        .node("b", &[&join[..], &["--databases", "4"]].concat())
        .run_to_its_end();
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("--databases: is 4 here and 16 at a@127.0.0.1; give all nodes"),
        "{said}"
    );

    let file = place.directory.join("b@127.0.0.1.toml");
    let other = "version = 1\nname = \"b@127.0.0.1\"\ncreation = 4\ncluster = \"00000000000000000000000000000001\"\n";
    fs::write(&file, other).unwrap();
    let (code, said) = place.node("b", &join).run_to_its_end();
    assert_eq!(code, Some(2), "{said}");
    let line = said.lines().last().unwrap();
    assert!(
        line.contains(&*file.to_string_lossy()) && line.contains("00000001"),
        "{line}"
    );
    assert!(line.contains("remove this file"), "{line}");
    fs::write(&file, "version = 1\nname = ").unwrap();
    let (code, said) = place.node("b", &join).run_to_its_end();
    assert!(code == Some(2) && said.contains("line 2 is damaged"), "{said}");
    fs::remove_file(&file).unwrap();
    place.ready("b", &join);
}

impl Salp {
    fn run_with_keyspaces(&self) -> (Option<i32>, String) {
        let two = "[[keyspace]]\nname = \"default\"\n[[keyspace]]\nname = \"jobs\"\nslots = { prefix = 2 }\n";
        fs::write(self.state.join("two.toml"), two).unwrap();
        self.run_to_its_end()
    }
}

#[test]
fn a_name_runs_once_on_a_machine_and_once_in_a_cluster() {
    let place = Place::new();
    let a = place.ready("a", &[]);
    let b = place.ready("b", &["--join", "a@127.0.0.1"]);
    // The same state directory: refused by its lock, whatever port mapper it asks.
    let mut second = place.node("b", &["--join", "a@127.0.0.1"]);
    second.epmd = free_port();
    let (code, said) = second.run_to_its_end();
    let pid = b.child.as_ref().unwrap().id();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("process {pid} runs as b@127.0.0.1")), "{said}");
    // Another machine, as it were: the node that is connected to the living one refuses the other.
    let elsewhere = Place::new();
    let port = a.dist_port();
    let mut second = elsewhere.node("b", &["--join", &format!("a@127.0.0.1:{port}")]);
    second.epmd = elsewhere.epmd;
    let (code, said) = second.run_to_its_end();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("another live node is called b@127.0.0.1"), "{said}");
    assert_eq!(b.status("/readyz"), Some(200));
    a.put("k", "v");
    assert_eq!(b.get("k"), Some((200, "v".into())));
}

impl Salp {
    /// Where other nodes connect, by its log.
    fn dist_port(&self) -> u16 {
        let log = self.log();
        let address = log.split("dist=").nth(1).unwrap().split_whitespace().next().unwrap();
        address.parse::<SocketAddr>().unwrap().port()
    }
}

#[test]
fn a_cluster_that_was_switched_off_in_order_starts_with_one_command() {
    let place = Place::new();
    let mut a = place.ready("a", &[]);
    let mut b = place.ready("b", &["--join", "a@127.0.0.1"]);
    a.put("k", "v");
    assert!(state_file(&place.directory, "a").contains("b@127.0.0.1"));
    b.terminate(0);
    // Nobody takes its key over.
    a.terminate(1);
    for name in ["a", "b"] {
        let file = state_file(&place.directory, name);
        assert!(!file.contains("cluster ="), "{file}");
    }
    let begun = Instant::now();
    a.start();
    a.wait_ready();
    assert!(begun.elapsed() < Duration::from_secs(20), "at once");
    assert_eq!(a.get("k").unwrap().0, 404);
}

#[test]
fn a_cluster_that_was_killed_waits_for_all_and_begins_again_empty() {
    let place = Place::new();
    let mut a = place.ready("a", &[]);
    let mut b = place.ready("b", &["--join", "a@127.0.0.1"]);
    a.put("k", "v");
    b.wait_ready();
    // The file is written a moment after what it says.
    let id = |name| {
        let begun = Instant::now();
        loop {
            let file = state_file(&place.directory, name);
            if let Some(rest) = file.split("cluster = \"").nth(1) {
                return rest[..32].to_owned();
            }
            assert!(begun.elapsed() < PATIENCE, "{file}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    let before = id("a");
    a.kill();
    b.kill();
    a.start();
    a.wait_for("/readyz", 503);
    thread::sleep(Duration::from_secs(4));
    assert_eq!(a.status("/readyz"), Some(503));
    assert!(a.log().contains("waits for b@127.0.0.1"), "{}", a.log());
    b.start();
    a.wait_ready();
    b.wait_ready();
    assert_eq!(a.get("k").unwrap().0, 404);
    assert_eq!((id("a"), id("b")), (before.clone(), before.clone()));
    let said = format!("cluster {before} is empty and begins anew");
    let begun = Instant::now();
    while !a.log().contains(&said) && !b.log().contains(&said) {
        assert!(begun.elapsed() < PATIENCE, "{}\n{}", a.log(), b.log());
        thread::sleep(Duration::from_millis(50));
    }
}
