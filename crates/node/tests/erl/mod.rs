//! One node, and one real `erl` to test it with.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of it")]

#[path = "../shell/mod.rs"]
mod shell;

use node::{Address, Atom, Event, Node};
use std::process::Child;

pub use shell::{Nothing, Shell, is_there};

pub const OURS: &str = "salp@127.0.0.3";
pub const THEIRS: &str = "beam@127.0.0.2";

pub fn beam(name: &str) -> Address {
    Address::Remote {
        node: Atom::new(THEIRS),
        name: Atom::new(name),
    }
}

/// A salp node, after `prepare` has added its processes.
pub fn ours(hidden: bool, prepare: impl FnOnce(&mut Node<Nothing>)) -> Shell {
    Shell::new(OURS, 0, hidden, prepare)
}

/// An `erl` that runs this program; None if there is no `erl`.
pub fn theirs(shell: &Shell, program: &str) -> Option<Child> {
    shell.erl("-name", THEIRS, program)
}

/// Checks that every line evaluates to `ok`, and that the only connection has ended for this reason.
pub fn check(shell: &mut Shell, lines: &[&str], counts_down: &str) {
    if !is_there() {
        return;
    }
    shell.check("-name", THEIRS, &format!("N = '{OURS}'"), lines);
    let downs: Vec<String> = shell
        .events
        .iter()
        .filter_map(|event| match event {
            Event::NodeDown { reason, .. } => Some(reason.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(downs, [counts_down], "{:?}", shell.events);
}
