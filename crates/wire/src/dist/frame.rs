//! Frames: how signals travel on a connection once the handshake is over.
//!
//! ```text
//!   len:u32 = 0                                      a tick
//!   len:u32, 131 68 0, Control [Message]             a whole signal
//!   len:u32, 131 69 sequence:u64 n:u64 0, Control …  the first of n fragments of a signal
//!   len:u32, 131 70 sequence:u64 i:u64, …            the others, i down to 1
//!   len:u32, 112, 131 Control [131 Message]          a whole signal without FRAGMENTS
//! ```
//!
//! Invariants:
//! - the agreed flags say which of these may come; anything else ends the connection;
//! - memory grows with the bytes received, not with an announced length;
//! - limits bound a frame, the fragments of one signal, and all open fragments together;
//! - after an error the reader cannot be used again: the owner closes the connection.
//!
//! A BEAM queues signals while the connection is set up, and sends them in one frame of any size. So a frame may be as
//! long as a message, even with FRAGMENTS.
//!
//! Deliberately absent: the atom cache. We never agree to it.
//!
//! Source: *Distribution Protocol* and *External Term Format*, ERTS reference manual.

mod last_send;

use self::last_send::LastSend;
use super::{
    Flags,
    control::{Signal, SignalError},
};
use crate::etf::{self, Atom, DecodeError, Pid, Recent, Term};
use alloc::{collections::BTreeMap, vec::Vec};
use bytes::{Buf, BufMut, Bytes};
use core::{error, fmt, mem};

/// How many bytes of a message one fragment carries.
pub const FRAGMENT_BYTES: usize = 64 * 1024;

/// Elements of a control term for which room is kept; no signal has more.
const CONTROL_KEPT_MAX: usize = 8;

const VERSION: u8 = 131;
const PASS_THROUGH: u8 = 112;
const HEADER: u8 = 68;
const FIRST_FRAGMENT: u8 = 69;
const FRAGMENT: u8 = 70;
const BINARY: u8 = 109;
/// How many cached atoms a header names.
const NO_ATOMS: u8 = 0;

/// How much a peer may make us hold. The connection of a peer that sends more is closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest frame, and longest signal in fragments, in bytes. All open fragments together may take twice as much.
    pub message_bytes_max: usize,
    /// Most signals with fragments still to come.
    pub sequences_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 20,
            sequences_max: 256,
        }
    }
}

/// What a reader found.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "ticks are rare, and a signal moves on at once")]
pub enum Received {
    /// A sign of life, without content.
    Tick,
    /// A signal for a process.
    Signal(Signal),
    /// A signal whose message is larger or deeper than a term may be. In place of the message it has
    /// `{'$gen_call', From}` if it is a call, or else the empty list.
    TooMuch(Signal),
}

/// Why a connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A frame of this many bytes was announced: too many.
    TooLong(u32),
    /// A frame does not begin as the agreed flags ask for.
    Header,
    /// A frame names atoms of a cache, which was not agreed.
    AtomCache,
    /// A fragment is not the next one of its signal.
    Order,
    /// More signals in fragments than allowed.
    Sequences,
    /// A term that is none.
    Term(DecodeError),
    /// A control term that is not a signal.
    Signal(SignalError),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => write!(f, "a frame of {len} bytes is too long"),
            Self::Header => f.write_str("a frame does not begin as agreed"),
            Self::AtomCache => f.write_str("a frame uses the atom cache"),
            Self::Order => f.write_str("a fragment came out of order"),
            Self::Sequences => f.write_str("too many signals in fragments"),
            Self::Term(error) => write!(f, "{error}"),
            Self::Signal(error) => write!(f, "{error}"),
        }
    }
}

impl error::Error for FrameError {}

impl From<DecodeError> for FrameError {
    fn from(error: DecodeError) -> Self {
        Self::Term(error)
    }
}

impl From<SignalError> for FrameError {
    fn from(error: SignalError) -> Self {
        Self::Signal(error)
    }
}

/// Turns the bytes of one peer into signals.
#[derive(Debug)]
pub struct Reader {
    flags: Flags,
    limits: Limits,
    /// The beginning of a frame, its length included.
    partial: Vec<u8>,
    /// Signals with fragments still to come.
    open: BTreeMap<u64, Assembly>,
    /// Bytes held in `open`.
    open_bytes: usize,
    /// Atoms that most frames repeat.
    recent: Recent,
    /// The elements of the control term that is read; the room is kept for the next one.
    control: Vec<Term>,
    last_send: LastSend,
}

/// A signal whose first fragments have come.
#[derive(Debug)]
struct Assembly {
    /// How many fragments are still to come, which is also the number of the next one.
    left: u64,
    bytes: Vec<u8>,
    /// It is too long: only its beginning is kept.
    is_over: bool,
}

