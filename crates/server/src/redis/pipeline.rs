//! A pipeline that is larger than what is executed at once: the bytes that were read ahead of its replies, and how many
//! requests are executed in one go.

use std::collections::VecDeque;

/// Bytes read in one go.
pub(super) const READ_BYTES_MAX: usize = 32 << 10;
/// Bytes of replies that the requests executed in one go are to have.
pub(super) const GO_BYTES: usize = 4 << 20;
/// Requests in one go as long as nothing is known of their replies.
pub(super) const GO_FIRST: usize = 64;
/// The fewest, if there is room.
pub(super) const GO_MIN: usize = 16;

/// What was read while replies waited for the client.
#[derive(Default)]
pub(super) struct Ahead {
    /// Each of [`READ_BYTES_MAX`] at most, so that what was executed is freed.
    pub(super) pieces: VecDeque<Vec<u8>>,
    pub(super) bytes: usize,
    /// The client has ended its side.
    pub(super) ended: bool,
    /// There was no room for all of it. What came since is dropped.
    pub(super) overflowed: bool,
}

impl Ahead {
    /// Where to read to.
    pub(super) fn piece(&mut self) -> &mut Vec<u8> {
        if self.pieces.back().is_none_or(|piece| piece.len() == piece.capacity()) {
            self.pieces.push_back(Vec::with_capacity(READ_BYTES_MAX));
        }
        self.pieces.back_mut().expect("there is one now")
    }

    /// Takes the oldest bytes.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        if self.bytes == 0 {
            // A piece that nothing was read into.
            self.pieces.clear();
        }
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }

    /// Drops all of it, and what comes from now on.
    pub(super) fn overflow(&mut self) {
        *self = Self {
            ended: self.ended,
            overflowed: true,
            ..Self::default()
        };
    }
}

/// How large the replies of a client are, as far as is known.
#[derive(Default)]
pub(super) struct Goes {
    /// Bytes of a reply in the last go; `None` before the first.
    pub(super) usual: Option<usize>,
}

impl Goes {
    /// So many requests had replies of so many bytes.
    #[inline]
    pub(super) fn note(&mut self, requests: usize, reply_bytes: usize) {
        self.usual = Some(reply_bytes / requests.max(1));
    }

    /// How many of so many requests are executed in one go, and what their replies will take.
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
