//! What a `Cargo.toml` says about dependencies.

use toml::{Table, Value};

use crate::tree::Tree;

/// One dependency of one manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    /// The package meant, whatever name it is given.
    pub(super) package: String,
    /// The version asked for; none for a path or where the workspace says it.
    pub(super) version: Option<String>,
    /// Whether the package's default features are on.
    pub(super) default_features: bool,
    /// Whether only tests, examples and benchmarks have it.
    pub(super) for_tests: bool,
}

/// The manifests of `tree` that can be read, by path.
pub(super) fn manifests(tree: &Tree) -> impl Iterator<Item = (&str, Table)> {
    let manifests = tree.iter().filter(|(path, _)| is_manifest(path));
    manifests.filter_map(|(path, text)| Some((path, text.parse().ok()?)))
}

fn is_manifest(path: &str) -> bool {
    path == "Cargo.toml" || path.ends_with("/Cargo.toml")
}

/// The manifest at `path`; empty if there is none that can be read.
pub(super) fn manifest(tree: &Tree, path: &str) -> Table {
    tree.get(path).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// All that `manifest` depends on: to run, to build, to test, everywhere or on some targets; the
/// workspace's common versions too. What is inherited is looked up in `root`.
pub(super) fn dependencies(manifest: &Table, root: &Table) -> Vec<Dependency> {
    let common = section(root, &["workspace", "dependencies"]);
    let mut places = vec![manifest];
    places.extend(section(manifest, &["workspace"]));
    let targets = section(manifest, &["target"]).into_iter().flat_map(Table::values);
    places.extend(targets.filter_map(Value::as_table));
    let mut found = Vec::new();
    for place in places {
        for (kind, for_tests) in [
            ("dependencies", false),
            ("build-dependencies", false),
            ("dev-dependencies", true),
        ] {
            let entries = section(place, &[kind]).into_iter().flatten();
            found.extend(entries.map(|(name, value)| dependency(name, value, common, for_tests)));
        }
    }
    found
}

fn dependency(name: &str, value: &Value, common: Option<&Table>, for_tests: bool) -> Dependency {
    let inherited = value.get("workspace").and_then(Value::as_bool) == Some(true);
    let source = if inherited {
        common.and_then(|common| common.get(name))
    } else {
        Some(value)
    };
    let text = |key: &str| source?.get(key)?.as_str().map(String::from);
    Dependency {
        package: text("package").unwrap_or_else(|| name.into()),
        version: text("version").or_else(|| source?.as_str().map(String::from)),
        default_features: source
            .and_then(|source| source.get("default-features")?.as_bool())
            .unwrap_or(true),
        for_tests,
    }
}

/// The table that lies at `path` within `table`.
pub(super) fn section<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Table> {
    path.iter().try_fold(table, |table, name| table.get(*name)?.as_table())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_dependency_is_found() {
        let root = r#"
            [workspace.dependencies]
            a = { version = "1", default-features = false }
            other = { path = "crates/b", package = "b" }
        "#;
        let manifest = r#"
            [dependencies]
            a.workspace = true
            other.workspace = true
            c = "2"
            [build-dependencies]
            d = { version = "3" }
            [target.'cfg(unix)'.dev-dependencies]
            e = "=4.0.0-rc.1"
        "#;
        let (root, manifest) = (root.parse().unwrap(), manifest.parse().unwrap());
        let show = |table: &Table| -> Vec<String> {
            let show = |d: Dependency| {
                let version = d.version.unwrap_or_else(|| "-".into());
                let flags = (d.default_features, d.for_tests);
                format!("{} {version} {}{}", d.package, u8::from(flags.0), u8::from(flags.1))
            };
            dependencies(table, &root).into_iter().map(show).collect()
        };
        assert_eq!(
            show(&manifest),
            ["a 1 00", "c 2 10", "b - 10", "d 3 10", "e =4.0.0-rc.1 11"]
        );
        assert_eq!(show(&root), ["a 1 00", "b - 10"]);
    }
}
