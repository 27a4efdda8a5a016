//! What waits for room on the way to a peer: the replies to what it forwarded, and the chunks it has asked for.
//!
//! Both may come to far more than a node lets be on its way to one peer before it cuts it (`Limits::output_bytes_max`),
//! and both can wait. So neither is put into the outbox before there is room
//! ([`Context::has_room`](node::Context::has_room)), and a chunk is not even made. Everything else, deltas above all,
//! goes into the outbox at once and so ahead of them.
//!
//! - Slices of large messages, replies and chunks take turns. While large messages are under way, small replies go, and
//!   chunks and large replies wait.
//! - A stream that was begun goes before a shard that was not, so that what is begun comes to its end; streams take
//!   turns.
//! - A peer that is lost leaves nothing behind.

use alloc::{collections::VecDeque, vec::Vec};
use bytes::Bytes;

use crate::{clock::Clock, message::Message, store::Store};

/// Bytes of replies that wait for one peer from which on what it forwards is refused as busy.
const REPLIES_BYTES_MAX: usize = 256 << 20;

/// A piece of the replies to a parcel.
#[derive(Debug)]
struct Piece {
    token: u64,
    follows: bool,
    /// It has all replies to the parcel, so there is no order to keep.
    is_whole: bool,
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

/// What waits for one peer, but for what is in its outbox.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pieces: VecDeque<Piece>,
    /// The parcel whose last piece so far is followed by another.
    last_token: Option<u64>,
    /// Bytes of replies in `pieces`.
    bytes: usize,
    /// Streams by number, once for each chunk that the peer takes: `keeper::WINDOW` for each that is open, at most.
    chunks: VecDeque<u64>,
    /// One for each shard at most.
    pulls: VecDeque<Pull>,
}

impl Backlog {
    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.chunks.is_empty() && self.pulls.is_empty()
    }

    /// No reply waits.
    pub(crate) fn has_no_replies(&self) -> bool {
        self.pieces.is_empty()
    }

    /// So much waits that the peer is to ask for nothing more.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > REPLIES_BYTES_MAX
    }

    /// Adds a piece of the replies to a parcel, of use until `deadline_ms`.
    pub(crate) fn reply(&mut self, token: u64, follows: bool, replies: Vec<u8>, deadline_ms: u64) {
        self.bytes += replies.len();
        let goes_on = self.last_token == Some(token);
        self.last_token = follows.then_some(token);
        self.pieces.push_back(Piece {
            token,
            follows,
            is_whole: !follows && !goes_on,
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

    /// Takes the next piece for which `is_wanted`, whole replies out of their turn.
    fn take_piece(&mut self, is_wanted: impl Fn(&Piece) -> bool) -> Option<Piece> {
        let is_next = |(at, piece): (usize, &Piece)| (at == 0 || piece.is_whole) && is_wanted(piece);
        let at = self.pieces.iter().enumerate().position(is_next)?;
        let piece = self.pieces.remove(at)?;
        self.bytes -= piece.replies.len();
        Some(piece)
    }
}

impl Store {
    /// Moves what waits for a peer into its outbox until that is worth sending; false if nothing is left.
    pub(crate) fn bring(&mut self, slot: usize) -> bool {
        while !self.links[slot].outbox.is_full() {
            let sliced = self.bring_slice(slot);
            // What waits behind large messages is in the outbox already: it is not filled up with more of that.
            let is_free = self.links[slot].outbox.departures().is_empty();
            let replied = self.bring_replies(slot, is_free);
            let given = is_free && self.bring_chunk(slot);
            if !sliced && !replied && !given {
                return false;
            }
        }
        true
    }

    fn bring_slice(&mut self, slot: usize) -> bool {
        let outbox = &mut self.links[slot].outbox;
        if !outbox.bring() {
            return false;
        }
        let (_, complete) = outbox.departures().counts();
        self.awaited[slot].sent(complete, outbox.number());
        true
    }

    /// `all`: large replies too, and those in pieces.
    fn bring_replies(&mut self, slot: usize, all: bool) -> bool {
        let outbox = &mut self.links[slot].outbox;
        let is_small = |piece: &Piece| piece.is_whole && !outbox.is_large(piece.replies.len());
        let Some(piece) = self.links[slot].backlog.take_piece(|piece| all || is_small(piece)) else {
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
