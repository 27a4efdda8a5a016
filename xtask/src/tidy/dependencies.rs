//! What may be depended on. `deny.toml` looks at the whole graph; here are the rules about what our
//! own manifests say.

use toml::Table;

use super::{manifest, manifest::Dependency, walls};
use crate::tree::{Fault, Tree};

/// Packages that no manifest of ours may name, and what to use instead.
const BANNED: &[(&str, &str)] = &[
    ("bincode", "abandoned; postcard, or frames written by hand"),
    ("serde_yaml", "abandoned; toml"),
    ("serde_yml", "unsound; toml"),
    ("json5", "abandoned; serde_json"),
    ("openssl", "rustls"),
    ("lazy_static", "std::sync::LazyLock"),
    ("once_cell", "std::sync::OnceLock, LazyLock"),
    ("dashmap", "a shard has one owner and needs no lock"),
    ("chrono", "times are integers, with their unit in the name"),
];

/// What a core crate may depend on: `no_std`, without a clock, thread, socket or randomness.
const CORE: &[&str] = &[
    "bytes",
    "foldhash",
    "hashbrown",
    "libm",
    "md-5",
    "memchr",
    "sha1",
    "smallvec",
    "xxhash-rust",
];

/// Nothing banned is named.
pub(super) fn banned(tree: &Tree) -> Vec<Fault> {
    each(tree, |_, dependency| {
        let (package, instead) = BANNED.iter().find(|(package, _)| *package == dependency.package)?;
        Some(format!("{package} is banned: {instead}"))
    })
}

/// The core depends on what was decided, without default features: those tend to mean std.
pub(super) fn core(tree: &Tree) -> Vec<Fault> {
    each(tree, |path, dependency| {
        let room = walls::HOUSE
            .iter()
            .find(|room| path == format!("{}/Cargo.toml", room.folder))?;
        let package = dependency.package.as_str();
        let is_ours = walls::HOUSE.iter().any(|room| room.package == package);
        if !room.is_core || dependency.for_tests || is_ours {
            return None;
        }
        if !CORE.contains(&package) {
            return Some(format!("{package} in a core crate needs a decision record"));
        }
        dependency
            .default_features
            .then(|| format!("{package} in a core crate: default-features = false"))
    })
}

/// Versions are given, pre-releases to the letter, and the lock file is there.
pub(super) fn pinned(tree: &Tree) -> Vec<Fault> {
    let mut faults = each(tree, |_, dependency| {
        let version = dependency.version.as_deref()?;
        let package = &dependency.package;
        if version.contains('*') {
            return Some(format!("{package}: a version, not `{version}`"));
        }
        let is_loose = version.contains('-') && !version.starts_with('=');
        is_loose.then(|| format!("{package}: a pre-release is pinned with `=`"))
    });
    if tree.get("Cargo.lock").is_none() {
        faults.push(Fault::new("Cargo.lock", 0, "the lock file is committed"));
    }
    faults
}

/// Every crate takes the lints of the workspace, `unsafe_code = "forbid"` among them.
pub(super) fn lints(tree: &Tree) -> Vec<Fault> {
    let inherits = |manifest: &Table| {
        let lints = manifest::section(manifest, &["lints"]);
        lints.and_then(|lints| lints.get("workspace")?.as_bool()) == Some(true)
    };
    let rooms = walls::HOUSE.iter().map(|room| format!("{}/Cargo.toml", room.folder));
    rooms
        .filter(|path| !inherits(&manifest::manifest(tree, path)))
        .map(|path| Fault::new(&path, 0, "lints.workspace = true"))
        .collect()
}

/// What `judge` has to say about each dependency of each manifest.
fn each(tree: &Tree, judge: impl Fn(&str, &Dependency) -> Option<String>) -> Vec<Fault> {
    let root = manifest::manifest(tree, "Cargo.toml");
    let mut faults = Vec::new();
    for (path, manifest) in manifest::manifests(tree) {
        for dependency in manifest::dependencies(&manifest, &root) {
            faults.extend(judge(path, &dependency).map(|what| Fault::new(path, 0, what)));
        }
    }
    faults
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
    fn a_banned_package_is_seen() {
        check(
            banned,
            &[
                ("Cargo.toml", "workspace.dependencies.chrono = \"0.4\""),
                (
                    "crates/server/Cargo.toml",
                    "dependencies.cell = { package = \"once_cell\" }",
                ),
                ("crates/sim/Cargo.toml", "dependencies.clap = \"4\""),
            ],
            &[
                "Cargo.toml: chrono is banned: times are integers, with their unit in the name",
                "crates/server/Cargo.toml: once_cell is banned: std::sync::OnceLock, LazyLock",
            ],
        );
    }

    #[test]
    fn a_core_dependency_without_a_decision_is_seen() {
        let root = ("Cargo.toml", "workspace.dependencies.memchr = \"2\"");
        let manifest = r#"
            [dependencies]
            wire.workspace = true
            memchr.workspace = true
            tokio = "1"
            bytes = { version = "1", default-features = false }
            [dev-dependencies]
            proptest = "1"
        "#;
        check(
            core,
            &[root, ("crates/node/Cargo.toml", manifest)],
            &[
                "crates/node/Cargo.toml: memchr in a core crate: default-features = false",
                "crates/node/Cargo.toml: tokio in a core crate needs a decision record",
            ],
        );
        check(core, &[root, ("crates/server/Cargo.toml", manifest)], &[]);
    }

    #[test]
    fn a_loose_version_is_seen() {
        let lock = ("Cargo.lock", "");
        for (version, expected) in [
            ("*", &["Cargo.toml: a: a version, not `*`"][..]),
            ("1.0.0-rc.1", &["Cargo.toml: a: a pre-release is pinned with `=`"]),
            ("=1.0.0-rc.1", &[]),
            ("1.2", &[]),
        ] {
            let manifest = format!("workspace.dependencies.a = {version:?}");
            check(pinned, &[lock, ("Cargo.toml", &manifest)], expected);
        }
        check(pinned, &[], &["Cargo.lock: the lock file is committed"]);
    }

    #[test]
    fn a_crate_with_lints_of_its_own_is_seen() {
        let rooms: Vec<String> = walls::HOUSE
            .iter()
            .map(|room| format!("{}/Cargo.toml", room.folder))
            .collect();
        let mut files: Vec<(&str, &str)> = rooms
            .iter()
            .map(|path| (path.as_str(), "lints.workspace = true"))
            .collect();
        check(lints, &files, &[]);
        files[0].1 = "lints.rust.unsafe_code = \"allow\"";
        check(lints, &files, &["crates/wire/Cargo.toml: lints.workspace = true"]);
    }
}
