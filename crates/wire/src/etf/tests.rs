//! Laws of the codec: round trip, one shape per value, bounded memory, no panic. And a test for each limit.

use super::*;
use alloc::{format, string::String, vec};
use core::cmp::Ordering;
use proptest::{collection, prelude::*, sample};
use std::string::ToString;

const SLOT: usize = size_of::<Term>();

fn encoded(term: &Term) -> Bytes {
    let mut out = Vec::new();
    encode(term, &mut out);
    out.into()
}

fn read(bytes: &[u8]) -> Result<Term, DecodeError> {
    decode(&Bytes::copy_from_slice(bytes))
}

/// 131 and these parts.
fn input(parts: &[&[u8]]) -> Vec<u8> {
    [&[131], parts.concat().as_slice()].concat()
}

#[track_caller]
fn refused(parts: &[&[u8]], error: DecodeError) {
    assert_eq!(read(&input(parts)), Err(error));
}

#[track_caller]
fn accepted(parts: &[&[u8]], term: &Term) {
    assert_eq!(read(&input(parts)).as_ref(), Ok(term));
}

/// Bytes that a term holds beside its own slot: reserved slots, and binaries counted as if copied.
fn footprint(term: &Term) -> usize {
    let slots = |items: &Vec<Term>| items.capacity() * SLOT + items.iter().map(footprint).sum::<usize>();
    match term {
        Term::Tuple(items) | Term::List(items) => slots(items),
        Term::Improper(items, tail) => slots(items) + SLOT + footprint(tail),
        Term::Map(pairs) => {
            let inner = pairs.iter().map(|(key, value)| footprint(key) + footprint(value));
            pairs.capacity() * 2 * SLOT + inner.sum::<usize>()
        }
        Term::Big { magnitude: bytes, .. } | Term::Binary(bytes) | Term::Bits { bytes, .. } | Term::Fun(bytes) => {
            bytes.len()
        }
        Term::Int(_)
        | Term::Float(_)
        | Term::Atom(_)
        | Term::Pid(_)
        | Term::Ref(_)
        | Term::Port(_)
        | Term::Export { .. } => 0,
    }
}

/// Whether a term has the one shape that its value may have.
fn is_canonical(term: &Term) -> bool {
    let all = |items: &[Term]| items.iter().all(is_canonical);
    match term {
        Term::Big { negative, magnitude } => {
            let same = Term::integer(*negative, magnitude);
            matches!(same, Term::Big { magnitude: same, .. } if same == magnitude)
        }
        Term::Float(value) => value.is_finite(),
        Term::Tuple(items) | Term::List(items) => all(items),
        Term::Improper(items, tail) => {
            let is_list = matches!(**tail, Term::List(_) | Term::Improper(..));
            !items.is_empty() && !is_list && all(items) && is_canonical(tail)
        }
        Term::Bits { bytes, bits } => {
            matches!(bits, 1..=7) && bytes.last().is_some_and(|last| last & (0xFF >> bits) == 0)
        }
        Term::Map(pairs) => {
            pairs.is_sorted_by(|(a, _), (b, _)| a < b)
                && pairs
                    .iter()
                    .all(|(key, value)| is_canonical(key) && is_canonical(value))
        }
        Term::Int(_)
        | Term::Atom(_)
        | Term::Binary(_)
        | Term::Pid(_)
        | Term::Ref(_)
        | Term::Port(_)
        | Term::Export { .. }
        | Term::Fun(_) => true,
    }
}

/// What holds for any bytes: no panic, bounded memory, and a decoded term survives encoding and decoding.
fn check(bytes: &[u8]) {
    let Ok(term) = read(bytes) else { return };
    assert!(is_canonical(&term), "{term:?}");
    assert!(
        footprint(&term) <= 2 * SLOT * bytes.len(),
        "{} of {}",
        footprint(&term),
        bytes.len()
    );
    assert_eq!(decode(&encoded(&term)), Ok(term.clone()));
    assert!(!term.to_string().is_empty());
}

fn fun(free: &[Term]) -> Term {
    let mut body = vec![1];
    body.extend([7; 16]);
    body.extend([0, 0, 0, 2, 0, 0, 0, free.len() as u8]);
    encode_bare(&Term::atom("module"), &mut body);
    encode_bare(&Term::Int(3), &mut body);
    encode_bare(&Term::Int(4_000_000), &mut body);
    encode_bare(&Term::Pid(pid(1)), &mut body);
    free.iter().for_each(|term| encode_bare(term, &mut body));
    let size = (body.len() as u32 + 4).to_be_bytes();
    Term::Fun([&size, body.as_slice()].concat().into())
}

