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

/// `CLIENT SETNAME name`; an empty name removes the name.
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

/// `CLIENT REPLY ON|OFF|SKIP`. Only `ON` is answered: the coordinator holds back the other replies.
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

/// `CLIENT NO-EVICT ON|OFF`: nothing is evicted here, so it is only shown.
pub(super) fn no_evict(visit: &mut Visit<'_>) {
    if let Some(on) = switch(visit) {
        visit.session.shown.no_evict = on;
        visit.session_changed();
        visit.replies.ok();
    }
}

/// `CLIENT NO-TOUCH ON|OFF`: reads leave no trace here.
pub(super) fn no_touch(visit: &mut Visit<'_>) {
    if switch(visit).is_some() {
        visit.replies.ok();
    }
}

/// Whether ON or OFF is asked for; `None`: neither is, and the error is written.
fn switch(visit: &mut Visit<'_>) -> Option<bool> {
    match visit.arg(2).to_ascii_lowercase().as_slice() {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => {
            visit.replies.syntax();
            None
        }
    }
}

/// Whether the connections of this node are of this type; `None` if there is no such type.
pub(super) fn has_type(name: &[u8]) -> Option<bool> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Some(true),
        b"master" | b"slave" | b"replica" | b"pubsub" => Some(false),
        _ => None,
    }
}

/// `CLIENT GETREDIR`: client-side caching is not supported.
pub(super) fn getredir(visit: &mut Visit<'_>) {
    visit.replies.int(-1);
}

/// `CLIENT INFO`
pub(super) fn info(visit: &mut Visit<'_>) {
    let line = line(visit.session, visit.store.time.monotonic_ms);
    visit.replies.verbatim(b"txt", line.as_bytes());
}

/// `CLIENT LIST [TYPE type] [ID id …]`: the connections of this node. All have the type `normal`.
pub(super) fn list(visit: &mut Visit<'_>) {
    let mut sessions: Vec<&Session> = visit.store.front.clients.values().collect();
    match (visit.arg(2).to_ascii_lowercase().as_slice(), visit.args.len()) {
        (_, 2) => {}
        (b"type", 4) => match has_type(visit.arg(3)) {
            Some(true) => {}
            Some(false) => sessions.clear(),
            None => {
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
    let me = &*visit.session;
    // What is kept of the own connection is that of before this batch.
    let shown = |session: &Session| line(if session.id == me.id { me } else { session }, now_ms);
    let lines: String = sessions.into_iter().map(shown).collect();
    visit.replies.verbatim(b"txt", lines.as_bytes());
}

/// One line of `CLIENT LIST`, with those of Redis's fields that are known here.
fn line(session: &Session, now_ms: u64) -> String {
    let seconds_since = |at_ms: u64| now_ms.saturating_sub(at_ms) / 1000;
    let mut line = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        line,
        "id={} addr={} laddr={} name={} age={} idle={} flags={} db={} sub=0 psub=0 ssub=0 multi={} cmd={} user=default \
         redir=-1 resp={} lib-name={} lib-ver={}",
        session.id,
        session.shown.address,
        session.shown.local_address,
        session.shown.name,
        seconds_since(session.shown.since_ms),
        seconds_since(session.shown.active_ms.max(session.shown.since_ms)),
        if session.shown.no_evict { "e" } else { "N" },
        session.keyspace,
        session.transaction.queued().map_or(-1, |count| count as i64),
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
