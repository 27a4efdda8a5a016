//! Settings: the text of a file, and flags behind a zero byte. Nothing panics, and an error is one line with advice.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (file, flags) = text.split_once('\0').unwrap_or((text, ""));
    salp::fuzzing::settings(file, flags);
});
