//! Frames as a BEAM writes them: split at any place, interleaved in any order, and with every field falsified.

use super::*;
use crate::{
    dist::control::{Monitored, Target},
    etf::Ref,
};
use alloc::{string::String, vec};
use proptest::prelude::*;

const FRAGMENTING: Flags = Flags::VISIBLE;
const PLAIN: Flags = Flags::VISIBLE.without(Flags::FRAGMENTS);

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    (0..digits.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
        .collect()
}

fn pid(node: &str, id: u32, creation: u32) -> Pid {
    Pid {
        node: Atom::new(node),
        id,
        serial: 0,
        creation,
    }
}

fn reference() -> Ref {
    Ref {
        node: Atom::new("a@h"),
        creation: 0x0102_0304,
        len: 3,
        words: [1, 2, 3, 0, 0],
    }
}

/// A message to `srv`.
fn to_srv(message: Term) -> Signal {
    Signal::Send {
        from: Some(pid("a@h", 9, 0x0102_0304)),
        to: Target::Name(Atom::new("srv")),
        priority: false,
        message,
    }
}

fn binary(len: usize) -> Term {
    Term::Binary((0..len).map(|i| (i % 251) as u8).collect())
}

/// The bytes of a signal, in fragments if it is long.
fn written(flags: Flags, sequence: u64, signal: &Signal) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(mut fragments) = write_signal(&mut out, flags, sequence, signal) {
        assert!(out.is_empty());
        while fragments.write(&mut out) {}
    }
    out
}

/// Everything a reader finds in `bytes`, given in pieces of `chunk` bytes.
fn read(flags: Flags, limits: Limits, bytes: &[u8], chunk: usize) -> Result<Vec<Received>, FrameError> {
    let mut reader = Reader::new(flags, limits);
    let mut all = Vec::new();
    for piece in bytes.chunks(chunk) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(received) = reader.next(&mut input)? {
            all.push(received);
        }
        assert!(input.is_empty());
        assert!(reader.partial.len() <= bytes.len());
    }
    Ok(all)
}

fn read_all(flags: Flags, bytes: &[u8]) -> Result<Vec<Received>, FrameError> {
    read(flags, Limits::default(), bytes, usize::MAX)
}

#[test]
fn the_bytes_are_those_of_a_beam() {
    let send = to_srv(Term::atom("hi"));
    let down = Signal::Down {
        from: Monitored::Name(Atom::new("srv")),
        to: pid("a@h", 9, 0),
        reference: reference(),
        reason: Term::atom("noproc"),
    };
    let alias = Ref { ..reference() };
    let reply = Signal::Send {
        from: Some(pid("r@h", 7, 5)),
        to: Target::Alias(alias.clone()),
        priority: false,
        message: Term::from((
            Term::improper(vec![Term::atom("alias")], Term::Ref(alias)),
            Term::atom("yes"),
        )),
    };
    for (signal, bytes) in [
        (
            send,
            "00000024 83 44 00 68 04 61 06 58 77 03 614068 00000009 00000000 01020304 77 00
             77 03 737276 77 02 6869",
        ),
        (
            down,
            "0000003e 834400 6804 611c 7703737276 5877036140680000000900000000 00000000
             5a0003 770361406801020304 000000010000000200000003 77066e6f70726f63",
        ),
        (
            reply,
            "0000005e 834400 6804 6125 6104 587703724068000000070000000000000005
             5a0003 770361406801020304 000000010000000200000003
             6802 6c00000001 7705616c696173 5a0003 770361406801020304 000000010000000200000003
             7703796573",
        ),
    ] {
        let bytes = hex(bytes);
        assert_eq!(written(FRAGMENTING, 1, &signal), bytes);
        assert_eq!(read_all(FRAGMENTING, &bytes), Ok(vec![Received::Signal(signal)]));
    }
}

