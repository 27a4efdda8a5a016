//! Both state machines against each other, against bytes that a BEAM sends, and against bytes that no peer should send.

use super::*;
use alloc::{string::String, vec};
use proptest::prelude::*;

const CHALLENGE_I: u32 = 0xFFFF_FFFF;
const CHALLENGE_A: u32 = 0x1234_5678;

fn local(name: &str) -> Local {
    Local {
        name: Atom::new(name),
        creation: 0x0102_0304,
        flags: Flags::VISIBLE,
    }
}

fn cookie() -> Cookie {
    Cookie::new(b"secret")
}

fn initiator(lengths: Lengths, out: &mut Vec<u8>) -> Initiator {
    Initiator::new(local("a@h"), Atom::new("b@h"), cookie(), lengths, CHALLENGE_I, out)
}

fn acceptor(lengths: Lengths) -> Acceptor {
    Acceptor::new(local("b@h"), lengths, CHALLENGE_A)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    (0..digits.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
        .collect()
}

fn message(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u16).to_be_bytes(), body].concat()
}

/// A live node is connected. A second node with its name is refused, and the refusal says why.
#[test]
fn a_name_that_a_live_node_has_is_refused_by_that_name() {
    let (mut to_acceptor, mut to_initiator) = (Vec::new(), Vec::new());
    let mut i = initiator(Lengths::Plain, &mut to_acceptor);
    let mut a = acceptor(Lengths::Plain);
    let asked = a.receive(&mem::take(&mut to_acceptor), &[], &mut to_initiator);
    assert!(matches!(asked, Ok(Step::Name(_))));
    a.answer(Verdict::Alive, &cookie(), &mut to_initiator);
    assert_eq!(a.insisting(), None);
    let told = i.receive(&mem::take(&mut to_initiator), &[], &mut to_acceptor);
    assert_eq!(told, Ok(Step::Alive));
    i.answer_alive(true, &mut to_acceptor);
    let insists = a.receive(&mem::take(&mut to_acceptor), &[], &mut to_initiator);
    assert_eq!((insists, a.insisting()), (Ok(Step::Insists), Some(i.local.creation)));
    a.answer_insists(false, &mut to_initiator);
    let refused = i.receive(&mem::take(&mut to_initiator), &[], &mut to_acceptor);
    assert_eq!(refused, Err(HandshakeError::Refused(Refusal::Taken)));
    assert_eq!(a.receive(b"x", &[], &mut to_initiator), Err(HandshakeError::OutOfTurn));
}

/// How each side of a whole handshake ended.
type Ends = (Result<Step, HandshakeError>, Result<Step, HandshakeError>);

/// Runs a handshake. The bytes of each side are split into pieces of `chunk` bytes. The acceptor answers `verdict`; the
/// initiator answers `go_on` if asked.
fn run(
    mut i: Initiator,
    mut to_acceptor: Vec<u8>,
    mut a: Acceptor,
    their_cookie: &Cookie,
    verdict: &Verdict,
    go_on: bool,
    chunk: usize,
) -> Ends {
    let mut to_initiator = Vec::new();
    let mut ends = (Ok(Step::More), Ok(Step::More));
    while !to_acceptor.is_empty() || !to_initiator.is_empty() {
        for piece in mem::take(&mut to_acceptor).chunks(chunk) {
            ends.1 = a.receive(piece, &[], &mut to_initiator);
            match ends.1 {
                Ok(Step::Name(_)) => a.answer(verdict.clone(), their_cookie, &mut to_initiator),
                Ok(Step::Insists) => a.answer_insists(true, &mut to_initiator),
                Ok(Step::More) => {}
                Ok(Step::Alive | Step::Established(_)) | Err(_) => break,
            }
        }
        for piece in mem::take(&mut to_initiator).chunks(chunk) {
            ends.0 = i.receive(piece, &[], &mut to_acceptor);
            match ends.0 {
                Ok(Step::Alive) => i.answer_alive(go_on, &mut to_acceptor),
                Ok(Step::More) => {}
                Ok(Step::Name(_) | Step::Insists | Step::Established(_)) | Err(_) => break,
            }
        }
    }
    ends
}

