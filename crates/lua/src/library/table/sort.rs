//! `table.sort`: the quicksort of PUC Lua 5.1, because programs see which elements it compares, and in which order
//! equal elements end.

use super::{at, put};
use crate::{
    fault::Outcome,
    value::{TableId, Value},
    vm::{Args, Vm},
};

/// A sort under way.
struct Sort {
    table: TableId,
    /// The function that compares, or `nil`.
    order: Value,
}

pub(super) fn sort(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let length = vm.machine.length(table) as i64;
    let order = vm.arg(args, 1);
    if !order.is_nil() {
        vm.check_function(args, 1)?;
    }
    Sort { table, order }.range(vm, 1, length)?;
    Ok(0)
}

impl Sort {
    fn less(&self, vm: &mut Vm<'_>, left: Value, right: Value) -> Outcome<bool> {
        if self.order.is_nil() {
            return vm.less(left, right);
        }
        vm.call_for_one(self.order, &[left, right]).map(Value::is_true)
    }

    /// Compares the elements at two indices. They stay on the stack meanwhile, where a collection sees them.
    fn less_at(&self, vm: &mut Vm<'_>, left: i64, right: i64) -> Outcome<(bool, Value, Value)> {
        let top = vm.thread().top;
        let (a, b) = (at(vm, self.table, left), at(vm, self.table, right));
        vm.push(a)?;
        vm.push(b)?;
        let is_less = self.less(vm, a, b)?;
        vm.thread().top = top;
        Ok((is_less, a, b))
    }

    /// Brings two elements into order.
    fn order(&self, vm: &mut Vm<'_>, low: i64, high: i64) -> Outcome<bool> {
        let (is_less, upper, lower) = self.less_at(vm, high, low)?;
        if is_less {
            put(vm, self.table, low, upper)?;
            put(vm, self.table, high, lower)?;
        }
        Ok(is_less)
    }

    fn swap(&self, vm: &mut Vm<'_>, first: i64, second: i64) -> Outcome<()> {
        let (a, b) = (at(vm, self.table, first), at(vm, self.table, second));
        put(vm, self.table, first, b)?;
        put(vm, self.table, second, a)
    }

    fn range(&self, vm: &mut Vm<'_>, low: i64, high: i64) -> Outcome<()> {
        let (mut low, mut high) = (low, high);
        while low < high {
            vm.pay((high - low) as usize / 2)?;
            self.order(vm, low, high)?;
            if high - low == 1 {
                break;
            }
            let middle = i64::midpoint(low, high);
            if !self.order(vm, low, middle)? {
                self.order(vm, middle, high)?;
            }
            if high - low == 2 {
                break;
            }
            let split = self.partition(vm, low, high, middle)?;
            // The smaller half is sorted by recursion, so that it is never deep.
            if split - low < high - split {
                self.range(vm, low, split - 1)?;
                low = split + 1;
            } else {
                self.range(vm, split + 1, high)?;
                high = split - 1;
            }
        }
        Ok(())
    }

    /// Moves what is less than the element at `middle` before it, and what is greater behind it. Returns its place.
    fn partition(&self, vm: &mut Vm<'_>, low: i64, high: i64, middle: i64) -> Outcome<i64> {
        let pivot = at(vm, self.table, middle);
        let top = vm.thread().top;
        vm.push(pivot)?;
        self.swap(vm, middle, high - 1)?;
        let (mut i, mut j) = (low, high - 1);
        loop {
            let above = loop {
                i += 1;
                let value = at(vm, self.table, i);
                vm.push(value)?;
                if !self.less(vm, value, pivot)? {
                    break value;
                }
                if i > high {
                    return Err(vm.library_error(b"invalid order function for sorting"));
                }
                vm.thread().top = top + 1;
            };
            let below = loop {
                j -= 1;
                let value = at(vm, self.table, j);
                vm.push(value)?;
                if !self.less(vm, pivot, value)? {
                    break value;
                }
                if j < low {
                    return Err(vm.library_error(b"invalid order function for sorting"));
                }
                vm.thread().top = top + 2;
            };
            vm.thread().top = top + 1;
            if j < i {
                break;
            }
            put(vm, self.table, i, below)?;
            put(vm, self.table, j, above)?;
        }
        vm.thread().top = top;
        self.swap(vm, high - 1, i)?;
        Ok(i)
    }
}
