//! [`Parser`]: finds the requests in the bytes of a connection, without copying them.
//!
//! It resumes where it stopped. Arguments found stay found when more bytes arrive, and when the unfinished request
//! moves to another buffer. Each byte is searched for a line end once. So the work is linear in the bytes wherever the
//! reads split them.
//!
//! The common case is an array of short arguments: its headers have at most four digits and are decoded without a
//! search. All other input takes a slower path that is written for clarity, and ends with Redis's error texts.
//!
//! Invariants between calls:
//! - `start <= at <= buffer.len()`, and the requests of the batch end at or before `start`;
//! - if a request is unfinished, `args_left > 0` or `start == at`;
//! - a batch without complete requests begins with the unfinished one: skipped bytes are dropped, so an endless stream
//!   of empty lines takes no memory;
//! - a request that is refused for its size has no arguments in the batch. Its bytes are dropped as they come.

use super::inline;
use crate::{
    decimal,
    request::{Arg, BUFFER_BYTES_MAX, Batch, Request},
};
use alloc::vec::Vec;
use core::fmt;

/// Largest argument, in bytes, that is skipped if it is beyond the limits. A longer one is a [`ProtocolError`], as in
/// Redis.
pub const SKIPPED_BYTES_MAX: usize = 512 << 20;
/// Bytes of a skipped argument that are asked for at once. They are not kept.
const SKIP_STEP_BYTES: usize = 16 << 10;

/// Limits on the size of a request. A larger one is [`Progress::refused`], or a [`ProtocolError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arguments of one request, the name included.
    pub args_max: usize,
    /// Bytes of one argument.
    pub bulk_bytes_max: usize,
    /// Bytes of an inline request, or of the line in front of an argument.
    pub line_bytes_max: usize,
    /// Bytes of one whole request; at most [`BUFFER_BYTES_MAX`].
    pub request_bytes_max: usize,
    /// Whether the client is authenticated. If not, a request beyond these limits waits until the requests before it
    /// are executed: one of them may be `AUTH`.
    pub authenticated: bool,
}

impl Limits {
    /// Before `AUTH`: enough to authenticate.
    pub const BEFORE_AUTH: Self = Self {
        args_max: 10,
        bulk_bytes_max: 16 << 10,
        line_bytes_max: 64 << 10,
        request_bytes_max: 256 << 10,
        authenticated: false,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            args_max: 1 << 22,
            bulk_bytes_max: 64 << 20,
            line_bytes_max: 64 << 10,
            request_bytes_max: 512 << 20,
            authenticated: true,
        }
    }
}

/// Bytes that are not RESP. The text is Redis's; where a limit is our own, it stands behind. The client gets the text,
/// and the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A line feed did not come within the limit.
    TooBigInline,
    /// Quotes of an inline request that are not closed, or not followed by a space.
    UnbalancedQuotes,
    /// The line in front of the arguments does not end within the limit.
    TooBigMultibulkCount,
    /// A number of arguments that is malformed or too large.
    InvalidMultibulkLength,
    /// More arguments than this limit.
    TooManyArguments(usize),
    /// Too many arguments before authentication.
    UnauthenticatedMultibulkLength,
    /// The line in front of an argument does not end within the limit.
    TooBigBulkCount,
    /// Another byte than `$` in front of an argument.
    ExpectedBulk(u8),
    /// The length of an argument that is malformed, too large, or not the length of the bytes behind it.
    InvalidBulkLength,
    /// Too large an argument before authentication.
    UnauthenticatedBulkLength,
    /// All arguments together are too large.
    TooBigRequest,
    /// A line that occurs in HTTP, not in RESP.
    Http,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        f.write_str(match self {
            Self::TooBigInline => "too big inline request",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
            Self::TooBigMultibulkCount => "too big mbulk count string",
            Self::InvalidMultibulkLength => "invalid multibulk length",
            Self::TooManyArguments(most) => {
                return write!(f, "invalid multibulk length: a request has {most} arguments at most");
            }
            Self::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            Self::TooBigBulkCount => "too big bulk count string",
            Self::ExpectedBulk(got) => {
                return write!(f, "expected '$', got '{}'", char::from(*got));
            }
            Self::InvalidBulkLength => "invalid bulk length",
            Self::UnauthenticatedBulkLength => "unauthenticated bulk length",
            Self::TooBigRequest => "too big request",
            Self::Http => "this is HTTP, for which there is another port",
        })
    }
}

