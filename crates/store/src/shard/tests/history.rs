//! Random histories of three replicas, compared with an oracle. Deltas are lost, reordered and sent twice. Parts and
//! whole shards are sent while writes go on. Recent writes are forgotten. Replicas crash and lose their memory.
//!
//! The oracle knows only the history. An event is *known* to a replica if its dot is in the clock. A write is alive at
//! a replica if no event known there has the write in its past. The past of an event has everything that its replica
//! knew, and the pasts of the events about its key that were known there. The past of a count has just its own run. The
//! oracle does not use the replicas' contexts, recent writes and message formats.

use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};

use super::super::*;
use super::{messages, show, sync};
use crate::clock::mix;

const REPLICAS: usize = 3;
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// Faults that the oracle must detect.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Planted {
    None,
    /// A clock is joined before everything that it covers has arrived.
    Early,
    /// A replica that lost its memory goes on with its former identity.
    Reuse,
    /// The dots that a key has seen beyond the clock are forgotten.
    Forget,
    /// A count does not overwrite the earlier dots of its run.
    Double,
    /// The chunks of a stream that broke off are merged, with their deletes, though the dots of the deletes never
    /// arrived.
    Half,
    /// Each replica frees expired keys by itself.
    Silent,
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        (mix(mix(self.0)) % end as u64) as usize
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// An event in the oracle's history.
struct Happened {
    dot: Dot,
    /// The index of the key; none for a wipe.
    key: Option<usize>,
    content: Option<Stored>,
    past: Clock,
}

#[derive(Default)]
struct Oracle {
    history: Vec<Happened>,
}

impl Oracle {
    fn about<'a>(&'a self, key: usize, known: &'a Clock) -> impl Iterator<Item = &'a Happened> + Clone {
        let about = self.history.iter().filter(move |h| h.key.is_none_or(|k| k == key));
        about.filter(|h| known.contains(h.dot))
    }

    fn living<'a>(&'a self, key: usize, known: &'a Clock) -> impl Iterator<Item = &'a Happened> {
        let about = self.about(key, known);
        about
            .clone()
            .filter(move |h| h.content.is_some() && !about.clone().any(|other| other.past.contains(h.dot)))
    }

    fn past(&self, key: Option<usize>, known: &Clock) -> Clock {
        let mut past = known.clone();
        for happened in self.history.iter().filter(|h| known.contains(h.dot)) {
            // A wipe concerns all keys. Earlier wipes are in its past.
            if happened.key.is_none() || happened.key == key && key.is_some() {
                past.join(&happened.past);
            }
        }
        past
    }

    fn overwrites(&mut self, known: &Clock, dot: Dot, key: Option<usize>, content: Option<Stored>) {
        let past = self.past(key, known);
        self.history.push(Happened {
            dot,
            key,
            content,
            past,
        });
    }

    fn counts(&mut self, known: &Clock, dot: Dot, key: usize, by: i64) {
        if self.living(key, known).next().is_none() {
            let content = Stored::Counter {
                since: dot.counter,
                amount: by.into(),
            };
            return self.overwrites(known, dot, Some(key), Some(content));
        }
        let run = self.living(key, known).find_map(|h| match h.content {
            Some(Stored::Counter { since, amount }) if h.dot.writer == dot.writer => Some((since, amount)),
            _ => None,
        });
        let (since, amount) = run.unwrap_or((dot.counter, 0));
        let mut past = Clock::new();
        if since < dot.counter {
            past.insert_span(
                dot.writer,
                Span {
                    first: since,
                    last: dot.counter - 1,
                },
            );
        }
        let content = Some(Stored::Counter {
            since,
            amount: amount + i128::from(by),
        });
        self.history.push(Happened {
            dot,
            key: Some(key),
            content,
            past,
        });
    }

    /// Checks that a replica has exactly the writes that should be alive, by what it knows.
    fn check(&self, shard: &Shard) -> Result<(), String> {
        for (key, name) in KEYS.iter().enumerate() {
            let expected: BTreeMap<_, _> = self
                .living(key, &shard.clock)
                .map(|h| (h.dot, h.content.clone()))
                .collect();
            let held: BTreeMap<_, _> = siblings(shard, name)
                .into_iter()
                .map(|sibling| (sibling.dot, Some(sibling.content)))
                .collect();
            if held != expected {
                return Err(format!("{name}: held {held:?}, but there live {expected:?}"));
            }
        }
        Ok(())
    }
}

fn siblings(shard: &Shard, key: &str) -> Vec<Sibling> {
    match shard.objects.get(table::hash(key.as_bytes()), key.as_bytes()) {
        None => Vec::new(),
        Some(Found::Simple(record)) => Vec::from([Sibling::from(&record)]),
        Some(Found::Aside(object)) => object.siblings.to_vec(),
    }
}

