//! The parts of a crate: structs, functions, modules and the paths that they name. Tests are left out.

use syn::{
    Attribute, Fields, ItemMod, ItemStruct, ItemUse, Meta, Path, UseTree,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::{tidy::rust, tree::Tree};

/// What begins a comment that says why a struct has many fields.
pub(super) const REASON: &str = "// Wide:";

/// A struct with many fields.
pub(super) struct Wide {
    pub(super) name: String,
    pub(super) fields: usize,
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) has_reason: bool,
}

/// A parsed file.
pub(super) struct File {
    path: String,
    /// The parts of its module's path: none for `lib.rs` and `main.rs`.
    pub(super) module: Vec<String>,
    lines: usize,
    structs: Vec<Wide>,
    functions: Vec<usize>,
    /// Paths that it names, with `use` trees spread out.
    pub(super) named: Vec<Vec<String>>,
}

/// A parsed crate.
pub(super) struct Parsed {
    pub(super) all: Vec<File>,
}

impl Parsed {
    /// The files below `src` of a crate that can be parsed and are not compiled for tests alone.
    pub(super) fn of(tree: &Tree, folder: &str) -> Self {
        let source = format!("{folder}/src/");
        let files = tree.rust(&source).filter(|(path, _)| !is_test(path));
        let parsed = files.filter_map(|(path, text)| File::of(path, &path[source.len()..], text));
        Self { all: parsed.collect() }
    }

    pub(super) fn lines(&self) -> usize {
        self.all.iter().map(|file| file.lines).sum()
    }

    pub(super) fn structs_above(&self, fields: usize) -> Vec<&Wide> {
        let structs = self.all.iter().flat_map(|file| &file.structs);
        structs.filter(|one| one.fields > fields).collect()
    }

    pub(super) fn functions_above(&self, lines: usize) -> usize {
        let functions = self.all.iter().flat_map(|file| &file.functions);
        functions.filter(|length| **length > lines).count()
    }
}

/// A file that is compiled for tests alone, by its name.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

impl File {
    fn of(path: &str, below: &str, text: &str) -> Option<Self> {
        let parsed = syn::parse_file(text).ok()?;
        let module: Vec<String> = below
            .trim_end_matches(".rs")
            .split('/')
            .filter(|part| !["lib", "main", "mod"].contains(part))
            .map(String::from)
            .collect();
        let mut reader = Reader {
            path,
            lines: text.lines().collect(),
            structs: Vec::new(),
            functions: Vec::new(),
            named: Vec::new(),
        };
        reader.visit_file(&parsed);
        Some(Self {
            path: path.into(),
            module,
            lines: rust::lines_before_tests(text),
            structs: reader.structs,
            functions: reader.functions,
            named: reader.named,
        })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

struct Reader<'a> {
    path: &'a str,
    lines: Vec<&'a str>,
    structs: Vec<Wide>,
    functions: Vec<usize>,
    named: Vec<Vec<String>>,
}

impl Reader<'_> {
    /// Whether one of the comment lines and attributes above this line gives a reason for many fields.
    fn has_reason(&self, line: usize) -> bool {
        let above = self.lines[..line.saturating_sub(1)].iter().rev();
        let mut above = above.map(|line| line.trim_start());
        above
            .by_ref()
            .take_while(|line| line.starts_with("//") || line.starts_with('#'))
            .any(|line| line.starts_with(REASON))
    }

    fn function(&mut self, block: &syn::Block) {
        let span = block.span();
        self.functions.push(span.end().line - span.start().line + 1);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        if let Fields::Named(fields) = &item.fields
            && !is_for_tests(&item.attrs)
        {
            let line = item.ident.span().start().line;
            self.structs.push(Wide {
                name: item.ident.to_string(),
                fields: fields.named.len(),
                path: self.path.into(),
                line,
                has_reason: self.has_reason(line),
            });
        }
        visit::visit_item_struct(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            self.function(&item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            self.function(&item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_for_tests(&item.attrs) {
            spread(&item.tree, &mut Vec::new(), &mut self.named);
        }
    }

    /// `pub(super)` names a module, but needs nothing of it.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast Path) {
        self.named
            .push(path.segments.iter().map(|part| part.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

/// Adds each path of a `use` tree.
fn spread(tree: &UseTree, before: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            spread(&path.tree, before, into);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| spread(tree, before, into)),
        UseTree::Name(name) => into.push([&before[..], &[name.ident.to_string()]].concat()),
        UseTree::Rename(name) => into.push([&before[..], &[name.ident.to_string()]].concat()),
        UseTree::Glob(_) => into.push(before.clone()),
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        Meta::Path(path) => path.is_ident("test"),
        Meta::NameValue(_) => false,
    })
}
