//! RESP, the protocol of Redis: requests in, replies out, and the client's side of both.
//!
//! [`Parser`] finds the requests in the bytes of a connection, [`encode`] renders replies in RESP2
//! or RESP3, and [`client`] writes requests and reads replies, for load generators, tools and
//! tests.
//!
//! Bytes from outside are hostile: the decoders are total, bounded in depth and size, and allocate
//! for what has arrived, never for what a length promises. What is malformed is a [`ProtocolError`]
//! with Redis's own text, after which the connection is answered and closed.
//!
//! Source: *Redis serialization protocol specification*, and `networking.c` of Redis 7 for what it
//! leaves open.

pub mod client;
mod encode;
mod inline;
mod parser;
#[cfg(test)]
mod tests;

pub use crate::reply::Protocol;
pub use encode::encode;
pub use parser::{Limits, Parser, Progress, ProtocolError};
