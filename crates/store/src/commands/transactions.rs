//! `MULTI`, `EXEC`, `WATCH` and related commands.
//!
//! A transaction runs at the primary of its keys, which are in one slot. `EXEC` makes one request of the queue:
//!
//! ```text
//! %exec.write  key  watched: (key version)*  requests: (argument*)*
//! ```
//!
//! - The primary executes the requests one after the other, and nothing between them. What they write is one delta with
//!   one stamp: a replica applies all of it at once.
//! - Commands that run at the client's own node (`PING`) are executed first. Their replies travel along, as requests
//!   `%reply`, so that all replies come back in order.
//! - A watched key is compared by its version, which changes with every write. `WATCH` asks the primary, and is
//!   answered once all replicas have what the primary has. So what the client reads afterwards, from any replica, is at
//!   least as new as the version.

use alloc::{format, vec::Vec};
use core::mem;

use wire::{
    reply::{ErrorKind, Reply},
    request::{Args, Batch},
};

use crate::{
    call::Call,
    command::{self, Access, Fold, Parts, Row, Run},
    message,
    outcome::{self, PIECE_BYTES},
    run,
    transaction::{Queue, WATCHED_MAX, Watched},
    visit::Visit,
};

/// `MULTI`
pub(super) fn multi(visit: &mut Visit<'_>) {
    if visit.session.transaction.is_open() {
        return visit.replies.error(ErrorKind::Err, "MULTI calls can not be nested");
    }
    visit.session.transaction.open();
    visit.replies.ok();
}

/// `DISCARD`
pub(super) fn discard(visit: &mut Visit<'_>) {
    match visit.session.transaction.close() {
        Some(_) => visit.replies.ok(),
        None => visit.replies.error(ErrorKind::Err, "DISCARD without MULTI"),
    }
}

/// `UNWATCH`
pub(super) fn unwatch(visit: &mut Visit<'_>) {
    visit.session.transaction.unwatch();
    visit.replies.ok();
}

/// `WATCH key …`: one part for each key.
pub(super) fn watch(visit: &mut Visit<'_>) -> Option<Parts> {
    if !visit.session.piecemeal {
        let text = "WATCH needs a connection of the Redis protocol";
        visit.replies.error(ErrorKind::Err, text);
        return None;
    }
    let transaction = &visit.session.transaction;
    if transaction.is_open() {
        visit.replies.error(ErrorKind::Err, "WATCH inside MULTI is not allowed");
        return None;
    }
    if transaction.watched() + visit.args.len() - 1 > WATCHED_MAX {
        let text = format!("a connection may watch {WATCHED_MAX} keys");
        visit.replies.error(ErrorKind::Err, text);
        return None;
    }
    let row = command::find(visit.arg(0))?;
    Some((row.split("%watch", visit.args), Fold::Watch))
}

/// `%watch key`: its version, or 0.
pub(super) fn version(call: &mut Call<'_>) {
    let version = call.version(call.arg(1));
    call.replies.int(version);
}

/// Remembers the versions of watched keys, which are the replies to the `parts` of a `WATCH`. After an error, no key of
/// them is watched.
pub(crate) fn watched(run: &mut run::Run, parts: &Batch) {
    let keyspace = run.ask.session.keyspace;
    let versions: Option<Vec<i64>> = parts
        .replies
        .tokens()
        .map(|reply| {
            if let Reply::Int(version) = reply {
                Some(version)
            } else {
                None
            }
        })
        .collect();
    for (args, version) in parts.requests().zip(versions.unwrap_or_default()) {
        let key = args[1].into();
        run.ask.session.transaction.watch(Watched { keyspace, key, version });
    }
}

/// `EXEC`: the one part that the primary executes.
pub(super) fn exec(visit: &mut Visit<'_>) -> Option<Parts> {
    let Some((queue, watched)) = visit.session.transaction.close() else {
        visit.replies.error(ErrorKind::Err, "EXEC without MULTI");
        return None;
    };
    if queue.failed {
        let text = "Transaction discarded because of previous errors.";
        visit.replies.error(ErrorKind::ExecAbort, text);
        return None;
    }
    let keyspace = visit.session.keyspace;
    let span = visit.store.layout.span(keyspace);
    let slot = queue
        .slot
        .or_else(|| watched.first().map(|watched| span.slot(&watched.key)));
    let is_apart = |watched: &Watched| watched.keyspace != keyspace || slot != Some(span.slot(&watched.key));
    if queue.crosses_slots || watched.iter().any(is_apart) {
        let text = "Keys in transaction don't hash to the same slot; write the common part of their names in braces, \
                    or use a keyspace with slots = \"one\"";
        visit.replies.error(ErrorKind::CrossSlot, text);
        return None;
    }
    let Some(key) = watched
        .first()
        .map(|watched| &*watched.key)
        .or_else(|| first_key(&queue))
    else {
        exec_here(visit, &queue);
        return None;
    };
    let name = match queue.access {
        Access::Grow => "%exec.grow",
        Access::Read if watched.is_empty() => "%exec.read",
        Access::Read | Access::Write | Access::Watch => "%exec.write",
    };
    let mut versions = Vec::new();
    for watched in &watched {
        let version = watched.version.to_le_bytes();
        message::put_request(&mut versions, 2, [&*watched.key, &version].into_iter());
    }
    let mut requests = Vec::new();
    for args in queue.requests.requests() {
        let row = row_of(args);
        row.inspect(|row| visit.mix.add(row));
        match row.map(|row| row.run) {
            Some(Run::Here(act)) => {
                let reply = reply_here(visit, act, args);
                message::put_request(&mut requests, 2, [&b"%reply"[..], &reply].into_iter());
            }
            _ => message::put_request(&mut requests, args.len(), args.iter()),
        }
    }
    let mut batch = Batch::new();
    batch.push(&[name.as_bytes(), key, &versions, &requests]);
    Some((batch, Fold::First))
}

