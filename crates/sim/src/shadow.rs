//! The replies that the clients got, and therefore which replies they may get next.
//!
//! Three kinds of keys:
//!
//! - An *owned* key is written by one client, one write after the other. Each write has a number, which its value
//!   shows. Whatever happens, a read shows nothing, or the value of a write to that key that was not refused.
//! - A *counter* is only incremented, so each increment replies with at least its own amount. One counter is *timed*:
//!   it may expire at any time and start again, and its value is never above the sum of all increments.
//! - A *contended* key is written by all clients. A read shows a value that was written to it, or nothing. A contended
//!   key that is never deleted shows a value at the end.
//!
//! `EXPIRE` and `PERSIST` of an owned key are *touches*: they have numbers among its writes, but no value shows these
//! numbers.
//!
//! The rules of the run's table ([`Sight`]) judge what a reply may show. The rules of the second table are in
//! `rules.rs`. These are the rules of the first:
//!
//! A read is *strict* if the world was quiet (see `check.rs`) from its request to its reply: all serving nodes were
//! connected, none was paused, and none lacked data that another had. A strict read of an owned key:
//!
//! - *does not show an overwritten value.* The *floor* of a key is the last write that was acknowledged at level `all`
//!   in a quiet world. A value below the floor is overwritten. There is one exception: a write of unknown outcome may
//!   take effect late. It is *buried*, and so not allowed either, once the floor rises 10 s or more after it was asked
//!   for.
//! - *does not show nothing* if no `DEL` follows the last acknowledged `SET` (quiet or not), and no `DEL` of unknown
//!   outcome may take effect late. A `DEL` before that `SET` cannot have removed it. A `SET` at level `quorum` counts
//!   half a second later: only writes at level `all` can be read at once through every node.
//!
//! So on two sides of a partition, the values of both sides may be shown, and old values too. After it has healed, one
//! of the values acknowledged meanwhile is shown, or the floor if there is none. A write at level `one` may be lost
//! with its node, so it counts as unknown. To decide what is overwritten, all writes acknowledged while the world was
//! not quiet count as unknown too.
//!
//! *Owed*: a lawful crash excuses nothing. In a lawful crash, another serving node has all data that the dead node had
//! half a second ago, and so, by the promise, all data that was acknowledged. After any other crash, a key is excused
//! if no living node has its last acknowledged write.

mod crashes;

use std::collections::BTreeMap;

use node::ClusterId;
use store::quorum::Level;

use crate::rules::{Mark, Reader, Sight, Spot};

/// A write of unknown outcome may take effect this much later, in microseconds.
pub const LATE_US: u64 = 10_000_000;
/// In a quiet world, every ready copy has what any ready copy had this long ago: two looks of the checker.
const SPREAD_US: u64 = 500_000;

/// The kind of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The key shows the write's number from now on.
    Set,
    /// The same, but the value expires after this time, in microseconds.
    SetFor(u64),
    /// The key is deleted.
    Del,
    /// The value expires after this time, in microseconds.
    Expire(u64),
    /// The value does not expire.
    Persist,
}

impl Kind {
    fn is_touch(self) -> bool {
        matches!(self, Self::Expire(_) | Self::Persist)
    }
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not answered yet.
    Pending,
    /// Acknowledged, at a level that promises something.
    Acked,
    /// It may have taken effect, or may still do so.
    Unknown,
    /// It never takes effect.
    Refused,
}

#[derive(Clone, Debug)]
struct Write {
    kind: Kind,
    mark: Mark,
    /// When every ready copy has the write, if it was acknowledged and the world is quiet.
    spread_us: u64,
    /// Whether the outcome is unknown, and the write too old to take effect late.
    buried: bool,
    /// Earlier writes that this one may not have seen, so it may not overwrite them.
    unknown_to: Vec<usize>,
    /// Length of the value, if it is known.
    bytes: Option<usize>,
    /// The write whose value was the condition of this one; 0 if the condition was that there is no value.
    base: Option<usize>,
}

