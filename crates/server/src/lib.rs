//! salp, a distributed in-memory key-value store built the Erlang way: the shell that runs one node on real sockets,
//! and the command `salp`.
//!
//! The node itself does no I/O (crates `wire`, `node`, `store`). This crate has the sockets, clocks, random numbers and
//! settings. It makes no decision about data:
//!
//! | module | is |
//! |---|---|
//! | `core` | the node on its thread: inputs in, effects out |
//! | `redis` | the front end for Redis clients |
//! | `functions` | what other nodes may call |
//! | `http` | the front end for HTTP clients, Prometheus and browsers |
//! | `dist`, `tls`, `epmd`, `discovery` | peers: connections, certificates, ports, names |
//! | [`Handle`], [`Keyspace`] | the ways in from other threads |
//! | [`process`] | servers, supervisors and async processes of a program |
//! | `log`, `output`, `signals` | log lines, other output, and the signals that end the process |
//! | `running` | a node from its start to its end; [`Node::builder`] |
//! | `config` | settings, and errors that say how to fix them |
//! | [`cli`], `start`, `dev`, `client` | the command |
//!
//! # A node inside a program
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let node = salp::Node::builder()
//!     .name("example@127.0.0.1")
//!     .cookie("a_secret_of_this_cluster")
//!     .resp("127.0.0.1:0")
//!     .start()
//!     .await?;
//! println!("Redis clients connect to {:?}", node.resp());
//!
//! node.ready().await;
//! let store = node.store("default")?;
//! store.set("greeting", "hello").await?;
//! assert_eq!(store.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
//!
//! node.leave().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Processes of a program
//!
//! As in Erlang, there are servers, supervisors ([`supervisor`]), registries ([`registry`]), links, monitors and names
//! ([`Context`]). More are in `examples/`: `counter`, `workers`, `chat`, `lock`, `from_iex`.
//!
//! ```
//! use std::time::Duration;
//! use salp::{Context, From, GenServer, Inbox, Payload, Reply, Term, ToTerm, named};
//!
//! #[derive(ToTerm)]
//! struct Greeting {
//!     text: String,
//! }
//!
//! struct Greeter;
//!
//! impl GenServer<Payload> for Greeter {
//!     fn handle_call(&mut self, _: &mut Context<'_>, name: Term, _: &From) -> Reply {
//!         Reply::now(Greeting { text: format!("hello {name}") }.to_term())
//!     }
//! }
//!
//! # async fn example(node: salp::Node) -> Result<(), Box<dyn std::error::Error>> {
//! node.start_server(Some("greeter"), Greeter).await?;
//! node.spawn_async(|mut inbox: Inbox| async move {
//!     let greeting = inbox.call(named("greeter"), Term::Int(7), Duration::from_secs(1)).await;
//!     println!("{greeting:?}");
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`NodeKind`] and [`SpawnOptions`] are what `Context::nodes` and `Context::spawn_at` take: this process starts
//! another one at each visible node and monitors it.
//!
//! ```
//! use salp::{Inbox, NodeKind, SpawnOptions, Term};
//!
//! # async fn example(node: salp::Node) -> Result<(), Box<dyn std::error::Error>> {
//! node.spawn_async(|mut inbox: Inbox| async move {
//!     let options = SpawnOptions { monitor: true, ..SpawnOptions::default() };
//!     let start = move |ctx: &mut salp::Context<'_>| {
//!         for peer in ctx.nodes(NodeKind::Visible) {
//!             ctx.spawn_at(&peer, "timer", "sleep", vec![Term::Int(1000)], options);
//!         }
//!     };
//!     inbox.act(start).await?;
//!     while let Some(message) = inbox.receive().await {
//!         println!("{message:?}");
//!     }
//!     Ok::<(), salp::process::Failure>(())
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```

mod bell;
mod budget;
mod builder;
mod busy_wait;
pub mod cli;
mod client;
mod clients;
mod clock;
mod config;
mod core;
mod departure;
mod descriptors;
mod dev;
mod discovery;
mod dist;
mod duration;
mod epmd;
mod functions;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guesses;
pub mod handle;
mod http;
mod inboxes;
pub mod keyspace;
mod locks;
mod log;
mod mailbox;
mod measure;
mod misfit;
mod output;
pub mod process;
mod redis;
mod running;
mod signals;
mod start;
mod state;
#[cfg(test)]
mod test_dir;
mod tls;
mod variable;

pub use config::ConfigError;
pub use handle::{Gone, Handle};
pub use keyspace::{Keyspace, StoreError};
pub use node::{
    Address, Atom, Awaited, Exchange, Method, NodeKind, Pid, Process, Ref, SpawnOptions, Term,
    gen_server::{self, From},
    registry,
    server::{GenServer, Next, Reply, Server},
    supervisor,
};
pub use process::{Context, Inbox, Message, named, remote};
pub use running::{Builder, Node};
pub use salp_derive::{FromTerm, ToTerm};
pub use store::{ask::Payload, keyspaces::Slots, quorum::Level};
pub use wire::etf::{self, FromTerm, ToTerm};
pub use wire::reply::{ErrorKind, Retry};
pub use wire::request::Batch;
