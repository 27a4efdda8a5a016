//! Checks that `docs/commands.md` lists the rows of the command table. `UPDATE=1 cargo test -p store --test
//! command_list` writes the file.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

use store::{
    command::{Arity, Row, Run},
    commands::ROWS,
};

const HEAD: &str = "\
# Commands

The commands of the Redis protocol that salp has, on any node and for any key. A command that is not listed is answered
with `ERR unknown command`. `COMMAND DOCS` gives the same list. The numbers are arguments, the command's name included.

This page is made from the table of commands in `crates/store/src/commands.rs`
(`UPDATE=1 cargo test -p store --test command_list`), and a test holds it to that.
";

fn page() -> String {
    let mut groups: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in ROWS {
        let subcommands = match row.run {
            Run::Family(rows) => rows,
            _ => &[],
        };
        // Rows with a percent sign are parts of other commands.
        let is_public = |row: &&Row| !row.name.starts_with('%') && !row.name.ends_with('|');
        let group = groups.entry(row.group).or_default();
        group.extend(std::iter::once(row).chain(subcommands).filter(is_public));
    }
    let mut text = HEAD.to_owned();
    for (group, rows) in groups.iter().filter(|(_, rows)| !rows.is_empty()) {
        write!(
            text,
            "\n## {group}\n\n| command | arguments | does |\n| --- | --- | --- |\n"
        )
        .unwrap();
        for row in rows {
            let name = row.name.replace('|', " ").to_uppercase();
            let count = match row.arity {
                Arity::Exactly(count) => count.to_string(),
                Arity::AtLeast(count) => format!("{count} or more"),
            };
            writeln!(text, "| `{name}` | {count} | {} |", row.doc.replace('|', "\\|")).unwrap();
        }
    }
    text
}

#[test]
fn the_list_of_commands_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    let page = page();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = page
        .lines()
        .zip(written.lines())
        .find(|(wanted, written)| wanted != written);
    assert!(
        page == written,
        "docs/commands.md is not that of the table, first difference {differs:?}: run \
         UPDATE=1 cargo test -p store --test command_list"
    );
    assert!(page.contains("| `SET` | 3 or more |") && page.contains("| `CLIENT ID` |"));
}
