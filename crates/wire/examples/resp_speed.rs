//! Nanoseconds per pipelined request parsed and per reply encoded.
//!
//! `cargo run --release -p wire --example resp_speed`. A batch is as large as one read from a socket. Each figure is
//! the best of many rounds, so that caches are warm and other programs on the machine do not count.

use std::{hint::black_box, time::Instant};
use wire::{
    reply::{Protocol, Replies},
    request::Batch,
    resp::{Limits, Parser, client, encode},
};

const PIPELINE: usize = 64;
const ROUNDS: usize = 20_000;

fn main() {
    for (name, stream) in [
        (
            "SET, key 16 B, value 64 B",
            pipeline(&[b"SET", b"key:000000000042", &[b'v'; 64]]),
        ),
        ("GET, key 16 B", pipeline(&[b"GET", b"key:000000000042"])),
        ("MGET, 16 keys of 16 B", pipeline(&[&b"key:000000000042"[..]; 17])),
        (
            "SET, key 16 B, value 4 KiB",
            pipeline(&[b"SET", b"key:000000000042", &[b'v'; 4096]]),
        ),
        ("inline PING", b"PING\r\n".repeat(PIPELINE)),
    ] {
        report("parse", name, parsing(&stream));
    }
    let parsed_and_read = reading(&pipeline(&[b"SET", b"key:000000000042", &[b'v'; 64]]));
    report(
        "parse, copy in, look at each argument",
        "SET, key 16 B, value 64 B",
        parsed_and_read,
    );
    for (name, write) in [
        ("OK", (|replies| replies.ok()) as fn(&mut Replies)),
        ("bulk of 64 B", |replies| replies.bulk(&[b'v'; 64])),
        ("null", Replies::null),
        ("int of 7 digits", |replies| replies.int(1_234_567)),
        ("map of one int", |replies| {
            replies.map(1);
            replies.bulk(b"name");
            replies.int(7);
        }),
    ] {
        let (written, encoded) = replying(write);
        report("write", name, written);
        report("encode", name, encoded);
    }
    let replies = b"+OK\r\n$5\r\nhello\r\n:12\r\n".repeat(PIPELINE);
    let skipped = best(|| {
        let mut at = 0;
        while let Ok(Some(len)) = client::skip(&replies[at..]) {
            at += len;
        }
        assert_eq!(black_box(at), replies.len());
    });
    report("skip", "OK, bulk and int in turn", skipped / 3.0);
}

fn report(what: &str, of: &str, nanoseconds: f64) {
    println!("{nanoseconds:7.1} ns  {what}: {of}");
}

fn pipeline(args: &[&[u8]]) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..PIPELINE {
        client::write_request(&mut stream, args);
    }
    stream
}

/// The best round's time per request, in nanoseconds. One round handles [`PIPELINE`] requests.
fn best(mut round: impl FnMut()) -> f64 {
    let mut best = u128::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        round();
        best = best.min(start.elapsed().as_nanos());
    }
    best as f64 / PIPELINE as f64
}

/// Measures parsing alone: the bytes are in the buffer already.
fn parsing(stream: &[u8]) -> f64 {
    let mut batch = Batch::new();
    let mut best = u128::MAX;
    for _ in 0..ROUNDS {
        batch.clear();
        batch.buffer.extend_from_slice(stream);
        let mut parser = Parser::new();
        let start = Instant::now();
        let progress = parser.parse(black_box(&mut batch), &Limits::default());
        best = best.min(start.elapsed().as_nanos());
        assert_eq!(progress.map(|progress| progress.requests), Ok(PIPELINE));
    }
    best as f64 / PIPELINE as f64
}

fn reading(stream: &[u8]) -> f64 {
    let mut batch = Batch::new();
    best(|| {
        batch.clear();
        batch.buffer.extend_from_slice(stream);
        let progress = Parser::new().parse(&mut batch, &Limits::default());
        assert_eq!(progress.map(|progress| progress.requests), Ok(PIPELINE));
        for request in batch.requests() {
            for arg in request.iter() {
                black_box(arg);
            }
        }
    })
}

fn replying(write: fn(&mut Replies)) -> (f64, f64) {
    let mut replies = Replies::new();
    let written = best(|| {
        replies.clear();
        for _ in 0..PIPELINE {
            write(black_box(&mut replies));
        }
    });
    let mut out = Vec::new();
    let encoded = best(|| {
        out.clear();
        encode(black_box(&replies), Protocol::Resp2, &mut out);
        black_box(&out);
    });
    (written, encoded)
}
