//! [`ToTerm`] and [`FromTerm`]: Rust values as the terms that Elixir would write for them.
//!
//! | Rust | term |
//! |---|---|
//! | integers, `bool` | integer, `true`, `false` |
//! | `f64` | float; `nan`, `infinity` or `neg_infinity` for values that Erlang's floats lack |
//! | `String`, `Bytes` | binary |
//! | `Option` | `nil` or the value, so an `Option` of an `Option` reads back as one `Option` |
//! | `Result` | `{ok, Value}`, `{error, Reason}` |
//! | `Vec`, `BTreeMap`, tuples | list, map, tuple |
//! | a derived struct | map with atoms as keys; tuple; or the value of its only unnamed field |
//! | a derived enum | atom, or tuple that begins with one |
//!
//! Atoms are made only from names in the program. Reading makes no atoms: text that a user typed is a binary. Reading
//! looks at each part of a term once, and copies only what the value holds.

use super::{Atom, Pid, Ref, Term};
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use bytes::Bytes;
use core::{error::Error, fmt};

/// A value that can be written as a term.
pub trait ToTerm {
    /// The term of this value.
    fn to_term(&self) -> Term;
}

/// A value that can be read from a term.
pub trait FromTerm: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// Says which part of the term does not fit.
    fn from_term(term: &Term) -> Result<Self, Mismatch>;

    /// The value for a key that a map lacks; `None` if the key must be there.
    fn missing() -> Option<Self> {
        None
    }
}

/// A term that does not fit the type it is read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The place of the misfit, from outside in: fields, and positions in tuples and lists. Empty for the term as a
    /// whole.
    pub path: String,
    /// What was expected there.
    pub expected: &'static str,
    /// What was there.
    pub found: &'static str,
}

impl Mismatch {
    /// `found` is not the expected term.
    pub fn new(expected: &'static str, found: &Term) -> Self {
        let found = match found {
            Term::Int(_) | Term::Big { .. } => "an integer",
            Term::Float(_) => "a float",
            Term::Atom(_) => "an atom",
            Term::Tuple(_) => "a tuple",
            Term::List(_) => "a list",
            Term::Improper(..) => "an improper list",
            Term::Binary(_) => "a binary",
            Term::Bits { .. } => "a bitstring",
            Term::Map(_) => "a map",
            Term::Pid(_) => "a pid",
            Term::Ref(_) => "a reference",
            Term::Port(_) => "a port",
            Term::Export { .. } | Term::Fun(_) => "a function",
        };
        Self::of(expected, found)
    }

    /// A map lacks a key.
    pub fn missing() -> Self {
        Self::of("a value", "nothing")
    }

    fn of(expected: &'static str, found: &'static str) -> Self {
        Self {
            path: String::new(),
            expected,
            found,
        }
    }

