//! Frames of nodes that are connected but not in the member list yet.
//!
//! The process that reports new peers is not the one that receives their frames. If both arrive in one read, the frames
//! come first. They are kept, within a limit, until the peer is reported or its connection is lost. A frame that does
//! not fit is dropped; the gap in the frame numbers then closes the connection, as any gap does.

use alloc::vec::Vec;
use bytes::Bytes;
use wire::etf::{Atom, Pid};

/// Bytes kept for one node. A peer cannot send more between its first frame and the report.
const BYTES_MAX: usize = 8 << 20;
/// Nodes for which frames are kept.
const NODES_MAX: usize = 256;

#[derive(Debug)]
struct Stranger {
    node: Atom,
    creation: u32,
    bytes: usize,
    frames: Vec<Bytes>,
}

/// The frames, by sender and in order.
#[derive(Debug, Default)]
pub(crate) struct Early {
    strangers: Vec<Stranger>,
}

impl Early {
    /// Keeps a frame, if its sender is known and there is room.
    pub(crate) fn keep(&mut self, from: Option<&Pid>, frame: &Bytes) {
        let Some(from) = from else { return };
        let known = self
            .strangers
            .iter()
            .position(|known| known.creation == from.creation && known.node == from.node);
        let at = match known {
            Some(at) => at,
            None if self.strangers.len() < NODES_MAX => {
                self.strangers.push(Stranger {
                    node: from.node.clone(),
                    creation: from.creation,
                    bytes: 0,
                    frames: Vec::new(),
                });
                self.strangers.len() - 1
            }
            None => return,
        };
        let stranger = &mut self.strangers[at];
        // Each frame also counts its place in the list, so that many empty frames are limited too.
        stranger.bytes += frame.len() + size_of::<Bytes>();
        if stranger.bytes <= BYTES_MAX {
            // A copy, since a slice would keep everything read with it in memory.
            stranger.frames.push(Bytes::copy_from_slice(frame));
        }
    }

    /// Puts back frames that were taken a moment ago and are still too early.
    pub(crate) fn put_back(&mut self, node: &str, creation: u32, frames: Vec<Bytes>) {
        self.strangers.push(Stranger {
            node: Atom::new(node),
            creation,
            bytes: frames.iter().map(|frame| frame.len() + size_of::<Bytes>()).sum(),
            frames,
        });
    }

    /// Returns the frames kept for the node with this name and creation.
    pub(crate) fn take(&mut self, node: &str, creation: u32) -> Vec<Bytes> {
        let of = |known: &Stranger| known.creation == creation && known.node.as_str() == node;
        let at = self.strangers.iter().position(of);
        at.map_or_else(Vec::new, |at| self.strangers.swap_remove(at).frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(node: &str, creation: u32) -> Pid {
        Pid {
            node: Atom::new(node),
            id: 1,
            serial: 0,
            creation,
        }
    }

    #[test]
    fn frames_are_kept_for_each_creation_and_in_order() {
        let mut early = Early::default();
        for (from, frame) in [
            (pid("a@h", 4), "1"),
            (pid("a@h", 5), "2"),
            (pid("b@h", 4), "3"),
            (pid("a@h", 4), "4"),
        ] {
            early.keep(Some(&from), &Bytes::from_static(frame.as_bytes()));
        }
        early.keep(None, &Bytes::from_static(b"5"));
        assert_eq!(early.take("a@h", 4), ["1", "4"]);
        assert_eq!(early.take("a@h", 4), [""; 0]);
        assert_eq!(early.take("b@h", 4), ["3"]);
    }

    #[test]
    fn frames_of_a_stranger_are_limited() {
        let mut early = Early::default();
        let frame = Bytes::from(alloc::vec![0; BYTES_MAX / 4]);
        for _ in 0..100 {
            early.keep(Some(&pid("a@h", 4)), &frame);
        }
        assert_eq!(early.take("a@h", 4).len(), 3);
        for creation in 0..1000 {
            early.keep(Some(&pid("a@h", creation)), &Bytes::new());
        }
        assert_eq!(early.strangers.len(), NODES_MAX);
    }
}
