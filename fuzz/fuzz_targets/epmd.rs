//! Any bytes to a port mapper or from one: no panic, requests survive encoding, and one client holds
//! at most one name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::epmd::{Found, Listing, Registered, Registry, Request, registry::After};

fuzz_target!(|input: &[u8]| {
    let [chunk, bytes @ ..] = input else { return };
    for ended in [false, true] {
        let _ = Registered::decode(bytes, ended);
        let _ = Found::decode(bytes, ended);
        let _ = Listing::decode(bytes, ended);
    }
    if let Ok(Some((request, _))) = Request::decode(bytes) {
        let mut out = Vec::new();
        request.encode(&mut out);
        let len = out.len();
        assert_eq!(Request::decode(&out), Ok(Some((request, len))));
    }

    let mut registry = Registry::new(4369, 4);
    let mut out = Vec::new();
    let mut after = registry.opened(1, true);
    for piece in bytes.chunks(usize::from(*chunk).max(1)) {
        if after == After::Keep {
            after = registry.receive(1, piece, &mut out);
        }
    }
    let held = registry.nodes().count();
    assert!(held <= usize::from(after == After::Keep));
    registry.closed(1);
    assert_eq!(registry.nodes().count(), 0);
});
