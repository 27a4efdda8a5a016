//! The identity of one write: its writer and its number.
//!
//! After *DottedDB* (Gonçalves, Almeida, Baquero, Fonte, SRDS 2017), section 3. A dot is never used again: a node that
//! restarts has lost its memory and becomes a new [`Writer`] with the same name.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A node name with its creation, as 64 bits that are the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer(pub u64);

impl Writer {
    /// The writer of the node `name` with this `creation`.
    pub fn of(name: &str, creation: u32) -> Self {
        Self(xxh3_64_with_seed(name.as_bytes(), u64::from(creation)))
    }
}

/// One write: the `counter`-th of its `writer` in one shard, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// The writer.
    pub writer: Writer,
    /// The number of the write, among the writes of this writer in the shard, from 1.
    pub counter: u64,
}
