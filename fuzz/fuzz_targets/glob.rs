//! Glob patterns: a pattern and a text, with a zero byte between them.
#![no_main]

use libfuzzer_sys::fuzz_target;

use store::commands::glob::matches;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (pattern, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let found = matches(pattern, text);
    // What is behind a backslash stands for itself.
    let literal: Vec<u8> = text.iter().flat_map(|&byte| [b'\\', byte]).collect();
    assert!(matches(&literal, text));
    assert!(!matches(&literal, &[text, b"x"].concat()));
    // A star in front takes any text.
    let starred = [b"*", pattern].concat();
    if found {
        assert!(matches(&starred, text) && matches(&starred, &[b"any", text].concat()));
    }
    // A star alone takes the same as two.
    assert_eq!(matches(&starred, text), matches(&[b"*", &starred[..]].concat(), text));
});
