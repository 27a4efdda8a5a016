//! Copies on their way: given in streams of chunks with a window, and taken in.

use alloc::vec::Vec;

use super::{CHUNK_BYTES, FILLS_MAX, Fill, WINDOW, decode};
use crate::{
    cluster::Seat,
    codec::Reader,
    message::{Copy, Kind, Message},
    peers::PeerSet,
    shard::{Intake, Intaken, Missing, Parted},
    store::Store,
};

impl Store {
    // Giving

    pub(super) fn pulled(&mut self, slot: usize, shard: usize, any: bool, clock: &[u8]) -> bool {
        let Some(theirs) = decode(clock) else { return false };
        if shard >= self.replicas.len() {
            return false;
        }
        let copy = self.cluster.copy(shard);
        if copy == Copy::Absent || copy == Copy::Filling && !any {
            self.outboxes[slot].push(&Message::Refusal { shard: shard as u32 });
            return true;
        }
        // What it pulled before it has given up.
        self.close_streams(|to, of| (to, of) == (slot, shard));
        let replica = &mut self.replicas[shard];
        if self.cluster.copy_at(Seat::Peer(slot), shard) != Copy::Ready {
            replica.followers.insert(slot);
        }
        let mut chunk = Vec::new();
        let kind = match replica.shard.missing(&theirs) {
            Missing::None => Kind::Nothing,
            Missing::Part(mut part) => {
                part.encode(CHUNK_BYTES, &mut chunk);
                if part.is_empty() { Kind::Rest } else { Kind::Part }
            }
            Missing::Whole => Kind::Stream,
        };
        if kind == Kind::Stream {
            let stream = self.keeper.next_stream;
            self.keeper.next_stream += 1;
            self.replicas[shard].shard.open_stream(stream);
            self.keeper.streams.insert(stream, (slot, shard));
            for _ in 0..WINDOW {
                if !self.send_chunk(slot, shard, stream) {
                    break;
                }
            }
        } else {
            self.counters.chunks_sent += 1;
            self.outboxes[slot].push(&Message::Chunk {
                shard: shard as u32,
                kind,
                chunk: &chunk,
            });
        }
        true
    }

    pub(super) fn more(&mut self, slot: usize, shard: usize, stream: u64) -> bool {
        // A stream that has ended meanwhile has nothing more to give.
        if self.keeper.streams.get(&stream) == Some(&(slot, shard)) {
            self.send_chunk(slot, shard, stream);
        }
        true
    }

    /// Sends the next chunk; false if it was the last.
    pub(super) fn send_chunk(&mut self, slot: usize, shard: usize, stream: u64) -> bool {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        let made = self.replicas[shard].shard.next_chunk(stream, CHUNK_BYTES, &mut chunk);
        let Some(made) = made else {
            self.keeper.streams.remove(&stream);
            return false;
        };
        self.counters.chunks_sent += 1;
        self.outboxes[slot].push(&Message::Chunk {
            shard: shard as u32,
            kind: Kind::Stream,
            chunk: &chunk,
        });
        let last = made == crate::shard::Chunk::Last;
        if last {
            self.keeper.streams.remove(&stream);
        }
        !last
    }

    // Taking

    /// Begins to fill or repair a copy from `source`, unless that is under way or too much is.
    pub(super) fn fill(&mut self, shard: usize, source: usize, then: PeerSet, makes_ready: bool) -> bool {
        let replica = &mut self.replicas[shard];
        if replica.fill.is_some() || self.keeper.fills >= FILLS_MAX {
            return false;
        }
        replica.fill = Some(Fill {
            source,
            given: PeerSet::EMPTY,
            then,
            intake: None,
            heard_ms: self.monotonic_ms,
            makes_ready,
        });
        self.keeper.fills += 1;
        self.pull(shard);
        true
    }

    /// Begins repairs that are wanted, as many as may be under way.
    pub(super) fn repair(&mut self) {
        while self.keeper.fills < FILLS_MAX
            && let Some((shard, mut sources)) = self.keeper.wanted.pop_first()
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

    /// The peer in `source` has more of `shard`: it is asked for it in its turn. A copy that is being filled is not ready
    /// before that.
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
        replica.shard.clock().encode(&mut clock);
        let any = !fill.makes_ready || !fill.given.is_empty() || self.cluster.route(shard).primary.is_none();
        self.outboxes[fill.source].push(&Message::Pull {
            shard: shard as u32,
            any,
            clock: &clock,
        });
    }