/// All the terms of a signal, or the beginning of one that is too long.
struct Whole {
    terms: Bytes,
    is_over: bool,
}

impl From<Bytes> for Whole {
    fn from(terms: Bytes) -> Self {
        Self { terms, is_over: false }
    }
}

impl Reader {
    /// A reader for a connection with the agreed `flags`.
    pub fn new(flags: Flags, limits: Limits) -> Self {
        Self {
            flags,
            limits,
            partial: Vec::new(),
            open: BTreeMap::new(),
            open_bytes: 0,
            recent: Recent::default(),
            control: Vec::new(),
            last_send: LastSend::default(),
        }
    }

    /// The next tick or signal, or `None` if `input` has no complete one. The bytes used are taken off `input`. Large
    /// binaries of a signal share memory with `input`.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Received>, FrameError> {
        while let Some(frame) = self.frame(input)? {
            if frame.is_empty() {
                return Ok(Some(Received::Tick));
            }
            if let Some(whole) = self.terms(frame)? {
                return self.decode(&whole).map(Some);
            }
        }
        Ok(None)
    }

    /// The next frame without its length, if it is complete.
    fn frame(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        if self.partial.is_empty()
            && let Some(end) = self.frame_end(input)?
            && end <= input.len()
        {
            let mut frame = input.split_to(end);
            frame.advance(LENGTH_BYTES);
            return Ok(Some(frame));
        }
        self.fill(LENGTH_BYTES, input);
        let Some(end) = self.frame_end(&self.partial)? else {
            return Ok(None);
        };
        self.fill(end, input);
        if self.partial.len() < end {
            return Ok(None);
        }
        Ok(Some(Bytes::from(mem::take(&mut self.partial)).split_off(LENGTH_BYTES)))
    }

    /// Where the frame at the start of `bytes` ends, if its length is there.
    fn frame_end(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(len) = bytes.first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*len);
        match usize::try_from(len) {
            Ok(bytes) if bytes <= self.limits.message_bytes_max => Ok(Some(LENGTH_BYTES + bytes)),
            _ => Err(FrameError::TooLong(len)),
        }
    }

    /// Moves bytes from `input` until `len` bytes are held, or `input` is empty.
    fn fill(&mut self, len: usize, input: &mut Bytes) {
        let count = len.saturating_sub(self.partial.len()).min(input.len());
        self.partial.extend_from_slice(&input[..count]);
        input.advance(count);
    }

    /// The terms of a frame, or of the fragments that it completes.
    fn terms(&mut self, mut frame: Bytes) -> Result<Option<Whole>, FrameError> {
        if !self.flags.contains(Flags::FRAGMENTS) {
            expect(&mut frame, PASS_THROUGH)?;
            return Ok(Some(frame.into()));
        }
        expect(&mut frame, VERSION)?;
        match frame.try_get_u8() {
            Ok(HEADER) => {
                expect_no_atoms(&mut frame)?;
                Ok(Some(frame.into()))
            }
            Ok(FIRST_FRAGMENT) => {
                let (sequence, number) = fragment_header(&mut frame)?;
                expect_no_atoms(&mut frame)?;
                if self.open.len() >= self.limits.sequences_max {
                    return Err(FrameError::Sequences);
                }
                let assembly = Assembly {
                    left: number,
                    bytes: Vec::new(),
                    is_over: false,
                };
                if self.open.insert(sequence, assembly).is_some() {
                    return Err(FrameError::Order);
                }
                self.add_fragment(sequence, number, &frame)
            }
            Ok(FRAGMENT) => {
                let (sequence, number) = fragment_header(&mut frame)?;
                self.add_fragment(sequence, number, &frame)
            }
            Ok(_) | Err(_) => Err(FrameError::Header),
        }
    }

    /// All the terms, if this fragment was the last one.
    fn add_fragment(&mut self, sequence: u64, number: u64, bytes: &[u8]) -> Result<Option<Whole>, FrameError> {
        let Some(assembly) = self.open.get_mut(&sequence) else {
            return Err(FrameError::Order);
        };
        if number == 0 || number != assembly.left {
            return Err(FrameError::Order);
        }
        assembly.left -= 1;
        let held = assembly.bytes.len();
        assembly.is_over |= held + bytes.len() > self.limits.message_bytes_max
            || self.open_bytes + bytes.len() > 2 * self.limits.message_bytes_max;
        if assembly.is_over {
            // The control term is in the first fragment.
            let room = FRAGMENT_BYTES.saturating_sub(held).min(bytes.len());
            assembly.bytes.extend_from_slice(&bytes[..room]);
            assembly.bytes.truncate(FRAGMENT_BYTES);
            assembly.bytes.shrink_to_fit();
        } else {
            assembly.bytes.extend_from_slice(bytes);
        }
        self.open_bytes = self.open_bytes - held + assembly.bytes.len();
        if assembly.left > 0 {
            return Ok(None);
        }
        Ok(self.open.remove(&sequence).map(|assembly| {
            self.open_bytes -= assembly.bytes.len();
            Whole {
                terms: Bytes::from(assembly.bytes),
                is_over: assembly.is_over,
            }
        }))
    }

    /// One control term, at most one message, and nothing behind.
    fn decode(&mut self, whole: &Whole) -> Result<Received, FrameError> {
        let terms = &whole.terms;
        let mut at = 0;
        self.skip_version(terms, &mut at)?;
        if let Some((route, len)) = self.last_send.find(&terms[at..]) {
            at += len;
            self.skip_version(terms, &mut at)?;
            return Ok(match message(whole, at, &mut self.recent)? {
                Message::Taken(message) => Received::Signal(route.send(message)),
                Message::TooMuch(caller) => Received::TooMuch(route.send(caller)),
            });
        }
        if self.control.capacity() > CONTROL_KEPT_MAX {
            self.control = Vec::new();
        }
        self.control.clear();
        let control_start = at;
        etf::decode_elements(terms, &mut at, &mut self.recent, &mut self.control)?;
        let control = &terms[control_start..at];
        let message = if at < terms.len() {
            self.skip_version(terms, &mut at)?;
            match message(whole, at, &mut self.recent)? {
                Message::Taken(message) => Some(message),
                Message::TooMuch(caller) => {
                    return Ok(Received::TooMuch(Signal::decode(&self.control, Some(caller))?));
                }
            }
        } else {
            None
        };
        let signal = Signal::decode(&self.control, message)?;
        self.last_send.keep(control, &signal);
        Ok(Received::Signal(signal))
    }

    /// Skips the version byte before a term. With FRAGMENTS the frame has a header instead, and terms have no version
    /// byte.
    fn skip_version(&self, terms: &Bytes, at: &mut usize) -> Result<(), FrameError> {
        if self.flags.contains(Flags::FRAGMENTS) {
            return Ok(());
        }
        match terms.get(*at) {
            Some(&VERSION) => *at += 1,
            Some(&other) => return Err(FrameError::Term(DecodeError::Version(other))),
            None => return Err(FrameError::Term(DecodeError::Truncated)),
        }
        Ok(())
    }
}