fn meet(lengths: Lengths, verdict: &Verdict, go_on: bool, chunk: usize) -> Ends {
    let mut out = Vec::new();
    let i = initiator(lengths, &mut out);
    run(i, out, acceptor(lengths), &cookie(), verdict, go_on, chunk)
}

fn established_with(name: &str) -> Result<Step, HandshakeError> {
    Ok(Step::Established(Established {
        name: Atom::new(name),
        creation: 0x0102_0304,
        flags: Flags::VISIBLE,
        leftover: Bytes::new(),
    }))
}

#[test]
fn the_bytes_are_those_of_the_manual() {
    let (mut to_a, mut to_i) = (Vec::new(), Vec::new());
    let mut local = local("a@h");
    local.flags = Flags::from_bits(0x2D_07CF_5FBD);
    let mut i = Initiator::new(
        local,
        Atom::new("b@h"),
        cookie(),
        Lengths::Plain,
        CHALLENGE_I,
        &mut to_a,
    );
    assert_eq!(to_a, hex("0012 4e 0000002d07cf5fbd 01020304 0003 614068"));

    let mut a = acceptor(Lengths::Plain);
    assert!(matches!(a.receive(&to_a, &[], &mut to_i), Ok(Step::Name(peer)) if peer.name.as_str() == "a@h"));
    a.answer(Verdict::Ok, &cookie(), &mut to_i);
    let expected = "0003 736f6b 0016 4e 0000002d07df5fbd 12345678 01020304 0003 624068";
    assert_eq!(to_i, hex(expected));

    to_a.clear();
    assert_eq!(i.receive(&to_i, &[], &mut to_a), Ok(Step::More));
    assert_eq!(to_a, hex("0015 72 ffffffff 1f4d9b4e53cadc3999bcdb386a23c240"));

    to_i.clear();
    assert!(matches!(a.receive(&to_a, &[], &mut to_i), Ok(Step::Established(_))));
    assert_eq!(to_i, hex("0011 61 5dfd181e69aa587cc812eb333e6536b6"));
    assert!(matches!(i.receive(&to_i, &[], &mut to_a), Ok(Step::Established(_))));
}

#[test]
fn a_handshake_ends_the_same_wherever_it_is_split() {
    for lengths in [Lengths::Plain, Lengths::Tls] {
        for chunk in 1..64 {
            for (verdict, go_on) in [
                (Verdict::Ok, false),
                (Verdict::OkSimultaneous, false),
                (Verdict::Alive, true),
            ] {
                let (i, a) = meet(lengths, &verdict, go_on, chunk);
                assert_eq!(i, established_with("b@h"));
                assert_eq!(a, established_with("a@h"));
            }
        }
    }
}

#[test]
fn refusals_reach_the_initiator() {
    let end = |verdict| meet(Lengths::Plain, &verdict, false, 64);
    assert_eq!(end(Verdict::Nok).0, Err(HandshakeError::Refused(Refusal::Nok)));
    assert_eq!(
        end(Verdict::NotAllowed).0,
        Err(HandshakeError::Refused(Refusal::NotAllowed))
    );
    assert_eq!(end(Verdict::Alive).1, Err(HandshakeError::StillConnected));
}

