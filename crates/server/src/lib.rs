//! salp, a distributed in-memory key-value store built the Erlang way: the shell that runs one node on real sockets,
//! and the command `salp`.
//!
//! The node itself is sans-I/O (crates `wire`, `node`, `store`). Here are sockets, clocks, entropy and settings, and no
//! decision about data:
//!
//! | module | is |
//! |---|---|
//! | `core` | the node on its thread: inputs in, effects out |
//! | `redis` | the door for Redis clients |
//! | `functions` | what other nodes may call |
//! | `http` | the door for HTTP clients, Prometheus and browsers |
//! | `dist`, `tls`, `epmd`, `discovery` | peers: connections, certificates, ports, names |
//! | [`Handle`] | the way in from other threads |
//! | `running` | a node from its start to its end; [`Node::builder`] |
//! | `config` | settings, and errors that name the mend |
//! | [`cli`], `start`, `dev`, `client` | the command |
//!
//! # A node inside a program
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let node = salp::Node::builder()
//!     .name("example@127.0.0.1")
//!     .cookie("a secret that the cluster shares")
//!     .resp("127.0.0.1:0")
//!     .start()
//!     .await?;
//! println!("Redis clients connect to {:?}", node.resp());
//!
//! let mut batch = salp::Batch::new();
//! batch.push(&[b"SET", b"greeting", b"hello"]);
//! batch.push(&[b"GET", b"greeting"]);
//! let batch = node.handle().ask(0, None, batch).await?;
//! assert!(batch.replies.is_complete());
//!
//! node.leave().await;
//! # Ok(())
//! # }
//! ```

mod bell;
pub mod cli;
mod client;
mod clock;
mod config;
mod core;
mod dev;
mod discovery;
mod dist;
mod epmd;
mod functions;
pub mod handle;
mod http;
mod log;
mod mailbox;
mod measure;
mod redis;
mod running;
mod start;
#[cfg(test)]
mod test_dir;
mod tls;

pub use config::ConfigError;
pub use handle::{Gone, Handle};
pub use running::{Builder, Node};
pub use wire::request::Batch;
