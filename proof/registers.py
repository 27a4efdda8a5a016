"""Books: records of keys whose correct answer is known (registers, locks, appended texts and counts).

A book has no sockets. The clients (`proof/watch.py`) call it before each request and after each answer, all from one
thread. So *acknowledged before the request* is an order of calls and needs no clock.

- A key belongs to one *side* of a partition: only clients at nodes of that side change it. Without separate sides, all
  nodes are one side.
- A request with unknown outcome *retires* its key: no client changes the key any more, and a new key replaces it.
- During a partition, the answer for a key must be exact at the key's own side. At another side, it must not be older
  than what was acknowledged before the partition.
- A slow acknowledgement may mean that one replica did not answer the primary in time. If the sides part at that moment,
  the key is retired, because the replica at the other side may lack the write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from proof.record import Finding, Operation, Record, Situation

SLOW_S = 0.9
"""A write that was acknowledged within this time is at all live replicas. Less than `--write-timeout`."""


@dataclass(slots=True)
class Item:
    """One key of a book."""

    key: bytes
    side: int
    retired: bool = False
    slow: bool = False
    """The last acknowledgement was slow."""


AnItem = TypeVar("AnItem", bound=Item)


class Book(Generic[AnItem]):
    """The keys of one kind: for each side the keys in use, and the retired keys."""

    def __init__(self, record: Record, make: Callable[[bytes, int], AnItem], prefix: str) -> None:
        self.record = record
        self.items: list[AnItem] = []
        self.apart = False
        self._make = make
        self._prefix = prefix
        self._used: dict[tuple[int, int], AnItem] = {}
        self._partings = 0

    def take(self, side: int, slot: int) -> AnItem:
        """The key in use at this position of its side."""
        item = self._used.get((side, slot))
        if item is None or item.retired:
            item = self._make(f"{self._prefix}:{side}:{slot}:{len(self.items)}".encode(), side)
            self._used[side, slot] = item
            self.items.append(item)
        return item

    def part(self) -> None:
        """Call before a partition begins."""
        self.apart = True
        self._partings += 1
        for item in self.items:
            item.retired |= item.slow

    def join(self) -> None:
        """Call when the partition has ended and the sides have merged."""
        self.apart = False

    def final(self, item: AnItem, value: bytes | None) -> str | None:
        """What is wrong with the final value of `item`, or nothing."""
        raise NotImplementedError

    @property
    def partings(self) -> int:
        """How many partitions began; shows whether one began during a request."""
        return self._partings

    def acknowledged_after(self, item: AnItem, wait_s: float, partings: int) -> None:
        """A change of `item` was acknowledged after so long; it was asked after so many partings."""
        item.slow = wait_s >= SLOW_S
        item.retired |= item.slow and partings != self._partings


@dataclass(slots=True)
class Register(Item):
    """A key that one client sets to rising numbers."""

    issued: int = 0
    acknowledged: int = 0
    unknown: int = 0
    """The number of the write with unknown outcome, or 0."""
    before_parting: int = 0
    """What was acknowledged when the last partition began."""
    seen: int = 0
    """The highest number that a read has shown."""
    refused: set[int] = field(default_factory=set)
    early: list[tuple[int, Situation, str]] = field(default_factory=list)
    """Reads that showed a number before it was acknowledged."""
    falls: list[tuple[Finding, int, Situation, str]] = field(default_factory=list)
    """Reads that showed less than an earlier read, with what that read had shown."""


@dataclass(slots=True, frozen=True)
class Asked:
    """What was recorded of a register when a read of it was sent."""

    floor: int
    seen: int
    exact: bool
    situation: Situation


class Registers(Book[Register]):
    """Each register has one writer, and all readers read it."""

    def __init__(self, record: Record, prefix: str) -> None:
        super().__init__(record, Register, prefix)

    def part(self) -> None:
        """See `Book.part`."""
        super().part()
        for register in self.items:
            register.before_parting = register.acknowledged

    def issue(self, register: Register) -> int:
        """Call before a write. Returns the number to write."""
        register.issued += 1
        return register.issued

    def acknowledge(self, register: Register, wait_s: float, partings: int) -> None:
        """Call when the last write was acknowledged."""
        register.acknowledged = register.issued
        self.acknowledged_after(register, wait_s, partings)

    def refuse(self, register: Register) -> None:
        """Call when the last write was refused: no client may ever read it."""
        register.refused.add(register.issued)

    def lose(self, register: Register) -> None:
        """Call when the outcome of the last write is unknown."""
        register.unknown = register.issued
        register.retired = True

    def own(self, register: Register, value: bytes | None, where: str) -> None:
        """Call when the writer reads its last acknowledged write back through the same connection."""
        if value != b"%d" % register.acknowledged:
            fault = f"{_shown(register, value, where)}, the client's own write is {register.acknowledged}"
            self.record.book(Operation.READ, Finding.OWN, fault)

    def ask(self, register: Register, side: int) -> Asked:
        """Call before a read at a node of `side`."""
        exact = not self.apart or side == register.side
        floor = register.acknowledged if exact else register.before_parting
        return Asked(floor, register.seen, exact, self.record.situation)

    def answer(self, register: Register, asked: Asked, value: bytes | None, seen: dict[bytes, int], where: str) -> None:
        """Call when a read was answered. `seen` has the values that this connection has read so far, by key."""
        number = _number(value)
        shown = _shown(register, value, where)
        if number is None or number > register.issued:
            self._book(Finding.FUTURE, asked, f"{shown}, written are {register.issued}")
            return
        if number in register.refused:
            self._book(Finding.DENIED, asked, f"{shown}, which was refused")
        elif number > register.acknowledged:
            register.early.append((number, asked.situation, shown))
        if number < asked.floor:
            finding = Finding.GONE if not asked.exact else Finding.NIL if value is None else Finding.STALE
            self._book(finding, asked, f"{shown}, acknowledged is {asked.floor}")
        elif not asked.exact and number < register.acknowledged:
            self._book(Finding.APART, asked, f"{shown}, acknowledged is {register.acknowledged}")
        if asked.exact:
            own = seen.get(register.key, 0)
            if number < max(own, asked.seen):
                finding, high = (Finding.BACKWARD, own) if number < own else (Finding.ACROSS, asked.seen)
                register.falls.append((finding, high, asked.situation, f"{shown}, shown before was {high}"))
            seen[register.key] = max(own, number)
            register.seen = max(register.seen, number)

    def settle(self) -> None:
        """Call when all outcomes are known: records what could not be judged before.

        A read may show a write under way, which the next read need not show if the write came to nothing. So a fall
        below a number counts if that number was acknowledged.
        """
        for register in self.items:
            for finding, high, situation, shown in register.falls:
                if high <= register.acknowledged and high not in register.refused:
                    self.record.book(Operation.READ, finding, shown, situation)
            for number, situation, shown in register.early:
                if number in register.refused:
                    self.record.book(Operation.READ, Finding.DENIED, f"{shown}, which was refused", situation)
            register.falls.clear()
            register.early.clear()

    def final(self, register: Register, value: bytes | None) -> str | None:
        """See `Book.final`."""
        number = _number(value)
        if number == register.acknowledged or (register.unknown and number == register.unknown):
            return None
        return f"{_shown(register, value)}, acknowledged is {register.acknowledged}"

    def _book(self, finding: Finding, asked: Asked, example: str) -> None:
        self.record.book(Operation.READ, finding, example, asked.situation)


@dataclass(slots=True)
class Lock(Item):
    """A key that clients take with `SET key token NX` and delete again."""

    holders: list[bytes] = field(default_factory=list)
    """The tokens of the clients that were granted the lock and have not begun to release it."""
    free: bool = True
    """No client holds the lock, by the acknowledgements so far."""
    findings: list[tuple[int, Finding, Situation, str]] = field(default_factory=list)
    """Findings, each with the number of the call in which it was made."""


class Locks(Book[Lock]):
    """A client certainly holds the lock from the answer that grants it until the client sends the delete."""

    def __init__(self, record: Record, prefix: str) -> None:
        super().__init__(record, Lock, prefix)
        self._calls = 0

    def moment(self) -> int:
        """Call before a request that changes a lock. Pass the result to `lose`."""
        self._calls += 1
        return self._calls

    def grant(self, lock: Lock, token: bytes, wait_s: float, partings: int, where: str) -> None:
        """The lock was granted."""
        if lock.holders:
            new, holder = token.decode(), lock.holders[-1].decode()
            example = f"{lock.key!r} is granted to {new} (through {where}) while {holder} holds it"
            self._find(lock, Finding.DOUBLE, example)
        lock.holders.append(token)
        lock.free = False
        self.acknowledged_after(lock, wait_s, partings)

    def check(self, lock: Lock, token: bytes, value: bytes | None, where: str) -> bool:
        """Call when the holder has read the lock. Returns whether the lock is its own."""
        if value == token:
            return True
        lock.holders.remove(token)
        example = f"{lock.key!r} is {value!r} (through {where}) for {token.decode()}, which holds it"
        self._find(lock, Finding.LOST, example)
        return False

    def releasing(self, lock: Lock, token: bytes) -> None:
        """Call before the holder deletes its lock."""
        lock.holders.remove(token)

    def released(self, lock: Lock, token: bytes, deleted: int, where: str) -> None:
        """The holder's delete was acknowledged, of so many keys."""
        if deleted != 1:
            example = f"DEL of {lock.key!r} (through {where}) answers {deleted} to {token.decode()}"
            self._find(lock, Finding.LOST, example)
            lock.retired = True
        lock.free = not lock.holders

    def lose(self, lock: Lock, moment: int) -> None:
        """Call when the outcome of a request is unknown: findings since that request may come from it."""
        lock.retired = True
        lock.findings = [finding for finding in lock.findings if finding[0] < moment]

    def settle(self) -> None:
        """All outcomes are known."""
        for lock in self.items:
            for _, finding, situation, example in lock.findings:
                self.record.book(Operation.LOCK, finding, example, situation)
            lock.findings.clear()

    def final(self, lock: Lock, value: bytes | None) -> str | None:
        """See `Book.final`."""
        if lock.retired or not lock.free or value is None:
            return None
        return f"{lock.key!r} is {value!r}, though it was released"

    def _find(self, lock: Lock, finding: Finding, example: str) -> None:
        if not lock.retired:
            lock.findings.append((self._calls, finding, self.record.situation, example))


