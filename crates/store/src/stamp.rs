//! Hybrid logical time.

/// A hybrid logical stamp: 48 bits of Unix milliseconds, 16 bits of count within the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);
