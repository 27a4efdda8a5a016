//! The walls between the crates: who may import whom, and what may not come in.
//!
//! ```text
//! { wire, lua } ← node ← store ← { server, sim }        xtask and derive stand apart; server hands derive on
//! ```

use toml::Value;

use super::{manifest, rust};
use crate::tree::{Fault, Tree};

/// One crate of the house.
pub(crate) struct Room {
    pub(crate) package: &'static str,
    pub(crate) folder: &'static str,
    /// The crates of the house that it may import.
    imports: &'static [&'static str],
    /// Whether it is `no_std`: no clock, thread, socket or randomness of its own.
    pub(crate) is_core: bool,
}

pub(super) const HOUSE: &[Room] = &[
    room("wire", "crates/wire", &[], true),
    room("lua", "crates/lua", &[], true),
    room("node", "crates/node", &["wire"], true),
    room("store", "crates/store", &["wire", "lua", "node"], true),
    room("sim", "crates/sim", &["wire", "node", "store"], false),
    room("salp-derive", "crates/derive", &["wire"], false),
    room(
        "salp",
        "crates/server",
        &["wire", "node", "store", "salp-derive"],
        false,
    ),
    room("xtask", "xtask", &[], false),
];

/// All crates.
pub(crate) fn house() -> &'static [Room] {
    HOUSE
}

const fn room(package: &'static str, folder: &'static str, imports: &'static [&'static str], is_core: bool) -> Room {
    Room {
        package,
        folder,
        imports,
        is_core,
    }
}

