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

use std::collections::BTreeMap;

use store::quorum::Level;

/// A write whose outcome is unknown may take effect this much later, in microseconds.
const LATE_US: u64 = 10_000_000;
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

#[derive(Clone, Copy, Debug)]
struct Write {
    kind: Kind,
    state: State,
    asked_us: u64,
    ended_us: u64,
    /// When every ready copy has it, if it was acknowledged and the world is quiet.
    spread_us: u64,
    /// Unknown, and too long ago to land late.
    buried: bool,
    /// Acknowledged at level `all`, in a quiet world.
    sure: bool,
}

#[derive(Clone, Debug)]
struct Owned {
    name: String,
    /// Number 1 is the first.
    writes: Vec<Write>,
    floor: usize,
    excused: bool,
}

/// What a read has to respect, as it stood when it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// Which owned key.
    pub key: usize,
    floor: usize,
    /// The last acknowledged `SET` that every copy must have.
    kept: usize,
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
    /// How far calendars may be from the truth, in microseconds.
    pub calendar_error_us: u64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
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
        });
        self.owned.len() - 1
    }

    /// Its text.
    pub fn name(&self, key: usize) -> &str {
        &self.owned[key].name
    }

    /// How many owned keys there are.
    pub fn len(&self) -> usize {
        self.owned.len()
    }

    /// A write is asked for: its number.
    pub fn begin(&mut self, key: usize, kind: Kind, now_us: u64) -> usize {
        let writes = &mut self.owned[key].writes;
        writes.push(Write {
            kind,
            state: State::Pending,
            asked_us: now_us,
            ended_us: 0,
            spread_us: 0,
            buried: false,
            sure: false,
        });
        writes.len()
    }

    /// A write at some level is answered, or will not be. `quiet`: the world was, all the time.
    pub fn end(&mut self, key: usize, number: usize, state: State, level: Level, quiet: bool, now_us: u64) {
        let owned = &mut self.owned[key];
        let write = &mut owned.writes[number - 1];
        (write.state, write.ended_us, write.spread_us) = (state, now_us, now_us);
        if level != Level::All {
            write.spread_us += SPREAD_US;
        }
        write.sure = state == State::Acked && level == Level::All && quiet;
        let (asked_us, kind, sure) = (write.asked_us, write.kind, write.sure);
        self.acknowledged += u64::from(state == State::Acked);
        if sure && !kind.is_touch() && number > owned.floor {
            owned.floor = number;
            for earlier in &mut owned.writes[..number - 1] {
                earlier.buried |= earlier.state == State::Unknown && earlier.asked_us + LATE_US < asked_us;
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
        }
    }

    /// What a read showed: the number of a write, or nothing. `asked_us` and `now_us`: when it was asked for and
    /// answered.
    pub fn shown(
        &self,
        read: Read,
        shown: Option<usize>,
        strict: bool,
        asked_us: u64,
        now_us: u64,
    ) -> Result<(), String> {
        let owned = &self.owned[read.key];
        let strict = strict && !owned.excused;
        let verdict = match shown {
            Some(number) => self.may_show(owned, read, number, strict, asked_us),
            None if strict => self.may_be_absent(owned, read, now_us),
            None => Ok(()),
        };
        verdict.map_err(|why| format!("{} shows {shown:?}: {why}; {}", owned.name, owned.history(read)))
    }

    fn may_show(&self, owned: &Owned, read: Read, number: usize, strict: bool, asked_us: u64) -> Result<(), String> {
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
        if write.state == State::Refused {
            return Err("it was refused".into());
        }
        let past = number < read.floor && (write.state != State::Unknown || write.buried);
        if strict && past {
            Err("it was overwritten".into())
        } else {
            Ok(())
        }
    }

    fn may_be_absent(&self, owned: &Owned, read: Read, now_us: u64) -> Result<(), String> {
        let removed = |(index, write): (usize, &Write)| {
            let number = index + 1;
            let counts = match write.state {
                State::Refused => false,
                State::Unknown => number >= read.kept || !write.buried,
                State::Pending | State::Acked => number >= read.kept,
            };
            let removes = match write.kind {
                Kind::Set | Kind::Persist => false,
                Kind::Del => true,
                Kind::SetFor(time_us) | Kind::Expire(time_us) => {
                    now_us + self.calendar_error_us >= write.asked_us + time_us
                }
            };
            counts && removes
        };
        let excuse = read.kept == 0 || owned.writes.iter().enumerate().any(removed);
        if excuse {
            Ok(())
        } else {
            Err("an acknowledged write is missing".into())
        }
    }

    /// Whether a copy of the key must show write `number` or a later one now, and whether that is a delete; none if
    /// that cannot be told, since a write may still land or it may have expired.
    pub fn must_hold(&self, key: usize, number: usize) -> Option<bool> {
        let owned = &self.owned[key];
        let last = owned.writes.len() == number;
        let Write { kind, state, .. } = owned.writes[number - 1];
        let stays = matches!(kind, Kind::Set | Kind::Del);
        let sure = last && state == State::Acked && !owned.writes.iter().any(Write::is_open) && stays;
        sure.then_some(kind == Kind::Del)
    }

    /// A crash that was not lawful: excuses the key unless a living node satisfies `holds`, given the number of the
    /// last acknowledged write and whether it was a delete.
    pub fn excuse_unless(&mut self, key: usize, holds: impl Fn(&str, usize, bool) -> bool) {
        let owned = &mut self.owned[key];
        let last = owned.writes.iter().rposition(|write| write.state == State::Acked);
        // Whether a touch is lost cannot be seen yet.
        if let Some(index) = last
            && (owned.writes[index].kind.is_touch()
                || !holds(&owned.name, index + 1, owned.writes[index].kind == Kind::Del))
        {
            owned.excused = true;
        }
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

    /// A crash that was not lawful: nothing is owed of a contended key of which nobody `has` anything.
    pub fn excuse_contended(&mut self, has: impl Fn(&str) -> bool) {
        for contended in &mut self.contended {
            contended.lasts &= has(&contended.name);
        }
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
        matches!(self.state, State::Unknown | State::Pending) && !self.buried
    }

    /// When it took effect at the latest.
    fn latest_us(&self) -> u64 {
        if self.state == State::Acked {
            self.ended_us
        } else {
            self.asked_us + LATE_US
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
        let touches = |(index, touch): &(usize, &Write)| match touch.state {
            State::Refused => false,
            State::Acked => *index >= number,
            State::Pending | State::Unknown => !touch.buried,
        };
        for (_, touch) in self.writes.iter().enumerate().filter(touches) {
            match touch.kind {
                Kind::Persist => end_us = None,
                Kind::Expire(time_us) => {
                    let later_us = touch.latest_us() + time_us;
                    let binds = strict && write.sure && touch.sure;
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
        let keeps = |kind: Kind| matches!(kind, Kind::Set | Kind::SetFor(_) | Kind::Persist);
        let kept = |write: &Write| write.state == State::Acked && keeps(write.kind) && write.spread_us <= now_us;
        let last = self.writes.iter().rposition(kept).map_or(0, |index| index + 1);
        // A delete that was acknowledged in a quiet world has seen all before it.
        if last < self.floor { self.floor } else { last }
    }

    fn history(&self, read: Read) -> String {
        let first = self.writes.len().saturating_sub(12);
        let line = |(index, write): (usize, &Write)| {
            let buried = if write.buried { " buried" } else { "" };
            let at_ms = write.asked_us / 1000;
            format!("{}:{:?} {:?}{buried} at {at_ms} ms", index + 1, write.kind, write.state)
        };
        let lines: Vec<String> = self.writes.iter().enumerate().skip(first).map(line).collect();
        format!(
            "floor {}, kept {}, excused {}, writes {}",
            read.floor,
            read.kept,
            self.excused,
            lines.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(shadow: &mut Shadow, kind: Kind, quiet: bool) {
        let number = shadow.begin(0, kind, 0);
        shadow.end(0, number, State::Acked, Level::All, quiet, 0);
    }

    fn check(shadow: &Shadow, shown: Option<usize>, strict: bool) -> bool {
        shadow.shown(shadow.read(0, 0), shown, strict, 0, 0).is_ok()
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
        let number = shadow.begin(0, Kind::Set, 0);
        shadow.end(0, number, State::Acked, Level::Quorum, true, 0);
        let absent = |now_us| shadow.shown(shadow.read(0, now_us), None, true, now_us, now_us).is_ok();
        assert!(absent(SPREAD_US - 1));
        assert!(!absent(SPREAD_US), "lost");
    }

    #[test]
    fn what_is_unknown_may_land_late_and_what_is_refused_never() {
        let mut shadow = Shadow::default();
        shadow.new_key("k".into());
        let unknown = shadow.begin(0, Kind::Del, 0);
        shadow.end(0, unknown, State::Unknown, Level::All, false, 0);
        acked(&mut shadow, Kind::Set, true);
        assert!(check(&shadow, None, true));
        let refused = shadow.begin(0, Kind::Set, 0);
        shadow.end(0, refused, State::Refused, Level::All, true, 0);
        assert!(!check(&shadow, Some(refused), false));
        let later = shadow.begin(0, Kind::Set, 2 * LATE_US);
        shadow.end(0, later, State::Acked, Level::All, true, 0);
        assert!(!check(&shadow, None, true), "it is buried");
    }

    #[test]
    fn a_touch_ends_what_is_there_or_keeps_it() {
        const SECOND_US: u64 = 1_000_000;
        let mut shadow = Shadow::default();
        shadow.new_key("k".into());
        let shows = |shadow: &Shadow, shown, now_us| shadow.shown(shadow.read(0, now_us), shown, true, now_us, now_us);
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
        let late = shadow.begin(0, Kind::Persist, 0);
        shadow.end(0, late, State::Unknown, Level::All, true, 0);
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
}
