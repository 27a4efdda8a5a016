//! Data that waits until there is room to send it to a peer: replies to requests that the peer forwarded, and chunks
//! that the peer asked for.
//!
//! Both may be far larger than what a node may have on its way to one peer (beyond `Limits::output_bytes_max` it closes
//! the connection), and both can wait. So neither is put into the outbox before there is room
//! ([`Context::has_room`](node::Context::has_room)), and a chunk is not even built before. Everything else, deltas
//! above all, goes into the outbox at once, and so overtakes replies and chunks.
//!
//! - Replies and chunks take turns.
//! - Streams that have begun come before shards that have not, so that each stream ends. Streams take turns.
//! - When a peer is lost, its backlog is dropped.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{clock::Clock, message::Message, store::Store};

/// If more bytes of replies than this wait for a peer, the requests that it forwards are refused as busy.
const REPLIES_BYTES_MAX: usize = 256 << 20;

/// A part of the replies to a parcel.
#[derive(Debug)]
struct Piece {
    token: u64,
    follows: bool,
    replies: Vec<u8>,
    /// After this time no client waits for these replies.
    deadline_ms: u64,
}

/// A peer's request for the dots of a shard that its clock lacks.
#[derive(Debug)]
pub(crate) struct Pull {
    pub shard: usize,
    /// Whether a copy that is not ready may answer.
    pub any: bool,
    pub clock: Clock,
}

/// The data that waits for one peer.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pieces: VecDeque<Piece>,
    /// Bytes of replies in `pieces`.
    bytes: usize,
    /// Stream numbers, one for each chunk that the peer will take: at most `keeper::WINDOW` for each open stream.
    chunks: VecDeque<u64>,
    /// At most one for each shard.
    pulls: VecDeque<Pull>,
}

impl Backlog {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.chunks.is_empty() && self.pulls.is_empty()
    }

    /// Whether no reply waits.
    pub(crate) fn has_no_replies(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether so much waits that further requests of this peer are refused.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > REPLIES_BYTES_MAX
    }

    /// Adds a part of the replies to a parcel. It is dropped if it is not sent by `deadline_ms`.
    pub(crate) fn reply(&mut self, token: u64, follows: bool, replies: Vec<u8>, deadline_ms: u64) {
        self.bytes += replies.len();
        self.pieces.push_back(Piece {
            token,
            follows,
            replies,
            deadline_ms,
        });
    }

    /// Adds a pull. It replaces an earlier one for the same shard, which the peer has given up.
    pub(crate) fn pull(&mut self, pull: Pull) {
        self.pulls.retain(|earlier| earlier.shard != pull.shard);
        self.pulls.push_back(pull);
    }

    /// Adds one chunk of a stream.
    pub(crate) fn chunk(&mut self, stream: u64) {
        self.chunks.push_back(stream);
    }

    fn take_piece(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.replies.len();
        Some(piece)
    }
}

impl Store {
    /// Moves waiting data into the peer's outbox until the outbox is full. Returns false if nothing more waits.
    pub(crate) fn bring(&mut self, slot: usize) -> bool {
        while !self.outboxes[slot].is_full() {
            let (replied, given) = (self.bring_replies(slot), self.bring_chunk(slot));
            if !replied && !given {
                return false;
            }
        }
        true
    }

    fn bring_replies(&mut self, slot: usize) -> bool {
        let Some(piece) = self.backlogs[slot].take_piece() else {
            return false;
        };
        if piece.deadline_ms > self.monotonic_ms {
            self.outboxes[slot].push(&Message::Outcome {
                token: piece.token,
                follows: piece.follows,
                replies: &piece.replies,
            });
        }
        true
    }

    fn bring_chunk(&mut self, slot: usize) -> bool {
        if let Some(stream) = self.backlogs[slot].chunks.pop_front() {
            self.send_chunk(stream);
        } else if let Some(pull) = self.backlogs[slot].pulls.pop_front() {
            self.give(slot, &pull);
        } else {
            return false;
        }
        true
    }
}
