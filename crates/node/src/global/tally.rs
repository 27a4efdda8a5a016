//! What each node has in a table of `global`: its number of entries, and their bytes. A node without entries is not
//! listed.
//!
//! An entry is removed with the same number of bytes with which it was added, so that the figures return to zero.

use crate::config::Limits;
use alloc::collections::BTreeMap;
use wire::etf::Atom;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    entries: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<Atom, Held>);

impl Tally {
    pub(crate) fn add(&mut self, node: &Atom, bytes: usize) {
        let held = self.0.entry(node.clone()).or_default();
        held.entries += 1;
        held.bytes += bytes;
    }

    pub(crate) fn remove(&mut self, node: &Atom, bytes: usize) {
        let held = self.0.get_mut(node).expect("only what was added is removed");
        held.entries -= 1;
        held.bytes -= bytes;
        if held.entries == 0 {
            assert_eq!(held.bytes, 0, "no entry, no bytes");
            self.0.remove(node);
        }
    }

    /// Whether a node may have one more entry with this many bytes.
    pub(crate) fn has_room(&self, node: &Atom, bytes: usize, limits: &Limits) -> bool {
        let held = self.0.get(node).copied().unwrap_or_default();
        held.entries < limits.global_per_peer_max
            && held.bytes.saturating_add(bytes) <= limits.global_bytes_per_peer_max
    }

    /// The nodes with entries, and how many each has.
    pub(crate) fn per_node(&self) -> impl Iterator<Item = (&Atom, usize)> {
        self.0.iter().map(|(node, held)| (node, held.entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_up_to_the_last_entry_and_the_last_byte() {
        let limits = Limits {
            global_per_peer_max: 2,
            global_bytes_per_peer_max: 10,
            ..Limits::default()
        };
        let (a, b) = (Atom::new("a@h"), Atom::new("b@h"));
        let mut tally = Tally::default();
        tally.add(&a, 6);
        assert!(tally.has_room(&a, 4, &limits) && !tally.has_room(&a, 5, &limits));
        assert!(tally.has_room(&b, 10, &limits) && !tally.has_room(&b, usize::MAX, &limits));
        tally.add(&a, 0);
        assert!(!tally.has_room(&a, 0, &limits), "the number of entries is limited too");
        tally.remove(&a, 6);
        assert!(tally.has_room(&a, 10, &limits));
        tally.remove(&a, 0);
        assert_eq!(tally.per_node().count(), 0);
    }
}
