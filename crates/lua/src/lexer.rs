//! Source text to tokens.

use alloc::{vec, vec::Vec};

use crate::{number, number::is_space, prototype::Text};

/// A chunk's name in error texts is shorter than this.
const SHOWN_NAME_MAX: usize = 59;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A single character such as `+`.
    Char(u8),
    And,
    Break,
    Do,
    Else,
    ElseIf,
    End,
    False,
    For,
    Function,
    If,
    In,
    Local,
    Nil,
    Not,
    Or,
    Repeat,
    Return,
    Then,
    True,
    Until,
    While,
    Concat,
    Dots,
    Equal,
    GreaterEqual,
    LessEqual,
    NotEqual,
    Number(f64),
    Name(Text),
    String(Text),
    EndOfText,
}

/// The words that are no names.
const KEYWORDS: &[(&str, Token)] = &[
    ("and", Token::And),
    ("break", Token::Break),
    ("do", Token::Do),
    ("else", Token::Else),
    ("elseif", Token::ElseIf),
    ("end", Token::End),
    ("false", Token::False),
    ("for", Token::For),
    ("function", Token::Function),
    ("if", Token::If),
    ("in", Token::In),
    ("local", Token::Local),
    ("nil", Token::Nil),
    ("not", Token::Not),
    ("or", Token::Or),
    ("repeat", Token::Repeat),
    ("return", Token::Return),
    ("then", Token::Then),
    ("true", Token::True),
    ("until", Token::Until),
    ("while", Token::While),
];

/// What an error text says that it is near.
pub(crate) enum Near {
    Nothing,
    /// The text that is being read.
    Buffer,
    /// The end of the program.
    End,
    Token(Token),
}

/// An error of syntax.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SyntaxError {
    pub(crate) message: Vec<u8>,
    pub(crate) line: u32,
    /// The message stands alone, without chunk and line.
    pub(crate) is_bare: bool,
    /// The text lacks the token that the error is near.
    pub(crate) is_near_token: bool,
}

impl SyntaxError {
    /// The text, with the chunk's name and the line before it.
    pub(crate) fn text(&self, shown_name: &[u8]) -> Vec<u8> {
        if self.is_bare {
            return self.message.clone();
        }
        let mut text = shown_name.to_vec();
        text.push(b':');
        number::write_integer(i64::from(self.line), &mut text);
        text.extend_from_slice(b": ");
        text.extend_from_slice(&self.message);
        text
    }
}

pub(crate) type Parsed<T> = Result<T, SyntaxError>;

