//! Executes one script on its shard.
//!
//! [`Run`] is what the functions of `redis` work on. It keeps what every key had before the script wrote it. So a
//! script that reaches a bound can be undone: the old values are written again, in the same delta.

use alloc::{borrow::Cow, boxed::Box, collections::BTreeMap, format, string::String, vec::Vec};
use core::mem;

use lua::{Call as LuaCall, Error, Host, Position, Raised, Value};
use wire::{
    reply::{ErrorKind, Protocol, Replies, Reply},
    request::{Args, Batch},
};

use super::{
    Program, Sha, digits,
    engine::{Engine, Function},
    sha_of,
    values::{self, Writer},
};
use crate::{
    call::{Call, stored},
    command::{Access, Keys, Row, Run as Runs},
    commands::nested,
};

/// The version of Redis that scripts are told.
pub(super) const REDIS_VERSION: &str = "7.0.0";

/// What a key was before the script wrote it: format, bytes and deadline; `None` if there was no such key.
type Before = Option<(u8, Vec<u8>, Option<u64>)>;

/// A script under way.
struct Run<'c, 'a> {
    call: &'c mut Call<'a>,
    /// The slot of its keys; `None` if it may use none.
    slot: Option<u16>,
    only_reads: bool,
    protocol: Protocol,
    before: BTreeMap<Box<[u8]>, Before>,
}

/// Executes the program of a request `name script count key … argument …`, and writes the reply.
pub(crate) fn run(call: &mut Call<'_>, sha: &Sha, program: &Program, only_reads: bool) {
    let mut engine = call.scripts.take_engine();
    let keys: Vec<&[u8]> = Keys::Counted.of(call.args).collect();
    let rest: Vec<&[u8]> = call.args.skip(3 + keys.len()).iter().collect();
    call.begin_transaction();
    let mut run = Run {
        slot: match keys.first() {
            Some(key) => Some(call.span.slot(key)),
            None => call.span.has_one_slot().then_some(0),
        },
        only_reads: only_reads || program.only_reads,
        protocol: Protocol::Resp2,
        before: BTreeMap::new(),
        call,
    };
    let result = engine.run(&mut run, program, keys.into_iter(), rest.into_iter());
    let is_whole = match result {
        Ok(value) => run.answer(&mut engine, value),
        Err(error) => run.fail(&mut engine, sha, error),
    };
    // After a bound, the engine is in no known state.
    if is_whole && engine.tidy() {
        call.scripts.keep_engine(engine);
    }
}

impl Run<'_, '_> {
    /// Writes the result. Returns false if it is too large: then the script is undone.
    fn answer(&mut self, engine: &mut Engine, value: Value) -> bool {
        let mut writer = Writer {
            machine: &mut engine.machine,
            protocol: self.protocol,
            bytes_max: self.call.replies.data_len() + self.call.config.value_bytes_max,
            values: 0,
        };
        let mut reply = Replies::new();
        if writer.write(value, 0, &mut reply).is_ok() {
            self.call.replies.append(&reply);
            return true;
        }
        self.undo();
        let text = "the reply of the script is too large, or nested too deeply; nothing was done";
        self.call.replies.error(ErrorKind::Err, text);
        false
    }

    /// Writes why the script has failed. Returns false if it reached a bound: then it is undone.
    fn fail(&mut self, engine: &mut Engine, sha: &Sha, error: Error) -> bool {
        let sha = digits(sha);
        let sha = String::from_utf8_lossy(&sha);
        let place = |position: Option<Position>| match position {
            Some(position) => format!(
                " script: {sha}, on {}:{}.",
                String::from_utf8_lossy(&position.chunk),
                position.line
            ),
            None => format!(" script: {sha}."),
        };
        match error {
            Error::Syntax(text) => {
                self.call.replies.error(ErrorKind::Err, values::line_of(&text));
                true
            }
            Error::Script { value, position } => {
                let text = raised(engine, value, &place(position), &format!(" script: {sha}"));
                self.call.replies.error(ErrorKind::Custom, text);
                true
            }
            Error::Bound(bound, position) => {
                self.undo();
                let text = format!("the script was stopped and undone: {bound}{}", place(position));
                self.call.replies.error(ErrorKind::Err, text);
                false
            }
        }
    }

    /// Gives every key the value again that it had before.
    fn undo(&mut self) {
        for (key, before) in mem::take(&mut self.before) {
            match before {
                Some((format, bytes, expiry_ms)) => self.call.put(&key, format, &bytes, expiry_ms),
                None => {
                    self.call.delete(&key);
                }
            }
        }
    }

