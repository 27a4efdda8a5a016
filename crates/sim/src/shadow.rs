//! What the clients were told, and therefore what they may be told next.
//!
//! Three kinds of keys:
//!
//! - An *owned* key is written by one client, one write after the other; each write has a number, which its value
//!   shows. Whatever happens, a read shows nothing, or the value of a write that was issued to that key and not
//!   refused.
//! - A *counter* is only ever incremented, so each increment answers at least what it added. One of them is *timed*: it
//!   may end at any time and begin anew, and is never above the sum of all.
//! - A *contended* key is written by all: a read shows a value that was written to it, or nothing. One that is never
//!   deleted shows something in the end.
//!
//! `EXPIRE` and `PERSIST` of an owned key are *touches*: numbered among its writes, but no value shows them.
//!
//! What a reply may show is judged by the rules of the run's table ([`Sight`]). Those of the second table are in
//! `rules.rs`. Those of the first are these:
//!
//! A read is *strict* if the world was quiet (see `check.rs`) all the while from its request to its reply: all nodes
//! that serve were connected, none stood still, and none lacked what another had. What a strict read of an owned key
//! may show:
//!
//! - *Not what is past.* The *floor* of a key is the last write that was acknowledged at level `all` in a quiet world.
//!   A value below the floor was overwritten. The exception is a write whose outcome is unknown: it may land late. It
//!   is *buried*, and may not either, once the floor rises 10 s or more after it was asked for.
//! - *Not nothing* if the last acknowledged `SET`, quiet or not, has no `DEL` behind it, and no unknown one may land
//!   late. A delete that came before it cannot have seen it. One at level `quorum` counts half a second later: only
//!   what is acknowledged at level `all` is read back at once through every node.
//!
//! So on two sides of a cut the values of both may be shown, and old ones too; and when it has healed, one of those
//! that were acknowledged meanwhile, or the floor if none was. A write at level `one` may be lost with its node: it
//! counts as unknown. So does, for the question what is past, all that was acknowledged in a world that was not quiet.
//!
//! *Owed*: a crash excuses nothing as long as it is lawful: another node that serves holds all that the dead one held
//! half a second ago, and so, by the promise, all that was acknowledged. After any other crash the keys of which no
//! living node holds the last acknowledged write are excused.

mod crashes;

use std::collections::BTreeMap;

use node::ClusterId;
use store::quorum::Level;

use crate::rules::{Mark, Reader, Sight, Spot};

/// A write whose outcome is unknown may take effect this much later, in microseconds.
pub const LATE_US: u64 = 10_000_000;
/// In a quiet world every ready copy has what any other had so long ago: two looks at the whole.
const SPREAD_US: u64 = 500_000;

/// What a write was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The key shows the write's number from now on.
    Set,
    /// And for so long, in microseconds.
    SetFor(u64),
    /// The key is gone.
    Del,
    /// What is there ends after so long, in microseconds.
    Expire(u64),
    /// What is there does not end.
    Persist,
}

impl Kind {
    fn is_touch(self) -> bool {
        matches!(self, Self::Expire(_) | Self::Persist)
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked for.
    Pending,
    /// It was acknowledged, at a level that promises something.
    Acked,
    /// It may have happened, or may yet.
    Unknown,
    /// It never happens.
    Refused,
}

#[derive(Clone, Debug)]
struct Write {
    kind: Kind,
    mark: Mark,
    /// When every ready copy has it, if it was acknowledged and the world is quiet.
    spread_us: u64,
    /// Unknown, and too long ago to land late.
    buried: bool,
    /// Earlier writes that this one need not have known: it does not overwrite them for certain.
    unknown_to: Vec<usize>,
    /// Bytes of the value, if that can be told.
    bytes: Option<usize>,
}

#[derive(Clone, Debug)]
struct Owned {
    name: String,
    /// Number 1 is the first.
    writes: Vec<Write>,
    floor: usize,
    excused: bool,
    /// Up to which one nothing has to be known in which cluster: a crash that was not lawful took it.
    void: Void,
}

/// How many writes of a key are excused, by the cluster that lost them.
#[derive(Clone, Debug, Default)]
struct Void(Vec<(Option<ClusterId>, usize)>);

impl Void {
    fn of(&self, cluster: Option<ClusterId>) -> usize {
        let entry = self.0.iter().find(|(other, _)| *other == cluster);
        entry.map_or(0, |(_, count)| *count)
    }

    fn rise(&mut self, cluster: Option<ClusterId>, count: usize) {
        match self.0.iter_mut().find(|(other, _)| *other == cluster) {
            Some(entry) => entry.1 = count,
            None => self.0.push((cluster, count)),
        }
    }
}

/// What a read has to respect, as it stood when it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// Which owned key.
    pub key: usize,
    floor: usize,
    /// The last acknowledged `SET` that every copy must have.
    kept: usize,
    /// Writes that had been asked for.
    upto: usize,
}

/// What is known of a value that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The write that it tells of.
    pub number: usize,
    /// Its length.
    pub bytes: usize,
}

