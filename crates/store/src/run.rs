//! Batches under way: what each still waits for, and where its replies go.

use alloc::{boxed::Box, vec::Vec};
use smallvec::{SmallVec, smallvec};
use wire::reply::{Mark, Slot};

use crate::{
    ask::Ask,
    command::Fold,
    peers::PeerSet,
    quorum::{Level, Quorum, Verdict},
    slices::extra_ms,
};

/// The id of a run while it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RunId {
    place: u32,
    life: u32,
}

/// Where the replies of a run go.
#[derive(Debug)]
pub(crate) enum Origin {
    /// To a client of this node.
    Client,
    /// To the peer that forwarded it.
    Peer { slot: usize, life: u64, token: u64 },
    /// Into one place of another run, as part of one of its requests.
    Part { of: RunId, slot: Slot, fold: Fold },
    /// Into these places of another run, one reply each.
    Again { of: RunId, slots: Vec<Slot> },
    /// To a BEAM process.
    Beam(Box<crate::beam::Caller>),
}

/// A set of shards. It allocates nothing while it is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardSet(Vec<u64>);

impl ShardSet {
    pub(crate) fn insert(&mut self, shard: usize) {
        let word = shard / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (shard % 64);
    }

    pub(crate) fn contains(&self, shard: usize) -> bool {
        self.0.get(shard / 64).is_some_and(|word| word & 1 << (shard % 64) != 0)
    }
}

/// Writes of one run that are applied here and wait for the same peers to hold them. They are all in the frame being
/// gathered, or in frames before it.
#[derive(Debug)]
pub(crate) struct Writes {
    /// Their replies, which become errors if the writes are not acknowledged.
    pub marks: SmallVec<[Mark; 4]>,
    pub quorum: Quorum,
}

/// Requests of one run for one peer.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub peer: usize,
    pub keyspace: u16,
    pub requests: Vec<u8>,
    /// The places of their replies, with the index of each request in its batch.
    pub slots: Vec<(Slot, u32)>,
    /// Whether all are reads: these may be sent to another node if the peer is lost.
    pub reads_only: bool,
}

/// A batch under way.
#[derive(Debug)]
pub(crate) struct Run {
    pub origin: Origin,
    /// Its session and its batch. The client gets back the box that it sent.
    pub ask: Box<Ask>,
    /// The monotonic time, in milliseconds, by which it is answered.
    pub deadline_ms: u64,
    /// How many milliseconds the wall clock of the client's node is ahead of cluster time.
    pub wall_ahead_ms: i64,
    /// Whether its last requests are being started: neither this run nor its parent runs will send anything later to
    /// the same peer. So the peer may defer the rest.
    pub is_last: bool,
    pub writes: Vec<Writes>,
    /// Peers whose acknowledgement of the frame being gathered is waited for.
    pub awaited: PeerSet,
    pub parcels: Vec<Parcel>,
    /// Requests that wait until their shard is settled, by shard.
    pub parked: Vec<(usize, Parcel)>,
    /// Tokens of the parcels under way.
    pub sent: Vec<u64>,
    /// Shards with a write that another node executes or may execute. Later reads of these shards go to the same node.
    pub written_elsewhere: ShardSet,
    /// Number of parcels and parts that have not come back.
    pub open: u32,
    /// A request needs the reply to this one: the requests behind it are executed after it is answered.
    pub holds_back: bool,
    /// How its requests came here.
    pub way: Way,
    /// What is large about it.
    pub large: Large,
}

/// How the requests of a run came to this node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Way {
    /// How often they were forwarded before.
    pub hops: u8,
    /// The slot and the life of the peer that forwarded them; `None` for requests of this node's clients.
    pub asker: Option<(usize, u64)>,
    /// When those that wait are refused; 0 if none has waited yet.
    pub parked_until_ms: u64,
}

/// What is large about a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Large {
    /// Time that it has beyond that of others, for the bytes of its requests.
    pub extra_ms: u64,
    /// It has written what reaches other replicas in slices.
    pub wrote: bool,
    /// Peers to which a large parcel was sent by this run, a run that it is a part of, or a run that is a part of it.
    /// Further parcels to these peers must not overtake that one.
    pub sent_to: PeerSet,
}

impl Run {
    pub(crate) fn new(origin: Origin, ask: Box<Ask>, deadline_ms: u64, wall_ahead_ms: i64) -> Self {
        let large = Large {
            extra_ms: extra_ms(ask.batch.buffer.len()),
            ..Large::default()
        };
        Self {
            origin,
            large,
            ask,
            deadline_ms,
            wall_ahead_ms,
            is_last: true,
            writes: Vec::new(),
            awaited: PeerSet::EMPTY,
            parcels: Vec::new(),
            parked: Vec::new(),
            sent: Vec::new(),
            written_elsewhere: ShardSet::default(),
            open: 0,
            holds_back: false,
            way: Way::default(),
        }
    }