#[test]
fn bytes_behind_the_handshake_are_handed_on() {
    let (mut to_a, mut to_i) = (Vec::new(), Vec::new());
    let mut i = initiator(Lengths::Plain, &mut to_a);
    let mut a = acceptor(Lengths::Plain);
    a.receive(&to_a, &[], &mut to_i).unwrap();
    a.answer(Verdict::Ok, &cookie(), &mut to_i);
    to_a.clear();
    i.receive(&to_i, &[], &mut to_a).unwrap();
    to_i.clear();
    a.receive(&to_a, &[], &mut to_i).unwrap();
    to_i.extend_from_slice(b"frames");
    match i.receive(&to_i, &[], &mut to_a).unwrap() {
        Step::Established(established) => assert_eq!(&established.leftover[..], b"frames"),
        step => panic!("{step:?}"),
    }
    assert_eq!(i.receive(b"x", &[], &mut to_a), Err(HandshakeError::OutOfTurn));
    assert_eq!(a.receive(b"x", &[], &mut to_a), Err(HandshakeError::OutOfTurn));
}

#[test]
fn a_wrong_cookie_is_refused() {
    let mut out = Vec::new();
    let i = initiator(Lengths::Plain, &mut out);
    let other = Cookie::new(b"Secret");
    let (i, a) = run(i, out, acceptor(Lengths::Plain), &other, &Verdict::Ok, false, 64);
    assert_eq!(i, Ok(Step::More));
    assert_eq!(a, Err(HandshakeError::BadDigest));
}

#[test]
fn each_bit_of_a_digest_counts() {
    for bit in 0..128 {
        let (mut i, mut to_a) = asked();
        let digest = u128::from_be_bytes(cookie().digest(CHALLENGE_I)) ^ (1 << bit);
        let forged = message(&[b"a".as_slice(), &digest.to_be_bytes()].concat());
        to_a.clear();
        assert_eq!(i.receive(&forged, &[], &mut to_a), Err(HandshakeError::BadDigest));
    }
}

/// An initiator that has answered the acceptor's challenge.
fn asked() -> (Initiator, Vec<u8>) {
    let (mut to_a, mut to_i) = (Vec::new(), Vec::new());
    let mut i = initiator(Lengths::Plain, &mut to_a);
    let mut a = acceptor(Lengths::Plain);
    a.receive(&to_a, &[], &mut to_i).unwrap();
    a.answer(Verdict::Ok, &cookie(), &mut to_i);
    assert_eq!(i.receive(&to_i, &[], &mut to_a), Ok(Step::More));
    (i, to_a)
}

/// The result of an initiator when an acceptor sends `challenge` under `name` with `flags`.
fn challenged(name: &str, flags: Flags, challenge: u32, outstanding: &[u32]) -> Result<Step, HandshakeError> {
    let mut out = Vec::new();
    let mut i = initiator(Lengths::Plain, &mut out);
    let mut body = vec![b'N'];
    body.put_u64(flags.bits());
    body.put_u32(challenge);
    body.put_u32(7);
    put_name(&mut body, &Atom::new(name));
    body.extend_from_slice(b"room for later versions");
    out.clear();
    let end = i.receive(&[message(b"sok"), message(&body)].concat(), outstanding, &mut out);
    assert_eq!(out.is_empty(), end.is_err(), "an untrusted peer gets no answer");
    end
}

#[test]
fn the_initiator_checks_which_peer_it_reached() {
    assert_eq!(challenged("b@h", Flags::VISIBLE, 1, &[2]), Ok(Step::More));
    assert_eq!(
        challenged("c@h", Flags::VISIBLE, 1, &[]),
        Err(HandshakeError::OtherPeer(Atom::new("c@h")))
    );
    assert_eq!(challenged("b", Flags::VISIBLE, 1, &[]), Err(HandshakeError::BadName));
    assert_eq!(
        challenged("b@h", Flags::VISIBLE.without(Flags::V4_NC), 1, &[]),
        Err(HandshakeError::MissingFlags(Flags::V4_NC))
    );
}

