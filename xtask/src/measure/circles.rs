//! Files that need each other in a circle: none of them can be understood, or moved, without the others.

use std::collections::BTreeMap;

use super::parts::{File, Parsed};

/// The files of the largest circle, by their path; none if there is no circle.
pub(super) fn largest(parsed: &Parsed) -> Vec<&str> {
    let files: Files<'_> = parsed
        .all
        .iter()
        .enumerate()
        .map(|(at, file)| (&file.module[..], at))
        .collect();
    let needs: Vec<Vec<usize>> = (0..parsed.all.len())
        .map(|at| needs(at, parsed, &files).filter(|other| *other != at).collect())
        .collect();
    let largest = circles(&needs).into_iter().max_by_key(Vec::len).unwrap_or_default();
    if largest.len() < 2 {
        return Vec::new();
    }
    largest.into_iter().map(|at| parsed.all[at].path()).collect()
}

type Files<'a> = BTreeMap<&'a [String], usize>;

/// The files whose items a file names. A path counts for the deepest module in it.
fn needs<'a>(at: usize, parsed: &'a Parsed, files: &'a Files<'_>) -> impl Iterator<Item = usize> + 'a {
    let file = &parsed.all[at];
    file.named.iter().filter_map(move |path| {
        let full = resolved(file, path, files)?;
        match full.first().and_then(|first| handed_on(parsed, files, first)) {
            // The root only hands it on, from a file or from another crate.
            Some(from) => from,
            None => deepest(&full, files),
        }
    })
}

/// A path from the root of the crate; none if it leads out of the crate.
fn resolved(file: &File, path: &[String], files: &Files<'_>) -> Option<Vec<String>> {
    let mut full: Vec<String> = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => file.module.clone(),
        // A path that begins with a module below this one.
        first => {
            let below = [&file.module[..], &[first.to_owned()]].concat();
            files.get(&below[..])?;
            file.module.clone()
        }
    };
    for part in path {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => drop(full.pop()),
            part => full.push(part.to_owned()),
        }
    }
    Some(full)
}

fn deepest(full: &[String], files: &Files<'_>) -> Option<usize> {
    (0..=full.len())
        .rev()
        .find_map(|length| files.get(&full[..length]).copied())
}

/// The file of an item that the root of the crate imports and hands on under this name; no file if the item is of
/// another crate.
fn handed_on(parsed: &Parsed, files: &Files<'_>, name: &String) -> Option<Option<usize>> {
    let root = &parsed.all[*files.get(&[][..])?];
    let is_it = |path: &&Vec<String>| path.len() > 1 && path.last() == Some(name);
    let path = root.named.iter().find(is_it)?;
    Some(resolved(root, path, files).and_then(|full| deepest(&full, files)))
}

/// The strongly connected parts of a graph (Tarjan, "Depth-first search and linear graph algorithms", 1972).
fn circles(needs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut walk = Walk {
        needs,
        order: vec![0; needs.len()],
        low: vec![0; needs.len()],
        met: 0,
        open: Vec::new(),
        found: Vec::new(),
    };
    for at in 0..needs.len() {
        if walk.order[at] == 0 {
            walk.visit(at);
        }
    }
    walk.found
}

struct Walk<'a> {
    needs: &'a [Vec<usize>],
    /// When a node was met, from 1; 0 before that.
    order: Vec<usize>,
    /// The earliest open node that can be reached from a node.
    low: Vec<usize>,
    met: usize,
    open: Vec<usize>,
    found: Vec<Vec<usize>>,
}

impl Walk<'_> {
    fn visit(&mut self, at: usize) {
        self.met += 1;
        (self.order[at], self.low[at]) = (self.met, self.met);
        self.open.push(at);
        for next in self.needs[at].iter().copied() {
            if self.order[next] == 0 {
                self.visit(next);
                self.low[at] = self.low[at].min(self.low[next]);
            } else if self.open.contains(&next) {
                self.low[at] = self.low[at].min(self.order[next]);
            }
        }
        if self.low[at] == self.order[at]
            && let Some(first) = self.open.iter().position(|open| *open == at)
        {
            let mut circle = self.open.split_off(first);
            circle.sort_unstable();
            self.found.push(circle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn largest_of(files: &[(&str, &str)]) -> Vec<String> {
        let parsed = Parsed::of(&Tree::of(files), "crates/a");
        largest(&parsed).into_iter().map(String::from).collect()
    }

    #[test]
    fn files_that_need_each_other_are_a_circle() {
        let (lib, one) = ("crates/a/src/lib.rs", "crates/a/src/one.rs");
        let (two, three) = ("crates/a/src/one/two.rs", "crates/a/src/three.rs");
        let tree = [
            (lib, "mod one; mod three;"),
            (one, "mod two; use two::B; pub struct A;"),
            (two, "use crate::three::C; pub struct B;"),
            (three, "pub(crate) fn f(a: super::one::A) {}"),
        ];
        assert_eq!(largest_of(&tree), [one, two, three]);
        let without = [tree[0], tree[1], tree[2], (three, "pub struct C;")];
        assert!(largest_of(&without).is_empty());
    }

    #[test]
    fn tests_need_what_they_like() {
        let tree = [
            ("crates/a/src/one.rs", "use crate::two::B; mod three;"),
            (
                "crates/a/src/one/three.rs",
                "pub(super) struct C; pub(in crate::one) struct D;",
            ),
            ("crates/a/src/two.rs", "#[cfg(test)] mod tests { use crate::one::A; }"),
        ];
        assert!(largest_of(&tree).is_empty());
    }
}
