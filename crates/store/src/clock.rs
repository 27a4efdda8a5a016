//! The set of dots that a replica has seen of a shard: a version vector with exceptions. The context of a write, which
//! says what the write had seen, is such a set too.
//!
//! ```text
//! writer 7a31…   [1 ──────── 8120]                     the base: all dots without a gap
//! writer c02f…   [1 ── 411]  [413 ── 420]  [500]       the base, and dots above a gap
//! ```
//!
//! See *DottedDB* (Gonçalves, Almeida, Baquero, Fonte, SRDS 2017), section 3. Invariants: rows are sorted by writer,
//! and none is empty; the spans of a row are sorted and disjoint, with a gap between them. So equal sets have equal
//! rows, equal digests and equal encodings.

use alloc::vec::Vec;

use smallvec::{SmallVec, smallvec};

use crate::codec::{COUNTER_MAX, Malformed, Reader, put_varint};
use crate::dot::{Dot, Writer};

/// Consecutive dots of one writer, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The lowest counter, at least 1.
    pub first: u64,
    /// The highest counter, at least `first`.
    pub last: u64,
}

impl Span {
    fn count(self) -> u64 {
        self.last - self.first + 1
    }
}

type Spans = SmallVec<[Span; 1]>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    writer: Writer,
    spans: Spans,
}

/// A set of dots. It is compact because nearly all dots of a writer are consecutive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    rows: Vec<Row>,
}

impl Clock {
    /// The empty clock.
    pub const fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Reads the rows of the first few writers, so that they are in the CPU cache.
    #[inline]
    pub(crate) fn load(&self) -> usize {
        let of = |row: Option<&Row>| row.map_or(0, |row| row.spans.len());
        of(self.rows.first()) ^ of(self.rows.last())
    }

    /// How many writers it has dots of.
    pub fn writers(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no dots.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether it has `dot`.
    pub fn contains(&self, dot: Dot) -> bool {
        self.contains_span(
            dot.writer,
            Span {
                first: dot.counter,
                last: dot.counter,
            },
        )
    }

    /// Adds `dot`. Returns whether it was new.
    pub fn insert(&mut self, dot: Dot) -> bool {
        if self.contains(dot) {
            return false;
        }
        self.insert_span(
            dot.writer,
            Span {
                first: dot.counter,
                last: dot.counter,
            },
        );
        true
    }

    /// Adds all dots of `span` by `writer`.
    pub fn insert_span(&mut self, writer: Writer, span: Span) {
        match self.find(writer) {
            Ok(row) => insert_span(&mut self.rows[row].spans, span),
            Err(row) => self.rows.insert(
                row,
                Row {
                    writer,
                    spans: smallvec![span],
                },
            ),
        }
    }

    /// The highest counter of `writer`, 0 if none.
    pub fn last(&self, writer: Writer) -> u64 {
        self.spans_of(writer).last().map_or(0, |span| span.last)
    }

    /// The dot that `writer` may use next.
    pub fn next(&self, writer: Writer) -> Dot {
        Dot {
            writer,
            counter: self.last(writer) + 1,
        }
    }

    /// Adds all dots of `other`.
    pub fn join(&mut self, other: &Self) {
        for row in &other.rows {
            match self.find(row.writer) {
                Ok(at) => row
                    .spans
                    .iter()
                    .for_each(|&span| insert_span(&mut self.rows[at].spans, span)),
                Err(at) => self.rows.insert(at, row.clone()),
            }
        }
    }

    /// Removes all dots of `other`.
    pub fn subtract(&mut self, other: &Self) {
        if self.is_empty() {
            return;
        }
        self.rows.retain_mut(|row| {
            let others = other.spans_of(row.writer);
            if !others.is_empty() {
                row.spans = without(&row.spans, others);
            }
            !row.spans.is_empty()
        });
    }

    /// The dots that `other` lacks.
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = self.clone();
        left.subtract(other);
        left
    }

    /// Whether it has all dots of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        other.spans().all(|(writer, span)| self.contains_span(writer, span))
    }

    /// How many dots it has.
    pub fn count(&self) -> u64 {
        self.spans().fold(0, |sum, (_, span)| sum.saturating_add(span.count()))
    }

    /// All dots, sorted by writer and counter.
    pub fn spans(&self) -> impl Iterator<Item = (Writer, Span)> {
        self.rows
            .iter()
            .flat_map(|row| row.spans.iter().map(|&span| (row.writer, span)))
    }

    /// A hash of 64 bits. It is equal for equal sets on every node, and almost certainly different for different sets;
    /// 0 for the empty set. It is a sum over the writers, so the digests of several shards can be added.
    pub fn digest(&self) -> u64 {
        self.rows.iter().fold(0, |sum, row| {
            let spans = row.spans.iter();
            sum.wrapping_add(spans.fold(mix(row.writer.0), |h, s| mix(mix(h ^ s.first) ^ s.last)))
        })
    }

    /// Appends the only encoding of this clock: some 12 bytes for each writer.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.rows.len() as u64);
        for row in &self.rows {
            encode_row(out, row.writer, &row.spans);
        }
    }

    /// Reads a clock. Uses at most a small multiple of the encoding's size in memory.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        ClockBytes::take(reader).map(|bytes| bytes.to_clock())
    }

    /// Heap bytes held.
    pub fn memory_bytes(&self) -> usize {
        let spilled = self.rows.iter().filter(|row| row.spans.spilled());
        self.rows.capacity() * size_of::<Row>()
            + spilled
                .map(|row| row.spans.capacity() * size_of::<Span>())
                .sum::<usize>()
    }

    fn find(&self, writer: Writer) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&writer, |row| row.writer)
    }

    fn spans_of(&self, writer: Writer) -> &[Span] {
        self.find(writer).map_or(&[], |row| &self.rows[row].spans)
    }

    fn contains_span(&self, writer: Writer, span: Span) -> bool {
        let spans = self.spans_of(writer);
        let at = spans.partition_point(|s| s.last < span.last);
        spans.get(at).is_some_and(|s| s.first <= span.first)
    }
}

