"""Records the outcomes of writes, and says which values a read may return.

Each key is written by one client at a time. A write is *acknowledged*, *refused* (the reply is an error) or *unknown*
(no reply). A refused or unknown write may still take effect later, so a read may return its value at any time. An
acknowledged write replaces the value of the earlier one. A read is correct if it returns a value that was current at
some time between the start and the end of the read, or the value of a refused or unknown write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

Value: TypeAlias = "bytes | None"
"""None: the key does not exist."""


@dataclass(slots=True)
class _Register:
    settled: list[Value] = field(default_factory=lambda: [None])
    possible: list[Value] = field(default_factory=list)


@dataclass(slots=True)
class _Counter:
    acknowledged: int = 0
    possible: int = 0


@dataclass(slots=True, frozen=True)
class Expectation:
    """What was recorded of a key when a read of it began."""

    key: bytes
    since: int


class Ledger:
    """The outcomes of all writes of one load."""

    def __init__(self) -> None:
        self._registers: dict[bytes, _Register] = {}
        self._counters: dict[bytes, _Counter] = {}
        self.order: list[bytes] = []
        """The keys in the order in which a write of them was first acknowledged."""

    def begin(self, key: bytes, value: Value) -> None:
        """Call before a write of `value` is sent; None is a delete."""
        self._registers.setdefault(key, _Register()).possible.append(value)

    def acknowledge(self, key: bytes, value: Value) -> None:
        """Call when the last write was acknowledged."""
        register = self._registers[key]
        register.possible.remove(value)
        if len(register.settled) == 1:
            self.order.append(key)
        register.settled.append(value)

    def begin_increment(self, key: bytes) -> None:
        """Call before an increment by one is sent."""
        self._counters.setdefault(key, _Counter()).possible += 1

    def acknowledge_increment(self, key: bytes) -> None:
        """Call when an increment was acknowledged."""
        counter = self._counters[key]
        counter.possible -= 1
        counter.acknowledged += 1

    def settled(self, key: bytes) -> Value:
        """The value that was acknowledged last."""
        return self._registers[key].settled[-1]

    def __iter__(self) -> Iterator[bytes]:
        """Every key that was ever written, counters too."""
        yield from self._registers
        yield from self._counters

    def counters(self) -> list[bytes]:
        """The keys of the counters."""
        return list(self._counters)

    def expect(self, key: bytes) -> Expectation:
        """Call before a read is sent."""
        if key in self._counters:
            return Expectation(key, self._counters[key].acknowledged)
        return Expectation(key, len(self._registers[key].settled) - 1)

    def fault(self, expectation: Expectation, answer: Value) -> str | None:
        """Call with the answer of a read. Returns what is wrong with it, or nothing."""
        key = expectation.key
        if key in self._counters:
            return self._counter_fault(expectation, answer)
        register = self._registers[key]
        allowed = register.settled[expectation.since :]
        if answer in allowed or answer in register.possible:
            return None
        return f"{key!r} reads {_short(answer)}, acknowledged is {_short(allowed[-1])}"

    def _counter_fault(self, expectation: Expectation, answer: Value) -> str | None:
        counter = self._counters[expectation.key]
        low, high = expectation.since, counter.acknowledged + counter.possible
        try:
            number = int(answer or b"0")
        except ValueError:
            return f"{expectation.key!r} reads {_short(answer)}, which is no number"
        if low <= number <= high:
            return None
        return f"{expectation.key!r} counts {number}, acknowledged and possible are {low} to {high}"


def _short(value: Value) -> str:
    return "nil" if value is None else repr(value[:48])