    /// The same mismatch, with one outer step added to its path.
    #[must_use]
    pub fn within(mut self, step: impl fmt::Display) -> Self {
        let inner = core::mem::take(&mut self.path);
        let dot = if inner.is_empty() { "" } else { "." };
        self.path = format!("{step}{dot}{inner}");
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

impl Error for Mismatch {}

/// Reads the value of a key of a map; an error names the key. For derived code.
///
/// # Errors
/// The key is missing, or its value does not fit.
pub fn field<T: FromTerm>(map: &Term, key: &'static str) -> Result<T, Mismatch> {
    let read = match map.get(&Term::atom(key)) {
        Some(value) => T::from_term(value),
        None => T::missing().ok_or_else(Mismatch::missing),
    };
    read.map_err(|mismatch| mismatch.within(key))
}

/// Reads the element at a position of a tuple; an error names the position. For derived code.
///
/// # Errors
/// The tuple is too short, or the element does not fit.
pub fn element<T: FromTerm>(items: &[Term], at: usize) -> Result<T, Mismatch> {
    let read = items.get(at).ok_or_else(Mismatch::missing).and_then(T::from_term);
    read.map_err(|mismatch| mismatch.within(at))
}

impl ToTerm for Term {
    fn to_term(&self) -> Term {
        self.clone()
    }
}

impl FromTerm for Term {
    fn from_term(term: &Term) -> Result<Self, Mismatch> {
        Ok(term.clone())
    }
}

macro_rules! integers {
    ($($kind:ty: $expected:literal),* $(,)?) => {$(
        impl ToTerm for $kind {
            fn to_term(&self) -> Term {
                Term::from(i128::try_from(*self).expect("at most 64 bits"))
            }
        }

        impl FromTerm for $kind {
            fn from_term(term: &Term) -> Result<Self, Mismatch> {
                let signed = term.as_int().and_then(|value| Self::try_from(value).ok());
                signed
                    .or_else(|| Self::try_from(term.as_u64()?).ok())
                    .ok_or_else(|| Mismatch::new($expected, term))
            }
        }
    )*};
}

integers! {
    i8: "an integer from -128 to 127",
    i16: "a signed integer of 16 bits",
    i32: "a signed integer of 32 bits",
    i64: "a signed integer of 64 bits",
    isize: "a signed integer of the machine's size",
    u8: "an integer from 0 to 255",
    u16: "an integer of 16 bits, not negative",
    u32: "an integer of 32 bits, not negative",
    u64: "an integer of 64 bits, not negative",
    usize: "an integer of the machine's size, not negative",
}

/// Types that a variant of [`Term`] holds as they are.
macro_rules! held {
    ($($kind:ty: $expected:literal, $read:ident),* $(,)?) => {$(
        impl ToTerm for $kind {
            fn to_term(&self) -> Term {
                self.clone().into()
            }
        }

        impl FromTerm for $kind {
            fn from_term(term: &Term) -> Result<Self, Mismatch> {
                term.$read().cloned().ok_or_else(|| Mismatch::new($expected, term))
            }
        }
    )*};
}

held! {
    Atom: "an atom", as_atom,
    Pid: "a pid", as_pid,
    Ref: "a reference", as_reference,
    Bytes: "a binary", as_binary,
}

impl ToTerm for bool {
    fn to_term(&self) -> Term {
        (*self).into()
    }
}

impl FromTerm for bool {
    fn from_term(term: &Term) -> Result<Self, Mismatch> {
        match term.as_atom().map(Atom::as_str) {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) | None => Err(Mismatch::new("true or false", term)),
        }
    }
}

impl ToTerm for f64 {
    fn to_term(&self) -> Term {
        Term::float(*self).unwrap_or_else(|| {
            Term::atom(match *self {
                f64::INFINITY => "infinity",
                f64::NEG_INFINITY => "neg_infinity",
                _ => "nan",
            })
        })
    }
}

impl FromTerm for f64 {
    fn from_term(term: &Term) -> Result<Self, Mismatch> {
        match (term.as_float(), term.as_atom().map(Atom::as_str)) {
            (Some(value), _) => Ok(value),
            (None, Some("infinity")) => Ok(Self::INFINITY),
            (None, Some("neg_infinity")) => Ok(Self::NEG_INFINITY),
            (None, Some("nan")) => Ok(Self::NAN),
            (None, _) => Err(Mismatch::new("a float", term)),
        }
    }
}

impl ToTerm for str {
    fn to_term(&self) -> Term {
        self.into()
    }
}

impl ToTerm for String {
    fn to_term(&self) -> Term {
        self.as_str().into()
    }
}

impl FromTerm for String {
    fn from_term(term: &Term) -> Result<Self, Mismatch> {
        let text = term.as_binary().and_then(|bytes| core::str::from_utf8(bytes).ok());
        text.map(ToString::to_string)
            .ok_or_else(|| Mismatch::new("a binary of UTF-8", term))
    }
}

impl<T: ToTerm + ?Sized> ToTerm for &T {
    fn to_term(&self) -> Term {
        (**self).to_term()
    }
}

impl<T: ToTerm> ToTerm for Box<T> {
    fn to_term(&self) -> Term {
        (**self).to_term()
    }
}

impl<T: FromTerm> FromTerm for Box<T> {
    fn from_term(term: &Term) -> Result<Self, Mismatch> {
        T::from_term(term).map(Self::new)
    }
}

impl<T: ToTerm> ToTerm for Option<T> {
    fn to_term(&self) -> Term {
        self.as_ref().map_or(Term::atom("nil"), T::to_term)
    }
}

impl<T: FromTerm> FromTerm for Option<T> {
    fn from_term(term: &Term) -> Result<Self, Mismatch> {
        if term.is_atom("nil") {
            return Ok(None);
        }
        T::from_term(term).map(Some)
    }