/// An encoded clock that is checked but not unpacked, so that a delta can be judged without allocating.
#[derive(Clone, Copy, Debug)]
pub struct ClockBytes<'a> {
    bytes: &'a [u8],
}

impl<'a> ClockBytes<'a> {
    /// Takes one clock from `reader`.
    pub fn take(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let before = *reader;
        let mut walk = Walk::new(reader)?;
        while walk.step(reader)?.is_some() {}
        Ok(Self {
            bytes: reader.since(&before),
        })
    }

    /// Whether it has `dot`.
    pub fn contains(&self, dot: Dot) -> bool {
        let behind = self
            .spans()
            .find(|&(writer, span)| (writer, span.last) >= (dot.writer, dot.counter));
        behind.is_some_and(|(writer, span)| writer == dot.writer && span.first <= dot.counter)
    }

    /// Whether `clock` has all dots of it.
    pub fn is_covered_by(&self, clock: &Clock) -> bool {
        self.spans().all(|(writer, span)| clock.contains_span(writer, span))
    }

    /// The same as a [`Clock`].
    pub fn to_clock(&self) -> Clock {
        let mut clock = Clock::new();
        for (writer, span) in self.spans() {
            match clock.rows.last_mut() {
                Some(row) if row.writer == writer => row.spans.push(span),
                _ => clock.rows.push(Row {
                    writer,
                    spans: smallvec![span],
                }),
            }
        }
        clock
    }

    fn spans(&self) -> impl Iterator<Item = (Writer, Span)> {
        let mut reader = Reader::new(self.bytes);
        // The bytes were checked when they were taken, so no error can occur here.
        let mut walk = Walk::new(&mut reader).ok();
        core::iter::from_fn(move || walk.as_mut()?.step(&mut reader).ok()?)
    }
}

/// Appends the clock that consists of `span` of `writer`, or the empty clock.
pub(crate) fn encode_span(out: &mut Vec<u8>, writer: Writer, span: Option<Span>) {
    put_varint(out, u64::from(span.is_some()));
    if let Some(span) = span {
        encode_row(out, writer, &[span]);
    }
}

fn encode_row(out: &mut Vec<u8>, writer: Writer, spans: &[Span]) {
    out.extend_from_slice(&writer.0.to_le_bytes());
    put_varint(out, spans.len() as u64);
    let mut end = 0;
    for span in spans {
        put_varint(out, span.first - end);
        put_varint(out, span.last - span.first);
        end = span.last;
    }
}

/// The state of a walk over an encoded clock. The walk checks the invariants.
struct Walk {
    rows: u64,
    spans: u64,
    writer: Option<Writer>,
    end: u64,
}

impl Walk {
    fn new(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            rows: reader.varint()?,
            spans: 0,
            writer: None,
            end: 0,
        })
    }

    #[inline]
    fn step(&mut self, reader: &mut Reader<'_>) -> Result<Option<(Writer, Span)>, Malformed> {
        let mut gap_min = 2;
        if self.spans == 0 {
            if self.rows == 0 {
                return Ok(None);
            }
            let writer = Writer(reader.u64()?);
            if self.writer.is_some_and(|before| before >= writer) {
                return Err(Malformed("clock not sorted by writer"));
            }
            self.spans = reader.varint()?;
            if self.spans == 0 {
                return Err(Malformed("clock with an empty row"));
            }
            (self.rows, self.writer, self.end, gap_min) = (self.rows - 1, Some(writer), 0, 1);
        }
        self.spans -= 1;
        let (gap, length) = (reader.varint()?, reader.varint()?);
        if gap < gap_min {
            return Err(Malformed("clock with touching spans"));
        }
        let first = self.end.checked_add(gap).ok_or(Malformed("clock out of bounds"))?;
        self.end = first.checked_add(length).ok_or(Malformed("clock out of bounds"))?;
        if self.end > COUNTER_MAX {
            return Err(Malformed("clock out of bounds"));
        }
        Ok(self.writer.map(|writer| (writer, Span { first, last: self.end })))
    }
}

