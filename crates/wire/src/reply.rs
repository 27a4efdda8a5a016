//! [`Replies`]: the replies to a batch of requests, in request order, before a front end renders them.
//!
//! It is an arena: one flat list of items, and one buffer for their bytes. An aggregate is a header that says how many
//! values follow, as in RESP. So writing a reply is a few appends, and no reply needs an allocation of its own. RESP,
//! HTTP and BEAM render the same [`Reply`] tokens.
//!
//! ```text
//! items   Ok   Array(2)  Bulk ─┐   Later        Int(7)
//! moved                        │    └ filled: Moved → Map(1) Bulk Int
//! data    ………………………… value ◄───┘
//! ```
//!
//! Some replies are known later than those around them: the reply to a forwarded request ([`Replies::later`]), or to a
//! write whose quorum was lost after its reply was written ([`Replies::replace`]). Their place is kept, so the replies
//! stay in request order. A reply that is filled in later is stored in `moved`, and its place points there.
//!
//! Invariants:
//! - every range lies within `data`, which holds at most [`DATA_BYTES_MAX`]; a value that would exceed it becomes an
//!   error ([`ErrorKind::Oom`]);
//! - `moved` holds complete values, none of which points to another place in `moved`;
//! - `open` counts the places still to be filled.

mod error;
#[cfg(test)]
mod tests;

pub use error::{ErrorKind, Retry};

use alloc::vec::Vec;
use core::{fmt, iter, slice};

/// Most bytes of text and values in one batch of replies: a `u32` can address no more.
pub const DATA_BYTES_MAX: usize = u32::MAX as usize;

/// Capacity in bytes that [`Replies::clear`] keeps.
pub const KEPT_BYTES_MAX: usize = 128 << 10;

/// The version of RESP that a connection speaks; `HELLO` chooses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2, which every connection begins with.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// One token of a reply: a value, or the header of an aggregate whose values follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reply<'a> {
    /// `OK`.
    Ok,
    /// A short status without line breaks.
    Status(&'a str),
    /// An error: its kind, and its text without the kind's leading word and without line breaks.
    Error(ErrorKind, &'a str),
    /// An integer.
    Int(i64),
    /// A float.
    Double(f64),
    /// True or false.
    Bool(bool),
    /// No value.
    Null,
    /// No value, where an array was asked for. Differs from [`Reply::Null`] in RESP2 only.
    NullArray,
    /// Bytes.
    Bulk(&'a [u8]),
    /// Text for people, with its format: `txt` or `mkd`.
    Verbatim {
        /// The format, three letters.
        format: &'a [u8],
        /// The text.
        text: &'a [u8],
    },
    /// This many values follow.
    Array(usize),
    /// This many pairs of key and value follow.
    Map(usize),
    /// This many values follow, all different.
    Set(usize),
    /// This many values follow, which no request asked for.
    Push(usize),
    /// Nothing is sent for this request (`CLIENT REPLY OFF`).
    NoReply,
    /// Not known yet.
    Later,
}

impl Reply<'_> {
    /// How many values belong to this one and follow it.
    #[inline]
    pub fn children(&self) -> usize {
        match *self {
            Reply::Array(count) | Reply::Set(count) | Reply::Push(count) => count,
            Reply::Map(count) => count * 2,
            Reply::Ok
            | Reply::Status(_)
            | Reply::Error(..)
            | Reply::Int(_)
            | Reply::Double(_)
            | Reply::Bool(_)
            | Reply::Null
            | Reply::NullArray
            | Reply::Bulk(_)
            | Reply::Verbatim { .. }
            | Reply::NoReply
            | Reply::Later => 0,
        }
    }
}

/// A place whose reply comes later. Each place is filled once, by [`Replies::fill`] or [`Replies::replace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "its batch is not answered before this place is filled"]
pub struct Slot(u32);

impl Slot {
    /// Where the reply of this place begins, for [`Replies::replace`].
    pub fn mark(self) -> Mark {
        Mark(self.0)
    }
}

/// Where a reply begins that will be written next. Valid until the replies are cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u32);

/// How much was written at some time: see [`Replies::rewind`].
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    items: usize,
    moved: usize,
    data: usize,
    open: u32,
}

