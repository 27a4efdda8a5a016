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
use bytes::Bytes;

use crate::{clock::Clock, message::Message, outcome::PIECE_BYTES, store::Store, traffic::Traffic};

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
    /// It has all replies to the parcel, so there is no order to keep.
    is_whole: bool,
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
    /// Whole replies of [`SMALL_REPLIES_BYTES`] at most: they go first.
    small: VecDeque<Piece>,
    /// The parcel whose last piece so far is followed by another.
    last_token: Option<u64>,
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
        let goes_on = self.last_token == Some(token);
        self.last_token = follows.then_some(token);
        let is_whole = !follows && !goes_on;
        let is_small = is_whole && replies.len() <= SMALL_REPLIES_BYTES;
        let queue = if is_small { &mut self.small } else { &mut self.pieces };
        queue.push_back(Piece {
            token,
            follows,
            is_whole,
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

    /// Takes the next piece: only a small one unless `all`, and then none that is large for its connection.
    fn take_piece(&mut self, all: bool, is_large: impl Fn(usize) -> bool) -> Option<Piece> {
        let piece = match self.small.front() {
            Some(next) if all || !is_large(next.replies.len()) => self.small.pop_front(),
            None if all => self.pieces.pop_front(),
            _ => None,
        }?;
        self.bytes -= piece.replies.len();
        Some(piece)
    }
}

impl Store {
    /// Moves waiting data into the peer's outbox until the outbox is full. Returns false if nothing more waits.
    pub(crate) fn bring(&mut self, slot: usize) -> bool {
        while !self.peers[slot].outbox.is_full() {
            let sliced = self.bring_slice(slot);
            // What waits behind large messages is in the outbox already: it is not filled up with more of that.
            let is_free = self.peers[slot].outbox.departures().is_empty();
            let replied = self.bring_replies(slot, is_free);
            let given = is_free && self.bring_chunk(slot);
            if !sliced && !replied && !given {
                return false;
            }
        }
        true
    }

    fn bring_slice(&mut self, slot: usize) -> bool {
        let outbox = &mut self.peers[slot].outbox;
        if !outbox.bring() {
            return false;
        }
        let (_, complete) = outbox.departures().counts();
        self.front.awaited[slot].sent(complete, outbox.number());
        true
    }

    /// `all`: large replies too, and those in pieces.
    fn bring_replies(&mut self, slot: usize, all: bool) -> bool {
        let Traffic { outbox, backlog, .. } = &mut self.peers[slot];
        let Some(piece) = backlog.take_piece(all, |bytes| outbox.is_large(bytes)) else {
            return false;
        };
        if piece.deadline_ms <= self.time.monotonic_ms {
            return true;
        }
        let is_large = outbox.is_large(piece.replies.len());
        let replies = Bytes::from(piece.replies);
        let outcome = Message::Outcome {
            token: piece.token,
            follows: piece.follows,
            replies: &replies,
        };
        match (is_large, piece.is_whole) {
            (true, _) => outbox.push_large(&outcome, replies.clone()),
            (false, true) => outbox.push(&outcome),
            (false, false) => outbox.push_behind(&outcome),
        }
        true
    }

    fn bring_chunk(&mut self, slot: usize) -> bool {
        if let Some(stream) = self.peers[slot].backlog.chunks.pop_front() {
            self.send_chunk(stream);
        } else if let Some(pull) = self.peers[slot].backlog.pulls.pop_front() {
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
        let order: Vec<(u64, bool)> = core::iter::from_fn(|| {
            backlog
                .take_piece(true, |_| false)
                .map(|piece| (piece.token, piece.follows))
        })
        .collect();
        assert_eq!(order, [(3, false), (1, true), (1, false), (2, false)]);
        assert!(backlog.is_empty() && backlog.bytes == 0);
    }
}
