//! Both directions of the protocol, and the port mapper's state over whole conversations.

use super::*;
use crate::epmd::registry::{After, CONNECTIONS_MAX};
use alloc::vec;
use proptest::prelude::*;

fn encoded(request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(&mut out);
    out
}

fn register(name: &str, port: u16) -> Vec<u8> {
    encoded(&Request::Register(Node::new(name, port, false)))
}

/// Opens a connection from this machine, sends `bytes`, and returns the answer.
fn ask(registry: &mut Registry, connection: u64, bytes: &[u8]) -> (After, Vec<u8>) {
    let mut out = Vec::new();
    assert_eq!(registry.opened(connection, true), After::Keep);
    (registry.receive(connection, bytes, &mut out), out)
}

fn creation_of(answer: &[u8]) -> Option<u32> {
    Registered::decode(answer, false).unwrap().unwrap().creation
}

#[test]
fn requests_have_the_bytes_of_the_manual() {
    let alive = b"\x00\x0e\x78\x13\x88\x4d\x00\x00\x06\x00\x06\x00\x01\x72\x00\x00";
    assert_eq!(register("r", 5000), alive);
    assert_eq!(encoded(&Request::Find("r".into())), b"\x00\x02\x7ar");
    assert_eq!(encoded(&Request::List), b"\x00\x01\x6e");
    assert_eq!(encoded(&Request::Kill), b"\x00\x01\x6b");
}

#[test]
fn a_request_reads_the_same_wherever_it_is_split() {
    let mut hidden = Node::new("r-2", 65535, true);
    hidden.extra = vec![1, 2, 3];
    for request in [
        Request::Register(hidden),
        Request::Find("r".into()),
        Request::List,
        Request::Kill,
    ] {
        let bytes = encoded(&request);
        for len in 0..bytes.len() {
            assert_eq!(Request::decode(&bytes[..len]), Ok(None));
        }
        assert_eq!(Request::decode(&bytes), Ok(Some((request, bytes.len()))));
    }
}

#[test]
fn bad_requests_are_refused() {
    for (bytes, error) in [
        (b"\xff\xff".as_slice(), EpmdError::TooLong),
        (b"\x04\x01", EpmdError::TooLong),
        (b"\0\0", EpmdError::Malformed),
        (b"\0\x02k?", EpmdError::Malformed),
        (b"\0\x01d", EpmdError::Malformed),
        (b"\0\x02n?", EpmdError::Malformed),
        (b"\0\x01z", EpmdError::BadName),
        (b"\0\x03za\n", EpmdError::BadName),
        (b"\0\x02z\xff", EpmdError::BadName),
        (b"\0\x0cx\x13\x88M\0\0\x06\0\x06\xff\xffr", EpmdError::Malformed),
        (b"\0\x0fx\x13\x88M\0\0\x06\0\x06\0\x01r\0\0?", EpmdError::Malformed),
    ] {
        assert_eq!(Request::decode(bytes), Err(error), "{bytes:?}");
    }
    let longest = encoded(&Request::Find("a".repeat(255)));
    assert!(Request::decode(&longest).unwrap().is_some());
    let longer = encoded(&Request::Find("a".repeat(256)));
    assert_eq!(Request::decode(&longer), Err(EpmdError::BadName));
}