/// A range of `data` or of `moved`.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug)]
enum Item {
    Ok,
    Status(Span),
    Error(ErrorKind, Span),
    Int(i64),
    Double(f64),
    Bool(bool),
    Null,
    NullArray,
    Bulk(Span),
    /// Format, a colon and the text, as in RESP3.
    Verbatim(Span),
    Array(u32),
    Map(u32),
    Set(u32),
    Push(u32),
    NoReply,
    Later,
    /// Like `Later`, but the reply that comes is dropped: the value is a `NoReply`.
    LaterUnsent,
    /// Like `LaterUnsent`, but inside a reply that is not sent. Not a value.
    LaterGap,
    /// One value, in `moved`.
    Moved(Span),
    /// RESP changes its version here. Not a value.
    Switch(Protocol),
    /// Part of a reply that was replaced or silenced. Not a value.
    Gap,
}

const _: () = assert!(size_of::<Item>() == 16, "the arena moves at two words per value");

impl Item {
    /// Whether the place is still to be filled.
    fn is_open(&self) -> bool {
        matches!(self, Item::Later | Item::LaterUnsent | Item::LaterGap)
    }
}

/// Replies in request order. See the [module](self).
#[derive(Clone, Default)]
pub struct Replies {
    items: Vec<Item>,
    moved: Vec<Item>,
    data: Vec<u8>,
    open: u32,
    /// An error was written since the last `clear`.
    has_errors: bool,
}

/// Values.
impl Replies {
    /// No replies yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.items.push(Item::Ok);
    }

    /// Appends a fixed status line, such as `PONG` or `QUEUED`.
    #[inline]
    pub fn simple(&mut self, text: &'static str) {
        self.status(text);
    }

    /// Appends a status line; line breaks become spaces.
    pub fn status(&mut self, text: &str) {
        let item = self.line(Item::Status, |data| data.extend_from_slice(text.as_bytes()));
        self.items.push(item);
    }

    /// Appends an error. `text` follows the kind's leading word; line breaks become spaces.
    #[cold]
    pub fn error(&mut self, kind: ErrorKind, text: impl fmt::Display) {
        let item = self.error_item(kind, text);
        self.items.push(item);
    }

    /// Appends an integer.
    #[inline]
    pub fn int(&mut self, number: i64) {
        self.items.push(Item::Int(number));
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        let item = self.span(bytes.len(), Item::Bulk, |data| {
            data.extend_from_slice(bytes);
        });
        self.items.push(item);
    }

    /// Appends the bytes that `write` appends, so that a number is formatted in place. `write` must not do anything
    /// else to the buffer.
    #[inline]
    pub fn bulk_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let item = self.span(0, Item::Bulk, write);
        self.items.push(item);
    }

    /// Appends "no value".
    #[inline]
    pub fn null(&mut self) {
        self.items.push(Item::Null);
    }

    /// Appends "no value", where an array was asked for.
    #[inline]
    pub fn null_array(&mut self) {
        self.items.push(Item::NullArray);
    }

    /// Appends a float: a double in RESP3, its text in RESP2.
    #[inline]
    pub fn double(&mut self, number: f64) {
        self.items.push(Item::Double(number));
    }

    /// Appends true or false: 1 or 0 in RESP2.
    #[inline]
    pub fn boolean(&mut self, value: bool) {
        self.items.push(Item::Bool(value));
    }

    /// Appends text for people; `format` is `txt` or `mkd`. Plain bytes in RESP2.
    pub fn verbatim(&mut self, format: &[u8; 3], text: &[u8]) {
        let item = self.span(4 + text.len(), Item::Verbatim, |data| {
            data.extend_from_slice(format);
            data.push(b':');
            data.extend_from_slice(text);
        });
        self.items.push(item);
    }

    /// Begins an array: the next `count` values belong to it.
    #[inline]
    pub fn array(&mut self, count: usize) {
        self.items.push(Item::Array(header(count)));
    }

    /// Begins a map: the next `2 × count` values belong to it, key and value in turn. A flat array in RESP2.
    #[inline]
    pub fn map(&mut self, count: usize) {
        self.items.push(Item::Map(header(count)));
    }

    /// Begins a set: the next `count` values belong to it. An array in RESP2.
    #[inline]
    pub fn set(&mut self, count: usize) {
        self.items.push(Item::Set(header(count)));
    }

    /// Begins a message that no request asked for: the next `count` values belong to it. An array in RESP2.
    #[inline]
    pub fn push(&mut self, count: usize) {
        self.items.push(Item::Push(header(count)));
    }

    /// Appends a reply that is not sent.
    #[inline]
    pub fn no_reply(&mut self) {
        self.items.push(Item::NoReply);
    }

    /// Makes RESP use `protocol` from the next reply on. This is not a reply. Other front ends ignore it.
    pub fn switch(&mut self, protocol: Protocol) {
        self.items.push(Item::Switch(protocol));
    }
}

