//! `docs/wire.md` says which test checks what is said about the wire: each test it names exists.
//!
//! A test is named as `FILE: TEST, TEST`, the file from `crates/` and without its `.rs`, or from the root with its
//! `.py`.

use crate::tree::{Fault, Tree};

const PAGE: &str = "docs/wire.md";

/// What the page names is there.
pub(super) fn tests_exist(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, line) in tree.get(PAGE).unwrap_or_default().lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let Some((file, tests)) = quoted.split_once(": ") else {
                continue;
            };
            let missing = tests.split(", ").filter(|test| !is_there(tree, file, test));
            faults.extend(missing.map(|test| Fault::new(PAGE, at + 1, format!("{file} has no test `{test}`"))));
        }
    }
    faults
}

fn is_there(tree: &Tree, file: &str, test: &str) -> bool {
    let is_python = file.ends_with(".py");
    let path = if is_python {
        file.into()
    } else {
        format!("crates/{file}.rs")
    };
    let begin = if is_python { "def" } else { "fn" };
    let text = tree.get(&path).unwrap_or_default();
    text.contains(&format!("{begin} {test}("))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_not_there_is_seen() {
        let page =
            "| 2 | names | `node/tests/a: one, two` |\n| 3 | `code`, `x: y` | `proof/b.py: three` `c/d: four` |\n";
        let tree = Tree::of(&[
            (PAGE, page),
            ("crates/node/tests/a.rs", "fn one() {}\nfn two_more() {}\n"),
            ("proof/b.py", "def three(run):\n"),
            ("crates/x.rs", "fn y() {}\n"),
        ]);
        let faults: Vec<String> = tests_exist(&tree).iter().map(Fault::to_string).collect();
        let expected = [
            "docs/wire.md:1: node/tests/a has no test `two`",
            "docs/wire.md:2: c/d has no test `four`",
        ];
        assert_eq!(faults, expected);
        assert!(tests_exist(&Tree::default()).is_empty());
    }
}