#[test]
fn without_fragments_each_term_has_its_version() {
    let signal = to_srv(Term::atom("hi"));
    let bytes = hex(
        "00000024 70 83 68 04 61 06 58 77 03 614068 00000009 00000000 01020304 77 00
         77 03 737276 83 77 02 6869",
    );
    assert_eq!(written(PLAIN, 1, &signal), bytes);
    assert_eq!(read_all(PLAIN, &bytes), Ok(vec![Received::Signal(signal.clone())]));
    assert_eq!(read_all(FRAGMENTING, &bytes), Err(FrameError::Header));
    assert_eq!(
        read_all(PLAIN, &written(FRAGMENTING, 1, &signal)),
        Err(FrameError::Header)
    );
    let large = to_srv(binary(3 * FRAGMENT_BYTES));
    assert_eq!(
        read_all(PLAIN, &written(PLAIN, 1, &large)),
        Ok(vec![Received::Signal(large)])
    );
}

#[test]
fn a_stream_reads_the_same_wherever_it_is_split() {
    let signals = [to_srv(Term::atom("hi")), to_srv(binary(100)), to_srv(Term::NIL)];
    for flags in [FRAGMENTING, PLAIN] {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for signal in &signals {
            write_tick(&mut bytes);
            bytes.extend(written(flags, 1, signal));
            expected.extend([Received::Tick, Received::Signal(signal.clone())]);
        }
        for chunk in 1..bytes.len() {
            assert_eq!(read(flags, Limits::default(), &bytes, chunk).as_ref(), Ok(&expected));
        }
    }
}

#[test]
fn binaries_to_a_name_are_ordinary_signals() {
    let from = pid("a@h", 9, 0x0102_0304);
    for flags in [FRAGMENTING, PLAIN] {
        let header = RegSendHeader::new(flags, &from, &Atom::new("srv"));
        for len in [0, 1, 1000, FRAGMENT_BYTES - 5] {
            let signal = to_srv(binary(len));
            let mut out = vec![7];
            let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            write_binary_to_name(&mut out, &header, &payload);
            assert_eq!(out[1..], written(flags, 1, &signal));
        }
    }
}

#[test]
fn large_messages_go_in_fragments() {
    // A binary has 5 bytes before its content.
    for (len, fragments) in [
        (FRAGMENT_BYTES - 5, 0),
        (FRAGMENT_BYTES - 4, 2),
        (2 * FRAGMENT_BYTES - 5, 2),
        (2 * FRAGMENT_BYTES - 4, 3),
    ] {
        let signal = to_srv(binary(len));
        let mut out = vec![7];
        let mut written = 0;
        if let Some(mut rest) = write_signal(&mut out, FRAGMENTING, 9, &signal) {
            assert_eq!(out, [7]);
            written = 1;
            while rest.write(&mut out) {
                written += 1;
            }
            let number = |n: u64| [&[131, 69][..], &9_u64.to_be_bytes(), &n.to_be_bytes()].concat();
            assert_eq!(out[5..23], number(fragments));
        }
        assert_eq!(written, fragments);
        assert_eq!(read_all(FRAGMENTING, &out[1..]), Ok(vec![Received::Signal(signal)]));
    }
}

/// A frame around `data`.
fn frame(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u32).to_be_bytes(), data].concat()
}

fn first(sequence: u64, number: u64, data: &[u8]) -> Vec<u8> {
    let numbers = [sequence.to_be_bytes(), number.to_be_bytes()].concat();
    frame(&[&[131, 69][..], &numbers, &[0], data].concat())
}

fn next(sequence: u64, number: u64, data: &[u8]) -> Vec<u8> {
    let numbers = [sequence.to_be_bytes(), number.to_be_bytes()].concat();
    frame(&[&[131, 70][..], &numbers, data].concat())
}

/// The terms of a signal without a frame.
fn terms(signal: &Signal) -> Vec<u8> {
    written(FRAGMENTING, 1, signal)[4 + HEADER_BYTES..].to_vec()
}

