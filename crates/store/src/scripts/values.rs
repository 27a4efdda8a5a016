//! Replies as values of Lua, and values of Lua as replies, as Redis converts them.

use alloc::{string::String, vec::Vec};

use lua::{Machine, Raised, TableId, Value};
use wire::{
    decimal,
    reply::{ErrorKind, Protocol, Replies, Reply, Tokens},
};

/// How deep the tables of a result may be nested.
const DEPTH_MAX: usize = 128;
/// Most values in one result.
const VALUES_MAX: usize = 1 << 20;

/// The next reply as a value. An error becomes a table with the field `err`.
pub(super) fn of_reply(machine: &mut Machine, tokens: &mut Tokens<'_>, protocol: Protocol) -> Result<Value, Raised> {
    let is_new = protocol == Protocol::Resp3;
    let Some(token) = tokens.next() else {
        return Ok(Value::Nil);
    };
    Ok(match token {
        Reply::Ok => field(machine, b"ok", b"OK")?,
        Reply::Status(text) => field(machine, b"ok", text.as_bytes())?,
        Reply::Error(kind, text) => field(machine, b"err", error_text(kind, text).as_bytes())?,
        Reply::Int(number) => Value::Number(number as f64),
        Reply::Bulk(bytes) | Reply::Verbatim { text: bytes, .. } => machine.string(bytes)?,
        Reply::Null | Reply::NullArray if is_new => Value::Nil,
        Reply::Null | Reply::NullArray | Reply::NoReply | Reply::Later => Value::Boolean(false),
        Reply::Bool(value) if is_new => Value::Boolean(value),
        Reply::Bool(value) => Value::Number(f64::from(u8::from(value))),
        Reply::Double(number) if is_new => {
            let table = machine.new_table(0, 1)?;
            machine.set_field(table, b"double", Value::Number(number))?;
            Value::Table(table)
        }
        Reply::Double(number) => {
            let mut text = Vec::new();
            decimal::write_double(&mut text, number);
            machine.string(&text)?
        }
        Reply::Map(count) if is_new => {
            let map = machine.new_table(0, count)?;
            for _ in 0..count {
                let key = of_reply(machine, tokens, protocol)?;
                let value = of_reply(machine, tokens, protocol)?;
                if !key.is_nil() {
                    machine.set(map, key, value)?;
                }
            }
            wrapped(machine, b"map", map)?
        }
        Reply::Set(count) if is_new => {
            let set = machine.new_table(0, count)?;
            for _ in 0..count {
                let member = of_reply(machine, tokens, protocol)?;
                if !member.is_nil() {
                    machine.set(set, member, Value::Boolean(true))?;
                }
            }
            wrapped(machine, b"set", set)?
        }
        Reply::Map(count) => list(machine, tokens, 2 * count, protocol)?,
        Reply::Array(count) | Reply::Push(count) | Reply::Set(count) => list(machine, tokens, count, protocol)?,
    })
}

fn list(machine: &mut Machine, tokens: &mut Tokens<'_>, count: usize, protocol: Protocol) -> Result<Value, Raised> {
    let table = machine.new_table(count, 0)?;
    for index in 1..=count {
        let value = of_reply(machine, tokens, protocol)?;
        machine.set_index(table, index, value)?;
    }
    Ok(Value::Table(table))
}

fn wrapped(machine: &mut Machine, name: &[u8], inner: TableId) -> Result<Value, Raised> {
    let table = machine.new_table(0, 1)?;
    machine.set_field(table, name, Value::Table(inner))?;
    Ok(Value::Table(table))
}

/// A table with one field, which is a text.
pub(super) fn field(machine: &mut Machine, name: &[u8], text: &[u8]) -> Result<Value, Raised> {
    let table = machine.new_table(0, 1)?;
    let text = machine.string(text)?;
    machine.set_field(table, name, text)?;
    Ok(Value::Table(table))
}

/// An error as RESP shows it, without the dash.
pub(super) fn error_text(kind: ErrorKind, text: &str) -> String {
    match kind.word() {
        "" => text.into(),
        word => alloc::format!("{word} {text}"),
    }
}

/// Writes the result of a script as a reply.
pub(super) struct Writer<'a> {
    pub machine: &'a mut Machine,
    /// The version of RESP that the script has set.
    pub protocol: Protocol,
    /// Longest reply, in bytes.
    pub bytes_max: usize,
    /// Values written so far.
    pub values: usize,
}

/// A result is nested too deeply, or too large.
#[derive(Debug)]
pub(super) struct TooLarge;

impl Writer<'_> {
    pub(super) fn write(&mut self, value: Value, depth: usize, out: &mut Replies) -> Result<(), TooLarge> {
        self.values += 1;
        if depth > DEPTH_MAX || self.values > VALUES_MAX || out.data_len() > self.bytes_max {
            return Err(TooLarge);
        }
        match value {
            Value::String(text) => out.bulk(self.machine.bytes(text)),
            Value::Number(number) => out.int(number as i64),
            Value::Boolean(value) if self.protocol == Protocol::Resp3 => out.boolean(value),
            Value::Boolean(true) => out.int(1),
            Value::Table(table) => return self.write_table(table, depth, out),
            Value::Nil
            | Value::Boolean(false)
            | Value::Closure(_)
            | Value::Native(_)
            | Value::Thread(_)
            | Value::Light(_) => out.null(),
        }
        Ok(())
    }

    fn field(&mut self, table: TableId, name: &[u8]) -> Value {
        self.machine.get_field(table, name).unwrap_or_default()
    }

    fn write_table(&mut self, table: TableId, depth: usize, out: &mut Replies) -> Result<(), TooLarge> {
        if let Value::String(text) = self.field(table, b"err") {
            let text = line_of(self.machine.bytes(text));
            out.error(ErrorKind::Custom, text);
            return Ok(());
        }
        if let Value::String(text) = self.field(table, b"ok") {
            let text = line_of(self.machine.bytes(text));
            out.status(&text);
            return Ok(());
        }
        if let Value::Number(number) = self.field(table, b"double") {
            out.double(number);
            return Ok(());
        }
        if let Value::Table(map) = self.field(table, b"map") {
            let pairs = self.pairs(map);
            out.map(pairs.len());
            for (key, value) in pairs {
                self.write(key, depth + 1, out)?;
                self.write(value, depth + 1, out)?;
            }
            return Ok(());
        }
        if let Value::Table(set) = self.field(table, b"set") {
            let members = self.pairs(set);
            out.set(members.len());
            for (member, _) in members {
                self.write(member, depth + 1, out)?;
            }
            return Ok(());
        }
        let element = |machine: &Machine, index: usize| machine.get(table, Value::Number(index as f64));
        let mut count = 0;
        while count < VALUES_MAX && !element(self.machine, count + 1).is_nil() {
            count += 1;
        }
        out.array(count);
        for index in 1..=count {
            let value = element(self.machine, index);
            self.write(value, depth + 1, out)?;
        }
        Ok(())
    }

    fn pairs(&self, table: TableId) -> Vec<(Value, Value)> {
        let mut pairs = Vec::new();
        let mut key = Value::Nil;
        while let Some((next, value)) = self.machine.next(table, key)
            && pairs.len() < VALUES_MAX
        {
            pairs.push((next, value));
            key = next;
        }
        pairs
    }
}

/// A text that fits on one line of RESP.
pub(super) fn line_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(['\r', '\n'], " ")
}
