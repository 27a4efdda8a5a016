//! Expressions of the parser.

use super::Parser;
use crate::{
    emitter::ALL,
    emitter::expressions::{Binary, Kind, Pending, Unary},
    instruction::{Op, size_to_byte},
    lexer::{Parsed, Token},
    prototype::Text,
};

/// How strongly `not`, `-` and `#` bind.
const UNARY_PRIORITY: u8 = 8;
/// How many values of a list go into a table at once.
pub(crate) const LIST_BATCH: usize = 50;

/// A table constructor under way.
struct Constructor {
    table: usize,
    /// The last value of the list, which is in no register yet.
    last: Pending,
    named: usize,
    listed: usize,
    waiting: usize,
}

impl Parser<'_> {
    /// Several expressions: the last one, and how many. The others are in registers.
    pub(super) fn expressions(&mut self) -> Parsed<(Pending, usize)> {
        let mut count = 1;
        let mut last = self.expression()?;
        while self.take(&Token::Char(b','))? {
            self.emitter().place_in_next(&mut last)?;
            last = self.expression()?;
            count += 1;
        }
        Ok((last, count))
    }

    pub(super) fn expression(&mut self) -> Parsed<Pending> {
        self.operation(0).map(|(expression, _)| expression)
    }

    /// Operands and operators that bind more strongly than `limit`, and the operator behind them.
    fn operation(&mut self, limit: u8) -> Parsed<(Pending, Option<Binary>)> {
        self.enter_level()?;
        let mut left = match unary(&self.token) {
            Some(operator) => {
                self.advance()?;
                let (mut operand, _) = self.operation(UNARY_PRIORITY)?;
                self.emitter().prefix(operator, &mut operand)?;
                operand
            }
            None => self.simple()?,
        };
        let mut next = binary(&self.token);
        while let Some(operator) = next {
            let (left_priority, right_priority) = priorities(operator);
            if left_priority <= limit {
                break;
            }
            self.advance()?;
            self.emitter().infix(operator, &mut left)?;
            let (mut right, behind) = self.operation(right_priority)?;
            self.emitter().postfix(operator, &mut left, &mut right)?;
            next = behind;
        }
        self.leave_level();
        Ok((left, next))
    }

    fn simple(&mut self) -> Parsed<Pending> {
        let kind = match &self.token {
            Token::Number(number) => Kind::Number(*number),
            Token::String(text) => {
                let text = text.clone();
                Kind::Constant(self.emitter().string_constant(&text)?)
            }
            Token::Nil => Kind::Nil,
            Token::True => Kind::True,
            Token::False => Kind::False,
            Token::Dots => {
                let emitter = self.emitter();
                if !emitter.varargs.takes {
                    return Err(self.error("cannot use '...' outside a vararg function"));
                }
                emitter.varargs.needs_arg = false;
                Kind::Varargs(emitter.emit(Op::Varargs, 0, 1, 0)?)
            }
            Token::Char(b'{') => return self.constructor(),
            Token::Function => {
                self.advance()?;
                return self.function_body(false, self.lexer.line);
            }
            _ => return self.primary(),
        };
        self.advance()?;
        Ok(Pending::new(kind))
    }

    fn prefix(&mut self) -> Parsed<Pending> {
        match self.token {
            Token::Char(b'(') => {
                let line = self.lexer.line;
                self.advance()?;
                let mut expression = self.expression()?;
                self.expect_closing(&Token::Char(b')'), &Token::Char(b'('), line)?;
                self.emitter().discharge(&mut expression)?;
                Ok(expression)
            }
            Token::Name(_) => self.variable(),
            _ => Err(self.error("unexpected symbol")),
        }
    }

    /// A variable or an expression in parentheses, with indices and calls behind it.
    pub(super) fn primary(&mut self) -> Parsed<Pending> {
        let mut expression = self.prefix()?;
        loop {
            match self.token {
                Token::Char(b'.') => self.field(&mut expression)?,
                Token::Char(b'[') => {
                    self.emitter().place_in_any(&mut expression)?;
                    let mut key = self.bracketed()?;
                    self.emitter().index(&mut expression, &mut key)?;
                }
                Token::Char(b':') => {
                    self.advance()?;
                    let mut key = self.name_constant()?;
                    self.emitter().method(&mut expression, &mut key)?;
                    self.call(&mut expression)?;
                }
                Token::Char(b'(' | b'{') | Token::String(_) => {
                    self.emitter().place_in_next(&mut expression)?;
                    self.call(&mut expression)?;
                }
                _ => return Ok(expression),
            }
        }
    }

    fn name_constant(&mut self) -> Parsed<Pending> {
        let name: Text = self.name()?;
        Ok(Pending::new(Kind::Constant(self.emitter().string_constant(&name)?)))
    }

    /// `.name` or `:name`
    pub(super) fn field(&mut self, expression: &mut Pending) -> Parsed<()> {
        self.emitter().place_in_any(expression)?;
        self.advance()?;
        let mut key = self.name_constant()?;
        self.emitter().index(expression, &mut key)
    }

    /// `[key]`
    fn bracketed(&mut self) -> Parsed<Pending> {
        self.advance()?;
        let mut key = self.expression()?;
        self.emitter().settle(&mut key)?;
        self.expect(&Token::Char(b']'))?;
        Ok(key)
    }

    /// The arguments of a call; the function is in a register, with a method's object behind it.
    fn call(&mut self, function: &mut Pending) -> Parsed<()> {
        let line = self.lexer.line;
        let mut arguments = match self.token.clone() {
            Token::Char(b'(') => {
                if line != self.last_line {
                    return Err(self.error("ambiguous syntax (function call x new statement)"));
                }
                self.advance()?;
                let arguments = if self.token == Token::Char(b')') {
                    Pending::new(Kind::Void)
                } else {
                    let (last, _) = self.expressions()?;
                    if last.has_multiple_results() {
                        self.emitter().set_results(&last, ALL)?;
                    }
                    last
                };
                self.expect_closing(&Token::Char(b')'), &Token::Char(b'('), line)?;
                arguments
            }
            Token::Char(b'{') => self.constructor()?,
            Token::String(text) => {
                let constant = self.emitter().string_constant(&text)?;
                self.advance()?;
                Pending::new(Kind::Constant(constant))
            }
            _ => return Err(self.error("function arguments expected")),
        };
        let Kind::Register(base) = function.kind else {
            return Ok(());
        };
        let emitter = self.emitter();
        let count = if arguments.has_multiple_results() {
            ALL
        } else {
            if arguments.kind != Kind::Void {
                emitter.place_in_next(&mut arguments)?;
            }
            (emitter.free_register - (usize::from(base) + 1)) as i32
        };
        let place = emitter.emit(Op::Call, base, (count + 1) as u16, 2)?;
        *function = Pending::new(Kind::Call(place));
        emitter.fix_line(line);
        emitter.free_register = usize::from(base) + 1;
        Ok(())
    }

    // Tables

    fn constructor(&mut self) -> Parsed<Pending> {
        let line = self.lexer.line;
        let emitter = self.emitter();
        let place = emitter.emit(Op::NewTable, 0, 0, 0)?;
        let mut table = Pending::new(Kind::Open(place));
        emitter.place_in_next(&mut table)?;
        let mut constructor = Constructor {
            table: emitter.free_register - 1,
            last: Pending::new(Kind::Void),
            named: 0,
            listed: 0,
            waiting: 0,
        };
        self.expect(&Token::Char(b'{'))?;
        while self.token != Token::Char(b'}') {
            self.close_list_item(&mut constructor)?;
            match self.token {
                Token::Name(_) => {
                    if self.lookahead.is_none() {
                        self.lookahead = Some(self.lexer.next()?);
                    }
                    if self.lookahead == Some(Token::Char(b'=')) {
                        self.named_item(&mut constructor)?;
                    } else {
                        self.list_item(&mut constructor)?;
                    }
                }
                Token::Char(b'[') => self.named_item(&mut constructor)?,
                _ => self.list_item(&mut constructor)?,
            }
            if !self.take(&Token::Char(b','))? && !self.take(&Token::Char(b';'))? {
                break;
            }
        }
        self.expect_closing(&Token::Char(b'}'), &Token::Char(b'{'), line)?;
        self.last_list_item(&mut constructor)?;
        let instruction = &mut self.emitter().code[place];
        instruction.b = size_to_byte(constructor.listed);
        instruction.c = i32::from(size_to_byte(constructor.named));
        Ok(table)
    }

    fn close_list_item(&mut self, constructor: &mut Constructor) -> Parsed<()> {
        if constructor.last.kind == Kind::Void {
            return Ok(());
        }
        self.emitter().place_in_next(&mut constructor.last)?;
        constructor.last.kind = Kind::Void;
        if constructor.waiting == LIST_BATCH {
            self.set_list(constructor, constructor.waiting as i32)?;
            constructor.waiting = 0;
        }
        Ok(())
    }

    fn set_list(&mut self, constructor: &Constructor, count: i32) -> Parsed<()> {
        let batch = (constructor.listed - 1) / LIST_BATCH + 1;
        self.emitter().set_list(constructor.table, batch, count)
    }

    fn last_list_item(&mut self, constructor: &mut Constructor) -> Parsed<()> {
        if constructor.waiting == 0 {
            return Ok(());
        }
        if constructor.last.has_multiple_results() {
            self.emitter().set_results(&constructor.last, ALL)?;
            self.set_list(constructor, ALL)?;
            constructor.listed -= 1;
            return Ok(());
        }
        if constructor.last.kind != Kind::Void {
            self.emitter().place_in_next(&mut constructor.last)?;
        }
        self.set_list(constructor, constructor.waiting as i32)
    }

    fn list_item(&mut self, constructor: &mut Constructor) -> Parsed<()> {
        constructor.last = self.expression()?;
        constructor.listed += 1;
        constructor.waiting += 1;
        Ok(())
    }

    /// `name = value` or `[key] = value`
    fn named_item(&mut self, constructor: &mut Constructor) -> Parsed<()> {
        let free = self.emitter().free_register;
        let mut key = if self.token == Token::Char(b'[') {
            self.bracketed()?
        } else {
            self.name_constant()?
        };
        constructor.named += 1;
        self.expect(&Token::Char(b'='))?;
        let key = self.emitter().operand(&mut key)?;
        let mut value = self.expression()?;
        let emitter = self.emitter();
        let value = emitter.operand(&mut value)?;
        let op = emitter.set_op(key);
        emitter.emit(op, constructor.table as u8, key as u16, value)?;
        emitter.free_register = free;
        Ok(())
    }
}

