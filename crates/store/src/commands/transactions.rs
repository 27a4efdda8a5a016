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
    reply::{ErrorKind, Replies, Reply},
    request::{Args, Batch},
};

use super::nested;
use crate::{
    call::Call,
    command::{self, Access, Fold, Parts, Run},
    message,
    outcome::{self, PIECE_BYTES},
    run,
    transaction::{Queue, WATCHED_MAX, Watched},
    visit::Visit,
};

/// The error for requests that would make more replies than a transaction may have.
const NOT_EXECUTED: &str = "not executed: the replies of the transaction are too large together";

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
/// them is watched, and the next `EXEC` executes nothing: it may be in the same pipeline.
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
    let Some(versions) = versions else {
        return run.ask.session.transaction.fail_watch();
    };
    for (args, version) in parts.requests().zip(versions) {
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
    let mut made_bytes = 0;
    for args in queue.requests.requests() {
        let row = nested::row_of(args);
        row.inspect(|row| visit.mix.add(row));
        match row.map(|row| row.run) {
            Some(Run::Here(act)) => {
                let mut reply = Vec::new();
                outcome::encode(&mut reply, &run_here(visit, act, args, &mut made_bytes));
                message::put_request(&mut requests, 2, [&b"%reply"[..], &reply].into_iter());
            }
            Some(Run::Plan(_, plan)) => match planned(visit, plan, args) {
                Ok(batch) => {
                    let args = batch.request(0);
                    message::put_request(&mut requests, args.len(), args.iter());
                }
                Err(reply) => message::put_request(&mut requests, 2, [&b"%reply"[..], &reply].into_iter()),
            },
            _ => message::put_request(&mut requests, args.len(), args.iter()),
        }
    }
    let mut batch = Batch::new();
    batch.push(&[name.as_bytes(), key, &versions, &requests]);
    Some((batch, Fold::First))
}

/// The first key of a queue. A script without keys may run on any shard, as if it had the empty key.
fn first_key(queue: &Queue) -> Option<&[u8]> {
    let is_script = |args: Args<'_>| nested::row_of(args).is_some_and(|row| matches!(row.run, Run::Plan(..)));
    let requests = &queue.requests;
    let key = requests
        .requests()
        .find_map(|args| nested::row_of(args)?.keys.of(args).next());
    key.or_else(|| requests.requests().any(is_script).then_some(&b""[..]))
}

/// Executes a transaction without keys.
fn exec_here(visit: &mut Visit<'_>, queue: &Queue) {
    visit.replies.array(queue.requests.len());
    let mut made_bytes = 0;
    for args in queue.requests.requests() {
        if let Some(Run::Here(act)) = nested::row_of(args).map(|row| row.run) {
            let reply = run_here(visit, act, args, &mut made_bytes);
            visit.replies.append(&reply);
        }
    }
}

/// Executes one command at the client's own node, unless the replies to earlier ones have more than [`PIECE_BYTES`].
fn run_here(visit: &mut Visit<'_>, act: fn(&mut Visit<'_>), args: Args<'_>, made_bytes: &mut usize) -> Replies {
    let mut reply = Replies::new();
    if *made_bytes > PIECE_BYTES {
        reply.error(ErrorKind::Oom, NOT_EXECUTED);
        return reply;
    }
    mem::swap(visit.replies, &mut reply);
    act(&mut visit.part(args));
    mem::swap(visit.replies, &mut reply);
    *made_bytes += reply.data_len();
    reply
}

/// The one request that a command of a plan becomes; the error is its encoded reply, if it has one already.
fn planned(visit: &mut Visit<'_>, plan: fn(&mut Visit<'_>) -> Option<Parts>, args: Args<'_>) -> Result<Batch, Vec<u8>> {
    let outer = mem::take(visit.replies);
    let parts = plan(&mut visit.part(args));
    let reply = mem::replace(visit.replies, outer);
    match parts {
        Some((batch, _)) => Ok(batch),
        None => {
            let mut bytes = Vec::new();
            outcome::encode(&mut bytes, &reply);
            Err(bytes)
        }
    }
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
    let bytes_max = call.config.value_bytes_max.max(PIECE_BYTES);
    let mut made_bytes = 0;
    let mut reply = Replies::new();
    for args in batch.requests() {
        // What a write replies with is mostly small. `%reply` is executed already.
        let is_read = nested::row_of(args).is_some_and(|row| !row.writes() && !row.is_internal());
        let enough_bytes = if is_read { bytes_max } else { 4 * bytes_max };
        if made_bytes > enough_bytes {
            call.replies.error(ErrorKind::Oom, NOT_EXECUTED);
            continue;
        }
        // A reply that is too large is dropped at once, before the next one is made.
        mem::swap(call.replies, &mut reply);
        match nested::row_of(args) {
            Some(row) => nested::run(call, row, args),
            None => call.replies.syntax(),
        }
        mem::swap(call.replies, &mut reply);
        made_bytes += reply.data_len();
        let is_small = reply.data_len() <= NOT_EXECUTED.len();
        if !is_small && call.replies.data_len() + reply.data_len() > bytes_max {
            let text = "executed; the replies are too large together";
            call.replies.error(ErrorKind::Oom, text);
        } else {
            call.replies.append(&reply);
        }
        reply.clear();
    }
}

/// `%reply bytes`: a reply that was made at the client's own node.
pub(super) fn reply(call: &mut Call<'_>) {
    match outcome::decode(call.arg(1)) {
        Ok(reply) if reply.count() == 1 => call.replies.append(&reply),
        _ => call.replies.null(),
    }
}
