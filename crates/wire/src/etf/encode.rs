//! Terms to bytes, in the form that BEAM itself writes to a peer of OTP 26 or later.
//!
//! The encoder recurses as deep as the term. A decoded term has a depth limit, and this node adds only a few levels
//! around it.

use super::{Atom, Pid, Ref, Term, tag};
use alloc::vec::Vec;

/// Most bytes of a STRING_EXT.
const STRING_MAX: usize = u16::MAX as usize;
/// The largest port number that NEW_PORT_EXT carries; BEAM uses 28 bits.
const NEW_PORT_MAX: u64 = (1 << 28) - 1;

/// Appends 131 and `term` to `out`.
pub fn encode(term: &Term, out: &mut Vec<u8>) {
    out.push(tag::VERSION);
    encode_bare(term, out);
}

/// Appends `term` to `out` without a 131, as in a distribution frame.
pub fn encode_bare(term: &Term, out: &mut Vec<u8>) {
    match term {
        Term::Int(value) => integer(*value, out),
        Term::Big { negative, magnitude } => big(*negative, magnitude, out),
        Term::Float(value) => {
            assert!(value.is_finite(), "Erlang has no float {value}");
            out.push(tag::NEW_FLOAT);
            out.extend(value.to_be_bytes());
        }
        Term::Atom(atom) => encode_atom(atom, out),
        Term::Tuple(items) => {
            encode_tuple_head(items.len(), out);
            each(items, out);
        }
        Term::List(items) => list(items, out),
        Term::Improper(items, tail) => {
            counted(tag::LIST, items.len(), out);
            each(items, out);
            encode_bare(tail, out);
        }
        Term::Binary(bytes) => {
            counted(tag::BINARY, bytes.len(), out);
            out.extend_from_slice(bytes);
        }
        Term::Bits { bytes, bits } => {
            assert!(matches!(bits, 1..=7), "a bitstring ends in 1 to 7 bits, not {bits}");
            counted(tag::BIT_BINARY, bytes.len(), out);
            out.push(*bits);
            out.extend_from_slice(bytes);
        }
        Term::Map(pairs) => {
            counted(tag::MAP, pairs.len(), out);
            for (key, value) in pairs {
                encode_bare(key, out);
                encode_bare(value, out);
            }
        }
        Term::Pid(pid) => encode_pid(pid, out),
        Term::Ref(reference) => encode_reference(reference, out),
        Term::Port(port) => {
            match u32::try_from(port.id) {
                Ok(id) if port.id <= NEW_PORT_MAX => {
                    out.push(tag::NEW_PORT);
                    encode_atom(&port.node, out);
                    words([id], out);
                }
                Ok(_) | Err(_) => {
                    out.push(tag::V4_PORT);
                    encode_atom(&port.node, out);
                    out.extend(port.id.to_be_bytes());
                }
            }
            words([port.creation], out);
        }
        Term::Export {
            module,
            function,
            arity,
        } => {
            out.push(tag::EXPORT);
            encode_atom(module, out);
            encode_atom(function, out);
            out.extend([tag::SMALL_INTEGER, *arity]);
        }
        Term::Fun(bytes) => {
            out.push(tag::NEW_FUN);
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends the beginning of a tuple of `count` elements.
pub(crate) fn encode_tuple_head(count: usize, out: &mut Vec<u8>) {
    match u8::try_from(count) {
        Ok(count) => out.extend_from_slice(&[tag::SMALL_TUPLE, count]),
        Err(_) => counted(tag::LARGE_TUPLE, count, out),
    }
}

/// Appends a pid.
pub(crate) fn encode_pid(pid: &Pid, out: &mut Vec<u8>) {
    out.push(tag::NEW_PID);
    encode_atom(&pid.node, out);
    words([pid.id, pid.serial, pid.creation], out);
}

/// Appends a reference.
pub(crate) fn encode_reference(reference: &Ref, out: &mut Vec<u8>) {
    let used = &reference.words[..reference.len.into()];
    assert!(!used.is_empty(), "a reference has at least one word");
    out.extend_from_slice(&[tag::NEWER_REFERENCE, 0, reference.len]);
    encode_atom(&reference.node, out);
    words([reference.creation], out);
    for word in used {
        words([*word], out);
    }
}

fn integer(value: i64, out: &mut Vec<u8>) {
    if let Ok(byte) = u8::try_from(value) {
        out.extend_from_slice(&[tag::SMALL_INTEGER, byte]);
    } else if let Ok(value) = i32::try_from(value) {
        out.push(tag::INTEGER);
        out.extend(value.to_be_bytes());
    } else {
        let magnitude = value.unsigned_abs().to_le_bytes();
        let used = 8 - value.unsigned_abs().leading_zeros() as usize / 8;
        big(value < 0, &magnitude[..used], out);
    }
}

fn big(negative: bool, magnitude: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(magnitude.len()) {
        Ok(count) => out.extend([tag::SMALL_BIG, count]),
        Err(_) => counted(tag::LARGE_BIG, magnitude.len(), out),
    }
    out.push(negative.into());
    out.extend_from_slice(magnitude);
}

/// Appends an atom.
pub(crate) fn encode_atom(atom: &Atom, out: &mut Vec<u8>) {
    let text = atom.as_bytes();
    match u8::try_from(text.len()) {
        Ok(count) => out.extend_from_slice(&[tag::SMALL_ATOM_UTF8, count]),
        Err(_) => {
            // At most 255 characters of 4 bytes.
            out.push(tag::ATOM_UTF8);
            out.extend_from_slice(&(text.len() as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

fn list(items: &[Term], out: &mut Vec<u8>) {
    if items.is_empty() {
        return out.push(tag::NIL);
    }
    let start = out.len();
    if items.len() <= STRING_MAX {
        out.push(tag::STRING);
        out.extend((items.len() as u16).to_be_bytes());
        out.extend(items.iter().map_while(byte));
        if out.len() == start + 3 + items.len() {
            return;
        }
        out.truncate(start);
    }
    counted(tag::LIST, items.len(), out);
    each(items, out);
    out.push(tag::NIL);
}

/// The term as an element of a STRING_EXT: exactly the integers 0 to 255.
fn byte(term: &Term) -> Option<u8> {
    u8::try_from(term.as_int()?).ok()
}

fn each(items: &[Term], out: &mut Vec<u8>) {
    for item in items {
        encode_bare(item, out);
    }
}

fn words<const N: usize>(words: [u32; N], out: &mut Vec<u8>) {
    out.extend_from_slice(words.map(u32::to_be_bytes).as_flattened());
}

fn counted(tag: u8, count: usize, out: &mut Vec<u8>) {
    let count = u32::try_from(count).expect("what is sent is far smaller than 4 GiB");
    out.push(tag);
    out.extend_from_slice(&count.to_be_bytes());
}
