//! What crashes that are not lawful take with them: what was on no other node is not owed.

use node::ClusterId;
use store::quorum::Level;

use super::{Kind, Shadow, State, Write};
use crate::rules::Mark;

impl Shadow {
    /// Before a crash that was not lawful: nothing is to be known of the writes under way that `rests`, given the key's
    /// name, the number of the write and whether it is a delete, on the dying node alone. Whether a touch does cannot
    /// be seen, nor whether an increment does.
    pub fn orphan(&mut self, rests: impl Fn(&str, usize, bool) -> bool) {
        for owned in &mut self.owned {
            for (index, write) in owned.writes.iter_mut().enumerate() {
                let is_open = write.mark.state == State::Pending;
                write.mark.orphan |=
                    is_open && (write.kind.is_touch() || rests(&owned.name, index + 1, write.kind == Kind::Del));
            }
        }
        for (_, mark) in self.counters.iter_mut().flat_map(|counter| &mut counter.adds) {
            mark.orphan |= mark.state == State::Pending;
        }
    }

    /// A crash that was not lawful: excuses the key unless a living node satisfies `holds`, given the number of the
    /// last acknowledged write of a cluster and whether it was a delete.
    pub fn excuse_unless(&mut self, key: usize, cluster: Option<ClusterId>, holds: impl Fn(&str, usize, bool) -> bool) {
        let owned = &mut self.owned[key];
        // What only one node had to have may be lost, and nothing more with it.
        let lasts = |write: &Write| {
            write.mark.is_acked_by(cluster) && (write.mark.level != Level::One || write.mark.everywhere_us.is_some())
        };
        let last = owned.writes.iter().rposition(lasts);
        // Whether a touch is lost cannot be seen yet.
        if let Some(index) = last
            && (owned.writes[index].kind.is_touch()
                || !holds(&owned.name, index + 1, owned.writes[index].kind == Kind::Del))
        {
            owned.excused = true;
            owned.void.rise(cluster, owned.writes.len());
        }
    }

    /// A crash that was not lawful: excuses a counter unless a living node shows what is owed.
    pub fn excuse_counters(&mut self, cluster: Option<ClusterId>, sums: impl Fn(&str) -> Vec<i64>) {
        for counter in &mut self.counters {
            let sums = sums(&counter.name);
            counter.excused |= sums.iter().max().copied().unwrap_or(0) < counter.owed;
            let owed = counter.adds[counter.void.of(cluster)..].iter();
            let owed = owed.filter(|(_, mark)| {
                mark.is_acked_by(cluster) && (mark.level != Level::One || mark.everywhere_us.is_some())
            });
            let is_open =
                |mark: &Mark| mark.state != State::Refused && (mark.state != State::Acked || mark.cluster == cluster);
            let open = counter.adds.iter().filter(|(_, mark)| is_open(mark));
            let (mut low, mut high) = (0, 0);
            for (by, _) in owed {
                (low, high) = (low + by, high + by);
            }
            let owed: i64 = low;
            let all: i64 = open.clone().map(|(by, _)| by).sum();
            let loose = all - owed;
            low += loose.min(0);
            high += loose.max(0);
            if !sums.iter().any(|sum| (low..=high).contains(sum)) {
                counter.void.rise(cluster, counter.adds.len());
            }
        }
    }

    /// A crash that was not lawful: nothing is owed of a contended key of which nobody `has` anything.
    pub fn excuse_contended(&mut self, has: impl Fn(&str) -> bool) {
        for contended in &mut self.contended {
            contended.lasts &= has(&contended.name);
        }
    }
}