fn pid(id: u32) -> Pid {
    Pid {
        node: Atom::new("a@h"),
        id,
        serial: 0,
        creation: 9,
    }
}

fn atom() -> impl Strategy<Value = Atom> {
    let long = "[a-zé日]{100,255}";
    prop_oneof![4 => "[a-z]{1,5}", 2 => "\\PC{0,20}", 1 => long].prop_map(|text| Atom::new(&text))
}

fn leaf() -> impl Strategy<Value = Term> {
    let words = prop::array::uniform5(any::<u32>());
    let reference = (atom(), any::<u32>(), 1..=5_u8, words).prop_map(|(node, creation, len, all)| {
        let mut words = [0; 5];
        words[..len.into()].copy_from_slice(&all[..len.into()]);
        Ref {
            node,
            creation,
            len,
            words,
        }
        .into()
    });
    let bits = (collection::vec(any::<u8>(), 1..80), 1..=7_u8).prop_map(|(mut bytes, bits)| {
        *bytes.last_mut().unwrap() &= !(0xFF >> bits);
        Term::Bits {
            bytes: bytes.into(),
            bits,
        }
    });
    prop_oneof![
        4 => (-300..300_i32).prop_map(Term::from),
        1 => any::<i64>().prop_map(Term::from),
        1 => any::<i128>().prop_map(Term::from),
        1 => (any::<bool>(), collection::vec(any::<u8>(), 0..300))
            .prop_map(|(negative, magnitude)| Term::integer(negative, &magnitude)),
        1 => any::<f64>().prop_filter_map("finite", Term::float),
        4 => atom().prop_map(Term::Atom),
        2 => collection::vec(any::<u8>(), 0..300).prop_map(Term::binary),
        1 => "\\PC{0,20}".prop_map(Term::from),
        1 => bits,
        1 => (atom(), any::<[u32; 3]>()).prop_map(|(node, [id, serial, creation])| {
            Pid { node, id, serial, creation }.into()
        }),
        1 => reference,
        1 => (atom(), any::<u64>(), 0..40_u32, any::<u32>())
            .prop_map(|(node, id, shift, creation)| (node, id >> shift, creation))
            .prop_map(|(node, id, creation)| Port { node, id, creation }.into()),
        1 => (atom(), atom(), any::<u8>())
            .prop_map(|(module, function, arity)| Term::Export { module, function, arity }),
    ]
}

fn term() -> impl Strategy<Value = Term> {
    leaf().prop_recursive(5, 60, 10, |inner| {
        let many = collection::vec(inner.clone(), 0..10);
        prop_oneof![
            many.clone().prop_map(Term::tuple),
            many.clone().prop_map(Term::List),
            collection::vec(any::<u8>(), 0..300).prop_map(Term::list),
            (many.clone(), inner.clone()).prop_map(|(items, tail)| Term::improper(items, tail)),
            collection::vec((inner.clone(), inner), 0..10).prop_map(Term::map),
            many.prop_map(|free| fun(&free)),
        ]
    })
}

