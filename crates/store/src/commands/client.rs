//! `CLIENT`: this connection, and the others of this node.

use alloc::{format, string::String, vec::Vec};
use core::fmt::Write as _;
use wire::reply::ErrorKind;

use super::{
    connection::{bad_client_name, is_name, version},
    number::integer,
};
use crate::{
    ask::{Session, Silence},
    visit::Visit,
};

/// `CLIENT ID`
pub(super) fn id(visit: &mut Visit<'_>) {
    visit.replies.int(visit.session.id.cast_signed());
}

/// `CLIENT GETNAME`
pub(super) fn getname(visit: &mut Visit<'_>) {
    if visit.session.shown.name.is_empty() {
        visit.replies.null();
    } else {
        visit.replies.bulk(visit.session.shown.name.as_bytes());
    }
}

/// `CLIENT SETNAME name`; an empty name is none.
pub(super) fn setname(visit: &mut Visit<'_>) {
    let name = visit.arg(2);
    if !is_name(name) {
        return bad_client_name(visit);
    }
    visit.session.shown.name = String::from_utf8_lossy(name).into_owned();
    visit.session_changed();
    visit.replies.ok();
}

/// `CLIENT SETINFO LIB-NAME|LIB-VER text`
pub(super) fn setinfo(visit: &mut Visit<'_>) {
    let (option, text) = (visit.arg(2), visit.arg(3));
    let shown = String::from_utf8_lossy(option);
    let library = option.eq_ignore_ascii_case(b"lib-name");
    if !library && !option.eq_ignore_ascii_case(b"lib-ver") {
        return visit
            .replies
            .error(ErrorKind::Err, format_args!("Unrecognized option '{shown}'"));
    }
    if !is_name(text) {
        let text = format_args!("{shown} cannot contain spaces, newlines or special characters.");
        return visit.replies.error(ErrorKind::Err, text);
    }
    let text = String::from_utf8_lossy(text).into_owned();
    if library {
        visit.session.shown.library = text;
    } else {
        visit.session.shown.library_version = text;
    }
    visit.session_changed();
    visit.replies.ok();
}

/// `CLIENT REPLY ON|OFF|SKIP`. The coordinator keeps back what is not to be sent, the reply to this among it: only `ON`
/// is answered.
pub(super) fn reply(visit: &mut Visit<'_>) {
    visit.session.silence = match visit.arg(2).to_ascii_lowercase().as_slice() {
        b"on" => Silence::Off,
        b"off" => Silence::On,
        b"skip" if visit.session.silence == Silence::On => Silence::On,
        b"skip" => Silence::SkipNext,
        _ => return visit.replies.syntax(),
    };
    visit.replies.ok();
}

/// `CLIENT NO-EVICT ON|OFF` and `CLIENT NO-TOUCH ON|OFF`: nothing is evicted here, and reads leave no trace.
pub(super) fn switch(visit: &mut Visit<'_>) {
    match visit.arg(2).to_ascii_lowercase().as_slice() {
        b"on" | b"off" => visit.replies.ok(),
        _ => visit.replies.syntax(),
    }
}

/// `CLIENT GETREDIR`: invalidations are not tracked.
pub(super) fn getredir(visit: &mut Visit<'_>) {
    visit.replies.int(-1);
}

/// `CLIENT INFO`
pub(super) fn info(visit: &mut Visit<'_>) {
    let line = line(visit.session, visit.store.time.monotonic_ms);
    visit.replies.verbatim(b"txt", line.as_bytes());
}

/// `CLIENT LIST [TYPE type] [ID id …]`: the connections of this node. All are of the type `normal`.
pub(super) fn list(visit: &mut Visit<'_>) {
    let mut sessions: Vec<&Session> = visit.store.front.clients.values().collect();
    match (visit.arg(2).to_ascii_lowercase().as_slice(), visit.args.len()) {
        (_, 2) => {}
        (b"type", 4) => match visit.arg(3).to_ascii_lowercase().as_slice() {
            b"normal" => {}
            b"master" | b"slave" | b"replica" | b"pubsub" => sessions.clear(),
            _ => {
                let text = format!("Unknown client type '{}'", String::from_utf8_lossy(visit.arg(3)));
                return visit.replies.error(ErrorKind::Err, text);
            }
        },
        (b"id", 4..) => {
            let ids: Option<Vec<i64>> = visit.args.skip(3).iter().map(integer).collect();
            let Some(ids) = ids else {
                return visit.replies.error(ErrorKind::Err, "Invalid client ID");
            };
            sessions.retain(|session| ids.contains(&session.id.cast_signed()));
        }
        _ => return visit.replies.syntax(),
    }
    sessions.sort_unstable_by_key(|session| session.id);
    let now_ms = visit.store.time.monotonic_ms;
    let lines: String = sessions.into_iter().map(|session| line(session, now_ms)).collect();
    visit.replies.verbatim(b"txt", lines.as_bytes());
}

/// One line of `CLIENT LIST`: of Redis's fields those that are known here.
fn line(session: &Session, now_ms: u64) -> String {
    let seconds_since = |at_ms: u64| now_ms.saturating_sub(at_ms) / 1000;
    let mut line = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        line,
        "id={} addr={} laddr={} name={} age={} idle={} flags=N db={} sub=0 psub=0 ssub=0 multi={} cmd={} user=default \
         redir=-1 resp={} lib-name={} lib-ver={}",
        session.id,
        session.shown.address,
        session.shown.local_address,
        session.shown.name,
        seconds_since(session.shown.since_ms),
        seconds_since(session.shown.active_ms.max(session.shown.since_ms)),
        session.keyspace,
        if session.in_refused_multi { 0 } else { -1 },
        if session.shown.command.is_empty() {
            "NULL"
        } else {
            session.shown.command
        },
        version(session.protocol),
        session.shown.library,
        session.shown.library_version,
    );
    line
}
