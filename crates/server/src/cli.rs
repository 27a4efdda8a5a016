//! Stand-in.

pub mod bench;
mod cluster;
pub mod fill;
mod latency;
pub mod remote;
mod table;
