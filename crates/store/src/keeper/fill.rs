//! Copies on their way to another node: sent in streams of chunks, with a window and as there is room, and received.

use alloc::vec::Vec;

use super::{CHUNK_BYTES, FILLS_MAX, Fill, Stream, URGENT_FILLS_MAX, WINDOW, decode};
use crate::{
    backlog::Pull,
    cluster::Seat,
    codec::Reader,
    message::{Copy, Kind, Message},
    peers::PeerSet,
    shard::{Chunk, Intake, Intaken, Missing, Parted, Parts},
    store::Store,
};

impl Store {
    // Sending

    /// About the size of a chunk. It travels whole, so it is not longer than a slice.
    fn chunk_bytes(&self) -> usize {
        CHUNK_BYTES.min(self.config.slice_bytes)
    }

    /// A peer requests the dots of a shard that it lacks. They are sent when there is room.
    pub(super) fn pulled(&mut self, slot: usize, shard: usize, any: bool, clock: &[u8]) -> bool {
        let Some(clock) = decode(clock) else { return false };
        if shard >= self.replicas.len() {
            return false;
        }
        // The peer has given up what it pulled before.
        self.close_streams(|to, of| (to, of) == (slot, shard));
        self.peers[slot].backlog.pull(Pull { shard, any, clock });
        true
    }

    /// Sends a peer what it pulls, or starts to.
    pub(crate) fn give(&mut self, slot: usize, pull: &Pull) {
        let shard = pull.shard;
        let copy = self.cluster.copy(shard);
        if copy == Copy::Absent || copy == Copy::Filling && !pull.any {
            return self.peers[slot].outbox.push(&Message::Refusal { shard: shard as u32 });
        }
        let chunk_bytes = self.chunk_bytes();
        let replica = &mut self.replicas[shard];
        if self.cluster.copy_at(Seat::Peer(slot), shard) != Copy::Ready {
            replica.followers.insert(slot);
        }
        let mut chunk = Vec::new();
        let kind = match replica.shard.missing(&pull.clock) {
            Missing::None => Kind::Nothing,
            Missing::Part(mut part) => {
                part.encode(chunk_bytes, &mut chunk);
                if part.is_empty() { Kind::Rest } else { Kind::Part }
            }
            Missing::Whole => return self.open_stream(slot, shard),
        };
        self.gauges.counters.chunks_sent += 1;
        self.peers[slot].outbox.push(&Message::Chunk {
            shard: shard as u32,
            kind,
            chunk: &chunk,
        });
    }

    fn open_stream(&mut self, to: usize, of: usize) {
        let number = self.keeper.next_stream;
        self.keeper.next_stream += 1;
        self.replicas[of].shard.open_stream(number);
        let stream = Stream { to, of, owed: WINDOW };
        self.keeper.streams.insert(number, stream);
        for _ in 0..WINDOW {
            self.peers[to].backlog.chunk(number);
        }
    }

    /// A peer has processed a chunk and accepts one more.
    pub(super) fn more(&mut self, slot: usize, shard: usize, number: u64) -> bool {
        // A stream that has ended has no more chunks.
        if let Some(stream) = self.keeper.streams.get_mut(&number)
            && (stream.to, stream.of) == (slot, shard)
            && stream.owed < WINDOW
        {
            stream.owed += 1;
            self.peers[slot].backlog.chunk(number);
        }
        true
    }

    /// Sends the next chunk of a stream, if it is still open.
    pub(crate) fn send_chunk(&mut self, number: u64) {
        let Some(stream) = self.keeper.streams.get_mut(&number) else {
            return;
        };
        stream.owed -= 1;
        let (to, of) = (stream.to, stream.of);
        let chunk_bytes = self.chunk_bytes();
        let mut chunk = Vec::with_capacity(chunk_bytes + chunk_bytes / 8);
        let made = self.replicas[of].shard.next_chunk(number, chunk_bytes, &mut chunk);
        if made.is_some() {
            self.gauges.counters.chunks_sent += 1;
            self.peers[to].outbox.push(&Message::Chunk {
                shard: of as u32,
                kind: Kind::Stream,
                chunk: &chunk,
            });
        }
        if made != Some(Chunk::More) {
            self.keeper.streams.remove(&number);
        }
    }

