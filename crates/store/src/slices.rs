//! Large messages between two nodes travel in slices, so that small ones need not wait until they are through.
//!
//! ```text
//! sender     push ──small────────────────────────────────▶ frame
//!                ──large──▶ Message::Large ──────────────▶ frame     at once: the receiver knows what is to come
//!                  └──────▶ Departures ──Message::Slice──▶ frame     as there is room on the connection
//! receiver   Arrivals: announced … , the bytes of the first ──whole──▶ handled like any message
//! ```
//!
//! - A message that carries more than `slice_bytes` is large. Large messages to one peer go one after another.
//! - Deltas, requests, replies and what is told each second overtake large messages. Deltas may come in any order.
//!   [`Message::overtakes`] lists what does. Everything else waits behind the large messages that were there first, so
//!   the receiver has their deltas when it hears, for example, that the sender has another view.
//! - A receiver holds the bytes of one large message for each peer, up to [`large_bytes_max`], and drops them with the
//!   connection or the life of the peer. An announcement costs no memory for the bytes that it announces.
//! - A receiver that knows of a delta to come does not answer reads on that shard by itself.
//!
//! `docs/decisions/0026` says why.

use alloc::{collections::VecDeque, vec::Vec};
use bytes::Bytes;

use crate::{config::Config, message::Message};

/// Announced large messages whose slices have not come, and messages that wait to be sent behind large ones, for one
/// peer. The connection is cut past it.
pub(crate) const WAITING_MAX: usize = 1 << 16;

/// Milliseconds that each MiB of a request adds to its deadline, and to the write timeout of its writes: 10 MiB/s is
/// slow enough for any network that a cluster is good for.
const MS_PER_MIB: u64 = 100;

/// By how many milliseconds a request of so many bytes may take longer than others.
pub(crate) fn extra_ms(bytes: usize) -> u64 {
    (bytes as u64 >> 20) * MS_PER_MIB
}

/// The longest message that a peer may send in slices: a key with two values of the largest size, as a network
/// partition may leave it, and room for what stands beside them.
pub(crate) fn large_bytes_max(config: &Config) -> usize {
    const BESIDE_BYTES: usize = 16 << 20;
    config.value_bytes_max.saturating_mul(2).saturating_add(BESIDE_BYTES)
}

/// What waits to be sent.
#[derive(Debug)]
enum Departure {
    /// A large message: what stands before its bytes, its bytes, and how many of these were sent.
    Large { head: Vec<u8>, body: Bytes, sent: usize },
    /// A message that must not overtake those before it.
    Whole { message: Vec<u8>, is_word: bool },
}

/// Large messages for one peer, and what waits behind them.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    queue: VecDeque<Departure>,
    bytes: usize,
    /// Messages in the queue that say where the sender stands.
    words: usize,
    /// Large messages that were ever queued, and those of them that were sent whole.
    queued: u64,
    complete: u64,
}

/// The next piece of what waits.
pub(crate) enum Departing {
    /// The next bytes of a large message.
    Slice(Bytes),
    /// An encoded message.
    Whole(Vec<u8>),
}

impl Departures {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Something waits that the peer must have heard before it relies on this node.
    pub(crate) fn holds_word(&self) -> bool {
        self.words > 0
    }

    /// How many large messages were queued, and how many of those have left whole.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.queued, self.complete)
    }

    pub(crate) fn push_large(&mut self, head: Vec<u8>, body: Bytes) {
        self.bytes += head.len() + body.len();
        self.queued += 1;
        self.queue.push_back(Departure::Large { head, body, sent: 0 });
    }

    pub(crate) fn push_whole(&mut self, message: Vec<u8>, is_word: bool) {
        self.bytes += message.len();
        self.words += usize::from(is_word);
        self.queue.push_back(Departure::Whole { message, is_word });
    }

    /// Takes the next piece, of a large message at most `slice_bytes` and what stands before them.
    pub(crate) fn next(&mut self, slice_bytes: usize) -> Option<Departing> {
        let front = self.queue.front_mut()?;
        let (piece, is_over) = match front {
            Departure::Large { head, body, sent } => {
                let end = body.len().min(*sent + slice_bytes);
                let mut slice = body.slice(*sent..end);
                if *sent == 0 {
                    head.extend_from_slice(&slice);
                    slice = Bytes::from(core::mem::take(head));
                }
                *sent = end;
                self.bytes -= slice.len();
                (Departing::Slice(slice), end == body.len())
            }
            Departure::Whole { message, is_word } => {
                self.bytes -= message.len();
                self.words -= usize::from(*is_word);
                (Departing::Whole(core::mem::take(message)), true)
            }
        };
        if is_over {
            self.complete += u64::from(matches!(piece, Departing::Slice(_)));
            self.queue.pop_front();
        }
        Some(piece)
    }
}