    /// Remembers what a key has, before the script writes it for the first time.
    fn remember(&mut self, key: &[u8]) {
        if self.before.contains_key(key) {
            return;
        }
        let view = self.call.shard.view(key, self.call.now_ms);
        let value = view.map(|view| {
            let (format, bytes) = stored(&view.value);
            (format, bytes.into_owned(), view.expiry_ms)
        });
        self.before.insert(key.into(), value);
    }

    /// Executes one command of the script.
    fn command(&mut self, args: Args<'_>) -> Replies {
        let mut replies = Replies::new();
        match self.allowed(args) {
            Err((kind, text)) => replies.error(kind, text),
            Ok(None) => self.here(args, &mut replies),
            Ok(Some(row)) => {
                if row.writes() {
                    for key in row.keys.of(args) {
                        self.remember(key);
                    }
                }
                let outer = mem::take(self.call.replies);
                nested::run(self.call, row, args);
                replies = mem::replace(self.call.replies, outer);
            }
        }
        replies
    }

    /// The row of a command that a script may call; none if the command needs no shard. The error says why it may not.
    fn allowed(&self, args: Args<'_>) -> Result<Option<&'static Row>, (ErrorKind, Cow<'static, str>)> {
        let refused = |text: &'static str| Err((ErrorKind::Err, Cow::Borrowed(text)));
        let Some(row) = crate::command::find(&args[0]).filter(|row| !row.is_internal()) else {
            return refused("Unknown Redis command called from script");
        };
        let row = row.member(args.get(1)).unwrap_or(row);
        if !row.arity.admits(args.len()) {
            return refused("Wrong number of args calling Redis command from script");
        }
        if matches!(row.name, "ping" | "echo" | "time") {
            return Ok(None);
        }
        let is_on_keys = matches!(row.run, Runs::Shard(..) | Runs::Each(..)) && row.may_be_queued();
        if !is_on_keys {
            return refused("This Redis command is not allowed from script");
        }
        if self.only_reads && row.writes() {
            return refused("Write commands are not allowed from read-only scripts.");
        }
        if row.access() == Some(Access::Grow) && !self.call.may_grow {
            let text = "command not allowed when used memory > 'maxmemory'.";
            return Err((ErrorKind::Oom, Cow::Borrowed(text)));
        }
        if row.keys.of(args).any(|key| self.slot != Some(self.call.span.slot(key))) {
            return refused("Script attempted to access a key of another slot than those of KEYS");
        }
        Ok(Some(row))
    }

    /// Executes `PING`, `ECHO` or `TIME`.
    fn here(&mut self, args: Args<'_>, replies: &mut Replies) {
        match (args[0].to_ascii_lowercase().as_slice(), args.get(1)) {
            (b"ping", None) => replies.simple("PONG"),
            (b"time", _) => {
                let now_ms = self.call.wall_ms(self.call.now_ms);
                replies.array(2);
                replies.bulk(format!("{}", now_ms / 1000).as_bytes());
                replies.bulk(format!("{}", now_ms % 1000 * 1000).as_bytes());
            }
            (_, text) => replies.bulk(text.unwrap_or_default()),
        }
    }
}

/// The text of an error that a script has raised. `place` stands behind texts that have no place of their own.
fn raised(engine: &mut Engine, value: Value, place: &str, script: &str) -> String {
    let machine = &mut engine.machine;
    match value {
        Value::Table(table) => {
            let mut field = |name: &[u8]| machine.get_field(table, name).unwrap_or_default();
            let (text, source, line) = (field(b"err"), field(b"source"), field(b"line"));
            match (text, source, line) {
                (Value::String(text), Value::String(source), Value::String(line)) => {
                    let part = |part| values::line_of(machine.bytes(part));
                    format!("{}{script}, on {}:{}.", part(text), part(source), part(line))
                }
                (Value::String(text), ..) => format!("{}{script}.", values::line_of(machine.bytes(text))),
                _ => format!("ERR unknown error{place}"),
            }
        }
        Value::String(text) => format!("ERR {}{place}", values::line_of(machine.bytes(text))),
        Value::Number(number) => format!("ERR {number}{place}"),
        _ => format!("ERR unknown error{place}"),
    }
}

impl Host for Run<'_, '_> {
    fn call(&mut self, function: u32, call: &mut LuaCall<'_>) -> Result<(), Raised> {
        match Function::of(function) {
            Function::Call => {
                let (value, is_error) = self.redis_call(call)?;
                if is_error {
                    return Err(Raised::value(with_place(call, value)?));
                }
                call.push(value)
            }
            Function::ProtectedCall => {
                let (value, _) = self.redis_call(call)?;
                call.push(value)
            }
            Function::ErrorReply => one_text(call, b"err"),
            Function::StatusReply => one_text(call, b"ok"),
            Function::Sha1 => {
                let mut text = Vec::new();
                if call.count() != 1 || !call.write_text(call.arg(0), &mut text) {
                    return Err(own_error(call, "wrong number of arguments"));
                }
                let digits = call.machine().string(&digits(&sha_of(&text)))?;
                call.push(digits)
            }
            Function::Log => match (call.count(), call.arg(0)) {
                (..2, _) => Err(own_error(call, "redis.log() requires two arguments or more.")),
                (_, Value::Number(level)) if (0.0..=3.0).contains(&level) => Ok(()),
                (_, Value::Number(_)) => Err(own_error(call, "Invalid debug level.")),
                _ => Err(own_error(call, "First argument must be a number (log level).")),
            },
            Function::SetProtocol => {
                self.protocol = match (call.count(), call.arg(0)) {
                    (1, Value::Number(2.0)) => Protocol::Resp2,
                    (1, Value::Number(3.0)) => Protocol::Resp3,
                    (1, _) => return Err(own_error(call, "RESP version must be 2 or 3.")),
                    _ => return Err(own_error(call, "redis.setresp() requires one argument.")),
                };
                Ok(())
            }
            Function::True => call.push(Value::Boolean(true)),
            Function::False => call.push(Value::Boolean(false)),
            Function::Nothing => Ok(()),
        }
    }
}

impl Run<'_, '_> {
    /// `redis.call`: the reply as a value, and whether it is an error.
    fn redis_call(&mut self, call: &mut LuaCall<'_>) -> Result<(Value, bool), Raised> {
        let mut texts: Vec<Vec<u8>> = Vec::with_capacity(call.count());
        for index in 0..call.count() {
            let mut text = Vec::new();
            match call.arg(index) {
                Value::Number(number) => lua::write_general(number, 17, &mut text),
                value if call.write_text(value, &mut text) => {}
                _ => return own_reply(call, "Lua redis lib command arguments must be strings or integers"),
            }
            texts.push(text);
        }
        if texts.is_empty() {
            return own_reply(call, "Please specify at least one argument for this redis lib call");
        }
        let bytes: usize = texts.iter().map(Vec::len).sum();
        // A command costs about as much as a hundred instructions, and a byte of it as a hundredth.
        call.charge(100 + bytes as u64 / 100)?;
        let mut batch = Batch::new();
        batch.push(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let replies = self.command(batch.request(0));
        call.charge(replies.data_len() as u64 / 100)?;
        let is_error = matches!(replies.tokens().next(), Some(Reply::Error(..)));
        let value = values::of_reply(call.machine(), &mut replies.tokens(), self.protocol)?;
        Ok((value, is_error))
    }
}

/// `redis.error_reply(text)` or `redis.status_reply(text)`.
fn one_text(call: &mut LuaCall<'_>, name: &[u8]) -> Result<(), Raised> {
    let Value::String(text) = call.arg(0) else {
        let table = values::field(call.machine(), b"err", b"ERR wrong number or type of arguments")?;
        return call.push(table);
    };
    let text = call.machine().bytes(text).to_vec();
    // An error without a word of its own gets the usual one.
    let has_word = name == b"ok" || text.first() == Some(&b'-') || text.contains(&b' ');
    let text = match (has_word, text.strip_prefix(b"-")) {
        (_, Some(rest)) if name == b"err" => rest.to_vec(),
        (true, _) => text,
        (false, _) => [b"ERR ", text.as_slice()].concat(),
    };
    let table = values::field(call.machine(), name, &text)?;
    call.push(table)
}

/// The reply of a command that was not executed.
fn own_reply(call: &mut LuaCall<'_>, text: &str) -> Result<(Value, bool), Raised> {
    let text = values::error_text(ErrorKind::Err, text);
    Ok((values::field(call.machine(), b"err", text.as_bytes())?, true))
}

/// An error of a function of `redis`, with the place of the call.
fn own_error(call: &mut LuaCall<'_>, text: &str) -> Raised {
    let raised = own_reply(call, text).and_then(|(value, _)| with_place(call, value));
    match raised {
        Ok(value) => Raised::value(value),
        Err(raised) => raised,
    }
}

/// Adds to an error where it was raised.
fn with_place(call: &mut LuaCall<'_>, value: Value) -> Result<Value, Raised> {
    if let (Value::Table(table), Some(position)) = (value, call.position()) {
        let source = call.machine().string(&position.chunk)?;
        call.machine().set_field(table, b"source", source)?;
        let line = call.machine().string(format!("{}", position.line).as_bytes())?;
        call.machine().set_field(table, b"line", line)?;
        call.machine()
            .set_field(table, b"ignore_error_stats_update", Value::Boolean(true))?;
    }
    Ok(value)
}