impl core::error::Error for ProtocolError {}

/// Why a request is not executed although its bytes are RESP. The next requests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLarge {
    /// An argument has more bytes than this limit.
    Argument(usize),
    /// The request has more bytes than this limit.
    Request(usize),
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(most) => write!(f, "an argument exceeds the maximum of {most} bytes (max_value)"),
            Self::Request(most) => write!(f, "the request exceeds the maximum of {most} bytes (max_buffers)"),
        }
    }
}

/// How far the parser got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Complete requests that the batch holds.
    pub requests: usize,
    /// How many more bytes the unfinished request needs at least; 0 if there is none. A reader may reserve them, as far
    /// as it trusts a length whose bytes have not come yet.
    pub missing: usize,
    /// The next request is too large for a client that is not authenticated. Execute the requests before it, then parse
    /// again, even if no more bytes have come.
    pub blocked: bool,
    /// The next request is refused for its size. Execute the requests before it, answer it with this error, then parse
    /// again, even if no more bytes have come.
    pub refused: Option<TooLarge>,
}

/// The parser's state for one connection. It belongs to the [`Batch`] that is being read into.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    /// Where the unfinished request begins, which is the end of the last complete one.
    start: usize,
    /// The first byte that was not parsed yet.
    at: usize,
    /// The bytes from `at` to here have no line end.
    searched: usize,
    /// Arguments that the unfinished request still lacks; 0 before its first line is complete.
    args_left: usize,
    /// Set while the unfinished request is skipped: bytes of its current argument that have not come.
    skipping: Option<Skipping>,
}

/// How far a refused request is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skipping {
    /// Its next argument begins.
    Header,
    /// So many bytes of an argument are left, and the line end behind them.
    Argument(usize),
}

/// Why parsing stopped.
enum Stop {
    /// At least this many bytes are missing; 0 if no request has begun.
    Missing(usize),
    /// This request is refused. If `unauthenticated`, it waits for the requests before it instead.
    Refused {
        error: ProtocolError,
        unauthenticated: bool,
    },
    /// This request is skipped from here on.
    Skips(TooLarge),
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Self {
        Self::Refused {
            error,
            unauthenticated: false,
        }
    }
}

impl Parser {
    /// A parser for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to `batch` all requests that are complete in its buffer.
    ///
    /// Between calls the reader may append to the buffer. It may also take the batch away, after
    /// [`Parser::split_tail`].
    ///
    /// # Errors
    /// The bytes behind the last complete request are not RESP, or are too large. Execute and answer the requests in
    /// `batch` first; then send the error and close the connection.
    ///
    /// # Panics
    /// If the buffer is longer than [`BUFFER_BYTES_MAX`]: the reader limits how much it appends to one batch.
    pub fn parse(&mut self, batch: &mut Batch, limits: &Limits) -> Result<Progress, ProtocolError> {
        assert!(batch.buffer.len() <= BUFFER_BYTES_MAX, "a batch holds at most 4 GiB");
        let stop = self.run(batch, limits);
        let requests = batch.len();
        if requests == 0 && self.start > 0 {
            batch.buffer.drain(..self.start);
            self.rebase(&mut batch.args);
        }
        let progress = Progress {
            requests,
            missing: 0,
            blocked: false,
            refused: None,
        };
        match stop {
            Stop::Missing(missing) => Ok(Progress { missing, ..progress }),
            Stop::Skips(why) => Ok(Progress {
                refused: Some(why),
                ..progress
            }),
            Stop::Refused {
                unauthenticated: true, ..
            } if requests > 0 => Ok(Progress {
                blocked: true,
                ..progress
            }),
            Stop::Refused { error, .. } => Err(error),
        }
    }

