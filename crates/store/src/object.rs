//! The content of a key: its live siblings, and the dots it has seen beyond the clock of its shard.
//!
//! - A sibling is a write that no other write on the key had seen. A key has one sibling, unless two replicas wrote
//!   without having seen each other's write, or several writers count on the key.
//! - The context has dots that were overwritten or removed before the shard's clock covers them. It is nearly always
//!   empty.
//!
//! The merge is that of a dotted causal container (*DottedDB*, Gonçalves, Almeida, Baquero, Fonte, SRDS 2017, section
//! 3). A sibling lives on if both sides have it, or if one side has it and the other has not seen its dot.

use alloc::boxed::Box;
use core::str;

use smallvec::SmallVec;

use crate::clock::Clock;
use crate::dot::{Dot, Writer};
use crate::stamp::Stamp;
use crate::table::{Content, Record};

/// The value that a read shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Bytes as they were written.
    Plain {
        /// The format that the writer gave.
        format: u8,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// A number that was counted.
    Integer(i64),
}

/// The content of a sibling, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Bytes as they were written.
    Plain {
        /// The format that the writer gave.
        format: u8,
        /// The bytes.
        bytes: Box<[u8]>,
    },
    /// The sum that one writer has counted in one run.
    Counter {
        /// The first dot of the run.
        since: u64,
        /// The sum of the run.
        amount: i128,
    },
}

/// One live write on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// The dot of the write.
    pub dot: Dot,
    /// The time of the write.
    pub stamp: Stamp,
    /// When it expires, in milliseconds of the calendar.
    pub expiry_ms: Option<u64>,
    /// Its content.
    pub content: Stored,
}

impl Sibling {
    /// A borrowed view of the sibling.
    pub fn record(&self) -> Record<'_> {
        let content = match &self.content {
            Stored::Plain { format, bytes } => Content::Plain { format: *format, bytes },
            &Stored::Counter { since, amount } => Content::Counter { since, amount },
        };
        Record {
            dot: self.dot,
            stamp: self.stamp,
            expiry_ms: self.expiry_ms,
            content,
        }
    }

    fn rank(&self) -> (Stamp, Writer, u64) {
        (self.stamp, self.dot.writer, self.dot.counter)
    }
}

impl From<&Record<'_>> for Sibling {
    fn from(record: &Record<'_>) -> Self {
        let content = match record.content {
            Content::Plain { format, bytes } => Stored::Plain {
                format,
                bytes: bytes.into(),
            },
            Content::Counter { since, amount } => Stored::Counter { since, amount },
        };
        let &Record {
            dot, stamp, expiry_ms, ..
        } = record;
        Self {
            dot,
            stamp,
            expiry_ms,
            content,
        }
    }
}

/// The live siblings of a key, sorted by dot, and its context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Sorted by dot.
    pub siblings: SmallVec<[Sibling; 1]>,
    /// Dots that the key has seen but its shard's clock has not.
    pub context: Clock,
}

impl From<Sibling> for Object {
    /// An object with one sibling and no context.
    fn from(sibling: Sibling) -> Self {
        let mut siblings = SmallVec::new();
        siblings.push(sibling);
        Self {
            siblings,
            context: Clock::new(),
        }
    }
}

impl Object {
    /// Merges `theirs` into this object. `seen` and `seen_by_them` say which dots each side has seen of this key beyond
    /// its context: dots in the clock of its shard, or known to the caller in another way.
    pub fn merge(&mut self, theirs: Self, seen: impl Fn(Dot) -> bool, seen_by_them: impl Fn(Dot) -> bool) {
        let Self { siblings, context } = self;
        siblings.retain(|mine| {
            let dot = mine.dot;
            let overwritten = seen_by_them(dot) || theirs.context.contains(dot);
            !overwritten || theirs.siblings.iter().any(|sibling| sibling.dot == dot)
        });
        let held = siblings.len();
        for sibling in theirs.siblings {
            let dot = sibling.dot;
            let known = siblings[..held].iter().any(|mine| mine.dot == dot);
            if !known && !seen(dot) && !context.contains(dot) {
                siblings.push(sibling);
            }
        }
        siblings.sort_unstable_by_key(|sibling| sibling.dot);
        context.join(&theirs.context);
    }

    /// Memory used, including the object itself.
    pub fn memory_bytes(&self) -> usize {
        let spilled = if self.siblings.spilled() {
            self.siblings.capacity()
        } else {
            0
        };
        let bytes = self.siblings.iter().map(|sibling| match &sibling.content {
            Stored::Plain { bytes, .. } => bytes.len(),
            Stored::Counter { .. } => 0,
        });
        size_of::<Self>() + spilled * size_of::<Sibling>() + bytes.sum::<usize>() + self.context.memory_bytes()
    }

    /// The sibling with the highest stamp; equal stamps are ordered by writer. Its expiry is that of the object.
    pub fn top(&self) -> Option<&Sibling> {
        self.siblings.iter().max_by_key(|sibling| sibling.rank())
    }

    /// The run in which `writer` is counting, if there is one: its first dot and its sum.
    pub fn run_of(&self, writer: Writer) -> Option<(u64, i128)> {
        let own = self.siblings.iter().filter(|sibling| sibling.dot.writer == writer);
        own.into_iter().find_map(|sibling| match sibling.content {
            Stored::Counter { since, amount } => Some((since, amount)),
            Stored::Plain { .. } => None,
        })
    }

