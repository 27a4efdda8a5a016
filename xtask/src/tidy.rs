//! The rules of the house that the compiler cannot hold, as a test.
//!
//! A rule is a function from the repository's files to the faults it finds. Rules see a [`Tree`],
//! never the disk, so that each can be shown a small false tree and must catch what was planted.
//!
//! Models: tigerbeetle `src/tidy.zig`, rust-analyzer `xtask/src/tidy.rs`.

mod dependencies;
mod files;
mod manifest;
mod rust;
mod walls;
mod wire;

use std::{collections::BTreeMap, fmt, fs, io, path::Path};

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
];

/// Everything that is wrong with `tree`.
pub(crate) fn check(tree: &Tree) -> Vec<Fault> {
    RULES.iter().flat_map(|rule| rule(tree)).collect()
}

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    path: String,
    /// From 1; 0 is the file as a whole.
    line: usize,
    what: String,
}

impl Fault {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// The text files of a repository by their path from its root, `/` between the parts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads all text below `root` but what is built, fetched or hidden.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() && !is_skipped(&name) {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() && !is_skipped(&name) {
                self.read_file(&entry.path(), path)?;
            }
        }
        Ok(())
    }

    fn read_file(&mut self, file: &Path, path: String) -> io::Result<()> {
        if let Ok(text) = String::from_utf8(fs::read(file)?) {
            self.files.insert(path, text);
        }
        Ok(())
    }

    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// The Rust files in `folder`, all of them if it is empty.
    fn rust(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        self.iter()
            .filter(move |(path, _)| path.starts_with(folder) && path.ends_with(".rs"))
    }
}

fn is_skipped(name: &str) -> bool {
    let is_hidden = name.starts_with('.') && name != ".ci";
    is_hidden || ["target", "node_modules", "__pycache__"].contains(&name)
}

#[cfg(test)]
impl Tree {
    fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).into(), (*text).into()))
            .collect();
        Self { files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let tree = Tree::read(&root).unwrap();
        assert!(tree.get("xtask/src/tidy.rs").is_some(), "the repository was not found");
        let faults: Vec<String> = check(&tree).iter().map(Fault::to_string).collect();
        assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    }

    #[test]
    fn faults_say_where() {
        assert_eq!(Fault::new("a.rs", 7, "odd").to_string(), "a.rs:7: odd");
        assert_eq!(Fault::new("a.rs", 0, "odd").to_string(), "a.rs: odd");
    }

    #[test]
    fn what_is_built_or_hidden_is_not_ours() {
        for (name, skipped) in [("target", true), (".git", true), (".ci", false), ("src", false)] {
            assert_eq!(is_skipped(name), skipped, "{name}");
        }
    }
}
