//! What a shell tells the store of batches that it has answered. The store reads no clock, so the shell says how long
//! each batch took.
//!
//! ```text
//! Ask ──▶ store: executes, fills in `mix` ──▶ shell: Tally::answered ──┐
//!  ▲                                                                  │
//!  └───────── the next batch of any client carries the tally ◀────────┘
//! ```
//!
//! - The time of a batch runs from the moment its execution begins to the moment its last reply is known. It includes
//!   the time that other nodes take, and a wait behind `CLIENT PAUSE`.
//! - A tally has an entry for each batch that was answered since a batch began, so it is no longer than the number of
//!   clients.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::mem;

use smallvec::SmallVec;
use wire::request::Args;

use crate::{ask::Ask, command::Row};

/// Arguments of a request that the slow log keeps.
const SLOW_ARGS_MAX: usize = 32;
/// Bytes of an argument that the slow log keeps.
const SLOW_ARG_BYTES_MAX: usize = 128;

/// How many requests of which commands a batch has.
#[derive(Clone, Debug, Default)]
pub struct Mix {
    last: Option<&'static Row>,
    /// Requests of the last command in a row.
    count: u32,
    /// Numbers of rows and how often they came before.
    before: SmallVec<[(u16, u32); 4]>,
}

impl Mix {
    /// Counts a request of this command.
    #[inline]
    pub(crate) fn add(&mut self, row: &'static Row) {
        if self.last.is_some_and(|last| last.number == row.number) {
            self.count += 1;
        } else {
            self.begin(row);
        }
    }

    fn begin(&mut self, row: &'static Row) {
        if let Some(last) = self.last.replace(row) {
            match self.before.iter_mut().find(|(number, _)| *number == last.number) {
                Some((_, count)) => *count += self.count,
                None => self.before.push((last.number, self.count)),
            }
        }
        self.count = 1;
    }

    /// Takes back one request of this command: it was not executed.
    pub(crate) fn take_back(&mut self, row: &Row) {
        let count = match self.before.iter_mut().find(|(number, _)| *number == row.number) {
            Some((_, count)) => count,
            None if self.last.is_some_and(|last| last.number == row.number) => &mut self.count,
            None => return,
        };
        *count = count.saturating_sub(1);
    }

    /// The command of its last request.
    pub(crate) fn last(&self) -> Option<&'static Row> {
        self.last
    }

    fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Numbers of rows and how many requests of each there are. A row may come twice.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (usize, u32)> {
        let last = self.last.map(|row| (row.number, self.count));
        let all = self.before.iter().copied().chain(last);
        all.map(|(number, count)| (usize::from(number), count))
    }
}

/// A batch that was answered.
#[derive(Debug)]
pub struct Timed {
    pub(crate) mix: Mix,
    /// Microseconds from its beginning to its last reply.
    pub(crate) took_us: u64,
    /// When it was answered, in Unix milliseconds.
    pub(crate) ended_ms: u64,
    /// What the slow log shows, if it took long enough for that.
    pub(crate) slow: Option<Box<Slow>>,
}

/// What the slow log shows of a batch beside its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slow {
    /// Arguments of its first request, cut as Redis cuts them.
    pub(crate) args: Vec<Vec<u8>>,
    /// Address of its client.
    pub(crate) address: String,
    /// The client's name.
    pub(crate) name: String,
}

impl Slow {
    fn of(ask: &Ask) -> Option<Self> {
        let mut requests = ask.batch.requests();
        let mut args = shown(requests.next()?);
        let more = requests.count();
        if more > 0 {
            args.push(alloc::format!("... ({more} more requests in the pipeline)").into_bytes());
        }
        Some(Self {
            args,
            address: ask.session.shown.address.clone(),
            name: ask.session.shown.name.clone(),
        })
    }
}

