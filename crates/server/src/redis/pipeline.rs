//! A pipeline that is larger than one go: the bytes read ahead, and the number of requests to execute in one go.

use std::collections::VecDeque;

/// Bytes read in one go.
pub(super) const READ_BYTES_MAX: usize = 32 << 10;
/// Bytes that the replies of one go should have.
pub(super) const GO_BYTES: usize = 4 << 20;
/// Requests in the first go, when the size of replies is unknown.
pub(super) const GO_FIRST: usize = 64;
/// Fewest requests in one go, if there is room.
pub(super) const GO_MIN: usize = 16;

/// Bytes read while replies wait for the client.
#[derive(Default)]
pub(super) struct Ahead {
    /// Each has at most [`READ_BYTES_MAX`], so executed bytes are freed.
    pub(super) pieces: VecDeque<Vec<u8>>,
    pub(super) bytes: usize,
    /// The client has ended its side.
    pub(super) ended: bool,
    /// There was no room for all of it. Bytes that came since are dropped.
    pub(super) overflowed: bool,
}

impl Ahead {
    /// The piece to read into.
    pub(super) fn piece(&mut self) -> &mut Vec<u8> {
        if self.pieces.back().is_none_or(|piece| piece.len() == piece.capacity()) {
            self.pieces.push_back(Vec::with_capacity(READ_BYTES_MAX));
        }
        self.pieces.back_mut().expect("there is one now")
    }

    /// Takes the oldest bytes.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        if self.bytes == 0 {
            // An empty piece.
            self.pieces.clear();
        }
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }

    /// Drops all of it, and all bytes that come from now on.
    pub(super) fn overflow(&mut self) {
        *self = Self {
            ended: self.ended,
            overflowed: true,
            ..Self::default()
        };
    }
}

/// The size of a client's replies, as far as it is known.
#[derive(Default)]
pub(super) struct Goes {
    /// Bytes of a reply in the last go. `None` before the first.
    pub(super) usual: Option<usize>,
}

impl Goes {
    /// Records that `requests` requests had replies of `reply_bytes`.
    #[inline]
    pub(super) fn note(&mut self, requests: usize, reply_bytes: usize) {
        self.usual = Some(reply_bytes / requests.max(1));
    }

    /// How many of `requests` to execute in one go, and the expected bytes of their replies.
    #[inline]
    pub(super) fn next(&self, requests: usize) -> (usize, usize) {
        match self.usual {
            Some(usual) => {
                let go = requests.min((GO_BYTES / usual.max(1)).max(GO_MIN));
                (go, go * usual)
            }
            None if requests <= GO_MIN => (requests, 0),
            None => (requests.min(GO_FIRST), 2 * GO_BYTES),
        }
    }
}
