//! Terms as Erlang's shell prints them: `io:format("~0tp", [Term])`, on one line.
//!
//! Lists and binaries of printable characters (Latin-1, BEAM's default) are shown as text, and floats with the fewest
//! digits that read back. Four things differ from BEAM:
//! - Pids, ports and references begin with the name of their node, `<a@h.5.0>`. BEAM shows the node's place in an
//!   internal table: `<9042.5.0>`.
//! - Maps show their keys in order. BEAM shows the keys of maps with more than 32 keys in hash order.
//! - Integers of more than [`DECIMAL_MAX`] bytes are written `16#…`, which Erlang reads too. Decimal digits take
//!   quadratic time, and the term may come from anyone.
//! - If two shortest floats are equally near, as `33634736149693.312` and `….313`, BEAM shows the even one and
//!   `core::fmt` the upper.

use super::{Atom, Pid, Port, Ref, Term, decode::fun_name};
use alloc::{format, string::String, vec::Vec};
use core::fmt::{self, Display, Formatter, Write};

/// Longest magnitude of an integer that is shown in decimal, in bytes.
const DECIMAL_MAX: usize = 1024;

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Big { negative, magnitude } => big(f, *negative, magnitude),
            Self::Float(value) => float(f, *value),
            Self::Atom(atom) => atom.fmt(f),
            Self::Tuple(items) => {
                f.write_char('{')?;
                separated(f, items, |f, item| item.fmt(f))?;
                f.write_char('}')
            }
            Self::List(items) => list(f, items, None),
            Self::Improper(items, tail) => list(f, items, Some(tail)),
            Self::Binary(bytes) => binary(f, bytes),
            Self::Bits { bytes, bits } => bitstring(f, bytes, *bits),
            Self::Map(pairs) => {
                f.write_str("#{")?;
                separated(f, pairs, |f, (key, value)| write!(f, "{key} => {value}"))?;
                f.write_char('}')
            }
            Self::Pid(pid) => pid.fmt(f),
            Self::Ref(reference) => reference.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Export {
                module,
                function,
                arity,
            } => write!(f, "fun {module}:{function}/{arity}"),
            Self::Fun(bytes) => match fun_name(bytes) {
                Ok((module, index, uniq)) => write!(f, "#Fun<{}.{index}.{uniq}>", module.as_str()),
                Err(_) => f.write_str("#Fun<>"),
            },
        }
    }
}

/// Quoted where Erlang's parser needs it.
impl Display for Atom {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = self.as_str();
        let plain = text.starts_with(is_lower) && text.chars().all(is_name) && !is_reserved(text);
        if plain {
            f.write_str(text)
        } else {
            quoted(f, '\'', text.chars())
        }
    }
}

impl Display for Pid {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<{}.{}.{}>", self.node.as_str(), self.id, self.serial)
    }
}

impl Display for Ref {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "#Ref<{}", self.node.as_str())?;
        for word in self.words.iter().take(self.len.into()).rev() {
            write!(f, ".{word}")?;
        }
        f.write_char('>')
    }
}

impl Display for Port {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "#Port<{}.{}>", self.node.as_str(), self.id)
    }
}

fn big(f: &mut Formatter<'_>, negative: bool, magnitude: &[u8]) -> fmt::Result {
    if negative {
        f.write_char('-')?;
    }
    if magnitude.len() > DECIMAL_MAX {
        f.write_str("16#")?;
        let mut bytes = magnitude.iter().rev();
        if let Some(first) = bytes.next() {
            write!(f, "{first:X}")?;
        }
        return bytes.try_for_each(|byte| write!(f, "{byte:02X}"));
    }
    let mut parts = decimal(magnitude).into_iter().rev();
    write!(f, "{}", parts.next().unwrap_or(0))?;
    parts.try_for_each(|part| write!(f, "{part:09}"))
}

/// The number in groups of 9 decimal digits, the lowest first.
fn decimal(magnitude: &[u8]) -> Vec<u64> {
    const PART: u64 = 1_000_000_000;
    let mut parts: Vec<u64> = Vec::new();
    for &byte in magnitude.iter().rev() {
        let mut carry = u64::from(byte);
        for part in &mut parts {
            carry += *part << 8;
            *part = carry % PART;
            carry /= PART;
        }
        if carry > 0 {
            parts.push(carry);
        }
    }
    parts
}

