//! What discovery is told from outside. The first byte says by whom: a hosts file, gossip, Kubernetes or DNS.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [kind, bytes @ ..] = bytes else { return };
    match kind % 4 {
        0 => salp::fuzzing::hosts_file(&String::from_utf8_lossy(bytes)),
        1 => salp::fuzzing::gossip_datagram(bytes),
        2 => salp::fuzzing::kubernetes_answer(bytes),
        _ => salp::fuzzing::dns_answer(bytes),
    }
});
