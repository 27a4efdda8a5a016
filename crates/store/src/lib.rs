#![no_std]
//! The replicated key-value store without I/O: commands, values, clocks, ring, replicas.

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod ask;
mod backlog;
pub mod beam;
pub mod calendar;
pub mod call;
pub mod clock;
pub mod cluster;
pub mod codec;
pub mod command;
pub mod commands;
pub mod config;
mod coordinator;
pub mod counters;
pub mod delta;
pub mod dot;
mod due;
mod early;
pub mod facade;
pub mod fence;
pub mod forming;
pub mod inspect;
mod keeper;
mod leaving;
pub mod message;
pub mod object;
mod objects;
pub mod outbox;
pub mod outcome;
mod parked;
pub mod peers;
pub mod quorum;
mod random;
pub mod recent;
mod relay;
pub mod ring;
mod run;
pub mod shard;
pub mod sight;
mod slab;
mod slices;
pub mod slot;
pub mod stamp;
mod status;
pub mod stop;
pub mod store;
pub mod table;
pub mod term;
pub mod visit;
pub mod wall;
mod warm;