fn unary(token: &Token) -> Option<Unary> {
    Some(match token {
        Token::Not => Unary::Not,
        Token::Char(b'-') => Unary::Minus,
        Token::Char(b'#') => Unary::Length,
        _ => return None,
    })
}

fn binary(token: &Token) -> Option<Binary> {
    Some(match token {
        Token::Char(b'+') => Binary::Add,
        Token::Char(b'-') => Binary::Sub,
        Token::Char(b'*') => Binary::Mul,
        Token::Char(b'/') => Binary::Div,
        Token::Char(b'%') => Binary::Mod,
        Token::Char(b'^') => Binary::Pow,
        Token::Concat => Binary::Concat,
        Token::NotEqual => Binary::NotEqual,
        Token::Equal => Binary::Equal,
        Token::Char(b'<') => Binary::Less,
        Token::LessEqual => Binary::LessEqual,
        Token::Char(b'>') => Binary::Greater,
        Token::GreaterEqual => Binary::GreaterEqual,
        Token::And => Binary::And,
        Token::Or => Binary::Or,
        _ => return None,
    })
}

/// How strongly an operator binds to its left and to its right.
fn priorities(operator: Binary) -> (u8, u8) {
    match operator {
        Binary::Add | Binary::Sub => (6, 6),
        Binary::Mul | Binary::Div | Binary::Mod => (7, 7),
        Binary::Pow => (10, 9),
        Binary::Concat => (5, 4),
        Binary::NotEqual
        | Binary::Equal
        | Binary::Less
        | Binary::LessEqual
        | Binary::Greater
        | Binary::GreaterEqual => (3, 3),
        Binary::And => (2, 2),
        Binary::Or => (1, 1),
    }
}
