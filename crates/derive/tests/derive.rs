//! Derived types: the terms that Elixir would write, read back as they were; errors that say where.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use salp_derive::{FromTerm, ToTerm};
use std::collections::BTreeMap;
use wire::etf::{FromTerm, Term, ToTerm, decode, encode};

#[derive(Clone, Debug, PartialEq, ToTerm, FromTerm)]
#[term(crate = "wire::etf", module = "Elixir.Shop.User")]
struct User {
    name: String,
    #[term(rename = "type")]
    kind: Kind,
    age: Option<u8>,
    tags: Vec<Tag>,
    scores: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, PartialEq, ToTerm, FromTerm)]
#[term(crate = "wire::etf")]
enum Kind {
    Guest,
    #[term(rename = "root")]
    Admin,
    Member(u64),
    Moved(i32, bool),
    Company {
        tax_id: String,
        parent: Option<Box<Kind>>,
    },
}

#[derive(Clone, Debug, PartialEq, ToTerm, FromTerm)]
#[term(crate = "wire::etf")]
struct Tag(i16);

#[derive(Clone, Debug, PartialEq, ToTerm, FromTerm)]
#[term(crate = "wire::etf")]
struct Pair<A, B>(A, B);

#[derive(Clone, Debug, PartialEq, ToTerm, FromTerm)]
#[term(crate = "wire::etf")]
struct NotThere;

fn user() -> User {
    User {
        name: "Ada".into(),
        kind: Kind::Company {
            tax_id: "7".into(),
            parent: Some(Box::new(Kind::Moved(-1, true))),
        },
        age: None,
        tags: vec![Tag(1), Tag(-2)],
        scores: BTreeMap::from([("x".into(), 9)]),
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    let leaf = prop_oneof![
        Just(Kind::Guest),
        Just(Kind::Admin),
        any::<u64>().prop_map(Kind::Member),
        any::<(i32, bool)>().prop_map(|(a, b)| Kind::Moved(a, b)),
    ];
    leaf.prop_recursive(4, 8, 1, |inner| {
        (any::<String>(), proptest::option::of(inner)).prop_map(|(tax_id, parent)| Kind::Company {
            tax_id,
            parent: parent.map(Box::new),
        })
    })
}

fn users() -> impl Strategy<Value = User> {
    let scores = proptest::collection::btree_map(any::<String>(), any::<i64>(), 0..4);
    let tags = proptest::collection::vec(any::<i16>().prop_map(Tag), 0..4);
    (any::<String>(), kinds(), any::<Option<u8>>(), tags, scores).prop_map(|(name, kind, age, tags, scores)| User {
        name,
        kind,
        age,
        tags,
        scores,
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(user in users(), float in any::<f64>(), result in any::<Result<(u64, bool), String>>()) {
        let value = Pair(user, (float, result));
        let mut bytes = Vec::new();
        encode(&value.to_term(), &mut bytes);
        let back = read_like(&value, &decode(&bytes.into()).unwrap());
        prop_assert_eq!(&back.0, &value.0);
        prop_assert_eq!(&back.1.1, &value.1.1);
        prop_assert!(back.1.0 == value.1.0 || value.1.0.is_nan());
    }
}

/// Reads a term as the type of `_like`.
fn read_like<T: FromTerm>(_like: &T, term: &Term) -> T {
    T::from_term(term).unwrap()
}

#[test]
fn terms_are_as_elixir_writes_them() {
    let shown = user().to_term().to_string();
    let expected = "#{'__struct__' => 'Elixir.Shop.User',age => nil,name => <<\"Ada\">>,scores => #{<<\"x\">> => 9},\
                    tags => [1,-2],type => {company,#{parent => {moved,-1,true},tax_id => <<\"7\">>}}}";
    assert_eq!(shown, expected);
    for (kind, expected) in [
        (Kind::Guest, "guest"),
        (Kind::Admin, "root"),
        (Kind::Member(7), "{member,7}"),
    ] {
        assert_eq!(kind.to_term().to_string(), expected);
    }
    assert_eq!(
        Pair(NotThere, f64::INFINITY).to_term().to_string(),
        "{not_there,infinity}"
    );
}

#[track_caller]
fn refused<T: FromTerm>(term: &Term, expected: &str) {
    assert_eq!(T::from_term(term).err().unwrap().to_string(), expected);
}

/// The map of a user with one value put into it, or taken out.
fn with(key: &'static str, value: Option<Term>) -> Term {
    let term = user().to_term();
    let mut pairs = term.as_map().unwrap().to_vec();
    pairs.retain(|(held, _)| !held.is_atom(key));
    pairs.extend(value.map(|value| (Term::atom(key), value)));
    Term::map(pairs)
}

#[test]
fn errors_name_the_field() {
    refused::<User>(
        &with("age", Some(300.into())),
        "age: expected an integer from 0 to 255, found an integer",
    );
    refused::<User>(&with("name", None), "name: expected a value, found nothing");
    let tags = Term::list([Term::from(1), "x".into()]);
    let expected = "tags.1: expected a signed integer of 16 bits, found a binary";
    refused::<User>(&with("tags", Some(tags)), expected);
    let company = Term::from((Term::atom("company"), Term::map([(Term::atom("tax_id"), 1.into())])));
    let expected = "type.company.tax_id: expected a binary of UTF-8, found an integer";
    refused::<User>(&with("type", Some(company)), expected);
    let expected = "type: expected one of: guest, root, member, moved, company, found an atom";
    refused::<User>(&with("type", Some(Term::atom("admin"))), expected);
    let module = Some(Term::atom("Elixir.User"));
    refused::<User>(
        &with("__struct__", module),
        "expected a struct of Elixir.Shop.User, found a map",
    );
    refused::<Pair<u8, u8>>(&Term::NIL, "expected a tuple of 2, found a list");
    refused::<Pair<u8, u8>>(&(1, true).into(), "1: expected an integer from 0 to 255, found an atom");
    refused::<NotThere>(&Term::atom("there"), "expected the atom not_there, found an atom");
}

#[test]
fn either_side_may_gain_fields_first() {
    assert_eq!(User::from_term(&with("age", None)).unwrap(), user());
    assert_eq!(User::from_term(&with("new", Some(1.into()))).unwrap(), user());
}

#[test]
fn a_tag_alone_is_no_tuple() {
    let expected = "expected one of: guest, root, member, moved, company, found a tuple";
    refused::<Kind>(&Term::tuple([Term::atom("guest")]), expected);
    refused::<Kind>(&Term::tuple([Term::atom("member")]), expected);
    assert_eq!(
        Kind::from_term(&(Term::atom("member"), u64::MAX).into()).unwrap(),
        Kind::Member(u64::MAX)
    );
}
