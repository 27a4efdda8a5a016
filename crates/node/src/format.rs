//! Text that peers want printed: characters as lists and binaries, and formats of `io_lib:format/2`.
//!
//! The result is for people and never sent back to a peer. So it only has to be readable: field widths and padding are
//! dropped, and a format that does not fit its arguments is shown as terms. The result has at most the requested
//! length, and is one line without control characters, so that a peer cannot forge log lines.

use alloc::string::String;
use core::fmt::{self, Write};
use wire::etf::Term;

/// Bytes of the longest character.
const CHAR_BYTES_MAX: usize = 4;

/// Text up to a length.
struct Line {
    text: String,
    bytes_max: usize,
}

impl Line {
    fn room(&self) -> usize {
        self.bytes_max - self.text.len()
    }

    fn push(&mut self, char: char) -> fmt::Result {
        let shown = if char.is_control() { ' ' } else { char };
        if shown.len_utf8() > self.room() {
            return Err(fmt::Error);
        }
        self.text.push(shown);
        Ok(())
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| self.push(char))
    }
}

/// Collects what `write` writes, up to `bytes_max` bytes. The rest is dropped.
fn bounded(bytes_max: usize, write: impl FnOnce(&mut Line) -> fmt::Result) -> String {
    let mut line = Line {
        text: String::new(),
        bytes_max,
    };
    if write(&mut line).is_err() {
        line.text.push('…');
    }
    line.text
}

/// A term in Erlang syntax.
pub(crate) fn term_text(term: &Term, bytes_max: usize) -> String {
    bounded(bytes_max, |line| write!(line, "{term}"))
}

/// Terms as one tuple.
pub(crate) fn tuple_text(terms: &[&Term], bytes_max: usize) -> String {
    bounded(bytes_max, |line| {
        for (at, term) in terms.iter().enumerate() {
            line.push(if at == 0 { '{' } else { ',' })?;
            write_term(line, term)?;
        }
        line.push('}')
    })
}

/// The characters in binaries and nested lists. Anything else is shown as a term.
pub(crate) fn chars_text(chars: &Term, bytes_max: usize) -> String {
    bounded(bytes_max, |line| write_chars(line, chars))
}

/// The text of `io_lib:format(Format, Args)`. If the two do not fit, both are shown as terms.
pub(crate) fn format_text(format: &Term, args: &Term, bytes_max: usize) -> String {
    let pattern = match format {
        Term::Atom(atom) => String::from(atom.as_str()),
        format => chars_text(format, bytes_max),
    };
    let mut fits = true;
    let text = bounded(bytes_max, |line| {
        let written = write_format(line, &pattern, args.as_list().unwrap_or_default())?;
        fits = written;
        Ok(())
    });
    if fits {
        text
    } else {
        bounded(bytes_max, |line| write!(line, "{format} {args}"))
    }
}

fn write_chars(line: &mut Line, chars: &Term) -> fmt::Result {
    match chars {
        // Only as many bytes as can be shown are read, and one character more, which shows that there is more.
        Term::Binary(bytes) => {
            let shown = &bytes[..bytes.len().min(line.room() + CHAR_BYTES_MAX)];
            line.write_str(&String::from_utf8_lossy(shown))
        }
        Term::List(items) => items.iter().try_for_each(|item| write_chars(line, item)),
        Term::Improper(items, tail) => {
            items.iter().try_for_each(|item| write_chars(line, item))?;
            write_chars(line, tail)
        }
        Term::Int(code) => match u32::try_from(*code).ok().and_then(char::from_u32) {
            Some(char) => line.push(char),
            None => write!(line, "{chars}"),
        },
        Term::Atom(atom) => line.write_str(atom.as_str()),
        other => write!(line, "{other}"),
    }
}

