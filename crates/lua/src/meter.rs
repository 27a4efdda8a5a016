//! The account of a machine: bytes held, instructions left, steps of pattern matching left.

use core::cell::Cell;

use crate::fault::{Bound, Limits, Outcome, Throw};

/// Bytes below which no collection is worth its time.
const COLLECT_BYTES_MIN: usize = 512 << 10;
/// Steps of a search that cost nothing beside the instruction that searches.
const FREE_STEPS: u64 = 16;

/// Counts what a run uses up.
#[derive(Debug)]
pub(crate) struct Meter {
    bytes: usize,
    bytes_max: usize,
    /// Bytes at which garbage is collected.
    collect_at: usize,
    fuel: u64,
    /// Instructions that were used up where `fuel` was out of reach.
    debt: Cell<u64>,
    pub(crate) pattern_steps: u64,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            bytes: 0,
            bytes_max: limits.bytes_max,
            collect_at: COLLECT_BYTES_MIN.min(limits.bytes_max / 2),
            fuel: limits.instructions_max,
            debt: Cell::new(0),
            pattern_steps: limits.pattern_steps_max,
        }
    }

    /// Gives a new run its instructions and steps.
    pub(crate) fn refill(&mut self, limits: &Limits) {
        self.bytes_max = limits.bytes_max;
        self.fuel = limits.instructions_max;
        self.debt.set(0);
        self.pattern_steps = limits.pattern_steps_max;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `bytes`, which are about to be allocated.
    #[inline]
    pub(crate) fn allocate(&mut self, bytes: usize) -> Outcome<()> {
        if bytes > self.bytes_max.saturating_sub(self.bytes) {
            return Err(Throw::Bound(Bound::Memory));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Whether `bytes` more could be allocated now.
    pub(crate) fn has_room(&self, bytes: usize) -> Outcome<()> {
        if bytes > self.bytes_max.saturating_sub(self.bytes) {
            return Err(Throw::Bound(Bound::Memory));
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn free(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    #[inline]
    pub(crate) fn wants_collection(&self) -> bool {
        self.bytes >= self.collect_at
    }

    /// Sets when to collect next. `slots` is how many places a collection looks at, even if they are empty.
    pub(crate) fn collected(&mut self, slots: usize) {
        let next = (self.bytes * 2).max(COLLECT_BYTES_MIN).max(self.bytes + slots * 16);
        // Near the bound, collections are frequent rather than late.
        let latest = self.bytes + self.bytes_max.saturating_sub(self.bytes) / 2;
        self.collect_at = next.min(latest);
    }

    /// Notes work that is paid for later, when the interpreter or a library function looks.
    #[inline]
    pub(crate) fn owe(&self, steps: u64) {
        self.debt.set(self.debt.get() + steps);
    }

    /// Notes a search of `steps`, if it was a long one.
    #[inline]
    pub(crate) fn owe_search(&self, steps: u64) {
        if steps > FREE_STEPS {
            self.owe(steps / 4);
        }
    }

    /// Notes work on `bytes` in a row.
    #[inline]
    pub(crate) fn owe_bytes(&self, bytes: usize) {
        self.owe(bytes as u64 / 32);
    }

    /// Pays for `steps`, and for all debt.
    #[inline]
    pub(crate) fn pay(&mut self, steps: u64) -> Outcome<()> {
        let steps = steps + self.debt.take();
        if steps > self.fuel {
            self.fuel = 0;
            return Err(Throw::Bound(Bound::Instructions));
        }
        self.fuel -= steps;
        Ok(())
    }

    /// Takes at most `slice` instructions out of the account, for the interpreter to count down by itself.
    #[inline]
    pub(crate) fn take_slice(&mut self, slice: u32) -> Outcome<u32> {
        self.pay(0)?;
        if self.fuel == 0 {
            return Err(Throw::Bound(Bound::Instructions));
        }
        let taken = self.fuel.min(u64::from(slice));
        self.fuel -= taken;
        Ok(taken as u32)
    }

    /// Returns what is left of a slice.
    #[inline]
    pub(crate) fn return_slice(&mut self, left: u32) {
        self.fuel += u64::from(left);
    }

    /// How many instructions are left.
    pub(crate) fn fuel(&self) -> u64 {
        self.fuel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(instructions_max: u64, bytes_max: usize) -> Meter {
        Meter::new(&Limits {
            instructions_max,
            bytes_max,
            ..Limits::default()
        })
    }

    #[test]
    fn what_is_not_there_is_not_given() {
        let mut meter = meter(10, 100);
        assert_eq!(meter.allocate(100), Ok(()));
        assert_eq!(meter.allocate(1), Err(Throw::Bound(Bound::Memory)));
        meter.free(50);
        assert_eq!(meter.has_room(50), Ok(()));
        assert_eq!(meter.has_room(51), Err(Throw::Bound(Bound::Memory)));
        assert_eq!(meter.bytes(), 50);
    }

    #[test]
    fn debts_are_paid() {
        let mut meter = meter(10, 100);
        meter.owe(4);
        assert_eq!(meter.take_slice(100), Ok(6));
        assert_eq!(meter.take_slice(100), Err(Throw::Bound(Bound::Instructions)));
        meter.return_slice(3);
        assert_eq!(meter.pay(3), Ok(()));
        assert_eq!(meter.pay(1), Err(Throw::Bound(Bound::Instructions)));
    }
}