    // Receiving

    /// Starts to fill or repair a copy from `source`, unless a fill of it is under way or too many others are.
    pub(super) fn fill(&mut self, shard: usize, source: usize, then: PeerSet, makes_ready: bool) -> bool {
        let most = self.fills_max(shard);
        let replica = &mut self.replicas[shard];
        if replica.fill.is_some() || self.keeper.fills >= most {
            return false;
        }
        replica.fill = Some(Fill {
            source,
            given: PeerSet::EMPTY,
            then,
            intake: None,
            parts: Parts::default(),
            heard_ms: self.time.monotonic_ms,
            makes_ready,
        });
        self.keeper.fills += 1;
        self.pull(shard);
        true
    }

    /// How many copies may be filled or repaired at the same time, including `shard`.
    fn fills_max(&self, shard: usize) -> usize {
        if self.front.parked.has(shard) {
            URGENT_FILLS_MAX
        } else {
            FILLS_MAX
        }
    }

    /// The next shard to repair. Shards that requests wait for come first.
    fn next_repair(&self) -> Option<usize> {
        let wanted = &self.keeper.wanted;
        let urgent = self.front.parked.shards().find(|shard| wanted.contains_key(shard));
        let next = urgent.or_else(|| wanted.keys().next().copied())?;
        (self.keeper.fills < self.fills_max(next)).then_some(next)
    }

    /// Starts wanted repairs, as many as may be under way.
    pub(super) fn repair(&mut self) {
        while let Some(shard) = self.next_repair()
            && let Some(mut sources) = self.keeper.wanted.remove(&shard)
        {
            if self.cluster.copy(shard) == Copy::Absent {
                continue;
            }
            if let Some(fill) = &mut self.replicas[shard].fill {
                fill.then = fill.then.union(sources);
            } else if let Some(first) = sources.iter().next() {
                sources.remove(first);
                self.fill(shard, first, sources, false);
            }
        }
    }

    /// The peer in `source` has more dots of `shard`. It is asked for them later. A copy that is being filled is not
    /// ready before that.
    pub(super) fn want(&mut self, shard: usize, source: usize) {
        match &mut self.replicas[shard].fill {
            Some(fill) => {
                fill.given.remove(source);
                fill.then.insert(source);
            }
            None => {
                self.keeper.wanted.entry(shard).or_default().insert(source);
                self.keeper.look = true;
            }
        }
    }

    pub(super) fn pull(&mut self, shard: usize) {
        let replica = &mut self.replicas[shard];
        let Some(fill) = &mut replica.fill else { return };
        fill.intake = None;
        let mut clock = Vec::new();
        fill.parts.joined(&replica.shard).encode(&mut clock);
        let any = !fill.makes_ready || !fill.given.is_empty() || self.cluster.route(shard).primary.is_none();
        self.peers[fill.source].outbox.push(&Message::Pull {
            shard: shard as u32,
            any,
            clock: &clock,
        });
    }