    pub(super) fn chunk(&mut self, slot: usize, shard: usize, kind: Kind, bytes: &[u8]) -> bool {
        let Some(replica) = self.replicas.get_mut(shard) else {
            return false;
        };
        // A fill that was given up may still be answered.
        let Some(fill) = replica.fill.as_mut().filter(|fill| fill.source == slot) else {
            return true;
        };
        fill.heard_ms = self.monotonic_ms;
        let mut reader = Reader::new(bytes);
        self.counters.chunks_merged += 1;
        self.counters.chunk_bytes += bytes.len() as u64;
        match kind {
            Kind::Nothing => self.filled(shard),
            Kind::Part | Kind::Rest => match replica.shard.receive_part(&mut reader) {
                Ok(Parted::Merged(_)) if kind == Kind::Rest => self.filled(shard),
                Ok(Parted::Merged(_) | Parted::Strange) => self.pull(shard),
                Err(_) => return false,
            },
            Kind::Stream => {
                let Ok(stream) = Reader::new(bytes).u64() else {
                    return false;
                };
                // The streams of a peer have rising numbers: of an earlier one, only what was under way still comes.
                let (_, intake) = match &mut fill.intake {
                    Some((number, _)) if *number > stream => return true,
                    Some(intake) if intake.0 == stream => intake,
                    none_or_earlier => none_or_earlier.insert((stream, Intake::new(stream))),
                };
                match intake.receive(&mut reader) {
                    Ok(Intaken::More) => {
                        self.outboxes[slot].push(&Message::More {
                            shard: shard as u32,
                            stream,
                        });
                    }
                    Ok(Intaken::Complete) => {
                        let whole = fill.intake.take().is_some_and(|(_, intake)| replica.shard.join(intake));
                        if whole { self.filled(shard) } else { self.pull(shard) }
                    }
                    Ok(Intaken::Ignored) => {}
                    // A connection loses nothing, so it is the end of a stream of an earlier fill.
                    Ok(Intaken::Gap) => fill.intake = None,
                    Err(_) => return false,
                }
            }
        }
        true
    }

    /// What the source had is here.
    pub(super) fn filled(&mut self, shard: usize) {
        let Some(fill) = &mut self.replicas[shard].fill else {
            return;
        };
        fill.given.insert(fill.source);
        let mut sources = fill.then;
        let makes_ready = fill.makes_ready;
        if makes_ready {
            // Each of them may take itself for the primary, or have done so until now, and its latest writes were not for
            // this copy then.
            sources = sources.union(self.cluster.holders(shard, |copy| copy == Copy::Ready));
        }
        if let Some(next) = sources.without(fill.given).iter().next() {
            fill.source = next;
            return self.pull(shard);
        }
        self.end_fill(shard);
        self.counters.fills += 1;
        if makes_ready && self.cluster.copy(shard) == Copy::Filling && !self.cluster.awaits_word() {
            self.set_copy(shard, Copy::Ready);
        }
    }

    pub(super) fn end_fill(&mut self, shard: usize) {
        if let Some(fill) = self.replicas[shard].fill.take() {
            self.keeper.fills -= 1;
            self.keeper.look = true;
            // Given up before the others had their turn.
            let owing = fill.then.without(fill.given);
            if !owing.is_empty() {
                let wanted = self.keeper.wanted.entry(shard).or_default();
                *wanted = wanted.union(owing);
            }
        }
    }

    /// Ends the streams, to a peer and of a shard, that are `over`.
    pub(super) fn close_streams(&mut self, over: impl Fn(usize, usize) -> bool) {
        let replicas = &mut self.replicas;
        self.keeper.streams.retain(|stream, &mut (to, of)| {
            let over = over(to, of);
            if over {
                replicas[of].shard.close_stream(*stream);
            }
            !over
        });
    }
}