#[derive(Clone, Debug)]
struct Owned {
    name: String,
    /// The write with number 1 is the first.
    writes: Vec<Write>,
    floor: usize,
    excused: bool,
    /// How many of the first writes need not be known, for each cluster: a crash that was not lawful took them.
    void: Void,
}

/// How many of a key's first writes are excused, for each cluster that lost them.
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

/// What a read must respect, as of the time when it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// The index of the owned key.
    pub key: usize,
    floor: usize,
    /// The last acknowledged `SET` that every copy must have.
    kept: usize,
    /// How many writes had been asked for.
    upto: usize,
}

/// What a shown value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The number of the write that it comes from.
    pub number: usize,
    /// Its length.
    pub bytes: usize,
}

/// A counter and the bounds of its value.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    /// Its key.
    pub name: String,
    /// Sum of the increments acknowledged at level `all`.
    pub low: i64,
    /// Sum of the increments acknowledged.
    pub owed: i64,
    /// Sum of the increments not refused.
    pub high: i64,
    /// Whether `owed` does not apply any more, after a crash that was not lawful.
    pub excused: bool,
    /// Whether the counter may expire, so that nothing is owed.
    pub timed: bool,
    /// All increments, in the order in which they were asked for.
    adds: Vec<(i64, Mark)>,
    /// How many of the first increments need not be known, for each cluster: a crash that was not lawful took some of
    /// them.
    void: Void,
}

impl Counter {
    /// A counter without increments.
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
    /// Whether no client deletes the key, and no crash that was not lawful took its values.
    lasts: bool,
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    owned: Vec<Owned>,
    /// The counters, by number.
    pub counters: Vec<Counter>,
    contended: Vec<Contended>,
    /// Where and when the current requests are made.
    pub spot: Spot,
    /// How far the calendar of a node may differ from true time, in microseconds.
    pub calendar_error_us: u64,
    /// Number of acknowledged writes.
    pub acknowledged: u64,
    /// After this time, a write at level `all` needs only a majority.
    pub write_timeout_us: u64,
}

impl Shadow {
    // Owned keys

    /// Adds an owned key.
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

    /// Its name.
    pub fn name(&self, key: usize) -> &str {
        &self.owned[key].name
    }

    /// Whether a node, in its life `life` in this cluster, acknowledged a write that leaves data.
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

