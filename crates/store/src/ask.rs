//! The messages between the store and the front ends of its node.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::fmt;
use node::{Awaited, Member, Tables};
use wire::{
    etf::{Atom, Pid},
    reply::{ErrorKind, Mark, Protocol, Replies},
    request::Batch,
};

use crate::{
    config::Keyspace,
    ledger::Calls,
    quorum::Level,
    stop::StopRisk,
    tally::{Mix, Tally},
    transaction::Transaction,
    vitals::Vitals,
};

/// Which replies of a connection are sent (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Silence {
    /// All replies are sent.
    #[default]
    Off,
    /// No reply is sent.
    On,
    /// The reply to the next request is not sent.
    SkipNext,
    /// The reply to this request is not sent.
    Skip,
}

impl Silence {
    /// Keeps the reply that begins at `mark` from being sent, if `CLIENT REPLY` says so.
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

/// Fields of a connection that only `CLIENT LIST` shows.
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
    /// `CLIENT NO-EVICT ON`.
    pub no_evict: bool,
    /// The last command of its last batch; empty before the first.
    pub command: &'static str,
    /// Monotonic milliseconds when it connected.
    pub since_ms: u64,
    /// Monotonic milliseconds of its last batch.
    pub active_ms: u64,
}

/// The state of a connection. It travels with the batches of the connection, since commands change it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Number of the connection, from 1.
    pub id: u64,
    /// Whether the client has given the password, or needs none.
    pub authenticated: bool,
    /// Number of its keyspace.
    pub keyspace: u16,
    /// The level of its writes; `None`: the level of its keyspace.
    pub level: Option<Level>,
    /// Version of RESP.
    pub protocol: Protocol,
    /// Which replies are sent.
    pub silence: Silence,
    /// What it has queued since `MULTI`, and the keys that it watches.
    pub transaction: Transaction,
    /// Whether the client has asked which node serves which slots (`CLUSTER SLOTS`). Then this node answers like a node
    /// of a Redis Cluster: some commands cover only the slots that are listed under this node.
    pub has_asked_for_map: bool,
    /// Whether the client sent `QUIT`: the connection is closed once the replies are sent.
    pub quit: bool,
    /// Whether the client takes large replies in pieces. The store then holds requests back, and the client resumes
    /// them ([`Batch::resume`]).
    pub piecemeal: bool,
    /// Fields that only `CLIENT LIST` shows.
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
            transaction: Transaction::default(),
            has_asked_for_map: false,
            quit: false,
            piecemeal: false,
            shown: Shown::default(),
        }
    }

    /// Answers a request of which the front end kept nothing, because it is too large.
    pub fn refuse(&mut self, error: impl fmt::Display, replies: &mut Replies) {
        let mark = replies.mark();
        self.transaction.fail();
        replies.error(ErrorKind::Err, error);
        self.silence.hush(replies, mark);
    }

    /// The session for the parts of a request: the same keyspace and level, and otherwise new.
    pub(crate) fn for_part(&self) -> Self {
        let mut part = Self::new(self.id, true);
        part.keyspace = self.keyspace;
        part.level = self.level;
        part
    }
}

/// A batch and its session. It goes to the store with requests, and back to the client with replies. A client has one
/// batch under way at a time. So its requests are executed in order, and a slow reader delays only itself.
#[derive(Debug)]
pub struct Ask {
    /// The client's process.
    pub client: Pid,
    /// The state of the client's connection.
    pub session: Session,
    /// The requests, and on the way back the replies.
    pub batch: Batch,
    /// What the shell has to tell of the batches before.
    pub tally: Tally,
    /// Which commands were executed.
    pub(crate) mix: Mix,
    /// Monotonic microseconds when the store was given it.
    pub(crate) began_us: u64,
    /// From how many microseconds on it is slow.
    pub(crate) slow_us: u64,
}

