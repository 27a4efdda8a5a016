#![no_std]
//! The replicated key-value store without I/O: commands, values, clocks, ring, replicas.

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod calendar;
pub mod clock;
pub mod codec;
pub mod delta;
pub mod dot;
pub mod object;
mod objects;
pub mod recent;
pub mod shard;
mod slab;
pub mod stamp;
pub mod table;
