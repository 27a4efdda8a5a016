//! `COMMAND` and every `HELP`, generated from the rows of the command table.
//!
//! Clients route by keys, arity and the flags `readonly`, `write` and `denyoom`. Two things are left out on purpose.
//! Tips (`request_policy`) tell a client to ask every node and add up the answers; a salp node does that itself. Speed
//! classes (`fast`, complexity) are not measured.

use alloc::{format, vec::Vec};
use wire::{
    reply::{ErrorKind, Replies},
    request::Args,
};

use super::glob;
use crate::{
    command::{self, Access, Row, Run},
    visit::Visit,
};

/// All commands exist since the first version.
const SINCE: &str = "0.1.0";

/// `COMMAND`
pub(super) fn all(visit: &mut Visit<'_>) {
    visit.replies.array(command::public().count());
    for row in command::public() {
        info_of(visit.replies, row);
    }
}

/// `COMMAND COUNT`
pub(super) fn count(visit: &mut Visit<'_>) {
    visit.replies.int(command::public().count() as i64);
}

/// `COMMAND INFO [name …]`
pub(super) fn info(visit: &mut Visit<'_>) {
    let names = visit.args.skip(2);
    if names.is_empty() {
        return all(visit);
    }
    visit.replies.array(names.len());
    for name in names.iter() {
        match public(name) {
            Some(row) => info_of(visit.replies, row),
            None => visit.replies.null(),
        }
    }
}

/// `COMMAND DOCS [name …]`
pub(super) fn docs(visit: &mut Visit<'_>) {
    let names = visit.args.skip(2);
    let rows: Vec<&Row> = if names.is_empty() {
        command::public().collect()
    } else {
        names.iter().filter_map(public).collect()
    };
    visit.replies.map(rows.len());
    for row in rows {
        docs_of(visit.replies, row);
    }
}

/// `COMMAND LIST [FILTERBY MODULE name|ACLCAT category|PATTERN pattern]`
pub(super) fn list(visit: &mut Visit<'_>) {
    let (filter, value) = match visit.args.len() {
        2 => (&b"pattern"[..], &b"*"[..]),
        5 if visit.arg(2).eq_ignore_ascii_case(b"filterby") => (visit.arg(3), visit.arg(4)),
        _ => return visit.replies.syntax(),
    };
    let rows = command::public().flat_map(|row| core::iter::once(row).chain(row.subcommands()));
    let rows: Vec<&Row> = match filter.to_ascii_lowercase().as_slice() {
        b"pattern" => rows.filter(|row| glob::matches(value, row.name.as_bytes())).collect(),
        b"aclcat" => rows
            .filter(|row| categories(row).iter().any(|name| name.as_bytes()[1..] == *value))
            .collect(),
        b"module" => Vec::new(),
        _ => return visit.replies.syntax(),
    };
    visit.replies.array(rows.len());
    for row in rows {
        visit.replies.bulk(row.name.as_bytes());
    }
}

/// `COMMAND GETKEYS command [argument …]`
pub(super) fn getkeys(visit: &mut Visit<'_>) {
    let request = visit.args.skip(2);
    let row = public(&request[0]).map(|row| row.member(request.get(1)).unwrap_or(row));
    match keys_of(row, request) {
        Ok(keys) => {
            visit.replies.array(keys.len());
            for key in keys {
                visit.replies.bulk(key);
            }
        }
        Err(text) => visit.replies.error(ErrorKind::Err, text),
    }
}

fn keys_of<'a>(row: Option<&Row>, request: Args<'a>) -> Result<Vec<&'a [u8]>, &'static str> {
    let row = row.ok_or("Invalid command specified")?;
    if row.keys.spec().0 == 0 {
        return Err("The command has no key arguments");
    }
    if !row.arity.admits(request.len()) {
        return Err("Invalid number of arguments specified for command");
    }
    Ok(row.keys.of(request).collect())
}

