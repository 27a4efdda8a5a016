//! Chores of the repository: `cargo run -p xtask -- tidy`, `cargo run -p xtask -- measure`.
//!
//! Imports none of the crates it watches over, so that it builds when they do not.

mod measure;
mod tidy;
mod tree;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use tree::Tree;

const USAGE: &str = "\
usage: cargo run -p xtask -- COMMAND
  tidy               checks the rules that the compiler cannot
  measure            prints figures of the crates, as in ARCHITECTURE.md
  measure --write    writes them there
  measure --circles  prints the files of the largest circle of each crate";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => with_tree(tidy),
        ["measure"] => with_tree(|tree| {
            print!("{}", measure::table(tree));
            ExitCode::SUCCESS
        }),
        ["measure", "--circles"] => with_tree(|tree| {
            print!("{}", measure::circles(tree));
            ExitCode::SUCCESS
        }),
        ["measure", "--write"] => with_tree(write),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn with_tree(act: impl Fn(&Tree) -> ExitCode) -> ExitCode {
    match Tree::read(&root()) {
        Ok(tree) => act(&tree),
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(2)
        }
    }
}

fn tidy(tree: &Tree) -> ExitCode {
    let faults = tidy::check(tree);
    for fault in &faults {
        eprintln!("{fault}");
    }
    println!("tidy: {} files, {} faults", tree.len(), faults.len());
    ExitCode::from(u8::from(!faults.is_empty()))
}

/// Writes the figures into their page.
fn write(tree: &Tree) -> ExitCode {
    let Some(page) = measure::rewritten(tree) else {
        eprintln!("xtask: {} has no place for the figures", measure::PAGE);
        return ExitCode::from(2);
    };
    match fs::write(root().join(measure::PAGE), page) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {}: {error}", measure::PAGE);
            ExitCode::from(2)
        }
    }
}

/// The repository that the command is run in, or else the one it was built from.
fn root() -> PathBuf {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let Ok(here) = env::current_dir() else {
        return built_from.into();
    };
    let root = here
        .ancestors()
        .find(|folder| folder.join("xtask/Cargo.toml").is_file());
    root.unwrap_or(built_from).into()
}