/// Reads tokens from a text.
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    pub(crate) line: u32,
    /// The text of the last token that has one: names, numbers and strings.
    buffer: Vec<u8>,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            buffer: Vec::new(),
        }
    }

    fn current(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn save_and_advance(&mut self) {
        if let Some(byte) = self.current() {
            self.buffer.push(byte);
            self.at += 1;
        }
    }

    /// Takes the current character if it is one of `set`. As in PUC Lua, the character 0 is in every set.
    fn take(&mut self, set: &[u8]) -> bool {
        let is_in_set = self.current().is_some_and(|byte| byte == 0 || set.contains(&byte));
        if is_in_set {
            self.save_and_advance();
        }
        is_in_set
    }

    pub(crate) fn error(&self, message: &[u8], near: &Near) -> SyntaxError {
        let near = match near {
            Near::Nothing => None,
            Near::Buffer => Some(self.buffered()),
            Near::End => Some(b"<eof>".to_vec()),
            // PUC Lua takes the character 0 for no token.
            Near::Token(Token::Char(0)) => None,
            Near::Token(token) => Some(self.token_text(token)),
        };
        let mut message = message.to_vec();
        if let Some(near) = near {
            message.extend_from_slice(b" near '");
            message.extend_from_slice(&near);
            message.push(b'\'');
        }
        SyntaxError {
            message,
            line: self.line,
            is_bare: false,
            is_near_token: false,
        }
    }

    /// The buffer as C would print it.
    fn buffered(&self) -> Vec<u8> {
        let end = memchr::memchr(0, &self.buffer).unwrap_or(self.buffer.len());
        self.buffer[..end].to_vec()
    }

    fn token_text(&self, token: &Token) -> Vec<u8> {
        match token {
            Token::Name(_) | Token::String(_) | Token::Number(_) => self.buffered(),
            token => token_name(token),
        }
    }

    /// The next token.
    pub(crate) fn next(&mut self) -> Parsed<Token> {
        self.buffer.clear();
        loop {
            let Some(byte) = self.current() else {
                return Ok(Token::EndOfText);
            };
            match byte {
                b'\n' | b'\r' => self.new_line(),
                b'-' => {
                    self.at += 1;
                    if self.current() != Some(b'-') {
                        return Ok(Token::Char(b'-'));
                    }
                    self.at += 1;
                    self.skip_comment()?;
                }
                b'[' => {
                    return match self.skip_separator() {
                        Ok(level) => self.long_string(Some(level)).map(Token::String),
                        Err(0) => Ok(Token::Char(b'[')),
                        Err(_) => Err(self.error(b"invalid long string delimiter", &Near::Buffer)),
                    };
                }
                b'=' => return Ok(self.one_or_two(Token::Equal)),
                b'<' => return Ok(self.one_or_two(Token::LessEqual)),
                b'>' => return Ok(self.one_or_two(Token::GreaterEqual)),
                b'~' => return Ok(self.one_or_two(Token::NotEqual)),
                b'"' | b'\'' => return self.string(byte),
                b'.' => {
                    self.save_and_advance();
                    if self.take(b".") {
                        return Ok(if self.take(b".") { Token::Dots } else { Token::Concat });
                    }
                    if !self.current().is_some_and(|byte| byte.is_ascii_digit()) {
                        return Ok(Token::Char(b'.'));
                    }
                    return self.number();
                }
                _ if is_space(byte) => self.at += 1,
                _ if byte.is_ascii_digit() => return self.number(),
                _ if byte.is_ascii_alphabetic() || byte == b'_' => return Ok(self.name()),
                _ => {
                    self.at += 1;
                    return Ok(Token::Char(byte));
                }
            }
        }
    }

    /// The character under way alone, or with `=` behind it as `with_equal`.
    fn one_or_two(&mut self, with_equal: Token) -> Token {
        let first = self.text[self.at];
        self.at += 1;
        if self.current() == Some(b'=') {
            self.at += 1;
            return with_equal;
        }
        Token::Char(first)
    }

    /// Skips one line end: `\n`, `\r`, or both in either order.
    fn new_line(&mut self) {
        let first = self.text[self.at];
        self.at += 1;
        if let Some(second @ (b'\n' | b'\r')) = self.current()
            && second != first
        {
            self.at += 1;
        }
        self.line += 1;
    }

    fn skip_comment(&mut self) -> Parsed<()> {
        if self.current() == Some(b'[') {
            let level = self.skip_separator();
            self.buffer.clear();
            if let Ok(level) = level {
                self.long_string_or_comment(level, true)?;
                self.buffer.clear();
                return Ok(());
            }
        }
        while let Some(byte) = self.current()
            && !matches!(byte, b'\n' | b'\r')
        {
            self.at += 1;
        }
        Ok(())
    }

    /// Skips `[===[` or `]===]` up to the second bracket: how many `=`; an error if there is no second bracket.
    fn skip_separator(&mut self) -> Result<usize, usize> {
        let bracket = self.text[self.at];
        self.save_and_advance();
        let mut level = 0;
        while self.current() == Some(b'=') {
            self.save_and_advance();
            level += 1;
        }
        if self.current() == Some(bracket) {
            Ok(level)
        } else {
            Err(level)
        }
    }

    fn long_string(&mut self, level: Option<usize>) -> Parsed<Text> {
        let level = level.unwrap_or_default();
        self.long_string_or_comment(level, false)?;
        let around = 2 + level;
        Ok(self.buffer[around..self.buffer.len() - around].into())
    }

    fn long_string_or_comment(&mut self, level: usize, is_comment: bool) -> Parsed<()> {
        self.save_and_advance();
        if matches!(self.current(), Some(b'\n' | b'\r')) {
            self.new_line();
        }
        loop {
            match self.current() {
                None => {
                    let what: &[u8] = if is_comment {
                        b"unfinished long comment"
                    } else {
                        b"unfinished long string"
                    };
                    return Err(self.error(what, &Near::End));
                }
                Some(b'[') => {
                    if self.skip_separator() == Ok(level) {
                        self.save_and_advance();
                        if level == 0 {
                            let near = Near::Token(Token::Char(b'['));
                            return Err(self.error(b"nesting of [[...]] is deprecated", &near));
                        }
                    }
                }
                Some(b']') => {
                    if self.skip_separator() == Ok(level) {
                        self.save_and_advance();
                        return Ok(());
                    }
                }
                Some(b'\n' | b'\r') => {
                    self.buffer.push(b'\n');
                    self.new_line();
                    if is_comment {
                        self.buffer.clear();
                    }
                }
                Some(_) if is_comment => self.at += 1,
                Some(_) => self.save_and_advance(),
            }
        }
    }

    fn string(&mut self, quote: u8) -> Parsed<Token> {
        self.save_and_advance();
        loop {
            match self.current() {
                None => return Err(self.error(b"unfinished string", &Near::End)),
                Some(b'\n' | b'\r') => return Err(self.error(b"unfinished string", &Near::Buffer)),
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                Some(byte) => {
                    self.save_and_advance();
                    if byte == quote {
                        break;
                    }
                }
            }
        }
        Ok(Token::String(self.buffer[1..self.buffer.len() - 1].into()))
    }

    /// What stands after a backslash.
    fn escape(&mut self) -> Parsed<()> {
        let Some(byte) = self.current() else { return Ok(()) };
        let meant = match byte {
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0B,
            b'\n' | b'\r' => {
                self.buffer.push(b'\n');
                self.new_line();
                return Ok(());
            }
            _ if !byte.is_ascii_digit() => byte,
            _ => {
                let mut code: u32 = 0;
                let mut digits = 0;
                while digits < 3
                    && let Some(digit @ b'0'..=b'9') = self.current()
                {
                    code = code * 10 + u32::from(digit - b'0');
                    self.at += 1;
                    digits += 1;
                }
                let Ok(code) = u8::try_from(code) else {
                    return Err(self.error(b"escape sequence too large", &Near::Buffer));
                };
                self.buffer.push(code);
                return Ok(());
            }
        };
        self.buffer.push(meant);
        self.at += 1;
        Ok(())
    }

    fn number(&mut self) -> Parsed<Token> {
        while self.current().is_some_and(|byte| byte.is_ascii_digit() || byte == b'.') {
            self.save_and_advance();
        }
        if self.take(b"Ee") {
            self.take(b"+-");
        }
        while self
            .current()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            self.save_and_advance();
        }
        match number::parse(&self.buffer) {
            Some(number) => Ok(Token::Number(number)),
            None => Err(self.error(b"malformed number", &Near::Buffer)),
        }
    }

    fn name(&mut self) -> Token {
        while self
            .current()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            self.save_and_advance();
        }
        let keyword = KEYWORDS.iter().find(|(word, _)| word.as_bytes() == self.buffer);
        match keyword {
            Some((_, token)) => token.clone(),
            None => Token::Name(self.buffer[..].into()),
        }
    }
}

