#![no_std]
//! stub
extern crate alloc;
#[cfg(test)]
extern crate std;