#[test]
fn fragments_must_come_in_order() {
    let signal = to_srv(Term::atom("hi"));
    let terms = terms(&signal);
    let (a, b) = terms.split_at(30);
    let good = [first(7, 3, a), next(7, 2, b), next(7, 1, b"")].concat();
    let again = [good.clone(), first(7, 1, &terms)].concat();
    let received = Received::Signal(signal);
    assert_eq!(read_all(FRAGMENTING, &good), Ok(vec![received.clone()]));
    assert_eq!(read_all(FRAGMENTING, &again), Ok(vec![received.clone(), received]));

    for bad in [
        vec![next(7, 1, &terms)],
        vec![first(7, 0, &terms)],
        vec![first(7, 2, a), next(7, 2, b)],
        vec![first(7, 3, a), next(7, 1, b)],
        vec![first(7, 2, a), next(8, 1, b)],
        vec![first(7, 2, a), first(7, 2, a)],
        vec![first(7, 2, a), next(7, 1, b), next(7, 0, b"")],
        vec![first(7, 2, a), next(7, u64::MAX, b)],
    ] {
        assert_eq!(read_all(FRAGMENTING, &bad.concat()), Err(FrameError::Order));
    }
}

#[test]
fn open_fragments_are_limited() {
    let limits = Limits {
        message_bytes_max: 100,
        sequences_max: 3,
    };
    let ends = |frames: &[Vec<u8>]| read(FRAGMENTING, limits, &frames.concat(), 7);

    let sequences: Vec<_> = (0..4).map(|sequence| first(sequence, 9, b"")).collect();
    assert_eq!(ends(&sequences[..3]), Ok(vec![]));
    assert_eq!(ends(&sequences), Err(FrameError::Sequences));

    let (half, one) = ([0; 50], [0; 1]);
    let full = [first(1, 9, &half), next(1, 8, &half)];
    assert_eq!(ends(&full), Ok(vec![]));
    let over = [full.to_vec(), vec![next(1, 7, &one)]].concat();
    assert_eq!(ends(&over), Ok(vec![]));

    let both = [full.to_vec(), vec![first(2, 9, &half), next(2, 8, &half)]].concat();
    assert_eq!(ends(&both), Ok(vec![]));
    let over = [both, vec![first(3, 9, &one)]].concat();
    assert_eq!(ends(&over), Ok(vec![]));

    // A complete signal does not count any more.
    let small = to_srv(Term::atom("x"));
    let terms = terms(&small);
    let (a, b) = terms.split_at(20);
    let many: Vec<_> = (0..50).flat_map(|_| [first(1, 2, a), next(1, 1, b)]).collect();
    assert_eq!(ends(&many).unwrap().len(), 50);
}

#[test]
fn of_a_signal_that_is_too_long_the_beginning_is_kept() {
    let limits = Limits {
        message_bytes_max: 3 * FRAGMENT_BYTES,
        sequences_max: 3,
    };
    let call = Term::tuple([
        Term::atom("$gen_call"),
        Term::atom("from"),
        Term::Binary(vec![7; FRAGMENT_BYTES].into()),
    ]);
    let mut frame = Vec::new();
    write_frame(&mut frame, FRAGMENTING, &to_srv(call));
    let (start, rest) = frame[4 + HEADER_BYTES..].split_at(100);
    let mut reader = Reader::new(FRAGMENTING, limits);
    let mut came = Vec::new();
    for number in (1..=50).rev() {
        let fragment = if number == 50 {
            first(1, 50, start)
        } else {
            next(1, number, rest)
        };
        came.extend(reader.next(&mut Bytes::from(fragment)).unwrap());
        assert!(reader.open_bytes <= limits.message_bytes_max);
    }
    let caller = Term::tuple([Term::atom("$gen_call"), Term::atom("from")]);
    assert_eq!(came, [Received::TooMuch(to_srv(caller))]);
    assert_eq!((reader.open_bytes, reader.open.len()), (0, 0));
}