/// Replies that change after they were written.
impl Replies {
    /// Where the next reply will begin.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark(self.items.len() as u32)
    }

    /// What was written so far, for [`Replies::rewind`].
    #[inline]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            items: self.items.len(),
            moved: self.moved.len(),
            data: self.data.len(),
            open: self.open,
        }
    }

    /// Takes back all replies that were written since `then`. Returns false, and changes nothing, if places were kept
    /// or filled since: what comes for them must not be lost.
    pub fn rewind(&mut self, then: Checkpoint) -> bool {
        let is_free = self.open == then.open && !self.items[then.items..].iter().any(Item::is_open);
        if is_free {
            self.items.truncate(then.items);
            self.moved.truncate(then.moved);
            self.data.truncate(then.data);
        }
        is_free
    }

    /// Keeps a place for one value that comes later.
    pub fn later(&mut self) -> Slot {
        let slot = Slot(self.items.len() as u32);
        self.items.push(Item::Later);
        self.open += 1;
        slot
    }

    /// Puts the only value of `reply` into a place.
    ///
    /// # Panics
    /// If `reply` is not exactly one complete value.
    pub fn fill(&mut self, slot: Slot, reply: &Replies) {
        let mut tokens = reply.tokens();
        self.fill_one(slot, &mut tokens);
        assert!(tokens.next().is_none(), "one place takes one reply");
    }

    /// Puts the values of `replies`, which answer a forwarded batch, into `slots` in order.
    ///
    /// # Panics
    /// If the number of complete values is not the number of slots.
    pub fn fill_each(&mut self, slots: impl IntoIterator<Item = Slot>, replies: &Replies) {
        let mut tokens = replies.tokens();
        for slot in slots {
            self.fill_one(slot, &mut tokens);
        }
        assert!(tokens.next().is_none(), "as many places as replies");
    }

    /// Turns the reply that begins at `mark` into an error, whatever its size. Parts of it that were still to come are
    /// not waited for any more. A reply that is not sent stays unsent. Does nothing if no reply was written at `mark`.
    #[cold]
    pub fn replace(&mut self, mark: Mark, kind: ErrorKind, text: impl fmt::Display) {
        let (start, end) = self.value_at(mark.0 as usize);
        let error = match self.items.get(start) {
            None => return,
            Some(Item::NoReply | Item::LaterUnsent) => Item::NoReply,
            Some(_) => self.error_item(kind, text),
        };
        for item in &mut self.items[start..end] {
            self.open -= u32::from(item.is_open());
            *item = Item::Gap;
        }
        self.items[start] = error;
    }

    /// Keeps the reply that begins at `mark` from being sent (`CLIENT REPLY OFF`). Parts of it that are still to come
    /// are waited for all the same.
    pub fn silence(&mut self, mark: Mark) {
        let (start, end) = self.value_at(mark.0 as usize);
        let items = &mut self.items[start..end];
        let Some(first) = items.first_mut() else {
            return;
        };
        *first = match first {
            Item::Later | Item::LaterUnsent => Item::LaterUnsent,
            _ => Item::NoReply,
        };
        for item in &mut items[1..] {
            *item = match item {
                Item::Later | Item::LaterUnsent | Item::LaterGap => Item::LaterGap,
                _ => Item::Gap,
            };
        }
    }

    /// Sets the count of the aggregate whose header is at `mark`: for aggregates that are counted while they are
    /// written.
    ///
    /// # Panics
    /// If no aggregate begins there.
    pub fn resize(&mut self, mark: Mark, count: usize) {
        match &mut self.items[mark.0 as usize] {
            Item::Array(old) | Item::Map(old) | Item::Set(old) | Item::Push(old) => {
                *old = header(count);
            }
            item => panic!("an aggregate begins at the mark, not {item:?}"),
        }
    }

    /// Puts an error into every place that is still open, so that no reply is waited for any more.
    #[cold]
    pub fn fill_rest(&mut self, kind: ErrorKind, text: &str) {
        for index in 0..self.items.len() {
            match self.items[index] {
                Item::Later => self.items[index] = self.error_item(kind, text),
                Item::LaterUnsent => self.items[index] = Item::NoReply,
                _ => {}
            }
        }
        self.open = 0;
    }

    /// Appends copies of all values of `other`.
    pub fn append(&mut self, other: &Replies) {
        for token in other.tokens() {
            let item = self.copy(token);
            self.items.push(item);
        }
    }

    /// Appends a copy of the next value of `tokens`.
    pub fn append_value(&mut self, tokens: &mut Tokens<'_>) {
        let mut values = 1;
        while values > 0
            && let Some(token) = tokens.next()
        {
            values += token.children();
            values -= 1;
            let item = self.copy(token);
            self.items.push(item);
        }
    }

    /// Whether no reply is still to come.
    #[inline]
    pub fn is_complete(&self) -> bool {
        self.open == 0
    }
}

