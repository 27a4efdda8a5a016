//! The connection itself: protocol, authentication, keyspace. `CLIENT` is in [`super::client`].

use alloc::{format, string::String};
use wire::reply::{ErrorKind, Protocol};

use super::number::{integer, small_integer};
use crate::{
    ask::{Session, Shown},
    visit::Visit,
};

/// The one user there is.
pub(super) const USER: &[u8] = b"default";

/// The version of Redis that `HELLO` and `INFO` show. Clients derive from it which commands and which reply formats to
/// expect; salp's match 7.0. `INFO` also shows salp's own version.
pub(super) const REDIS_VERSION: &str = "7.0.0";

/// Whether a client may use this text as a name. Names are shown in lists that are split at spaces.
pub(super) fn is_name(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

/// `PING [text]`
pub(super) fn ping(visit: &mut Visit<'_>) {
    match visit.args.get(1) {
        None => visit.replies.simple("PONG"),
        Some(text) if visit.args.len() == 2 => visit.replies.bulk(text),
        Some(_) => visit.replies.wrong_arity("ping"),
    }
}

/// `ECHO text`
pub(super) fn echo(visit: &mut Visit<'_>) {
    visit.replies.bulk(visit.arg(1));
}

/// `AUTH [user] password`
pub(super) fn auth(visit: &mut Visit<'_>) {
    let (user, password) = match visit.args.len() {
        2 if visit.store.config.password.is_none() => {
            return visit.replies.error(
                ErrorKind::Err,
                "AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            );
        }
        2 => (USER, visit.arg(1)),
        3 => (visit.arg(1), visit.arg(2)),
        _ => return visit.replies.syntax(),
    };
    if authenticate(visit, user, password) {
        visit.session_changed();
        visit.replies.ok();
    } else {
        visit.replies.wrong_pass();
    }
}

/// If no password is set, the default user is accepted with any password. A client that fails keeps its state.
fn authenticate(visit: &mut Visit<'_>, user: &[u8], password: &[u8]) -> bool {
    let secret = visit.store.config.password.as_ref();
    let right = user == USER && secret.is_none_or(|secret| secret.is(password));
    visit.session.authenticated |= right;
    right
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`
pub(super) fn hello(visit: &mut Visit<'_>) {
    let mut protocol = visit.session.protocol;
    if let Some(version) = visit.args.get(1) {
        protocol = match integer(version) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return visit.replies.no_proto(),
            None => {
                let text = "Protocol version is not an integer or out of range";
                return visit.replies.error(ErrorKind::Err, text);
            }
        };
    }
    let (mut user, mut name) = (None, None);
    let mut rest = visit.args.skip(2);
    while let Some(word) = rest.get(0) {
        match (word.to_ascii_lowercase().as_slice(), rest.get(1), rest.get(2)) {
            (b"auth", Some(given), Some(password)) => {
                user = Some((given, password));
                rest = rest.skip(3);
            }
            (b"setname", Some(given), _) => {
                name = Some(given);
                rest = rest.skip(2);
            }
            _ => {
                let word = String::from_utf8_lossy(word);
                let text = format_args!("Syntax error in HELLO option '{word}'");
                return visit.replies.error(ErrorKind::Err, text);
            }
        }
    }
    if let Some((user, password)) = user
        && !authenticate(visit, user, password)
    {
        return visit.replies.wrong_pass();
    }
    if !visit.session.authenticated {
        return visit.replies.error(
            ErrorKind::NoAuth,
            "HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option \
             can be used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    if let Some(name) = name {
        if !is_name(name) {
            return bad_client_name(visit);
        }
        visit.session.shown.name = String::from_utf8_lossy(name).into_owned();
    }
    visit.session.protocol = protocol;
    visit.session_changed();
    visit.replies.switch(protocol);
    introduce(visit);
}

/// The answer to `HELLO`. The mode is `cluster`, since `CLUSTER SLOTS` shows the real placement. Clients may ignore it.
fn introduce(visit: &mut Visit<'_>) {
    let replies = &mut *visit.replies;
    replies.map(7);
    for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        replies.bulk(name.as_bytes());
        replies.bulk(value.as_bytes());
    }
    replies.bulk(b"proto");
    replies.int(version(visit.session.protocol));
    replies.bulk(b"id");
    replies.int(visit.session.id.cast_signed());
    for (name, value) in [("mode", "cluster"), ("role", "master")] {
        replies.bulk(name.as_bytes());
        replies.bulk(value.as_bytes());
    }
    replies.bulk(b"modules");
    replies.array(0);
}

/// The number of a version of RESP.
pub(super) fn version(protocol: Protocol) -> i64 {
    match protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    }
}

/// Refuses a name with spaces in it.
pub(super) fn bad_client_name(visit: &mut Visit<'_>) {
    let text = "Client names cannot contain spaces, newlines or special characters.";
    visit.replies.error(ErrorKind::Err, text);
}

/// `SELECT number|name`
pub(super) fn select(visit: &mut Visit<'_>) {
    let (keyspaces, wanted) = (&visit.store.config.keyspaces, visit.arg(1));
    let named = keyspaces.iter().position(|keyspace| keyspace.name.as_bytes() == wanted);
    let number = match (named, integer(wanted)) {
        (Some(number), None) => Some(number),
        (None, None) => {
            let text = format!("no keyspace has the name '{}'", String::from_utf8_lossy(wanted));
            return visit.replies.error(ErrorKind::Err, text);
        }
        (_, Some(_)) => match small_integer(wanted, visit.replies) {
            Some(number) => usize::try_from(number).ok().filter(|&number| number < keyspaces.len()),
            None => return,
        },
    };
    match number.and_then(|number| u16::try_from(number).ok()) {
        Some(number) => {
            visit.session.keyspace = number;
            visit.session_changed();
            visit.replies.ok();
        }
        None => visit.replies.error(ErrorKind::Err, "DB index is out of range"),
    }
}

/// `RESET`: returns the connection to its first state.
pub(super) fn reset(visit: &mut Visit<'_>) {
    let authenticated = visit.store.config.password.is_none();
    let shown = Shown {
        name: String::new(),
        ..visit.session.shown.clone()
    };
    *visit.session = Session {
        piecemeal: visit.session.piecemeal,
        shown,
        ..Session::new(visit.session.id, authenticated)
    };
    visit.session_changed();
    visit.replies.switch(Protocol::Resp2);
    visit.replies.simple("RESET");
}

/// `QUIT`: the connection is closed after the reply.
pub(super) fn quit(visit: &mut Visit<'_>) {
    visit.session.quit = true;
    visit.replies.ok();
}
