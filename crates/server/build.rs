//! Tells the program which commit it was built from, if it was built within its repository.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The log changes with every commit, `HEAD` only with the branch. A path that is not there would count as changed.
    for path in ["../../.git/HEAD", "../../.git/logs/HEAD"] {
        if Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let git = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = git
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    if let Some(commit) = commit {
        println!(
            "cargo::rustc-env=SALP_VERSION={} ({})",
            env!("CARGO_PKG_VERSION"),
            commit.trim()
        );
    }
}