enum Message {
    Delta(Vec<u8>),
    Part(Vec<u8>),
}

/// A stream of a whole shard that is under way.
struct Moving {
    id: u64,
    source: usize,
    target: usize,
    intake: Intake,
}

/// How often each interesting case has occurred.
#[derive(Debug, Default)]
struct Tally {
    duplicates: usize,
    contexts: usize,
    wiped: usize,
    parts: usize,
    strange: usize,
    joined: usize,
    restarted: usize,
    expired: usize,
}

struct World {
    random: Random,
    planted: Planted,
    oracle: Oracle,
    shards: Vec<Shard>,
    flying: Vec<(usize, Message)>,
    moving: Vec<Moving>,
    born: u64,
    streams: u64,
    tally: Tally,
    steps: u64,
}

impl World {
    fn new(seed: u64, planted: Planted) -> Self {
        Self {
            random: Random(mix(seed)),
            planted,
            oracle: Oracle::default(),
            shards: (0..REPLICAS as u64).map(|n| super::shard(mix(n))).collect(),
            flying: Vec::new(),
            moving: Vec::new(),
            born: REPLICAS as u64,
            streams: 0,
            tally: Tally::default(),
            steps: 0,
        }
    }

    fn step(&mut self) -> Result<(), Malformed> {
        self.steps += 1;
        match self.random.below(100) {
            0..42 => self.event(),
            42..70 => self.deliver()?,
            70..80 => self.ask()?,
            80..93 => self.stream()?,
            93..96 => {
                let shard = self.random.below(REPLICAS);
                self.shards[shard].remember(false);
                self.shards[shard].remember(true);
            }
            _ => self.crash(),
        }
        Ok(())
    }

    fn event(&mut self) {
        let at = self.random.below(REPLICAS);
        let key = self.random.below(KEYS.len());
        let name = KEYS[key].as_bytes();
        let stamp = Stamp(self.steps * 3 + self.random.below(10) as u64);
        let shard = &mut self.shards[at];
        let known = shard.clock.clone();
        let mut delta = Vec::new();
        let out = Some(&mut delta);
        let plain = |bytes: &[u8]| {
            Some(Stored::Plain {
                format: 0,
                bytes: bytes.into(),
            })
        };
        match self.random.below(20) {
            0..7 => {
                let value = self.steps.to_string();
                let expiry_ms = self.random.percent(30).then_some(1);
                let dot = shard.put(name, 0, value.as_bytes(), expiry_ms, stamp, out);
                self.oracle.overwrites(&known, dot, Some(key), plain(value.as_bytes()));
            }
            7..12 => {
                if let Some(dot) = shard.delete(name, stamp, 0, out) {
                    self.oracle.overwrites(&known, dot, Some(key), None);
                }
            }
            12..17 => {
                let by = self.random.below(100) as i64;
                if let Ok((dot, _)) = shard.count(name, by, stamp, 0, out) {
                    self.oracle.counts(&known, dot, key, by);
                }
            }
            17 => self.expire(at, stamp, &mut delta),
            18 => {
                let expiry_ms = self.random.percent(50).then_some(1);
                let value = shard.view(name, 0).map(|view| match view.value {
                    Value::Integer(_) => None,
                    Value::Plain { bytes, .. } => plain(bytes),
                });
                match (value, shard.touch(name, expiry_ms, stamp, 0, out)) {
                    (Some(None), Some(dot)) => self.oracle.counts(&known, dot, key, 0),
                    (Some(put), Some(dot)) => {
                        self.oracle.overwrites(&known, dot, Some(key), put);
                    }
                    (_, dot) => assert_eq!(dot, None),
                }
            }
            _ => {
                let dot = shard.wipe(stamp, out);
                self.oracle.overwrites(&known, dot, None, None);
            }
        }
        for target in (0..REPLICAS).filter(|&target| target != at && !delta.is_empty()) {
            if self.random.percent(70) {
                self.flying.push((target, Message::Delta(delta.clone())));
            }
        }
    }

    /// Reads use the time 0, so an expired key is seen until it is deleted.
    fn expire(&mut self, at: usize, stamp: Stamp, delta: &mut Vec<u8>) {
        let (shard, oracle) = (&mut self.shards[at], &mut self.oracle);
        let mut known = shard.clock.clone();
        if self.planted == Planted::Silent {
            shard
                .objects
                .change_aside(|_, object| object.siblings.retain(|held| held.expiry_ms.is_none()));
            return;
        }
        shard.expire(super::overdue(1), 2, stamp, Some(delta), |key, dot| {
            let key = KEYS.iter().position(|name| name.as_bytes() == key);
            oracle.overwrites(&known, dot, key, None);
            known.insert(dot);
            self.tally.expired += 1;
        });
    }

