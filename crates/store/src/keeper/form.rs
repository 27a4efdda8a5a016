//! Forming: shards without a ready copy in reach start empty, once all members agree ([`forming`](crate::forming)).

use alloc::{format, string::String, vec::Vec};
use node::{Affiliation, MembersCommand};

use crate::{
    cluster::Formation,
    forming::{Formed, Roll},
    message::Message,
    peers::PeerSet,
    shard::Shard,
    store::Store,
};

/// Most names in one text; the others are only counted.
const NAMES_MAX: usize = 8;

impl Store {
    /// Processes the cluster that the membership reports for this node.
    pub(crate) fn affiliated(&mut self, affiliation: Affiliation) {
        let Affiliation {
            identity,
            resets,
            guests,
            seeks,
        } = affiliation;
        self.cluster.host(guests);
        self.forming.seeks = seeks;
        if self.forming.identified(identity, resets, self.time.monotonic_ms) {
            self.throw_away();
        }
        self.count_members();
    }

    /// Processes a peer's report of the members it knows. Returns false if it breaks the protocol.
    pub(crate) fn roll_of(&mut self, slot: usize, roll: &[u8]) -> bool {
        let Ok(roll) = Roll::decode(roll) else { return false };
        self.forming.heard(slot, Some(roll));
        self.keeper.look = true;
        true
    }

    /// Computes again which nodes this node waits for.
    pub(crate) fn count_members(&mut self) {
        let wants = self.forming.wants(1 + self.cluster.connected().len());
        let waits = self.cluster.awaits_members() || wants != Default::default() || self.forming.seeks;
        self.forming.say(self.cluster.members(), waits);
        self.keeper.look = true;
    }

    /// New peers have reported nothing yet, and must get this node's roll.
    pub(super) fn meet_peers(&mut self, joined: PeerSet) {
        for slot in joined.iter() {
            self.forming.heard(slot, None);
        }
        self.forming.told = None;
        self.count_members();
    }

    /// Sends the peers this node's roll if it has changed. It is sent after the list of copies.
    pub(super) fn tell_roll(&mut self) {
        let roll = self.forming.roll();
        if self.forming.told == roll {
            return;
        }
        self.forming.told = roll;
        let Some(roll) = roll else { return };
        let bytes = roll.encode();
        for slot in self.cluster.connected().iter() {
            self.peers[slot].outbox.push(&Message::Roll(&bytes));
        }
    }

    /// Whether all members are connected and report the same roll.
    fn all_agree(&self) -> bool {
        !self.cluster.turns_away() && self.forming.all_agree(self.cluster.connected().iter())
    }

    /// Whether this node has no peers and nothing was written since it formed.
    fn is_blank(&self) -> bool {
        self.cluster.is_alone() && self.time.hlc.last() == self.forming.untouched
    }

    /// Whether shards may not be formed yet.
    pub(super) fn awaits_others(&mut self) -> bool {
        if !self.forming.said_serving && self.cluster.is_serving() && !self.is_blank() {
            self.forming.said_serving = true;
            self.out.commands.push(MembersCommand::Serve);
        }
        !self.all_agree() && !self.forming.is_overdue(self.time.monotonic_ms - self.time.started_ms)
    }

    /// Makes provisional data permanent, if it is time. It is time when all members agree, and the cluster is more than
    /// one node without data. Without `--form-after`, it is also time when something was written, even if this node
    /// still waits for others. So only with `--form-after` may writes be thrown away.
    pub(crate) fn settle_forming(&mut self) {
        let is_written = || self.replicas.iter().any(|replica| !replica.shard.clock().is_empty());
        let counts = || match self.all_agree() {
            true => !self.is_blank(),
            false => !self.forming.forms_in_time() && is_written(),
        };
        if self.cluster.is_serving() && counts() && self.forming.settles(false) {
            self.out.commands.push(MembersCommand::Form { provisional: false });
        }
    }

    pub(super) fn form(&mut self, shard: usize, awaits: bool) {
        let Formation::Mine(mut sources) = self.cluster.formation(shard, awaits) else {
            return;
        };
        let begun = match sources.iter().next() {
            None => {
                self.set_copy(shard, crate::message::Copy::Ready);
                true
            }
            Some(first) => {
                sources.remove(first);
                self.fill(shard, first, sources, true)
            }
        };
        if begun {
            self.gauges.counters.formed += 1;
            let overdue = !self.all_agree();
            self.forming.formed(overdue, self.time.monotonic_ms);
            let provisional = overdue || self.is_blank();
            if self.forming.settles(provisional) {
                self.out.commands.push(MembersCommand::Form { provisional });
            }
        }
    }

    /// Processes the names that discovery found.
    pub(crate) fn discovered(&mut self, names: Vec<String>) {
        self.forming.discovered();
        self.cluster.found(names);
        self.count_members();
    }

