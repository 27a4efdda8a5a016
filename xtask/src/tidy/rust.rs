//! Just enough Rust to tell code from what is written about it.
//!
//! Not a parser: comments, literals and what is compiled for tests alone become blanks, line breaks
//! stay where they are. What is left can be searched for words.

use std::ops::Range;

/// `text` with comments, strings, characters and items under `#[cfg(test)]` blanked out.
pub(super) fn code(text: &str) -> String {
    let mut code = without_prose(text);
    while let Some(test) = next_test(&code) {
        blank(&mut code, test);
    }
    code.into_iter().collect()
}

/// The lines of `code` in which `word` stands by itself, from 1. Where `word` begins or ends with a
/// sign (`std::`), what stands on that side does not matter.
pub(super) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let lines = code.lines().zip(1..);
    lines
        .filter(|(line, _)| has_word(line, word))
        .map(|(_, number)| number)
        .collect()
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let starts = !word.starts_with(is_name) || !line[..at].ends_with(is_name);
        let ends = !word.ends_with(is_name) || !line[at + word.len()..].starts_with(is_name);
        starts && ends
    })
}

/// How many lines of `text` come before its tests.
pub(crate) fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    tests.unwrap_or(lines.len())
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank(code: &mut [char], range: Range<usize>) {
    for c in &mut code[range] {
        if *c != '\n' {
            *c = ' ';
        }
    }
}

fn without_prose(text: &str) -> Vec<char> {
    let mut code: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < code.len() {
        match prose_end(&code, at) {
            Some(end) => {
                blank(&mut code, at..end);
                at = end;
            }
            None => at += 1,
        }
    }
    code
}

/// Where the comment or the literal ends that begins at `at`, if one does.
fn prose_end(code: &[char], at: usize) -> Option<usize> {
    match code[at..] {
        ['/', '/', ..] => Some(find(code, at, |rest| rest[0] == '\n')),
        ['/', '*', ..] => Some(block_comment_end(code, at)),
        ['"', ..] => Some(string_end(code, at)),
        ['r', '"' | '#', ..] => raw_string_end(code, at),
        ['\'', '\\', _, ..] => Some((find(code, at + 3, |rest| rest[0] == '\'') + 1).min(code.len())),
        ['\'', _, '\'', ..] => Some(at + 3),
        _ => None,
    }
}

/// The first place from `from` on at which `test` holds of what is left, or the end.
fn find(code: &[char], from: usize, test: impl Fn(&[char]) -> bool) -> usize {
    (from..code.len()).find(|at| test(&code[*at..])).unwrap_or(code.len())
}

/// Behind the comment that opens at `at`, which may have others in it.
fn block_comment_end(code: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut end = at;
    while end < code.len() {
        match code[end..] {
            ['/', '*', ..] => (depth, end) = (depth + 1, end + 2),
            ['*', '/', ..] => (depth, end) = (depth - 1, end + 2),
            _ => end += 1,
        }
        if depth == 0 {
            break;
        }
    }
    end
}

/// Behind the string that opens at `at`.
fn string_end(code: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < code.len() && code[end] != '"' {
        end += 1 + usize::from(code[end] == '\\');
    }
    (end + 1).min(code.len())
}

/// Behind the raw string whose `r` is at `at`; none for a raw name like `r#type`.
fn raw_string_end(code: &[char], at: usize) -> Option<usize> {
    let is_in_name = at > 0 && is_name(code[at - 1]) && code[at - 1] != 'b';
    let open = find(code, at + 1, |rest| rest[0] != '#');
    if is_in_name || code.get(open) != Some(&'"') {
        return None;
    }
    let mut closing = vec!['"'];
    closing.resize(open - at, '#');
    let close = find(code, open + 1, |rest| rest.starts_with(&closing));
    Some((close + closing.len()).min(code.len()))
}

/// The next item that is compiled for tests alone, its attribute included.
fn next_test(code: &[char]) -> Option<Range<usize>> {
    let attribute: Vec<char> = "#[cfg(test)]".chars().collect();
    let start = (0..code.len()).find(|at| code[*at..].starts_with(&attribute))?;
    Some(start..item_end(code, start + attribute.len()))
}

/// Where the item ends that begins at `at`: behind its block, or behind a `;` outside of brackets.
fn item_end(code: &[char], at: usize) -> usize {
    let mut depth = 0;
    for (end, c) in code.iter().enumerate().skip(at) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(c, ';' | '}') {
            return end + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let code = code(text);
        assert_eq!(code.lines().count(), text.lines().count(), "lines stay where they are");
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn comments_are_not_code() {
        check("a // std::\nb", &["a", "b"]);
        check("a /* b /* c\n */ d */ e", &["a", "e"]);
        check("a /* b", &["a"]);
    }

    #[test]
    fn literals_are_not_code() {
        check(r#"f( "a\"b" , c)"#, &["f(", ",", "c)"]);
        check("r#\"a\"b\"# + c", &["+", "c"]);
        check("br\"a\\\" + c", &["b", "+", "c"]);
        check(r"'a' + '\'' + '\u{1F}' + b'x'", &["+", "+", "+", "b"]);
        check("fn f<'a>(x: &'a str)", &["fn", "f<'a>(x:", "&'a", "str)"]);
        check("\"open \\", &[]);
        check("r#type", &["r#type"]);
    }

    #[test]
    fn tests_are_not_code() {
        check("a\n#[cfg(test)]\nextern crate std;\nb", &["a", "b"]);
        check("#[cfg(test)]\nmod t {\n fn f() { } } b", &["b"]);
        check("#[cfg(test)] fn f(x: [u8; 3]) { y } b", &["b"]);
    }

    #[test]
    fn words_stand_by_themselves() {
        assert_eq!(
            lines_with("use std::fmt;\nlet a: my_std::B;\n::std::c", "std::"),
            [1, 3]
        );
        assert_eq!(lines_with("f64\nbuf64\nf64_of\n1f64", "f64"), [1]);
    }

    #[test]
    fn lines_count_until_the_tests() {
        assert_eq!(lines_before_tests("a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(lines_before_tests("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
        assert_eq!(lines_before_tests("a\n#[cfg(test)]\nextern crate std;\nb\n"), 4);
    }
}