/// Bytes with more tags and small counts than in random data.
fn junk() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => sample::select((67_u8..=121).collect::<Vec<_>>()),
        4 => 0..4_u8,
        1 => any::<u8>(),
    ];
    collection::vec(byte, 0..400).prop_map(|bytes| input(&[&bytes]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn terms_survive_encoding_and_decoding(terms in collection::vec(term(), 1..4)) {
        for term in &terms {
            let bytes = encoded(term);
            prop_assert_eq!(&decode(&bytes).unwrap(), term);
            check(&bytes);
        }
        let mut row = Vec::new();
        terms.iter().for_each(|term| encode_bare(term, &mut row));
        let (row, mut at) = (Bytes::from(row), 0);
        for term in &terms {
            prop_assert_eq!(&decode_bare(&row, &mut at).unwrap(), term);
        }
        prop_assert_eq!(at, row.len());
    }

    #[test]
    fn a_term_cut_short_or_with_more_behind_it_is_refused(
        term in term(),
        cut in any::<sample::Index>(),
    ) {
        let bytes = encoded(&term);
        let mut at = 1;
        let cut = bytes.slice(..cut.index(bytes.len()));
        prop_assert_eq!(decode(&cut), Err(DecodeError::Truncated));
        prop_assert_eq!(decode_bare(&cut, &mut at), Err(DecodeError::Truncated));
        prop_assert_eq!(at, 1);
        let more = [&bytes[..], &[106, 0]].concat();
        prop_assert_eq!(read(&more), Err(DecodeError::Trailing(2)));
    }

    #[test]
    fn junk_does_no_harm(bytes in junk()) {
        check(&bytes);
        let bytes = Bytes::from(bytes);
        for at in 0..bytes.len() {
            let _ = decode_bare(&bytes, &mut at.clone());
        }
    }

    #[test]
    fn terms_with_a_few_wrong_bytes_do_no_harm(
        term in term(),
        faults in collection::vec((any::<sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encoded(&term).to_vec();
        for (at, byte) in faults {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            check(&bytes);
        }
    }

    #[test]
    fn order_is_total(a in term(), b in term(), c in term()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a == b, encoded(&a) == encoded(&b));
        prop_assert_eq!(a.cmp(&a), Ordering::Equal);
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
    }

    #[test]
    fn integers_compare_by_value(a in any::<i128>(), b in any::<i128>(), shift in 0..120_u32) {
        let (a, b) = (a >> shift, b >> shift);
        prop_assert_eq!(Term::from(a).cmp(&Term::from(b)), a.cmp(&b));
        prop_assert_eq!(Term::from(a).to_string(), a.to_string());
    }

    #[test]
    fn floats_are_shown_so_that_they_read_back(value in any::<f64>()) {
        let Some(term) = Term::float(value) else { return Ok(()) };
        let text = term.to_string();
        prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
        prop_assert!(text.contains('.'));
    }
}

#[test]
fn the_checks_themselves_find_faults() {
    assert_eq!(footprint(&Term::List(Vec::with_capacity(100))), 100 * SLOT);
    assert_eq!(
        footprint(&Term::Tuple(vec![Term::List(Vec::with_capacity(5))])),
        6 * SLOT
    );
    let wrong = [
        Term::Big {
            negative: false,
            magnitude: Bytes::from_static(&[1]),
        },
        Term::Big {
            negative: false,
            magnitude: Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]),
        },
        Term::Float(f64::NAN),
        Term::Improper(vec![], Term::Int(1).into()),
        Term::Improper(vec![Term::NIL], Term::NIL.into()),
        Term::Bits {
            bytes: Bytes::from_static(&[0xFF]),
            bits: 3,
        },
        Term::Map(vec![(Term::Int(2), Term::NIL), (Term::Int(1), Term::NIL)]),
        Term::Map(vec![(Term::Int(1), Term::NIL), (Term::Int(1), Term::NIL)]),
    ];
    for term in wrong {
        assert!(!is_canonical(&term), "{term:?}");
        assert!(!is_canonical(&Term::tuple([term])));
    }
}