#[test]
fn a_challenge_of_our_own_is_not_answered() {
    assert_eq!(
        challenged("b@h", Flags::VISIBLE, 9, &[8, 9]),
        Err(HandshakeError::Reflected)
    );
    assert_eq!(
        challenged("b@h", Flags::VISIBLE, CHALLENGE_I, &[]),
        Err(HandshakeError::Reflected)
    );

    for challenge in [CHALLENGE_A, 9] {
        let (mut to_a, mut to_i) = (Vec::new(), Vec::new());
        let _ = initiator(Lengths::Plain, &mut to_a);
        let mut a = acceptor(Lengths::Plain);
        a.receive(&to_a, &[], &mut to_i).unwrap();
        a.answer(Verdict::Ok, &cookie(), &mut to_i);
        let mut reply = vec![b'r'];
        reply.put_u32(challenge);
        reply.put_slice(&cookie().digest(CHALLENGE_A));
        to_i.clear();
        let end = a.receive(&message(&reply), &[9], &mut to_i);
        assert_eq!(end, Err(HandshakeError::Reflected));
        assert_eq!(to_i, b"");
    }
}

/// The acceptor's result for a first message, and the bytes it writes.
fn opened(body: &[u8]) -> (Result<Step, HandshakeError>, Vec<u8>) {
    let mut out = Vec::new();
    let end = acceptor(Lengths::Plain).receive(&message(body), &[], &mut out);
    (end, out)
}

fn name_message(name: &str, flags: Flags) -> Vec<u8> {
    let mut body = vec![b'N'];
    body.put_u64(flags.bits());
    body.put_u32(7);
    put_name(&mut body, &Atom::new(name));
    body
}

#[test]
fn the_acceptor_refuses_peers_that_it_cannot_serve() {
    let not_allowed = message(b"snot_allowed");
    let old = opened(b"n\0\x05\0\0\0\0a@h");
    assert_eq!(old, (Err(HandshakeError::OldPeer), not_allowed.clone()));

    let poor = opened(&name_message("a@h", Flags::VISIBLE.without(Flags::UNLINK_ID)));
    assert_eq!(poor, (Err(HandshakeError::MissingFlags(Flags::UNLINK_ID)), not_allowed));

    for name in ["a", "a@h@i", "ü@h", "@h"] {
        let end = opened(&name_message(name, Flags::VISIBLE));
        assert_eq!(end, (Err(HandshakeError::BadName), vec![]));
    }
    for body in [b"".as_slice(), b"x", b"sok", b"N", b"N\0"] {
        assert_eq!(opened(body).0, Err(HandshakeError::Malformed));
    }
}

#[test]
fn bytes_out_of_turn_end_the_handshake() {
    let (mut to_a, mut to_i) = (Vec::new(), Vec::new());
    let _ = initiator(Lengths::Plain, &mut to_a);
    to_a.push(0);
    let mut a = acceptor(Lengths::Plain);
    assert_eq!(a.receive(&to_a, &[], &mut to_i), Err(HandshakeError::OutOfTurn));
    to_a.pop();
    let mut a = acceptor(Lengths::Plain);
    assert!(matches!(a.receive(&to_a, &[], &mut to_i), Ok(Step::Name(_))));
    assert_eq!(a.receive(b"\0", &[], &mut to_i), Err(HandshakeError::OutOfTurn));

    let mut i = initiator(Lengths::Plain, &mut to_a);
    let eager = [message(b"salive"), vec![0]].concat();
    assert_eq!(i.receive(&eager, &[], &mut to_a), Err(HandshakeError::OutOfTurn));
}

#[test]
fn a_too_long_message_is_refused_by_its_length() {
    let mut out = Vec::new();
    let long = acceptor(Lengths::Plain).receive(&[0xFF; 4], &[], &mut out);
    assert_eq!(long, Err(HandshakeError::TooLong(0xFFFF)));
    let long = acceptor(Lengths::Tls).receive(&[0xFF; 4], &[], &mut out);
    assert_eq!(long, Err(HandshakeError::TooLong(0xFFFF_FFFF)));
    let limit = u16::try_from(BODY_BYTES_MAX).unwrap();
    let mut a = acceptor(Lengths::Plain);
    assert_eq!(a.receive(&limit.to_be_bytes(), &[], &mut out), Ok(Step::More));
    let mut a = acceptor(Lengths::Plain);
    let over = a.receive(&(limit + 1).to_be_bytes(), &[], &mut out);
    assert_eq!(over, Err(HandshakeError::TooLong(u32::from(limit) + 1)));
}