@dataclass(slots=True)
class Text(Item):
    """A key to which one client appends."""

    text: bytes = b""
    maybe: bytes = b""
    """The piece whose outcome is unknown."""
    pieces: int = 0


class Texts(Book[Text]):
    """Each has one owner; nobody else touches it."""

    def __init__(self, record: Record, prefix: str, pieces_max: int = 64) -> None:
        super().__init__(record, Text, prefix)
        self._pieces_max = pieces_max

    def piece(self, text: Text) -> bytes:
        """Call before an append. Returns the piece to append."""
        return b"%d," % text.pieces

    def acknowledge(self, text: Text, length: int, wait_s: float, partings: int, where: str) -> None:
        """Call when an append was acknowledged; the answer is the length of the value."""
        text.text += self.piece(text)
        text.pieces += 1
        right = len(text.text)
        if length != right:
            finding = Finding.SHORT if length < right else Finding.LONG
            example = f"APPEND to {text.key!r} (through {where}) answers {length}, not {right}"
            self.record.book(Operation.APPEND, finding, example)
        self.acknowledged_after(text, wait_s, partings)
        # What comes after a wrong length would be the same fault again.
        text.retired |= length != right or text.pieces >= self._pieces_max

    def lose(self, text: Text) -> None:
        """Call when the outcome of the append is unknown."""
        text.maybe = self.piece(text)
        text.retired = True

    def final(self, text: Text, value: bytes | None) -> str | None:
        """See `Book.final`."""
        if (value or b"") in (text.text, text.text + text.maybe):
            return None
        return f"{text.key!r} is {_brief(value)}, acknowledged is {_brief(text.text)}"


