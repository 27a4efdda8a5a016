//! `EVAL` and related commands: Lua scripts.
//!
//! A script runs at the primary of its keys, like any command on one shard. `EVAL` has the source with it; `EVALSHA`
//! finds it, because a script that one node has got is told to all (`scripts.rs`).

use alloc::{format, vec::Vec};

use wire::{
    reply::ErrorKind,
    request::{Args, Batch},
};

use super::number::integer;
use crate::{
    call::Call,
    command::{Fold, Parts},
    scripts::{self, Program, Sha, run},
    visit::Visit,
};

/// Longest source of a script, in bytes.
const SOURCE_BYTES_MAX: usize = 1 << 20;

/// `EVAL source count key … argument …`
pub(super) fn eval(visit: &mut Visit<'_>) -> Option<Parts> {
    plan_source(visit, b"%eval")
}

/// `EVAL_RO source count key … argument …`
pub(super) fn eval_ro(visit: &mut Visit<'_>) -> Option<Parts> {
    plan_source(visit, b"%eval_ro")
}

/// `EVALSHA sha count key … argument …`
pub(super) fn evalsha(visit: &mut Visit<'_>) -> Option<Parts> {
    plan_sha(visit, b"%evalsha")
}

/// `EVALSHA_RO sha count key … argument …`
pub(super) fn evalsha_ro(visit: &mut Visit<'_>) -> Option<Parts> {
    plan_sha(visit, b"%evalsha_ro")
}

fn plan_source(visit: &mut Visit<'_>, part: &[u8]) -> Option<Parts> {
    if !has_keys(visit) || !fits(visit, 1) {
        return None;
    }
    visit.store.learn_script(visit.arg(1));
    Some(parts(part, visit.args))
}

fn plan_sha(visit: &mut Visit<'_>, part: &[u8]) -> Option<Parts> {
    if !has_keys(visit) {
        return None;
    }
    if !scripts::parse(visit.arg(1)).is_some_and(|sha| visit.store.scripts.knows(&sha)) {
        visit.replies.no_script();
        return None;
    }
    Some(parts(part, visit.args))
}

fn parts(part: &[u8], args: Args<'_>) -> Parts {
    let mut request: Vec<&[u8]> = args.iter().collect();
    request[0] = part;
    let mut batch = Batch::new();
    batch.push(&request);
    (batch, Fold::First)
}

/// Whether the request has as many keys as it says. If not, writes the error.
fn has_keys(visit: &mut Visit<'_>) -> bool {
    let text = match integer(visit.arg(2)) {
        None => "value is not an integer or out of range",
        Some(..0) => "Number of keys can't be negative",
        Some(count) if count > visit.args.len() as i64 - 3 => "Number of keys can't be greater than number of args",
        Some(_) => return true,
    };
    visit.replies.error(ErrorKind::Err, text);
    false
}

/// Whether argument `index` is short enough for a script. If not, writes the error.
fn fits(visit: &mut Visit<'_>, index: usize) -> bool {
    let fits = visit.arg(index).len() <= SOURCE_BYTES_MAX;
    if !fits {
        let text = format!("script is longer than {SOURCE_BYTES_MAX} bytes");
        visit.replies.error(ErrorKind::Err, text);
    }
    fits
}

/// `%eval source count key … argument …`
pub(super) fn execute(call: &mut Call<'_>) {
    execute_source(call, false);
}

/// `%eval_ro source count key … argument …`
pub(super) fn execute_ro(call: &mut Call<'_>) {
    execute_source(call, true);
}

/// `%evalsha sha count key … argument …`
pub(super) fn execute_sha(call: &mut Call<'_>) {
    execute_known(call, scripts::parse(call.arg(1)), false);
}

/// `%evalsha_ro sha count key … argument …`
pub(super) fn execute_sha_ro(call: &mut Call<'_>) {
    execute_known(call, scripts::parse(call.arg(1)), true);
}

fn execute_source(call: &mut Call<'_>, only_reads: bool) {
    call.scripts.learn(call.arg(1));
    let sha = scripts::sha_of(call.arg(1));
    execute_known(call, Some(sha), only_reads);
}

fn execute_known(call: &mut Call<'_>, sha: Option<Sha>, only_reads: bool) {
    let found = sha.and_then(|sha| Some((sha, call.scripts.program(&sha)?)));
    match found {
        None => call.replies.no_script(),
        Some((_, Err(why))) => call.replies.error(ErrorKind::Err, why),
        Some((sha, Ok(program))) => run::run(call, &sha, &program, only_reads),
    }
}

/// `SCRIPT LOAD source`
pub(super) fn load(visit: &mut Visit<'_>) {
    let source = visit.arg(2);
    if !fits(visit, 2) {
        return;
    }
    if let Err(why) = Program::compile(source) {
        return visit.replies.error(ErrorKind::Err, why);
    }
    visit.store.learn_script(source);
    visit.replies.bulk(&scripts::digits(&scripts::sha_of(source)));
}

/// `SCRIPT EXISTS sha …`
pub(super) fn exists(visit: &mut Visit<'_>) {
    let shas = visit.args.skip(2);
    visit.replies.array(shas.len());
    for sha in shas.iter() {
        let is_known = scripts::parse(sha).is_some_and(|sha| visit.store.scripts.knows(&sha));
        visit.replies.int(i64::from(is_known));
    }
}

/// `SCRIPT SHOW sha`
pub(super) fn show(visit: &mut Visit<'_>) {
    let source = scripts::parse(visit.arg(2)).and_then(|sha| visit.store.scripts.source(&sha));
    match source {
        Some(source) => visit.replies.bulk(&source),
        None => visit.replies.no_script(),
    }
}

/// `SCRIPT FLUSH [ASYNC|SYNC]`
pub(super) fn flush(visit: &mut Visit<'_>) {
    let mode = visit.arg(2).to_ascii_lowercase();
    if visit.args.len() > 3 || !matches!(mode.as_slice(), b"" | b"async" | b"sync") {
        let text = "SCRIPT FLUSH only support SYNC|ASYNC option";
        return visit.replies.error(ErrorKind::Err, text);
    }
    visit.store.forget_scripts();
    visit.replies.ok();
}

/// `SCRIPT KILL`: a script ends at its bounds before another request is read.
pub(super) fn kill(visit: &mut Visit<'_>) {
    let text = "No scripts in execution right now.";
    visit.replies.error(ErrorKind::NotBusy, text);
}

/// `SCRIPT DEBUG YES|SYNC|NO`
pub(super) fn debug(visit: &mut Visit<'_>) {
    match visit.arg(2).to_ascii_lowercase().as_slice() {
        b"no" => visit.replies.ok(),
        b"yes" | b"sync" => visit
            .replies
            .error(ErrorKind::Err, "the debugger of scripts is not supported"),
        _ => visit.replies.error(ErrorKind::Err, "Use SCRIPT DEBUG YES/SYNC/NO"),
    }
}