    /// An operator says that the missing nodes are lost. They are declared gone, here and at all peers.
    pub(crate) fn accept_loss(&mut self, tell: bool) {
        self.forming.accept_loss();
        let missing: Vec<node::Atom> = self.cluster.awaited().map(node::Atom::new).collect();
        let forget = missing.into_iter().map(|node| MembersCommand::Forget { node });
        self.out.commands.extend(forget);
        if tell {
            for slot in self.cluster.connected().iter() {
                self.peers[slot].outbox.push(&Message::AcceptLoss);
            }
        }
        self.count_members();
    }

    /// Whether this node has data that other nodes may lack.
    pub(crate) fn holds_anything(&self) -> bool {
        let has_part = |shard: usize| {
            self.cluster.copy(shard) == crate::message::Copy::Ready || !self.replicas[shard].shard.clock().is_empty()
        };
        (0..self.replicas.len()).any(has_part)
    }

    /// Throws away what was formed before the cluster was met. This node is then as empty as at its start.
    fn throw_away(&mut self) {
        for shard in 0..self.replicas.len() {
            // Counters of used dots are kept, so that no dot is used again.
            let last = self.replicas[shard].shard.last();
            self.replicas[shard] = super::Replica::new(Shard::new(self.writer, last));
            self.set_copy(shard, crate::message::Copy::Absent);
        }
        self.cluster.forget_holdings();
        for slot in self.cluster.connected().iter() {
            self.tell_stand(slot);
        }
        self.keeper.throw_away();
        self.time.started_ms = self.time.monotonic_ms;
        self.forming.untouched = self.time.hlc.last();
        let text = "met its cluster: the data written here without it is dropped".into();
        self.out.notes.push(("thrown_away", text));
    }

    /// Which nodes this node waits for before it forms shards without a ready copy. None if there are no such shards,
    /// or if it waits for no node.
    pub(crate) fn waiting(&self) -> Option<String> {
        let is_unformed = |shard: &usize| self.cluster.route(*shard).primary.is_none();
        let unformed = (0..self.replicas.len()).filter(is_unformed).count();
        if unformed == 0 || self.all_agree() {
            return None;
        }
        let mut waited: Vec<String> = Vec::new();
        let awaited: Vec<&str> = self.cluster.awaited().collect();
        if !awaited.is_empty() {
            waited.push(listed(&awaited));
        }
        let wants = self.forming.wants(1 + self.cluster.connected().len());
        if wants.discovery {
            waited.push("an answer of discovery".into());
        }
        if wants.nodes > 0 {
            waited.push(format!("{} more nodes, as --expect says", wants.nodes));
        }
        if waited.is_empty() {
            let connected = self.cluster.connected();
            let peer = self.forming.who_waits(connected.iter());
            waited.push(match peer.and_then(|slot| self.cluster.peer(slot)) {
                Some(peer) => format!("{}, which waits for others itself", peer.name),
                None => "an answer of all connected nodes".into(),
            });
        }
        Some(format!(
            "{unformed} shards have no holder within reach, and this node waits for {} before it begins them empty: \
             start the missing nodes, or run `salp leave NODE` for a node that is lost for good, or `salp form \
             --accept-loss` to begin without all missing nodes",
            waited.join(" and ")
        ))
    }

    /// Once a second: notes what was formed, and which nodes this node waits for.
    pub(crate) fn note_forming(&mut self) {
        if let Some((what, shards)) = self.forming.take_formed() {
            let (kind, text) = self.describe(what, shards);
            self.out.notes.push((kind, text));
        }
        let waiting = self.waiting();
        if self.forming.is_note_due(waiting.is_some(), self.time.monotonic_ms)
            && let Some(text) = waiting
        {
            self.out.notes.push(("waiting", text));
        }
    }

    fn describe(&self, what: Formed, shards: u64) -> (&'static str, String) {
        let id = self.forming.cluster().unwrap_or_default();
        match what {
            Formed::New if id.is_empty() => ("formed", "serves as a cluster of its own".into()),
            Formed::New => ("formed", format!("formed the new cluster {id}")),
            Formed::Again => {
                let text = format!("cluster {id} is empty and begins anew: all its nodes were down at once");
                ("formed_again", text)
            }
            Formed::Provisional => {
                let awaited: Vec<&str> = self.cluster.awaited().collect();
                let names = listed(&awaited);
                let text = format!(
                    "serves without {names}, as --form-after says; data written now is dropped when this node meets its cluster"
                );
                ("formed_provisionally", text)
            }
            Formed::Lost => {
                let text = format!("{shards} shards begin empty: all nodes that held them have lost their memory");
                ("formed_lost", text)
            }
        }
    }
}

fn listed(names: &[&str]) -> String {
    let text = names[..names.len().min(NAMES_MAX)].join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}