#[test]
fn an_answer_reads_the_same_wherever_it_is_split() {
    let mut out = Vec::new();
    let registered = Registered {
        creation: Some(0x0102_0304),
    };
    registered.encode(6, &mut out);
    assert_eq!(out, b"\x76\0\x01\x02\x03\x04");
    for len in 0..out.len() {
        assert_eq!(Registered::decode(&out[..len], false), Ok(None));
        assert_eq!(Registered::decode(&out[..len], true), Err(EpmdError::Ended));
    }
    assert_eq!(Registered::decode(&out, false), Ok(Some(registered)));

    out.clear();
    Registered { creation: Some(7) }.encode(5, &mut out);
    assert_eq!(out, b"\x79\0\0\x02");
    assert_eq!(creation_of(&out), Some(2));

    out.clear();
    let found = Found {
        node: Some(Node::new("r", 5000, false)),
    };
    found.encode(&mut out);
    assert_eq!(out, b"\x77\0\x13\x88\x4d\0\0\x06\0\x06\0\x01r\0\0");
    for len in 0..out.len() {
        assert_eq!(Found::decode(&out[..len], false), Ok(None));
        assert_eq!(Found::decode(&out[..len], true), Err(EpmdError::Ended));
    }
    assert_eq!(Found::decode(&out, false), Ok(Some(found)));
    assert_eq!(Found::decode(b"\x77\x01", true), Ok(Some(Found { node: None })));

    out.clear();
    let listing = Listing {
        port: 4369,
        nodes: vec![("a".into(), 1), ("b c".into(), 2)],
    };
    listing.encode(&mut out);
    assert_eq!(out, b"\0\0\x11\x11name a at port 1\nname b c at port 2\n");
    assert_eq!(Listing::decode(&out, false), Ok(None));
    assert_eq!(Listing::decode(&out[..3], true), Err(EpmdError::Ended));
    let plausible = Listing {
        port: 4369,
        nodes: vec![("a".into(), 1)],
    };
    assert_eq!(Listing::decode(&out, true), Ok(Some(plausible)));
}

#[test]
fn endless_answers_are_refused() {
    let endless = vec![PORT2; ANSWER_BYTES_MAX + 1];
    assert_eq!(Listing::decode(&endless, false), Err(EpmdError::TooLong));
    let mut endless = vec![0xFF; ANSWER_BYTES_MAX + 1];
    endless[..2].copy_from_slice(&[PORT2, 0]);
    assert_eq!(Found::decode(&endless, false), Err(EpmdError::TooLong));
    assert_eq!(Registered::decode(&[ALIVE2_X; 7], false), Err(EpmdError::Malformed));
    assert_eq!(Registered::decode(b"\x78", false), Err(EpmdError::Malformed));
}

#[test]
fn a_name_lives_as_long_as_its_connection() {
    let mut registry = Registry::new(4369, 100);
    let (after, out) = ask(&mut registry, 1, &register("a", 5000));
    assert_eq!((after, creation_of(&out)), (After::Keep, Some(100)));

    let (after, out) = ask(&mut registry, 2, &register("a", 5001));
    assert_eq!((after, out), (After::Close, b"\x76\x01\0\0\0\x63".to_vec()));

    let find = encoded(&Request::Find("a".into()));
    let (after, out) = ask(&mut registry, 3, &find);
    assert_eq!(after, After::Close);
    let found = Found::decode(&out, true).unwrap().unwrap();
    assert_eq!(found.node, Some(Node::new("a", 5000, false)));
    let (_, out) = ask(&mut registry, 4, &encoded(&Request::List));
    assert_eq!(out, b"\0\0\x11\x11name a at port 5000\n");

    registry.closed(1);
    let (_, out) = ask(&mut registry, 5, &find);
    assert_eq!(out, b"\x77\x01");
    let (_, out) = ask(&mut registry, 6, &register("a", 5001));
    assert_eq!(creation_of(&out), Some(101), "a later life has a higher creation");
}

#[test]
fn a_kill_is_refused_and_ends_nothing() {
    let mut registry = Registry::new(4369, 100);
    let (after, _) = ask(&mut registry, 1, &register("a", 5000));
    assert_eq!(after, After::Keep);
    let (after, out) = ask(&mut registry, 2, &encoded(&Request::Kill));
    assert_eq!((after, out), (After::Close, b"NO".to_vec()));
    assert_eq!(registry.nodes().count(), 1);
}

