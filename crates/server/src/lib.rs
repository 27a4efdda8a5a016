//! stub
pub mod cli;
pub mod client;
pub mod handle;
pub mod http;
