//! Any bytes: the decoder does not panic, and what it yields is no larger than it may be and survives encoding, order
//! and display. What it allocates on the way is bounded by the option `-malloc_limit_mb`.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wire::etf::{Term, decode, decode_bare, encode};

/// Memory of a term for each of its bytes, at most: two slots, for lists chained tail by tail.
const HELD_BYTES_MAX: usize = 2 * size_of::<Term>();

fuzz_target!(|input: &[u8]| {
    let input = Bytes::copy_from_slice(input);
    // Most inputs do not begin with 131, so the bare form is where the fuzzer spends its time.
    let (mut at, mut start) = (0, 0);
    while let Ok(term) = decode_bare(&input, &mut at) {
        assert!(term.held_bytes() <= HELD_BYTES_MAX * (at - start));
        start = at;
        survives(&term);
    }
    if let Ok(term) = decode(&input) {
        survives(&term);
    }
});

fn survives(term: &Term) {
    let mut out = Vec::new();
    encode(term, &mut out);
    assert_eq!(decode(&out.into()).as_ref(), Ok(term));
    assert!(term.cmp(term).is_eq());
    assert!(!term.to_string().is_empty());
}
