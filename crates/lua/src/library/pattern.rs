//! Pattern matching as in Lua 5.1. Every step counts against a bound.

use crate::fault::Bound;

/// How many captures a pattern may have.
pub(super) const CAPTURES_MAX: usize = 32;
/// How deep the matcher may recurse: it does once for each repeated item and capture.
const DEPTH_MAX: usize = 1000;
const ESCAPE: u8 = b'%';

/// What a capture has matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Its end is not reached yet.
    Unfinished,
    /// It captures only where it is.
    Position,
    Bytes(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Capture {
    pub(super) start: usize,
    pub(super) length: Length,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The pattern is wrong.
    Text(&'static str),
    Bound(Bound),
}

type Matched<T> = Result<T, Failure>;

/// A match under way.
pub(super) struct Matcher<'a> {
    pub(super) text: &'a [u8],
    pattern: &'a [u8],
    pub(super) captures: [Capture; CAPTURES_MAX],
    pub(super) level: usize,
    depth: usize,
    steps: &'a mut u64,
}

impl<'a> Matcher<'a> {
    /// A matcher that may take so many steps. The pattern ends at a byte 0.
    pub(super) fn new(text: &'a [u8], pattern: &'a [u8], steps: &'a mut u64) -> Self {
        let end = memchr::memchr(0, pattern).unwrap_or(pattern.len());
        Self {
            text,
            pattern: &pattern[..end],
            captures: [Capture {
                start: 0,
                length: Length::Unfinished,
            }; CAPTURES_MAX],
            level: 0,
            depth: 0,
            steps,
        }
    }

    /// Matches at `start`, with the pattern from `pattern` on: where the match ends.
    pub(super) fn match_at(&mut self, start: usize, pattern: usize) -> Matched<Option<usize>> {
        self.level = 0;
        self.depth = 0;
        self.run(start, pattern)
    }

    #[inline]
    fn step(&mut self) -> Matched<()> {
        if *self.steps == 0 {
            return Err(Failure::Bound(Bound::PatternSteps));
        }
        *self.steps -= 1;
        Ok(())
    }

    /// A byte of the pattern; 0 behind its end.
    #[inline]
    fn at(&self, p: usize) -> u8 {
        self.pattern.get(p).copied().unwrap_or(0)
    }

    /// Matches in one recursion more.
    fn deeper(&mut self, s: usize, p: usize) -> Matched<Option<usize>> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Failure::Text("pattern too complex"));
        }
        let end = self.run(s, p);
        self.depth -= 1;
        end
    }

    fn run(&mut self, mut s: usize, mut p: usize) -> Matched<Option<usize>> {
        loop {
            self.step()?;
            match self.at(p) {
                0 => return Ok(Some(s)),
                b'(' if self.at(p + 1) == b')' => return self.start_capture(s, p + 2, Length::Position),
                b'(' => return self.start_capture(s, p + 1, Length::Unfinished),
                b')' => return self.end_capture(s, p + 1),
                b'$' if p + 1 == self.pattern.len() => return Ok((s == self.text.len()).then_some(s)),
                ESCAPE if self.at(p + 1) == b'b' => {
                    let Some(end) = self.balance(s, p + 2)? else {
                        return Ok(None);
                    };
                    s = end;
                    p += 4;
                }
                ESCAPE if self.at(p + 1) == b'f' => {
                    p += 2;
                    if self.at(p) != b'[' {
                        return Err(Failure::Text("missing '[' after '%f' in pattern"));
                    }
                    let end = self.class_end(p)?;
                    let before = if s == 0 { 0 } else { self.text[s - 1] };
                    let here = self.text.get(s).copied().unwrap_or(0);
                    if self.in_set(before, p, end - 1) || !self.in_set(here, p, end - 1) {
                        return Ok(None);
                    }
                    p = end;
                }
                ESCAPE if self.at(p + 1).is_ascii_digit() => {
                    let Some(end) = self.repeat_capture(s, self.at(p + 1))? else {
                        return Ok(None);
                    };
                    s = end;
                    p += 2;
                }
                _ => {
                    let end = self.class_end(p)?;
                    let matches = self.single(s, p, end);
                    match self.at(end) {
                        b'?' => {
                            if matches && let Some(found) = self.deeper(s + 1, end + 1)? {
                                return Ok(Some(found));
                            }
                            p = end + 1;
                        }
                        b'*' => return self.longest(s, p, end),
                        b'+' if matches => return self.longest(s + 1, p, end),
                        b'-' => return self.shortest(s, p, end),
                        b'+' => return Ok(None),
                        _ => {
                            if !matches {
                                return Ok(None);
                            }
                            s += 1;
                            p = end;
                        }
                    }
                }
            }
        }
    }

    /// Where the item of the pattern at `p` ends.
    fn class_end(&self, p: usize) -> Matched<usize> {
        match self.at(p) {
            ESCAPE => {
                if self.at(p + 1) == 0 {
                    return Err(Failure::Text("malformed pattern (ends with '%')"));
                }
                Ok(p + 2)
            }
            b'[' => {
                let mut p = p + 1 + usize::from(self.at(p + 1) == b'^');
                loop {
                    let byte = self.at(p);
                    if byte == 0 {
                        return Err(Failure::Text("malformed pattern (missing ']')"));
                    }
                    p += 1;
                    if byte == ESCAPE && self.at(p) != 0 {
                        p += 1;
                    }
                    if self.at(p) == b']' {
                        return Ok(p + 1);
                    }
                }
            }
            _ => Ok(p + 1),
        }
    }

    /// Whether the byte at `s` is matched by the item from `p` to `end`.
    #[inline]
    fn single(&self, s: usize, p: usize, end: usize) -> bool {
        let Some(byte) = self.text.get(s).copied() else {
            return false;
        };
        match self.at(p) {
            b'.' => true,
            ESCAPE => in_class(byte, self.at(p + 1)),
            b'[' => self.in_set(byte, p, end - 1),
            other => other == byte,
        }
    }

    /// Whether a byte is in the set whose brackets are at `open` and `close`.
    fn in_set(&self, byte: u8, open: usize, close: usize) -> bool {
        let is_inverted = self.at(open + 1) == b'^';
        let mut p = open + 1 + usize::from(is_inverted);
        while p < close {
            let first = self.at(p);
            if first == ESCAPE {
                p += 1;
                if in_class(byte, self.at(p)) {
                    return !is_inverted;
                }
            } else if self.at(p + 1) == b'-' && p + 2 < close {
                p += 2;
                if (first..=self.at(p)).contains(&byte) {
                    return !is_inverted;
                }
            } else if first == byte {
                return !is_inverted;
            }
            p += 1;
        }
        is_inverted
    }

    fn balance(&mut self, s: usize, p: usize) -> Matched<Option<usize>> {
        let (open, close) = (self.at(p), self.at(p + 1));
        if open == 0 || close == 0 {
            return Err(Failure::Text("unbalanced pattern"));
        }
        if self.text.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1_usize;
        for at in s + 1..self.text.len() {
            self.step()?;
            let byte = self.text[at];
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at + 1));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    fn longest(&mut self, s: usize, p: usize, end: usize) -> Matched<Option<usize>> {
        let mut count = 0;
        while self.single(s + count, p, end) {
            self.step()?;
            count += 1;
        }
        loop {
            if let Some(found) = self.deeper(s + count, end + 1)? {
                return Ok(Some(found));
            }
            if count == 0 {
                return Ok(None);
            }
            count -= 1;
        }
    }

    fn shortest(&mut self, s: usize, p: usize, end: usize) -> Matched<Option<usize>> {
        let mut s = s;
        loop {
            if let Some(found) = self.deeper(s, end + 1)? {
                return Ok(Some(found));
            }
            if !self.single(s, p, end) {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn start_capture(&mut self, s: usize, p: usize, length: Length) -> Matched<Option<usize>> {
        if self.level >= CAPTURES_MAX {
            return Err(Failure::Text("too many captures"));
        }
        self.captures[self.level] = Capture { start: s, length };
        self.level += 1;
        let end = self.deeper(s, p)?;
        if end.is_none() {
            self.level -= 1;
        }
        Ok(end)
    }

    fn end_capture(&mut self, s: usize, p: usize) -> Matched<Option<usize>> {
        let open = self.captures[..self.level]
            .iter()
            .rposition(|capture| capture.length == Length::Unfinished);
        let Some(index) = open else {
            return Err(Failure::Text("invalid pattern capture"));
        };
        self.captures[index].length = Length::Bytes(s - self.captures[index].start);
        let end = self.deeper(s, p)?;
        if end.is_none() {
            self.captures[index].length = Length::Unfinished;
        }
        Ok(end)
    }

    /// `%1` to `%9`: the text of a capture once more.
    fn repeat_capture(&mut self, s: usize, digit: u8) -> Matched<Option<usize>> {
        let index = usize::from(digit).wrapping_sub(usize::from(b'1'));
        let capture = self.captures[..self.level].get(index);
        match capture {
            None
            | Some(Capture {
                length: Length::Unfinished,
                ..
            }) => Err(Failure::Text("invalid capture index")),
            Some(Capture {
                length: Length::Position,
                ..
            }) => Ok(None),
            Some(Capture {
                start,
                length: Length::Bytes(length),
            }) => {
                let captured = &self.text[*start..start + length];
                let (end, cost) = (s + length, *length as u64 / 16);
                let matches = self.text[s..].starts_with(captured);
                *self.steps = self.steps.saturating_sub(cost);
                Ok(matches.then_some(end))
            }
        }
    }
}

/// Whether a byte is in a class such as `%a`.
fn in_class(byte: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => crate::number::is_space(byte),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_in != class.is_ascii_uppercase()
}
