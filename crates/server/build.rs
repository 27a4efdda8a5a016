//! Tells the program which commit it was built from, if it was built within its repository.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=../../.git/HEAD");
    println!("cargo::rerun-if-changed=build.rs");
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
