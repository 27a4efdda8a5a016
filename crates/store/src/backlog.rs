//! What waits for room on the way to a peer: the replies to what it forwarded, and the chunks it has asked for.
//!
//! Both may come to far more than a node lets be on its way to one peer before it cuts it (`Limits::output_bytes_max`),
//! and both can wait. So neither is put into the outbox before there is room
//! ([`Context::has_room`](node::Context::has_room)), and a chunk is not even made. Everything else, deltas above all,
//! goes into the outbox at once and so ahead of them.
//!
//! - Replies and chunks take turns.
//! - A stream that was begun goes before a shard that was not, so that what is begun comes to its end; streams take
//!   turns.
//! - A peer that is lost leaves nothing behind.

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

/// A piece of the replies to a parcel.
#[derive(Debug)]
struct Piece {
    token: u64,
    follows: bool,
    replies: Vec<u8>,
    /// Nobody waits for it any longer.
    deadline_ms: u64,
}

/// A peer asks for what its clock lacks of a shard.
#[derive(Debug)]
pub(crate) struct Pull {
    pub shard: usize,
    /// A copy that is not ready will do.
    pub any: bool,
    pub clock: Clock,
}

/// What waits for one peer.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pieces: VecDeque<Piece>,
    /// Replies of [`SMALL_REPLIES_BYTES`] at most that are one piece: they go first.
    small: VecDeque<Piece>,
    /// Bytes of replies in both.
    bytes: usize,
    /// Streams by number, once for each chunk that the peer takes: `keeper::WINDOW` for each that is open, at most.
    chunks: VecDeque<u64>,
    /// One for each shard at most.
    pulls: VecDeque<Pull>,
}

impl Backlog {
    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.has_no_replies() && self.chunks.is_empty() && self.pulls.is_empty()
    }

    /// No reply waits.
    pub(crate) fn has_no_replies(&self) -> bool {
        self.pieces.is_empty() && self.small.is_empty()
    }

    /// So much waits that the peer is to ask for nothing more.
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

    /// Adds a piece of the replies to a parcel, of use until `deadline_ms`.
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

    /// Adds a pull; an earlier one of its shard was given up.
    pub(crate) fn pull(&mut self, pull: Pull) {
        self.pulls.retain(|earlier| earlier.shard != pull.shard);
        self.pulls.push_back(pull);
    }

    /// Adds a chunk of a stream.
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
    /// Moves what waits for a peer into its outbox until that is worth sending; false if nothing is left.
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
