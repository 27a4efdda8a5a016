//! Erlang's external term format: [`Term`], its decoder and its encoder.
//!
//! Source: *External Term Format*, ERTS reference manual.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use bytes::Bytes;

/// An Erlang atom: at most 255 characters of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Atom(Arc<str>);

impl Atom {
    /// The atom of this text. Longer than 255 characters is a bug of the caller.
    pub fn new(text: &str) -> Self {
        assert!(
            text.len() <= 255 || text.chars().count() <= 255,
            "an atom has at most 255 characters"
        );
        Self(Arc::from(text))
    }
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A process identifier: NEW_PID_EXT.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pid {
    /// Full name of the node the process lives on.
    pub node: Atom,
    /// Number of the process.
    pub id: u32,
    /// Rises when `id` wraps.
    pub serial: u32,
    /// Which life of the node.
    pub creation: u32,
}

/// A reference: NEWER_REFERENCE_EXT, 1 to 5 words, opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ref {
    /// Full name of the node that made it.
    pub node: Atom,
    /// Which life of the node.
    pub creation: u32,
    /// How many of `words` count.
    pub len: u8,
    /// The words; those past `len` are 0.
    pub words: [u32; 5],
}

/// A port identifier: V4_PORT_EXT or NEW_PORT_EXT.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// Full name of the node it belongs to.
    pub node: Atom,
    /// Its number.
    pub id: u64,
    /// Which life of the node.
    pub creation: u32,
}

/// An Erlang term. Lists of bytes (STRING_EXT) decode to [`Term::List`] like any other list.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// An integer of at most 64 bits.
    Int(i64),
    /// An integer beyond [`Term::Int`]: sign and little-endian magnitude without trailing zeros.
    Big {
        /// Below zero.
        negative: bool,
        /// Magnitude, little-endian.
        magnitude: Bytes,
    },
    /// A float.
    Float(f64),
    /// An atom.
    Atom(Atom),
    /// A tuple.
    Tuple(Vec<Term>),
    /// A proper list; empty is nil.
    List(Vec<Term>),
    /// A list whose tail is not a list: at least one element and the tail.
    Improper(Vec<Term>, Box<Term>),
    /// A binary.
    Binary(Bytes),
    /// A bitstring whose last byte has `bits` (1 to 7) valid bits.
    Bits {
        /// The bytes, the last one padded.
        bytes: Bytes,
        /// Valid bits of the last byte.
        bits: u8,
    },
    /// A map; keys are unique, in the order received.
    Map(Vec<(Term, Term)>),
    /// A process identifier.
    Pid(Pid),
    /// A reference.
    Ref(Ref),
    /// A port identifier.
    Port(Port),
    /// `fun Module:Function/Arity`.
    Export {
        /// Its module.
        module: Atom,
        /// Its function.
        function: Atom,
        /// Its number of arguments.
        arity: u8,
    },
    /// A local fun (NEW_FUN_EXT), kept as the bytes behind the tag and resent unchanged.
    Fun(Bytes),
}
