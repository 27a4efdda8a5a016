//! Terms as a real BEAM writes them: bytes, text and order (`golden/make.escript` made the files).

use bytes::Bytes;
use wire::etf::{Term, decode, encode};

const TERMS: &str = include_str!("golden/etf.txt");
const ORDER: &str = include_str!("golden/order.txt");

fn bytes(hex: &str) -> Bytes {
    let digit = |byte: &u8| (*byte as char).to_digit(16).expect("hex") as u8;
    hex.as_bytes()
        .chunks(2)
        .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
        .collect()
}

fn encoded(term: &Term) -> Vec<u8> {
    let mut out = Vec::new();
    encode(term, &mut out);
    out
}

#[test]
fn terms_of_a_beam_are_read_shown_and_written_as_it_does() {
    let mut lines = 0;
    for line in TERMS.lines() {
        let [kind, hex, text] = line.splitn(3, '\t').collect::<Vec<_>>()[..] else {
            panic!("not three fields: {line}");
        };
        let input = bytes(hex);
        let term = decode(&input).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(term.to_string(), text, "shown: {line}");
        let output = encoded(&term);
        assert_eq!(output == input, kind == "same", "written as {output:x?}: {line}");
        assert_eq!(decode(&output.into()), Ok(term), "read again: {line}");
        lines += 1;
    }
    assert!(lines > 150, "only {lines} terms");
}

#[test]
fn terms_are_ordered_as_a_beam_orders_them() {
    let terms: Vec<Term> = ORDER
        .lines()
        .map(|hex| decode(&bytes(hex)).expect("a BEAM wrote it"))
        .collect();
    assert!(terms.len() > 100, "only {} terms", terms.len());
    for (i, a) in terms.iter().enumerate() {
        for (j, b) in terms.iter().enumerate() {
            assert_eq!(a.cmp(b), i.cmp(&j), "{a} and {b}");
        }
    }
}
