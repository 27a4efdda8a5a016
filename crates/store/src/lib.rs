#![no_std]
//! The replicated key-value store without I/O: commands, values, clocks, ring, replicas.

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod dot;
mod slab;
pub mod stamp;
pub mod table;
