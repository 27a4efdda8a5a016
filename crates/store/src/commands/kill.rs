//! `CLIENT KILL`, `CLIENT PAUSE` and `CLIENT UNPAUSE`: what is done to other connections of this node.

use alloc::{format, string::String, vec::Vec};

use wire::{reply::ErrorKind, request::Args};

use super::{client::has_type, connection::USER, number::integer};
use crate::{ask::Session, visit::Visit};

/// `CLIENT KILL address`, or `CLIENT KILL filter value …`: a connection that fits all filters is closed. The own
/// connection is closed behind the reply.
pub(super) fn kill(visit: &mut Visit<'_>) {
    let words = visit.args.skip(2);
    if words.len() == 1 {
        let address = String::from_utf8_lossy(visit.arg(2)).into_owned();
        let filter = Filter {
            address: Some(address),
            ..Filter::default()
        };
        return match close(visit, &filter, false) {
            0 => visit.replies.error(ErrorKind::Err, "No such client"),
            _ => visit.replies.ok(),
        };
    }
    let (mut filter, mut skips_me) = (Filter::default(), true);
    if !words.len().is_multiple_of(2) {
        return visit.replies.syntax();
    }
    for at in (0..words.len()).step_by(2) {
        if let Err(text) = filter.read(words.skip(at), &mut skips_me) {
            return visit.replies.error(ErrorKind::Err, text);
        }
    }
    let closed = close(visit, &filter, skips_me);
    visit.replies.int(closed as i64);
}

/// Which connections are meant.
#[derive(Default)]
struct Filter {
    id: Option<u64>,
    address: Option<String>,
    local_address: Option<String>,
    /// A type or a user that no connection has.
    fits_none: bool,
}

impl Filter {
    /// Takes one name and its value.
    fn read(&mut self, pair: Args<'_>, skips_me: &mut bool) -> Result<(), String> {
        let value = &pair[1];
        let text = String::from_utf8_lossy(value).into_owned();
        match pair[0].to_ascii_lowercase().as_slice() {
            b"id" => {
                let id = integer(value).and_then(|id| u64::try_from(id).ok());
                let id = id.filter(|id| *id > 0).ok_or("client-id should be greater than 0")?;
                self.id = Some(id);
            }
            b"type" => {
                let is_normal = has_type(value).ok_or_else(|| format!("Unknown client type '{text}'"))?;
                self.fits_none |= !is_normal;
            }
            b"user" if value == USER => {}
            b"user" => return Err(format!("No such user '{text}'")),
            b"addr" => self.address = Some(text),
            b"laddr" => self.local_address = Some(text),
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => *skips_me = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => *skips_me = false,
            _ => return Err("syntax error".into()),
        }
        Ok(())
    }

    fn fits(&self, session: &Session) -> bool {
        !self.fits_none
            && self.id.is_none_or(|id| session.id == id)
            && self
                .address
                .as_ref()
                .is_none_or(|address| session.shown.address == *address)
            && self
                .local_address
                .as_ref()
                .is_none_or(|address| session.shown.local_address == *address)
    }
}

/// Closes the connections that fit, and counts them.
fn close(visit: &mut Visit<'_>, filter: &Filter, skips_me: bool) -> usize {
    let me = visit.session.id;
    let fits = |session: &&Session| filter.fits(session) && !(skips_me && session.id == me);
    let ids: Vec<u64> = visit
        .store
        .front
        .clients
        .values()
        .filter(fits)
        .map(|session| session.id)
        .collect();
    let count = ids.len();
    let (own, others): (Vec<u64>, Vec<u64>) = ids.into_iter().partition(|id| *id == me);
    visit.session.quit |= !own.is_empty();
    for id in &others {
        visit.store.front.clients.remove(id);
        visit.store.front.pause.forget(*id);
    }
    if !others.is_empty() {
        visit.store.out.kills.push((visit.client.clone(), others));
    }
    count
}

/// `CLIENT PAUSE milliseconds [WRITE|ALL]`
pub(super) fn pause(visit: &mut Visit<'_>) {
    let all = match (visit.args.len(), visit.arg(3).to_ascii_lowercase().as_slice()) {
        (3, _) | (4, b"all") => true,
        (4, b"write") => false,
        (4, _) => {
            let text = "CLIENT PAUSE mode must be WRITE or ALL";
            return visit.replies.error(ErrorKind::Err, text);
        }
        _ => {
            let text = "unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP.";
            return visit.replies.error(ErrorKind::Err, text);
        }
    };
    match integer(visit.arg(2)) {
        None => visit
            .replies
            .error(ErrorKind::Err, "timeout is not an integer or out of range"),
        Some(ms) => match u64::try_from(ms) {
            Err(_) => visit.replies.error(ErrorKind::Err, "timeout is negative"),
            Ok(ms) => {
                let until_ms = visit.store.time.monotonic_ms.saturating_add(ms);
                visit.store.front.pause.begin(until_ms, all);
                visit.replies.ok();
            }
        },
    }
}

/// `CLIENT UNPAUSE`
pub(super) fn unpause(visit: &mut Visit<'_>) {
    visit.store.front.pause.end();
    visit.replies.ok();
}
