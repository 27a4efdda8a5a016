//! Emits the instructions of one function: registers, constants, jumps and expressions.
//!
//! An expression is *pending* as long as possible ([`Pending`]): only its user knows whether it must be in a register,
//! may stay a constant, or only decides over a jump. Jumps to a place that is not yet known form a list, linked through
//! the distances of the jump instructions themselves.

pub(crate) mod expressions;

use expressions::{Kind, Pending};

use alloc::{collections::BTreeMap, rc::Rc, vec::Vec};

use crate::{
    instruction::{CONSTANT, Instruction, Op},
    lexer::{Parsed, SyntaxError},
    prototype::{Constant, Local, Prototype, Text, Varargs, boxed},
};

/// The end of a list of jumps.
pub(crate) const NO_JUMP: i32 = -1;
/// A register that is none.
const NO_REGISTER: u8 = 255;
/// How many registers a function may use.
pub(crate) const REGISTERS_MAX: usize = 250;
/// How many constants a function may have.
const CONSTANTS_MAX: usize = (1 << 18) - 1;
/// How far a jump may go.
const JUMP_MAX: i32 = (1 << 17) - 1;
/// How many results or arguments: all that there are.
pub(crate) const ALL: i32 = -1;

/// A block of statements.
#[derive(Debug)]
pub(crate) struct Block {
    /// The jumps out of the loop, if it is one.
    pub(crate) breaks: i32,
    pub(crate) locals: usize,
    /// Some variable of the block is captured by a closure.
    pub(crate) is_captured: bool,
    pub(crate) is_loop: bool,
}

/// A constant as a key: equal constants are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ConstantKey {
    Nil,
    Boolean(bool),
    Number(u64),
    String(Text),
}

/// Where an upvalue comes from, as seen from the function that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upvalue {
    pub(crate) name: Text,
    pub(crate) is_local: bool,
    pub(crate) place: u8,
}

/// A function under compilation.
// Wide: it becomes a prototype, which is a table of as many parts.
#[derive(Debug, Default)]
pub(crate) struct Emitter {
    pub(crate) code: Vec<Instruction>,
    lines: Vec<u32>,
    constants: Vec<Constant>,
    constant_places: BTreeMap<ConstantKey, usize>,
    pub(crate) children: Vec<Rc<Prototype>>,
    pub(crate) locals: Vec<Local>,
    /// The local variables in sight, as places in `locals`; each is in the register of its own index.
    pub(crate) active: Vec<usize>,
    /// How many of `active` are in sight already: a variable is, after its initial value.
    pub(crate) active_count: usize,
    pub(crate) upvalues: Vec<Upvalue>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) line_defined: u32,
    pub(crate) parameters: u8,
    pub(crate) varargs: Varargs,
    pub(crate) free_register: usize,
    registers: usize,
    /// Jumps to here that wait for the next instruction.
    pending_jumps: i32,
    /// The place of the last jump target: instructions before it cannot be changed any more.
    last_target: i32,
    /// The line of the last token that was taken.
    pub(crate) last_line: u32,
    /// The line that is being read.
    pub(crate) line: u32,
}

impl Emitter {
    pub(crate) fn new(line_defined: u32) -> Self {
        Self {
            line_defined,
            registers: 2,
            pending_jumps: NO_JUMP,
            last_target: -1,
            ..Self::default()
        }
    }

    pub(crate) fn finish(self, upvalues: &[Upvalue], source: Text) -> Prototype {
        Prototype {
            code: boxed(self.code),
            lines: boxed(self.lines),
            constants: boxed(self.constants),
            children: boxed(self.children),
            locals: boxed(self.locals),
            upvalues: upvalues.iter().map(|upvalue| upvalue.name.clone()).collect(),
            source,
            parameters: self.parameters,
            varargs: self.varargs,
            registers: self.registers as u8,
        }
    }

    pub(crate) fn pc(&self) -> i32 {
        self.code.len() as i32
    }

    /// Emits an instruction, and says where it is.
    pub(crate) fn emit(&mut self, op: Op, a: u8, b: u16, c: i32) -> Parsed<usize> {
        let here = self.pc();
        let waiting = core::mem::replace(&mut self.pending_jumps, NO_JUMP);
        self.patch_values(waiting, here, NO_REGISTER, here)?;
        self.code.push(Instruction::new(op, a, b, c));
        self.lines.push(self.last_line);
        Ok(here as usize)
    }

    /// Sets the line of the last instruction.
    pub(crate) fn fix_line(&mut self, line: u32) {
        if let Some(last) = self.lines.last_mut() {
            *last = line;
        }
    }

    fn too_large(&self, what: &str) -> SyntaxError {
        SyntaxError {
            message: what.as_bytes().into(),
            line: self.line,
            is_bare: false,
            is_near_token: false,
        }
    }

    // Constants

    fn constant(&mut self, key: ConstantKey, constant: Constant) -> Parsed<usize> {
        if let Some(place) = self.constant_places.get(&key) {
            return Ok(*place);
        }
        let place = self.constants.len();
        if place >= CONSTANTS_MAX {
            return Err(self.too_large("constant table overflow"));
        }
        self.constants.push(constant);
        self.constant_places.insert(key, place);
        Ok(place)
    }

    pub(crate) fn string_constant(&mut self, text: &Text) -> Parsed<usize> {
        self.constant(ConstantKey::String(text.clone()), Constant::String(text.clone()))
    }

    fn number_constant(&mut self, number: f64) -> Parsed<usize> {
        // Zero and minus zero are one constant: whichever comes first.
        let bits = if number == 0.0 { 0 } else { number.to_bits() };
        self.constant(ConstantKey::Number(bits), Constant::Number(number))
    }

