//! Atoms: short ones inline, long ones shared, none interned.
//!
//! There is no table of atoms, so a peer cannot fill one: an atom lives as long as the terms that hold it. Nearly every
//! atom of the protocols fits into the 14 bytes inline; names of nodes are often longer.

use alloc::{boxed::Box, sync::Arc};
use core::{cmp, fmt, hash, str};

/// Characters of an atom.
const CHARS_MAX: usize = 255;
/// Bytes of text held inline. With this many, an atom is two words.
const SHORT_MAX: usize = 14;

/// An Erlang atom: at most 255 characters of UTF-8.
///
/// Equality, order and hash are those of its bytes, as in Erlang.
#[derive(Clone)]
pub struct Atom(Text);

/// Text of up to [`SHORT_MAX`] bytes is always `Short`. `Long` holds a thin pointer: a third word would make every
/// atom, every pid and so every [`super::Term`] larger.
#[derive(Clone)]
enum Text {
    Short { len: u8, bytes: [u8; SHORT_MAX] },
    Long(Arc<Box<str>>),
}

impl Atom {
    /// The atom of this text. A text of more than 255 characters is a bug of the caller.
    ///
    /// Not for text that a user may choose: each new atom stays in every BEAM that sees it.
    pub fn new(text: &str) -> Self {
        assert!(fits(text), "an atom has at most 255 characters");
        Self::of(text)
    }

    /// The atom of bytes from outside; `None` if they are not UTF-8 or have more than 255 characters.
    pub fn from_utf8(bytes: &[u8]) -> Option<Self> {
        str::from_utf8(bytes).ok().filter(|text| fits(text)).map(Self::of)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Short { len, bytes } => str::from_utf8(&bytes[..usize::from(*len)]).expect("copied from a str whole"),
            Text::Long(text) => text,
        }
    }

    /// Its text in UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Short { len, bytes } => &bytes[..usize::from(*len)],
            Text::Long(text) => text.as_bytes(),
        }
    }

    /// Whether an atom of this text is shared: then a clone of an atom is cheaper than a new one.
    pub(super) fn is_long(text: &[u8]) -> bool {
        text.len() > SHORT_MAX
    }

    fn of(text: &str) -> Self {
        if text.len() > SHORT_MAX {
            return Self(Text::Long(Arc::new(Box::from(text))));
        }
        let mut bytes = [0; SHORT_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self(Text::Short {
            len: text.len() as u8,
            bytes,
        })
    }
}

fn fits(text: &str) -> bool {
    text.len() <= CHARS_MAX || text.chars().count() <= CHARS_MAX
}

impl PartialEq for Atom {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Text::Long(text), Text::Long(other)) => Arc::ptr_eq(text, other) || text == other,
            _ => self.as_bytes() == other.as_bytes(),
        }
    }
}

impl Eq for Atom {}

impl PartialEq<str> for Atom {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Atom {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl Ord for Atom {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for Atom {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl hash::Hash for Atom {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