#[test]
fn tags_that_have_no_place_in_a_term_are_refused() {
    for tag in (0..=255).filter(|tag| !(97..=120).contains(tag) && ![70, 77, 88, 89, 90].contains(tag)) {
        refused(&[&[tag], &[0; 64]], DecodeError::Tag(tag));
        refused(&[&[104, 1, tag], &[0; 64]], DecodeError::Tag(tag));
    }
    refused(&[&[117], &[0; 64]], DecodeError::Tag(117));
    assert_eq!(read(&[130, 106]), Err(DecodeError::Version(130)));
    assert_eq!(read(&[]), Err(DecodeError::Truncated));
    assert_eq!(read(&[131]), Err(DecodeError::Truncated));
    assert_eq!(
        decode_bare(&Bytes::from_static(&[106]), &mut 7),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn counts_are_not_believed() {
    refused(&[&[112], &[0xFF; 40]], DecodeError::Truncated);
    for tag in [105, 108, 109, 116] {
        refused(&[&[tag], &[0xFF; 40]], DecodeError::Truncated);
        refused(&[&[tag, 0, 0, 0, 42], &[106; 41]], DecodeError::Truncated);
    }
    refused(&[&[77], &[0xFF; 4], &[7], &[1; 40]], DecodeError::Truncated);
    refused(&[&[111], &[0xFF; 40]], DecodeError::Magnitude);
    refused(&[&[107, 0xFF, 0xFF], &[1; 40]], DecodeError::Truncated);
    refused(&[&[118, 0xFF, 0xFF], &[97; 40]], DecodeError::Truncated);
}

#[test]
fn bytes_that_one_container_needs_are_not_counted_for_another() {
    let binary = [109, 0, 0, 0, 3, 1, 1, 1];
    refused(&[&[104, 2], &binary], DecodeError::Truncated);
    accepted(
        &[&[104, 2], &binary, &[106]],
        &Term::tuple([Term::binary([1, 1, 1]), Term::NIL]),
    );
}

#[test]
fn a_term_takes_one_slot_for_a_byte_at_most() {
    let chars = input(&[&[107, 0x80, 0], &[1; 0x8000]]);
    let nils = input(&[&[108, 0, 0, 0x80, 0], &[106; 0x8001]]);
    let pairs = input(&[&[104, 2], &[104, 2].repeat(200), &[106; 201 + 1]]);
    for bytes in [chars, nils, pairs] {
        let term = read(&bytes).unwrap();
        assert!(footprint(&term) <= SLOT * bytes.len());
    }
    let one = [108, 0, 0, 0, 1, 106];
    let links = input(&[&one.repeat(5000), &[106]]);
    let tail = input(&[&one, &[108, 0, 0, 0x13, 0x87], &[106; 5000]]);
    for bytes in [links, tail] {
        let term = read(&bytes).unwrap();
        assert_eq!(term, Term::List(vec![Term::NIL; 5000]));
        assert!(footprint(&term) <= 2 * SLOT * bytes.len());
    }
}

#[test]
fn a_large_term_takes_three_bytes_for_an_element() {
    let nils = |count: usize| input(&[&[108], &(count as u32).to_be_bytes(), &vec![106; count + 1]]);
    // The tail of the list counts as an element.
    let length = read(&nils(ELEMENTS_MAX - 1)).map(|term| term.as_list().unwrap().len());
    assert_eq!(length, Ok(ELEMENTS_MAX - 1));
    assert_eq!(read(&nils(ELEMENTS_MAX)), Err(DecodeError::Elements));
    // The bytes of strings in a list count too.
    let strings = [&[107, 0xFF, 0xFF][..], &[1; 0xFFFF]]
        .concat()
        .repeat(ELEMENTS_MAX / 0xFFFF + 1);
    let count = (ELEMENTS_MAX / 0xFFFF + 1) as u32;
    let strings = input(&[&[108], &count.to_be_bytes(), &strings, &[106]]);
    assert_eq!(read(&strings), Err(DecodeError::Elements));
    let tuples = [104, 1, 106].repeat(ELEMENTS_MAX / 2 + 1);
    let count = (ELEMENTS_MAX / 2 + 1) as u32;
    let tuples = input(&[&[108], &count.to_be_bytes(), &tuples, &[106]]);
    assert_eq!(read(&tuples), Err(DecodeError::Elements));
    let binaries = [109, 0, 0, 0, 1, 7].repeat(ELEMENTS_MAX + 1);
    let count = (ELEMENTS_MAX + 1) as u32;
    let binaries = input(&[&[108], &count.to_be_bytes(), &binaries, &[106]]);
    assert!(read(&binaries).is_ok());
}

#[test]
fn terms_nest_to_the_limit_and_no_deeper() {
    let nests: [(&[u8], &[u8]); 5] = [
        (&[104, 1], &[]),
        (&[108, 0, 0, 0, 1], &[106]),
        (&[108, 0, 0, 0, 1, 106], &[]),
        (&[116, 0, 0, 0, 1, 106], &[]),
        (&[116, 0, 0, 0, 1], &[106]),
    ];
    for (index, (before, after)) in nests.into_iter().enumerate() {
        let nest = |depth| input(&[&before.repeat(depth), &[97, 1], &after.repeat(depth)]);
        check(&nest(DEPTH_MAX));
        assert!(read(&nest(DEPTH_MAX)).is_ok());
        // Lists that follow each other as tails are one list; they do not nest.
        let deeper = if index == 2 { Ok(()) } else { Err(DecodeError::Depth) };
        assert_eq!(read(&nest(DEPTH_MAX + 1)).map(drop), deeper);
        assert_eq!(read(&nest(100_000)).map(drop), deeper);
    }
    let funs = (0..DEPTH_MAX + 1).fold(Term::NIL, |inner, _| fun(&[inner]));
    assert_eq!(decode(&encoded(&funs)), Err(DecodeError::Depth));
}

#[test]
fn a_key_twice_is_refused() {
    refused(&[&[116, 0, 0, 0, 2, 97, 1, 106, 97, 1, 106]], DecodeError::DuplicateKey);
    refused(
        &[&[116, 0, 0, 0, 2, 97, 1, 106, 110, 1, 0, 1, 106]],
        DecodeError::DuplicateKey,
    );
    refused(
        &[&[116, 0, 0, 0, 3, 97, 1, 106, 97, 2, 106, 97, 1, 106]],
        DecodeError::DuplicateKey,
    );
    // Two keys that are the same map, with its pairs in another order.
    let (one, two) = ([97, 1, 106], [97, 2, 106]);
    let map = [116, 0, 0, 0, 2];
    refused(
        &[&map, &map, &one, &two, &[106], &map, &two, &one, &[106]],
        DecodeError::DuplicateKey,
    );
    // An integer and a float are different keys.
    let float = [70, 0x3F, 0xF0, 0, 0, 0, 0, 0, 0];
    let both = Term::map([(Term::Int(1), Term::NIL), (Term::Float(1.0), Term::NIL)]);
    accepted(&[&map, &float, &[106, 97, 1, 106]], &both);
}

#[test]
fn atoms_are_short_and_utf8() {
    refused(&[&[119, 2, 0xC3, 0x28]], DecodeError::Atom);
    refused(&[&[118, 1, 0], &[97; 256]], DecodeError::Atom);
    refused(&[&[100, 1, 0], &[0xE5; 256]], DecodeError::Atom);
    refused(&[&[88, 97, 1], &[0; 12]], DecodeError::Atom);
    accepted(&[&[115, 255], &[0xE5; 255]], &Term::Atom(Atom::new(&"å".repeat(255))));
    let widest = Term::Atom(Atom::new(&"𝄞".repeat(255)));
    assert_eq!(decode(&encoded(&widest)), Ok(widest));
    for text in ["", "exactly14bytes", "and fifteen byt", "a@some.long.host.name"] {
        let atom = Atom::new(text);
        assert_eq!(atom.as_str(), text);
        assert_eq!(atom, text);
        assert_eq!(Atom::from_utf8(text.as_bytes()), Some(atom));
    }
}

#[test]
#[should_panic(expected = "at most 255 characters")]
fn an_atom_of_our_own_that_is_too_long_is_a_bug() {
    Atom::new(&"é".repeat(256));
}

#[test]
fn numbers_and_references_keep_their_limits() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refused(&[&[70], &value.to_be_bytes()], DecodeError::Float);
        assert_eq!(Term::float(value), None);
    }
    for text in ["inf", "nan", "1e999", "", "x", "1.0 "] {
        let mut field = [0; 31];
        field[..text.len()].copy_from_slice(text.as_bytes());
        refused(&[&[99], &field], DecodeError::Float);
    }
    let largest = Term::integer(true, &[0xFF; MAGNITUDE_MAX]);
    assert_eq!(decode(&encoded(&largest)), Ok(largest));
    let larger = [&[111, 0, 1, 0, 1, 0][..], &[1; MAGNITUDE_MAX + 1]].concat();
    refused(&[&larger], DecodeError::Magnitude);
    for words in [0, 6, 0xFF] {
        refused(&[&[90, 0, words, 119, 1, 97], &[0; 64]], DecodeError::Reference);
    }
    refused(&[&[90, 1, 1, 119, 1, 97], &[0; 64]], DecodeError::Reference);
    for bits in [0, 9, 255] {
        refused(&[&[77, 0, 0, 0, 1, bits, 0]], DecodeError::Bits);
    }
    refused(&[&[77, 0, 0, 0, 0, 1]], DecodeError::Bits);
}

