//! Erlang's external term format: [`Term`], its decoder and its encoder.
//!
//! ```text
//! Bytes ── decode ──> Term ── encode ──> Vec<u8>
//!                      │
//!                      └── Display: as `io:format("~0tp")` writes it
//! ```
//!
//! Invariants of every decoded term, kept by the constructors as well (`Term::list`, `Term::map`,
//! …):
//! - One value has one shape. An integer that fits an `i64` is never a [`Term::Big`]. A magnitude has no trailing
//!   zeros. An improper tail is never a list. A bitstring of whole bytes is a [`Term::Binary`], and the unused bits of
//!   a [`Term::Bits`] are 0. The keys of a map are unique and ascending. So equality and order compare shapes, in
//!   linear time, and agree with the values.
//! - Floats are finite; Erlang has no others.
//! - A term lies inside at most [`DEPTH_MAX`] others, so recursion over a decoded term is bounded.
//! - A decoded term holds at most one slot of `size_of::<Term>()` bytes for each byte of input, whatever its counts
//!   claim (twice that for lists chained tail by tail, which BEAM never writes). A term of many elements holds one slot
//!   for each third byte only ([`ELEMENTS_MAX`]).
//!
//! An atom lives forever in a BEAM that sees it. So [`Term::atom`] takes constant text only. Other atoms come from
//! peers, or are names of nodes. Text that a user typed becomes a binary.
//!
//! Source: *External Term Format*, ERTS reference manual.

mod atom;
mod convert;
mod decode;
mod encode;
mod order;
mod show;
mod tag;
#[cfg(test)]
mod tests;
pub mod typed;
mod weight;

pub use atom::Atom;
pub use decode::{DecodeError, ELEMENTS_MAX, decode, decode_bare};
pub(crate) use decode::{Recent, decode_caller, decode_elements, decode_with};
pub use encode::{encode, encode_bare};
pub(crate) use encode::{encode_atom, encode_pid, encode_reference, encode_tuple_head};
pub use typed::{FromTerm, Mismatch, ToTerm};

use alloc::{boxed::Box, vec::Vec};
use bytes::Bytes;

/// The deepest nesting of terms. The decoder refuses deeper terms; BEAM and the encoder have no such limit.
pub const DEPTH_MAX: usize = 256;
/// Bytes of the magnitude of an integer that the decoder accepts.
pub const MAGNITUDE_MAX: usize = 64 * 1024;

/// A process identifier: NEW_PID_EXT.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pid {
    /// Full name of the node the process lives on.
    pub node: Atom,
    /// Number of the process.
    pub id: u32,
    /// Rises when `id` wraps.
    pub serial: u32,
    /// The creation of the node, which differs for each of its starts.
    pub creation: u32,
}

/// A reference: NEWER_REFERENCE_EXT, 1 to 5 words, opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ref {
    /// Full name of the node that made it.
    pub node: Atom,
    /// The creation of the node, which differs for each of its starts.
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
    /// The creation of the node, which differs for each of its starts.
    pub creation: u32,
}

/// An Erlang term. Lists of bytes (STRING_EXT) decode to [`Term::List`] like any other list.
///
/// Equality is Erlang's `=:=` as of OTP 27, where `0.0` and `-0.0` differ. The order is Erlang's order of map keys,
/// where every integer comes before every float.
#[derive(Clone, Debug)]
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
    /// A float, finite.
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
    /// A bitstring whose last byte has `bits` (1 to 7) valid bits, the upper ones.
    Bits {
        /// The bytes, the last one padded with zeros.
        bytes: Bytes,
        /// Valid bits of the last byte.
        bits: u8,
    },
    /// A map; keys are unique and ascending in the order of [`Term`].
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

// A list of small integers costs one slot per byte of input. So the size of a slot is what a hostile frame can cost.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Term>() == 48, "a term is six words");