    fn is_string_constant(&self, operand: i32) -> bool {
        operand >= CONSTANT
            && matches!(
                self.constants.get((operand - CONSTANT) as usize),
                Some(Constant::String(_))
            )
    }

    // Registers

    pub(crate) fn check_registers(&mut self, count: usize) -> Parsed<()> {
        let needed = self.free_register + count;
        if needed > self.registers {
            if needed >= REGISTERS_MAX {
                return Err(self.too_large("function or expression too complex"));
            }
            self.registers = needed;
        }
        Ok(())
    }

    pub(crate) fn reserve(&mut self, count: usize) -> Parsed<()> {
        self.check_registers(count)?;
        self.free_register += count;
        Ok(())
    }

    fn release(&mut self, register: i32) {
        if register < CONSTANT && register as usize >= self.active_count {
            self.free_register -= 1;
        }
    }

    fn release_expression(&mut self, expression: &Pending) {
        if let Kind::Register(register) = expression.kind {
            self.release(i32::from(register));
        }
    }

    /// R(from) … get nil. An instruction before that does the same is made longer.
    pub(crate) fn nils(&mut self, from: usize, count: usize) -> Parsed<()> {
        if self.pc() > self.last_target {
            // A function starts with its registers nil.
            if self.pc() == 0 {
                if from >= self.active_count {
                    return Ok(());
                }
            } else if let Some(last) = self.code.last_mut()
                && last.op == Op::LoadNil
                && usize::from(last.a) <= from
                && from <= usize::from(last.b) + 1
            {
                last.b = last.b.max((from + count - 1) as u16);
                return Ok(());
            }
        }
        self.emit(Op::LoadNil, from as u8, (from + count - 1) as u16, 0)?;
        Ok(())
    }

    // Jumps

    /// Emits a jump to a place that is not yet known.
    pub(crate) fn jump(&mut self) -> Parsed<i32> {
        let waiting = core::mem::replace(&mut self.pending_jumps, NO_JUMP);
        let jump = self.emit(Op::Jump, 0, 0, NO_JUMP)? as i32;
        self.join(jump, waiting)
    }

    pub(crate) fn emit_return(&mut self, first: usize, count: i32) -> Parsed<()> {
        self.emit(Op::Return, first as u8, (count + 1) as u16, 0)?;
        Ok(())
    }

    /// Says that here is the target of a jump.
    pub(crate) fn label(&mut self) -> i32 {
        self.last_target = self.pc();
        self.last_target
    }

    fn jump_target(&self, jump: i32) -> i32 {
        match self.code[jump as usize].c {
            NO_JUMP => NO_JUMP,
            distance => jump + 1 + distance,
        }
    }

    fn set_jump_target(&mut self, jump: i32, target: i32) -> Parsed<()> {
        let distance = target - (jump + 1);
        if distance.abs() > JUMP_MAX {
            return Err(SyntaxError {
                is_near_token: true,
                ..self.too_large("control structure too long")
            });
        }
        self.code[jump as usize].c = distance;
        Ok(())
    }

    /// One list of jumps from two.
    pub(crate) fn join(&mut self, first: i32, second: i32) -> Parsed<i32> {
        if second == NO_JUMP {
            return Ok(first);
        }
        if first == NO_JUMP {
            return Ok(second);
        }
        let mut last = first;
        while self.jump_target(last) != NO_JUMP {
            last = self.jump_target(last);
        }
        self.set_jump_target(last, second)?;
        Ok(first)
    }

    /// The instruction that decides over a jump: the one before, if it is a test.
    fn control(&self, jump: i32) -> usize {
        let jump = jump as usize;
        if jump >= 1 && self.code[jump - 1].is_test() {
            jump - 1
        } else {
            jump
        }
    }

    /// Whether some jump of the list produces no value.
    fn needs_value(&self, mut list: i32) -> bool {
        while list != NO_JUMP {
            if self.code[self.control(list)].op != Op::TestSet {
                return true;
            }
            list = self.jump_target(list);
        }
        false
    }

    /// Gives a test the register for its value. With none, the test only decides. False if it has no value.
    fn patch_test(&mut self, jump: i32, register: u8) -> bool {
        let control = self.control(jump);
        let instruction = &mut self.code[control];
        if instruction.op != Op::TestSet {
            return false;
        }
        if register != NO_REGISTER && u16::from(register) != instruction.b {
            instruction.a = register;
        } else {
            *instruction = Instruction::new(Op::Test, instruction.b as u8, 0, instruction.c);
        }
        true
    }

    fn drop_values(&mut self, mut list: i32) {
        while list != NO_JUMP {
            self.patch_test(list, NO_REGISTER);
            list = self.jump_target(list);
        }
    }

    /// Sets the targets of a list of jumps: `with_value` for those that produce a value, `otherwise` for the others.
    fn patch_values(&mut self, mut list: i32, with_value: i32, register: u8, otherwise: i32) -> Parsed<()> {
        while list != NO_JUMP {
            let next = self.jump_target(list);
            let target = if self.patch_test(list, register) {
                with_value
            } else {
                otherwise
            };
            self.set_jump_target(list, target)?;
            list = next;
        }
        Ok(())
    }

    /// Sets the target of a list of jumps.
    pub(crate) fn patch(&mut self, list: i32, target: i32) -> Parsed<()> {
        if target == self.pc() {
            return self.patch_to_here(list);
        }
        self.patch_values(list, target, NO_REGISTER, target)
    }

    pub(crate) fn patch_to_here(&mut self, list: i32) -> Parsed<()> {
        self.label();
        self.pending_jumps = self.join(self.pending_jumps, list)?;
        Ok(())
    }
}
