//! Commands that run inside a transaction or a script, at the shard that it runs on.

use core::mem;

use wire::{reply::ErrorKind, request::Args};

use crate::{
    call::Call,
    command::{self, Row, Run},
};

/// The row of a request, or of its subcommand; `None` if there is none, or it has a wrong number of arguments.
pub(crate) fn row_of(args: Args<'_>) -> Option<&'static Row> {
    let row = command::find(args.get(0)?)?;
    Some(row.member(args.get(1)).unwrap_or(row)).filter(|row| row.arity.admits(args.len()))
}

/// Executes a request and writes its reply. Its keys must be on the shard.
pub(crate) fn run(call: &mut Call<'_>, row: &Row, args: Args<'_>) {
    let bytes_max = call.config.value_bytes_max;
    if row.writes() && call.delta.as_ref().is_some_and(|delta| delta.len() > bytes_max) {
        let text = format_args!("not executed: more than {bytes_max} bytes were written before, at one stroke");
        return call.replies.error(ErrorKind::Err, text);
    }
    match row.run {
        // A transaction is never part of another one.
        Run::Shard(_, act) if !row.name.starts_with("%exec") => act(&mut call.part(args)),
        Run::Each(..) if !(args.len() - 1).is_multiple_of(row.keys.step()) => call.replies.wrong_arity(row.name),
        Run::Each(part, fold) => {
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