/// The message of a signal.
enum Message {
    Taken(Term),
    /// It is larger or deeper than a term may be: who called, as [`Received::TooMuch`] tells it.
    TooMuch(Term),
}

/// The message that begins at byte `at`, and is the last of the terms.
fn message(whole: &Whole, mut at: usize, recent: &mut Recent) -> Result<Message, FrameError> {
    let start = at;
    if !whole.is_over {
        match etf::decode_with(&whole.terms, &mut at, recent) {
            Ok(term) => {
                expect_end(&whole.terms, at)?;
                return Ok(Message::Taken(term));
            }
            Err(error) if error.is_limit() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Message::TooMuch(etf::decode_caller(&whole.terms, start, recent)))
}

const LENGTH_BYTES: usize = 4;

fn expect(frame: &mut Bytes, byte: u8) -> Result<(), FrameError> {
    if frame.try_get_u8() == Ok(byte) {
        Ok(())
    } else {
        Err(FrameError::Header)
    }
}

fn expect_no_atoms(frame: &mut Bytes) -> Result<(), FrameError> {
    match frame.try_get_u8() {
        Ok(NO_ATOMS) => Ok(()),
        Ok(_) => Err(FrameError::AtomCache),
        Err(_) => Err(FrameError::Header),
    }
}

fn expect_end(terms: &Bytes, at: usize) -> Result<(), FrameError> {
    match terms.len() - at {
        0 => Ok(()),
        rest => Err(FrameError::Term(DecodeError::Trailing(rest))),
    }
}

fn fragment_header(frame: &mut Bytes) -> Result<(u64, u64), FrameError> {
    match (frame.try_get_u64(), frame.try_get_u64()) {
        (Ok(sequence), Ok(number)) => Ok((sequence, number)),
        _ => Err(FrameError::Header),
    }
}

/// Appends a sign of life.
pub fn write_tick(out: &mut Vec<u8>) {
    out.put_u32(0);
}

/// Appends a signal. If its message is longer than [`FRAGMENT_BYTES`] and the peer takes fragments, nothing is
/// appended: the fragments are returned, to be written one by one.
///
/// `sequence` stands for the sending process. That process sends nothing else to this peer before its last fragment.
/// Ticks and the signals of other processes may go in between.
pub fn write_signal(out: &mut Vec<u8>, flags: Flags, sequence: u64, signal: &Signal) -> Option<Fragments> {
    let start = out.len();
    let message_start = write_frame(out, flags, signal);
    if out.len() - message_start <= FRAGMENT_BYTES || !flags.contains(Flags::FRAGMENTS) {
        return None;
    }
    let body = Bytes::copy_from_slice(&out[message_start..]);
    let head = out[start + LENGTH_BYTES + HEADER_BYTES..message_start].to_vec();
    out.truncate(start);
    Some(Fragments::new(sequence, head, body))
}

const HEADER_BYTES: usize = [VERSION, HEADER, NO_ATOMS].len();

/// Appends a signal in one frame, however long. Returns the place in `out` where its message begins.
pub fn write_frame(out: &mut Vec<u8>, flags: Flags, signal: &Signal) -> usize {
    let start = begin_frame(out);
    write_header(out, flags);
    let message = signal.encode(flags, out);
    let message_start = out.len();
    if let Some(message) = message {
        write_version(out, flags);
        etf::encode_bare(message, out);
    }
    end_frame(out, start);
    message_start
}

/// The part before the payload, encoded once, for binaries that one process sends to one registered name.
#[derive(Clone, Debug)]
pub struct RegSendHeader {
    /// The header of a frame, the control term, and the tag of a binary.
    bytes: Vec<u8>,
}

impl RegSendHeader {
    /// The header for binaries of `from` to the process with this name at the peer.
    pub fn new(flags: Flags, from: &Pid, name: &Atom) -> Self {
        let control = Term::from((6_u8, from.clone(), Term::atom(""), name.clone()));
        let mut bytes = Vec::new();
        write_header(&mut bytes, flags);
        etf::encode_bare(&control, &mut bytes);
        write_version(&mut bytes, flags);
        bytes.put_u8(BINARY);
        Self { bytes }
    }
}

/// Appends one frame that sends a binary to a registered name. No term is built, and the payload is copied once.
pub fn write_binary_to_name(out: &mut Vec<u8>, header: &RegSendHeader, payload: &[u8]) {
    out.reserve(2 * LENGTH_BYTES + header.bytes.len() + payload.len());
    let start = begin_frame(out);
    out.extend_from_slice(&header.bytes);
    out.put_u32(length(payload));
    out.extend_from_slice(payload);
    end_frame(out, start);
}

/// The fragments of one signal. They are appended one by one, so that ticks and other signals can go in between. A salp
/// node reads fragments, but writes whole frames ([`write_frame`]).
#[derive(Debug)]
pub struct Fragments {
    sequence: u64,
    /// How many fragments are left, which is also the number of the next one.
    left: u64,
    /// The bytes before the body: the control term, and the beginning of the message. Empty once the first fragment is
    /// written.
    head: Vec<u8>,
    body: Bytes,
}

impl Fragments {
    fn new(sequence: u64, head: Vec<u8>, body: Bytes) -> Self {
        let left = body.len().div_ceil(FRAGMENT_BYTES).max(1) as u64;
        Self {
            sequence,
            left,
            head,
            body,
        }
    }

    /// Appends the next fragment. Returns whether more are left.
    pub fn write(&mut self, out: &mut Vec<u8>) -> bool {
        assert!(self.left > 0, "no fragment is left to write");
        let start = begin_frame(out);
        let first = !self.head.is_empty();
        out.put_slice(&[VERSION, if first { FIRST_FRAGMENT } else { FRAGMENT }]);
        out.put_u64(self.sequence);
        out.put_u64(self.left);
        if first {
            out.put_u8(NO_ATOMS);
            out.append(&mut self.head);
        }
        let count = self.body.len().min(FRAGMENT_BYTES);
        out.extend_from_slice(&self.body.split_to(count));
        end_frame(out, start);
        self.left -= 1;
        self.left > 0
    }

    /// Bytes of the message that are still to be written.
    pub fn bytes_left(&self) -> usize {
        self.body.len()
    }
}

/// Appends the bytes before a control term.
fn write_header(out: &mut Vec<u8>, flags: Flags) {
    if flags.contains(Flags::FRAGMENTS) {
        out.extend_from_slice(&[VERSION, HEADER, NO_ATOMS]);
    } else {
        out.extend_from_slice(&[PASS_THROUGH, VERSION]);
    }
}

fn write_version(out: &mut Vec<u8>, flags: Flags) {
    if !flags.contains(Flags::FRAGMENTS) {
        out.put_u8(VERSION);
    }
}

fn begin_frame(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.put_u32(0);
    start
}

fn end_frame(out: &mut [u8], start: usize) {
    let body = start + LENGTH_BYTES;
    let len = length(&out[body..]);
    out[start..body].copy_from_slice(&len.to_be_bytes());
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a message is shorter than 4 GiB")
}

#[cfg(test)]
mod tests;