    fn deliver(&mut self) -> Result<(), Malformed> {
        if self.flying.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.flying.len());
        let (target, message) = self.flying.swap_remove(at);
        if self.random.percent(80) {
            self.receive(target, &message)?;
        }
        if self.random.percent(20) {
            self.flying.push((target, message));
        }
        Ok(())
    }

    fn receive(&mut self, target: usize, message: &Message) -> Result<(), Malformed> {
        let shard = &mut self.shards[target];
        match message {
            Message::Part(bytes) => {
                let strange = shard.receive_part(&mut Reader::new(bytes))? == Parted::Strange;
                self.tally.strange += usize::from(strange);
            }
            Message::Delta(bytes) if self.planted == Planted::Double => {
                shard.receive(&mut Reader::new(&without_run(bytes)))?;
            }
            Message::Delta(bytes) => {
                let mut reader = Reader::new(bytes);
                while !reader.is_empty() {
                    let fresh = shard.receive(&mut reader)?.fresh;
                    self.tally.duplicates += usize::from(!fresh);
                }
            }
        }
        self.tally.contexts += usize::from(shard.stats().contexts > 0);
        self.tally.wiped += usize::from(!shard.wiped.is_empty());
        if self.planted == Planted::Forget {
            shard.wiped = Clock::new();
            let forget = |_: &[u8], object: &mut Object| object.context = Clock::new();
            shard.objects.change_aside(forget);
        }
        Ok(())
    }

    /// One replica sends another its clock and gets an answer.
    fn ask(&mut self) -> Result<(), Malformed> {
        let (source, target) = (self.random.below(REPLICAS), self.random.below(REPLICAS));
        if source == target {
            return Ok(());
        }
        let bytes_max = 1 + self.random.below(300);
        let [shard, peer] = self.shards.get_disjoint_mut([source, target]).unwrap();
        let parts = match shard.missing(&peer.clock) {
            Missing::None => Vec::new(),
            Missing::Part(part) => messages(part, bytes_max),
            Missing::Whole => {
                self.open(source, target);
                Vec::new()
            }
        };
        if self.planted == Planted::Early && parts.len() > 1 {
            self.receive(target, &Message::Part(parts[0].clone()))?;
            let clock = self.shards[source].clock.clone();
            self.shards[target].clock.join(&clock);
            return Ok(());
        }
        self.tally.parts += parts.len();
        self.flying
            .extend(parts.into_iter().map(|part| (target, Message::Part(part))));
        if self.random.percent(10) {
            self.open(source, target);
        }
        Ok(())
    }

    fn open(&mut self, source: usize, target: usize) {
        self.streams += 1;
        let id = self.streams;
        self.shards[source].open_stream(id);
        self.moving.push(Moving {
            id,
            source,
            target,
            intake: Intake::new(id),
        });
    }

    /// Handles one chunk of a stream: it arrives, arrives twice, or is lost, which ends the stream.
    fn stream(&mut self) -> Result<(), Malformed> {
        if self.moving.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.moving.len());
        let mut moving = self.moving.swap_remove(at);
        let [source, target] = self.shards.get_disjoint_mut([moving.source, moving.target]).unwrap();
        let mut chunk = Vec::new();
        source.next_chunk(moving.id, self.random.below(60), &mut chunk).unwrap();
        let lost = self.random.percent(10);
        let dead = match self.planted {
            Planted::Half if lost => Some((Clock::new(), source.clock.clone())),
            Planted::Early if lost => Some((source.clock.clone(), Clock::new())),
            _ => None,
        };
        if let Some((clock, seen)) = dead {
            moving.intake.complete_early(clock, seen);
            target.join(moving.intake);
        } else if !lost {
            match moving.intake.receive(&mut Reader::new(&chunk))? {
                Intaken::Complete => {
                    self.tally.joined += usize::from(target.join(moving.intake));
                    self.tally.restarted += usize::from(chunk[8] > 0);
                }
                Intaken::More => {
                    let again = moving.intake.receive(&mut Reader::new(&chunk));
                    assert_eq!(again, Ok(Intaken::Ignored));
                    self.moving.push(moving);
                    return Ok(());
                }
                other @ (Intaken::Ignored | Intaken::Gap) => panic!("{other:?} in order"),
            }
        }
        source.close_stream(moving.id);
        Ok(())
    }

    fn crash(&mut self) {
        let at = self.random.below(REPLICAS);
        let writer = match self.planted {
            Planted::Reuse => self.shards[at].writer.0,
            _ => mix(self.born),
        };
        self.born += 1;
        self.shards[at] = super::shard(writer);
        // Messages to the old replica are lost, or reach the one in its place.
        if self.random.percent(50) {
            self.flying.retain(|(target, _)| *target != at);
        }
        let gone = self.moving.extract_if(.., |m| m.source == at || m.target == at);
        for moving in gone {
            self.shards[moving.source].close_stream(moving.id);
        }
    }

    /// Ends all faults: messages under way arrive, and every replica asks every other.
    fn settle(&mut self) -> Result<(), Malformed> {
        for moving in core::mem::take(&mut self.moving) {
            self.shards[moving.source].close_stream(moving.id);
        }
        for (target, message) in core::mem::take(&mut self.flying) {
            self.receive(target, &message)?;
        }
        for _ in 0..2 {
            for source in 0..REPLICAS {
                for target in (0..REPLICAS).filter(|&target| target != source) {
                    let [source, target] = self.shards.get_disjoint_mut([source, target]).unwrap();
                    sync(source, target, 100)?;
                }
            }
        }
        Ok(())
    }

    /// Checks that the replicas are equal, and that nothing is left over once lost dots are closed.
    fn converged(&mut self) -> Result<(), String> {
        let mut waiting = Clock::new();
        self.shards.iter().for_each(|shard| waiting.join(&shard.waiting()));
        for shard in &self.shards {
            if waiting.last(shard.writer) > 0 {
                return Err(format!("a dot of a living writer is waited for: {waiting:?}"));
            }
        }
        let [first, others @ ..] = &mut self.shards[..] else {
            panic!("no replicas")
        };
        first.close(&waiting);
        for other in others {
            other.close(&waiting);
            let equal = first.clock == other.clock
                && first.clock.digest() == other.clock.digest()
                && first.len() == other.len();
            if !equal {
                return Err("clocks or numbers of keys differ".into());
            }
            for key in KEYS {
                if siblings(first, key) != siblings(other, key)
                    || first.version(key.as_bytes()) != other.version(key.as_bytes())
                    || show(first, key, 0) != show(other, key, 0)
                {
                    return Err(format!("{key} differs"));
                }
            }
            let several = KEYS.iter().filter(|key| siblings(other, key).len() > 1).count();
            if other.stats().contexts > 0 || other.stats().aside != several {
                return Err("contexts are left".into());
            }
        }
        Ok(())
    }
}

