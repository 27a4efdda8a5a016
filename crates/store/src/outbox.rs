//! Messages gathered for a peer, in frames that are numbered when they are sent. [`message`](crate::message) has the
//! format of frames.

use alloc::{collections::VecDeque, vec::Vec};
use bytes::Bytes;

use crate::{
    message::{BEAT_MS, HEADER, Message, VERSION},
    slices::{self, Departing, Departures},
    stamp::Stamp,
};

/// Slices that a frame is worth sending with: a longer one takes no further message, so that its size is bounded.
const FRAME_SLICES: usize = 2;

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
    /// Large messages, and what waits behind them.
    departures: Departures,
    /// A message that carries more travels in slices of so many bytes.
    slice_bytes: usize,
    /// Number the frame being gathered will have.
    number: u64,
    /// Whether the peer waits for an acknowledgement.
    acknowledge: bool,
    /// When the last frame was sent.
    sealed_ms: u64,
}

impl Outbox {
    /// An outbox from which nothing was sent.
    pub fn new(slice_bytes: usize) -> Self {
        Self {
            full: VecDeque::new(),
            full_bytes: 0,
            frame: alloc::vec![0; HEADER],
            departures: Departures::default(),
            slice_bytes,
            number: 1,
            acknowledge: false,
            sealed_ms: 0,
        }
    }

    /// Number of the frame that is being gathered: the one that the last message is in, or one before.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Number of the first frame that was not sent.
    pub fn unsent(&self) -> u64 {
        self.number - self.full.len() as u64
    }

    /// Bytes not sent yet.
    pub fn bytes(&self) -> usize {
        self.full_bytes + self.frame.len() + self.departures.bytes()
    }

    /// Whether no message waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.frame.len() == HEADER && self.departures.is_empty()
    }

    /// Large messages, and what waits behind them.
    pub(crate) fn departures(&self) -> &Departures {
        &self.departures
    }

    /// A message that carries so many bytes is large.
    pub(crate) fn is_large(&self, bytes: usize) -> bool {
        bytes > self.slice_bytes
    }

    /// Adds a message. One that is large, or must not overtake large ones, waits for [`Outbox::bring`].
    pub fn push(&mut self, message: &Message<'_>) {
        match message.body().filter(|body| self.is_large(body.len())) {
            Some(body) => self.push_large(message, Bytes::copy_from_slice(body)),
            None if message.overtakes() => self.put(message),
            None => self.push_behind(message),
        }
    }

    /// Adds a large message with the bytes that it carries.
    pub(crate) fn push_large(&mut self, message: &Message<'_>, body: Bytes) {
        let mut head = Vec::new();
        message.encode_head(&mut head);
        self.put(&Message::Large {
            shard: slices::delta_shard(message),
            bytes: (head.len() + body.len()) as u64,
        });
        self.departures.push_large(head, body);
    }

    /// Adds a message that does not overtake large ones.
    pub(crate) fn push_behind(&mut self, message: &Message<'_>) {
        let large = message.body().filter(|body| self.is_large(body.len()));
        if let Some(body) = large {
            self.push_large(message, Bytes::copy_from_slice(body));
        } else if self.departures.is_empty() {
            self.put(message);
        } else {
            let mut whole = Vec::new();
            message.encode(&mut whole);
            self.departures.push_whole(whole, message.body().is_none());
        }
    }

    /// Moves the next slice, or message behind large ones, into the frame. False if there is none.
    pub(crate) fn bring(&mut self) -> bool {
        match self.departures.next(self.slice_bytes) {
            Some(Departing::Slice(bytes)) => self.put(&Message::Slice(&bytes)),
            Some(Departing::Whole(message)) => self.room().extend_from_slice(&message),
            None => return false,
        }
        true
    }

    fn put(&mut self, message: &Message<'_>) {
        message.encode(self.room());
    }

    /// The frame that takes the next message.
    fn room(&mut self) -> &mut Vec<u8> {
        if self.is_full() {
            self.full_bytes += self.frame.len();
            self.full
                .push_back(core::mem::replace(&mut self.frame, alloc::vec![0; HEADER]));
            self.number += 1;
        }
        &mut self.frame
    }

    /// Makes the next flush send a frame even if there is no message.
    pub fn acknowledge(&mut self) {
        self.acknowledge = true;
    }

    /// Whether there is enough to send a frame before the flush.
    pub fn is_full(&self) -> bool {
        self.frame.len() > HEADER + FRAME_SLICES * self.slice_bytes
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
        // A frame that grew large gives its memory back.
        self.frame.shrink_to(FRAME_SLICES * self.slice_bytes);
        true
    }
}
