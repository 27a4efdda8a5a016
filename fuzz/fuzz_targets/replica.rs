//! Any bytes from another replica: messages survive encoding, and what a shard took in it can hand on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use store::{
    clock::Clock,
    codec::{Malformed, Reader},
    dot::Writer,
    message::{Frame, HEADER, Kind, Message, holdings, key_counts, requests},
    shard::{Intake, Intaken, Overdue, Shard},
    stamp::Stamp,
};

const NOW_MS: u64 = 1_700_000_000_000;
const STREAM: u64 = 1;
const CHUNK_BYTES_MAX: usize = 512;

fuzz_target!(|input: &[u8]| {
    let mut shard = Shard::new(Writer(1), 0);
    shard.remember(true);
    let mut intake = Intake::new(STREAM);
    let Ok(mut frame) = Frame::decode(input) else {
        return;
    };
    while let Some(Ok(message)) = frame.next() {
        let mut out = Vec::new();
        message.encode(&mut out);
        let mut header = input[..HEADER].to_vec();
        header.extend(&out);
        let mut again = Vec::new();
        let mut frame = Frame::decode(&header).expect("the header was read before");
        let read = frame.next().expect("there is one").expect("we wrote it");
        read.encode(&mut again);
        assert_eq!(out, again);
        if take(&mut shard, &mut intake, &message).is_err() {
            break;
        }
    }
    hand_on(&mut shard);
});

/// What a node does with a message of its peer, as far as one shard is concerned.
fn take(shard: &mut Shard, intake: &mut Intake, message: &Message<'_>) -> Result<(), Malformed> {
    match message {
        Message::Delta { delta, .. } => {
            let mut reader = Reader::new(delta);
            while !reader.is_empty() {
                shard.receive(&mut reader)?;
            }
        }
        Message::Chunk {
            kind: Kind::Part | Kind::Rest,
            chunk,
            ..
        } => drop(shard.receive_part(&mut Reader::new(chunk))?),
        Message::Chunk {
            kind: Kind::Stream,
            chunk,
            ..
        } => {
            if intake.receive(&mut Reader::new(chunk))? == Intaken::Complete {
                shard.join(std::mem::replace(intake, Intake::new(STREAM)));
            }
        }
        Message::Clock { clock, .. } | Message::Pull { clock, .. } | Message::Release { clock, .. } => {
            let clock = Clock::decode(&mut Reader::new(clock))?;
            let _ = (shard.missing(&clock), shard.clock().covers(&clock), clock.digest());
        }
        Message::Forward(forward) => requests(forward.requests, |_| {})?,
        Message::Holdings { holdings: bytes, .. } => drop(holdings(bytes)?),
        Message::Keys(counts) => drop(key_counts(counts, 512)?),
        _ => {}
    }
    Ok(())
}

/// A replica that starts empty takes every chunk of what the shard holds, and then has seen as much.
fn hand_on(shard: &mut Shard) {
    let overdue = Overdue {
        plain_ms: NOW_MS,
        counted_ms: NOW_MS,
    };
    shard.expire(overdue, 100, Stamp::new(NOW_MS, 0), None, |_, _| {});
    shard.open_stream(STREAM);
    let (mut other, mut intake) = (Shard::new(Writer(2), 0), Intake::new(STREAM));
    loop {
        let mut out = Vec::new();
        assert!(
            shard.next_chunk(STREAM, CHUNK_BYTES_MAX, &mut out).is_some(),
            "the stream ends early"
        );
        let taken = intake
            .receive(&mut Reader::new(&out))
            .expect("a shard sends what another takes");
        if taken == Intaken::Complete {
            break;
        }
    }
    assert!(other.join(intake));
    assert_eq!(other.clock(), shard.clock());
    assert_eq!(other.len(), shard.len());
}