/// A counter: what its value must lie between.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    /// Its key.
    pub name: String,
    /// Sum of what was acknowledged at level `all`.
    pub low: i64,
    /// Sum of what was acknowledged.
    pub owed: i64,
    /// Sum of what was not refused.
    pub high: i64,
    /// `owed` lost its ground in a crash that was not lawful.
    pub excused: bool,
    /// It may end, so that nothing is owed.
    pub timed: bool,
    /// Every increment, in the order in which they were asked for.
    adds: Vec<(i64, Mark)>,
    /// Of how many of them nothing has to be known in which cluster: a crash that was not lawful took some.
    void: Void,
}

impl Counter {
    /// One that has not been incremented yet.
    pub fn new(name: String, timed: bool) -> Self {
        Self {
            name,
            timed,
            ..Self::default()
        }
    }

    /// How many increments were asked for.
    pub fn len(&self) -> usize {
        self.adds.len()
    }
}

#[derive(Clone, Debug, Default)]
struct Contended {
    name: String,
    values: BTreeMap<String, State>,
    /// Nobody deletes it, and no crash that was not lawful took its values.
    lasts: bool,
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    owned: Vec<Owned>,
    /// By number.
    pub counters: Vec<Counter>,
    contended: Vec<Contended>,
    /// Where the requests that are being made come from.
    pub spot: Spot,
    /// How far calendars may be from the truth, in microseconds.
    pub calendar_error_us: u64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Past which a write at level `all` is content with a majority.
    pub write_timeout_us: u64,
}

impl Shadow {
    // Owned keys

    /// A key of its own for somebody.
    pub fn new_key(&mut self, name: String) -> usize {
        self.owned.push(Owned {
            name,
            writes: Vec::new(),
            floor: 0,
            excused: false,
            void: Void::default(),
        });
        self.owned.len() - 1
    }

    /// Its text.
    pub fn name(&self, key: usize) -> &str {
        &self.owned[key].name
    }

    /// Whether a node acknowledged in its life `life`, of a cluster, a write that leaves something.
    pub fn has_written(&self, cluster: Option<ClusterId>, life: u64) -> bool {
        let is_its = |mark: &Mark| mark.is_acked_by(cluster) && mark.spot.life == life;
        let mut writes = self.owned.iter().flat_map(|owned| &owned.writes);
        let mut adds = self.counters.iter().flat_map(|counter| &counter.adds);
        let leaves = |write: &Write| matches!(write.kind, Kind::Set | Kind::SetFor(_));
        writes.any(|write| leaves(write) && is_its(&write.mark)) || adds.any(|(_, mark)| is_its(mark))
    }

    /// How many owned keys there are.
    pub fn len(&self) -> usize {
        self.owned.len()
    }

    /// A write is asked for: its number.
    pub fn begin(&mut self, key: usize, kind: Kind) -> usize {
        let mark = Mark::new(self.spot);
        let writes = &mut self.owned[key].writes;
        writes.push(Write {
            kind,
            mark,
            spread_us: 0,
            buried: false,
            unknown_to: Vec::new(),
            bytes: None,
        });
        writes.len()
    }

    /// A write at some level is answered, or will not be.
    pub fn end(&mut self, key: usize, number: usize, state: State, level: Level, sight: &Sight<'_>, now_us: u64) {
        let owned = &mut self.owned[key];
        let write = &mut owned.writes[number - 1];
        (write.mark.state, write.mark.ended_us, write.spread_us) = (state, now_us, now_us);
        write.mark.level = level;
        if level != Level::All {
            write.spread_us += SPREAD_US;
        }
        if let Sight::Known(reader) = sight {
            write.mark.cluster = reader.cluster;
        }
        let cluster = write.mark.cluster;
        write.mark.sure = state == State::Acked && level == Level::All && sight.is_calm();
        let (asked_us, kind, sure) = (write.mark.spot.asked_us, write.kind, write.mark.sure);
        self.acknowledged += u64::from(state == State::Acked);
        if sure && !kind.is_touch() && number > owned.floor {
            owned.floor = number;
            for earlier in &mut owned.writes[..number - 1] {
                let is_its = earlier.mark.state == State::Unknown && earlier.mark.spot.cluster == cluster;
                earlier.buried |= is_its && earlier.mark.spot.asked_us + LATE_US < asked_us;
            }
        }
        if let (Sight::Known(reader), State::Acked) = (sight, state) {
            let took_us = now_us - asked_us;
            let reached = reader.reached_all(level, took_us, self.write_timeout_us);
            owned.writes[number - 1].mark.everywhere_us = reached.then_some(now_us);
            owned.writes[number - 1].unknown_to = owned.unknown_to(number, reader);
        }
    }

    /// How many bytes the value of a write has, if that can be told.
    pub fn measured(&mut self, key: usize, number: usize, bytes: Option<usize>) {
        self.owned[key].writes[number - 1].bytes = bytes;
    }