    /// Moves the unfinished request from `from` to `into`, the empty batch that is read into next.
    ///
    /// # Panics
    /// If `into` is not empty.
    pub fn split_tail(&mut self, from: &mut Batch, into: &mut Batch) {
        assert!(
            into.is_empty() && into.buffer.is_empty(),
            "an unfinished request begins an empty batch"
        );
        into.buffer.extend_from_slice(&from.buffer[self.start..]);
        from.buffer.truncate(self.start);
        into.args.extend(from.args.drain(from.args_of_requests()..));
        self.rebase(&mut into.args);
    }

    /// Makes positions count from `start`, after the bytes before it were removed. `args` are the arguments of the
    /// unfinished request.
    fn rebase(&mut self, args: &mut [Arg]) {
        for arg in args {
            *arg = Arg::new(arg.start as usize - self.start, arg.end as usize - self.start);
        }
        self.at -= self.start;
        self.searched = self.searched.saturating_sub(self.start);
        self.start = 0;
    }

    /// Parses requests up to the end of the bytes, or up to an error.
    fn run(&mut self, batch: &mut Batch, limits: &Limits) -> Stop {
        let Batch {
            buffer, args, requests, ..
        } = batch;
        let known = args.len();
        let mut first = requests.last().map_or(0, |last| (last.first + last.count) as usize);
        debug_assert!(
            self.args_left > 0 || first == known,
            "only an unfinished request has stray arguments"
        );
        loop {
            if let Err(stop) = self.request(buffer, args, limits) {
                let stop = self.bounded(stop, buffer.len(), limits);
                if matches!(stop, Stop::Skips(_)) {
                    args.truncate(first);
                    self.skipping = Some(Skipping::Header);
                    self.start = self.at;
                }
                return stop;
            }
            self.start = self.at;
            if args.len() > first {
                requests.push(Request {
                    first: first as u32,
                    count: (args.len() - first) as u32,
                });
                first = args.len();
            }
        }
    }

    /// Reads one request to its end. An empty request counts too; it has no arguments.
    #[inline]
    fn request(&mut self, buffer: &mut [u8], args: &mut Vec<Arg>, limits: &Limits) -> Result<(), Stop> {
        if self.args_left == 0 {
            self.begin(buffer, args, limits)?;
        }
        if self.skipping.is_some() {
            return self.skip(buffer, limits);
        }
        self.arguments(buffer, args, limits)
    }