/// Returns false if the arguments do not fit the format.
fn write_format(line: &mut Line, pattern: &str, args: &[Term]) -> Result<bool, fmt::Error> {
    let (mut args, mut chars) = (args.iter(), pattern.chars());
    while let Some(char) = chars.next() {
        if char != '~' {
            line.push(char)?;
            continue;
        }
        // Field width, precision, padding and modifiers; a star takes an argument.
        let control = loop {
            match chars.next() {
                Some('*') => drop(args.next()),
                Some(c) if c.is_ascii_digit() || matches!(c, '.' | '-' | 't' | 'l' | 'k' | 'K') => {}
                other => break other,
            }
        };
        let fits = match control {
            Some('n') => line.push('\n').map(|()| true)?,
            Some('~') => line.push('~').map(|()| true)?,
            Some('i') => args.next().is_some(),
            Some('s') => write_with(line, args.next(), write_chars)?,
            Some('c') => write_with(line, args.next(), write_chars)?,
            Some('w' | 'p' | 'b' | 'B' | 'g' | 'f' | 'e' | '#' | '+') => write_with(line, args.next(), write_term)?,
            Some('W' | 'P' | 'x' | 'X') => {
                let fits = write_with(line, args.next(), write_term)?;
                fits && args.next().is_some()
            }
            Some(_) | None => false,
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(args.next().is_none())
}

fn write_term(line: &mut Line, term: &Term) -> fmt::Result {
    write!(line, "{term}")
}

fn write_with(
    line: &mut Line,
    arg: Option<&Term>,
    write: impl FnOnce(&mut Line, &Term) -> fmt::Result,
) -> Result<bool, fmt::Error> {
    match arg {
        Some(arg) => write(line, arg).map(|()| true),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(format: &str, args: impl IntoIterator<Item = Term>) -> String {
        format_text(&Term::chars(format), &Term::list(args), 100)
    }

    #[test]
    fn formats_print_their_arguments() {
        let (word, text) = (Term::atom("x"), || Term::chars("hi"));
        assert_eq!(formatted("~p and ~s~n", [word.clone(), text()]), "x and hi ");
        assert_eq!(formatted("~10.3.0w|~-5ts|~~", [word.clone(), text()]), "x|hi|~");
        assert_eq!(
            formatted("~*w ~W", [Term::from(9), word.clone(), word.clone(), Term::from(3)]),
            "x x"
        );
        assert_eq!(formatted("~c~b", [Term::from(65), Term::from(66)]), "A66");
        let binary = Term::binary("a ~p");
        assert_eq!(format_text(&binary, &Term::list([word]), 100), "a x");
    }

    #[test]
    fn a_format_that_does_not_fit_is_shown_as_terms() {
        assert_eq!(format_text(&Term::binary("~p"), &Term::NIL, 100), "<<\"~p\">> []");
        assert_eq!(
            format_text(&Term::binary("no"), &Term::list([1_u8]), 100),
            "<<\"no\">> [1]"
        );
        assert_eq!(
            format_text(&Term::binary("~q"), &Term::list([1_u8]), 100),
            "<<\"~q\">> [1]"
        );
    }

    #[test]
    fn text_is_limited_and_has_no_control_characters() {
        let long = Term::binary(alloc::vec![b'a'; 1000]);
        assert!(chars_text(&long, 50).len() <= 53);
        assert!(term_text(&Term::list((0..1000).map(|n| n + 1000)), 50).len() <= 53);
        assert_eq!(chars_text(&Term::binary(b"a\x1b[2Jb\r"), 50), "a [2Jb ");
        let (wide, exact) = (Term::binary("aé€€€"), Term::binary("aé€"));
        assert_eq!(
            (chars_text(&wide, 7), chars_text(&exact, 6)),
            ("aé€…".into(), "aé€".into())
        );
        assert_eq!(
            tuple_text(&[&Term::atom("m"), &Term::atom("f"), &Term::NIL], 50),
            "{m,f,[]}"
        );
        assert!(tuple_text(&[&Term::atom("m"), &long], 50).len() <= 53);
        let deep = Term::list([Term::list([Term::from(104)]), Term::binary("i"), Term::atom("x")]);
        assert_eq!(chars_text(&deep, 50), "hix");
    }
}