/// `HELP` for the command of the request.
pub(super) fn help(visit: &mut Visit<'_>) {
    let Some(family) = command::find(visit.arg(0)) else {
        return visit.replies.syntax();
    };
    let name = family.name.to_uppercase();
    let mut lines = alloc::vec![format!(
        "{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    )];
    for row in family.subcommands() {
        lines.push(row.subcommand().to_uppercase());
        lines.push(format!("    {}", row.doc));
    }
    visit.replies.array(lines.len());
    for line in lines {
        visit.replies.status(&line);
    }
}

fn public(name: &[u8]) -> Option<&'static Row> {
    command::find_full(name).filter(|row| !row.is_internal())
}

fn info_of(replies: &mut Replies, row: &Row) {
    let (first, last, step) = row.keys.spec();
    replies.array(10);
    replies.bulk(row.name.as_bytes());
    replies.int(row.arity.to_int());
    words(replies, flags(row));
    replies.int(first);
    replies.int(last);
    replies.int(step);
    words(replies, &categories(row));
    replies.array(0);
    if first == 0 {
        replies.array(0);
    } else {
        replies.array(1);
        key_spec(replies, row);
    }
    replies.array(row.subcommands().count());
    for subcommand in row.subcommands() {
        info_of(replies, subcommand);
    }
}

/// Where keys begin, and which of the arguments from there on are keys. `last` and `limit` count from the first key.
fn key_spec(replies: &mut Replies, row: &Row) {
    let (first, last, step) = row.keys.spec();
    let relative = if last < 0 { last } else { last - first };
    replies.map(3);
    replies.bulk(b"flags");
    words(
        replies,
        if row.writes() {
            &["RW", "access", "update"]
        } else {
            &["RO", "access"]
        },
    );
    replies.bulk(b"begin_search");
    spec(replies, "index", &[("index", first)]);
    replies.bulk(b"find_keys");
    spec(
        replies,
        "range",
        &[("lastkey", relative), ("keystep", step), ("limit", 0)],
    );
}

fn spec(replies: &mut Replies, kind: &str, numbers: &[(&str, i64)]) {
    replies.map(2);
    replies.bulk(b"type");
    replies.bulk(kind.as_bytes());
    replies.bulk(b"spec");
    replies.map(numbers.len());
    for (name, number) in numbers {
        replies.bulk(name.as_bytes());
        replies.int(*number);
    }
}

fn words(replies: &mut Replies, words: &[&str]) {
    replies.set(words.len());
    for word in words {
        replies.status(word);
    }
}

fn flags(row: &Row) -> &'static [&'static str] {
    match (row.access(), row.run) {
        (Some(Access::Read), _) => &["readonly"],
        (Some(Access::Watch), _) => &[],
        (Some(Access::Write), _) => &["write"],
        (Some(Access::Grow), _) => &["write", "denyoom"],
        (None, Run::Family(_)) => &[],
        (None, _) if row.needs_no_password() => &["noscript", "loading", "stale", "no_auth"],
        (None, _) => &["noscript", "loading", "stale"],
    }
}

fn categories(row: &Row) -> Vec<&'static str> {
    let mut categories = Vec::new();
    match row.group {
        "string" => categories.push("@string"),
        "generic" => categories.push("@keyspace"),
        "connection" => categories.push("@connection"),
        "transactions" => categories.push("@transaction"),
        _ => {}
    }
    match row.access() {
        Some(Access::Read) => categories.push("@read"),
        Some(Access::Write | Access::Grow) => categories.push("@write"),
        Some(Access::Watch) | None => {}
    }
    categories
}

fn docs_of(replies: &mut Replies, row: &Row) {
    let subcommands: Vec<&Row> = row.subcommands().collect();
    replies.bulk(row.name.as_bytes());
    replies.map(3 + usize::from(!subcommands.is_empty()));
    for (name, text) in [("summary", row.doc), ("since", SINCE), ("group", row.group)] {
        replies.bulk(name.as_bytes());
        replies.bulk(text.as_bytes());
    }
    if !subcommands.is_empty() {
        replies.bulk(b"subcommands");
        replies.map(subcommands.len());
        for subcommand in subcommands {
            docs_of(replies, subcommand);
        }
    }
}
