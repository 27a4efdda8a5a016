//! RESP both ways on arbitrary bytes: nothing panics, and how the bytes are cut into reads makes no
//! difference.
//!
//! The first two bytes say how large the reads are and whose limits hold; the rest is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{
    request::Batch,
    resp::{
        Limits, Parser, ProtocolError,
        client::{self, Decoder},
    },
};

fuzz_target!(|bytes: &[u8]| {
    let [size, known, stream @ ..] = bytes else {
        return;
    };
    let size = usize::from(*size).max(1);
    let limits = match known % 3 {
        0 => Limits::default(),
        1 => Limits::BEFORE_AUTH,
        // Short enough that inputs have requests to skip.
        _ => Limits {
            bulk_bytes_max: 16,
            ..Limits::default()
        },
    };
    let whole = parse(stream, stream.len().max(1), &limits);
    let cut = parse(stream, size, &limits);
    assert_eq!(whole, cut, "the same requests and the same end, however they arrive");
    // What was understood is understood again when it is written anew.
    let mut rewritten = Vec::new();
    for request in &whole.0 {
        let args: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
        client::write_request(&mut rewritten, &args);
    }
    assert_eq!(parse(&rewritten, size, &Limits::default()).0, whole.0);

    let mut decoder = Decoder::new();
    let mut decoded = 0;
    for read in stream.chunks(size) {
        decoder.feed(read);
        while let Ok(Some(_)) = decoder.next_value() {
            decoded += 1;
        }
    }
    let mut skipped = 0;
    let mut rest = stream;
    while let Ok(Some(len)) = client::skip(rest) {
        rest = &rest[len..];
        skipped += 1;
    }
    assert!(decoded <= skipped, "what can be read can be passed over");
});

/// The requests of `stream` read `size` bytes at a time, and why it ended early.
fn parse(stream: &[u8], size: usize, limits: &Limits) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    let mut parser = Parser::new();
    let mut batch = Batch::new();
    let mut requests = Vec::new();
    for read in stream.chunks(size) {
        batch.buffer.extend_from_slice(read);
        loop {
            let parsed = parser.parse(&mut batch, limits);
            requests.extend(batch.requests().map(|args| args.iter().map(<[u8]>::to_vec).collect()));
            let mut next = Batch::new();
            match parsed {
                Err(error) => return (requests, Some(error)),
                Ok(progress) => {
                    if !batch.is_empty() {
                        parser.split_tail(&mut batch, &mut next);
                        batch = next;
                    }
                    if !progress.blocked && progress.refused.is_none() {
                        break;
                    }
                }
            }
        }
    }
    (requests, None)
}
