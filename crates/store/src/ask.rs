//! What a front end and the store say to each other.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use node::{Awaited, Member, Tables};
use wire::{
    etf::{Atom, Pid},
    reply::{Mark, Protocol, Replies},
    request::Batch,
};

use crate::{message::Vitals, quorum::Level, stop::StopRisk};

/// Which replies of a connection are sent (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Silence {
    /// All.
    #[default]
    Off,
    /// None.
    On,
    /// All but the one to the next request.
    SkipNext,
    /// All but this one.
    Skip,
}

impl Silence {
    /// Keeps the reply to one request, which begins at `mark`, from being sent if it is not to be.
    pub(crate) fn hush(&mut self, replies: &mut Replies, mark: Mark) {
        match self {
            Self::Off => return,
            Self::On => {}
            Self::SkipNext => *self = Self::Skip,
            Self::Skip => *self = Self::Off,
        }
        replies.silence(mark);
    }
}

/// What `CLIENT LIST` shows of a connection and nothing else depends on.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// `CLIENT SETNAME`.
    pub name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: String,
    /// Peer address, for people.
    pub address: String,
    /// Own address, for people.
    pub local_address: String,
    /// The last command of its last batch; empty before the first.
    pub command: &'static str,
    /// Monotonic milliseconds when it connected.
    pub since_ms: u64,
    /// Monotonic milliseconds of its last batch.
    pub active_ms: u64,
}

/// What a connection has agreed on. Travels with its batches, since commands change it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Number of the connection, from 1.
    pub id: u64,
    /// Has shown the password, or needs none.
    pub authenticated: bool,
    /// Number of its keyspace.
    pub keyspace: u16,
    /// What its writes wait for; `None`: as its keyspace says.
    pub level: Option<Level>,
    /// Version of RESP.
    pub protocol: Protocol,
    /// Which replies are sent.
    pub silence: Silence,
    /// `MULTI` was refused, and neither `EXEC` nor `DISCARD` has come since: no other request is executed.
    pub in_refused_multi: bool,
    /// It has asked which node serves which slots (`CLUSTER SLOTS`): it is answered as by a node of a Redis Cluster,
    /// with the keys of the slots that are listed under this node.
    pub has_asked_for_map: bool,
    /// Its client asked to be let go (`QUIT`): close once the replies are out.
    pub quit: bool,
    /// Its client takes large replies in pieces: what the store held back is asked again ([`Batch::resume`]).
    pub piecemeal: bool,
    /// What else is known of it.
    pub shown: Shown,
}

impl Session {
    /// A session of connection `id` in keyspace 0.
    pub fn new(id: u64, authenticated: bool) -> Self {
        Self {
            id,
            authenticated,
            keyspace: 0,
            level: None,
            protocol: Protocol::Resp2,
            silence: Silence::Off,
            in_refused_multi: false,
            has_asked_for_map: false,
            quit: false,
            piecemeal: false,
            shown: Shown::default(),
        }
    }

    /// What the parts of a request run under: its keyspace and level, and nothing that answers to a client.
    pub(crate) fn for_part(&self) -> Self {
        let mut part = Self::new(self.id, true);
        part.keyspace = self.keyspace;
        part.level = self.level;
        part
    }
}

/// A batch on its way: into the store with requests, back to its client with replies. A client has one under way at a
/// time, so its requests are executed in order and a slow reader holds up nobody but itself.
#[derive(Debug)]
pub struct Ask {
    /// Whose.
    pub client: Pid,
    /// What the client has agreed on.
    pub session: Session,
    /// Requests, and at last their replies.
    pub batch: Batch,
}