/// Both nodes dial each other: each is the acceptor of one attempt and the initiator of the other.
#[test]
fn simultaneous_connects_leave_one_connection() {
    let peer = |name: &str| Peer {
        name: Atom::new(name),
        creation: 1,
        flags: Flags::VISIBLE,
    };
    for (less, greater) in [("a@h", "b@h"), ("a@h", "a@i"), ("A@h", "a@h"), ("n-1@h", "n1@h")] {
        let at_less = verdict(&Atom::new(less), &peer(greater), Contact::Dialling);
        let at_greater = verdict(&Atom::new(greater), &peer(less), Contact::Dialling);
        assert_eq!((at_less, at_greater), (Verdict::OkSimultaneous, Verdict::Nok));
    }
    let ours = Atom::new("a@h");
    assert_eq!(verdict(&ours, &peer("b@h"), Contact::Idle), Verdict::Ok);
    assert_eq!(verdict(&ours, &peer("b@h"), Contact::Up), Verdict::Alive);
    for contact in [Contact::Idle, Contact::Dialling, Contact::Up] {
        assert_eq!(verdict(&ours, &peer("a@h"), contact), Verdict::NotAllowed);
        let nameless = Peer {
            flags: Flags::VISIBLE | Flags::NAME_ME,
            ..peer("h")
        };
        assert_eq!(verdict(&ours, &nameless, contact), Verdict::NotAllowed);
    }
}

#[test]
fn a_peer_without_a_name_is_given_one() {
    let flags = Flags::HIDDEN | Flags::NAME_ME;
    let hello = message(&name_message("h", flags));
    let mut out = Vec::new();
    let mut a = acceptor(Lengths::Plain);
    let asks = Peer {
        name: Atom::new("h"),
        creation: 7,
        flags,
    };
    assert_eq!(a.receive(&hello, &[], &mut out), Ok(Step::Name(asks)));
    a.answer(
        Verdict::Named {
            name: Atom::new("x1@h"),
            creation: 8,
        },
        &cookie(),
        &mut out,
    );
    let status = message(b"snamed:\0\x04x1@h\0\0\0\x08");
    assert_eq!(out[..status.len()], status);
    let (_, us) = read_challenge(&out[status.len() + 2..]).unwrap();
    assert!(us.flags.contains(Flags::NAME_ME));

    let mut reply = vec![b'r'];
    reply.put_u32(1);
    reply.put_slice(&cookie().digest(CHALLENGE_A));
    match a.receive(&message(&reply), &[], &mut out) {
        Ok(Step::Established(peer)) => {
            assert_eq!((peer.name.as_str(), peer.creation), ("x1@h", 8));
            assert_eq!(peer.flags, Flags::HIDDEN);
        }
        step => panic!("{step:?}"),
    }

    let mut a = acceptor(Lengths::Plain);
    a.receive(&hello, &[], &mut out).unwrap();
    out.clear();
    a.answer(Verdict::Ok, &cookie(), &mut out);
    assert_eq!(out, message(b"snot_allowed"));
}