    /// Every ready copy has what was acknowledged before then; at level `one` only if nothing has moved since the
    /// request.
    pub fn has_spread(
        &mut self,
        cluster: Option<ClusterId>,
        before_us: u64,
        now_us: u64,
        is_still_since: impl Fn(u64) -> bool,
    ) {
        let writes = self.owned.iter_mut().flat_map(|owned| &mut owned.writes);
        let adds = self.counters.iter_mut().flat_map(|counter| &mut counter.adds);
        let marks = writes.map(|write| &mut write.mark).chain(adds.map(|(_, mark)| mark));
        let is_its = |mark: &&mut Mark| mark.is_acked_by(cluster) && !mark.orphan;
        for mark in marks.filter(is_its).filter(|mark| mark.ended_us <= before_us) {
            if mark.level != Level::One || is_still_since(mark.spot.asked_us) {
                mark.everywhere_us.get_or_insert(now_us);
            }
        }
    }

    /// A read is asked for.
    pub fn read(&self, key: usize, now_us: u64) -> Read {
        let owned = &self.owned[key];
        Read {
            key,
            floor: owned.floor,
            kept: owned.kept(now_us),
            upto: owned.writes.len(),
        }
    }

    /// What a read showed: a value, or nothing. `asked_us` and `now_us`: when it was asked for and answered.
    pub fn shown(
        &self,
        read: Read,
        shown: Option<Shown>,
        sight: &Sight<'_>,
        asked_us: u64,
        now_us: u64,
    ) -> Result<(), String> {
        let owned = &self.owned[read.key];
        let verdict = match shown {
            Some(value) => self
                .may_show(owned, read, value.number, sight, asked_us)
                .and_then(|()| {
                    let bytes = owned.writes[value.number - 1].bytes.unwrap_or(value.bytes);
                    if bytes == value.bytes {
                        Ok(())
                    } else {
                        Err(format!("it has {} bytes, not {bytes}", value.bytes))
                    }
                }),
            None => self.may_be_absent(owned, read, sight, now_us),
        };
        let number = shown.map(|shown| shown.number);
        verdict.map_err(|why| format!("{} shows {number:?}: {why}; {}", owned.name, owned.history(read, sight)))
    }

    /// A request was answered as if something, or nothing, were there.
    pub fn is_there(&self, read: Read, there: bool, sight: &Sight<'_>, now_us: u64) -> Result<(), String> {
        if !there {
            return self.shown(read, None, sight, sight.asked_us(now_us), now_us);
        }
        let owned = &self.owned[read.key];
        if self.candidates(read, sight, now_us).next().is_some() {
            return Ok(());
        }
        Err(format!(
            "{} is answered as if it were there; {}",
            owned.name,
            owned.history(read, sight)
        ))
    }

    /// A request was answered as if a value of so many bytes were there.
    pub fn has_length(&self, read: Read, bytes: usize, sight: &Sight<'_>, now_us: u64) -> Result<(), String> {
        if bytes == 0 {
            return self.is_there(read, false, sight, now_us);
        }
        let owned = &self.owned[read.key];
        let fits = |number: usize| owned.writes[number - 1].bytes.is_none_or(|length| length == bytes);
        if self.candidates(read, sight, now_us).any(fits) {
            return Ok(());
        }
        let lengths: Vec<_> = self
            .candidates(read, sight, now_us)
            .map(|number| (number, owned.writes[number - 1].bytes))
            .collect();
        Err(format!(
            "{} is answered as if it had {bytes} bytes, and by number it may have {lengths:?}; {}",
            owned.name,
            owned.history(read, sight)
        ))
    }

