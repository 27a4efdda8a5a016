//! JSON to values. Nested tables are kept in a list, so that depth takes no native stack.

use alloc::{format, vec::Vec};

use super::Settings;
use crate::{
    fault::{Outcome, Throw},
    number::parse_prefix,
    value::{TableId, Value},
    vm::{Args, Vm},
};

#[derive(Clone, Debug, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::String(_) => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Error(what) => what,
        }
    }
}

/// A table that is half read, with the key or index of the value to come.
enum Open {
    Array(TableId, usize),
    Object(TableId, Value),
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the last token began, or what is wrong with it.
    token_at: usize,
    settings: Settings,
}

pub(super) fn decode(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    if args.count != 1 {
        return Err(vm.argument_error(0, b"expected 1 argument"));
    }
    let text = vm.check_string(args, 0)?;
    let text = vm.bytes(text).to_vec();
    vm.pay(text.len() / 4)?;
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(vm.library_error(b"JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut reader = Reader {
        text: &text,
        at: 0,
        token_at: 0,
        settings: vm.machine.cjson,
    };
    let value = reader.document(vm)?;
    vm.result(value)
}

impl Reader<'_> {
    fn document(&mut self, vm: &mut Vm<'_>) -> Outcome<Value> {
        let mut open: Vec<Open> = Vec::new();
        let mut token = self.next();
        loop {
            // A value begins here.
            let mut value = match token {
                Token::String(bytes) => vm.machine.heap.string_vec(bytes)?,
                Token::Number(number) => Value::Number(number),
                Token::Boolean(boolean) => Value::Boolean(boolean),
                Token::Null => Value::Light(0),
                Token::ArrayBegin | Token::ObjectBegin => {
                    self.check_depth(vm, open.len() + 1)?;
                    let table = vm.machine.heap.new_table(0, 0)?;
                    let is_array = token == Token::ArrayBegin;
                    token = self.next();
                    if is_array && token != Token::ArrayEnd {
                        open.push(Open::Array(table, 1));
                        continue;
                    }
                    if !is_array && token != Token::ObjectEnd {
                        let key = self.key(vm, token)?;
                        open.push(Open::Object(table, key));
                        token = self.next();
                        continue;
                    }
                    Value::Table(table)
                }
                token => return Err(self.failure(vm, "value", &token)),
            };
            // It belongs to the innermost open table, which may end behind it.
            loop {
                token = self.next();
                match open.last_mut() {
                    None if token == Token::End => return Ok(value),
                    None => return Err(self.failure(vm, "the end", &token)),
                    Some(Open::Array(table, index)) => {
                        vm.machine.heap.set_index(*table, *index, value)?;
                        if token == Token::ArrayEnd {
                            value = Value::Table(*table);
                            open.pop();
                            continue;
                        }
                        if token != Token::Comma {
                            return Err(self.failure(vm, "comma or array end", &token));
                        }
                        *index += 1;
                        token = self.next();
                    }
                    Some(Open::Object(table, key)) => {
                        vm.machine.heap.set(*table, *key, value)?;
                        if token == Token::ObjectEnd {
                            value = Value::Table(*table);
                            open.pop();
                            continue;
                        }
                        if token != Token::Comma {
                            return Err(self.failure(vm, "comma or object end", &token));
                        }
                        token = self.next();
                        *key = self.key(vm, token)?;
                        token = self.next();
                    }
                }
                break;
            }
        }
    }

    fn check_depth(&self, vm: &mut Vm<'_>, depth: usize) -> Outcome<()> {
        if depth <= self.settings.decode_depth_max as usize {
            return vm.machine.heap.meter.has_room(depth * size_of::<Open>());
        }
        let at = self.at;
        let text = format!("Found too many nested data structures ({depth}) at character {at}");
        Err(vm.library_error(text.as_bytes()))
    }

    /// A key and the colon behind it.
    fn key(&mut self, vm: &mut Vm<'_>, token: Token) -> Outcome<Value> {
        let Token::String(key) = token else {
            return Err(self.failure(vm, "object key string", &token));
        };
        let key = vm.machine.heap.string_vec(key)?;
        match self.next() {
            Token::Colon => Ok(key),
            token => Err(self.failure(vm, "colon", &token)),
        }
    }

    fn failure(&self, vm: &mut Vm<'_>, expected: &str, found: &Token) -> Throw {
        let (found, at) = (found.name(), self.token_at + 1);
        let text = format!("Expected {expected} but found {found} at character {at}");
        vm.library_error(text.as_bytes())
    }

    /// A byte ahead; 0 behind the end.
    fn ahead(&self, distance: usize) -> u8 {
        self.text.get(self.at + distance).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Token {
        while matches!(self.ahead(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.token_at = self.at;
        let single = match self.ahead(0) {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b':' => Token::Colon,
            b',' => Token::Comma,
            0 => return Token::End,
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => {
                if self.settings.decode_invalid == 0 && self.is_invalid_number() {
                    return Token::Error("invalid number");
                }
                return self.number();
            }
            b'+' | b'f' | b'i' | b'I' | b'n' | b'N' | b't' => return self.word(),
            _ => return Token::Error("invalid token"),
        };
        self.at += 1;
        single
    }

    fn word(&mut self) -> Token {
        let words = [
            ("true", Token::Boolean(true)),
            ("false", Token::Boolean(false)),
            ("null", Token::Null),
        ];
        for (word, token) in words {
            if self.text[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return token;
            }
        }
        if self.settings.decode_invalid != 0 && self.is_invalid_number() {
            return self.number();
        }
        Token::Error("invalid token")
    }

    /// Whether JSON does not allow this number: hexadecimal, infinite, NaN, with zeros or a plus before it.
    fn is_invalid_number(&self) -> bool {
        let minus = usize::from(self.ahead(0) == b'-');
        match self.ahead(minus) {
            b'+' => minus == 0,
            b'0' => matches!(self.ahead(minus + 1), b'x' | b'X' | b'0'..=b'9'),
            b'1'..=b'9' => false,
            _ => {
                let word = self.text.get(self.at + minus..self.at + minus + 3).unwrap_or_default();
                word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
            }
        }
    }

    fn number(&mut self) -> Token {
        match parse_prefix(&self.text[self.at..]) {
            Some((number, length)) => {
                self.at += length;
                Token::Number(number)
            }
            None => Token::Error("invalid number"),
        }
    }

    fn string(&mut self) -> Token {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let byte = self.ahead(0);
            match byte {
                b'"' => break,
                0 => return self.string_error("unexpected end of string"),
                b'\\' => {
                    let meant = match self.ahead(1) {
                        byte @ (b'"' | b'\\' | b'/') => byte,
                        b'b' => 0x08,
                        b'f' => 0x0C,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'u' => {
                            let Some((character, length)) = self.unicode() else {
                                return self.string_error("invalid unicode escape code");
                            };
                            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                            self.at += length;
                            continue;
                        }
                        _ => return self.string_error("invalid escape code"),
                    };
                    out.push(meant);
                    self.at += 2;
                }
                byte => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Token::String(out)
    }

    fn string_error(&mut self, what: &'static str) -> Token {
        self.token_at = self.at;
        Token::Error(what)
    }

    fn hex(&self, distance: usize) -> Option<u32> {
        (0..4).try_fold(0, |sum, digit| {
            let digit = (self.ahead(distance + digit) as char).to_digit(16)?;
            Some(sum * 16 + digit)
        })
    }

    /// `\uXXXX`, or two of them that are one character, and their length.
    fn unicode(&self) -> Option<(char, usize)> {
        let first = self.hex(2)?;
        if first & 0xF800 != 0xD800 {
            return Some((char::from_u32(first)?, 6));
        }
        if first & 0x400 != 0 || self.ahead(6) != b'\\' || self.ahead(7) != b'u' {
            return None;
        }
        let second = self.hex(8)?;
        if second & 0xFC00 != 0xDC00 {
            return None;
        }
        let character = ((first & 0x3FF) << 10) + (second & 0x3FF) + 0x10000;
        Some((char::from_u32(character)?, 12))
    }
}
