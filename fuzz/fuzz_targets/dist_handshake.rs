//! Any bytes of a peer that does not know the cookie: it does not get in, however they are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{
    dist::{
        Cookie, Flags,
        handshake::{Acceptor, HandshakeError, Initiator, Lengths, Local, Step, Verdict},
    },
    etf::Atom,
};

fuzz_target!(|input: &[u8]| {
    let [form, chunk, bytes @ ..] = input else {
        return;
    };
    let lengths = if form & 1 == 0 { Lengths::Plain } else { Lengths::Tls };
    let play = if form & 2 == 0 { accept } else { initiate };
    let verdict = match form >> 2 {
        0 => Verdict::Alive,
        1 => Verdict::OkSimultaneous,
        2 => Verdict::Named {
            name: Atom::new("x@h"),
            creation: 1,
        },
        _ => Verdict::Ok,
    };
    play(lengths, verdict, bytes, usize::from(*chunk).max(1));
});

fn accept(lengths: Lengths, verdict: Verdict, bytes: &[u8], chunk: usize) {
    let mut acceptor = Acceptor::new(local("b@h"), lengths, 1);
    let mut out = Vec::new();
    for piece in bytes.chunks(chunk) {
        match acceptor.receive(piece, &[2], &mut out) {
            Ok(Step::Name(peer)) => {
                // Only who asks for a name is given one.
                let named = matches!(verdict, Verdict::Named { .. });
                let nameless = peer.flags.contains(Flags::NAME_ME);
                let verdict = if named && !nameless {
                    Verdict::NotAllowed
                } else {
                    verdict.clone()
                };
                acceptor.answer(verdict, &cookie(), &mut out);
            }
            step => outside(&step),
        }
    }
}

fn initiate(lengths: Lengths, _: Verdict, bytes: &[u8], chunk: usize) {
    let mut out = Vec::new();
    let peer = Atom::new("b@h");
    let mut initiator = Initiator::new(local("a@h"), peer, cookie(), lengths, 1, &mut out);
    for piece in bytes.chunks(chunk) {
        match initiator.receive(piece, &[2], &mut out) {
            Ok(Step::Alive) => initiator.answer_alive(true, &mut out),
            step => outside(&step),
        }
    }
}

fn outside(step: &Result<Step, HandshakeError>) {
    assert!(matches!(step, Ok(Step::More) | Err(_)), "{step:?}");
}

fn local(name: &str) -> Local {
    Local {
        name: Atom::new(name),
        creation: 7,
        flags: Flags::VISIBLE,
    }
}

fn cookie() -> Cookie {
    Cookie::new(b"not to be guessed by a fuzzer")
}