    fn missing() -> Option<Self> {
        Some(None)
    }
}

impl<T: ToTerm, E: ToTerm> ToTerm for Result<T, E> {
    fn to_term(&self) -> Term {
        match self {
            Ok(value) => Term::tuple([Term::atom("ok"), value.to_term()]),
            Err(reason) => Term::tuple([Term::atom("error"), reason.to_term()]),
        }
    }
}

impl<T: FromTerm, E: FromTerm> FromTerm for Result<T, E> {
    fn from_term(term: &Term) -> Result<Self, Mismatch> {
        match term.as_tuple() {
            Some(items @ [tag, _]) if tag.is_atom("ok") => element(items, 1).map(Ok),
            Some(items @ [tag, _]) if tag.is_atom("error") => element(items, 1).map(Err),
            Some(_) | None => Err(Mismatch::new("{ok, Value} or {error, Reason}", term)),
        }
    }
}

impl<T: ToTerm> ToTerm for Vec<T> {
    fn to_term(&self) -> Term {
        Term::List(self.iter().map(T::to_term).collect())
    }
}

impl<T: FromTerm> FromTerm for Vec<T> {
    fn from_term(term: &Term) -> Result<Self, Mismatch> {
        let items = term.as_list().ok_or_else(|| Mismatch::new("a list", term))?;
        let read = |(at, item)| T::from_term(item).map_err(|mismatch| mismatch.within(at));
        items.iter().enumerate().map(read).collect()
    }
}

impl<K: ToTerm, V: ToTerm> ToTerm for BTreeMap<K, V> {
    fn to_term(&self) -> Term {
        let pairs: Vec<(Term, Term)> = self
            .iter()
            .map(|(key, value)| (key.to_term(), value.to_term()))
            .collect();
        Term::map(pairs)
    }
}

impl<K: FromTerm + Ord, V: FromTerm> FromTerm for BTreeMap<K, V> {
    fn from_term(term: &Term) -> Result<Self, Mismatch> {
        let pairs = term.as_map().ok_or_else(|| Mismatch::new("a map", term))?;
        let read = |(key, value)| Ok((K::from_term(key)?, V::from_term(value)?));
        pairs.iter().map(|(key, value)| read((key, value))).collect()
    }
}

macro_rules! tuples {
    ($($count:literal $expected:literal: $($at:tt $item:ident),*;)*) => {$(
        impl<$($item: ToTerm),*> ToTerm for ($($item,)*) {
            fn to_term(&self) -> Term {
                Term::tuple([$(self.$at.to_term()),*])
            }
        }

        impl<$($item: FromTerm),*> FromTerm for ($($item,)*) {
            fn from_term(term: &Term) -> Result<Self, Mismatch> {
                match term.as_tuple() {
                    Some(items) if items.len() == $count => Ok(($(element::<$item>(items, $at)?,)*)),
                    Some(_) | None => Err(Mismatch::new($expected, term)),
                }
            }
        }
    )*};
}

tuples! {
    1 "a tuple of 1": 0 A;
    2 "a tuple of 2": 0 A, 1 B;
    3 "a tuple of 3": 0 A, 1 B, 2 C;
    4 "a tuple of 4": 0 A, 1 B, 2 C, 3 D;
}