#[test]
fn only_this_machine_registers() {
    let mut registry = Registry::new(4369, 100);
    let mut out = Vec::new();
    assert_eq!(registry.opened(1, false), After::Keep);
    assert_eq!(registry.receive(1, &register("a", 5000), &mut out), After::Close);
    assert_eq!((out.len(), registry.nodes().count()), (0, 0));
    assert_eq!(registry.opened(2, false), After::Keep);
    assert_eq!(registry.receive(2, &encoded(&Request::List), &mut out), After::Close);
    assert_eq!(out, b"\0\0\x11\x11");
}

#[test]
fn a_connection_asks_once() {
    let mut registry = Registry::new(4369, 100);
    let twice = [register("a", 1), register("b", 2)].concat();
    assert_eq!(ask(&mut registry, 1, &twice), (After::Close, vec![]));

    let (after, _) = ask(&mut registry, 2, &register("a", 1));
    assert_eq!(after, After::Keep);
    assert_eq!(registry.receive(2, b"?", &mut Vec::new()), After::Close);
    assert_eq!(registry.nodes().count(), 0, "a protocol error frees the name");
}

#[test]
fn requests_may_come_byte_by_byte() {
    let mut registry = Registry::new(4369, 100);
    let mut out = Vec::new();
    assert_eq!(registry.opened(1, true), After::Keep);
    for byte in register("a", 5000) {
        assert!(out.is_empty());
        assert_eq!(registry.receive(1, &[byte], &mut out), After::Keep);
    }
    assert_eq!(creation_of(&out), Some(100));
}

#[test]
fn creations_skip_the_reserved_ones() {
    let mut registry = Registry::new(4369, u32::MAX);
    for (connection, name, creation) in [(1, "a", u32::MAX), (2, "b", 4), (3, "c", 5)] {
        let (_, out) = ask(&mut registry, connection, &register(name, 1));
        assert_eq!(creation_of(&out), Some(creation));
    }
    let (_, out) = ask(&mut Registry::new(4369, 0), 1, &register("a", 1));
    assert_eq!(creation_of(&out), Some(4));
}

#[test]
fn connections_are_limited() {
    let mut registry = Registry::new(4369, 100);
    for connection in 0..CONNECTIONS_MAX as u64 {
        assert_eq!(registry.opened(connection, true), After::Keep);
    }
    assert_eq!(registry.opened(u64::MAX, true), After::Close);
    registry.closed(0);
    assert_eq!(registry.opened(u64::MAX, true), After::Keep);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn junk_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), ended in any::<bool>()) {
        let _ = Request::decode(&bytes);
        let _ = Registered::decode(&bytes, ended);
        let _ = Found::decode(&bytes, ended);
        let _ = Listing::decode(&bytes, ended);
        let mut registry = Registry::new(1, 1);
        let (after, _) = ask(&mut registry, 1, &bytes);
        if after == After::Close {
            prop_assert_eq!(registry.nodes().count(), 0);
        }
    }

    /// Compared with a plain model: a name belongs to the connection that registered it first, until that one closes.
    #[test]
    fn names_are_held_by_one(steps in prop::collection::vec((any::<bool>(), 0_u16..4), 1..40)) {
        let mut registry = Registry::new(1, 100);
        let mut held: [Option<u64>; 4] = [None; 4];
        let mut last = 0;
        for (connection, (enter, who)) in (0_u64..).zip(steps) {
            let slot = &mut held[usize::from(who)];
            if enter {
                let (_, out) = ask(&mut registry, connection, &register(&alloc::format!("n{who}"), who));
                let creation = creation_of(&out);
                prop_assert_eq!(creation.is_some(), slot.is_none());
                if let Some(creation) = creation {
                    prop_assert!(creation > last);
                    last = creation;
                    *slot = Some(connection);
                }
            } else if let Some(holder) = slot.take() {
                registry.closed(holder);
            }
            let names = registry.nodes().count();
            prop_assert_eq!(names, held.iter().flatten().count());
        }
    }
}