    /// The writes that a read may show.
    fn candidates<'a>(&'a self, read: Read, sight: &'a Sight<'_>, now_us: u64) -> impl Iterator<Item = usize> + 'a {
        let owned = &self.owned[read.key];
        let asked_us = sight.asked_us(now_us);
        (1..=owned.writes.len())
            .rev()
            .filter(move |&number| self.may_show(owned, read, number, sight, asked_us).is_ok())
    }

    fn may_show(
        &self,
        owned: &Owned,
        read: Read,
        number: usize,
        sight: &Sight<'_>,
        asked_us: u64,
    ) -> Result<(), String> {
        let strict = sight.is_calm() && !owned.excused;
        let Some(write) = number.checked_sub(1).and_then(|index| owned.writes.get(index)) else {
            return Err("nobody wrote that".into());
        };
        match write.kind {
            Kind::Del => return Err("that was a delete".into()),
            Kind::Expire(_) | Kind::Persist => return Err("that was no value".into()),
            Kind::Set | Kind::SetFor(_) => {}
        }
        let is_over = |end_us: u64| asked_us > end_us + self.calendar_error_us;
        if owned.end_us(number, strict).is_some_and(is_over) {
            return Err("it has expired".into());
        }
        if write.mark.state == State::Refused {
            return Err("it was refused".into());
        }
        match sight {
            Sight::Quiet(_) => {
                let past = number < read.floor && (write.mark.state != State::Unknown || write.buried);
                if strict && past {
                    return Err("it was overwritten".into());
                }
            }
            Sight::Known(reader) => {
                if number > read.upto && write.mark.spot.batch == reader.spot.batch {
                    return Err("it was not written yet".into());
                }
                if !reader.may_know(&write.mark) {
                    return Err("that was acknowledged by another cluster".into());
                }
                let void = owned.void.of(reader.cluster);
                let overwrites = |other: &usize| {
                    let later = &owned.writes[other - 1];
                    *other > void
                        && !later.kind.is_touch()
                        && reader.must_know(&later.mark)
                        && later.unknown_to.binary_search(&number).is_err()
                        && !owned.is_touched_beside(number, *other)
                };
                if let Some(other) = (number + 1..=read.upto).find(overwrites) {
                    return Err(format!("it was overwritten by {other}"));
                }
            }
        }
        Ok(())
    }

    fn may_be_absent(&self, owned: &Owned, read: Read, sight: &Sight<'_>, now_us: u64) -> Result<(), String> {
        let removes = |write: &Write| match write.kind {
            Kind::Set | Kind::Persist => false,
            Kind::Del => true,
            Kind::SetFor(time_us) | Kind::Expire(time_us) => {
                now_us + self.calendar_error_us >= write.mark.spot.asked_us + time_us
            }
        };
        let removed = |kept: usize, is_before: &dyn Fn(usize, &Write) -> bool| {
            owned.writes.iter().zip(1..).any(|(write, number)| {
                let counts = match write.mark.state {
                    State::Refused => false,
                    State::Unknown => number >= kept || !write.buried,
                    State::Pending | State::Acked => !is_before(number, write),
                };
                let is_known = |reader: &Reader<'_>| reader.may_know(&write.mark);
                counts && removes(write) && sight.reader().is_none_or(is_known)
            })
        };
        let missing = match sight {
            Sight::Quiet(strict) => {
                let is_before = |number, _: &Write| number < read.kept;
                *strict && !owned.excused && read.kept > 0 && !removed(read.kept, &is_before)
            }
            Sight::Known(reader) => (owned.void.of(reader.cluster) + 1..=read.upto).any(|kept| {
                let write = &owned.writes[kept - 1];
                // What stands behind the request in its batch comes too late to have removed something.
                let is_before = |number, other: &Write| {
                    number < kept && other.mark.is_before(&write.mark.spot)
                        || number > read.upto && other.mark.spot.batch == reader.spot.batch
                };
                write.keeps() && reader.must_know(&write.mark) && !removed(kept, &is_before)
            }),
        };
        if missing {
            Err("an acknowledged write is missing".into())
        } else {
            Ok(())
        }
    }

    /// Whether a copy of the key must show write `number` or a later one now, and whether that is a delete; none if
    /// that cannot be told, since a write may still land or it may have expired.
    pub fn must_hold(&self, key: usize, number: usize) -> Option<bool> {
        let owned = &self.owned[key];
        let last = owned.writes.len() == number;
        let (kind, state) = (owned.writes[number - 1].kind, owned.writes[number - 1].mark.state);
        // A delete of what was deleted before writes nothing.
        let finds = kind != Kind::Del || number < 2 || owned.writes[number - 2].kind != Kind::Del;
        let stays = matches!(kind, Kind::Set | Kind::Del) && finds;
        let sure = last && state == State::Acked && !owned.writes.iter().any(Write::is_open) && stays;
        sure.then_some(kind == Kind::Del)
    }

    // Counters

    /// A counter is to grow: the number of the increment.
    pub fn add(&mut self, counter: usize, by: i64) -> usize {
        let adds = &mut self.counters[counter].adds;
        adds.push((by, Mark::new(self.spot)));
        adds.len() - 1
    }

    /// An increment is answered, or will not be.
    pub fn added(
        &mut self,
        (counter, add): (usize, usize),
        state: State,
        level: Level,
        sight: &Sight<'_>,
        now_us: u64,
    ) {
        let mark = &mut self.counters[counter].adds[add].1;
        (mark.state, mark.ended_us, mark.level) = (state, now_us, level);
        if let Sight::Known(reader) = sight {
            mark.cluster = reader.cluster;
        }
        if let (Sight::Known(reader), State::Acked) = (sight, state) {
            let reached = reader.reached_all(level, now_us - mark.spot.asked_us, self.write_timeout_us);
            mark.everywhere_us = reached.then_some(now_us);
        }
    }

    /// Whether a counter may show `sum`, to a request behind which the increments from `upto` on were made; `own`: and
    /// which made one itself.
    pub fn may_sum(
        &self,
        counter: usize,
        upto: usize,
        own: Option<i64>,
        sum: i64,
        sight: &Sight<'_>,
    ) -> Result<(), String> {
        let Sight::Known(reader) = sight else { return Ok(()) };
        let entry = &self.counters[counter];
        let void = entry.void.of(reader.cluster);
        let (mut low, mut high) = (own.unwrap_or(0), own.unwrap_or(0));
        for (number, (by, mark)) in entry.adds.iter().enumerate() {
            let is_later = number >= upto && mark.spot.batch == reader.spot.batch;
            if mark.state == State::Refused || is_later || !reader.may_know(mark) {
                continue;
            }
            let known = !entry.timed && number >= void && number < upto && reader.must_know(mark);
            low += if known { *by } else { (*by).min(0) };
            high += if known { *by } else { (*by).max(0) };
        }
        if (low..=high).contains(&sum) {
            return Ok(());
        }
        Err(format!(
            "{} shows {sum}, which is not between {low} and {high}",
            entry.name
        ))
    }

    // Contended keys

    /// A key for everybody; one that `lasts` is never deleted.
    pub fn new_contended(&mut self, name: String, lasts: bool) {
        self.contended.push(Contended {
            name,
            values: BTreeMap::new(),
            lasts,
        });
    }

    /// What a contended key shows in the end.
    pub fn contended_left(&self, key: usize, value: Option<&str>) -> Result<(), String> {
        let Contended { name, values, lasts } = &self.contended[key];
        let acked = values.values().filter(|state| **state == State::Acked).count();
        if *lasts && value.is_none() && acked > 0 {
            return Err(format!("{name} shows nothing, and {acked} writes were acknowledged"));
        }
        self.contended_shown(key, value)
    }

    /// Its text.
    pub fn contended_name(&self, key: usize) -> &str {
        &self.contended[key].name
    }

    /// How many there are.
    pub fn contended_len(&self) -> usize {
        self.contended.len()
    }

    /// The outcome of a write of `value`.
    pub fn contended_write(&mut self, key: usize, value: &str, state: State) {
        self.acknowledged += u64::from(state == State::Acked);
        self.contended[key].values.insert(value.into(), state);
    }

    /// What a read showed.
    pub fn contended_shown(&self, key: usize, value: Option<&str>) -> Result<(), String> {
        let Contended { name, values, .. } = &self.contended[key];
        match value.map(|value| (value, values.get(value))) {
            Some((value, None)) => Err(format!("{name} shows {value:?}: nobody wrote that")),
            Some((value, Some(State::Refused))) => Err(format!("{name} shows {value:?}: it was refused")),
            Some(_) | None => Ok(()),
        }
    }
}