#[test]
fn funs_are_kept_whole_or_refused() {
    let whole = fun(&[Term::from(("kept", 1)), fun(&[])]);
    assert_eq!(decode(&encoded(&whole)), Ok(whole.clone()));
    assert_eq!(whole.to_string(), "#Fun<module.3.4000000>");
    assert_eq!(Term::Fun(Bytes::from_static(b"junk")).to_string(), "#Fun<>");
    let bytes = encoded(&whole);
    let size = bytes.len() as u8 - 2;
    for size in [0, 3, 20, size - 1, size + 1] {
        let mut bytes = bytes.to_vec();
        bytes[5] = size;
        bytes.push(106);
        assert_eq!(read(&bytes), Err(DecodeError::Fun), "size {size}");
    }
    refused(&[&[113, 119, 1, 97, 119, 1, 98, 98, 0, 0, 1, 0]], DecodeError::Fun);
    refused(&[&[113, 119, 1, 97, 119, 1, 98, 106]], DecodeError::Fun);
}

#[test]
fn large_binaries_are_slices_and_small_ones_copies() {
    let within = |input: &Bytes, term: &Term| input.as_ptr_range().contains(&term.as_binary().unwrap().as_ptr());
    for (size, beside, is_slice) in [(63, 0, false), (64, 0, true), (1000, 6000, true), (1000, 9000, false)] {
        let binary = Term::binary(vec![1; size]);
        let input = encoded(&Term::tuple([binary, Term::binary(vec![2; beside])]));
        let term = decode(&input).unwrap();
        assert_eq!(
            within(&input, &term.as_tuple().unwrap()[0]),
            is_slice,
            "{size} beside {beside}"
        );
    }
}