/// The first key of a queue.
fn first_key(queue: &Queue) -> Option<&[u8]> {
    queue
        .requests
        .requests()
        .find_map(|args| row_of(args)?.keys.of(args).next())
}

/// Executes a transaction without keys.
fn exec_here(visit: &mut Visit<'_>, queue: &Queue) {
    visit.replies.array(queue.requests.len());
    for args in queue.requests.requests() {
        if let Some(Run::Here(act)) = row_of(args).map(|row| row.run) {
            act(&mut visit.part(args));
        }
    }
}

/// Executes one command at the client's own node. The encoded reply.
fn reply_here(visit: &mut Visit<'_>, act: fn(&mut Visit<'_>), args: Args<'_>) -> Vec<u8> {
    let outer = mem::take(visit.replies);
    act(&mut visit.part(args));
    let reply = mem::replace(visit.replies, outer);
    let mut bytes = Vec::new();
    outcome::encode(&mut bytes, &reply);
    bytes
}

/// The row of a request that was checked before.
fn row_of(args: Args<'_>) -> Option<&'static Row> {
    command::find(&args[0]).map(|row| row.member(args.get(1)).unwrap_or(row))
}

/// `%exec.… key watched requests`: an array of the replies, or a null array if a watched key has changed.
pub(super) fn execute(call: &mut Call<'_>) {
    let mut unchanged = true;
    let watched = message::requests(call.arg(2), |args| {
        let version = args.get(1).and_then(|bytes| bytes.first_chunk()).copied();
        unchanged &= version.map(i64::from_le_bytes) == Some(call.version(args[0]));
    });
    let mut batch = Batch::new();
    let requests = message::requests(call.arg(3), |args| batch.push(args));
    if watched.is_err() || requests.is_err() {
        return call.replies.syntax();
    }
    if !unchanged {
        return call.replies.null_array();
    }
    call.begin_transaction();
    call.replies.array(batch.len());
    for args in batch.requests() {
        let mark = call.replies.mark();
        execute_one(call, args);
        if call.replies.data_len() > call.config.value_bytes_max.max(PIECE_BYTES) {
            let text = "executed; the replies are too large together";
            call.replies.replace(mark, ErrorKind::Oom, text);
        }
    }
}

fn execute_one(call: &mut Call<'_>, args: Args<'_>) {
    let row = row_of(args).filter(|row| row.arity.admits(args.len()));
    let bytes_max = call.config.value_bytes_max;
    if row.is_some_and(Row::writes) && call.delta.as_ref().is_some_and(|delta| delta.len() > bytes_max) {
        let text = format_args!("not executed: the transaction has written more than {bytes_max} bytes");
        return call.replies.error(ErrorKind::Err, text);
    }
    match row.map(|row| (row, row.run)) {
        Some((row, Run::Shard(_, act))) if !row.name.starts_with("%exec") => act(&mut call.part(args)),
        Some((row, Run::Each(..))) if !(args.len() - 1).is_multiple_of(row.keys.step()) => {
            call.replies.wrong_arity(row.name);
        }
        Some((row, Run::Each(part, fold))) => {
            let parts = row.split(part, args);
            let Some(Run::Shard(_, act)) = command::find(part.as_bytes()).map(|row| row.run) else {
                return call.replies.syntax();
            };
            let outer = mem::take(call.replies);
            for args in parts.requests() {
                act(&mut call.part(args));
            }
            let replies = mem::replace(call.replies, outer);
            command::fold(fold, &replies, call.random, call.replies);
        }
        _ => call.replies.syntax(),
    }
}

/// `%reply bytes`: a reply that was made at the client's own node.
pub(super) fn reply(call: &mut Call<'_>) {
    match outcome::decode(call.arg(1)) {
        Ok(reply) if reply.count() == 1 => call.replies.append(&reply),
        _ => call.replies.null(),
    }
}