    /// A write is asked for. Returns its number.
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
            base: None,
        });
        writes.len()
    }

    /// A write is answered, or its client gives it up.
    pub fn end(&mut self, key: usize, number: usize, state: State, level: Level, sight: &Sight<'_>, now_us: u64) {
        let owned = &mut self.owned[key];
        let write = &mut owned.writes[number - 1];
        write.mark.end(state, now_us, self.spot.batch);
        write.spread_us = now_us;
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

    /// Notes the length of a write's value, if it is known.
    pub fn measured(&mut self, key: usize, number: usize, bytes: Option<usize>) {
        self.owned[key].writes[number - 1].bytes = bytes;
    }

    /// Every ready copy has the writes acknowledged before `before_us`. A write at level `one` counts only if nothing
    /// has moved since its request.
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

    /// Judges a read that showed a value or nothing. It was asked for at `asked_us` and answered at `now_us`.
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

    /// Judges the success of a write whose condition was that the key shows the write `base`, or nothing if that is 0.
    /// The key may show that when the write is executed, and no other write has the same condition: one node decides
    /// both, unless the nodes were apart.
    pub fn is_based_on(
        &mut self,
        read: Read,
        number: usize,
        base: usize,
        sight: &Sight<'_>,
        now_us: u64,
    ) -> Result<(), String> {
        let owned = &mut self.owned[read.key];
        owned.writes[number - 1].base = Some(base);
        let owned = &self.owned[read.key];
        let why = |why: String| {
            format!(
                "{number} of {} is based on {base}: {why}; {}",
                owned.name,
                owned.history(read, sight)
            )
        };
        match base {
            0 => self.may_be_absent(owned, read, sight, now_us),
            _ => self.may_show(owned, read, base, sight, sight.asked_us(now_us)),
        }
        .map_err(why)?;
        let Some(reader) = sight.reader() else { return Ok(()) };
        let void = owned.void.of(reader.cluster);
        let level = owned.writes[number - 1].mark.level;
        let is_rival = |other: &usize| {
            let write = &owned.writes[other - 1];
            *other != number && *other > void && write.base == Some(base) && reader.is_decided_with(&write.mark, level)
        };
        match (1..=owned.writes.len()).find(is_rival) {
            Some(other) => Err(why(format!("so is {other}"))),
            None => Ok(()),
        }
    }

    /// Judges a reply that implies that the key exists, or that it does not.
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

    /// Judges a reply that implies a value of `bytes` bytes.
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
            return Err("no client wrote that".into());
        };
        match write.kind {
            Kind::Del => return Err("that was a delete".into()),
            Kind::Expire(_) | Kind::Persist => return Err("that write has no value".into()),
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
                // Requests behind this one in its batch come too late to have removed a value.
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

    /// Whether a copy of the key must now show write `number` or a later one: true if that write is a delete. None if
    /// it is unknown, since a write may still take effect or the value may have expired.
    pub fn must_hold(&self, key: usize, number: usize) -> Option<bool> {
        let owned = &self.owned[key];
        let last = owned.writes.len() == number;
        let (kind, state) = (owned.writes[number - 1].kind, owned.writes[number - 1].mark.state);
        // A delete of a key that is deleted already writes nothing.
        let finds = kind != Kind::Del || number < 2 || owned.writes[number - 2].kind != Kind::Del;
        let stays = matches!(kind, Kind::Set | Kind::Del) && finds;
        let sure = last && state == State::Acked && !owned.writes.iter().any(Write::is_open) && stays;
        sure.then_some(kind == Kind::Del)
    }

    // Counters

    /// An increment is asked for. Returns its number.
    pub fn add(&mut self, counter: usize, by: i64) -> usize {
        let adds = &mut self.counters[counter].adds;
        adds.push((by, Mark::new(self.spot)));
        adds.len() - 1
    }

    /// An increment is answered, or its client gives it up.
    pub fn added(
        &mut self,
        (counter, add): (usize, usize),
        state: State,
        level: Level,
        sight: &Sight<'_>,
        now_us: u64,
    ) {
        let mark = &mut self.counters[counter].adds[add].1;
        mark.end(state, now_us, self.spot.batch);
        mark.level = level;
        if let Sight::Known(reader) = sight {
            mark.cluster = reader.cluster;
        }
        if let (Sight::Known(reader), State::Acked) = (sight, state) {
            let reached = reader.reached_all(level, now_us - mark.spot.asked_us, self.write_timeout_us);
            mark.everywhere_us = reached.then_some(now_us);
        }
    }

    /// Whether a counter may show `sum`. Only the first `upto` increments were asked for before the request. `own` is
    /// the amount that the request itself adds.
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

    /// Adds a contended key. If it `lasts`, it is never deleted.
    pub fn new_contended(&mut self, name: String, lasts: bool) {
        self.contended.push(Contended {
            name,
            values: BTreeMap::new(),
            lasts,
        });
    }

    /// Judges what a contended key shows at the end.
    pub fn contended_left(&self, key: usize, value: Option<&str>) -> Result<(), String> {
        let Contended { name, values, lasts } = &self.contended[key];
        let acked = values.values().filter(|state| **state == State::Acked).count();
        if *lasts && value.is_none() && acked > 0 {
            return Err(format!("{name} shows nothing, and {acked} writes were acknowledged"));
        }
        self.contended_shown(key, value)
    }

    /// Its name.
    pub fn contended_name(&self, key: usize) -> &str {
        &self.contended[key].name
    }

    /// How many contended keys there are.
    pub fn contended_len(&self) -> usize {
        self.contended.len()
    }

    /// Notes the outcome of a write of `value`.
    pub fn contended_write(&mut self, key: usize, value: &str, state: State) {
        self.acknowledged += u64::from(state == State::Acked);
        self.contended[key].values.insert(value.into(), state);
    }

    /// Judges what a read showed.
    pub fn contended_shown(&self, key: usize, value: Option<&str>) -> Result<(), String> {
        let Contended { name, values, .. } = &self.contended[key];
        match value.map(|value| (value, values.get(value))) {
            Some((value, None)) => Err(format!("{name} shows {value:?}: no client wrote that")),
            Some((value, Some(State::Refused))) => Err(format!("{name} shows {value:?}: it was refused")),
            Some(_) | None => Ok(()),
        }
    }
}

