//! Any bytes on a connection: where they are cut does not matter, and signals survive being written, again and again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wire::dist::{
    Flags,
    frame::{FrameError, Limits, Reader, Received, write_signal},
};

const LIMITS: Limits = Limits {
    message_bytes_max: 4096,
    sequences_max: 4,
};

fuzz_target!(|input: &[u8]| {
    let [form, chunk, bytes @ ..] = input else {
        return;
    };
    let plain = Flags::VISIBLE.without(Flags::FRAGMENTS);
    let flags = if form & 1 == 0 { Flags::VISIBLE } else { plain };
    let whole = read(flags, LIMITS, [bytes].into_iter());
    assert_eq!(whole, read(flags, LIMITS, bytes.chunks(usize::from(*chunk).max(1))));

    for item in whole.0 {
        if let Received::Signal(signal) = item {
            let mut out = Vec::new();
            assert!(
                write_signal(&mut out, flags, 1, &signal).is_none(),
                "small signals are whole"
            );
            // Forms of old are shorter than what we write in their stead.
            let (again, end) = read(flags, Limits::default(), [out.as_slice(); 2].into_iter());
            assert_eq!((again, end), (vec![Received::Signal(signal); 2], Ok(())));
        }
    }
});

fn read<'a>(
    flags: Flags,
    limits: Limits,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Received>, Result<(), FrameError>) {
    let mut reader = Reader::new(flags, limits);
    let mut all = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match reader.next(&mut input) {
                Ok(Some(received)) => all.push(received),
                Ok(None) => break,
                Err(error) => return (all, Err(error)),
            }
        }
    }
    (all, Ok(()))
}
