//! What a crash that is not lawful excuses: data that no other node had.

use node::ClusterId;
use store::quorum::Level;

use super::{Kind, Shadow, State, Write};
use crate::rules::Mark;

impl Shadow {
    /// Called before a crash that is not lawful. A pending write need not be known if only the dying node has it, which
    /// `rests` says (given the key's name, the number of the write, and whether it is a delete). A pending touch or
    /// increment is always excused, since the stores do not show where it is.
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

    /// Called after a crash that was not lawful. Excuses the key unless a living node `holds` the last acknowledged
    /// write of this cluster (given the key's name, the number of the write, and whether it is a delete).
    pub fn excuse_unless(&mut self, key: usize, cluster: Option<ClusterId>, holds: impl Fn(&str, usize, bool) -> bool) {
        let owned = &mut self.owned[key];
        // A write that only one node had to have may be lost, but it excuses nothing else.
        let lasts = |write: &Write| {
            write.mark.is_acked_by(cluster) && (write.mark.level != Level::One || write.mark.everywhere_us.is_some())
        };
        let last = owned.writes.iter().rposition(lasts);
        // Whether a touch is lost is not visible yet.
        if let Some(index) = last
            && (owned.writes[index].kind.is_touch()
                || !holds(&owned.name, index + 1, owned.writes[index].kind == Kind::Del))
        {
            owned.excused = true;
            owned.void.rise(cluster, owned.writes.len());
        }
    }

    /// Called after a crash that was not lawful. Excuses each counter that the crash `concerns`, unless a living node
    /// shows what is owed.
    pub fn excuse_counters(
        &mut self,
        cluster: Option<ClusterId>,
        concerns: impl Fn(&str) -> bool,
        sums: impl Fn(&str) -> Vec<i64>,
    ) {
        for counter in self.counters.iter_mut().filter(|counter| concerns(&counter.name)) {
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

    /// Called after a crash that was not lawful. Nothing is owed for a contended key that the crash `concerns` if no
    /// node `has` a value for it.
    pub fn excuse_contended(&mut self, concerns: impl Fn(&str) -> bool, has: impl Fn(&str) -> bool) {
        for contended in &mut self.contended {
            contended.lasts &= !concerns(&contended.name) || has(&contended.name);
        }
    }
}