impl Write {
    /// Whether the write may still take effect.
    fn is_open(&self) -> bool {
        matches!(self.mark.state, State::Unknown | State::Pending) && !self.buried
    }

    /// Whether the key has a value after this write.
    fn keeps(&self) -> bool {
        matches!(self.kind, Kind::Set | Kind::SetFor(_) | Kind::Persist)
    }

    /// The latest time when the write took effect.
    fn latest_us(&self) -> u64 {
        if self.mark.state == State::Acked {
            self.mark.ended_us
        } else {
            self.mark.spot.asked_us + LATE_US
        }
    }
}

impl Owned {
    /// The latest time when the value of write `number` expires; none if it does not expire, or if that is unknown.
    /// Only a `strict` read must have seen a touch.
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
        // A touch that may take effect late may do so after all others.
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
        // A delete that was acknowledged in a quiet world has removed all writes before it.
        if last < self.floor { self.floor } else { last }
    }

    /// Whether some touch after write `number` and write `other` may not have seen each other. A touch writes the value
    /// again, so it may come after `other` and still show `number`.
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

    /// Earlier writes that the acknowledged write `number` may not have seen, in order.
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
    fn a_write_acknowledged_in_a_quiet_world_is_read_back() {
        let mut shadow = Shadow::default();
        shadow.new_key("k".into());
        assert!(check(&shadow, None, true));
        assert!(!check(&shadow, Some(1), false), "no client wrote that");
        acked(&mut shadow, Kind::Set, true);
        acked(&mut shadow, Kind::Set, true);
        assert!(check(&shadow, Some(2), true));
        assert!(!check(&shadow, Some(1), true), "overwritten");
        assert!(check(&shadow, Some(1), false), "a read during a partition");
        assert!(!check(&shadow, None, true), "lost");
        acked(&mut shadow, Kind::Del, true);
        assert!(check(&shadow, None, true));
        assert!(!check(&shadow, Some(2), true), "the value was deleted");
    }

    #[test]
    fn either_side_of_a_partition_may_win_and_a_value_must_remain() {
        let mut shadow = Shadow::default();
        shadow.new_key("k".into());
        acked(&mut shadow, Kind::Set, true);
        acked(&mut shadow, Kind::Del, false);
        acked(&mut shadow, Kind::Set, false);
        assert!(check(&shadow, Some(3), true) && check(&shadow, Some(1), true));
        assert!(!check(&shadow, None, true), "the delete was earlier");
    }

    #[test]
    fn a_write_of_a_majority_is_read_by_all_a_moment_later() {
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
    fn an_unknown_write_may_land_late_and_a_refused_one_never() {
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
    fn a_touch_ends_a_value_or_keeps_it() {
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
        assert!(shows(&shadow, None, 9 * SECOND_US).is_err(), "it must stay");
        assert!(shows(&shadow, Some(3), 0).is_err(), "no value");
        acked(&mut shadow, Kind::SetFor(SECOND_US), true);
        let late = shadow.begin(0, Kind::Persist);
        shadow.end(0, late, State::Unknown, Level::All, &Sight::Quiet(true), 0);
        assert!(shows(&shadow, Some(4), 9 * SECOND_US).is_ok() && shows(&shadow, None, 9 * SECOND_US).is_ok());
    }

    #[test]
    fn a_contended_key_that_is_never_deleted_shows_a_value_at_the_end() {
        let mut shadow = Shadow::default();
        shadow.new_contended("x".into(), true);
        assert!(shadow.contended_left(0, None).is_ok());
        shadow.contended_write(0, "v", State::Acked);
        assert!(shadow.contended_left(0, None).is_err() && shadow.contended_left(0, Some("v")).is_ok());
        shadow.excuse_contended(|_| false, |_| false);
        assert!(shadow.contended_left(0, None).is_err(), "the crash concerns other keys");
        shadow.excuse_contended(|_| true, |_| false);
        assert!(shadow.contended_left(0, None).is_ok());
    }

    /// Long after the beginning, when the world has been steady for long.
    const LONG_US: u64 = 10_000_000;

    /// A world of three nodes that are linked pairwise from the beginning. If `is_cut`, the first one is cut off from
    /// 50 on.
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

    /// A request to the node on `machine` that is answered now.
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
        assert!(!explains(&shadow, Some(3), &reader), "no client wrote that");
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
    fn a_write_that_had_not_seen_another_does_not_overwrite_it() {
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

    /// Whether two writes of the nodes on these machines, both under way at the same time, may succeed with the same
    /// condition.
    fn may_share_a_base(together: &Together, machines: [usize; 2]) -> bool {
        let mut shadow = waiting();
        shadow.new_key("k".into());
        write(&mut shadow, Kind::Set, State::Acked, &sight(together, 1, 10));
        let read = shadow.read(0, 0);
        let under_way = machines.map(|machine| {
            let sight = sight(together, machine, 70);
            if let Sight::Known(reader) = &sight {
                shadow.spot = reader.spot;
            }
            (shadow.begin(0, Kind::Set), sight)
        });
        let verdicts = under_way.map(|(number, sight)| {
            shadow.end(0, number, State::Acked, Level::All, &sight, LONG_US + 80);
            shadow.is_based_on(read, number, 1, &sight, LONG_US + 80).is_ok()
        });
        assert!(verdicts[0], "the first one succeeds");
        verdicts[1]
    }

    #[test]
    fn one_node_decides_all_writes_with_the_same_condition() {
        let (whole, cut) = (together(false), together(true));
        assert!(!may_share_a_base(&whole, [1, 2]));
        assert!(!may_share_a_base(&cut, [1, 2]), "they are on the same side");
        assert!(may_share_a_base(&cut, [0, 1]), "each side decides");
    }

    #[test]
    fn a_write_whose_condition_was_overwritten_does_not_succeed() {
        let mut shadow = waiting();
        shadow.new_key("k".into());
        let whole = together(false);
        write(&mut shadow, Kind::Set, State::Acked, &sight(&whole, 1, 10));
        write(&mut shadow, Kind::Set, State::Acked, &sight(&whole, 1, 20));
        let (read, later) = (shadow.read(0, 0), sight(&whole, 2, 30));
        write(&mut shadow, Kind::Set, State::Acked, &later);
        let mut is_based_on = |base| shadow.is_based_on(read, 3, base, &later, LONG_US + 40).is_ok();
        assert!(is_based_on(2) && !is_based_on(1) && !is_based_on(0));
    }

    #[test]
    fn replies_that_imply_a_value_are_judged_too() {
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
    fn a_counter_shows_the_known_increments_and_any_of_the_rest() {
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
        assert!(
            shows(0, 5) && shows(0, 15) && !shows(0, 4),
            "everywhere before the partition"
        );
    }
}
