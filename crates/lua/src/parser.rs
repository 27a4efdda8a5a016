//! Source text to a compiled function, in one pass. Statements are here, expressions in `parser/expressions.rs`.

mod expressions;

pub(crate) use expressions::LIST_BATCH;

use alloc::{format, rc::Rc, vec, vec::Vec};

use crate::{
    emitter::expressions::{Kind, Pending},
    emitter::{ALL, Block, Emitter, NO_JUMP, Upvalue},
    instruction::Op,
    lexer::{Lexer, Near, Parsed, SyntaxError, Token, token_name},
    prototype::{Local, Prototype, Text, Varargs},
};

/// How many local variables may be in sight in a function.
const LOCALS_MAX: usize = 200;
/// How many variables of outer functions a function may use.
const UPVALUES_MAX: usize = 60;
/// How deep blocks, functions and expressions may nest, together with what is under way outside.
const LEVELS_MAX: usize = 200;

/// Compiles a chunk, within so many levels of nested work.
pub(crate) fn parse(text: &[u8], name: &[u8], levels: usize) -> Parsed<Prototype> {
    if text.first() == Some(&0x1B) {
        return Err(SyntaxError {
            message: b"binary string: bad header in precompiled chunk".to_vec(),
            line: 1,
            is_bare: true,
            is_near_token: false,
        });
    }
    let mut parser = Parser {
        lexer: Lexer::new(text),
        token: Token::EndOfText,
        lookahead: None,
        last_line: 1,
        functions: Vec::new(),
        source: name.into(),
        levels,
    };
    parser.chunk_function().map_err(|error| {
        if error.is_near_token {
            let token = Near::Token(parser.token.clone());
            return parser.lexer.error(&error.message, &token);
        }
        error
    })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token,
    lookahead: Option<Token>,
    /// The line of the last token that was taken.
    last_line: u32,
    /// The functions under compilation, the outermost first.
    functions: Vec<Emitter>,
    source: Text,
    levels: usize,
}