    pub(super) fn chunk(&mut self, slot: usize, shard: usize, kind: Kind, bytes: &[u8]) -> bool {
        let Some(replica) = self.replicas.get_mut(shard) else {
            return false;
        };
        self.keeper.gave_ms[slot] = self.time.monotonic_ms;
        // The chunk may answer a fill that was given up.
        let Some(fill) = replica.fill.as_mut().filter(|fill| fill.source == slot) else {
            return true;
        };
        fill.heard_ms = self.time.monotonic_ms;
        self.gauges.counters.chunks_merged += 1;
        self.gauges.counters.chunk_bytes += bytes.len() as u64;
        match kind {
            Kind::Nothing => return self.merge_parts(shard),
            Kind::Part | Kind::Rest => match fill.parts.keep(&replica.shard, bytes) {
                Ok(Parted::Merged(_)) if kind == Kind::Rest => return self.merge_parts(shard),
                Ok(Parted::Merged(_) | Parted::Strange) => self.pull(shard),
                Err(_) => return false,
            },
            Kind::Stream => {
                let Ok(stream) = Reader::new(bytes).u64() else {
                    return false;
                };
                // The stream has all of the shard.
                fill.parts = Parts::default();
                // Later streams of a peer have higher numbers. For an earlier stream, only chunks already under way
                // still arrive.
                let (_, intake) = match &mut fill.intake {
                    Some((number, _)) if *number > stream => return true,
                    Some(intake) if intake.0 == stream => intake,
                    none_or_earlier => none_or_earlier.insert((stream, Intake::new(stream))),
                };
                match intake.receive(&mut Reader::new(bytes)) {
                    Ok(Intaken::More) => {
                        self.peers[slot].outbox.push(&Message::More {
                            shard: shard as u32,
                            stream,
                        });
                    }
                    Ok(Intaken::Complete) => {
                        let whole = fill.intake.take().is_some_and(|(_, intake)| replica.shard.join(intake));
                        if whole { self.filled(shard) } else { self.pull(shard) }
                    }
                    Ok(Intaken::Ignored) => {}
                    // A connection loses nothing, so this is the rest of a stream for an earlier fill.
                    Ok(Intaken::Gap) => fill.intake = None,
                    Err(_) => return false,
                }
            }
        }
        true
    }

    /// The source has sent the last part. Returns false if a part is malformed.
    fn merge_parts(&mut self, shard: usize) -> bool {
        let replica = &mut self.replicas[shard];
        let parts = replica.fill.as_mut().map(|fill| core::mem::take(&mut fill.parts));
        let is_merged = parts.unwrap_or_default().merge(&mut replica.shard).is_ok();
        if is_merged {
            self.filled(shard);
        }
        is_merged
    }

    /// Everything that the source had is merged.
    pub(super) fn filled(&mut self, shard: usize) {
        let Some(fill) = &mut self.replicas[shard].fill else {
            return;
        };
        fill.given.insert(fill.source);
        self.cluster.merged(shard, fill.source);
        let mut sources = fill.then;
        let makes_ready = fill.makes_ready;
        if makes_ready {
            // Each of these nodes may act as primary, or may have done so until now. Then its latest writes were not
            // sent to this copy.
            sources = sources.union(self.cluster.holders(shard, |copy| copy == Copy::Ready));
        }
        if let Some(next) = sources.without(fill.given).iter().next() {
            fill.source = next;
            return self.pull(shard);
        }
        self.end_fill(shard);
        self.gauges.counters.fills += 1;
        if makes_ready && self.cluster.copy(shard) == Copy::Filling && !self.cluster.awaits_word() {
            self.set_copy(shard, Copy::Ready);
        }
    }

    pub(super) fn end_fill(&mut self, shard: usize) {
        if let Some(fill) = self.replicas[shard].fill.take() {
            self.keeper.fills -= 1;
            self.keeper.look = true;
            // The fill was given up before other sources were asked, or before what a peer had when it was met was
            // merged.
            let mut sources = fill.then;
            if self.cluster.unmerged(shard).contains(fill.source) {
                sources.insert(fill.source);
            }
            let owing = sources.without(fill.given);
            if !owing.is_empty() {
                let wanted = self.keeper.wanted.entry(shard).or_default();
                *wanted = wanted.union(owing);
            }
        }
    }

    /// Ends the streams for which `over` returns true, given the receiver and the shard.
    pub(super) fn close_streams(&mut self, over: impl Fn(usize, usize) -> bool) {
        let replicas = &mut self.replicas;
        self.keeper.streams.retain(|number, stream| {
            let over = over(stream.to, stream.of);
            if over {
                replicas[stream.of].shard.close_stream(*number);
            }
            !over
        });
    }
}
