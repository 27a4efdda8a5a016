//! Figures of the house: what is large, and which files need each other in a circle.
//!
//! `cargo run -p xtask -- measure` prints them as the table that stands in `ARCHITECTURE.md`.

mod circles;
mod parts;

use std::fmt::Write as _;

use crate::{
    tidy::walls::{Room, house},
    tree::{Fault, Tree},
};

/// How many fields a struct of a core crate may have without a reason beside it.
const FIELDS_MAX: usize = 16;
/// How many lines a function may have.
const FUNCTION_LINES_MAX: usize = 70;
/// Structs that are still too wide, with the fields that they had when this was written. They may shrink, not grow.
const STILL_WIDE: &[(&str, usize)] = &[("Core", 38), ("Global", 23)];

/// The page that has the table.
pub(crate) const PAGE: &str = "ARCHITECTURE.md";
/// The line before the table, and the one after it.
const MARKS: (&str, &str) = ("<!-- measure -->", "<!-- end of measure -->");

/// The figures of one crate.
struct Figures {
    package: &'static str,
    /// Thousands of lines of source without tests, comments included.
    lines_k: usize,
    /// Structs above [`FIELDS_MAX`] with their fields, the largest first.
    wide: Vec<String>,
    /// Functions above [`FUNCTION_LINES_MAX`].
    long: usize,
    /// Files in the largest circle.
    circle: usize,
}

impl Figures {
    fn of(tree: &Tree, room: &Room) -> Self {
        let parsed = parts::Parsed::of(tree, room.folder);
        let mut wide = parsed.structs_above(FIELDS_MAX);
        wide.sort_by_key(|one| std::cmp::Reverse(one.fields));
        Self {
            package: room.package,
            lines_k: (parsed.lines() + 500) / 1000,
            wide: wide
                .iter()
                .map(|one| format!("`{}` {}", one.name, one.fields))
                .collect(),
            long: parsed.functions_above(FUNCTION_LINES_MAX),
            circle: circles::largest(&parsed).len(),
        }
    }
}

/// The table.
pub(crate) fn table(tree: &Tree) -> String {
    let mut out = String::from(
        "| crate | thousands of lines without tests | structs above 16 fields | functions above 70 lines | largest circle |\n\
         |---|---:|---|---:|---:|\n",
    );
    for figures in house().iter().map(|room| Figures::of(tree, room)) {
        let Figures {
            package,
            lines_k,
            wide,
            long,
            circle,
        } = figures;
        let wide = if wide.is_empty() {
            "none".into()
        } else {
            wide.join(", ")
        };
        let _ = writeln!(out, "| `{package}` | {lines_k} | {wide} | {long} | {circle} |");
    }
    out
}

/// The files of the largest circle of each crate, one line each.
pub(crate) fn circles(tree: &Tree) -> String {
    let mut out = String::new();
    for room in house() {
        let parsed = parts::Parsed::of(tree, room.folder);
        let circle = circles::largest(&parsed);
        let _ = writeln!(out, "{}: {}", room.package, circle.join(" "));
    }
    out
}

/// A struct of a core crate that is wide says why.
pub(crate) fn wide_structs(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for room in house().iter().filter(|room| room.is_core) {
        for one in parts::Parsed::of(tree, room.folder).structs_above(FIELDS_MAX) {
            let is_still_wide = STILL_WIDE
                .iter()
                .any(|(name, fields)| one.name == *name && one.fields <= *fields);
            if !one.has_reason && !is_still_wide {
                let what = format!(
                    "{} has {} fields: group them, or say why not in a line that begins with `{}`",
                    one.name,
                    one.fields,
                    parts::REASON
                );
                faults.push(Fault::new(&one.path, one.line, what));
            }
        }
    }
    faults
}

/// The table in the page is what is counted.
pub(crate) fn page(tree: &Tree) -> Vec<Fault> {
    let Some(text) = tree.get(PAGE) else { return Vec::new() };
    let stands = text
        .split_once(MARKS.0)
        .and_then(|(_, rest)| rest.split_once(MARKS.1))
        .map(|(table, _)| table.trim());
    if stands == Some(table(tree).trim()) {
        return Vec::new();
    }
    let what = "its table of figures is old: `cargo run -p xtask -- measure --write`";
    vec![Fault::new(PAGE, 0, what)]
}

/// The page with the table of today.
pub(crate) fn rewritten(tree: &Tree) -> Option<String> {
    let text = tree.get(PAGE)?;
    let (before, rest) = text.split_once(MARKS.0)?;
    let (_, after) = rest.split_once(MARKS.1)?;
    Some(format!("{before}{}\n\n{}\n{}{after}", MARKS.0, table(tree), MARKS.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(count: usize) -> String {
        (0..count).map(|field| format!("f{field}: u8, ")).collect()
    }

    #[test]
    fn a_wide_struct_of_the_core_needs_a_reason() {
        let wide = format!("//! a\nstruct A {{ {} }}\n", fields(17));
        let faults = wide_structs(&Tree::of(&[("crates/store/src/a.rs", &wide)]));
        assert_eq!(faults.len(), 1);
        let reasoned = format!(
            "//! a\n// Wide: a table.\n#[derive(Debug)]\nstruct A {{ {} }}\n",
            fields(17)
        );
        let narrow = format!("//! a\nstruct A {{ {} }}\n", fields(16));
        let test = format!("//! a\n#[cfg(test)]\nmod tests {{ struct A {{ {} }} }}\n", fields(17));
        for text in [reasoned, narrow, test] {
            assert!(
                wide_structs(&Tree::of(&[("crates/store/src/a.rs", &text)])).is_empty(),
                "{text}"
            );
        }
        assert!(wide_structs(&Tree::of(&[("crates/server/src/a.rs", &wide)])).is_empty());
    }

    #[test]
    fn an_old_table_is_found() {
        let old = format!("# A\n{}\n{}\n", MARKS.0, MARKS.1);
        let tree = Tree::of(&[(PAGE, &old)]);
        assert_eq!(page(&tree).len(), 1);
        let new = rewritten(&tree).unwrap();
        assert!(page(&Tree::of(&[(PAGE, &new)])).is_empty());
    }
}
