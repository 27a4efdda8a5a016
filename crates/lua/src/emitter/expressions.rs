//! Expressions: pending ones, conditions and operators.

use super::{ALL, ConstantKey, Emitter, NO_JUMP, NO_REGISTER};
use crate::{
    instruction::{CONSTANT, OPERAND_CONSTANT_MAX, Op},
    lexer::Parsed,
    prototype::Constant,
};

/// What an expression is while its value is in no register yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Nothing: an empty list of expressions.
    Void,
    Nil,
    True,
    False,
    Constant(usize),
    Number(f64),
    Local(u8),
    Upvalue(u8),
    Global(usize),
    /// A table in a register, with a register or constant as key.
    Indexed(u8, i32),
    /// A jump that is taken if a comparison holds.
    Jump(i32),
    /// An instruction whose target register is open.
    Open(usize),
    /// In a register.
    Register(u8),
    Call(usize),
    Varargs(usize),
}

/// An expression, with the jumps out of it that are taken if it is true, and if it is false.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) kind: Kind,
    pub(crate) if_true: i32,
    pub(crate) if_false: i32,
}

impl Pending {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            if_true: NO_JUMP,
            if_false: NO_JUMP,
        }
    }

    fn has_jumps(&self) -> bool {
        self.if_true != self.if_false
    }

    fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Number(_)) && !self.has_jumps()
    }

    pub(crate) fn has_multiple_results(&self) -> bool {
        matches!(self.kind, Kind::Call(_) | Kind::Varargs(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Minus,
    Not,
    Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Concat,
    NotEqual,
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
}

impl Emitter {
    /// Makes a call or `...` produce so many results.
    pub(crate) fn set_results(&mut self, expression: &Pending, count: i32) -> Parsed<()> {
        match expression.kind {
            Kind::Call(place) => self.code[place].c = count + 1,
            Kind::Varargs(place) => {
                self.code[place].b = (count + 1) as u16;
                self.code[place].a = self.free_register as u8;
                self.reserve(1)?;
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn set_one_result(&mut self, expression: &mut Pending) {
        match expression.kind {
            Kind::Call(place) => expression.kind = Kind::Register(self.code[place].a),
            Kind::Varargs(place) => {
                self.code[place].b = 2;
                expression.kind = Kind::Open(place);
            }
            _ => {}
        }
    }

    /// Reads variables, and makes calls give one result.
    pub(crate) fn discharge(&mut self, expression: &mut Pending) -> Parsed<()> {
        match expression.kind {
            Kind::Local(register) => expression.kind = Kind::Register(register),
            Kind::Upvalue(index) => {
                expression.kind = Kind::Open(self.emit(Op::GetUpvalue, 0, u16::from(index), 0)?);
            }
            Kind::Global(constant) => {
                expression.kind = Kind::Open(self.emit(Op::GetGlobal, 0, 0, constant as i32)?);
            }
            Kind::Indexed(table, key) => {
                self.release(key);
                self.release(i32::from(table));
                let op = if self.is_string_constant(key) {
                    Op::GetField
                } else {
                    Op::GetTable
                };
                expression.kind = Kind::Open(self.emit(op, 0, u16::from(table), key)?);
            }
            Kind::Call(_) | Kind::Varargs(_) => self.set_one_result(expression),
            _ => {}
        }
        Ok(())
    }

    fn code_label(&mut self, register: u8, value: u16, skips: i32) -> Parsed<i32> {
        self.label();
        Ok(self.emit(Op::LoadBool, register, value, skips)? as i32)
    }

    fn discharge_to(&mut self, expression: &mut Pending, register: u8) -> Parsed<()> {
        self.discharge(expression)?;
        match expression.kind {
            Kind::Nil => self.nils(usize::from(register), 1)?,
            Kind::False | Kind::True => {
                let value = u16::from(expression.kind == Kind::True);
                self.emit(Op::LoadBool, register, value, 0)?;
            }
            Kind::Constant(constant) => {
                self.emit(Op::LoadK, register, 0, constant as i32)?;
            }
            Kind::Number(number) => {
                let constant = self.number_constant(number)?;
                self.emit(Op::LoadK, register, 0, constant as i32)?;
            }
            Kind::Open(place) => self.code[place].a = register,
            Kind::Register(from) => {
                if from != register {
                    self.emit(Op::Move, register, u16::from(from), 0)?;
                }
            }
            _ => return Ok(()),
        }
        expression.kind = Kind::Register(register);
        Ok(())
    }

    fn discharge_to_any(&mut self, expression: &mut Pending) -> Parsed<()> {
        if matches!(expression.kind, Kind::Register(_)) {
            return Ok(());
        }
        self.reserve(1)?;
        self.discharge_to(expression, (self.free_register - 1) as u8)
    }

    fn place_in(&mut self, expression: &mut Pending, register: u8) -> Parsed<()> {
        self.discharge_to(expression, register)?;
        if let Kind::Jump(jump) = expression.kind {
            expression.if_true = self.join(expression.if_true, jump)?;
        }
        if expression.has_jumps() {
            let (mut load_false, mut load_true) = (NO_JUMP, NO_JUMP);
            if self.needs_value(expression.if_true) || self.needs_value(expression.if_false) {
                let is_jump = matches!(expression.kind, Kind::Jump(_));
                let skip = if is_jump { NO_JUMP } else { self.jump()? };
                load_false = self.code_label(register, 0, 1)?;
                load_true = self.code_label(register, 1, 0)?;
                self.patch_to_here(skip)?;
            }
            let end = self.label();
            self.patch_values(expression.if_false, end, register, load_false)?;
            self.patch_values(expression.if_true, end, register, load_true)?;
        }
        *expression = Pending::new(Kind::Register(register));
        Ok(())
    }

    pub(crate) fn place_in_next(&mut self, expression: &mut Pending) -> Parsed<()> {
        self.discharge(expression)?;
        self.release_expression(expression);
        self.reserve(1)?;
        self.place_in(expression, (self.free_register - 1) as u8)
    }

    pub(crate) fn place_in_any(&mut self, expression: &mut Pending) -> Parsed<u8> {
        self.discharge(expression)?;
        if let Kind::Register(register) = expression.kind {
            if !expression.has_jumps() {
                return Ok(register);
            }
            if usize::from(register) >= self.active_count {
                self.place_in(expression, register)?;
                return Ok(register);
            }
        }
        self.place_in_next(expression)?;
        match expression.kind {
            Kind::Register(register) => Ok(register),
            _ => Ok(0),
        }
    }

    pub(crate) fn settle(&mut self, expression: &mut Pending) -> Parsed<()> {
        if expression.has_jumps() {
            self.place_in_any(expression)?;
            return Ok(());
        }
        self.discharge(expression)
    }

    /// A register or a constant, as an operand.
    pub(crate) fn operand(&mut self, expression: &mut Pending) -> Parsed<i32> {
        self.settle(expression)?;
        let has_room = self.constants.len() <= OPERAND_CONSTANT_MAX;
        let constant = match expression.kind {
            Kind::Nil if has_room => Some(self.constant(ConstantKey::Nil, Constant::Nil)?),
            Kind::True if has_room => Some(self.constant(ConstantKey::Boolean(true), Constant::Boolean(true))?),
            Kind::False if has_room => Some(self.constant(ConstantKey::Boolean(false), Constant::Boolean(false))?),
            Kind::Number(number) if has_room => Some(self.number_constant(number)?),
            Kind::Constant(constant) if constant <= OPERAND_CONSTANT_MAX => Some(constant),
            _ => None,
        };
        match constant {
            Some(constant) => {
                expression.kind = Kind::Constant(constant);
                Ok(constant as i32 + CONSTANT)
            }
            None => Ok(i32::from(self.place_in_any(expression)?)),
        }
    }

    /// The instruction that sets a key of a table.
    pub(crate) fn set_op(&self, key: i32) -> Op {
        if self.is_string_constant(key) {
            Op::SetField
        } else {
            Op::SetTable
        }
    }

    /// `variable = expression`
    pub(crate) fn store(&mut self, variable: &Pending, expression: &mut Pending) -> Parsed<()> {
        match variable.kind {
            Kind::Local(register) => {
                self.release_expression(expression);
                return self.place_in(expression, register);
            }
            Kind::Upvalue(index) => {
                let register = self.place_in_any(expression)?;
                self.emit(Op::SetUpvalue, register, u16::from(index), 0)?;
            }
            Kind::Global(constant) => {
                let register = self.place_in_any(expression)?;
                self.emit(Op::SetGlobal, register, 0, constant as i32)?;
            }
            Kind::Indexed(table, key) => {
                let value = self.operand(expression)?;
                self.emit(self.set_op(key), table, key as u16, value)?;
            }
            _ => {}
        }
        self.release_expression(expression);
        Ok(())
    }

    /// `expression:key(`: the method and the object go into two new registers.
    pub(crate) fn method(&mut self, expression: &mut Pending, key: &mut Pending) -> Parsed<()> {
        let object = self.place_in_any(expression)?;
        self.release_expression(expression);
        let target = self.free_register as u8;
        self.reserve(2)?;
        let operand = self.operand(key)?;
        self.emit(Op::Method, target, u16::from(object), operand)?;
        self.release_expression(key);
        expression.kind = Kind::Register(target);
        Ok(())
    }

    /// `table[key]`; the table is in a register already.
    pub(crate) fn index(&mut self, table: &mut Pending, key: &mut Pending) -> Parsed<()> {
        let operand = self.operand(key)?;
        if let Kind::Register(register) | Kind::Local(register) = table.kind {
            table.kind = Kind::Indexed(register, operand);
        }
        Ok(())
    }

    // Conditions

    fn invert(&mut self, jump: i32) {
        let control = self.control(jump);
        let instruction = &mut self.code[control];
        instruction.a = u8::from(instruction.a == 0);
    }

    fn jump_on(&mut self, expression: &mut Pending, condition: bool) -> Parsed<i32> {
        if let Kind::Open(place) = expression.kind {
            let instruction = self.code[place];
            if instruction.op == Op::Not {
                // The test takes the operand and the other condition.
                self.code.pop();
                self.lines.pop();
                self.emit(Op::Test, instruction.b as u8, 0, i32::from(!condition))?;
                return self.jump();
            }
        }
        self.discharge_to_any(expression)?;
        self.release_expression(expression);
        if let Kind::Register(register) = expression.kind {
            self.emit(Op::TestSet, NO_REGISTER, u16::from(register), i32::from(condition))?;
        }
        self.jump()
    }

    /// Goes on here if the expression is true.
    pub(crate) fn go_if_true(&mut self, expression: &mut Pending) -> Parsed<()> {
        self.discharge(expression)?;
        let jump = match expression.kind {
            Kind::Constant(_) | Kind::Number(_) | Kind::True => NO_JUMP,
            Kind::Jump(jump) => {
                self.invert(jump);
                jump
            }
            _ => self.jump_on(expression, false)?,
        };
        expression.if_false = self.join(expression.if_false, jump)?;
        self.patch_to_here(expression.if_true)?;
        expression.if_true = NO_JUMP;
        Ok(())
    }

    /// Goes on here if the expression is false.
    fn go_if_false(&mut self, expression: &mut Pending) -> Parsed<()> {
        self.discharge(expression)?;
        let jump = match expression.kind {
            Kind::Nil | Kind::False => NO_JUMP,
            Kind::Jump(jump) => jump,
            _ => self.jump_on(expression, true)?,
        };
        expression.if_true = self.join(expression.if_true, jump)?;
        self.patch_to_here(expression.if_false)?;
        expression.if_false = NO_JUMP;
        Ok(())
    }

    fn not(&mut self, expression: &mut Pending) -> Parsed<()> {
        self.discharge(expression)?;
        match expression.kind {
            Kind::Nil | Kind::False => expression.kind = Kind::True,
            Kind::Constant(_) | Kind::Number(_) | Kind::True => expression.kind = Kind::False,
            Kind::Jump(jump) => self.invert(jump),
            _ => {
                self.discharge_to_any(expression)?;
                self.release_expression(expression);
                if let Kind::Register(register) = expression.kind {
                    expression.kind = Kind::Open(self.emit(Op::Not, 0, u16::from(register), 0)?);
                }
            }
        }
        core::mem::swap(&mut expression.if_true, &mut expression.if_false);
        self.drop_values(expression.if_false);
        self.drop_values(expression.if_true);
        Ok(())
    }

    // Operators

    pub(crate) fn prefix(&mut self, operator: Unary, expression: &mut Pending) -> Parsed<()> {
        let mut zero = Pending::new(Kind::Number(0.0));
        match operator {
            Unary::Not => self.not(expression),
            Unary::Minus => {
                if !expression.is_number() {
                    self.place_in_any(expression)?;
                }
                self.arithmetic(Op::Minus, expression, &mut zero)
            }
            Unary::Length => {
                self.place_in_any(expression)?;
                self.arithmetic(Op::Length, expression, &mut zero)
            }
        }
    }

    /// What is done after the left operand is read, and before the right one.
    pub(crate) fn infix(&mut self, operator: Binary, left: &mut Pending) -> Parsed<()> {
        match operator {
            Binary::And => self.go_if_true(left),
            Binary::Or => self.go_if_false(left),
            Binary::Concat => self.place_in_next(left),
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Mod | Binary::Pow => {
                if !left.is_number() {
                    self.operand(left)?;
                }
                Ok(())
            }
            Binary::NotEqual
            | Binary::Equal
            | Binary::Less
            | Binary::LessEqual
            | Binary::Greater
            | Binary::GreaterEqual => self.operand(left).map(drop),
        }
    }

    /// What is done after both operands are read.
    pub(crate) fn postfix(&mut self, operator: Binary, left: &mut Pending, right: &mut Pending) -> Parsed<()> {
        match operator {
            Binary::And => {
                self.discharge(right)?;
                right.if_false = self.join(right.if_false, left.if_false)?;
                *left = *right;
                Ok(())
            }
            Binary::Or => {
                self.discharge(right)?;
                right.if_true = self.join(right.if_true, left.if_true)?;
                *left = *right;
                Ok(())
            }
            Binary::Concat => self.concat(left, right),
            Binary::Add => self.arithmetic(Op::Add, left, right),
            Binary::Sub => self.arithmetic(Op::Sub, left, right),
            Binary::Mul => self.arithmetic(Op::Mul, left, right),
            Binary::Div => self.arithmetic(Op::Div, left, right),
            Binary::Mod => self.arithmetic(Op::Mod, left, right),
            Binary::Pow => self.arithmetic(Op::Pow, left, right),
            Binary::Equal => self.comparison(Op::Equal, true, left, right),
            Binary::NotEqual => self.comparison(Op::Equal, false, left, right),
            Binary::Less => self.comparison(Op::Less, true, left, right),
            Binary::LessEqual => self.comparison(Op::LessEqual, true, left, right),
            Binary::Greater => self.comparison(Op::Less, false, left, right),
            Binary::GreaterEqual => self.comparison(Op::LessEqual, false, left, right),
        }
    }

    fn concat(&mut self, left: &mut Pending, right: &mut Pending) -> Parsed<()> {
        self.settle(right)?;
        if let Kind::Open(place) = right.kind
            && self.code[place].op == Op::Concat
        {
            // a .. (b .. c) is one instruction, which begins one register earlier.
            self.release_expression(left);
            if let Kind::Register(register) = left.kind {
                self.code[place].b = u16::from(register);
            }
            left.kind = Kind::Open(place);
            return Ok(());
        }
        self.place_in_next(right)?;
        self.arithmetic(Op::Concat, left, right)
    }

    fn arithmetic(&mut self, op: Op, left: &mut Pending, right: &mut Pending) -> Parsed<()> {
        if let (Kind::Number(a), Kind::Number(b)) = (left.kind, right.kind)
            && left.is_number()
            && right.is_number()
            && let Some(number) = fold(op, a, b)
        {
            left.kind = Kind::Number(number);
            return Ok(());
        }
        let is_unary = matches!(op, Op::Minus | Op::Length | Op::Not);
        let second = if is_unary { 0 } else { self.operand(right)? };
        let first = self.operand(left)?;
        if first > second {
            self.release_expression(left);
            self.release_expression(right);
        } else {
            self.release_expression(right);
            self.release_expression(left);
        }
        left.kind = Kind::Open(self.emit(op, 0, first as u16, second)?);
        Ok(())
    }

    fn comparison(&mut self, op: Op, condition: bool, left: &mut Pending, right: &mut Pending) -> Parsed<()> {
        let mut first = self.operand(left)?;
        let mut second = self.operand(right)?;
        self.release_expression(right);
        self.release_expression(left);
        let mut condition = condition;
        if !condition && op != Op::Equal {
            // a > b is b < a
            core::mem::swap(&mut first, &mut second);
            condition = true;
        }
        self.emit(op, u8::from(condition), first as u16, second)?;
        left.kind = Kind::Jump(self.jump()?);
        Ok(())
    }

    /// Sets `count` values of a table that is in register `table`: the last registers hold them.
    pub(crate) fn set_list(&mut self, table: usize, batch: usize, count: i32) -> Parsed<()> {
        let count = if count == ALL { 0 } else { count };
        self.emit(Op::SetList, table as u8, count as u16, batch as i32)?;
        self.free_register = table + 1;
        Ok(())
    }
}

/// Computes an operation on constants, unless its result depends on the moment or is not a number.
fn fold(op: Op, a: f64, b: f64) -> Option<f64> {
    let number = match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div if b != 0.0 => a / b,
        Op::Mod if b != 0.0 => crate::arithmetic::modulo(a, b),
        Op::Pow => crate::arithmetic::power(a, b),
        Op::Minus => -a,
        _ => return None,
    };
    (!number.is_nan()).then_some(number)
}
