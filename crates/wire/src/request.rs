//! [`Batch`]: the requests of one read from a socket, and later their replies.
//!
//! A batch travels as a whole. A front end fills it. One message carries it (boxed) to the store. The store writes
//! [`Batch::replies`] in the order of the requests, and sends the same box back. Nothing is copied on the way, since
//! arguments are ranges of the bytes from the socket. Boxes are reused, so in steady state a connection allocates
//! nothing.
//!
//! ```text
//! buffer    *2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n*2\r\n$3\r\nGE
//! args              └0┘       1            └2┘       3            └ of the unfinished request, none yet
//! requests  [0, 2)                [2, 4)
//! ```
//!
//! Invariants:
//! - every range lies within `buffer`, and the bytes up to the end of the last request do not change;
//! - `requests`, and behind them those held back, cover `args` without gaps, up to the arguments of an incomplete
//!   request. They begin at the first argument, unless a part of the batch was executed before;
//! - a buffer is never longer than [`BUFFER_BYTES_MAX`]: the reader limits how much it appends.

use crate::reply::Replies;
use alloc::vec::Vec;
use core::{fmt, ops::Index};

/// Most bytes of requests in one batch: a `u32` can address no more. A longer buffer is a bug of the reader.
pub const BUFFER_BYTES_MAX: usize = u32::MAX as usize;

/// Capacity that [`Batch::clear`] keeps in the buffer. One large value must not keep its memory forever.
pub const KEPT_BYTES_MAX: usize = 128 << 10;

/// A range of bytes in [`Batch::buffer`].
#[derive(Clone, Copy)]
pub(crate) struct Arg {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Arg {
    /// The bytes `start..end` of a buffer of at most [`BUFFER_BYTES_MAX`] bytes.
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        debug_assert!(
            start <= end && end <= BUFFER_BYTES_MAX,
            "an argument lies within its buffer"
        );
        Self {
            start: start as u32,
            end: end as u32,
        }
    }
}

/// A range of `args`.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// Requests in the order they were asked, and their replies. See the [module](self).
#[derive(Clone, Default)]
pub struct Batch {
    /// The bytes that the arguments are ranges of. A reader appends the bytes from the socket.
    pub buffer: Vec<u8>,
    pub(crate) args: Vec<Arg>,
    pub(crate) requests: Vec<Request>,
    /// Requests behind those, which are executed later.
    held: Vec<Request>,
    /// The replies in the order of the requests, once the batch was executed.
    pub replies: Replies,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many complete requests the batch holds.
    #[inline]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether the batch holds no complete request.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The arguments of request `index`, the command's name first.
    ///
    /// # Panics
    /// If there is no such request.
    #[inline]
    pub fn request(&self, index: usize) -> Args<'_> {
        let Request { first, count } = self.requests[index];
        Args {
            buffer: &self.buffer,
            args: &self.args[first as usize..][..count as usize],
        }
    }

    /// All requests in order.
    pub fn requests(&self) -> impl ExactSizeIterator<Item = Args<'_>> {
        (0..self.len()).map(|index| self.request(index))
    }

    /// Appends a request with copies of `args`, for front ends other than RESP.
    ///
    /// # Panics
    /// If `args` is empty, if the buffer holds bytes of an unfinished request, or if the buffer would exceed
    /// [`BUFFER_BYTES_MAX`].
    pub fn push(&mut self, args: &[&[u8]]) {
        assert!(!args.is_empty(), "a request begins with a command");
        let first = self.args.len();
        let end = self.buffer.len() + args.iter().map(|arg| arg.len()).sum::<usize>();
        assert!(
            first == self.args_of_requests(),
            "a parser is in the middle of a request in this batch"
        );
        assert!(end <= BUFFER_BYTES_MAX, "a batch holds at most 4 GiB");
        for arg in args {
            let start = self.buffer.len();
            self.buffer.extend_from_slice(arg);
            self.args.push(Arg::new(start, self.buffer.len()));
        }
        self.requests.push(Request {
            first: first as u32,
            count: args.len() as u32,
        });
    }

    /// Puts off the requests from `index` on, because their replies would be too large together. The batch ends before
    /// them until [`Batch::resume`]. Requests that were put off before stay behind them.
    pub fn hold_back(&mut self, index: usize) {
        let mut held = self.requests.split_off(index);
        held.append(&mut self.held);
        self.held = held;
    }

    /// Makes the requests that were held back the requests of this batch, without replies. Returns false, and does
    /// nothing, if there are none.
    pub fn resume(&mut self) -> bool {
        if self.held.is_empty() {
            return false;
        }
        self.requests = core::mem::take(&mut self.held);
        self.replies.clear();
        true
    }

    /// Empties it. Capacity is kept, except for a buffer beyond [`KEPT_BYTES_MAX`].
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BYTES_MAX);
        self.args.clear();
        self.args.shrink_to(KEPT_BYTES_MAX / size_of::<Arg>());
        self.requests.clear();
        self.held.clear();
        self.replies.clear();
    }

    /// How many of `args` belong to complete requests.
    pub(crate) fn args_of_requests(&self) -> usize {
        self.requests
            .last()
            .map_or(0, |last| last.first as usize + last.count as usize)
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.requests()).finish()
    }
}