/// What a BEAM takes and we do not. What is no term is refused as ever.
#[test]
fn a_message_that_is_too_much_is_told_from_one_that_is_malformed() {
    let deep = |count: usize| (0..count).fold(Term::NIL, |inner, _| Term::tuple([inner]));
    let integer = |bytes: usize| Term::integer(false, &vec![1; bytes]);
    let list = Term::List(vec![Term::Int(1); crate::etf::ELEMENTS_MAX + 1]);
    let from = || Term::tuple([Term::atom("pid"), Term::atom("tag")]);
    let caller = Term::tuple([Term::atom("$gen_call"), from()]);
    let mut kept = Term::tuple([Term::atom("wide")]);
    if let Term::Tuple(items) = &mut kept {
        items.extend(vec![Term::NIL; crate::etf::ELEMENTS_MAX]);
    }
    for much in [deep(300), integer(70 << 10), list, kept] {
        let call = Term::tuple([Term::atom("$gen_call"), from(), much.clone()]);
        let cast = Term::tuple([Term::atom("$gen_cast"), much.clone()]);
        // Twice: the second time by the control term that is known.
        let small = to_srv(Term::atom("x"));
        let mut bytes = Vec::new();
        for signal in [
            to_srv(call.clone()),
            small.clone(),
            to_srv(call),
            to_srv(cast),
            small.clone(),
        ] {
            write_frame(&mut bytes, FRAGMENTING, &signal);
        }
        let too_much = |caller: &Term| Received::TooMuch(to_srv(caller.clone()));
        let small = Received::Signal(small);
        let expected = [
            too_much(&caller),
            small.clone(),
            too_much(&caller),
            too_much(&Term::NIL),
            small,
        ];
        assert!(read_all(FRAGMENTING, &bytes).unwrap() == expected);
    }
}

#[test]
fn empty_fragments_cost_nothing() {
    let mut reader = Reader::new(FRAGMENTING, Limits::default());
    let mut input = Bytes::from(first(1, u64::MAX, b""));
    assert_eq!(reader.next(&mut input), Ok(None));
    for number in (u64::MAX - 1000..u64::MAX).rev() {
        let mut input = Bytes::from(next(1, number, b""));
        assert_eq!(reader.next(&mut input), Ok(None));
    }
    assert_eq!(reader.open[&1].bytes.capacity(), 0);
}

#[test]
fn a_too_long_frame_is_refused_by_its_length() {
    let limits = Limits {
        message_bytes_max: 100,
        ..Limits::default()
    };
    let read = |bytes: &[u8]| read(FRAGMENTING, limits, bytes, usize::MAX);
    assert_eq!(read(&[0xFF; 4]), Err(FrameError::TooLong(u32::MAX)));
    assert_eq!(read(&[0, 0, 0, 101]), Err(FrameError::TooLong(101)));
    assert_eq!(read(&[0, 0, 0, 100]), Ok(vec![]));
    let default = Reader::new(FRAGMENTING, Limits::default());
    assert_eq!(
        default.frame_end(&(64_u32 << 20).to_be_bytes()),
        Ok(Some((64 << 20) + 4))
    );
    assert!(default.frame_end(&((64_u32 << 20) + 1).to_be_bytes()).is_err());

    let mut reader = Reader::new(FRAGMENTING, Limits::default());
    let mut input = Bytes::from_static(b"\x04\0\0\0\x83");
    assert_eq!(reader.next(&mut input), Ok(None));
    assert!(
        reader.partial.capacity() < 100,
        "no memory is allocated for bytes that were only announced"
    );
}

