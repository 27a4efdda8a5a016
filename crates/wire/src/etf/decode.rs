//! Bytes to terms, for bytes from anyone.
//!
//! Invariants:
//! - A count alone makes the decoder allocate nothing. Each term takes at least one byte, so the decoder tracks how
//!   many terms the open containers still expect. A count must fit in the bytes left *beside* those. A check against
//!   all bytes left would let 256 nested lists reserve the whole input each.
//! - Recursion ends at [`DEPTH_MAX`].
//! - Decoded terms have the one shape that [`super`] promises. Other forms that BEAM accepts are converted to it.
//!
//! Refused though BEAM accepts them: compressed terms (80), local funs and pids of one node (121), and references to an
//! atom cache (82). Distribution frames contain those references only if both sides agreed to the cache.

use super::{Atom, DEPTH_MAX, MAGNITUDE_MAX, Pid, Port, Ref, Term, tag};
use alloc::{boxed::Box, string::String, vec::Vec};
use bytes::Bytes;
use core::{error, fmt, str};

/// Shorter binaries are copied out of the input, so that they do not keep the whole input in memory.
const SLICE_MIN: usize = 64;
/// Binaries smaller than this part of the input are copied too.
const SLICE_PART: usize = 8;

/// So many elements all containers of a term may have together, however few bytes they take. Beyond that a term may
/// have one element for each three bytes. So a term takes at most 16 times the memory of its bytes, or about 200 MB.
pub const ELEMENTS_MAX: usize = 4 << 20;

/// Why bytes are not a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ends, or a count claims more than it holds.
    Truncated,
    /// The first byte is this one, not 131.
    Version(u8),
    /// This many bytes are left after the term.
    Trailing(usize),
    /// A tag that is unknown, or not allowed inside a term.
    Tag(u8),
    /// A term inside more than [`DEPTH_MAX`] others.
    Depth,
    /// An atom that is not UTF-8 or has more than 255 characters, or another term where an atom must stand.
    Atom,
    /// A magnitude beyond [`MAGNITUDE_MAX`].
    Magnitude,
    /// A float that is not finite, or text that is not a number.
    Float,
    /// A reference without words, or with more than 5.
    Reference,
    /// A bitstring whose last byte has no valid bits, or more than 8.
    Bits,
    /// A map with a key twice.
    DuplicateKey,
    /// A fun whose size or fields are inconsistent.
    Fun,
    /// More elements than [`ELEMENTS_MAX`], and more than one for each three bytes.
    Elements,
}

impl DecodeError {
    /// The bytes may well be a term, and a BEAM takes it: it is more than we take.
    pub(crate) fn is_limit(self) -> bool {
        matches!(self, Self::Depth | Self::Magnitude | Self::Elements)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("a term is cut short"),
            Self::Version(byte) => write!(f, "a term begins with {byte}, not 131"),
            Self::Trailing(count) => write!(f, "{count} bytes after a term"),
            Self::Tag(tag) => write!(f, "no term begins with tag {tag}"),
            Self::Depth => write!(f, "a term is more than {DEPTH_MAX} deep"),
            Self::Atom => f.write_str("an atom is missing, too long or not UTF-8"),
            Self::Magnitude => write!(f, "an integer has more than {MAGNITUDE_MAX} bytes"),
            Self::Float => f.write_str("a float is not finite"),
            Self::Reference => f.write_str("a reference has no words, or more than 5"),
            Self::Bits => f.write_str("the last byte of a bitstring has no bits, or more than 8"),
            Self::DuplicateKey => f.write_str("a map has a key twice"),
            Self::Fun => f.write_str("a fun is malformed"),
            Self::Elements => write!(f, "a term has more than {ELEMENTS_MAX} elements in too few bytes"),
        }
    }
}

impl error::Error for DecodeError {}

/// Decodes all of `input`: 131 and one term. More bytes behind the term are an error.
pub fn decode(input: &Bytes) -> Result<Term, DecodeError> {
    match input.first() {
        Some(&tag::VERSION) => {}
        Some(&other) => return Err(DecodeError::Version(other)),
        None => return Err(DecodeError::Truncated),
    }
    let mut at = 1;
    let term = decode_bare(input, &mut at)?;
    if at < input.len() {
        return Err(DecodeError::Trailing(input.len() - at));
    }
    Ok(term)
}