    /// The value that a read shows. Without counters, it is the plain sibling with the highest stamp. With counters, it
    /// is that sibling's integer (0 if there is none) plus all amounts, saturating. But if that sibling is not an
    /// integer and has the highest stamp of all, it hides the amounts.
    pub fn value(&self) -> Option<Value<'_>> {
        let top = self.top()?;
        let plain = self.siblings.iter().filter_map(|sibling| match &sibling.content {
            Stored::Plain { format, bytes } => Some((sibling, *format, &bytes[..])),
            Stored::Counter { .. } => None,
        });
        let plain = plain.max_by_key(|(sibling, ..)| sibling.rank());
        let amounts = self.siblings.iter().filter_map(|sibling| match sibling.content {
            Stored::Counter { amount, .. } => Some(amount),
            Stored::Plain { .. } => None,
        });
        let Some(sum) = amounts.reduce(|a, b| a + b) else {
            return plain.map(|(_, format, bytes)| Value::Plain { format, bytes });
        };
        let base = match plain {
            None => 0,
            Some((sibling, format, bytes)) => match integer(bytes) {
                None if sibling.dot == top.dot => return Some(Value::Plain { format, bytes }),
                base => base.unwrap_or(0),
            },
        };
        Some(Value::Integer(saturate(i128::from(base) + sum)))
    }
}

/// Reads a decimal integer in the only form that Redis accepts: no sign except a minus, no leading zeros.
pub fn integer(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let canonical = match digits {
        [b'0'] => bytes.len() == 1,
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    if canonical {
        str::from_utf8(bytes).ok()?.parse().ok()
    } else {
        None
    }
}

pub(crate) fn saturate(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// The content of a sibling follows from its dot: as with real dots, the same dot always has the same content.
    fn sibling(writer: u64, counter: u64) -> Sibling {
        let content = match counter % 3 {
            0 => Stored::Counter {
                since: counter,
                amount: counter.into(),
            },
            1 => Stored::Plain {
                format: 0,
                bytes: b"12"[..].into(),
            },
            _ => Stored::Plain {
                format: 0,
                bytes: b"text"[..].into(),
            },
        };
        let stamp = Stamp(counter * 7 % 5);
        Sibling {
            dot: Dot {
                writer: Writer(writer),
                counter,
            },
            stamp,
            expiry_ms: None,
            content,
        }
    }

    /// An object whose context is everything it has seen. Dots marked `true` are alive.
    fn objects() -> impl Strategy<Value = Object> {
        prop::collection::btree_map((0..3u64, 1..6u64), any::<bool>(), 0..8).prop_map(|dots| {
            let mut object = Object::default();
            for ((writer, counter), alive) in dots {
                object.context.insert(Dot {
                    writer: Writer(writer),
                    counter,
                });
                if alive {
                    object.siblings.push(sibling(writer, counter));
                }
            }
            object
        })
    }

    fn merged(a: &Object, b: &Object) -> Object {
        let mut merged = a.clone();
        merged.merge(b.clone(), |_| false, |_| false);
        merged
    }

    proptest! {
        #[test]
        fn merge_is_a_join(a in objects(), b in objects(), c in objects()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(merged(&a, &a), a.clone());
            prop_assert_eq!(merged(&a, &merged(&a, &b)), merged(&a, &b));
        }

        #[test]
        fn integers_are_those_of_redis(number: i64, junk in "[-+0-9]{0,20}") {
            use std::string::ToString;
            prop_assert_eq!(integer(number.to_string().as_bytes()), Some(number));
            if let Some(number) = integer(junk.as_bytes()) {
                prop_assert_eq!(number.to_string(), junk);
            }
        }
    }

    fn plain(stamp: u64, writer: u64, bytes: &[u8]) -> Sibling {
        let content = Stored::Plain {
            format: 0,
            bytes: bytes.into(),
        };
        let dot = Dot {
            writer: Writer(writer),
            counter: 1,
        };
        Sibling {
            dot,
            stamp: Stamp(stamp),
            expiry_ms: Some(stamp),
            content,
        }
    }

    fn counter(stamp: u64, writer: u64, amount: i128) -> Sibling {
        let dot = Dot {
            writer: Writer(writer),
            counter: 9,
        };
        let content = Stored::Counter { since: 2, amount };
        Sibling {
            dot,
            stamp: Stamp(stamp),
            expiry_ms: Some(stamp),
            content,
        }
    }

    fn check(siblings: Vec<Sibling>, value: Value<'_>, expiry_ms: u64) {
        let object = Object {
            siblings: siblings.into(),
            context: Clock::new(),
        };
        assert_eq!(object.value(), Some(value));
        assert_eq!(object.top().and_then(|top| top.expiry_ms), Some(expiry_ms));
    }

    #[test]
    fn a_read_shows_the_highest_sibling_or_the_sum() {
        let text = |bytes| Value::Plain { format: 0, bytes };
        check(vec![plain(1, 1, b"a"), plain(2, 2, b"b")], text(b"b"), 2);
        check(vec![plain(2, 1, b"a"), plain(2, 2, b"b")], text(b"b"), 2);
        check(vec![counter(3, 1, 4), counter(5, 2, -6)], Value::Integer(-2), 5);
        check(vec![counter(3, 1, 4), plain(4, 2, b"10")], Value::Integer(14), 4);
        check(vec![counter(3, 1, 4), plain(2, 2, b"text")], Value::Integer(4), 3);
        check(vec![counter(3, 1, 4), plain(5, 2, b"text")], text(b"text"), 5);
        check(
            vec![counter(3, 1, i64::MAX.into()), counter(4, 2, 1)],
            Value::Integer(i64::MAX),
            4,
        );
        check(
            vec![
                counter(3, 1, 11_000_000_000_000_000_000),
                plain(2, 2, b"-9000000000000000000"),
            ],
            Value::Integer(2_000_000_000_000_000_000),
            3,
        );
    }
}
