//! HTTP requests behind the HTTP library: the target and headers, or the body of a batch. The first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [kind, bytes @ ..] = bytes else { return };
    if kind % 2 == 0 {
        salp::fuzzing::http_batch(bytes);
    } else {
        let text = String::from_utf8_lossy(bytes);
        let (target, headers) = text.split_once('\n').unwrap_or((&text, ""));
        salp::fuzzing::http_request(target, headers);
    }
});