    /// Skips the arguments that a refused request still lacks.
    #[cold]
    fn skip(&mut self, buffer: &[u8], limits: &Limits) -> Result<(), Stop> {
        while self.args_left > 0 {
            let left = match self.skipping {
                Some(Skipping::Argument(left)) => left,
                Some(Skipping::Header) | None => {
                    let (start, len) = self.bulk_header(buffer, limits)?;
                    if len > SKIPPED_BYTES_MAX {
                        return Err(ProtocolError::InvalidBulkLength.into());
                    }
                    self.at = start;
                    len
                }
            };
            let here = left.min(buffer.len() - self.at);
            self.at += here;
            self.start = self.at;
            self.skipping = Some(Skipping::Argument(left - here));
            match buffer.get(self.at..self.at + 2) {
                None => {
                    return Err(Stop::Missing(
                        (left - here).min(SKIP_STEP_BYTES) + 2 - (buffer.len() - self.at),
                    ));
                }
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::InvalidBulkLength.into()),
            }
            self.at += 2;
            self.start = self.at;
            self.args_left -= 1;
            self.skipping = Some(Skipping::Header);
        }
        self.skipping = None;
        Ok(())
    }

    /// Reads the line that begins a request: the number of arguments, or a whole inline request.
    #[inline]
    fn begin(&mut self, buffer: &mut [u8], args: &mut Vec<Arg>, limits: &Limits) -> Result<(), Stop> {
        if let [b'*', rest @ ..] = &buffer[self.at..]
            && let Some((count, line)) = short_length(rest)
            && count <= limits.args_max
        {
            self.at += 1 + line;
            self.args_left = count;
            return Ok(());
        }
        self.begin_slowly(buffer, args, limits)
    }

    #[cold]
    fn begin_slowly(&mut self, buffer: &mut [u8], args: &mut Vec<Arg>, limits: &Limits) -> Result<(), Stop> {
        match buffer.get(self.at) {
            None => Err(Stop::Missing(0)),
            Some(b'*') => {
                let line = self.line(buffer, limits, ProtocolError::TooBigMultibulkCount)?;
                let count = decimal::parse(line.text).filter(|&count| count <= i64::from(i32::MAX));
                let Some(count) = count else {
                    return Err(ProtocolError::InvalidMultibulkLength.into());
                };
                // An array without elements and a null array are not requests, and not errors.
                let count = usize::try_from(count).unwrap_or(0);
                if count > limits.args_max {
                    return Err(if limits.authenticated {
                        ProtocolError::TooManyArguments(limits.args_max).into()
                    } else {
                        limits.refuse(ProtocolError::UnauthenticatedMultibulkLength)
                    });
                }
                self.at = line.next;
                self.args_left = count;
                Ok(())
            }
            Some(_) => self.inline(buffer, args, limits),
        }
    }

    /// Reads the arguments that the request still lacks.
    #[inline]
    fn arguments(&mut self, buffer: &[u8], args: &mut Vec<Arg>, limits: &Limits) -> Result<(), Stop> {
        while self.args_left > 0 {
            let (start, len) = match &buffer[self.at..] {
                [b'$', rest @ ..] if let Some((len, line)) = short_length(rest) => (self.at + 1 + line, len),
                _ => self.bulk_header(buffer, limits)?,
            };
            if len > limits.bulk_bytes_max {
                return Err(match limits.authenticated {
                    true if len <= SKIPPED_BYTES_MAX => Stop::Skips(TooLarge::Argument(limits.bulk_bytes_max)),
                    true => ProtocolError::InvalidBulkLength.into(),
                    false => limits.refuse(ProtocolError::UnauthenticatedBulkLength),
                });
            }
            let end = start + len;
            match buffer.get(end..end + 2) {
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::InvalidBulkLength.into()),
                None => return Err(Stop::Missing(end + 2 - buffer.len())),
            }
            args.push(Arg::new(start, end));
            self.at = end + 2;
            self.args_left -= 1;
        }
        Ok(())
    }

    /// Where an argument begins and how long it is, for every form of its header.
    #[cold]
    fn bulk_header(&mut self, buffer: &[u8], limits: &Limits) -> Result<(usize, usize), Stop> {
        let line = self.line(buffer, limits, ProtocolError::TooBigBulkCount)?;
        if buffer[self.at] != b'$' {
            return Err(ProtocolError::ExpectedBulk(buffer[self.at]).into());
        }
        let len = decimal::parse(line.text).and_then(|len| u32::try_from(len).ok());
        let len = len.ok_or(ProtocolError::InvalidBulkLength)?;
        Ok((line.next, len as usize))
    }

    /// The line at `at`, without its first byte and its line end.
    fn line<'a>(&mut self, buffer: &'a [u8], limits: &Limits, too_big: ProtocolError) -> Result<Line<'a>, Stop> {
        let from = self.searched.max(self.at);
        let Some(found) = memchr::memchr(b'\r', &buffer[from..]) else {
            self.searched = buffer.len();
            if buffer.len() - self.at > limits.line_bytes_max {
                return Err(too_big.into());
            }
            // The shortest line has a tag, a digit and its end.
            return Err(Stop::Missing((self.at + 4).saturating_sub(buffer.len()).max(2)));
        };
        let end = from + found;
        self.searched = end;
        if end - self.at > limits.line_bytes_max {
            return Err(too_big.into());
        }
        match buffer.get(end + 1) {
            None => Err(Stop::Missing(1)),
            // Redis accepts any byte here. In that case the length is wrong, or the client lost count.
            Some(b'\n') => Ok(Line {
                text: buffer.get(self.at + 1..end).unwrap_or_default(),
                next: end + 2,
            }),
            Some(_) if self.args_left == 0 => Err(ProtocolError::InvalidMultibulkLength.into()),
            Some(_) => Err(ProtocolError::InvalidBulkLength.into()),
        }
    }

    /// Reads a request typed by hand: words on a line.
    fn inline(&mut self, buffer: &mut [u8], args: &mut Vec<Arg>, limits: &Limits) -> Result<(), Stop> {
        let from = self.searched.max(self.at);
        let found = memchr::memchr(b'\n', &buffer[from..]);
        let end = found.map_or(buffer.len(), |found| from + found);
        self.searched = end;
        if end - self.at > limits.line_bytes_max {
            return Err(ProtocolError::TooBigInline.into());
        }
        if found.is_none() {
            return Err(Stop::Missing(1));
        }
        let known = args.len();
        let split = inline::split(&mut buffer[self.at..end], |start, end| {
            args.push(Arg::new(self.at + start, self.at + end));
        });
        if split.is_err() {
            args.truncate(known);
            return Err(ProtocolError::UnbalancedQuotes.into());
        }
        // A browser can be made to send our requests in the body of an HTTP request of its own.
        if let Some(word) = args.get(known).map(|arg| &buffer[arg.start as usize..arg.end as usize])
            && [&b"post"[..], b"host:"]
                .iter()
                .any(|http| word.eq_ignore_ascii_case(http))
        {
            args.truncate(known);
            return Err(ProtocolError::Http.into());
        }
        self.at = end + 1;
        Ok(())
    }

    /// Refuses an unfinished request whose whole size is too large.
    fn bounded(&self, stop: Stop, len: usize, limits: &Limits) -> Stop {
        match stop {
            Stop::Missing(missing)
                if self.skipping.is_none() && len - self.start + missing > limits.request_bytes_max =>
            {
                if limits.authenticated && self.args_left > 0 {
                    Stop::Skips(TooLarge::Request(limits.request_bytes_max))
                } else {
                    limits.refuse(ProtocolError::TooBigRequest)
                }
            }
            stop => stop,
        }
    }
}

