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

use crate::{clock::Clock, message::Message, outcome::PIECE_BYTES, store::Store};

/// Bytes of replies that wait for one peer from which on what it forwards is refused as busy.
const REPLIES_BYTES_MAX: usize = 128 << 20;
/// Bytes from which on what it forwards is answered in small pieces, so that more of it waits at its own node.
const REPLIES_BYTES_MANY: usize = 16 << 20;
/// Such a piece.
const SMALL_PIECE_BYTES: usize = 64 << 10;

/// Replies up to this size do not wait behind larger ones: those may be of clients that ask for much.
const SMALL_REPLIES_BYTES: usize = 16 << 10;

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
    /// Replies of [`SMALL_REPLIES_BYTES`] at most that are one piece: they go first.
    small: VecDeque<Piece>,
    /// Bytes of replies in both.
    bytes: usize,
    /// Stream numbers, one for each chunk that the peer will take: at most `keeper::WINDOW` for each open stream.
    chunks: VecDeque<u64>,
    /// At most one for each shard.
    pulls: VecDeque<Pull>,
}

impl Backlog {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.has_no_replies() && self.chunks.is_empty() && self.pulls.is_empty()
    }

    /// Whether no reply waits.
    pub(crate) fn has_no_replies(&self) -> bool {
        self.pieces.is_empty() && self.small.is_empty()
    }

    /// Whether so much waits that further requests of this peer are refused.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > REPLIES_BYTES_MAX
    }

    /// Bytes of replies beyond which what the peer forwards is put off.
    pub(crate) fn piece_bytes(&self) -> usize {
        if self.bytes > REPLIES_BYTES_MANY {
            SMALL_PIECE_BYTES
        } else {
            PIECE_BYTES
        }
    }

    /// Adds a part of the replies to a parcel. It is dropped if it is not sent by `deadline_ms`.
    pub(crate) fn reply(&mut self, token: u64, follows: bool, replies: Vec<u8>, deadline_ms: u64) {
        self.bytes += replies.len();
        // The pieces of one parcel's replies stay in their order.
        let is_continued = self.pieces.back().is_some_and(|before| before.token == token);
        let is_small = replies.len() <= SMALL_REPLIES_BYTES && !follows && !is_continued;
        let queue = if is_small { &mut self.small } else { &mut self.pieces };
        queue.push_back(Piece {
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
        let piece = self.small.pop_front().or_else(|| self.pieces.pop_front())?;
        self.bytes -= piece.replies.len();
        Some(piece)
    }
}

impl Store {
    /// Moves waiting data into the peer's outbox until the outbox is full. Returns false if nothing more waits.
    pub(crate) fn bring(&mut self, slot: usize) -> bool {
        while !self.links[slot].outbox.is_full() {
            let (replied, given) = (self.bring_replies(slot), self.bring_chunk(slot));
            if !replied && !given {
                return false;
            }
        }
        true
    }

    fn bring_replies(&mut self, slot: usize) -> bool {
        let Some(piece) = self.links[slot].backlog.take_piece() else {
            return false;
        };
        if piece.deadline_ms > self.time.monotonic_ms {
            self.links[slot].outbox.push(&Message::Outcome {
                token: piece.token,
                follows: piece.follows,
                replies: &piece.replies,
            });
        }
        true
    }

    fn bring_chunk(&mut self, slot: usize) -> bool {
        if let Some(stream) = self.links[slot].backlog.chunks.pop_front() {
            self.send_chunk(stream);
        } else if let Some(pull) = self.links[slot].backlog.pulls.pop_front() {
            self.give(slot, &pull);
        } else {
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_replies_go_first_and_the_pieces_of_one_parcel_stay_in_order() {
        let mut backlog = Backlog::default();
        let large = || alloc::vec![0; SMALL_REPLIES_BYTES + 1];
        backlog.reply(1, true, large(), 9);
        backlog.reply(1, false, alloc::vec![1], 9);
        backlog.reply(2, false, large(), 9);
        backlog.reply(3, false, alloc::vec![3], 9);
        assert_eq!(backlog.bytes, 2 * (SMALL_REPLIES_BYTES + 1) + 2);
        let order: Vec<(u64, bool)> =
            core::iter::from_fn(|| backlog.take_piece().map(|piece| (piece.token, piece.follows))).collect();
        assert_eq!(order, [(3, false), (1, true), (1, false), (2, false)]);
        assert!(backlog.is_empty() && backlog.bytes == 0);
    }
}