/// Reading.
impl Replies {
    /// All tokens in order, depth first.
    #[inline]
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens {
            replies: self,
            items: self.items.iter(),
            moved: [].iter(),
            switch: None,
        }
    }

    /// Whether an error was written, be it in place of a reply or within one. It may have been silenced since.
    #[inline]
    pub fn may_have_errors(&self) -> bool {
        self.has_errors
    }

    /// How many replies there are, complete or to come: one for each request. Walks them.
    pub fn count(&self) -> usize {
        let mut tokens = self.tokens();
        iter::from_fn(|| tokens.skip_value()).count()
    }

    /// Whether there are no replies.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of text and values held so far. An executor may stop a batch whose replies get too large.
    #[inline]
    pub fn data_len(&self) -> usize {
        self.data.len()
    }

    /// Empties it. Capacity is kept, up to [`KEPT_BYTES_MAX`].
    pub fn clear(&mut self) {
        self.items.clear();
        self.items.shrink_to(KEPT_BYTES_MAX / size_of::<Item>());
        self.moved.clear();
        self.moved.shrink_to(KEPT_BYTES_MAX / size_of::<Item>());
        self.data.clear();
        self.data.shrink_to(KEPT_BYTES_MAX);
        self.open = 0;
        self.has_errors = false;
    }
}

impl Replies {
    /// The item that `wrap` makes of the bytes that `write` appends. `len` is their number, as far as known before.
    #[inline]
    fn span(&mut self, len: usize, wrap: impl FnOnce(Span) -> Item, write: impl FnOnce(&mut Vec<u8>)) -> Item {
        let start = self.data.len();
        if start + len > DATA_BYTES_MAX {
            return self.too_large();
        }
        write(&mut self.data);
        let end = self.data.len();
        assert!(start <= end, "a writer only appends");
        if end > DATA_BYTES_MAX {
            self.data.truncate(start);
            return self.too_large();
        }
        wrap(Span {
            start: start as u32,
            end: end as u32,
        })
    }

