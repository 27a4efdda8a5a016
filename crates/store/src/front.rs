//! The batches that clients and peers have under way at this node, and what each of them waits for.

use alloc::{boxed::Box, vec::Vec};
use hashbrown::HashMap;
use wire::{
    etf::{Atom, Pid},
    request::Batch,
};

use crate::{
    ask::{Ask, Session},
    beam::Desk,
    config::Config,
    coordinator::Sent,
    due::{Awaited, Due},
    parked::Parked,
    pause::Pause,
    peers::PEERS_MAX,
    run::{Run, RunId, Runs},
};

/// Batches, and what they wait for.
pub(crate) struct Front {
    /// Sessions of the clients of this node.
    pub clients: HashMap<u64, Session, foldhash::fast::FixedState>,
    pub runs: Runs,
    /// For each peer: the runs that wait until it has merged something.
    pub awaited: Vec<Awaited>,
    /// Requests of BEAM processes.
    pub beam: Desk,
    /// Parcels that peers execute, by token.
    pub sent: HashMap<u64, Sent, foldhash::fast::FixedState>,
    pub next_token: u64,
    /// Requests on shards that are not settled.
    pub parked: Parked,
    /// Requests of Redis clients that are paused.
    pub pause: Pause,
    /// Runs with writes that a lost peer has not acknowledged, and the slot that it had.
    pub unsure: Vec<(RunId, usize)>,
    /// Runs that wait while peers are [`recovering`](crate::traffic::Peers::recovering), until their deadline at most.
    /// A client has one batch under way at a time, and BEAM processes have `beam::RUNS_MAX` together, so this is
    /// bounded.
    pub held: Vec<Run>,
    /// When a run's writes are content with a majority, in monotonic milliseconds.
    pub relax_at: Due,
    /// When a run is answered with what it has, in monotonic milliseconds.
    pub end_at: Due,
    #[allow(clippy::vec_box)] // the boxes travel on
    pub answers: Vec<Box<Ask>>,
    /// Emptied batches, for the requests that peers forward.
    pub spares: Vec<Batch>,
    /// The sender of requests that the node makes itself.
    pub nobody: Pid,
}

impl Front {
    /// Nothing is under way.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            clients: HashMap::default(),
            runs: Runs::default(),
            awaited: (0..PEERS_MAX).map(|_| Awaited::default()).collect(),
            beam: Desk::default(),
            sent: HashMap::default(),
            next_token: 1,
            parked: Parked::default(),
            pause: Pause::default(),
            unsure: Vec::new(),
            held: Vec::new(),
            relax_at: Due::default(),
            end_at: Due::default(),
            answers: Vec::new(),
            spares: Vec::new(),
            nobody: Pid {
                node: Atom::new(&config.name),
                id: 0,
                serial: 0,
                creation: config.creation,
            },
        }
    }
}