/// The messages between the store and the front ends of its node.
#[derive(Debug)]
pub enum Payload {
    /// To the store with requests; back to the client with replies.
    Ask(Box<Ask>),
    /// A client has connected: it shows in `CLIENT LIST`.
    Connected(Box<Session>),
    /// It is gone.
    Disconnected {
        /// Its number.
        id: u64,
    },
    /// What only the shell can measure, once a second.
    Measured(Measured),
    /// Please send [`Payload::Status`].
    StatusOf {
        /// To whom.
        to: Pid,
    },
    /// The cluster as this node sees it.
    Status(Arc<Status>),
    /// Connect to a node.
    Add {
        /// Its full name.
        node: Atom,
    },
    /// Ask another member to hand everything over and go; forget it if it is down.
    LeaveOther {
        /// Its full name.
        node: Atom,
    },
    /// Hand everything over and go. `Event::Note` tells the stages by their `kind`: `serving_out` (no peer asks this
    /// node to execute anything; the shell lets its clients go), `closing` (clients are refused), `left` (the end).
    /// `lost` comes before them if the node goes with keys that nobody took over.
    Leave,
    /// No more time is given to that: the node goes with what it still has.
    CutShort,
    /// A node that goes has no client any more.
    ClientsAreGone,
    /// A node that is not connected never comes back.
    Forget {
        /// Its full name.
        node: Atom,
    },
    /// What discovery found at a look, this node not included.
    Discovered {
        /// Full names.
        names: Vec<String>,
    },
    /// Nodes that are not connected are lost: they are declared gone, and what only they held begins anew, empty.
    AcceptLoss,
}

impl node::Payload for Payload {}

/// What only the shell can measure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Allocated bytes.
    pub memory_bytes: u64,
    /// Resident bytes.
    pub resident_bytes: u64,
    /// CPU time of the process so far.
    pub cpu_us: u64,
    /// Log lines that were dropped because they could not be written, or not fast enough.
    pub log_lines_dropped: u64,
    /// What clients make this node hold besides stored data.
    pub buffers: Buffers,
}

/// What clients make a node hold besides stored data: requests on their way in, and replies on their way out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffers {
    /// Bytes held now.
    pub bytes: u64,
    /// Clients that were cut because they did not read their replies.
    pub clients_cut: u64,
    /// Requests that were refused for want of room.
    pub refused: u64,
}

/// One node in a [`Status`].
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Who, in which state.
    pub member: Member,
    /// How it fares.
    pub vitals: Vitals,
    /// Why it may not be stopped now; `None` if it may.
    pub stop_risk: Option<StopRisk>,
}

/// One shard in a [`Status`].
#[derive(Clone, Debug)]
pub struct ShardStatus {
    /// Names of its replicas in ring order.
    pub replicas: Vec<String>,
    /// Names of its ready holders.
    pub ready: Vec<String>,
    /// Who serves it.
    pub primary: Option<String>,
    /// Live keys, as this node has them or its primary last told.
    pub keys: u64,
}

/// Which cluster a node is of, and for whom it waits before it forms one.
#[derive(Clone, Debug, Default)]
pub struct FormingStatus {
    /// The id of the cluster; none before one is formed.
    pub cluster: Option<String>,
    /// Nodes that are known, named or found, and neither connected nor gone.
    pub awaited: Vec<String>,
    /// Why some shards cannot be formed, and what to do about it; none if all have a holder or soon will.
    pub waiting: Option<String>,
}

/// The cluster as one node sees it.
#[derive(Clone, Debug)]
pub struct Status {
    /// The node that looks.
    pub name: String,
    /// It serves every shard placed on it, and awaits no node.
    pub ready: bool,
    /// Nodes with which it does not agree yet on names, locks and groups.
    pub awaited: Vec<Awaited>,
    /// It hands over and goes.
    pub leaving: bool,
    /// All members, this node among them, by name.
    pub nodes: Vec<NodeStatus>,
    /// All shards of all keyspaces, keyspace by keyspace.
    pub shards: Vec<ShardStatus>,
    /// Shards of one keyspace.
    pub ring_shards: u16,
    /// Copies of each.
    pub replicas: u8,
    /// Names of the keyspaces.
    pub keyspaces: Vec<String>,
    /// Every shard has all its copies, or one on each node where there are fewer nodes than replicas; none is on the
    /// move, and no clocks are known to differ.
    pub healed: bool,
    /// Copies still to be made or handed over, cluster-wide.
    pub moves: u64,
    /// Shards that nobody within reach is ready for.
    pub unavailable: u64,
    /// The largest difference between the wall clock of this node and that of a connected peer.
    pub clock_skew_ms: u64,
    /// Counters of this node, by their name in `/metrics`.
    pub counters: Vec<(&'static str, &'static str, u64)>,
    /// What the shell last measured.
    pub measured: Measured,
    /// How full the node's tables are.
    pub tables: Tables,
    /// Which cluster this is.
    pub forming: FormingStatus,
}