    /// An error without text, since there is no room for text.
    #[cold]
    fn too_large(&mut self) -> Item {
        self.has_errors = true;
        Item::Error(ErrorKind::Oom, Span { start: 0, end: 0 })
    }

    /// Like `span`, but line breaks become spaces: in RESP they would end the line.
    fn line(&mut self, wrap: impl FnOnce(Span) -> Item, write: impl FnOnce(&mut Vec<u8>)) -> Item {
        let start = self.data.len();
        let item = self.span(0, wrap, write);
        for byte in &mut self.data[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        item
    }

    fn error_item(&mut self, kind: ErrorKind, text: impl fmt::Display) -> Item {
        self.has_errors = true;
        self.line(
            |span| Item::Error(kind, span),
            |data| {
                // Fails only if `text` itself does; then the text written so far is kept.
                let _ = fmt::write(&mut Utf8(data), format_args!("{text}"));
            },
        )
    }

    fn fill_one(&mut self, slot: Slot, tokens: &mut Tokens<'_>) {
        let index = slot.0 as usize;
        let filled = match self.items.get(index) {
            Some(Item::Later) => self.move_in(tokens),
            Some(Item::LaterUnsent) => Self::pass_over(tokens, Item::NoReply),
            Some(Item::LaterGap) => Self::pass_over(tokens, Item::Gap),
            // `replace` has settled this place already: the first answer counts.
            _ => {
                Self::pass_over(tokens, Item::Gap);
                return;
            }
        };
        self.items[index] = filled;
        self.open -= 1;
    }

    fn pass_over(tokens: &mut Tokens<'_>, left: Item) -> Item {
        assert!(tokens.skip_value().is_some(), "there is a reply for each place");
        left
    }

    /// Copies one value into `moved`, and returns the item that points to it.
    fn move_in(&mut self, tokens: &mut Tokens<'_>) -> Item {
        let start = self.moved.len();
        let mut values = 1;
        while values > 0 {
            let token = tokens.next().expect("there is a reply for each place");
            assert!(token != Reply::Later, "a reply that fills a place is complete");
            values += token.children();
            values -= 1;
            let item = self.copy(token);
            self.moved.push(item);
        }
        if self.moved.len() == start + 1 {
            return self.moved.pop().expect("one was pushed");
        }
        Item::Moved(Span {
            start: start as u32,
            end: self.moved.len() as u32,
        })
    }

    /// The item for a token of other replies; the token's bytes are copied into this arena.
    fn copy(&mut self, token: Reply<'_>) -> Item {
        self.has_errors |= matches!(token, Reply::Error(..));
        let mut bytes =
            |wrap: fn(Span) -> Item, bytes: &[u8]| self.span(bytes.len(), wrap, |data| data.extend_from_slice(bytes));
        match token {
            Reply::Ok => Item::Ok,
            Reply::Status(text) => bytes(Item::Status, text.as_bytes()),
            Reply::Error(kind, text) => self.span(
                text.len(),
                |span| Item::Error(kind, span),
                |data| data.extend_from_slice(text.as_bytes()),
            ),
            Reply::Int(number) => Item::Int(number),
            Reply::Double(number) => Item::Double(number),
            Reply::Bool(value) => Item::Bool(value),
            Reply::Null => Item::Null,
            Reply::NullArray => Item::NullArray,
            Reply::Bulk(value) => bytes(Item::Bulk, value),
            Reply::Verbatim { format, text } => self.span(format.len() + 1 + text.len(), Item::Verbatim, |data| {
                data.extend_from_slice(format);
                data.push(b':');
                data.extend_from_slice(text);
            }),
            Reply::Array(count) => Item::Array(header(count)),
            Reply::Map(count) => Item::Map(header(count)),
            Reply::Set(count) => Item::Set(header(count)),
            Reply::Push(count) => Item::Push(header(count)),
            Reply::NoReply => Item::NoReply,
            Reply::Later => Item::Later,
        }
    }

    /// The items of the value at `index`, or of the first value behind it if that item is not one: the index of its
    /// first item, and the index past its last. An aggregate that is not complete yet extends to the last item.
    fn value_at(&self, index: usize) -> (usize, usize) {
        let not_a_value = |item: &&Item| matches!(item, Item::Gap | Item::LaterGap | Item::Switch(_));
        let items = self.items.get(index..).unwrap_or_default();
        let start = index + items.iter().take_while(not_a_value).count();
        let mut end = start;
        let mut values = 1;
        while values > 0 && end < self.items.len() {
            let item = self.items[end];
            if !not_a_value(&&item) {
                values += self.token(item).map_or(0, |token| token.children());
                values -= 1;
            }
            end += 1;
        }
        (start, end)
    }

    /// The token for an item; `None` for an [`Item::Moved`] and for items that are not values.
    #[inline]
    fn token(&self, item: Item) -> Option<Reply<'_>> {
        let bytes = |span: Span| &self.data[span.start as usize..span.end as usize];
        Some(match item {
            Item::Ok => Reply::Ok,
            Item::Status(span) => Reply::Status(line(bytes(span))),
            Item::Error(kind, span) => Reply::Error(kind, line(bytes(span))),
            Item::Int(number) => Reply::Int(number),
            Item::Double(number) => Reply::Double(number),
            Item::Bool(value) => Reply::Bool(value),
            Item::Null => Reply::Null,
            Item::NullArray => Reply::NullArray,
            Item::Bulk(span) => Reply::Bulk(bytes(span)),
            Item::Verbatim(span) => {
                let (format, text) = bytes(span).split_at(3);
                Reply::Verbatim {
                    format,
                    text: &text[1..],
                }
            }
            Item::Array(count) => Reply::Array(count as usize),
            Item::Map(count) => Reply::Map(count as usize),
            Item::Set(count) => Reply::Set(count as usize),
            Item::Push(count) => Reply::Push(count as usize),
            Item::NoReply => Reply::NoReply,
            Item::Later => Reply::Later,
            Item::LaterUnsent => Reply::NoReply,
            Item::Moved(_) | Item::Switch(_) | Item::LaterGap | Item::Gap => return None,
        })
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tokens()).finish()
    }
}