/// Why words are forbidden, and which.
type Forbidden = (&'static str, &'static [&'static str]);

/// What may not stand in the code of a core crate.
const CORE_WORDS: &[Forbidden] = &[
    ("the core is no_std", &["std::"]),
    ("unsafe code has its named corner", &["unsafe"]),
    ("time comes in as an input", &["Instant::now", "SystemTime"]),
    ("randomness comes in as a seed", &["getrandom", "rand::"]),
    (
        "the same in every run: FixedState",
        &["RandomState", "DefaultHashBuilder"],
    ),
    ("the core calls no logger, the scheduler has an observer", LOGGERS),
];

const LOGGERS: &[&str] = &[
    "tracing::",
    "log::trace!",
    "log::debug!",
    "log::info!",
    "log::warn!",
    "log::error!",
];

/// What may not stand in the simulator.
const SIM_WORDS: &[Forbidden] = &[
    (
        "a run depends on its seed alone",
        &["SystemTime", "getrandom", "RandomState"],
    ),
    (
        "its order differs from run to run: BTreeMap, BTreeSet",
        &["HashMap", "HashSet"],
    ),
];

/// Where a float is a value that a client sent or asked for. Anywhere else in `node` and `store` it
/// would decide something. `wire` carries floats and decides nothing.
const FLOATS_ARE_VALUES: &[&str] = &[
    "crates/store/src/scripts/",
    "crates/store/src/command",
    "crates/store/src/outcome",
    "crates/store/src/object",
];

/// The workspace has the crates of the house, and no others.
pub(super) fn members(tree: &Tree) -> Vec<Fault> {
    let root = manifest::manifest(tree, "Cargo.toml");
    let members = manifest::section(&root, &["workspace"]).and_then(|w| w.get("members"));
    let members: Vec<&str> = members
        .and_then(Value::as_array)
        .map(|members| members.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let strangers = members
        .iter()
        .filter(|member| HOUSE.iter().all(|room| room.folder != **member));
    let mut faults: Vec<Fault> = strangers
        .map(|member| {
            Fault::new(
                "Cargo.toml",
                0,
                format!("{member}: a new crate needs a decision record"),
            )
        })
        .collect();
    for room in HOUSE {
        let path = format!("{}/Cargo.toml", room.folder);
        let manifest = manifest::manifest(tree, &path);
        let name = manifest::section(&manifest, &["package"]).and_then(|p| p.get("name"));
        if name.and_then(Value::as_str) != Some(room.package) || !members.contains(&room.folder) {
            let what = format!("the house has a crate `{}` here", room.package);
            faults.push(Fault::new(&path, 0, what));
        }
    }
    faults
}

/// Each crate imports only what lies to its left.
pub(super) fn imports(tree: &Tree) -> Vec<Fault> {
    let root = manifest::manifest(tree, "Cargo.toml");
    let mut faults = Vec::new();
    for room in HOUSE {
        let path = format!("{}/Cargo.toml", room.folder);
        for dependency in manifest::dependencies(&manifest::manifest(tree, &path), &root) {
            let package = dependency.package.as_str();
            let is_ours = HOUSE.iter().any(|room| room.package == package);
            if is_ours && !room.imports.contains(&package) {
                faults.push(Fault::new(
                    &path,
                    0,
                    format!("{} may not import {package}", room.package),
                ));
            }
        }
    }
    faults
}

/// The core crates are `no_std`, first thing.
pub(super) fn no_std(tree: &Tree) -> Vec<Fault> {
    let roots = core().map(|room| format!("{}/src/lib.rs", room.folder));
    let lacking = roots.filter(|path| !tree.get(path).unwrap_or_default().starts_with("#![no_std]\n"));
    lacking
        .map(|path| Fault::new(&path, 1, "a core crate begins with #![no_std]"))
        .collect()
}

/// No crate says what its kind may not say.
pub(super) fn words(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for room in core() {
        forbid(tree, &format!("{}/src/", room.folder), CORE_WORDS, &mut faults);
    }
    forbid(tree, "crates/sim/src/", SIM_WORDS, &mut faults);
    faults
}

fn forbid(tree: &Tree, folder: &str, words: &[Forbidden], faults: &mut Vec<Fault>) {
    for (path, text) in tree.rust(folder).filter(|(path, _)| !is_test(path)) {
        let code = rust::code(text);
        for (why, word) in each(words) {
            let lines = rust::lines_with(&code, word);
            faults.extend(
                lines
                    .iter()
                    .map(|line| Fault::new(path, *line, format!("`{word}`: {why}"))),
            );
        }
    }
}

fn each(words: &[Forbidden]) -> impl Iterator<Item = (&str, &str)> {
    words
        .iter()
        .flat_map(|(why, words)| words.iter().map(|word| (*why, *word)))
}

/// No float decides anything.
pub(super) fn floats(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    let files = tree.rust("crates/node/src/").chain(tree.rust("crates/store/src/"));
    for (path, text) in files.filter(|(path, _)| !is_test(path)) {
        if FLOATS_ARE_VALUES.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        let code = rust::code(text);
        for word in ["f32", "f64"] {
            let lines = rust::lines_with(&code, word);
            let what = format!("`{word}`: a float is a value here, never a decision");
            faults.extend(lines.iter().map(|line| Fault::new(path, *line, what.clone())));
        }
    }
    faults
}

fn core() -> impl Iterator<Item = &'static Room> {
    HOUSE.iter().filter(|room| room.is_core)
}

/// Whether the file holds the tests of the module it lies under.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The house as it should be.
    fn house() -> Tree {
        let mut tree = Tree::default();
        let folders: Vec<&str> = HOUSE.iter().map(|room| room.folder).collect();
        let workspace = format!("[workspace]\nmembers = {folders:?}");
        tree.put("Cargo.toml", workspace);
        for Room {
            package,
            folder,
            imports,
            ..
        } in HOUSE
        {
            let mut manifest = format!("[package]\nname = {package:?}\n[dependencies]\n");
            for import in *imports {
                manifest += &format!("{import}.workspace = true\n");
            }
            tree.put(format!("{folder}/Cargo.toml"), manifest);
            let lib = "#![no_std]\n//! A crate.\n";
            tree.put(format!("{folder}/src/lib.rs"), lib);
        }
        tree
    }

    /// What `rule` says about the house when `path` holds `text`.
    #[track_caller]
    fn check(rule: fn(&Tree) -> Vec<Fault>, path: &str, text: &str, expected: &[&str]) {
        let mut tree = house();
        assert_eq!(rule(&tree), [], "the house as it should be");
        tree.put(path, text);
        let faults: Vec<String> = rule(&tree).iter().map(Fault::to_string).collect();
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_stranger_and_a_missing_crate_are_seen() {
        let stranger = r#"workspace.members = ["crates/wire", "crates/lua", "crates/node", "crates/store",
            "crates/sim", "crates/derive", "crates/server", "xtask", "crates/util"]"#;
        let fault = "Cargo.toml: crates/util: a new crate needs a decision record";
        check(members, "Cargo.toml", stranger, &[fault]);
        let renamed = "package.name = \"simulator\"";
        let fault = "crates/sim/Cargo.toml: the house has a crate `sim` here";
        check(members, "crates/sim/Cargo.toml", renamed, &[fault]);
    }

    #[test]
    fn an_import_against_the_arrows_is_seen() {
        for (folder, text, fault) in [
            (
                "crates/wire",
                "dependencies.node.workspace = true",
                "wire may not import node",
            ),
            (
                "crates/node",
                "dependencies.w.package = 'store'",
                "node may not import store",
            ),
            (
                "crates/store",
                "dev-dependencies.sim.path = '../sim'",
                "store may not import sim",
            ),
            (
                "crates/sim",
                "dependencies.salp.workspace = true",
                "sim may not import salp",
            ),
            (
                "crates/server",
                "build-dependencies.sim = '1'",
                "salp may not import sim",
            ),
            (
                "xtask",
                "target.unix.dependencies.wire = '1'",
                "xtask may not import wire",
            ),
        ] {
            let path = format!("{folder}/Cargo.toml");
            check(imports, &path, text, &[&format!("{path}: {fault}")]);
        }
    }

    #[test]
    fn a_core_crate_with_std_is_seen() {
        let fault = "crates/node/src/lib.rs:1: a core crate begins with #![no_std]";
        check(no_std, "crates/node/src/lib.rs", "//! A crate.\n#![no_std]\n", &[fault]);
    }

    #[test]
    fn a_word_that_is_not_the_crates_is_seen() {
        for (folder, forbidden) in [("crates/store/src", CORE_WORDS), ("crates/sim/src", SIM_WORDS)] {
            for (why, word) in each(forbidden) {
                let path = format!("{folder}/a.rs");
                let text = format!("//! {word}\nfn f() {{\n    {word}{{}}\n}}\n");
                check(words, &path, &text, &[&format!("{path}:3: `{word}`: {why}")]);
            }
        }
    }

    #[test]
    fn words_in_tests_and_comments_are_let_be() {
        let text = "//! Not std::vec.\n#[cfg(test)]\nmod tests {\n    use std::vec;\n}\n";
        check(words, "crates/wire/src/a.rs", text, &[]);
        check(words, "crates/wire/src/a/tests.rs", "use std::vec;", &[]);
        check(words, "crates/wire/tests/a.rs", "use std::vec;", &[]);
        check(words, "crates/server/src/a.rs", "use std::vec;", &[]);
    }

    #[test]
    fn a_float_that_could_decide_is_seen() {
        let text = "fn phi() -> f64 {}";
        for path in ["crates/node/src/peer.rs", "crates/store/src/ring.rs"] {
            let fault = format!("{path}:1: `f64`: a float is a value here, never a decision");
            check(floats, path, text, &[&fault]);
        }
        check(floats, "crates/wire/src/etf.rs", text, &[]);
        check(floats, "crates/store/src/object/zset.rs", text, &[]);
    }
}