#[test]
fn false_headers_are_refused() {
    for (data, error) in [
        (&[131][..], FrameError::Header),
        (&[130, 68, 0], FrameError::Header),
        (&[131, 68], FrameError::Header),
        (&[131, 67, 0], FrameError::Header),
        (&[131, 104, 0], FrameError::Header),
        (&[112, 131, 106], FrameError::Header),
        (&[131, 68, 1, 8, 0, 1, b'a'], FrameError::AtomCache),
        (&[131, 69, 0, 0, 0, 0, 0, 0, 0, 1], FrameError::Header),
        (&[131, 70, 0, 0], FrameError::Header),
        (&[131, 68, 0], FrameError::Term(DecodeError::Truncated)),
        (&[131, 68, 0, 106], FrameError::Signal(SignalError::Shape)),
        (&[131, 68, 0, 82, 0], FrameError::Term(DecodeError::Tag(82))),
        (&[131, 68, 0, 106, 106, 106], FrameError::Term(DecodeError::Trailing(1))),
        (&[131, 68, 0, 106, 131, 106], FrameError::Term(DecodeError::Tag(131))),
    ] {
        assert_eq!(read_all(FRAGMENTING, &frame(data)), Err(error), "{data:?}");
    }
    let atoms = frame(&[&[131, 69][..], &[0; 15], &[1], &[1]].concat());
    assert_eq!(read_all(FRAGMENTING, &atoms), Err(FrameError::AtomCache));
    for (data, error) in [
        (&[112][..], FrameError::Term(DecodeError::Truncated)),
        (&[112, 106], FrameError::Term(DecodeError::Version(106))),
        (&[112, 131, 106, 106], FrameError::Term(DecodeError::Version(106))),
    ] {
        assert_eq!(read_all(PLAIN, &frame(data)), Err(error), "{data:?}");
    }
}

#[test]
fn truncated_frames_and_false_lengths_are_refused() {
    let signal = to_srv(Term::from((binary(3), Term::list([1000, 2000]), 1.5_f64.to_bits())));
    let data = &written(FRAGMENTING, 1, &signal)[4..];
    for len in 1..data.len() {
        assert!(read_all(FRAGMENTING, &frame(&data[..len])).is_err(), "cut at {len}");
    }
    for offset in 0..data.len() - 3 {
        let mut data = data.to_vec();
        data[offset..offset + 4].fill(0xFF);
        // Ids and contents may have any value. A false length must be refused.
        if let Ok(all) = read_all(FRAGMENTING, &frame(&data)) {
            assert_eq!(all.len(), 1);
        }
    }
}

