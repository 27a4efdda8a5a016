//! RESP, the protocol of Redis: requests in, replies out, for servers and clients.
//!
//! [`Parser`] finds the requests in the bytes of a connection, [`encode`] renders replies in RESP2
//! or RESP3, and [`client`] writes requests and reads replies, for load generators, tools and
//! tests.
//!
//! Bytes from outside may be hostile. The decoders accept any bytes, limit depth and size, and allocate memory for
//! bytes that have arrived, not for a length that was announced. Malformed bytes are a [`ProtocolError`] with Redis's
//! own text; the connection gets this answer and is closed. A request that is only too large is skipped: its client
//! gets an error and goes on.
//!
//! Source: *Redis serialization protocol specification*, and `networking.c` of Redis 7 for what the specification
//! leaves open.

pub mod client;
mod encode;
mod inline;
mod parser;
#[cfg(test)]
mod tests;

pub use crate::reply::Protocol;
pub use encode::encode;
pub use parser::{Limits, Parser, Progress, ProtocolError, SKIPPED_BYTES_MAX, TooLarge};
