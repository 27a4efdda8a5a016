//! Collects garbage: marks what a program can reach, and frees the rest.
//!
//! A collection runs only where all values in use are on a stack or in a table: between instructions, and before a
//! function in Rust begins. So a function in Rust may keep values in variables as long as it calls no Lua.

use alloc::{rc::Rc, vec::Vec};

use crate::{
    heap::{Function, Heap, Upvalue},
    machine::Machine,
    thread::Thread,
    value::{TableId, Value},
    vm::Event,
};

/// What is marked but not yet looked into.
struct Gray {
    values: Vec<Value>,
    /// Tables whose keys or values do not keep things alive.
    weak: Vec<(TableId, bool, bool)>,
    mode: crate::value::Str,
}

impl Machine {
    /// Frees all that the program cannot reach.
    pub(crate) fn collect(&mut self) {
        self.heap.epoch = self.heap.epoch.wrapping_add(1);
        let mut gray = Gray {
            values: Vec::new(),
            weak: Vec::new(),
            mode: self.names.get(Event::Mode),
        };
        for name in self.names.all() {
            self.heap.strings.mark(*name);
        }
        gray.mark(&mut self.heap, Value::Table(self.globals));
        if let Some(table) = self.string_meta {
            gray.mark(&mut self.heap, Value::Table(table));
        }
        for pinned in self.pinned.iter().flatten() {
            gray.mark(&mut self.heap, *pinned);
        }
        gray.mark_thread(&mut self.heap, &self.thread);
        gray.mark(&mut self.heap, Value::Thread(self.running));
        let mut resumer = self.thread.resumer;
        while let Some(id) = resumer {
            gray.mark(&mut self.heap, Value::Thread(id));
            resumer = self.heap.threads.slots[id.0 as usize].resumer;
        }
        self.heap.threads.mark(0);
        gray.finish(&mut self.heap);
        self.heap.sweep();
    }
}

impl Gray {
    #[inline]
    fn mark(&mut self, heap: &mut Heap, value: Value) {
        let is_new = match value {
            Value::String(string) => {
                heap.strings.mark(string);
                false
            }
            Value::Table(table) => heap.tables.mark(table.0),
            Value::Closure(closure) => heap.closures.mark(closure.0),
            Value::Native(native) => heap.natives.mark(native.0),
            Value::Thread(thread) => heap.threads.mark(thread.0),
            Value::Nil | Value::Boolean(_) | Value::Number(_) | Value::Light(_) => false,
        };
        if is_new {
            self.values.push(value);
        }
    }

    fn finish(&mut self, heap: &mut Heap) {
        while let Some(value) = self.values.pop() {
            match value {
                Value::Table(table) => self.look_into_table(heap, table),
                Value::Closure(closure) => {
                    let slot = closure.0 as usize;
                    let function = heap.closures.slots[slot].function.clone();
                    self.mark_function(heap, &function);
                    for index in 0..heap.closures.slots[slot].upvalues.len() {
                        let upvalue = heap.closures.slots[slot].upvalues[index];
                        heap.upvalues.mark(upvalue.0);
                        // An open one is on a stack, which is marked as far as it is in use.
                        match heap.upvalues.slots[upvalue.0 as usize] {
                            Upvalue::Closed(value) => self.mark(heap, value),
                            Upvalue::Open { thread, .. } => self.mark(heap, Value::Thread(thread)),
                        }
                    }
                }
                Value::Native(native) => {
                    for index in 0..heap.native(native).state.len() {
                        let value = heap.native(native).state[index];
                        self.mark(heap, value);
                    }
                }
                Value::Thread(thread) => {
                    let thread = core::mem::take(&mut heap.threads.slots[thread.0 as usize]);
                    let id = value;
                    self.mark_thread(heap, &thread);
                    if let Value::Thread(id) = id {
                        heap.threads.slots[id.0 as usize] = thread;
                    }
                }
                _ => {}
            }
        }
        self.clear_weak(heap);
    }

    fn mark_thread(&mut self, heap: &mut Heap, thread: &Thread) {
        for value in thread.stack.iter().take(thread.extent()) {
            self.mark(heap, *value);
        }
        for (_, upvalue) in &thread.open {
            heap.upvalues.mark(upvalue.0);
        }
    }

    fn mark_function(&mut self, heap: &mut Heap, function: &Rc<Function>) {
        if function.marked_in.replace(heap.epoch) == heap.epoch {
            return;
        }
        for constant in &function.constants {
            self.mark(heap, *constant);
        }
        for child in &function.children {
            self.mark_function(heap, child);
        }
    }

    fn look_into_table(&mut self, heap: &mut Heap, id: TableId) {
        let (mut weak_keys, mut weak_values) = (false, false);
        if let Some(meta) = heap.table(id).meta {
            self.mark(heap, Value::Table(meta));
            if let Value::String(mode) = heap.get_str(meta, self.mode) {
                let mode = heap.bytes(mode);
                (weak_keys, weak_values) = (mode.contains(&b'k'), mode.contains(&b'v'));
            }
        }
        // The table is taken out, so that what it refers to can be marked in the meantime.
        let table = core::mem::take(heap.table_mut(id));
        if !weak_values {
            for value in &table.array {
                self.mark(heap, *value);
            }
        }
        for node in &table.nodes {
            // A key whose value is gone stays until the table grows, for `next`.
            if !weak_keys || matches!(node.key, Value::String(_)) {
                self.mark(heap, node.key);
            }
            if !weak_values || matches!(node.value, Value::String(_)) {
                self.mark(heap, node.value);
            }
        }
        if weak_values {
            for value in table.array.iter().filter(|value| matches!(value, Value::String(_))) {
                self.mark(heap, *value);
            }
        }
        *heap.table_mut(id) = table;
        if weak_keys || weak_values {
            self.weak.push((id, weak_keys, weak_values));
        }
    }

    /// Takes what nothing else refers to out of weak tables.
    fn clear_weak(&self, heap: &mut Heap) {
        for (id, weak_keys, weak_values) in &self.weak {
            let mut table = core::mem::take(heap.table_mut(*id));
            if *weak_values {
                for value in &mut table.array {
                    if is_dead(heap, *value) {
                        *value = Value::Nil;
                    }
                }
            }
            for node in &mut table.nodes {
                let is_key_dead = *weak_keys && is_dead(heap, node.key);
                if is_key_dead || (*weak_values && is_dead(heap, node.value)) {
                    node.value = Value::Nil;
                }
                if is_key_dead {
                    // No program can have this key any more. The node stays in its chain.
                    node.key = Value::Light(u32::MAX);
                }
            }
            *heap.table_mut(*id) = table;
        }
    }
}

/// Whether a collection is about to free a value.
fn is_dead(heap: &Heap, value: Value) -> bool {
    match value {
        Value::Table(table) => !heap.tables.is_marked(table.0),
        Value::Closure(closure) => !heap.closures.is_marked(closure.0),
        Value::Native(native) => !heap.natives.is_marked(native.0),
        Value::Thread(thread) => !heap.threads.is_marked(thread.0),
        _ => false,
    }
}
