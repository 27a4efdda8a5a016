//! Coroutines: how one begins, yields, continues and ends.

use super::{Args, Vm};
use crate::{
    fault::{Outcome, Throw},
    machine::Machine,
    thread::{Status, Thread},
    value::{ThreadId, Value},
};

impl Machine {
    /// Makes another coroutine the running one.
    fn switch(&mut self, to: ThreadId) {
        let slots = &mut self.heap.threads.slots;
        core::mem::swap(&mut self.thread, &mut slots[self.running.0 as usize]);
        core::mem::swap(&mut self.thread, &mut slots[to.0 as usize]);
        self.running = to;
    }

    pub(crate) fn thread_status(&self, id: ThreadId) -> Status {
        if id == self.running {
            return Status::Running;
        }
        self.heap.threads.slots[id.0 as usize].status
    }

    /// Ends the running coroutine, whose run was ended from outside, and goes back to the one that resumed it.
    pub(crate) fn abandon(&mut self, resumer: ThreadId) {
        self.bury();
        self.thread.resumer = None;
        self.switch(resumer);
        self.thread.status = Status::Running;
    }

    /// A coroutine that has ended gives back its stack.
    fn bury(&mut self) {
        self.close_upvalues(0);
        let bytes = self.thread.bytes();
        self.thread.stack = alloc::vec::Vec::new();
        self.thread.frames = alloc::vec::Vec::new();
        self.thread.top = 0;
        self.thread.status = Status::Dead;
        self.heap.meter.free(bytes - self.thread.bytes());
    }
}

impl Vm<'_> {
    /// A new coroutine that will execute a function.
    pub(crate) fn new_thread(&mut self, function: Value) -> Outcome<ThreadId> {
        let heap = &mut self.machine.heap;
        let mut thread = Thread::new(&mut heap.meter)?;
        thread.stack[0] = function;
        thread.top = 1;
        Ok(ThreadId(heap.threads.insert(thread)))
    }

    /// Continues a coroutine with the values of `args`. Its results, or what it yields, come on top of the stack, as
    /// many as are returned. An error is what it raised.
    pub(crate) fn resume(&mut self, id: ThreadId, args: Args) -> Outcome<Result<usize, Value>> {
        let status = self.machine.thread_status(id);
        if status != Status::Suspended {
            let text = [b"cannot resume ", status.name().as_bytes(), b" coroutine"].concat();
            return Ok(Err(self.machine.heap.string(&text)?));
        }
        let levels = self.machine.levels;
        if levels >= self.machine.limits.levels_max {
            return Ok(Err(self.machine.heap.string(b"C stack overflow")?));
        }
        self.give(id, args)?;
        let machine = &mut *self.machine;
        let resumer = machine.running;
        machine.thread.status = Status::Normal;
        machine.levels += 1;
        machine.switch(id);
        machine.thread.status = Status::Running;
        machine.thread.resumer = Some(resumer);
        machine.thread.levels = machine.levels;
        let end = self.continue_thread(args.count);

        let machine = &mut *self.machine;
        machine.levels = levels;
        let count = match end {
            Ok(()) => Ok(machine.thread.top),
            Err(Throw::Yield(count)) => Ok(count),
            Err(Throw::Error(value)) => Err(value),
            Err(bound) => return Err(bound),
        };
        let from = machine.thread.top - count.unwrap_or(0);
        machine.switch(resumer);
        machine.thread.status = Status::Running;
        if let Ok(count) = count {
            for index in 0..count {
                let value = self.machine.heap.threads.slots[id.0 as usize].stack[from + index];
                self.push(value)?;
            }
        }
        let machine = &mut *self.machine;
        if matches!(end, Err(Throw::Yield(_))) {
            let thread = &mut machine.heap.threads.slots[id.0 as usize];
            thread.top = from;
            thread.status = Status::Suspended;
        } else {
            machine.switch(id);
            machine.bury();
            machine.switch(resumer);
        }
        Ok(count)
    }

    /// Copies values onto the stack of another coroutine.
    fn give(&mut self, id: ThreadId, args: Args) -> Outcome<()> {
        let machine = &mut *self.machine;
        let thread = &mut machine.heap.threads.slots[id.0 as usize];
        thread.reserve(thread.top + args.count, &mut machine.heap.meter)?;
        for index in 0..args.count {
            thread.stack[thread.top + index] = machine.thread.stack[args.base + index];
        }
        thread.top += args.count;
        Ok(())
    }

    /// Executes the running coroutine, which has got `count` values on top of its stack.
    fn continue_thread(&mut self, count: usize) -> Outcome<()> {
        if self.machine.thread.frames.is_empty() {
            if !self.begin(0, count, -1, true)? {
                return Ok(());
            }
        } else {
            // The values are the results of the function that yielded.
            self.finish_native(count);
        }
        self.execute()
    }

    /// Leaves the running coroutine with so many values on top of its stack.
    pub(crate) fn yield_values(&mut self, args: Args) -> Outcome<usize> {
        let machine = &mut *self.machine;
        if machine.thread.resumer.is_none() || machine.levels != machine.thread.levels {
            return Err(self.runtime_error(b"attempt to yield across metamethod/C-call boundary"));
        }
        Err(Throw::Yield(args.count))
    }
}
