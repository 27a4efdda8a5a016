#![no_std]
//! An Erlang-style node without I/O: processes, links, monitors, timers, peers, membership.
//!
//! A [`Node`] is a state machine with one way in, [`Node::handle`]: a shell (real sockets or the
//! simulator) feeds it [`Input`]s and the [`Time`], and carries out the [`Effect`]s it leaves, in
//! order. Everything with state is a [`Process`]: a plain struct with one `handle` that runs to its
//! end and touches the world only through its [`Context`].
//!
//! | module | what it has |
//! |---|---|
//! | `scheduler` | the node: inputs, the run queue, flush rounds |
//! | `signals` | spawn, exit, link, monitor, call, send |
//! | `context` | all a process can touch |
//! | `table`, `registered`, `timers`, `random` | processes, their names, timers, random numbers |
//! | `links`, `monitors` | which processes are notified of the end of another, local and remote |
//! | `start` | processes that are started at once, and the guard around processes of a program |
//! | [`gen_server`] | the `gen_server` protocol: calls in and out |
//! | `function`, `builtins` | functions that peers may run here |
//! | `spawn`, `calls`, `rex` | how they are run: SPAWN_REQUEST, erpc, rpc |
//! | `remote` | how this node runs functions at peers: erpc, spawn, multi_call |
//! | `output`, `format`, `throttle` | text that peers print and log |
//! | [`groups`] | process groups, like those of `pg` |
//! | [`server`], [`supervisor`], [`registry`] | OTP's abstractions: `GenServer`, `Supervisor`, `Registry` |
//! | `peers`, `connection` | one connection per peer: dial, handshake, ticks, loss |
//! | `room` | processes that wait until a peer has read |
//! | `given_names` | names for peers that have none |
//! | `route` | control messages in and out |
//! | `members`, `membership`, `hello` | the members of the cluster: messages, decisions, encoding |
//! | `inspect` | the sizes of the tables |
//! | `net_kernel` | answers `net_adm:ping/1` |
//! | `global` | names and locks of the whole cluster, shared with BEAM nodes |
//!
//! It has no clock and no threads, and its only source of random numbers is the seed. The same inputs give the same
//! effects, byte for byte.

extern crate alloc;
#[cfg(test)]
extern crate std;

mod builtins;
mod calls;
mod certificate;
mod config;
mod connection;
mod context;
mod effect;
mod format;
mod function;
pub mod gen_server;
mod given_names;
mod global;
pub mod groups;
mod hello;
mod identity;
mod input;
mod inspect;
mod links;
mod members;
mod membership;
mod message;
mod monitors;
mod net_kernel;
mod output;
mod peers;
mod random;
mod registered;
pub mod registry;
mod remote;
mod rex;
mod rivals;
mod room;
mod route;
mod scheduler;
pub mod server;
mod signals;
mod spawn;
mod start;
pub mod supervisor;
mod table;
mod throttle;
mod time;
mod timers;

pub use certificate::{Certificate, Covers};
pub use config::{Config, Limits};
pub use context::{Context, NodeKind};
pub use effect::{Effect, Event, Mismatch};
pub use function::{Function, Outcome, Permission};
pub use global::{Awaited, Exchange, Method, NAME as GLOBAL};
pub use identity::{Affiliation, Claim, ClusterId, Identity, Known, Life, Memory};
pub use input::{ConnectionId, Input};
pub use inspect::{PeerTables, Tables};
pub use message::{Address, Member, MemberState, MembersCommand, Message, Payload, Process};
pub use remote::SpawnOptions;
pub use scheduler::{Node, Observer};
pub use start::{Catch, Guard};
pub use time::Time;
pub use timers::TimerId;
pub use wire::dist::Cookie;
pub use wire::etf::{Atom, Pid, Ref, Term};
