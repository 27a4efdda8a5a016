//! Rules about single files.

use super::rust;
use crate::tree::{Fault, Tree};

/// How many lines a source file may have before its tests.
const LINES_MAX: usize = 800;

/// How many characters a line may have (decision 0009). rustfmt sees to code, but not to comments.
const WIDTH_MAX: usize = 120;

const DECISIONS: &str = "docs/decisions/";

/// Marks of work that was left for later. In two parts, so that this file is not caught.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Where the paths of somebody's machine begin. In two parts, so that this file is not caught.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Use", "rs/"),
    concat!("/wo", "rk/"),
    concat!(":\\Use", "rs\\"),
];

/// A source file opens with what it is. Attributes of the crate may stand before that.
pub(super) fn header(tree: &Tree) -> Vec<Fault> {
    let opens = |text: &str| {
        let first = text.lines().find(|line| !line.starts_with("#![") && !line.is_empty());
        first.is_some_and(|line| line.starts_with("//! ") && line.len() > 4)
    };
    let lacking = tree.rust("").filter(|(_, text)| !opens(text));
    lacking
        .map(|(path, _)| Fault::new(path, 1, "begins with `//!` and what it is"))
        .collect()
}

/// A source file is one thing, and can be read in one go.
pub(super) fn length(tree: &Tree) -> Vec<Fault> {
    let files = tree.rust("").filter(|(path, _)| !path.ends_with("/tests.rs"));
    let counted = files.map(|(path, text)| (path, rust::lines_before_tests(text)));
    counted
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| {
            Fault::new(
                path,
                lines,
                format!("{lines} lines before the tests: is it two things?"),
            )
        })
        .collect()
}

/// Prose is as wide as code at most. Rows of tables cannot be wrapped, nor can what stands between fences.
pub(super) fn width(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.iter() {
        let is_markdown = path.ends_with(".md");
        if !is_markdown && !path.ends_with(".rs") {
            continue;
        }
        let mut fenced = false;
        for (line, number) in text.lines().zip(1..) {
            let line_start = line.trim_start();
            let prose = if is_markdown {
                line_start
            } else if line_start.starts_with("//") {
                line_start.trim_start_matches(['/', '!']).trim_start()
            } else {
                fenced = false;
                continue;
            };
            fenced ^= prose.starts_with("```");
            if !fenced && !prose.starts_with('|') && line.chars().count() > WIDTH_MAX {
                faults.push(Fault::new(path, number, format!("more than {WIDTH_MAX} characters")));
            }
        }
    }
    faults
}

/// Nothing is left for later.
pub(super) fn unfinished(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.rust("") {
        for word in UNFINISHED {
            let lines = rust::lines_with(text, word);
            faults.extend(
                lines
                    .iter()
                    .map(|line| Fault::new(path, *line, format!("`{word}`: do it, or leave it out"))),
            );
        }
    }
    faults
}

/// No file speaks of the machine it was written on.
pub(super) fn machine_paths(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.iter() {
        for (line, number) in text.lines().zip(1..) {
            if MACHINE_PATHS.iter().any(|prefix| has_path(line, prefix)) {
                faults.push(Fault::new(path, number, "a path of somebody's machine"));
            }
        }
    }
    faults
}

/// Whether a path that begins with `prefix` stands in `line`; within a longer path it means
/// something else.
fn has_path(line: &str, prefix: &str) -> bool {
    let is_path = |c: char| c.is_alphanumeric() || "_-./}".contains(c);
    line.match_indices(prefix)
        .any(|(at, _)| prefix.starts_with(':') || !line[..at].ends_with(is_path))
}

/// Decision records are numbered from 1 without a gap: `0001-title.md`.
pub(super) fn decisions(tree: &Tree) -> Vec<Fault> {
    let paths = tree
        .iter()
        .map(|(path, _)| path)
        .filter(|path| path.starts_with(DECISIONS));
    let mut faults = Vec::new();
    let mut expected = 1;
    for path in paths {
        match decision_number(&path[DECISIONS.len()..]) {
            Some(number) if number == expected => expected += 1,
            Some(_) => faults.push(Fault::new(
                path,
                0,
                format!("the next decision is number {expected:04}"),
            )),
            None => faults.push(Fault::new(path, 0, "a decision record is called NNNN-title.md")),
        }
    }
    faults
}