impl Write {
    /// It may still land.
    fn is_open(&self) -> bool {
        matches!(self.mark.state, State::Unknown | State::Pending) && !self.buried
    }

    /// Something is there once it has happened.
    fn keeps(&self) -> bool {
        matches!(self.kind, Kind::Set | Kind::SetFor(_) | Kind::Persist)
    }

    /// When it took effect at the latest.
    fn latest_us(&self) -> u64 {
        if self.mark.state == State::Acked {
            self.mark.ended_us
        } else {
            self.mark.spot.asked_us + LATE_US
        }
    }
}

impl Owned {
    /// When what write `number` left ends at the latest; none if it does not, or that cannot be told. Only a `strict`
    /// read must have seen a touch.
    fn end_us(&self, number: usize, strict: bool) -> Option<u64> {
        let write = &self.writes[number - 1];
        let mut end_us = match write.kind {
            Kind::SetFor(time_us) => Some(write.latest_us() + time_us),
            _ => None,
        };
        let touches = |(index, touch): &(usize, &Write)| match touch.mark.state {
            State::Refused => false,
            State::Acked => *index >= number && touch.mark.cluster == write.mark.cluster,
            State::Pending | State::Unknown => !touch.buried,
        };
        for (_, touch) in self.writes.iter().enumerate().filter(touches) {
            match touch.kind {
                Kind::Persist => end_us = None,
                Kind::Expire(time_us) => {
                    let later_us = touch.latest_us() + time_us;
                    let binds = strict && write.mark.sure && touch.mark.sure;
                    end_us = match end_us {
                        Some(end_us) => Some(end_us.max(later_us)),
                        None => binds.then_some(later_us),
                    };
                }
                Kind::Set | Kind::SetFor(_) | Kind::Del => {}
            }
        }
        // One that may land late lands last.
        let may_persist = |write: &Write| write.kind == Kind::Persist && write.is_open();
        if self.writes.iter().any(may_persist) {
            None
        } else {
            end_us
        }
    }

    fn kept(&self, now_us: u64) -> usize {
        let kept = |write: &Write| write.mark.state == State::Acked && write.keeps() && write.spread_us <= now_us;
        let last = self.writes.iter().rposition(kept).map_or(0, |index| index + 1);
        // A delete that was acknowledged in a quiet world has seen all before it.
        if last < self.floor { self.floor } else { last }
    }

