//! The rules of the house that the compiler cannot hold, as a test.
//!
//! A rule is a function from the repository's files to the faults it finds. Rules see a [`Tree`],
//! never the disk, so that each can be shown a small false tree and must catch what was planted.
//!
//! Models: tigerbeetle `src/tidy.zig`, rust-analyzer `xtask/src/tidy.rs`.

mod dependencies;
mod files;
mod manifest;
pub(crate) mod rust;
pub(crate) mod walls;
mod wire;

use crate::{
    measure,
    tree::{Fault, Tree},
};

/// All rules, in the order in which they are checked.
const RULES: &[fn(&Tree) -> Vec<Fault>] = &[
    walls::members,
    walls::imports,
    walls::no_std,
    walls::words,
    walls::floats,
    dependencies::banned,
    dependencies::core,
    dependencies::pinned,
    dependencies::lints,
    files::header,
    files::length,
    files::width,
    files::unfinished,
    files::machine_paths,
    files::decisions,
    wire::tests_exist,
    measure::wide_structs,
    measure::page,
];

/// Everything that is wrong with `tree`.
pub(crate) fn check(tree: &Tree) -> Vec<Fault> {
    RULES.iter().flat_map(|rule| rule(tree)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let tree = Tree::read(&root).unwrap();
        assert!(tree.get("xtask/src/tidy.rs").is_some(), "the repository was not found");
        let faults: Vec<String> = check(&tree).iter().map(Fault::to_string).collect();
        assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    }
}