fn decision_number(name: &str) -> Option<usize> {
    let (number, title) = name.strip_suffix(".md")?.split_once('-')?;
    let is_title = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_named = number.len() == 4 && !title.is_empty() && title.chars().all(is_title);
    if is_named { number.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&Tree) -> Vec<Fault>, files: &[(&str, &str)], expected: &[&str]) {
        let faults: Vec<String> = rule(&Tree::of(files)).iter().map(Fault::to_string).collect();
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_is_seen() {
        check(
            header,
            &[
                ("a.rs", "//! An a.\n"),
                ("b.rs", "#![no_std]\n#![warn(x)]\n\n//! A b.\n"),
                ("c.rs", "use x;\n//! A c.\n"),
                ("d.rs", "//!\n"),
                ("e.rs", ""),
                ("f.py", "import x\n"),
            ],
            &[
                "c.rs:1: begins with `//!` and what it is",
                "d.rs:1: begins with `//!` and what it is",
                "e.rs:1: begins with `//!` and what it is",
            ],
        );
    }

    #[test]
    fn a_long_file_is_seen() {
        let code = "x\n".repeat(LINES_MAX);
        let tests = "#[cfg(test)]\nmod tests {\n".to_owned() + &code;
        check(
            length,
            &[
                ("a.rs", &(code.clone() + &tests)),
                ("a/tests.rs", &(code.clone() + &code)),
            ],
            &[],
        );
        check(
            length,
            &[("a.rs", &(code + "x\n" + &tests))],
            &["a.rs:801: 801 lines before the tests: is it two things?"],
        );
    }

    #[test]
    fn a_wide_line_of_prose_is_seen() {
        let wide = "é".repeat(WIDTH_MAX - 3);
        let wider = format!("{wide} ");
        let rust = format!("//! {wide}x\n    /// |{wider}\n//! ```\n//! {wider}\n//! ```\nlet x = \"{wider}\";\n");
        check(width, &[("a.rs", &rust)], &["a.rs:1: more than 120 characters"]);
        check(width, &[("a.rs", &format!("// {wide}\n"))], &[]);
        let markdown = format!("{wide}xxxx\n| {wider} x |\n```\n{wider}xxx\n```\n");
        check(width, &[("a.md", &markdown)], &["a.md:1: more than 120 characters"]);
    }

    #[test]
    fn work_left_for_later_is_seen() {
        for word in UNFINISHED {
            let fault = format!("a.rs:2: `{word}`: do it, or leave it out");
            check(unfinished, &[("a.rs", &format!("x\n// {word}: x\n"))], &[&fault]);
        }
        check(unfinished, &[("a.rs", "const TODOS: u8;")], &[]);
    }

    #[test]
    fn a_path_of_a_machine_is_seen() {
        for prefix in MACHINE_PATHS {
            let fault = "docs/a.md:2: a path of somebody's machine";
            check(
                machine_paths,
                &[("docs/a.md", &format!("x\nsee `{prefix}b/c`\n"))],
                &[fault],
            );
        }
        let within = format!(
            "https://example.org{}b and target{}b",
            MACHINE_PATHS[0], MACHINE_PATHS[3]
        );
        check(machine_paths, &[("docs/a.md", &within)], &[]);
    }

    #[test]
    fn a_decision_without_its_number_is_seen() {
        check(
            decisions,
            &[
                ("docs/decisions/0001-own-raft.md", ""),
                ("docs/decisions/0003-gap.md", ""),
                ("docs/decisions/ring.md", ""),
            ],
            &[
                "docs/decisions/0003-gap.md: the next decision is number 0002",
                "docs/decisions/ring.md: a decision record is called NNNN-title.md",
            ],
        );
        let twice = [("docs/decisions/0001-a.md", ""), ("docs/decisions/0001-b.md", "")];
        check(
            decisions,
            &twice,
            &["docs/decisions/0001-b.md: the next decision is number 0002"],
        );
    }
}
