#![no_std]
//! Bytes to values and back: Erlang terms and distribution, EPMD, RESP, requests and replies.

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod decimal;
pub mod dist;
pub mod epmd;
pub mod etf;
pub mod reply;
pub mod request;
pub mod resp;