/// Decodes the term that begins at byte `at` of `input`, without a 131. Moves `at` behind the term; an error leaves
/// `at` unchanged.
///
/// In a distribution frame, terms follow each other in this form.
pub fn decode_bare(input: &Bytes, at: &mut usize) -> Result<Term, DecodeError> {
    decode_with(input, at, &mut Recent::default())
}

/// The same, with the atoms of earlier terms for reuse.
pub(crate) fn decode_with(input: &Bytes, at: &mut usize, recent: &mut Recent) -> Result<Term, DecodeError> {
    let mut decoder = Decoder::new(input, *at, recent);
    let term = decoder.term(0)?;
    *at = decoder.at;
    Ok(term)
}

/// The head of a call, `{'$gen_call', From}`, if the term that begins at byte `at` is one; the empty list if not. What
/// is asked for is not read.
pub(crate) fn decode_caller(input: &Bytes, at: usize, recent: &mut Recent) -> Term {
    let mut decoder = Decoder::new(input, at, recent);
    let mut head = || {
        let (tag, count) = (decoder.u8().ok()?, decoder.u8().ok()?);
        let verb = decoder.term(1).ok()?;
        let is_call = (tag, count) == (tag::SMALL_TUPLE, 3) && verb.is_atom("$gen_call");
        is_call.then(|| decoder.term(1).ok().map(|from| Term::tuple([verb, from])))?
    };
    head().unwrap_or(Term::NIL)
}

/// Appends the elements of the tuple that begins at byte `at` to `items`, for a reader who wants no more of it. None
/// are appended if another term begins there.
pub(crate) fn decode_elements(
    input: &Bytes,
    at: &mut usize,
    recent: &mut Recent,
    items: &mut Vec<Term>,
) -> Result<(), DecodeError> {
    let mut decoder = Decoder::new(input, *at, recent);
    let count = match decoder.u8()? {
        tag::SMALL_TUPLE => decoder.u8()?.into(),
        tag::LARGE_TUPLE => decoder.count()?,
        tag => {
            decoder.tagged(tag, 0)?;
            0
        }
    };
    decoder.owe(count)?;
    decoder.fill(items, count, 0)?;
    *at = decoder.at;
    Ok(())
}

/// How many atoms a [`Recent`] holds.
const RECENT_MAX: usize = 4;

/// The last long atoms of earlier terms: pids and references repeat the names of their nodes.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    atoms: [Option<Atom>; RECENT_MAX],
    /// Where the next atom goes: it replaces the oldest.
    next: usize,
}

impl Recent {
    fn find(&self, text: &[u8]) -> Option<Atom> {
        self.atoms
            .iter()
            .flatten()
            .find(|atom| atom.as_bytes() == text)
            .cloned()
    }

    fn add(&mut self, atom: Atom) {
        self.atoms[self.next] = Some(atom);
        self.next = (self.next + 1) % RECENT_MAX;
    }
}

/// The name of a local fun: module, index and uniq, from the bytes that [`Term::Fun`] keeps.
pub(super) fn fun_name(fun: &Bytes) -> Result<(Atom, Term, Term), DecodeError> {
    Decoder::new(fun, 0, &mut Recent::default())
        .fun_head(0)
        .map(|head| (head.module, head.index, head.uniq))
}

/// Width of the creation in a pid, port or reference: 4 bytes, or 1 in the old forms.
#[derive(Clone, Copy)]
enum Creation {
    Wide,
    Narrow,
}

struct FunHead {
    module: Atom,
    index: Term,
    uniq: Term,
    /// Where the fun ends.
    end: usize,
    /// How many variables it holds.
    free: usize,
}

struct Decoder<'a> {
    input: &'a Bytes,
    at: usize,
    /// Terms that open containers still expect; never more than the bytes left.
    owed: usize,
    /// How many more elements are allowed.
    elements: usize,
    recent: &'a mut Recent,
}

impl<'a> Decoder<'a> {
    fn new(input: &'a Bytes, at: usize, recent: &'a mut Recent) -> Self {
        Self {
            input,
            at: at.min(input.len()),
            owed: 0,
            elements: ELEMENTS_MAX.max(input.len() / 3),
            recent,
        }
    }

    fn term(&mut self, depth: usize) -> Result<Term, DecodeError> {
        let tag = self.u8()?;
        self.tagged(tag, depth)
    }

