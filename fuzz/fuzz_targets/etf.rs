//! Any bytes: the decoder does not panic, and what it yields survives encoding, order and display.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wire::etf::{Term, decode, decode_bare, encode};

fuzz_target!(|input: &[u8]| {
    let input = Bytes::copy_from_slice(input);
    // Most inputs do not begin with 131, so the bare form is where the fuzzer spends its time.
    let mut at = 0;
    while let Ok(term) = decode_bare(&input, &mut at) {
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