/// The delta of a count without the earlier dots of the run in its context.
fn without_run(bytes: &[u8]) -> Vec<u8> {
    let delta = Delta::take(&mut Reader::new(bytes)).unwrap();
    let Event::Write { key, record } = delta.event else {
        return bytes.to_vec();
    };
    match record.content {
        Content::Plain { .. } => bytes.to_vec(),
        Content::Counter { .. } => {
            let mut out = Vec::new();
            put_write(&mut out, key, &record);
            encode_span(&mut out, Writer(0), None);
            out
        }
    }
}

/// Plays one history. With `closely`, the oracle checks every replica after every step.
fn run(seed: u64, planted: Planted, closely: bool) -> Result<Tally, String> {
    let mut world = World::new(seed, planted);
    let refused = |malformed: Malformed| malformed.to_string();
    for _ in 0..20 + world.random.below(120) {
        world.step().map_err(refused)?;
        if closely {
            world.shards.iter().try_for_each(|shard| world.oracle.check(shard))?;
        }
    }
    world.settle().map_err(refused)?;
    world.shards.iter().try_for_each(|shard| world.oracle.check(shard))?;
    world.converged()?;
    Ok(world.tally)
}

#[test]
fn replicas_converge_to_the_oracle() {
    let mut all = Tally::default();
    for seed in 0..4_000 {
        let tally = run(seed, Planted::None, seed % 8 == 0);
        let tally = tally.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        all.duplicates += tally.duplicates;
        all.contexts += tally.contexts;
        all.wiped += tally.wiped;
        all.parts += tally.parts;
        all.strange += tally.strange;
        all.joined += tally.joined;
        all.restarted += tally.restarted;
        all.expired += tally.expired;
    }
    let rarest = [all.duplicates, all.contexts, all.wiped, all.parts, all.strange]
        .into_iter()
        .chain([all.joined, all.restarted, all.expired])
        .min();
    assert!(rarest > Some(100), "a case occurs too rarely: {all:?}");
}

#[test]
fn the_oracle_catches_each_planted_fault() {
    use Planted::{Double, Early, Forget, Half, Reuse, Silent};
    for planted in [Early, Reuse, Forget, Double, Half, Silent] {
        let caught = (0..400).filter(|&seed| run(seed, planted, false).is_err()).count();
        assert!(caught >= 10, "{planted:?} was caught in {caught} of 400 histories");
    }
}