/// A token in error texts, if it is not a name, number or string.
pub(crate) fn token_name(token: &Token) -> Vec<u8> {
    let name: &[u8] = match token {
        Token::Char(byte) if byte.is_ascii_control() => {
            let mut text = b"char(".to_vec();
            number::write_integer(i64::from(*byte), &mut text);
            text.push(b')');
            return text;
        }
        Token::Char(byte) => return vec![*byte],
        Token::Concat => b"..",
        Token::Dots => b"...",
        Token::Equal => b"==",
        Token::GreaterEqual => b">=",
        Token::LessEqual => b"<=",
        Token::NotEqual => b"~=",
        Token::Number(_) => b"<number>",
        Token::Name(_) => b"<name>",
        Token::String(_) => b"<string>",
        Token::EndOfText => b"<eof>",
        keyword => {
            let found = KEYWORDS.iter().find(|(_, token)| token == keyword);
            found.map_or(b"", |(word, _)| word.as_bytes())
        }
    };
    name.to_vec()
}

/// The name of a chunk as error texts show it.
pub(crate) fn shown_name(name: &[u8]) -> Vec<u8> {
    match name.first() {
        Some(b'=') => name[1..name.len().min(SHOWN_NAME_MAX + 1)].to_vec(),
        Some(b'@') => {
            let name = &name[1..];
            let max = SHOWN_NAME_MAX + 1 - 8;
            if name.len() <= max {
                return name.to_vec();
            }
            [b"...", &name[name.len() - max..]].concat()
        }
        _ => {
            let max = SHOWN_NAME_MAX + 1 - 17;
            let line = name
                .iter()
                .position(|byte| matches!(byte, b'\n' | b'\r'))
                .unwrap_or(name.len());
            let length = line.min(max);
            let dots: &[u8] = if length < name.len() { b"..." } else { b"" };
            [b"[string \"", &name[..length], dots, b"\"]"].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn names_of_chunks_are_cut() {
        let long = "x".repeat(100);
        for (name, shown) in [
            ("@user_script", "user_script".into()),
            ("=stdin", "stdin".into()),
            ("return 1", "[string \"return 1\"]".into()),
            ("a\nb", "[string \"a...\"]".into()),
            (&long, format!("[string \"{}...\"]", "x".repeat(43))),
            (&format!("@{long}"), format!("...{}", "x".repeat(52))),
            (&format!("={long}"), "x".repeat(59)),
        ] {
            assert_eq!(shown_name(name.as_bytes()), shown.as_bytes(), "{name}");
        }
    }

    #[test]
    fn tokens_are_read() {
        let mut lexer = Lexer::new(b"local x='a\\65\\n'..0x10 --[==[ \n ]==]~= [[\n]]");
        let mut tokens = Vec::new();
        loop {
            let token = lexer.next().unwrap();
            if token == Token::EndOfText {
                break;
            }
            tokens.push(token);
        }
        let expected = [
            Token::Local,
            Token::Name((*b"x").into()),
            Token::Char(b'='),
            Token::String((*b"aA\n").into()),
            Token::Concat,
            Token::Number(16.0),
            Token::NotEqual,
            Token::String((*b"").into()),
        ];
        assert_eq!(tokens, expected);
        assert_eq!(lexer.line, 3);
    }
}
