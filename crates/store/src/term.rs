//! Erlang terms as keys and values, for all front ends.
//!
//! - A binary is its bytes. As a key or value it is the same as these bytes in RESP and HTTP.
//! - A key of another kind is its external format. Equal terms have the same format. `1` and `1.0` are two keys. A map
//!   is one key, whatever the order of its pairs (`docs/decisions/0016-terms-as-keys.md`).
//! - A value of another kind is its external format with a mark. An integer of 64 bits is its decimal text with another
//!   mark. So every front end can count it, and a BEAM reads it back as an integer.
//!
//! Source: *External Term Format*, ERTS reference manual.

use alloc::vec::Vec;
use bytes::Bytes;
use wire::etf::{self, Term};

/// Longest external format of an integer of 64 bits: version, tag, count, sign and eight bytes.
const INTEGER_BYTES_MAX: usize = 12;

/// First byte of every external format. UTF-8 text never begins with it.
const VERSION: u8 = 131;

/// A term as the bytes of a key.
pub fn key_of(term: &Term) -> Vec<u8> {
    match term.as_binary() {
        Some(bytes) => bytes.to_vec(),
        None => external(term),
    }
}

/// The term of a key, unless the key is plain bytes. Bytes that [`key_of`] would not write are not a term.
pub fn of_key(key: &[u8]) -> Option<Term> {
    if key.first() != Some(&VERSION) {
        return None;
    }
    let term = etf::decode(&Bytes::copy_from_slice(key)).ok()?;
    (key_of(&term) == key).then_some(term)
}

/// A term in external format.
pub fn external(term: &Term) -> Vec<u8> {
    let mut out = Vec::new();
    etf::encode(term, &mut out);
    out
}

/// The integer in an external format, if it is one of 64 bits.
pub fn integer(external: &[u8]) -> Option<i64> {
    if external.len() > INTEGER_BYTES_MAX {
        return None;
    }
    etf::decode(&Bytes::copy_from_slice(external)).ok()?.as_int()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn decoded(external: &[u8]) -> Term {
        etf::decode(&Bytes::copy_from_slice(external)).expect("a term")
    }

    #[test]
    fn equal_terms_are_one_key_in_every_form() {
        for forms in [
            // "ab": STRING_EXT and LIST_EXT.
            vec![&b"\x83k\0\x02ab"[..], b"\x83l\0\0\0\x02aaabj"],
            // 5: SMALL_INTEGER_EXT, INTEGER_EXT and SMALL_BIG_EXT.
            vec![b"\x83a\x05", b"\x83b\0\0\0\x05", b"\x83n\x01\0\x05"],
            // a: SMALL_ATOM_UTF8_EXT, ATOM_UTF8_EXT and the old ATOM_EXT.
            vec![b"\x83w\x01a", b"\x83v\0\x01a", b"\x83d\0\x01a"],
            // #{1 => 2, 3 => 4} in both orders.
            vec![
                b"\x83t\0\0\0\x02a\x01a\x02a\x03a\x04",
                b"\x83t\0\0\0\x02a\x03a\x04a\x01a\x02",
            ],
        ] {
            let keys: Vec<_> = forms.iter().map(|form| key_of(&decoded(form))).collect();
            assert!(keys.iter().all(|key| *key == keys[0]), "{}", decoded(forms[0]));
        }
    }

    #[test]
    fn different_terms_are_different_keys() {
        let terms = [
            Term::Int(1),
            Term::Float(1.0),
            Term::Float(0.0),
            Term::Float(-0.0),
            Term::atom("a"),
            Term::binary("a"),
            Term::chars("a"),
            Term::NIL,
            Term::tuple([]),
        ];
        for (index, one) in terms.iter().enumerate() {
            for other in &terms[..index] {
                assert_ne!(key_of(one), key_of(other), "{one} and {other}");
            }
        }
    }

    #[test]
    fn a_key_is_a_term_only_in_the_form_that_key_of_writes() {
        let tuple = Term::tuple([Term::atom("a"), Term::Int(1)]);
        assert_eq!(of_key(&key_of(&tuple)), Some(tuple));
        for bytes in [
            &b"{a,1}"[..],
            b"",
            b"\x83",
            b"\x83a",
            b"\x83a\x05\0",
            // 5 and <<"a">> in forms that `key_of` does not write.
            b"\x83b\0\0\0\x05",
            b"\x83m\0\0\0\x01a",
        ] {
            assert_eq!(of_key(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn integers_are_recognised_by_their_external_format() {
        for number in [0, 255, -1, i64::MAX, i64::MIN] {
            assert_eq!(integer(&external(&Term::Int(number))), Some(number));
        }
        for other in [Term::Float(1.0), Term::atom("a"), Term::integer(false, &[255; 8])] {
            assert_eq!(integer(&external(&other)), None, "{other}");
        }
    }
}
