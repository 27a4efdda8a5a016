//! Text that peers have this node write down: the output of processes there, and their logs. It becomes
//! [`Event::Note`]s.
//!
//! | registered as | receives | kind of the note |
//! |---|---|---|
//! | `user` | io requests, as the group leader of what we spawn at peers | `io` |
//! | `logger_proxy` | `{log, Level, Format, Args, Meta}` and other log events | `log` |
//! | `auth` | cast `{print, Format, Args}` | `log` |
//!
//! - Every io request is answered exactly once, so that a printing process never hangs. There is no input.
//! - The length of text and the number of lines are limited. Lines beyond the limit are answered but dropped. The next
//!   note says how many.
//!
//! Source: *The Erlang I/O Protocol*, STDLIB user's guide.

use crate::{
    context::Context,
    effect::Event,
    format::{chars_text, format_text, term_text, tuple_text},
    gen_server::{Request, parse},
    message::{Address, Message, Payload, Process},
    throttle::Throttle,
};
use alloc::{format, string::String};
use wire::etf::{Atom, Pid, Term};

/// The names of these processes.
pub(crate) const USER: &str = "user";
pub(crate) const LOGGER_PROXY: &str = "logger_proxy";
pub(crate) const AUTH: &str = "auth";

/// Longest note, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Longest level of a log event, in bytes. It is a short word.
const LEVEL_BYTES_MAX: usize = 32;
/// Most requests in one list of requests. Further ones are left out.
const REQUESTS_MAX: usize = 64;

/// The group leader of processes at peers: their output becomes notes.
#[derive(Debug, Default)]
pub(crate) struct GroupLeader {
    throttle: Throttle,
}

impl<P: Payload> Process<P> for GroupLeader {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        ctx.trap_exit(true);
    }

    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        let Message::Term { from: sender, term } = message else {
            return;
        };
        let Some([word, Term::Pid(from), reply_as, request]) = term.as_tuple() else {
            return;
        };
        if !word.is_atom("io_request") {
            return;
        }
        let node = sender.as_ref().unwrap_or(from).node.clone();
        let result = self.answer(ctx, &node, request);
        let reply = Term::tuple([Term::atom("io_reply"), reply_as.clone(), result]);
        // An answer, so no node is dialled for it.
        ctx.core.send(ctx.me, &Address::Pid(from.clone()), reply, false);
    }
}

impl GroupLeader {
    fn answer<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom, request: &Term) -> Term {
        if let Some([word, Term::List(requests)]) = request.as_tuple()
            && word.is_atom("requests")
        {
            let mut last = Term::atom("ok");
            for request in requests.iter().take(REQUESTS_MAX) {
                last = self.answer_one(ctx, node, request);
            }
            return last;
        }
        self.answer_one(ctx, node, request)
    }

    fn answer_one<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom, request: &Term) -> Term {
        if request.is_atom("getopts") {
            let encoding = Term::tuple([Term::atom("encoding"), Term::atom("unicode")]);
            return Term::list([encoding]);
        }
        let Some([Term::Atom(verb), args @ ..]) = request.as_tuple() else {
            return unsupported();
        };
        match (verb.as_str(), args) {
            ("put_chars", [_encoding, chars]) => self.put(ctx, node, || chars_text(chars, TEXT_BYTES_MAX)),
            ("put_chars", [_encoding, module, function, args]) => {
                self.put(ctx, node, || applied_text(module, function, args));
            }
            // From releases in which the request had no encoding.
            ("put_chars", [chars]) => self.put(ctx, node, || chars_text(chars, TEXT_BYTES_MAX)),
            ("setopts", [_]) => {}
            ("get_line" | "get_chars" | "get_until" | "get_password", _) => return Term::atom("eof"),
            _ => return unsupported(),
        }
        Term::atom("ok")
    }

    fn put<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom, text: impl FnOnce() -> String) {
        note(ctx, &mut self.throttle, "io", node, text);
    }
}

fn unsupported() -> Term {
    Term::tuple([Term::atom("error"), Term::atom("enotsup")])
}

/// The text for a function with arguments: the formatted text for `io:format`, otherwise the call itself.
fn applied_text(module: &Term, function: &Term, args: &Term) -> String {
    match args.as_list() {
        Some([format, args])
            if module.is_atom("io_lib") && (function.is_atom("format") || function.is_atom("fwrite")) =>
        {
            format_text(format, args, TEXT_BYTES_MAX)
        }
        _ => tuple_text(&[module, function, args], TEXT_BYTES_MAX),
    }
}

/// Writes down the logs of peers: `logger_proxy` and `auth`.
#[derive(Debug, Default)]
pub(crate) struct LogSink {
    throttle: Throttle,
}

impl<P: Payload> Process<P> for LogSink {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        ctx.trap_exit(true);
    }

    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        let Message::Term { from, term } = message else {
            return;
        };
        let node = from.map_or_else(|| Atom::new("?"), |from: Pid| from.node);
        let term = match parse(term) {
            Request::Cast(term) | Request::Info(term) => term,
            Request::Call { .. } => return,
        };
        match term.as_tuple() {
            Some([word, level, format, args, _meta]) if word.is_atom("log") => {
                note(ctx, &mut self.throttle, "log", &node, || {
                    let text = format_text(format, args, TEXT_BYTES_MAX);
                    format!("{}: {text}", term_text(level, LEVEL_BYTES_MAX))
                });
            }
            Some([word, ..]) if word.is_atom("log") => {
                note(ctx, &mut self.throttle, "log", &node, || {
                    term_text(&term, TEXT_BYTES_MAX)
                });
            }
            Some([word, format, args]) if word.is_atom("print") => {
                note(ctx, &mut self.throttle, "log", &node, || {
                    format_text(format, args, TEXT_BYTES_MAX)
                });
            }
            _ => {}
        }
    }
}

fn note<P: Payload>(
    ctx: &mut Context<'_, P>,
    throttle: &mut Throttle,
    kind: &'static str,
    node: &Atom,
    text: impl FnOnce() -> String,
) {
    let Some(dropped) = throttle.pass(ctx.now().monotonic_us) else {
        return;
    };
    let text = text();
    let (node, text) = (node.as_str(), text.trim_end());
    let text = if dropped > 0 {
        format!("{node}: {text} (after {dropped} that were dropped)")
    } else {
        format!("{node}: {text}")
    };
    ctx.event(Event::Note { kind, text });
}