/// The arguments of one request, borrowed from its [`Batch`]. The first one is the command's name.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buffer: &'a [u8],
    args: &'a [Arg],
}

impl<'a> Args<'a> {
    /// How many arguments there are, the name included: Redis's `argc`.
    #[inline]
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// Whether there are no arguments: possible only after [`Args::skip`].
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.args.is_empty()
    }

    /// Argument `index`, if there is one. `args[index]` is the same, but panics if there is none.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.args.get(index).map(|&arg| self.bytes(arg))
    }

    /// The arguments behind the first `count`; none if there are fewer.
    #[inline]
    #[must_use]
    pub fn skip(&self, count: usize) -> Args<'a> {
        Args {
            buffer: self.buffer,
            args: self.args.get(count..).unwrap_or_default(),
        }
    }

    /// The arguments in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let args = *self;
        args.args.iter().map(move |&arg| args.bytes(arg))
    }

    #[inline]
    fn bytes(&self, arg: Arg) -> &'a [u8] {
        &self.buffer[arg.start as usize..arg.end as usize]
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.bytes(self.args[index])
    }
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self
            .iter()
            .map(|arg| fmt::from_fn(move |f| write!(f, "{}", arg.escape_ascii())));
        f.debug_list().entries(words).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pushed_request_reads_back() {
        let mut batch = Batch::new();
        batch.push(&[b"set", b"k", b""]);
        batch.push(&[b"get", b"k"]);
        assert_eq!(batch.len(), 2);
        let set = batch.request(0);
        assert_eq!(
            (set.len(), &set[0], set.get(1), &set[2]),
            (3, &b"set"[..], Some(&b"k"[..]), &b""[..])
        );
        assert_eq!(set.get(3), None);
        assert!(set.skip(4).is_empty());
        assert!(batch.request(1).iter().eq([&b"get"[..], b"k"]));
        assert_eq!(std::format!("{batch:?}"), "[[set, k, ], [get, k]]");
    }

    #[test]
    fn requests_that_are_put_off_twice_keep_their_order() {
        let mut batch = Batch::new();
        for name in [b"a", b"b", b"c", b"d"] {
            batch.push(&[name]);
        }
        batch.hold_back(2);
        batch.hold_back(1);
        let mut order = std::vec::Vec::new();
        loop {
            order.extend(batch.requests().map(|args| args[0].to_vec()));
            if !batch.resume() {
                break;
            }
        }
        assert_eq!(order, [b"a", b"b", b"c", b"d"]);
    }

    #[test]
    fn clear_keeps_the_usual_capacity_and_frees_the_rest() {
        let mut batch = Batch::new();
        batch.push(&[b"ping"]);
        let capacity = batch.buffer.capacity();
        batch.clear();
        assert!(batch.is_empty() && batch.buffer.is_empty());
        assert_eq!(batch.buffer.capacity(), capacity);
        batch.push(&[&std::vec![0; KEPT_BYTES_MAX * 2]]);
        batch.clear();
        assert!(batch.buffer.capacity() <= KEPT_BYTES_MAX);
    }
}
