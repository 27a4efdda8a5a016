//! Where the keys of a request are, and whether this node may decide on them.

use wire::{
    reply::{ErrorKind, Replies},
    request::Args,
};

use crate::{
    cluster::Seat,
    command::{Access, Keys},
    run::Run,
    slot::SLOTS,
    store::Store,
};

/// Why the shard of a request cannot be determined.
#[derive(Clone, Copy)]
pub(super) enum Misplaced {
    CrossSlot,
    KeyTooLong,
    NoShard,
}

impl Store {
    /// The shard that all keys of a request belong to.
    pub(super) fn locate(&self, keys: Keys, args: Args<'_>, keyspace: u16) -> Result<usize, Misplaced> {
        let span = self.layout.span(keyspace);
        if keys == Keys::Shard {
            let number = core::str::from_utf8(&args[1])
                .ok()
                .and_then(|text| text.parse::<usize>().ok());
            return number
                .and_then(|number| span.numbered(number))
                .ok_or(Misplaced::NoShard);
        }
        if keys == Keys::Slot {
            // A number that is not a slot is refused by the command itself, on any shard.
            let slot = core::str::from_utf8(&args[2])
                .ok()
                .and_then(|text| text.parse::<u16>().ok());
            return Ok(span.shard(slot.filter(|&slot| slot < SLOTS).unwrap_or(0)));
        }
        if keys == Keys::First {
            return Ok(span.shard(self.slot_of(keyspace, args.get(1).unwrap_or_default())?));
        }
        let mut found = None;
        if keys == Keys::Counted {
            // A script without keys may run anywhere.
            found = keys.of(args).next().is_none().then_some(0);
        }
        for key in keys.of(args) {
            let slot = self.slot_of(keyspace, key)?;
            if found.is_some_and(|other| other != slot) {
                return Err(Misplaced::CrossSlot);
            }
            found = Some(slot);
        }
        Ok(span.shard(found.ok_or(Misplaced::NoShard)?))
    }

    /// The slot of a key of this keyspace.
    pub(super) fn slot_of(&self, keyspace: u16, key: &[u8]) -> Result<u16, Misplaced> {
        if key.len() > self.config.key_bytes_max {
            return Err(Misplaced::KeyTooLong);
        }
        Ok(self.layout.span(keyspace).slot(key))
    }

    /// Which node executes a request on `shard` now.
    pub(super) fn place_of(&self, run: &Run, shard: usize, access: Access) -> Option<Seat> {
        let route = self.cluster.route(shard);
        if let (Access::Read, Some(Seat::Peer(primary))) = (access, route.primary)
            && route.settled
            && self.peers.has_lease(primary, self.time.monotonic_ms)
            && !self.awaits_delta(shard)
            && !run.written_elsewhere.contains(shard)
            // A forwarded read must stay at the primary: the peer may have sent it behind a write.
            && run.way.asker.is_none()
        {
            return Some(Seat::Me);
        }
        route.primary
    }

    /// Whether a request of `run` on `shard` may be executed here now: the shard is settled, the node that forwarded
    /// the request has the same view, and no earlier request of the run on this shard waits.
    pub(super) fn may_decide(&self, run: &Run, shard: usize) -> bool {
        let agrees = |(slot, life): (usize, u64)| {
            self.cluster.peer(slot).is_some_and(|peer| peer.life == life) && self.cluster.agrees(slot)
        };
        self.cluster.route(shard).settled
            && run.parked.iter().all(|(other, _)| *other != shard)
            && run.way.asker.is_none_or(agrees)
    }

    pub(super) fn misplaced(&self, why: Misplaced, replies: &mut Replies) {
        match why {
            Misplaced::CrossSlot => replies.cross_slot(),
            Misplaced::NoShard => replies.syntax(),
            Misplaced::KeyTooLong => replies.error(
                ErrorKind::Err,
                format_args!("key is longer than {} bytes", self.config.key_bytes_max),
            ),
        }
    }
}