    /// The run that this run is a part of.
    pub(crate) fn parent(&self) -> Option<RunId> {
        match self.origin {
            Origin::Part { of, .. } | Origin::Again { of, .. } => Some(of),
            Origin::Client | Origin::Peer { .. } | Origin::Beam(_) => None,
        }
    }

    /// Whether the requester accepts the replies in pieces, and asks for the rest.
    pub(crate) fn is_piecemeal(&self) -> bool {
        match self.origin {
            Origin::Client => self.ask.session.piecemeal,
            Origin::Peer { .. } => self.is_last,
            Origin::Part { .. } | Origin::Again { .. } | Origin::Beam(_) => false,
        }
    }

    /// Notes a write that was sent to `sent`, and whose reply begins at `mark`.
    pub(crate) fn wrote(&mut self, mark: Mark, level: Level, sent: PeerSet, excused: PeerSet) {
        if level == Level::One || sent.is_empty() {
            return;
        }
        self.awaited = self.awaited.union(sent);
        let quorum = Quorum::new(level, sent, excused);
        match self.writes.iter_mut().find(|writes| writes.quorum == quorum) {
            Some(writes) => writes.marks.push(mark),
            None => self.writes.push(Writes {
                marks: smallvec![mark],
                quorum,
            }),
        }
    }

    /// Notes that `peer` holds all writes that were sent to it.
    pub(crate) fn acknowledge(&mut self, peer: usize) {
        for write in &mut self.writes {
            write.quorum.ack(peer);
        }
    }

    /// Notes that `peer` is lost.
    pub(crate) fn lose(&mut self, peer: usize) {
        for write in &mut self.writes {
            write.quorum.lose(peer);
        }
    }

    /// Peers whose acknowledgement the run still waits for.
    pub(crate) fn silent(&self) -> PeerSet {
        self.writes
            .iter()
            .fold(PeerSet::EMPTY, |set, write| set.union(write.quorum.silent()))
    }

    /// Whether the run waits for nothing more.
    pub(crate) fn is_settled(&self) -> bool {
        self.open == 0 && self.writes.iter().all(|write| write.quorum.verdict() == Verdict::Met)
    }
}

/// All runs under way. Their places are reused.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    places: Vec<(u32, Option<Box<Run>>)>,
    free: Vec<u32>,
}

impl Runs {
    /// Reserves an id for a run that is not stored yet.
    pub(crate) fn reserve(&mut self) -> RunId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        RunId {
            place,
            life: self.places[place as usize].0,
        }
    }

    /// Stores a run under its id.
    pub(crate) fn put(&mut self, id: RunId, run: Box<Run>) {
        let place = &mut self.places[id.place as usize];
        assert!(
            place.0 == id.life && place.1.is_none(),
            "a run is stored once, under the name reserved for it"
        );
        place.1 = Some(run);
    }

    /// The run with this id, while it is under way.
    pub(crate) fn get(&mut self, id: RunId) -> Option<&mut Run> {
        let (life, run) = self.places.get_mut(id.place as usize)?;
        if *life == id.life { run.as_deref_mut() } else { None }
    }

    /// Applies `act` to the run with this id, and to the runs that it is a part of, directly or through others.
    pub(crate) fn each_from(&mut self, id: Option<RunId>, mut act: impl FnMut(&mut Run)) {
        let mut next = id;
        while let Some(run) = next.and_then(|id| self.get(id)) {
            act(run);
            next = run.parent();
        }
    }

    /// Takes a run out for a moment. [`Runs::put`] brings it back under its id.
    pub(crate) fn lend(&mut self, id: RunId) -> Option<Box<Run>> {
        let (life, run) = self.places.get_mut(id.place as usize)?;
        if *life == id.life { run.take() } else { None }
    }

    /// Ends a run. Its id is not used again.
    pub(crate) fn take(&mut self, id: RunId) -> Option<Box<Run>> {
        let (life, run) = self.places.get_mut(id.place as usize)?;
        if *life != id.life {
            return None;
        }
        let run = run.take()?;
        *life = life.wrapping_add(1);
        self.free.push(id.place);
        Some(run)
    }

    /// Gives back a reserved id that was not used.
    pub(crate) fn release(&mut self, id: RunId) {
        let place = &mut self.places[id.place as usize];
        assert!(
            place.0 == id.life && place.1.is_none(),
            "only a name without a run is given back"
        );
        place.0 = place.0.wrapping_add(1);
        self.free.push(id.place);
    }

    /// Ids of all runs under way.
    pub(crate) fn ids(&self) -> Vec<RunId> {
        let named = |(place, (life, run)): (usize, &(u32, Option<Box<Run>>))| {
            run.is_some().then_some(RunId {
                place: place as u32,
                life: *life,
            })
        };
        self.places.iter().enumerate().filter_map(named).collect()
    }

    /// All that are under way.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.places.iter().filter_map(|(_, run)| run.as_deref())
    }

    /// Bytes of the replies that all runs have so far.
    pub(crate) fn reply_bytes(&self) -> usize {
        self.iter().map(|run| run.ask.batch.replies.data_len()).sum()
    }

    /// How many runs are under way.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