/// A large message that a peer has announced.
#[derive(Debug)]
struct Announced {
    /// Of a delta: its shard.
    shard: Option<u32>,
    bytes: usize,
}

/// Large messages of one peer that are not here yet.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    announced: VecDeque<Announced>,
    /// What has come of the first.
    held: Vec<u8>,
}

impl Arrivals {
    /// Notes that a message of so many bytes follows in slices. False if there is no room for it.
    pub(crate) fn announce(&mut self, shard: Option<u32>, bytes: u64, bytes_max: usize) -> bool {
        let Some(bytes) = usize::try_from(bytes)
            .ok()
            .filter(|bytes| (1..=bytes_max).contains(bytes))
        else {
            return false;
        };
        self.announced.push_back(Announced { shard, bytes });
        self.announced.len() <= WAITING_MAX
    }

    /// Takes the next bytes of the first message. The message, if that is all of it; an error if it is none that was
    /// announced.
    pub(crate) fn take(&mut self, slice: &[u8]) -> Result<Option<Vec<u8>>, ()> {
        let first = self.announced.front().ok_or(())?;
        let left = first.bytes - self.held.len();
        if slice.is_empty() || slice.len() > left {
            return Err(());
        }
        if self.held.capacity() - self.held.len() < slice.len() {
            // Room grows with what has come, and no further than what was announced.
            let more = self.held.len().max(slice.len()).min(left);
            self.held.reserve_exact(more);
        }
        self.held.extend_from_slice(slice);
        if self.held.len() < first.bytes {
            return Ok(None);
        }
        self.announced.pop_front();
        Ok(Some(core::mem::take(&mut self.held)))
    }

    /// A delta of `shard` is to come.
    pub(crate) fn await_delta(&self, shard: usize) -> bool {
        self.announced
            .iter()
            .any(|announced| announced.shard.is_some_and(|of| of as usize == shard))
    }

    /// Nothing is to come.
    pub(crate) fn is_empty(&self) -> bool {
        self.announced.is_empty()
    }
}

/// The shard that a message is a delta of.
pub(crate) fn delta_shard(message: &Message<'_>) -> Option<u32> {
    match message {
        Message::Delta { shard, .. } => Some(*shard),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_departs_in_slices_arrives_whole_and_in_order() {
        let mut departures = Departures::default();
        departures.push_large(b"head".to_vec(), Bytes::from_static(b"0123456789"));
        departures.push_whole(b"word".to_vec(), true);
        departures.push_large(b"h".to_vec(), Bytes::from_static(b"abc"));
        let mut arrivals = Arrivals::default();
        assert!(arrivals.announce(Some(7), 14, 100) && arrivals.announce(None, 4, 100));
        assert!(departures.holds_word() && arrivals.await_delta(7) && !arrivals.await_delta(8));
        let mut whole = Vec::new();
        while let Some(piece) = departures.next(4) {
            match piece {
                Departing::Slice(bytes) => whole.extend(arrivals.take(&bytes).unwrap()),
                Departing::Whole(bytes) => whole.push(bytes),
            }
        }
        assert_eq!(whole, [b"head0123456789".to_vec(), b"word".to_vec(), b"habc".to_vec()]);
        assert_eq!((departures.bytes(), departures.counts()), (0, (2, 2)));
        assert!(!departures.holds_word() && !arrivals.await_delta(7));
    }

    #[test]
    fn an_announcement_takes_no_memory_and_is_not_exceeded() {
        let mut arrivals = Arrivals::default();
        assert!(!arrivals.announce(None, 101, 100) && !arrivals.announce(None, 0, 100));
        assert!(arrivals.take(b"x").is_err(), "nothing was announced");
        assert!(arrivals.announce(None, 1 << 40, 1 << 40));
        assert_eq!(arrivals.held.capacity(), 0);
        assert_eq!(arrivals.take(&[0; 100]), Ok(None));
        assert!(arrivals.held.capacity() < 1000);
        assert!(arrivals.take(b"").is_err());
        let mut short = Arrivals::default();
        assert!(short.announce(None, 3, 100));
        assert!(short.take(b"four").is_err());
    }

    #[test]
    fn announcements_are_bounded() {
        let mut arrivals = Arrivals::default();
        assert!((0..WAITING_MAX).all(|_| arrivals.announce(None, 1, 1)));
        assert!(!arrivals.announce(None, 1, 1));
    }
}