fn insert_span(spans: &mut Spans, new: Span) {
    // The usual case: the next dot of a writer, or a dot that leaves a gap behind the last one.
    if let Some(end) = spans.last_mut()
        && end.last < new.first
    {
        if end.last + 1 == new.first {
            end.last = new.last;
        } else {
            spans.push(new);
        }
        return;
    }
    let from = spans.partition_point(|s| s.last + 1 < new.first);
    let to = spans.partition_point(|s| s.first <= new.last + 1);
    if from == to {
        return spans.insert(from, new);
    }
    let joined = Span {
        first: spans[from].first.min(new.first),
        last: spans[to - 1].last.max(new.last),
    };
    spans[from] = joined;
    spans.drain(from + 1..to);
}

fn without(spans: &[Span], others: &[Span]) -> Spans {
    let mut left = Spans::new();
    for span in spans {
        let mut first = span.first;
        let from = others.partition_point(|other| other.last < span.first);
        for other in others[from..].iter().take_while(|other| other.first <= span.last) {
            if first < other.first {
                left.push(Span {
                    first,
                    last: other.first - 1,
                });
            }
            first = other.last + 1;
        }
        if first <= span.last {
            left.push(Span { first, last: span.last });
        }
    }
    left
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), with an offset so that 0 is not mapped to 0.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    type Set = BTreeSet<(u64, u64)>;

    fn sets() -> impl Strategy<Value = Set> {
        prop::collection::btree_set((0..3u64, 1..24u64), 0..40)
    }

    fn clock(set: &Set) -> Clock {
        let mut clock = Clock::new();
        for &(writer, counter) in set {
            clock.insert(Dot {
                writer: Writer(writer),
                counter,
            });
        }
        clock
    }

    fn set(clock: &Clock) -> Set {
        clock
            .spans()
            .flat_map(|(w, s)| (s.first..=s.last).map(move |c| (w.0, c)))
            .collect()
    }

    proptest! {
        #[test]
        fn a_clock_is_a_set_of_dots(a in sets(), b in sets(), order: u64) {
            let (x, y) = (clock(&a), clock(&b));
            prop_assert_eq!(set(&x), a.clone());
            prop_assert_eq!(x.count(), a.len() as u64);
            let mut joined = x.clone();
            joined.join(&y);
            prop_assert_eq!(&joined, &clock(&a.union(&b).copied().collect()));
            prop_assert_eq!(x.difference(&y), clock(&a.difference(&b).copied().collect()));
            prop_assert_eq!(x.covers(&y), a.is_superset(&b));
            for writer in 0..3 {
                for counter in 1..26 {
                    let dot = Dot { writer: Writer(writer), counter };
                    prop_assert_eq!(x.contains(dot), a.contains(&(writer, counter)));
                }
            }
            // The clock does not depend on the order of insertion.
            let mut dots: Vec<_> = a.iter().copied().collect();
            dots.sort_by_key(|&(w, c)| mix(order ^ mix(w) ^ c));
            let mut shuffled = Clock::new();
            for (writer, counter) in dots {
                let new = shuffled.insert(Dot { writer: Writer(writer), counter });
                prop_assert!(new);
            }
            prop_assert_eq!(&shuffled, &x);
            prop_assert_eq!(shuffled.digest(), x.digest());
            prop_assert_eq!(x.digest() == y.digest(), a == b);
        }

        #[test]
        fn the_codec_round_trips_and_is_read_in_place(a in sets(), b in sets()) {
            let (x, y) = (clock(&a), clock(&b));
            let mut out = Vec::new();
            x.encode(&mut out);
            out.push(99);
            let mut reader = Reader::new(&out);
            let bytes = ClockBytes::take(&mut reader).unwrap();
            prop_assert_eq!(reader.rest(), &[99]);
            prop_assert_eq!(&bytes.to_clock(), &x);
            prop_assert_eq!(bytes.is_covered_by(&y), y.covers(&x));
            for &(writer, counter) in &b {
                let dot = Dot { writer: Writer(writer), counter };
                prop_assert_eq!(bytes.contains(dot), x.contains(dot));
            }
        }

        #[test]
        fn junk_is_a_clock_in_its_one_encoding_or_refused(
            a in sets(), junk in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)
        ) {
            let mut bytes = Vec::new();
            clock(&a).encode(&mut bytes);
            for (at, byte) in junk {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let mut reader = Reader::new(&bytes);
            if let Ok(read) = Clock::decode(&mut reader) {
                let mut again = Vec::new();
                read.encode(&mut again);
                prop_assert_eq!(&bytes[..again.len()], &again[..]);
            }
        }
    }

    #[test]
    fn a_row_count_alone_costs_nothing() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        assert_eq!(Clock::decode(&mut Reader::new(&bytes)), Err(Malformed("too short")));
    }

    #[test]
    fn the_next_dot_follows_the_last_one_seen() {
        let mut clock = Clock::new();
        assert_eq!(clock.next(Writer(1)).counter, 1);
        clock.insert_span(Writer(1), Span { first: 4, last: 6 });
        assert_eq!(clock.next(Writer(1)).counter, 7);
    }
}