#[test]
fn lists_of_bytes_travel_as_strings() {
    let head = |term: &Term| encoded(term)[1];
    assert_eq!(head(&Term::list(vec![1; 65535])), 107);
    assert_eq!(head(&Term::list(vec![1; 65536])), 108);
    assert_eq!(head(&Term::list([1, 255])), 107);
    assert_eq!(head(&Term::list([1, 256])), 108);
    assert_eq!(head(&Term::list([1, -1])), 108);
    assert_eq!(head(&Term::improper(vec![Term::Int(1)], Term::Int(2))), 108);
    for count in [65535, 65536] {
        let term = Term::list(vec![1; count]);
        assert_eq!(decode(&encoded(&term)), Ok(term));
    }
}

#[test]
fn terms_are_short_to_write_and_to_take_apart() {
    let term = Term::from((Term::atom("ok"), vec![Term::from(1), "two".into()], u64::MAX, true));
    assert_eq!(term.to_string(), r#"{ok,[1,<<"two">>],18446744073709551615,true}"#);
    let Some([ok, list, big, yes]) = term.as_tuple() else {
        panic!("a tuple of four")
    };
    assert!(ok.is_atom("ok") && !ok.is_atom("o") && yes.is_atom("true"));
    assert_eq!(list.as_list().unwrap()[1].as_binary().unwrap(), "two");
    assert_eq!((big.as_int(), big.as_u64()), (None, Some(u64::MAX)));
    assert_eq!(Term::from(1_u128 << 64).as_u64(), None);
    assert_eq!(Term::from(-1).as_u64(), None);
    assert_eq!(Term::from(i64::MIN).as_int(), Some(i64::MIN));
    assert_eq!(Term::float(0.5).unwrap().as_float(), Some(0.5));
    assert_eq!(Term::from(pid(4)).as_pid().unwrap().id, 4);
    assert_eq!(Term::chars("hé"), Term::list([104, 233]));

    let map = Term::map([("b".into(), 1.into()), ("a".into(), 2.into()), ("b".into(), 3.into())]);
    assert_eq!(map.to_string(), r#"#{<<"a">> => 2,<<"b">> => 3}"#);
    assert_eq!(map.get(&"b".into()), Some(&Term::Int(3)));
    assert_eq!(map.get(&"c".into()), None);
    assert_eq!(ok.get(&"b".into()), None);

    let tail = Term::improper(vec![Term::Int(2)], Term::Int(3));
    assert_eq!(Term::improper(vec![Term::Int(1)], tail).to_string(), "[1,2|3]");
    assert_eq!(Term::improper(vec![Term::NIL], Term::NIL), Term::List(vec![Term::NIL]));
    assert_eq!(Term::improper(vec![], Term::Int(3)), Term::Int(3));
}

#[test]
fn huge_integers_are_shown_in_hexadecimal() {
    let decimal = Term::integer(true, &[0xFF; 1024]).to_string();
    assert_eq!((decimal.len(), &decimal[..6]), (2468, "-10907"));
    let mut magnitude = vec![0; 1025];
    magnitude[1024] = 0xA;
    let zeros = String::from("0").repeat(2048);
    assert_eq!(Term::integer(false, &magnitude).to_string(), format!("16#A{zeros}"));
}