impl Limits {
    /// Refuses a request beyond these limits. If the client is not authenticated, it waits for those before it.
    fn refuse(&self, error: ProtocolError) -> Stop {
        Stop::Refused {
            error,
            unauthenticated: !self.authenticated,
        }
    }
}

struct Line<'a> {
    text: &'a [u8],
    /// Where the next line begins.
    next: usize,
}

/// A length of one to four digits, and how many bytes its line takes, line end included. `None` for any other line,
/// valid or not.
#[inline(always)]
fn short_length(line: &[u8]) -> Option<(usize, usize)> {
    let digit = |byte: u8| usize::from(byte.wrapping_sub(b'0'));
    match *line {
        [a, b'\r', b'\n', ..] if digit(a) < 10 => Some((digit(a), 3)),
        [b'0', ..] => None,
        [a, b, b'\r', b'\n', ..] if digit(a) < 10 && digit(b) < 10 => Some((digit(a) * 10 + digit(b), 4)),
        [a, b, c, b'\r', b'\n', ..] if digit(a) < 10 && digit(b) < 10 && digit(c) < 10 => {
            Some((digit(a) * 100 + digit(b) * 10 + digit(c), 5))
        }
        [a, b, c, d, b'\r', b'\n', ..] if digit(a) < 10 && digit(b) < 10 && digit(c) < 10 && digit(d) < 10 => {
            Some((digit(a) * 1000 + digit(b) * 100 + digit(c) * 10 + digit(d), 6))
        }
        _ => None,
    }
}
