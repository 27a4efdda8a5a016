//! Reads a script, runs it, and prints it again with the replies.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use store::{
    ask::{Buffers, Measured, Payload, Session},
    config::{Config, Keyspace, Password},
    keyspaces::Slots,
};
use wire::{
    request::Batch,
    resp::{self, Limits, Parser, client},
};

use crate::nodes::Nodes;

/// The cluster and the connections of a script.
struct Stage {
    nodes: Nodes,
    sessions: BTreeMap<u64, Session>,
    password: bool,
}

impl Stage {
    /// Uses the settings in the lines that begin with `%`.
    fn new(script: &str) -> Self {
        let mut config = Config {
            shards: 16,
            ..Config::default()
        };
        let (mut walls_ahead_ms, mut memory_bytes) = (vec![0], None);
        let mut batch_us = 0;
        for line in script.lines() {
            let Some((name, value)) = line.strip_prefix("% ").and_then(|line| line.split_once(' ')) else {
                continue;
            };
            let number = || value.parse::<u64>().expect("a number");
            match name {
                "nodes" => walls_ahead_ms = vec![0; number() as usize],
                "walls" => {
                    let ahead_ms = |word: &str| word.parse().expect("milliseconds");
                    walls_ahead_ms = value.split(' ').map(ahead_ms).collect();
                }
                "shards" => config.shards = number() as u16,
                "password" => config.password = Some(Password::new(value.into())),
                "databases" => config.keyspaces = Keyspace::databases(number() as usize),
                "keyspaces" => {
                    config.keyspaces = value.split(' ').map(keyspace).collect();
                }
                "min_acks" => config.keyspaces[0].min_acks = number() as u32,
                "value_bytes_max" => config.value_bytes_max = number() as usize,
                "batch_us" => batch_us = number(),
                "memory_bytes" => memory_bytes = Some(number()),
                _ => panic!("no setting has the name {name}"),
            }
        }
        let password = config.password.is_some();
        let mut nodes = Nodes::new(walls_ahead_ms, &config);
        nodes.batch_us = batch_us;
        if let Some(memory_bytes) = memory_bytes {
            let measured = Measured {
                memory_bytes,
                resident_bytes: memory_bytes * 2,
                cpu_us: 1_500_000,
                cpu_system_us: Some(250_000),
                log_lines_dropped: 7,
                buffers: Buffers {
                    bytes: 4096,
                    clients_cut: 2,
                    refused: 3,
                },
            };
            nodes.tell(Payload::Measured(measured));
        }
        Self {
            nodes,
            sessions: BTreeMap::new(),
            password,
        }
    }

    /// Executes requests of one connection as one batch. Returns the bytes of the replies.
    fn execute(&mut self, connection: u64, requests: &[&str]) -> Vec<u8> {
        let mut session = self
            .sessions
            .remove(&connection)
            .unwrap_or_else(|| self.connect(connection));
        let mut batch = Batch::new();
        for request in requests {
            batch.buffer.extend_from_slice(request.as_bytes());
            batch.buffer.extend_from_slice(b"\r\n");
        }
        let progress = Parser::new()
            .parse(&mut batch, &Limits::default())
            .expect("requests as in an inline command");
        assert_eq!(progress.requests, requests.len(), "{requests:?}");
        let protocol = session.protocol;
        let replies = self.nodes.execute(&mut session, batch);
        for id in self.nodes.killed.drain(..) {
            self.sessions.remove(&id);
        }
        let mut bytes = Vec::new();
        let protocol = resp::encode(&replies, protocol, &mut bytes);
        assert_eq!(
            protocol, session.protocol,
            "replies and session agree on the version of RESP"
        );
        if session.quit {
            self.nodes.tell(Payload::Disconnected { id: connection });
        } else {
            self.sessions.insert(connection, session);
        }
        bytes
    }

    fn connect(&mut self, id: u64) -> Session {
        let mut session = Session::new(id, !self.password);
        session.shown.address = format!("127.0.0.1:{}", 50_000 + id);
        session.shown.local_address = "127.0.0.1:6379".into();
        session.shown.since_ms = self.nodes.now_ms();
        session.piecemeal = true;
        self.nodes.tell(Payload::Connected(Box::new(session.clone())));
        session
    }
}

/// Runs a script, and returns it with its replies.
pub(crate) fn run(script: &str) -> String {
    let mut stage = Stage::new(script);
    let mut printed = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(ms) = line.strip_prefix("@ ") {
            stage.nodes.pass(ms.parse().expect("milliseconds"));
        }
        let Some((connection, first)) = request(line) else {
            // Old replies are left out. The new replies are printed behind each request.
            if line.is_empty() || ["# ", "% ", "@ "].iter().any(|mark| line.starts_with(mark)) {
                printed.push_str(line);
                printed.push('\n');
            }
            continue;
        };
        let _ = writeln!(printed, "{line}");
        let mut requests = vec![first];
        while let Some(next) = lines.peek().and_then(|line| line.strip_prefix("& ")) {
            let _ = writeln!(printed, "& {next}");
            requests.push(next);
            lines.next();
        }
        let replies = stage.execute(connection, &requests);
        let mut rest = &replies[..];
        while !rest.is_empty() {
            let length = client::skip(rest).expect("well-formed replies").expect("whole replies");
            let mut reply = &rest[..length];
            show(&mut reply, 0, &mut printed);
            rest = &rest[length..];
        }
    }
    printed
}

/// The keyspace of a word: its name, and behind `=` the rule for its slots: `hash`, `one`, or the segments of a prefix.
fn keyspace(word: &str) -> Keyspace {
    let (name, rule) = word.split_once('=').unwrap_or((word, "hash"));
    let slots = match rule {
        "hash" => Slots::Hash,
        "one" => Slots::One,
        segments => Slots::Prefix(segments.parse().expect("a number of segments")),
    };
    Keyspace {
        slots,
        ..Keyspace::named(name)
    }
}

/// The connection and the words of a line, if it is a request.
fn request(line: &str) -> Option<(u64, &str)> {
    let (connection, words) = line.split_once("> ")?;
    if connection.is_empty() {
        Some((1, words))
    } else {
        Some((connection.parse().ok()?, words))
    }
}

/// Prints the value at the start of `bytes` and moves behind it. Bytes with line breaks are printed line by line behind
/// a bar; other bytes are printed in quotes.
fn show(bytes: &mut &[u8], depth: usize, out: &mut String) {
    let line = take_line(bytes);
    let (tag, rest) = line.split_at(1);
    let indent = "  ".repeat(depth);
    let length = rest.parse::<usize>().ok();
    match (tag, length) {
        ("$" | "=", Some(length)) => {
            let (text, behind) = bytes.split_at(length);
            *bytes = &behind[2..];
            let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
            if lines.len() > 1 || text.ends_with(b"\n") {
                for line in lines {
                    let _ = writeln!(out, "{indent}|{}", line.trim_ascii_end().escape_ascii());
                }
            } else {
                let _ = writeln!(out, "{indent}\"{}\"", text.escape_ascii());
            }
        }
        ("*" | "~" | ">" | "%", Some(count)) => {
            let _ = writeln!(out, "{indent}{line}");
            for _ in 0..if tag == "%" { 2 * count } else { count } {
                show(bytes, depth + 1, out);
            }
        }
        _ => {
            let _ = writeln!(out, "{indent}{line}");
        }
    }
}

fn take_line<'a>(bytes: &mut &'a [u8]) -> &'a str {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("lines end");
    let (line, rest) = bytes.split_at(end);
    *bytes = &rest[2..];
    std::str::from_utf8(line).expect("a line of text")
}
