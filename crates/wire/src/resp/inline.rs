//! Splits a line that a person typed into words, with quotes and escapes, as Redis's `sdssplitargs` does.
//!
//! A word is unescaped in place: its text is never longer than its written form.

/// Quotes that are not closed, or are not followed by a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Splits `line`, and passes the range of each word to `word`, in order. The bytes between words may change.
pub(super) fn split(line: &mut [u8], mut word: impl FnMut(usize, usize)) -> Result<(), Unbalanced> {
    let mut at = 0;
    loop {
        at += line[at..].iter().take_while(|byte| is_space(**byte)).count();
        if at == line.len() {
            return Ok(());
        }
        let start = at;
        let (read, written) = unescape(&mut line[start..])?;
        word(start, start + written);
        at = start + read;
    }
}

/// White space as in C; Rust's definition lacks the vertical tab.
fn is_space(byte: u8) -> bool {
    byte == 0x0b || byte.is_ascii_whitespace()
}

/// Turns the word at the start of `line` into its text. Returns how many bytes the word took, and how many its text
/// has. Quotes may open within a word; the closing quote ends the word.
fn unescape(line: &mut [u8]) -> Result<(usize, usize), Unbalanced> {
    let mut read = 0;
    let mut written = 0;
    while let Some(&byte) = line.get(read) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => break,
            b'"' | b'\'' => {
                (read, written) = unquote(line, read + 1, written, byte)?;
                break;
            }
            _ => {
                line[written] = byte;
                read += 1;
                written += 1;
            }
        }
    }
    Ok((read, written))
}

/// Reads quoted text, up to and including the closing quote.
fn unquote(line: &mut [u8], mut read: usize, mut written: usize, quote: u8) -> Result<(usize, usize), Unbalanced> {
    loop {
        let (byte, len) = match line[read..] {
            [] => return Err(Unbalanced),
            [b'\\', b'x', high, low, ..] if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(high) << 4 | hex(low), 4)
            }
            [b'\\', escaped, ..] if quote == b'"' => (control(escaped), 2),
            [b'\\', b'\'', ..] if quote == b'\'' => (b'\'', 2),
            [byte, ref rest @ ..] if byte == quote => {
                return match rest.first() {
                    Some(next) if !is_space(*next) => Err(Unbalanced),
                    _ => Ok((read + 1, written)),
                };
            }
            [byte, ..] => (byte, 1),
        };
        line[written] = byte;
        written += 1;
        read += len;
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// The control character that an escape stands for; other bytes stand for themselves.
fn control(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
        let mut line = line.to_vec();
        let mut ranges = Vec::new();
        split(&mut line, |start, end| ranges.push(start..end))?;
        Ok(ranges.into_iter().map(|range| line[range].to_vec()).collect())
    }

    #[track_caller]
    fn check(line: &str, expected: &[&[u8]]) {
        assert_eq!(words(line.as_bytes()).unwrap(), expected, "{line}");
    }

    #[test]
    fn lines_split_as_in_redis() {
        check("", &[]);
        check(" \t\x0b\x0c ", &[]);
        check("ping", &[b"ping"]);
        check("  set k  v \r", &[b"set", b"k", b"v"]);
        check(r#"set k "hello world""#, &[b"set", b"k", b"hello world"]);
        check(r#"set "" ''"#, &[b"set", b"", b""]);
        check(r#""\x00\xfF\n\r\t\b\a\\\"\q""#, &[b"\0\xff\n\r\t\x08\x07\\\"q"]);
        check(r#""\xzz\x1""#, &[b"xzzx1"]);
        check(r"'it\'s \n' x", &[br"it's \n", b"x"]);
        check(r#"a"b c""#, &[b"ab c"]);
        check("a\x0bb", &[b"a\x0bb"]);
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [
            "\"", "'", "\"a", "'a", "\"a\"b", "'a'b", "x \"a\\", "\"\\\"", "'\\'", "'a'\"b\"",
        ] {
            assert_eq!(words(line.as_bytes()), Err(Unbalanced), "{line}");
        }
    }

    proptest! {
        #[test]
        fn quoted_words_read_back(args: Vec<Vec<u8>>) {
            let mut line = Vec::new();
            for arg in &args {
                line.extend_from_slice(b" \"");
                for byte in arg {
                    line.extend_from_slice(std::format!("\\x{byte:02x}").as_bytes());
                }
                line.push(b'"');
            }
            prop_assert_eq!(words(&line), Ok(args));
        }

        #[test]
        fn junk_gives_words_within_the_line(line in prop::collection::vec(prop::sample::select(&b"ab \"'\\x0n\t"[..]), 0..40)) {
            if let Ok(words) = words(&line) {
                prop_assert!(words.iter().map(Vec::len).sum::<usize>() <= line.len());
            }
        }
    }
}
