//! Terms from Rust values, and Rust values from terms.
//!
//! The terms are those that Elixir would write: text is a binary, a sequence is a list, a tuple is a tuple.

use super::{Atom, Pid, Port, Ref, Term};
use alloc::{boxed::Box, string::String, vec::Vec};
use bytes::Bytes;

/// Making terms.
impl Term {
    /// The empty list.
    pub const NIL: Self = Self::List(Vec::new());

    /// The atom of a constant. Put other text into a binary: every new atom stays forever in every BEAM that sees it.
    pub fn atom(text: &'static str) -> Self {
        Self::Atom(Atom::new(text))
    }

    /// A binary with a copy of `bytes`. `Term::from` makes one of [`Bytes`] without a copy.
    pub fn binary(bytes: impl AsRef<[u8]>) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes.as_ref()))
    }

    /// A tuple of any size. `Term::from((a, b))` is shorter for small ones.
    pub fn tuple(items: impl Into<Vec<Self>>) -> Self {
        Self::Tuple(items.into())
    }

    /// A proper list.
    pub fn list<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    /// A list of characters, as Erlang's `"text"` is.
    pub fn chars(text: &str) -> Self {
        Self::list(text.chars().map(u32::from))
    }

    /// `items` with `tail` behind them. A tail that is a list continues it.
    pub fn improper(mut items: Vec<Self>, tail: Self) -> Self {
        match tail {
            Self::List(rest) => {
                items.extend(rest);
                Self::List(items)
            }
            Self::Improper(rest, tail) => {
                items.extend(rest);
                Self::Improper(items, tail)
            }
            tail if items.is_empty() => tail,
            tail => Self::Improper(items, Box::new(tail)),
        }
    }

    /// A map. If two pairs have the same key, the later one stays.
    pub fn map(pairs: impl Into<Vec<(Self, Self)>>) -> Self {
        let mut pairs = pairs.into();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.dedup_by(|later, kept| {
            let twice = later.0 == kept.0;
            if twice {
                core::mem::swap(later, kept);
            }
            twice
        });
        Self::Map(pairs)
    }

    /// A float; `None` for infinities and NaN, which Erlang does not have.
    pub fn float(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self::Float(value))
    }

    /// The integer with this sign and this little-endian magnitude.
    pub fn integer(negative: bool, magnitude: &[u8]) -> Self {
        let used = magnitude.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let magnitude = &magnitude[..used];
        let mut low = [0; 8];
        if let Some(low) = low.get_mut(..used) {
            low.copy_from_slice(magnitude);
        }
        let low = u64::from_le_bytes(low);
        let small = match (used > 8, negative) {
            (true, _) => None,
            (false, true) => 0_i64.checked_sub_unsigned(low),
            (false, false) => i64::try_from(low).ok(),
        };
        match small {
            Some(value) => Self::Int(value),
            None => Self::Big {
                negative,
                magnitude: Bytes::copy_from_slice(magnitude),
            },
        }
    }
}

/// Taking terms apart.
impl Term {
    /// Whether it is the atom with this text.
    pub fn is_atom(&self, text: &str) -> bool {
        self.as_atom().is_some_and(|atom| atom == text)
    }

    /// The atom, if it is one.
    pub fn as_atom(&self) -> Option<&Atom> {
        if let Self::Atom(atom) = self { Some(atom) } else { None }
    }

    /// The integer, if it is one and fits.
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The integer, if it is one and fits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Int(value) => u64::try_from(*value).ok(),
            Self::Big {
                negative: false,
                magnitude,
            } => {
                let mut low = [0; 8];
                low.get_mut(..magnitude.len())?.copy_from_slice(magnitude);
                Some(u64::from_le_bytes(low))
            }
            _ => None,
        }
    }

    /// The float, if it is one; an integer is not.
    pub fn as_float(&self) -> Option<f64> {
        if let Self::Float(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The elements, if it is a tuple.
    ///
    /// `if let Some([tag, reply]) = term.as_tuple()` takes a pair apart.
    pub fn as_tuple(&self) -> Option<&[Self]> {
        if let Self::Tuple(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// The elements, if it is a proper list.
    pub fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// The bytes, if it is a binary.
    pub fn as_binary(&self) -> Option<&Bytes> {
        if let Self::Binary(bytes) = self {
            Some(bytes)
        } else {
            None
        }
    }

    /// The pairs, keys ascending, if it is a map.
    pub fn as_map(&self) -> Option<&[(Self, Self)]> {
        if let Self::Map(pairs) = self { Some(pairs) } else { None }
    }

    /// The value under `key`, if it is a map that has one.
    pub fn get(&self, key: &Self) -> Option<&Self> {
        let pairs = self.as_map()?;
        let at = pairs.binary_search_by(|(held, _)| held.cmp(key)).ok()?;
        Some(&pairs[at].1)
    }

    /// The pid, if it is one.
    pub fn as_pid(&self) -> Option<&Pid> {
        if let Self::Pid(pid) = self { Some(pid) } else { None }
    }

    /// The reference, if it is one.
    pub fn as_reference(&self) -> Option<&Ref> {
        if let Self::Ref(reference) = self {
            Some(reference)
        } else {
            None
        }
    }

    /// The port, if it is one.
    pub fn as_port(&self) -> Option<&Port> {
        if let Self::Port(port) = self { Some(port) } else { None }
    }
}

/// One `From` for each kind of value that has a term of its own.
macro_rules! from {
    ($($value:ident: $kind:ty => $term:expr),* $(,)?) => {$(
        impl From<$kind> for Term {
            fn from($value: $kind) -> Self {
                $term
            }
        }
    )*};
}

from! {
    value: u8 => Self::Int(value.into()),
    value: u16 => Self::Int(value.into()),
    value: u32 => Self::Int(value.into()),
    value: i32 => Self::Int(value.into()),
    value: i64 => Self::Int(value),
    value: u64 => Self::integer(false, &value.to_le_bytes()),
    value: usize => Self::integer(false, &value.to_le_bytes()),
    value: u128 => Self::integer(false, &value.to_le_bytes()),
    value: i128 => Self::integer(value < 0, &value.unsigned_abs().to_le_bytes()),
    value: bool => Self::atom(if value { "true" } else { "false" }),
    atom: Atom => Self::Atom(atom),
    pid: Pid => Self::Pid(pid),
    reference: Ref => Self::Ref(reference),
    port: Port => Self::Port(port),
    bytes: Bytes => Self::Binary(bytes),
    text: &str => Self::binary(text),
    text: String => Self::Binary(text.into()),
    items: Vec<Term> => Self::List(items),
}

macro_rules! from_tuple {
    ($($item:ident),*) => {
        impl<$($item: Into<Term>),*> From<($($item,)*)> for Term {
            #[allow(non_snake_case, reason = "each element is named like its type")]
            fn from(($($item,)*): ($($item,)*)) -> Self {
                Self::Tuple([$($item.into()),*].into())
            }
        }
    };
}

from_tuple!(A);
from_tuple!(A, B);
from_tuple!(A, B, C);
from_tuple!(A, B, C, D);
from_tuple!(A, B, C, D, E);
from_tuple!(A, B, C, D, E, F);