/// A request as the slow log shows it: long arguments and long lists are cut, and passwords are left out.
fn shown(args: Args<'_>) -> Vec<Vec<u8>> {
    let is = |index: usize, word: &[u8]| args.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
    // `HELLO 3 AUTH user password …`
    let hello_auth = (2..args.len()).find(|&index| is(0, b"hello") && is(index, b"auth"));
    let secret = |index: usize| match hello_auth {
        Some(auth) => index > auth && index <= auth + 2,
        None => is(0, b"auth") && index > 0,
    };
    let kept = if args.len() > SLOW_ARGS_MAX {
        SLOW_ARGS_MAX - 1
    } else {
        args.len()
    };
    let cut = |(index, arg): (usize, &[u8])| match arg.get(SLOW_ARG_BYTES_MAX..) {
        _ if secret(index) => b"(redacted)".to_vec(),
        None | Some([]) => arg.to_vec(),
        Some(rest) => {
            let mut start = arg[..SLOW_ARG_BYTES_MAX].to_vec();
            start.extend_from_slice(alloc::format!("... ({} more bytes)", rest.len()).as_bytes());
            start
        }
    };
    let mut list: Vec<Vec<u8>> = args.iter().take(kept).enumerate().map(cut).collect();
    if args.len() > kept {
        list.push(alloc::format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    list
}

/// What happened at the shell since the store was last told.
#[derive(Debug, Default)]
pub struct Tally {
    /// Bytes read from Redis clients.
    pub received_bytes: u64,
    /// Bytes written to Redis clients.
    pub sent_bytes: u64,
    /// Connections of Redis clients refused since there were too many.
    pub rejected: u64,
    timed: Vec<Timed>,
}

impl Tally {
    /// Notes that `ask` was answered `now_us` after the start of the monotonic clock that the store is told.
    #[inline]
    pub fn answered(&mut self, ask: &mut Ask, now_us: u64, now_ms: u64) {
        let took_us = now_us.saturating_sub(ask.began_us);
        let is_slow = took_us >= ask.slow_us;
        if ask.mix.is_empty() && !is_slow {
            return;
        }
        self.timed.push(Timed {
            mix: mem::take(&mut ask.mix),
            took_us,
            ended_ms: now_ms,
            slow: if is_slow { Slow::of(ask).map(Box::new) } else { None },
        });
    }

    /// The batches; none are left.
    pub(crate) fn take_timed(&mut self) -> impl Iterator<Item = Timed> {
        self.timed.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::command::find;

    #[test]
    fn a_mix_counts_each_command() {
        let row = |name: &str| find(name.as_bytes()).expect("a command");
        let mut mix = Mix::default();
        for name in ["get", "get", "set", "get", "set", "ping"] {
            mix.add(row(name));
        }
        mix.take_back(row("get"));
        mix.take_back(row("ping"));
        let count = |name: &str| -> u32 {
            let number = usize::from(row(name).number);
            mix.counts()
                .filter(|(of, _)| *of == number)
                .map(|(_, count)| count)
                .sum()
        };
        assert_eq!((count("get"), count("set"), count("ping"), count("del")), (2, 2, 0, 0));
    }

    #[test]
    fn a_slow_request_is_cut_and_keeps_no_secret() {
        let shown_of = |args: &[&[u8]]| {
            let mut batch = wire::request::Batch::new();
            batch.push(args);
            shown(batch.request(0))
        };
        let long = vec![b'v'; 130];
        let cut = shown_of(&[b"SET", b"k", &long]);
        assert_eq!(cut[2], [&long[..128], b"... (2 more bytes)"].concat());
        let many: Vec<&[u8]> = vec![b"DEL"; 40];
        let cut = shown_of(&many);
        assert_eq!((cut.len(), &cut[31][..]), (32, &b"... (9 more arguments)"[..]));
        assert_eq!(shown_of(&[b"auth", b"u", b"p"])[1..], [b"(redacted)", b"(redacted)"]);
        let hello: Vec<Vec<u8>> = shown_of(&[b"HELLO", b"3", b"AUTH", b"u", b"p", b"SETNAME", b"n"]);
        let words: Vec<&[u8]> = vec![b"HELLO", b"3", b"AUTH", b"(redacted)", b"(redacted)", b"SETNAME", b"n"];
        assert_eq!(hello, words);
    }
}