/// Erlang takes the shorter of two notations. From 2^53 on it always takes the scientific one, since the plain notation
/// would show digits that are not exact.
fn float(f: &mut Formatter<'_>, value: f64) -> fmt::Result {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let scientific = format!("{mantissa}{point}e{exponent}");
    if value.abs() < EXACT_MAX {
        let plain = format!("{value}");
        let plain = if plain.contains('.') { plain } else { plain + ".0" };
        if plain.len() <= scientific.len() {
            return f.write_str(&plain);
        }
    }
    f.write_str(&scientific)
}

fn list(f: &mut Formatter<'_>, items: &[Term], tail: Option<&Term>) -> fmt::Result {
    if let (None, Some(text)) = (tail, text_of(items)) {
        return quoted(f, '"', text.chars());
    }
    f.write_char('[')?;
    separated(f, items, |f, item| item.fmt(f))?;
    if let Some(tail) = tail {
        write!(f, "|{tail}")?;
    }
    f.write_char(']')
}

/// The text of a list of printable characters; `None` for the empty list.
fn text_of(items: &[Term]) -> Option<String> {
    if items.is_empty() {
        return None;
    }
    let char = |item: &Term| char::from_u32(u32::try_from(item.as_int()?).ok()?);
    items
        .iter()
        .map(|item| char(item).filter(|&char| is_printable(char)))
        .collect()
}

fn binary(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    // As in BEAM, UTF-8 is tried first. Bytes that are UTF-8 but not printable are not tried as Latin-1.
    let (text, suffix) = match core::str::from_utf8(bytes) {
        Ok(text) => (String::from(text), if text.is_ascii() { "" } else { "/utf8" }),
        Err(_) => (bytes.iter().map(|&byte| char::from(byte)).collect(), ""),
    };
    if text.is_empty() || !text.chars().all(is_printable) {
        return bitstring(f, bytes, 8);
    }
    f.write_str("<<")?;
    quoted(f, '"', text.chars())?;
    write!(f, "{suffix}>>")
}

/// The bytes as numbers; only the upper `bits` of the last one.
fn bitstring(f: &mut Formatter<'_>, bytes: &[u8], bits: u8) -> fmt::Result {
    f.write_str("<<")?;
    match bytes.split_last() {
        Some((last, whole)) if matches!(bits, 1..=7) => {
            for byte in whole {
                write!(f, "{byte},")?;
            }
            write!(f, "{}:{bits}", last >> (8 - bits))?;
        }
        Some(_) | None => separated(f, bytes, |f, byte| byte.fmt(f))?,
    }
    f.write_str(">>")
}

fn separated<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    mut show: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_char(',')?;
        }
        show(f, item)?;
    }
    Ok(())
}

fn quoted(f: &mut Formatter<'_>, quote: char, chars: impl Iterator<Item = char>) -> fmt::Result {
    f.write_char(quote)?;
    for char in chars {
        match char {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{b}' => f.write_str("\\v")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            '\u{1b}' => f.write_str("\\e")?,
            '\u{7f}' => f.write_str("\\d")?,
            '\0'..' ' | '\u{80}'..'\u{a0}' => write!(f, "\\{:03o}", u32::from(char))?,
            '\\' => f.write_str("\\\\")?,
            _ if char == quote => write!(f, "\\{quote}")?,
            _ => f.write_char(char)?,
        }
    }
    f.write_char(quote)
}

/// Whether BEAM, with its default of Latin-1, counts this character as printable.
fn is_printable(char: char) -> bool {
    matches!(char, ' '..='~' | '\u{a0}'..='\u{ff}' | '\u{8}'..='\r' | '\u{1b}')
}

fn is_lower(char: char) -> bool {
    matches!(char, 'a'..='z' | 'ß'..='ÿ') && char != '÷'
}

fn is_name(char: char) -> bool {
    is_lower(char) || matches!(char, 'A'..='Z' | 'À'..='Þ' | '0'..='9' | '_' | '@') && char != '×'
}

/// Words that have another meaning unless quoted; the last two since OTP 27.
fn is_reserved(text: &str) -> bool {
    matches!(
        text,
        "after"
            | "and"
            | "andalso"
            | "band"
            | "begin"
            | "bnot"
            | "bor"
            | "bsl"
            | "bsr"
            | "bxor"
            | "case"
            | "catch"
            | "cond"
            | "div"
            | "end"
            | "fun"
            | "if"
            | "let"
            | "not"
            | "of"
            | "or"
            | "orelse"
            | "receive"
            | "rem"
            | "try"
            | "when"
            | "xor"
            | "else"
            | "maybe"
    )
}