impl Ask {
    /// A batch of `client`.
    pub fn new(client: Pid, session: Session, batch: Batch) -> Self {
        Self {
            client,
            session,
            batch,
            tally: Tally::default(),
            mix: Mix::default(),
            began_us: 0,
            slow_us: u64::MAX,
        }
    }
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
    /// Values that only the shell can measure. Sent once a second.
    Measured(Measured),
    /// What the shell has to tell, before something that reads it.
    Tally(Tally),
    /// To the shell: close the connections of these clients, by their numbers (`CLIENT KILL`).
    Kill {
        /// Their numbers.
        ids: Vec<u64>,
    },
    /// Please send [`Payload::Status`].
    StatusOf {
        /// The process that gets the answer.
        to: Pid,
    },
    /// The cluster as this node sees it.
    Status(Arc<Status>),
    /// Connect to a node.
    Add {
        /// Its full name.
        node: Atom,
    },
    /// Ask another member to hand over its copies and leave. Forget it if it is down.
    LeaveOther {
        /// Its full name.
        node: Atom,
    },
    /// Hand over all copies and leave. `Event::Note` reports the stages by their `kind`. `serving_out`: peers send no
    /// more requests, and the shell may close its clients. `closing`: clients are refused. `left`: the end. Before
    /// these comes `lost`, if the node has keys that no other node took over.
    Leave,
    /// The time for leaving is over: the node ends with the copies it still has.
    CutShort,
    /// The last client of a leaving node is gone.
    ClientsAreGone,
    /// A node that is not connected will never come back.
    Forget {
        /// Its full name.
        node: Atom,
    },
    /// The nodes that discovery found at its last look, without this node.
    Discovered {
        /// Full names.
        names: Vec<String>,
    },
    /// The nodes that are not connected are lost. They are declared gone, and shards that only they held start again,
    /// empty.
    AcceptLoss,
}

impl node::Payload for Payload {}

/// Values that only the shell can measure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Allocated bytes.
    pub memory_bytes: u64,
    /// Resident bytes.
    pub resident_bytes: u64,
    /// CPU time of the process so far.
    pub cpu_us: u64,
    /// The part of it that the system used on behalf of the process; `None`: not known.
    pub cpu_system_us: Option<u64>,
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
    /// Its name and state.
    pub member: Member,
    /// Its load and state, as it last reported.
    pub vitals: Vitals,
    /// Why it must not be stopped now; `None` if it may be stopped.
    pub stop_risk: Option<StopRisk>,
}

/// One shard in a [`Status`].
#[derive(Clone, Debug)]
pub struct ShardStatus {
    /// The number of its keyspace.
    pub keyspace: u16,
    /// Its number in its keyspace.
    pub number: usize,
    /// Names of its replicas in ring order.
    pub replicas: Vec<String>,
    /// Names of the nodes with a ready copy.
    pub ready: Vec<String>,
    /// The primary's name.
    pub primary: Option<String>,
    /// Live keys: counted here, or as the primary last reported.
    pub keys: u64,
}

/// The cluster of a node, and the nodes it waits for before it forms one.
#[derive(Clone, Debug, Default)]
pub struct FormingStatus {
    /// The id of the cluster; none before one is formed.
    pub cluster: Option<String>,
    /// Nodes that are known, named or found, but neither connected nor gone.
    pub awaited: Vec<String>,
    /// Why some shards cannot be formed, and what to do about it; none if every shard has a ready copy or soon will.
    pub waiting: Option<String>,
}

/// The cluster as one node sees it.
// Wide: a report: one line for each figure that it has.
#[derive(Clone, Debug)]
pub struct Status {
    /// The name of the node that reports.
    pub name: String,
    /// Whether it serves every shard placed on it, and waits for no node.
    pub ready: bool,
    /// Nodes with which it has not yet agreed on names, locks and groups.
    pub awaited: Vec<Awaited>,
    /// Whether it is leaving.
    pub leaving: bool,
    /// All members, this node among them, by name.
    pub nodes: Vec<NodeStatus>,
    /// All shards of all keyspaces, keyspace by keyspace.
    pub shards: Vec<ShardStatus>,
    /// Shards of a keyspace, unless all its keys have one slot.
    pub ring_shards: u16,
    /// Copies of each shard.
    pub replicas: u8,
    /// The keyspaces, by number.
    pub keyspaces: Vec<Keyspace>,
    /// Whether every shard has all its copies (one on each node, if there are fewer nodes than replicas), no copy is
    /// moving, and no clocks are known to differ.
    pub healed: bool,
    /// Copies still to be made or handed over, cluster-wide.
    pub moves: u64,
    /// Shards without a ready copy on any reachable node.
    pub unavailable: u64,
    /// The largest difference between the wall clock of this node and that of a connected peer.
    pub clock_skew_ms: u64,
    /// Counters of this node, by their name in `/metrics`.
    pub counters: Vec<(&'static str, &'static str, u64)>,
    /// What its clients asked, by the name of the command.
    pub commands: Vec<(&'static str, Calls)>,
    /// Errors that its clients were given, by their first word.
    pub errors: Vec<(&'static str, u64)>,
    /// What the shell last measured.
    pub measured: Measured,
    /// How full the node's tables are.
    pub tables: Tables,
    /// Which cluster this is.
    pub forming: FormingStatus,
}