/// Every message of a good handshake, as (to the acceptor, body).
fn good_messages() -> Vec<(bool, Vec<u8>)> {
    let (mut to_a, mut to_i) = (Vec::new(), Vec::new());
    let mut i = initiator(Lengths::Plain, &mut to_a);
    let mut a = acceptor(Lengths::Plain);
    let hello = to_a.split_off(0);
    a.receive(&hello, &[], &mut to_i).unwrap();
    a.answer(Verdict::Ok, &cookie(), &mut to_i);
    let question = to_i.split_off(0);
    i.receive(&question, &[], &mut to_a).unwrap();
    let reply = to_a.split_off(0);
    a.receive(&reply, &[], &mut to_i).unwrap();
    let (status, challenge) = question.split_at(5);
    vec![
        (true, hello[2..].to_vec()),
        (false, status[2..].to_vec()),
        (false, challenge[2..].to_vec()),
        (true, reply[2..].to_vec()),
        (false, to_i[2..].to_vec()),
    ]
}

/// Plays the good messages to new machines, with message `at` replaced. Returns whether both sides were established.
fn succeeds_with(at: usize, body: &[u8]) -> bool {
    let mut out = Vec::new();
    let mut i = initiator(Lengths::Plain, &mut out);
    let mut a = acceptor(Lengths::Plain);
    let mut established = 0;
    for (index, (to_acceptor, good)) in good_messages().into_iter().enumerate() {
        let bytes = message(if index == at { body } else { &good });
        let step = if to_acceptor {
            a.receive(&bytes, &[], &mut out)
        } else {
            i.receive(&bytes, &[], &mut out)
        };
        match step {
            Ok(Step::Name(_)) => a.answer(Verdict::Ok, &cookie(), &mut out),
            Ok(Step::Established(_)) => established += 1,
            Ok(Step::More) => {}
            Ok(Step::Alive | Step::Insists) | Err(_) => return false,
        }
    }
    established == 2
}

#[test]
fn truncated_messages_and_false_lengths_fail() {
    for (at, (_, good)) in good_messages().into_iter().enumerate() {
        assert!(succeeds_with(at, &good));
        for len in 0..good.len() {
            assert!(!succeeds_with(at, &good[..len]), "message {at} cut at {len}");
        }
        for offset in 0..good.len().saturating_sub(1) {
            let mut body = good.clone();
            body[offset..offset + 2].fill(0xFF);
            // Flags and creations may have any value. The test is that nothing panics, and that a name with a false
            // length is refused.
            let ended = succeeds_with(at, &body);
            let name_len = match at {
                0 => offset == 13,
                2 => offset == 17,
                _ => false,
            };
            assert!(!(ended && name_len), "message {at} with a false length");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn junk_never_panics(
        tls in any::<bool>(),
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6),
    ) {
        let lengths = if tls { Lengths::Tls } else { Lengths::Plain };
        let mut out = Vec::new();
        let (mut i, mut a) = (initiator(lengths, &mut out), acceptor(lengths));
        for piece in pieces {
            if i.receive(&piece, &[], &mut out) == Ok(Step::Alive) {
                i.answer_alive(true, &mut out);
            }
            match a.receive(&piece, &[], &mut out) {
                Ok(Step::Name(_)) => a.answer(Verdict::Alive, &cookie(), &mut out),
                Ok(Step::Insists) => a.answer_insists(true, &mut out),
                _ => {}
            }
            prop_assert!(i.messages.partial.len() <= BODY_BYTES_MAX + 4);
        }
    }

    /// Messages of the right shape with any content: only the right digests succeed.
    #[test]
    fn no_forged_message_establishes(
        at in 0_usize..5,
        offset in 0_usize..24,
        bytes in prop::collection::vec(any::<u8>(), 1..8),
    ) {
        const REPLY: usize = 3;
        const ACK: usize = 4;
        let (_, good) = good_messages().swap_remove(at);
        let mut body = good.clone();
        // The initiator may put any challenge into its reply. Its proof is in the bytes after the challenge.
        let start = if at == REPLY { offset + 5 } else { offset };
        for (slot, byte) in body.iter_mut().skip(start).zip(&bytes) {
            *slot = *byte;
        }
        let ended = succeeds_with(at, &body);
        prop_assert!(!ended || body == good || !matches!(at, REPLY | ACK));
    }
}