@dataclass(slots=True)
class Tally(Item):
    """A key that several clients of one side increment."""

    issued: int = 0
    acknowledged: int = 0
    answers: set[int] = field(default_factory=set)


class Tallies(Book[Tally]):
    """Every answer must be larger than those acknowledged before the request."""

    def __init__(self, record: Record, prefix: str) -> None:
        super().__init__(record, Tally, prefix)

    def ask(self, tally: Tally) -> int:
        """Call before an increment. Returns the largest acknowledged number."""
        tally.issued += 1
        return tally.acknowledged

    def refuse(self, tally: Tally) -> None:
        """Call when an increment was refused: it does not count."""
        tally.issued -= 1

    def acknowledge(self, tally: Tally, floor: int, number: int, wait_s: float, partings: int, where: str) -> None:
        """Call when an increment was answered with `number`; `floor` was acknowledged when it was sent."""
        tally.acknowledged += 1
        finding = None
        if number <= floor:
            finding = Finding.LOW
        elif number in tally.answers:
            finding = Finding.TWICE
        elif number > tally.issued:
            finding = Finding.FUTURE
        if finding:
            example = f"INCR of {tally.key!r} (through {where}) answers {number}, acknowledged were {floor}"
            self.record.book(Operation.INCR, finding, example)
            tally.retired = True
        tally.answers.add(number)
        self.acknowledged_after(tally, wait_s, partings)

    def lose(self, tally: Tally) -> None:
        """Call when the outcome of an increment is unknown."""
        tally.retired = True

    def final(self, tally: Tally, value: bytes | None) -> str | None:
        """See `Book.final`."""
        number = _number(value)
        if number is not None and tally.acknowledged <= number <= tally.issued:
            return None
        return f"{tally.key!r} counts {_brief(value)}, not {tally.acknowledged} to {tally.issued}"


def _number(value: bytes | None) -> int | None:
    """The number in a value: 0 for a missing value, None for a non-number."""
    if value is None:
        return 0
    return int(value) if value.isdigit() else None


def _shown(register: Register, value: bytes | None, where: str = "") -> str:
    return f"{register.key!r} reads {_brief(value)}{f' (through {where})' if where else ''}"


def _brief(value: bytes | None) -> str:
    return "nil" if value is None else repr(value[-40:])