    /// Decodes a term inside `depth` others, whose tag has been read.
    fn tagged(&mut self, tag: u8, depth: usize) -> Result<Term, DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::Depth);
        }
        match tag {
            tag::SMALL_INTEGER => Ok(Term::Int(self.u8()?.into())),
            tag::INTEGER => Ok(Term::Int(i32::from_be_bytes(self.array()?).into())),
            tag::SMALL_BIG => {
                let count = self.u8()?.into();
                self.integer(count)
            }
            tag::LARGE_BIG => {
                let count = self.count()?;
                self.integer(count)
            }
            tag::NEW_FLOAT => finite(f64::from_be_bytes(self.array()?)),
            tag::FLOAT => finite(parse_float(self.take(31)?)?),
            tag::ATOM | tag::SMALL_ATOM | tag::ATOM_UTF8 | tag::SMALL_ATOM_UTF8 => self.atom_of(tag).map(Term::Atom),
            tag::SMALL_TUPLE => {
                let count = self.u8()?.into();
                self.tuple(count, depth)
            }
            tag::LARGE_TUPLE => {
                let count = self.count()?;
                self.tuple(count, depth)
            }
            tag::NIL => Ok(Term::NIL),
            tag::STRING => self.string(Vec::new()),
            tag::LIST => self.list(depth),
            tag::BINARY => {
                let count = self.count()?;
                Ok(Term::Binary(self.bytes(count)?))
            }
            tag::BIT_BINARY => self.bits(),
            tag::MAP => self.map(depth),
            tag::NEW_PID => self.pid(Creation::Wide),
            tag::PID => self.pid(Creation::Narrow),
            tag::NEWER_REFERENCE => self.reference(Creation::Wide),
            tag::NEW_REFERENCE => self.reference(Creation::Narrow),
            tag::REFERENCE => self.reference_of_one(),
            tag::V4_PORT => {
                let (node, id) = (self.atom()?, u64::from_be_bytes(self.array()?));
                Ok(Term::Port(Port {
                    node,
                    id,
                    creation: self.creation(Creation::Wide)?,
                }))
            }
            tag::NEW_PORT => self.port(Creation::Wide),
            tag::PORT => self.port(Creation::Narrow),
            tag::EXPORT => self.export(depth),
            tag::NEW_FUN => self.fun(depth),
            other => Err(DecodeError::Tag(other)),
        }
    }

    fn integer(&mut self, count: usize) -> Result<Term, DecodeError> {
        let negative = self.u8()? != 0;
        if count > MAGNITUDE_MAX {
            return Err(DecodeError::Magnitude);
        }
        Ok(Term::integer(negative, self.take(count)?))
    }

    fn tuple(&mut self, count: usize, depth: usize) -> Result<Term, DecodeError> {
        self.owe(count)?;
        let mut items = Vec::with_capacity(count);
        self.fill(&mut items, count, depth)?;
        Ok(Term::Tuple(items))
    }

    /// Decodes a list. Its tail may be a list again, which continues this one.
    fn list(&mut self, depth: usize) -> Result<Term, DecodeError> {
        let mut items = Vec::new();
        loop {
            let count = self.count()?;
            // The tail is owed as well.
            self.owe(count.saturating_add(1))?;
            reserve(&mut items, count);
            self.fill(&mut items, count, depth)?;
            self.owed -= 1;
            match self.u8()? {
                tag::NIL => return Ok(Term::List(items)),
                tag::STRING => return self.string(items),
                tag::LIST => {}
                tag => {
                    let tail = self.tagged(tag, depth + 1)?;
                    if items.is_empty() {
                        return Ok(tail);
                    }
                    return Ok(Term::Improper(items, Box::new(tail)));
                }
            }
        }
    }

    /// Decodes a list of bytes, and appends it to `items`.
    fn string(&mut self, mut items: Vec<Term>) -> Result<Term, DecodeError> {
        let count = u16::from_be_bytes(self.array()?).into();
        let chars = self.take(count)?;
        self.spend(count)?;
        reserve(&mut items, count);
        items.extend(chars.iter().map(|&char| Term::Int(char.into())));
        Ok(Term::List(items))
    }

    fn bits(&mut self) -> Result<Term, DecodeError> {
        let (count, bits) = (self.count()?, self.u8()?);
        if count == 0 || bits == 0 || bits > 8 {
            return Err(DecodeError::Bits);
        }
        let bytes = self.bytes(count)?;
        if bits == 8 {
            return Ok(Term::Binary(bytes));
        }
        let padding = 0xFF >> bits;
        if bytes[count - 1] & padding == 0 {
            return Ok(Term::Bits { bytes, bits });
        }
        let mut bytes = Vec::from(bytes);
        bytes[count - 1] &= !padding;
        Ok(Term::Bits {
            bytes: bytes.into(),
            bits,
        })
    }

    fn map(&mut self, depth: usize) -> Result<Term, DecodeError> {
        let count = self.count()?;
        self.owe(count.saturating_mul(2))?;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            pairs.push((self.owed_term(depth)?, self.owed_term(depth)?));
        }
        // BEAM writes small maps in order already.
        if !pairs.is_sorted_by(|(a, _), (b, _)| a < b) {
            pairs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            if pairs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(DecodeError::DuplicateKey);
            }
        }
        Ok(Term::Map(pairs))
    }

    fn pid(&mut self, creation: Creation) -> Result<Term, DecodeError> {
        let (node, id, serial) = (self.atom()?, self.u32()?, self.u32()?);
        Ok(Term::Pid(Pid {
            node,
            id,
            serial,
            creation: self.creation(creation)?,
        }))
    }

    fn port(&mut self, creation: Creation) -> Result<Term, DecodeError> {
        let (node, id) = (self.atom()?, self.u32()?.into());
        Ok(Term::Port(Port {
            node,
            id,
            creation: self.creation(creation)?,
        }))
    }

    fn reference(&mut self, creation: Creation) -> Result<Term, DecodeError> {
        let len = u16::from_be_bytes(self.array()?);
        let mut words = [0; 5];
        let Some(used) = words.get_mut(..len.into()).filter(|used| !used.is_empty()) else {
            return Err(DecodeError::Reference);
        };
        let (node, creation) = (self.atom()?, self.creation(creation)?);
        for word in used {
            *word = self.u32()?;
        }
        Ok(Term::Ref(Ref {
            node,
            creation,
            len: len as u8,
            words,
        }))
    }

    /// REFERENCE_EXT: one word, and the creation behind it.
    fn reference_of_one(&mut self) -> Result<Term, DecodeError> {
        let (node, word) = (self.atom()?, self.u32()?);
        let creation = self.creation(Creation::Narrow)?;
        Ok(Term::Ref(Ref {
            node,
            creation,
            len: 1,
            words: [word, 0, 0, 0, 0],
        }))
    }

    fn export(&mut self, depth: usize) -> Result<Term, DecodeError> {
        let (module, function) = (self.atom()?, self.atom()?);
        match self.term(depth + 1)?.as_int().map(u8::try_from) {
            Some(Ok(arity)) => Ok(Term::Export {
                module,
                function,
                arity,
            }),
            Some(Err(_)) | None => Err(DecodeError::Fun),
        }
    }

    /// Decodes a fun. The fun stays opaque, but is checked to its end: a BEAM closes the connection if it gets a broken
    /// one.
    fn fun(&mut self, depth: usize) -> Result<Term, DecodeError> {
        let start = self.at;
        let head = self.fun_head(depth)?;
        // The variables of the fun are not kept, so they are not counted as elements.
        for _ in 0..head.free {
            self.term(depth + 1)?;
        }
        if self.at != head.end {
            return Err(DecodeError::Fun);
        }
        self.at = start;
        Ok(Term::Fun(self.bytes(head.end - start)?))
    }

    /// `size:u32 arity:u8 uniq:16 index:u32 free:u32 module index uniq pid`; the size counts
    /// itself.
    fn fun_head(&mut self, depth: usize) -> Result<FunHead, DecodeError> {
        let start = self.at;
        let size = self.count()?;
        if size > self.free().saturating_add(4) {
            return Err(DecodeError::Truncated);
        }
        self.take(1 + 16 + 4)?;
        let free = self.count()?;
        let module = self.atom()?;
        let (index, uniq) = (self.term(depth + 1)?, self.term(depth + 1)?);
        let pid = self.term(depth + 1)?;
        if index.as_int().is_none() || uniq.as_int().is_none() || pid.as_pid().is_none() {
            return Err(DecodeError::Fun);
        }
        Ok(FunHead {
            module,
            index,
            uniq,
            end: start + size,
            free,
        })
    }

    fn atom(&mut self) -> Result<Atom, DecodeError> {
        let tag = self.u8()?;
        self.atom_of(tag)
    }

    fn atom_of(&mut self, tag: u8) -> Result<Atom, DecodeError> {
        let count = match tag {
            tag::SMALL_ATOM_UTF8 | tag::SMALL_ATOM => self.u8()?.into(),
            tag::ATOM_UTF8 | tag::ATOM => u16::from_be_bytes(self.array()?).into(),
            _ => return Err(DecodeError::Atom),
        };
        let text = self.take(count)?;
        if matches!(tag, tag::ATOM | tag::SMALL_ATOM) && !text.is_ascii() {
            // Latin-1 is the first 256 characters of Unicode.
            let text: String = text.iter().map(|&byte| char::from(byte)).collect();
            return Atom::from_utf8(text.as_bytes()).ok_or(DecodeError::Atom);
        }
        if !Atom::is_long(text) {
            return Atom::from_utf8(text).ok_or(DecodeError::Atom);
        }
        if let Some(known) = self.recent.find(text) {
            return Ok(known);
        }
        let atom = Atom::from_utf8(text).ok_or(DecodeError::Atom)?;
        self.recent.add(atom.clone());
        Ok(atom)
    }

    fn creation(&mut self, width: Creation) -> Result<u32, DecodeError> {
        match width {
            Creation::Wide => self.u32(),
            Creation::Narrow => Ok(self.u8()?.into()),
        }
    }

    /// Bytes left that the open containers do not need.
    fn free(&self) -> usize {
        self.input.len() - self.at - self.owed
    }

    /// Notes that `count` more terms will be read.
    fn owe(&mut self, count: usize) -> Result<(), DecodeError> {
        if count > self.free() {
            return Err(DecodeError::Truncated);
        }
        self.spend(count)?;
        self.owed += count;
        Ok(())
    }

    fn spend(&mut self, elements: usize) -> Result<(), DecodeError> {
        self.elements = self.elements.checked_sub(elements).ok_or(DecodeError::Elements)?;
        Ok(())
    }

    fn owed_term(&mut self, depth: usize) -> Result<Term, DecodeError> {
        self.owed -= 1;
        self.term(depth + 1)
    }

    /// Reads `count` owed terms of a container at `depth`.
    fn fill(&mut self, items: &mut Vec<Term>, count: usize, depth: usize) -> Result<(), DecodeError> {
        for _ in 0..count {
            items.push(self.owed_term(depth)?);
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        if count > self.free() {
            return Err(DecodeError::Truncated);
        }
        let taken = &self.input[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    /// The next bytes, as a slice of the input; as a copy if the slice would keep too much of the input in memory.
    fn bytes(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        let start = self.at;
        let taken = self.take(count)?;
        if count < SLICE_MIN || count < self.input.len() / SLICE_PART {
            return Ok(Bytes::copy_from_slice(taken));
        }
        Ok(self.input.slice(start..self.at))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, _) = self.take(N)?.split_first_chunk().ok_or(DecodeError::Truncated)?;
        Ok(*array)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A count of 4 bytes; the caller checks it.
    fn count(&mut self) -> Result<usize, DecodeError> {
        Ok(self.u32()? as usize)
    }
}

/// Reserves memory for `count` more elements. For the first part of a list, which is usually the only one, it reserves
/// exactly that. For further parts of a chained list the memory doubles, so that not every part copies all others.
fn reserve(items: &mut Vec<Term>, count: usize) {
    if items.is_empty() {
        items.reserve_exact(count);
    } else {
        items.reserve(count);
    }
}

/// FLOAT_EXT: 31 bytes of C's `%.20e`, padded with zeros.
fn parse_float(text: &[u8]) -> Result<f64, DecodeError> {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    let text = str::from_utf8(&text[..end]).map_err(|_| DecodeError::Float)?;
    text.trim_start().parse().map_err(|_| DecodeError::Float)
}

fn finite(value: f64) -> Result<Term, DecodeError> {
    Term::float(value).ok_or(DecodeError::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each count fits in the rest of the input, but not beside the count before it. The second count is refused at
    /// once; otherwise each of 200 containers would reserve the whole rest.
    #[test]
    fn nested_counts_share_what_is_left() {
        for header in [[108, 0, 0, 0x20, 0], [105, 0, 0, 0x20, 0], [116, 0, 0, 0x10, 0]] {
            let input = Bytes::from([&header.repeat(200)[..], &[106; 0x3000]].concat());
            let mut recent = Recent::default();
            let mut decoder = Decoder::new(&input, 0, &mut recent);
            assert_eq!(decoder.term(0), Err(DecodeError::Truncated));
            assert_eq!(decoder.at, 2 * header.len(), "stopped at the second");
            assert!(decoder.owed <= input.len());
        }
    }
}