/// The text of a status or an error.
fn line(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("lines are only written from text")
}

/// The count of an aggregate as it is kept.
#[inline]
fn header(count: usize) -> u32 {
    u32::try_from(count).expect("an aggregate has fewer than 2^32 values, since they lie in memory")
}

/// Formats text straight into bytes.
struct Utf8<'a>(&'a mut Vec<u8>);

impl fmt::Write for Utf8<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The tokens of [`Replies`], in order and depth first: an aggregate's header, then its values.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    replies: &'a Replies,
    items: slice::Iter<'a, Item>,
    /// The rest of the moved value that is being read.
    moved: slice::Iter<'a, Item>,
    /// The last change of RESP's version that was passed and not taken yet.
    switch: Option<Protocol>,
}

impl<'a> Tokens<'a> {
    /// Skips one whole value and returns its first token.
    pub fn skip_value(&mut self) -> Option<Reply<'a>> {
        let first = self.next()?;
        let mut values = first.children();
        while values > 0 {
            values += self.next()?.children();
            values -= 1;
        }
        Some(first)
    }

    /// The version of RESP after the last token, if it changed since the last call.
    #[inline]
    pub(crate) fn take_switch(&mut self) -> Option<Protocol> {
        self.switch.take()
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Reply<'a>;

    #[inline]
    fn next(&mut self) -> Option<Reply<'a>> {
        loop {
            let item = match self.moved.next() {
                Some(item) => *item,
                None => *self.items.next()?,
            };
            if let Some(token) = self.replies.token(item) {
                return Some(token);
            }
            match item {
                Item::Moved(span) => {
                    self.moved = self.replies.moved[span.start as usize..span.end as usize].iter();
                }
                Item::Switch(protocol) => self.switch = Some(protocol),
                _ => {}
            }
        }
    }
}
