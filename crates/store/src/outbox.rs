//! Messages gathered for a peer, in frames that are numbered when they are sent. [`message`](crate::message) has the
//! format of frames.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{
    message::{BEAT_MS, HEADER, Message, VERSION},
    stamp::Stamp,
};

/// A frame larger than this takes no further message, so its size is limited by that of one message.
const FRAME_BYTES: usize = 256 << 10;

/// The header fields of frames that describe their sender.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The highest frame of the peer whose deltas are merged.
    pub applied: u64,
    /// The sender's monotonic clock.
    pub now_ms: u64,
    /// The peer's last beat.
    pub echo: u64,
    /// The sender's hybrid logical time.
    pub stamp: Stamp,
}

/// Makes a probe. `heard`: whether a probe of the peer has arrived.
pub fn probe(heard: bool) -> [u8; HEADER] {
    let mut frame = [0; HEADER];
    frame[0] = VERSION;
    // The second of the eight-byte numbers.
    frame[1 + 8] = u8::from(heard);
    frame
}

/// Messages gathered for one peer until they are sent: at the flush, or when there is room on the way to the peer.
#[derive(Debug)]
pub struct Outbox {
    /// Complete frames, without their headers.
    full: VecDeque<Vec<u8>>,
    /// Bytes of the frames in `full`.
    full_bytes: usize,
    frame: Vec<u8>,
    /// Number of the frame that is being gathered.
    number: u64,
    /// Whether the peer waits for an acknowledgement.
    acknowledge: bool,
    /// When the last frame was sent.
    sealed_ms: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            full: VecDeque::new(),
            full_bytes: 0,
            frame: alloc::vec![0; HEADER],
            number: 1,
            acknowledge: false,
            sealed_ms: 0,
        }
    }
}

impl Outbox {
    /// Number of the frame that is being gathered. The last message is in it, or in the frame before.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Number of the first frame that was not sent.
    pub fn unsent(&self) -> u64 {
        self.number - self.full.len() as u64
    }

    /// Bytes not sent yet.
    pub fn bytes(&self) -> usize {
        self.full_bytes + self.frame.len()
    }

    /// Whether no message waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.frame.len() == HEADER
    }

    /// Adds a message.
    pub fn push(&mut self, message: &Message<'_>) {
        if self.frame.len() > FRAME_BYTES {
            self.full_bytes += self.frame.len();
            self.full
                .push_back(core::mem::replace(&mut self.frame, alloc::vec![0; HEADER]));
            self.number += 1;
        }
        message.encode(&mut self.frame);
    }

    /// Makes the next flush send a frame even if there is no message.
    pub fn acknowledge(&mut self) {
        self.acknowledge = true;
    }

    /// Whether there is enough to send a frame before the flush.
    pub fn is_full(&self) -> bool {
        self.frame.len() > FRAME_BYTES
    }

    /// Passes frames to `send` if there is a message, an acknowledgement or a beat to send. Stops when `send` refuses a
    /// frame because there is no room, and returns false then.
    pub fn seal(&mut self, head: Head, mut send: impl FnMut(&[u8]) -> bool) -> bool {
        let Head {
            applied,
            now_ms,
            echo,
            stamp,
        } = head;
        let due = now_ms >= self.sealed_ms + BEAT_MS;
        if self.frame.len() == HEADER && !self.acknowledge && !due {
            return true;
        }
        let mut number = self.unsent();
        let mut send = |frame: &mut [u8]| {
            frame[0] = VERSION;
            for (index, field) in [number, applied, now_ms, echo, stamp.0].into_iter().enumerate() {
                frame[1 + index * 8..][..8].copy_from_slice(&field.to_le_bytes());
            }
            number += 1;
            send(frame)
        };
        while let Some(frame) = self.full.front_mut() {
            if !send(frame) {
                return false;
            }
            self.full_bytes -= frame.len();
            self.full.pop_front();
        }
        if !send(&mut self.frame) {
            return false;
        }
        self.acknowledge = false;
        self.sealed_ms = now_ms;
        self.number += 1;
        self.frame.truncate(HEADER);
        // Frees the memory of a large frame.
        self.frame.shrink_to(FRAME_BYTES);
        true
    }
}