/// Takes from each queue in turn, as `picks` says.
fn interleave(mut queues: Vec<Vec<Vec<u8>>>, picks: &[prop::sample::Index]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut picks = picks.iter().cycle();
    while !queues.is_empty() {
        let queue = picks.next().unwrap().index(queues.len());
        out.extend(queues[queue].remove(0));
        if queues[queue].is_empty() {
            queues.remove(queue);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Processes send at the same time, each in fragments of any size, with ticks between. Every signal arrives whole,
    /// and the signals of one process arrive in order.
    #[test]
    fn fragments_of_many_interleave(
        sizes in prop::collection::vec(prop::collection::vec((1_usize..80, 0_usize..150), 1..4), 1..6),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 30),
        chunk in 1_usize..300,
    ) {
        let mut queues = vec![vec![frame(b""); 3]];
        let mut expected = Vec::new();
        for (sequence, signals) in (0_u64..).zip(&sizes) {
            let mut frames = Vec::new();
            let mut sent = Vec::new();
            for (piece, len) in signals {
                let signal = to_srv(Term::from((sequence, binary(*len))));
                let terms = terms(&signal);
                let (control, rest) = terms.split_at(33);
                let pieces: Vec<_> = rest.chunks(*piece).collect();
                let count = pieces.len() as u64;
                frames.push(first(sequence, count + 1, control));
                let numbers = (1..=count).rev();
                frames.extend(numbers.zip(pieces).map(|(number, piece)| next(sequence, number, piece)));
                sent.push(signal);
            }
            queues.push(frames);
            expected.push(sent);
        }
        let bytes = interleave(queues, &picks);
        let received = read(FRAGMENTING, Limits::default(), &bytes, chunk).unwrap();
        let mut ticks = 0;
        let mut got = vec![Vec::new(); expected.len()];
        for item in received {
            match item {
                Received::Tick => ticks += 1,
                Received::Signal(signal) => {
                    let Signal::Send { message, .. } = &signal else { panic!("{signal:?}") };
                    let sequence = message.as_tuple().unwrap()[0].as_int().unwrap();
                    got[sequence as usize].push(signal);
                }
                Received::TooMuch(signal) => panic!("{signal:?}"),
            }
        }
        prop_assert_eq!(ticks, 3);
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn junk_never_panics(
        flags in prop_oneof![Just(FRAGMENTING), Just(PLAIN)],
        frames in prop::collection::vec(
            (prop_oneof![Just(vec![131, 68, 0]), Just(vec![131, 69]), Just(vec![112, 131]), Just(vec![])],
             prop::collection::vec(any::<u8>(), 0..60)),
            0..4,
        ),
        tail in prop::collection::vec(any::<u8>(), 0..20),
        chunk in 1_usize..40,
    ) {
        let framed = frames.iter().flat_map(|(head, rest)| frame(&[&head[..], rest].concat()));
        let bytes: Vec<u8> = framed.chain(tail).collect();
        let _ = read(flags, Limits::default(), &bytes, chunk);
    }

    /// Earlier frames do not change how the next frame is read, nor which error it gives.
    #[test]
    fn a_reader_reads_as_a_new_one(
        flags in prop_oneof![Just(FRAGMENTING), Just(PLAIN)],
        routes in prop::collection::vec((0_u32..3, 0_usize..4, 0_usize..30), 1..8),
        len in any::<prop::sample::Index>(),
        byte in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut frames: Vec<_> = routes.iter().map(|&(from, to, size)| written(flags, 1, &sent(from, to, size))).collect();
        // The last frame again, first as it was, then with a fault.
        let last = frames.last().unwrap()[4..].to_vec();
        frames.push(frame(&last));
        let mut fault = last[..=len.index(last.len())].to_vec();
        if let Some((at, byte)) = byte {
            fault = last;
            let at = at.index(fault.len());
            fault[at] = byte;
        }
        frames.push(frame(&fault));

        let mut reader = Reader::new(flags, Limits::default());
        for bytes in frames {
            let alone = Reader::new(flags, Limits::default()).next(&mut Bytes::from(bytes.clone()));
            prop_assert_eq!(reader.next(&mut Bytes::from(bytes)), alone);
        }
    }

    /// One byte of a good stream is changed: the result is an error or another signal, not a panic.
    #[test]
    fn flipped_bytes_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let signal = to_srv(Term::from((binary(9), Term::list([1, 2]), name_of_a_node())));
        let terms = terms(&signal);
        let mut bytes = [first(1, 2, &terms[..40]), next(1, 1, &terms[40..])].concat();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = read(FRAGMENTING, Limits::default(), &bytes, 11);
    }
}

/// A send of a message. `to` chooses the kind of receiver, and thus the operation.
fn sent(from: u32, to: usize, size: usize) -> Signal {
    let target = match to {
        0 => Target::Pid(pid("b@h", 5, 1)),
        1 => Target::Pid(pid("b@h", 6, 1)),
        2 => Target::Name(Atom::new("srv")),
        _ => Target::Alias(reference()),
    };
    Signal::Send {
        from: Some(pid("a@h", from, 0x0102_0304)),
        to: target,
        priority: false,
        message: binary(size),
    }
}

fn name_of_a_node() -> Term {
    Term::Atom(Atom::new("a@h"))
}