impl Parser<'_> {
    fn chunk_function(&mut self) -> Parsed<Prototype> {
        let mut main = Emitter::new(0);
        main.varargs = Varargs {
            takes: true,
            ..Varargs::default()
        };
        self.functions.push(main);
        self.advance()?;
        self.chunk()?;
        self.check(&Token::EndOfText)?;
        self.close_function().map(|(main, _)| main)
    }

    /// The function that ends here, and where its upvalues come from.
    fn close_function(&mut self) -> Parsed<(Prototype, Vec<Upvalue>)> {
        self.remove_locals(0);
        self.emitter().emit_return(0, 0)?;
        match self.functions.pop() {
            Some(mut function) => {
                let upvalues = core::mem::take(&mut function.upvalues);
                Ok((function.finish(&upvalues, self.source.clone()), upvalues))
            }
            None => Err(self.error("no function")),
        }
    }

    /// The function that is being compiled.
    fn emitter(&mut self) -> &mut Emitter {
        let line = self.lexer.line;
        let last_line = self.last_line;
        let innermost = self.functions.len() - 1;
        let emitter = &mut self.functions[innermost];
        (emitter.line, emitter.last_line) = (line, last_line);
        emitter
    }

    // Tokens

    fn advance(&mut self) -> Parsed<()> {
        self.last_line = self.lexer.line;
        self.token = match self.lookahead.take() {
            Some(token) => token,
            None => self.lexer.next()?,
        };
        Ok(())
    }

    fn error(&self, message: &str) -> SyntaxError {
        self.lexer.error(message.as_bytes(), &Near::Token(self.token.clone()))
    }

    fn error_expected(&self, token: &Token) -> SyntaxError {
        let message = [b"'", &token_name(token)[..], b"' expected"].concat();
        self.lexer.error(&message, &Near::Token(self.token.clone()))
    }

    fn take(&mut self, token: &Token) -> Parsed<bool> {
        let is_next = self.token == *token;
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn check(&self, token: &Token) -> Parsed<()> {
        if self.token == *token {
            Ok(())
        } else {
            Err(self.error_expected(token))
        }
    }

    fn expect(&mut self, token: &Token) -> Parsed<()> {
        self.check(token)?;
        self.advance()
    }

    /// Expects what closes `opening`, which was on `line`.
    fn expect_closing(&mut self, token: &Token, opening: &Token, line: u32) -> Parsed<()> {
        if self.token == *token {
            return self.advance();
        }
        if line == self.lexer.line {
            return Err(self.error_expected(token));
        }
        let message = [
            b"'",
            &token_name(token)[..],
            b"' expected (to close '",
            &token_name(opening),
            format!("' at line {line})").as_bytes(),
        ]
        .concat();
        Err(self.lexer.error(&message, &Near::Token(self.token.clone())))
    }

    fn name(&mut self) -> Parsed<Text> {
        let Token::Name(name) = &self.token else {
            return Err(self.error_expected(&Token::Name(self.source.clone())));
        };
        let name = name.clone();
        self.advance()?;
        Ok(name)
    }

    fn check_limit(&self, count: usize, max: usize, what: &str) -> Parsed<()> {
        self.check_limit_of(self.functions.len() - 1, count, max, what)
    }

    fn check_limit_of(&self, function: usize, count: usize, max: usize, what: &str) -> Parsed<()> {
        if count <= max {
            return Ok(());
        }
        let message = match self.functions[function].line_defined {
            0 => format!("main function has more than {max} {what}"),
            line => format!("function at line {line} has more than {max} {what}"),
        };
        Err(self.lexer.error(message.as_bytes(), &Near::Nothing))
    }

    fn enter_level(&mut self) -> Parsed<()> {
        self.levels += 1;
        if self.levels > LEVELS_MAX {
            return Err(self.lexer.error(b"chunk has too many syntax levels", &Near::Nothing));
        }
        Ok(())
    }

    fn leave_level(&mut self) {
        self.levels -= 1;
    }

    // Variables

    /// A new local variable. It is in sight after `show_locals`.
    fn new_local(&mut self, name: &Text) -> Parsed<()> {
        let count = self.emitter().active.len() + 1;
        self.check_limit(count, LOCALS_MAX, "local variables")?;
        let emitter = self.emitter();
        emitter.active.push(emitter.locals.len());
        emitter.locals.push(Local {
            name: name.clone(),
            start: 0,
            end: 0,
        });
        Ok(())
    }

    fn new_hidden_local(&mut self, name: &str) -> Parsed<()> {
        self.new_local(&name.as_bytes().into())
    }

    fn show_locals(&mut self, count: usize) {
        let emitter = self.emitter();
        let pc = emitter.pc() as u32;
        for _ in 0..count {
            let place = emitter.active[emitter.active_count];
            emitter.locals[place].start = pc;
            emitter.active_count += 1;
        }
    }

    fn remove_locals(&mut self, count: usize) {
        let emitter = self.emitter();
        let pc = emitter.pc() as u32;
        for place in &emitter.active[count..emitter.active_count] {
            emitter.locals[*place].end = pc;
        }
        emitter.active.truncate(count);
        emitter.active_count = count;
    }

    fn variable(&mut self) -> Parsed<Pending> {
        let name = self.name()?;
        let innermost = self.functions.len();
        let kind = match self.find_variable(innermost, &name, true)? {
            Some(kind) => kind,
            None => Kind::Global(self.emitter().string_constant(&name)?),
        };
        Ok(Pending::new(kind))
    }

    /// Looks for a variable in the first `depth` functions. Nothing: it is global.
    fn find_variable(&mut self, depth: usize, name: &Text, is_own: bool) -> Parsed<Option<Kind>> {
        let Some(index) = depth.checked_sub(1) else {
            return Ok(None);
        };
        let emitter = &mut self.functions[index];
        let found = (0..emitter.active_count)
            .rev()
            .find(|register| emitter.locals[emitter.active[*register]].name == *name);
        if let Some(register) = found {
            if !is_own {
                let block = emitter.blocks.iter_mut().rfind(|block| block.locals <= register);
                if let Some(block) = block {
                    block.is_captured = true;
                }
            }
            return Ok(Some(Kind::Local(register as u8)));
        }
        let upvalue = match self.find_variable(index, name, false)? {
            Some(Kind::Local(place)) => (true, place),
            Some(Kind::Upvalue(place)) => (false, place),
            _ => return Ok(None),
        };
        self.upvalue(index, name, upvalue)
            .map(|place| Some(Kind::Upvalue(place)))
    }

    fn upvalue(&mut self, function: usize, name: &Text, (is_local, place): (bool, u8)) -> Parsed<u8> {
        let upvalues = &mut self.functions[function].upvalues;
        let known = upvalues
            .iter()
            .position(|upvalue| upvalue.is_local == is_local && upvalue.place == place);
        if let Some(known) = known {
            return Ok(known as u8);
        }
        upvalues.push(Upvalue {
            name: name.clone(),
            is_local,
            place,
        });
        let count = upvalues.len();
        self.check_limit_of(function, count, UPVALUES_MAX, "upvalues")?;
        Ok((count - 1) as u8)
    }

    // Blocks

    fn enter_block(&mut self, is_loop: bool) {
        let emitter = self.emitter();
        emitter.blocks.push(Block {
            breaks: NO_JUMP,
            locals: emitter.active_count,
            is_captured: false,
            is_loop,
        });
    }

    fn leave_block(&mut self) -> Parsed<()> {
        let Some(block) = self.emitter().blocks.pop() else {
            return Ok(());
        };
        self.remove_locals(block.locals);
        let emitter = self.emitter();
        if block.is_captured {
            emitter.emit(Op::Close, block.locals as u8, 0, 0)?;
        }
        emitter.free_register = emitter.active_count;
        emitter.patch_to_here(block.breaks)
    }

    fn block(&mut self) -> Parsed<()> {
        self.enter_block(false);
        self.chunk()?;
        self.leave_block()
    }

    fn is_block_end(&self) -> bool {
        matches!(
            self.token,
            Token::Else | Token::ElseIf | Token::End | Token::Until | Token::EndOfText
        )
    }

    fn chunk(&mut self) -> Parsed<()> {
        self.enter_level()?;
        let mut is_last = false;
        while !is_last && !self.is_block_end() {
            is_last = self.statement()?;
            self.take(&Token::Char(b';'))?;
            let emitter = self.emitter();
            emitter.free_register = emitter.active_count;
        }
        self.leave_level();
        Ok(())
    }

    // Statements

    /// Whether the statement must be the last of its block.
    fn statement(&mut self) -> Parsed<bool> {
        let line = self.lexer.line;
        match self.token {
            Token::If => self.if_statement(line)?,
            Token::While => self.while_statement(line)?,
            Token::Do => {
                self.advance()?;
                self.block()?;
                self.expect_closing(&Token::End, &Token::Do, line)?;
            }
            Token::For => self.for_statement(line)?,
            Token::Repeat => self.repeat_statement(line)?,
            Token::Function => self.function_statement(line)?,
            Token::Local => {
                self.advance()?;
                if self.take(&Token::Function)? {
                    self.local_function()?;
                } else {
                    self.local_statement()?;
                }
            }
            Token::Return => {
                self.return_statement()?;
                return Ok(true);
            }
            Token::Break => {
                self.advance()?;
                self.break_statement()?;
                return Ok(true);
            }
            _ => self.expression_statement()?,
        }
        Ok(false)
    }

    /// A condition: the jumps that are taken if it is false.
    fn condition(&mut self) -> Parsed<i32> {
        let mut expression = self.expression()?;
        if expression.kind == Kind::Nil {
            expression.kind = Kind::False;
        }
        self.emitter().go_if_true(&mut expression)?;
        Ok(expression.if_false)
    }

    fn test_then_block(&mut self) -> Parsed<i32> {
        self.advance()?;
        let if_false = self.condition()?;
        self.expect(&Token::Then)?;
        self.block()?;
        Ok(if_false)
    }

    fn if_statement(&mut self, line: u32) -> Parsed<()> {
        let mut ends = NO_JUMP;
        let mut if_false = self.test_then_block()?;
        while self.token == Token::ElseIf {
            ends = self.jump_to_end(ends)?;
            self.emitter().patch_to_here(if_false)?;
            if_false = self.test_then_block()?;
        }
        if self.token == Token::Else {
            ends = self.jump_to_end(ends)?;
            self.emitter().patch_to_here(if_false)?;
            self.advance()?;
            self.block()?;
        } else {
            ends = self.emitter().join(ends, if_false)?;
        }
        self.emitter().patch_to_here(ends)?;
        self.expect_closing(&Token::End, &Token::If, line)
    }

    fn jump_to_end(&mut self, ends: i32) -> Parsed<i32> {
        let emitter = self.emitter();
        let jump = emitter.jump()?;
        emitter.join(ends, jump)
    }

    fn while_statement(&mut self, line: u32) -> Parsed<()> {
        self.advance()?;
        let start = self.emitter().label();
        let if_false = self.condition()?;
        self.enter_block(true);
        self.expect(&Token::Do)?;
        self.block()?;
        self.jump_back(start)?;
        self.expect_closing(&Token::End, &Token::While, line)?;
        self.leave_block()?;
        self.emitter().patch_to_here(if_false)
    }

    fn jump_back(&mut self, start: i32) -> Parsed<()> {
        let emitter = self.emitter();
        let jump = emitter.jump()?;
        emitter.patch(jump, start)
    }

    fn repeat_statement(&mut self, line: u32) -> Parsed<()> {
        let start = self.emitter().label();
        self.enter_block(true);
        self.enter_block(false);
        self.advance()?;
        self.chunk()?;
        self.expect_closing(&Token::Until, &Token::Repeat, line)?;
        let if_false = self.condition()?;
        let is_captured = self.emitter().blocks.last().is_some_and(|block| block.is_captured);
        if is_captured {
            self.break_statement()?;
            self.emitter().patch_to_here(if_false)?;
            self.leave_block()?;
            self.jump_back(start)?;
        } else {
            self.leave_block()?;
            self.emitter().patch(if_false, start)?;
        }
        self.leave_block()
    }

    fn break_statement(&mut self) -> Parsed<()> {
        let blocks = &self.emitter().blocks;
        let Some(target) = blocks.iter().rposition(|block| block.is_loop) else {
            return Err(self.error("no loop to break"));
        };
        let is_captured = blocks[target + 1..].iter().any(|block| block.is_captured);
        let emitter = self.emitter();
        if is_captured {
            let locals = emitter.blocks[target].locals as u8;
            emitter.emit(Op::Close, locals, 0, 0)?;
        }
        let jump = emitter.jump()?;
        emitter.blocks[target].breaks = emitter.join(emitter.blocks[target].breaks, jump)?;
        Ok(())
    }

    fn for_statement(&mut self, line: u32) -> Parsed<()> {
        self.enter_block(true);
        self.advance()?;
        let name = self.name()?;
        match self.token {
            Token::Char(b'=') => self.numeric_for(&name, line)?,
            Token::Char(b',') | Token::In => self.generic_for(&name)?,
            _ => return Err(self.error("'=' or 'in' expected")),
        }
        self.expect_closing(&Token::End, &Token::For, line)?;
        self.leave_block()
    }

    fn numeric_for(&mut self, name: &Text, line: u32) -> Parsed<()> {
        let base = self.emitter().free_register;
        self.new_hidden_local("(for index)")?;
        self.new_hidden_local("(for limit)")?;
        self.new_hidden_local("(for step)")?;
        self.new_local(name)?;
        self.expect(&Token::Char(b'='))?;
        self.for_expression()?;
        self.expect(&Token::Char(b','))?;
        self.for_expression()?;
        if self.take(&Token::Char(b','))? {
            self.for_expression()?;
        } else {
            self.emitter().place_in_next(&mut Pending::new(Kind::Number(1.0)))?;
        }
        self.for_body(base, line, 1, true)
    }

    fn for_expression(&mut self) -> Parsed<()> {
        let mut expression = self.expression()?;
        self.emitter().place_in_next(&mut expression)
    }

    fn generic_for(&mut self, name: &Text) -> Parsed<()> {
        let base = self.emitter().free_register;
        self.new_hidden_local("(for generator)")?;
        self.new_hidden_local("(for state)")?;
        self.new_hidden_local("(for control)")?;
        self.new_local(name)?;
        let mut count = 1;
        while self.take(&Token::Char(b','))? {
            let name = self.name()?;
            self.new_local(&name)?;
            count += 1;
        }
        self.expect(&Token::In)?;
        let line = self.lexer.line;
        let (mut last, values) = self.expressions()?;
        self.adjust(3, values, &mut last)?;
        self.emitter().check_registers(3)?;
        self.for_body(base, line, count, false)
    }

    fn for_body(&mut self, base: usize, line: u32, count: usize, is_numeric: bool) -> Parsed<()> {
        self.show_locals(3);
        self.expect(&Token::Do)?;
        let emitter = self.emitter();
        let prepare = if is_numeric {
            emitter.emit(Op::ForPrepare, base as u8, 0, NO_JUMP)? as i32
        } else {
            emitter.jump()?
        };
        self.enter_block(false);
        self.show_locals(count);
        self.emitter().reserve(count)?;
        self.block()?;
        self.leave_block()?;
        let emitter = self.emitter();
        emitter.patch_to_here(prepare)?;
        let end = if is_numeric {
            emitter.emit(Op::ForLoop, base as u8, 0, NO_JUMP)? as i32
        } else {
            emitter.emit(Op::ForIn, base as u8, 0, count as i32)?;
            NO_JUMP
        };
        emitter.fix_line(line);
        let end = if is_numeric { end } else { emitter.jump()? };
        emitter.patch(end, prepare + 1)
    }

    fn function_statement(&mut self, line: u32) -> Parsed<()> {
        self.advance()?;
        let mut target = self.variable()?;
        let mut is_method = false;
        while self.token == Token::Char(b'.') {
            self.field(&mut target)?;
        }
        if self.token == Token::Char(b':') {
            is_method = true;
            self.field(&mut target)?;
        }
        let mut function = self.function_body(is_method, line)?;
        let emitter = self.emitter();
        emitter.store(&target, &mut function)?;
        emitter.fix_line(line);
        Ok(())
    }

    fn local_function(&mut self) -> Parsed<()> {
        let name = self.name()?;
        self.new_local(&name)?;
        let emitter = self.emitter();
        let target = Pending::new(Kind::Local(emitter.free_register as u8));
        emitter.reserve(1)?;
        self.show_locals(1);
        let mut function = self.function_body(false, self.lexer.line)?;
        let emitter = self.emitter();
        emitter.store(&target, &mut function)?;
        let pc = emitter.pc() as u32;
        let place = emitter.active[emitter.active_count - 1];
        emitter.locals[place].start = pc;
        Ok(())
    }

    fn local_statement(&mut self) -> Parsed<()> {
        let mut count = 0;
        loop {
            let name = self.name()?;
            self.new_local(&name)?;
            count += 1;
            if !self.take(&Token::Char(b','))? {
                break;
            }
        }
        let (mut last, values) = if self.take(&Token::Char(b'='))? {
            self.expressions()?
        } else {
            (Pending::new(Kind::Void), 0)
        };
        self.adjust(count, values, &mut last)?;
        self.show_locals(count);
        Ok(())
    }

    /// Makes as many values as there are variables.
    fn adjust(&mut self, variables: usize, values: usize, last: &mut Pending) -> Parsed<()> {
        let emitter = self.emitter();
        if last.has_multiple_results() {
            let missing = (variables + 1).saturating_sub(values);
            emitter.set_results(last, missing as i32)?;
            if missing > 1 {
                emitter.reserve(missing - 1)?;
            }
            return Ok(());
        }
        if last.kind != Kind::Void {
            emitter.place_in_next(last)?;
        }
        if variables > values {
            let from = emitter.free_register;
            emitter.reserve(variables - values)?;
            emitter.nils(from, variables - values)?;
        }
        Ok(())
    }

    fn return_statement(&mut self) -> Parsed<()> {
        self.advance()?;
        if self.is_block_end() || self.token == Token::Char(b';') {
            return self.emitter().emit_return(0, 0);
        }
        let (mut last, count) = self.expressions()?;
        let emitter = self.emitter();
        if last.has_multiple_results() {
            emitter.set_results(&last, ALL)?;
            if let (Kind::Call(place), 1) = (last.kind, count) {
                emitter.code[place].op = Op::TailCall;
            }
            return emitter.emit_return(emitter.active_count, ALL);
        }
        if count == 1 {
            let register = emitter.place_in_any(&mut last)?;
            return emitter.emit_return(usize::from(register), 1);
        }
        emitter.place_in_next(&mut last)?;
        emitter.emit_return(emitter.active_count, count as i32)
    }

    fn expression_statement(&mut self) -> Parsed<()> {
        let expression = self.primary()?;
        if let Kind::Call(place) = expression.kind {
            self.emitter().code[place].c = 1;
            return Ok(());
        }
        self.assignment(expression)
    }

    fn assignment(&mut self, first: Pending) -> Parsed<()> {
        let mut targets = vec![first];
        loop {
            let last = targets[targets.len() - 1];
            if !matches!(
                last.kind,
                Kind::Local(_) | Kind::Upvalue(_) | Kind::Global(_) | Kind::Indexed(..)
            ) {
                return Err(self.error("syntax error"));
            }
            if !self.take(&Token::Char(b','))? {
                break;
            }
            let next = self.primary()?;
            if let Kind::Local(register) = next.kind {
                self.keep_local(&mut targets, register)?;
            }
            let max = LEVELS_MAX.saturating_sub(self.levels);
            self.check_limit(targets.len(), max, "variables in assignment")?;
            targets.push(next);
        }
        self.expect(&Token::Char(b'='))?;
        let (mut value, count) = self.expressions()?;
        if count == targets.len() {
            let emitter = self.emitter();
            if let Some(target) = targets.pop() {
                emitter.set_one_result(&mut value);
                emitter.store(&target, &mut value)?;
            }
        } else {
            self.adjust(targets.len(), count, &mut value)?;
            if count > targets.len() {
                self.emitter().free_register -= count - targets.len();
            }
        }
        while let Some(target) = targets.pop() {
            let emitter = self.emitter();
            let mut value = Pending::new(Kind::Register((emitter.free_register - 1) as u8));
            emitter.store(&target, &mut value)?;
        }
        Ok(())
    }

    /// A local variable is assigned to, and earlier targets use it as table or key: they get a copy.
    fn keep_local(&mut self, targets: &mut [Pending], register: u8) -> Parsed<()> {
        let emitter = self.emitter();
        let copy = emitter.free_register as u8;
        let mut is_used = false;
        for target in targets {
            if let Kind::Indexed(table, key) = &mut target.kind {
                if *table == register {
                    *table = copy;
                    is_used = true;
                }
                if *key == i32::from(register) {
                    *key = i32::from(copy);
                    is_used = true;
                }
            }
        }
        if is_used {
            emitter.emit(Op::Move, copy, u16::from(register), 0)?;
            emitter.reserve(1)?;
        }
        Ok(())
    }

    /// `(parameters) statements end`
    fn function_body(&mut self, is_method: bool, line: u32) -> Parsed<Pending> {
        self.functions.push(Emitter::new(line));
        self.expect(&Token::Char(b'('))?;
        if is_method {
            self.new_hidden_local("self")?;
            self.show_locals(1);
        }
        self.parameters()?;
        self.expect(&Token::Char(b')'))?;
        self.chunk()?;
        self.expect_closing(&Token::End, &Token::Function, line)?;
        let (function, upvalues) = self.close_function()?;
        let emitter = self.emitter();
        emitter.children.push(Rc::new(function));
        let index = emitter.children.len() as i32 - 1;
        let closure = emitter.emit(Op::Closure, 0, 0, index)?;
        for upvalue in upvalues {
            let op = if upvalue.is_local { Op::Move } else { Op::GetUpvalue };
            emitter.emit(op, 0, u16::from(upvalue.place), 0)?;
        }
        Ok(Pending::new(Kind::Open(closure)))
    }

    fn parameters(&mut self) -> Parsed<()> {
        let mut count = 0;
        while self.token != Token::Char(b')') {
            match self.token {
                Token::Name(_) => {
                    let name = self.name()?;
                    self.new_local(&name)?;
                    count += 1;
                }
                Token::Dots => {
                    self.advance()?;
                    self.new_hidden_local("arg")?;
                    count += 1;
                    self.emitter().varargs = Varargs {
                        takes: true,
                        has_arg: true,
                        needs_arg: true,
                    };
                }
                _ => return Err(self.error("<name> or '...' expected")),
            }
            if self.emitter().varargs.takes || !self.take(&Token::Char(b','))? {
                break;
            }
            if self.token == Token::Char(b')') {
                return Err(self.error("<name> or '...' expected"));
            }
        }
        self.show_locals(count);
        let emitter = self.emitter();
        emitter.parameters = (emitter.active_count - usize::from(emitter.varargs.has_arg)) as u8;
        emitter.reserve(emitter.active_count)
    }
}