    /// Whether a touch behind write `number` and write `other` need not have known each other. A touch writes the value
    /// again, so it may come after `other` and show `number`.
    fn is_touched_beside(&self, number: usize, other: usize) -> bool {
        let is_unknown = |early: usize, late: usize| self.writes[late - 1].unknown_to.binary_search(&early).is_ok();
        (number + 1..=self.writes.len()).any(|touch| {
            let write = &self.writes[touch - 1];
            let is_beside = match write.mark.state {
                State::Refused => false,
                State::Pending | State::Unknown => true,
                State::Acked => is_unknown(touch.min(other), touch.max(other)),
            };
            write.kind.is_touch() && is_beside
        })
    }

    /// Earlier writes that acknowledged write `number` need not have known, in order.
    fn unknown_to(&self, number: usize, reader: &Reader<'_>) -> Vec<usize> {
        let void = self.void.of(reader.cluster);
        let is_unknown = |other: &usize| {
            let earlier = &self.writes[other - 1];
            match earlier.mark.state {
                State::Refused => false,
                State::Unknown => !earlier.buried,
                State::Pending => earlier.mark.spot.batch != reader.spot.batch,
                State::Acked => *other <= void || !reader.must_know(&earlier.mark),
            }
        };
        (1..number).filter(is_unknown).collect()
    }

    fn history(&self, read: Read, sight: &Sight<'_>) -> String {
        let first = self.writes.len().saturating_sub(12);
        let line = |(index, write): (usize, &Write)| {
            let buried = if write.buried { " buried" } else { "" };
            let at_ms = write.mark.spot.asked_us / 1000;
            let (kind, state) = (write.kind, write.mark.state);
            let place = match sight {
                Sight::Quiet(_) => String::new(),
                Sight::Known(_) => {
                    let Mark { spot, level, .. } = write.mark;
                    let since_ms = write.mark.everywhere_us.map(|since_us| since_us / 1000);
                    let everywhere = since_ms.map_or(String::new(), |ms| format!(" everywhere since {ms} ms"));
                    format!(" {level:?}{everywhere} by machine {} of {:b}", spot.machine, spot.group)
                }
            };
            format!("{}:{kind:?} {state:?}{buried} at {at_ms} ms{place}", index + 1)
        };
        let lines: Vec<String> = self.writes.iter().enumerate().skip(first).map(line).collect();
        let lines = lines.join(", ");
        let excused = self.excused;
        match sight {
            Sight::Quiet(_) => format!(
                "floor {}, kept {}, excused {excused}, writes {lines}",
                read.floor, read.kept
            ),
            Sight::Known(reader) => format!(
                "asked at {} ms at machine {} of {:b}, whole {}, void {}, writes {lines}",
                reader.spot.asked_us / 1000,
                reader.spot.machine,
                reader.spot.group,
                reader.whole,
                self.void.of(reader.cluster)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::together::{Tie, Together};

    fn acked(shadow: &mut Shadow, kind: Kind, quiet: bool) {
        let number = shadow.begin(0, kind);
        shadow.end(0, number, State::Acked, Level::All, &Sight::Quiet(quiet), 0);
    }

    fn value(number: Option<usize>) -> Option<Shown> {
        number.map(|number| Shown { number, bytes: 1 })
    }

    fn check(shadow: &Shadow, shown: Option<usize>, strict: bool) -> bool {
        let read = shadow.read(0, 0);
        shadow.shown(read, value(shown), &Sight::Quiet(strict), 0, 0).is_ok()
    }

    #[test]
    fn what_is_acknowledged_in_quiet_is_what_is_read() {
        let mut shadow = Shadow::default();
        shadow.new_key("k".into());
        assert!(check(&shadow, None, true));
        assert!(!check(&shadow, Some(1), false), "nobody wrote that");
        acked(&mut shadow, Kind::Set, true);
        acked(&mut shadow, Kind::Set, true);
        assert!(check(&shadow, Some(2), true));
        assert!(!check(&shadow, Some(1), true), "past");
        assert!(check(&shadow, Some(1), false), "a read during a cut");
        assert!(!check(&shadow, None, true), "lost");
        acked(&mut shadow, Kind::Del, true);
        assert!(check(&shadow, None, true));
        assert!(!check(&shadow, Some(2), true), "back from the dead");
    }

    #[test]
    fn both_sides_of_a_cut_may_win_and_neither_may_vanish() {
        let mut shadow = Shadow::default();
        shadow.new_key("k".into());
        acked(&mut shadow, Kind::Set, true);
        acked(&mut shadow, Kind::Del, false);
        acked(&mut shadow, Kind::Set, false);
        assert!(check(&shadow, Some(3), true) && check(&shadow, Some(1), true));
        assert!(!check(&shadow, None, true), "the delete came before");
    }

    #[test]
    fn what_a_majority_has_is_read_by_everybody_a_moment_later() {
        let mut shadow = Shadow::default();
        shadow.new_key("k".into());
        let number = shadow.begin(0, Kind::Set);
        shadow.end(0, number, State::Acked, Level::Quorum, &Sight::Quiet(true), 0);
        let absent = |now_us| {
            let read = shadow.read(0, now_us);
            shadow.shown(read, None, &Sight::Quiet(true), now_us, now_us).is_ok()
        };
        assert!(absent(SPREAD_US - 1));
        assert!(!absent(SPREAD_US), "lost");
    }

    #[test]
    fn what_is_unknown_may_land_late_and_what_is_refused_never() {
        let mut shadow = Shadow::default();
        shadow.new_key("k".into());
        let unknown = shadow.begin(0, Kind::Del);
        shadow.end(0, unknown, State::Unknown, Level::All, &Sight::Quiet(false), 0);
        acked(&mut shadow, Kind::Set, true);
        assert!(check(&shadow, None, true));
        let refused = shadow.begin(0, Kind::Set);
        shadow.end(0, refused, State::Refused, Level::All, &Sight::Quiet(true), 0);
        assert!(!check(&shadow, Some(refused), false));
        shadow.spot.asked_us = 2 * LATE_US;
        let later = shadow.begin(0, Kind::Set);
        shadow.end(0, later, State::Acked, Level::All, &Sight::Quiet(true), 0);
        assert!(!check(&shadow, None, true), "it is buried");
    }

    #[test]
    fn a_touch_ends_what_is_there_or_keeps_it() {
        const SECOND_US: u64 = 1_000_000;
        let mut shadow = Shadow::default();
        shadow.new_key("k".into());
        let shows = |shadow: &Shadow, shown, now_us| {
            let read = shadow.read(0, now_us);
            shadow.shown(read, value(shown), &Sight::Quiet(true), now_us, now_us)
        };
        acked(&mut shadow, Kind::Set, true);
        acked(&mut shadow, Kind::Expire(SECOND_US), true);
        assert!(shows(&shadow, Some(1), SECOND_US).is_ok() && shows(&shadow, None, SECOND_US).is_ok());
        assert!(shows(&shadow, None, SECOND_US / 2).is_err(), "too early");
        assert!(shows(&shadow, Some(1), SECOND_US + 1).is_err(), "too late");
        acked(&mut shadow, Kind::Persist, true);
        assert!(shows(&shadow, Some(1), 9 * SECOND_US).is_ok());
        assert!(shows(&shadow, None, 9 * SECOND_US).is_err(), "it was to stay");
        assert!(shows(&shadow, Some(3), 0).is_err(), "no value");
        acked(&mut shadow, Kind::SetFor(SECOND_US), true);
        let late = shadow.begin(0, Kind::Persist);
        shadow.end(0, late, State::Unknown, Level::All, &Sight::Quiet(true), 0);
        assert!(shows(&shadow, Some(4), 9 * SECOND_US).is_ok() && shows(&shadow, None, 9 * SECOND_US).is_ok());
    }

    #[test]
    fn a_contended_key_that_nobody_deletes_shows_something_in_the_end() {
        let mut shadow = Shadow::default();
        shadow.new_contended("x".into(), true);
        assert!(shadow.contended_left(0, None).is_ok());
        shadow.contended_write(0, "v", State::Acked);
        assert!(shadow.contended_left(0, None).is_err() && shadow.contended_left(0, Some("v")).is_ok());
        shadow.excuse_contended(|_| false);
        assert!(shadow.contended_left(0, None).is_ok());
    }

    /// Long after the beginning: the world has been steady.
    const LONG_US: u64 = 10_000_000;

    /// A world of three nodes that are linked pairwise from the beginning on, or of which the first one is cut off
    /// since 50.
    fn together(is_cut: bool) -> Together {
        let mut together = Together::default();
        let lives = [Some(1), Some(2), Some(3)];
        together.update(1, &lives, false, |_, _| Tie::Linked);
        if is_cut {
            let tie = |a, _| if a == 0 { Tie::Blocked } else { Tie::Linked };
            together.update(LONG_US + 50, &lives, false, tie);
        }
        together
    }

    fn waiting() -> Shadow {
        Shadow {
            write_timeout_us: 1_000_000,
            ..Shadow::default()
        }
    }

    /// A request of the node on `machine`, which is now answered.
    fn sight(together: &Together, machine: usize, asked_us: u64) -> Sight<'_> {
        let asked_us = LONG_US + asked_us;
        let spot = Spot {
            machine,
            life: machine as u64 + 1,
            batch: asked_us,
            asked_us,
            cluster: None,
            group: together.group(machine),
        };
        Sight::Known(Reader {
            spot,
            cluster: None,
            whole: together.is_whole_since(asked_us),
            together,
        })
    }

    fn write(shadow: &mut Shadow, kind: Kind, state: State, sight: &Sight<'_>) {
        if let Sight::Known(reader) = sight {
            shadow.spot = reader.spot;
            let number = shadow.begin(0, kind);
            shadow.measured(0, number, Some(10 * number));
            shadow.end(0, number, state, Level::All, sight, reader.spot.asked_us + 1);
        }
    }

    /// Whether a request may show this, by the rules of the second table.
    fn explains(shadow: &Shadow, number: Option<usize>, sight: &Sight<'_>) -> bool {
        let shown = number.map(|number| Shown {
            number,
            bytes: 10 * number,
        });
        shadow.shown(shadow.read(0, 0), shown, sight, 0, LONG_US + 100).is_ok()
    }

    #[test]
    fn a_reply_follows_from_the_writes_that_its_node_had_to_know() {
        let mut shadow = waiting();
        shadow.new_key("k".into());
        let whole = together(false);
        write(&mut shadow, Kind::Set, State::Acked, &sight(&whole, 1, 10));
        write(&mut shadow, Kind::Set, State::Acked, &sight(&whole, 1, 20));
        let reader = sight(&whole, 2, 30);
        assert!(explains(&shadow, Some(2), &reader));
        assert!(!explains(&shadow, Some(1), &reader), "overwritten");
        assert!(!explains(&shadow, None, &reader), "lost");
        assert!(!explains(&shadow, Some(3), &reader), "nobody wrote that");
        let torn = Some(Shown { number: 2, bytes: 19 });
        assert!(
            shadow
                .shown(shadow.read(0, 0), torn, &reader, 0, LONG_US + 100)
                .is_err()
        );
        let cut = together(true);
        write(&mut shadow, Kind::Set, State::Acked, &sight(&cut, 1, 60));
        let own_side = sight(&cut, 2, 70);
        assert!(explains(&shadow, Some(3), &own_side) && !explains(&shadow, Some(2), &own_side));
        let other_side = sight(&cut, 0, 70);
        assert!(explains(&shadow, Some(3), &other_side) && explains(&shadow, Some(2), &other_side));
    }

    #[test]
    fn a_write_that_did_not_know_another_does_not_overwrite_it() {
        let mut shadow = waiting();
        shadow.new_key("k".into());
        let cut = together(true);
        write(&mut shadow, Kind::Set, State::Acked, &sight(&cut, 0, 60));
        write(&mut shadow, Kind::Set, State::Acked, &sight(&cut, 1, 70));
        let mut healed = together(true);
        healed.update(LONG_US + 80, &[Some(1), Some(2), Some(3)], false, |_, _| Tie::Linked);
        let reader = sight(&healed, 2, 90);
        assert!(explains(&shadow, Some(1), &reader) && explains(&shadow, Some(2), &reader));
        assert!(!explains(&shadow, None, &reader));
        write(&mut shadow, Kind::Del, State::Acked, &sight(&healed, 2, 95));
        let reader = sight(&healed, 0, 98);
        assert!(explains(&shadow, None, &reader));
        assert!(!explains(&shadow, Some(1), &reader) && !explains(&shadow, Some(2), &reader));
    }

    #[test]
    fn what_is_told_of_a_value_without_showing_it_is_judged_too() {
        let mut shadow = waiting();
        shadow.new_key("k".into());
        let whole = together(false);
        let told = |shadow: &Shadow, there| {
            let reader = sight(&whole, 2, 40);
            shadow
                .is_there(shadow.read(0, 0), there, &reader, LONG_US + 100)
                .is_ok()
        };
        let measured = |shadow: &Shadow, bytes| {
            let reader = sight(&whole, 2, 40);
            shadow
                .has_length(shadow.read(0, 0), bytes, &reader, LONG_US + 100)
                .is_ok()
        };
        assert!(told(&shadow, false) && !told(&shadow, true));
        write(&mut shadow, Kind::Set, State::Acked, &sight(&whole, 1, 10));
        assert!(!told(&shadow, false) && told(&shadow, true));
        assert!(measured(&shadow, 10) && !measured(&shadow, 11) && !measured(&shadow, 0));
        write(&mut shadow, Kind::Set, State::Unknown, &sight(&whole, 1, 20));
        assert!(measured(&shadow, 10) && measured(&shadow, 20));
        shadow.excuse_unless(0, None, |_, _, _| false);
        assert!(told(&shadow, false), "a crash took it");
    }

    #[test]
    fn a_counter_shows_what_is_known_and_any_of_the_rest() {
        let mut shadow = waiting();
        shadow.counters.push(Counter::new("n".into(), false));
        let (whole, cut) = (together(false), together(true));
        let mut add = |by, state, sight: &Sight<'_>| {
            if let Sight::Known(reader) = sight {
                shadow.spot = reader.spot;
            }
            let number = shadow.add(0, by);
            shadow.added((0, number), state, Level::All, sight, sight.asked_us(0) + 1);
        };
        add(5, State::Acked, &sight(&whole, 1, 10));
        add(3, State::Unknown, &sight(&whole, 1, 20));
        add(7, State::Acked, &sight(&cut, 1, 60));
        add(100, State::Refused, &sight(&cut, 1, 62));
        let shows = |machine, sum| shadow.may_sum(0, 4, None, sum, &sight(&cut, machine, 70)).is_ok();
        assert!(shows(2, 12) && shows(2, 15) && !shows(2, 11) && !shows(2, 16));
        assert!(shows(0, 5) && shows(0, 15) && !shows(0, 4), "everywhere before the cut");
    }
}
