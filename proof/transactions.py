"""Books of keys that clients change by transactions: counters, pairs of keys, and hundreds of keys.

A book has no sockets. The clients (`proof/scenarios/transactions.py`) call it before each transaction and after each
answer, all from one thread, as in `proof/registers.py`.

- A *counter* is changed only by `WATCH`, `GET`, `MULTI`, `SET` of the next number, `EXEC`.
- The two keys of a *pair* get the same number in each transaction, from one client.
- The keys of a *group* are all incremented in each transaction, by all clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from proof.resp import Reply, ReplyError
from proof.watch import UNKNOWN_TEXTS

EXAMPLES_MAX = 3
GROUP_KEYS = 100


class Ending(Enum):
    """How a transaction ended."""

    EXECUTED = "executed"
    CHANGED = "refused by WATCH"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Fault(Enum):
    """What no client may see."""

    LOST = "lost"
    """An acknowledged transaction that does not show: in the end, or because another one had the same effect."""
    TORN = "torn"
    """A part of a transaction without the others."""
    OLD = "old"
    """A read shows less than what was acknowledged before it."""
    DENIED = "refused yet read"
    """A read shows what was refused, or what nobody wrote."""
    HUNG = "hung"
    """No answer within the deadline."""


def ending_of(reply: Reply) -> Ending:
    """What the reply to EXEC means."""
    if isinstance(reply, ReplyError):
        return Ending.UNKNOWN if str(reply).startswith(UNKNOWN_TEXTS) else Ending.REFUSED
    return Ending.CHANGED if reply is None else Ending.EXECUTED


@dataclass
class Tally:
    """What all clients saw during one fault. `str` returns one line."""

    endings: Counter[Ending] = field(default_factory=Counter)
    faults: Counter[Fault] = field(default_factory=Counter)
    examples: dict[Fault, list[str]] = field(default_factory=dict)
    texts: Counter[str] = field(default_factory=Counter)
    """The errors that refused transactions or left their outcome open."""
    reads: int = 0
    longest_wait_s: float = 0.0
    exact: bool = True
    """Reads at all nodes must show what was acknowledged before; not so while the nodes are parted."""

    def find(self, fault: Fault, example: str) -> None:
        """Adds one fault."""
        self.faults[fault] += 1
        examples = self.examples.setdefault(fault, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append(example)

    def wrong(self) -> list[str]:
        """One line for each kind of fault."""
        return [
            f"{fault.value}: {count:,}, such as {'; '.join(self.examples[fault])}"
            for fault, count in self.faults.items()
        ]

    def __str__(self) -> str:
        endings = ", ".join(f"{ending.value} {self.endings[ending]:,}" for ending in Ending)
        faults = ", ".join(f"{fault.value} {self.faults[fault]:,}" for fault in Fault)
        return f"{endings}, reads {self.reads:,}, {faults}, longest wait {self.longest_wait_s:.2f} s"


@dataclass(slots=True)
class Counted:
    """A counter."""

    key: bytes
    acknowledged: set[int] = field(default_factory=set)
    """The numbers that acknowledged transactions have set."""
    unknown: int = 0


class Counters:
    """Counters that all clients increase by WATCH and EXEC."""

    def __init__(self, tally: Tally, prefix: str, count: int) -> None:
        self._tally = tally
        self.items = [Counted(f"{{{prefix}:{number}}}counter".encode()) for number in range(count)]

    def end(self, counter: Counted, number: int, ending: Ending, where: str) -> None:
        """Call when the transaction that sets the counter to `number` has ended."""
        if ending is Ending.UNKNOWN:
            counter.unknown += 1
        elif ending is Ending.EXECUTED:
            if number in counter.acknowledged:
                self._tally.find(Fault.LOST, f"two EXECs set {counter.key!r} to {number}, one of them through {where}")
            counter.acknowledged.add(number)

    def keys(self) -> Iterable[bytes]:
        """All keys."""
        return (counter.key for counter in self.items)

    def settle(self, values: dict[bytes, bytes | None], where: str) -> None:
        """Compares the final values, as read through one node."""
        for counter in self.items:
            number, acknowledged = number_of(values[counter.key]), len(counter.acknowledged)
            if not acknowledged <= number <= acknowledged + counter.unknown:
                wanted = f"{acknowledged} to {acknowledged + counter.unknown}"
                fault = Fault.LOST if number < acknowledged else Fault.DENIED
                self._tally.find(fault, f"{counter.key!r} is {number} in the end, not {wanted} (through {where})")


@dataclass(slots=True)
class Pair:
    """Two keys."""

    keys: tuple[bytes, bytes]
    issued: int = 0
    acknowledged: int = 0
    unknown: int = 0
    """The number of the transaction with unknown outcome, or 0."""
    refused: set[int] = field(default_factory=set)


class Pairs:
    """Pairs, of which each has one writer. After an unknown outcome the writer takes a new pair."""

    def __init__(self, tally: Tally, prefix: str, writers: int) -> None:
        self._tally = tally
        self._prefix = prefix
        self.items: list[Pair] = []
        self._used: list[Pair] = [self._new() for _ in range(writers)]

    def _new(self) -> Pair:
        tag = f"{{{self._prefix}:{len(self.items)}}}"
        pair = Pair((f"{tag}a".encode(), f"{tag}b".encode()))
        self.items.append(pair)
        return pair

    def take(self, writer: int) -> Pair:
        """The pair of a writer."""
        if self._used[writer].unknown:
            self._used[writer] = self._new()
        return self._used[writer]

    def begin(self, pair: Pair) -> int:
        """Call before a transaction. Returns the number to write."""
        pair.issued += 1
        return pair.issued

    def end(self, pair: Pair, ending: Ending) -> None:
        """Call when the last transaction has ended."""
        if ending is Ending.EXECUTED:
            pair.acknowledged = pair.issued
        elif ending is Ending.UNKNOWN:
            pair.unknown = pair.issued
        else:
            pair.refused.add(pair.issued)

    def read(self, pair: Pair, floor: int, values: Sequence[Reply], where: str) -> None:
        """Call with both values of a read; `floor` was acknowledged when it was sent."""
        self._tally.reads += 1
        one, other = (number_of(value) for value in values)
        shown = f"{pair.keys[0]!r} and the other key are {one} and {other} (through {where})"
        if one != other:
            self._tally.find(Fault.TORN, shown)
        elif one > pair.issued or one in pair.refused:
            self._tally.find(Fault.DENIED, f"{shown}, which was refused or never written")
        elif one < floor and self._tally.exact:
            self._tally.find(Fault.OLD, f"{shown}, acknowledged is {floor}")

    def keys(self) -> Iterable[bytes]:
        """All keys."""
        return (key for pair in self.items for key in pair.keys)

    def settle(self, values: dict[bytes, bytes | None], where: str) -> None:
        """Compares the final values, as read through one node."""
        for pair in self.items:
            one, other = (number_of(values[key]) for key in pair.keys)
            shown = f"{pair.keys[0]!r} and the other key are {one} and {other} in the end (through {where})"
            if one != other:
                self._tally.find(Fault.TORN, shown)
            elif one not in (pair.acknowledged, pair.unknown or pair.acknowledged):
                self._tally.find(Fault.LOST, f"{shown}, acknowledged is {pair.acknowledged}")


@dataclass(slots=True)
class Group:
    """Keys of one slot that are incremented together."""

    members: list[bytes]
    acknowledged: int = 0
    unknown: int = 0
    answers: set[int] = field(default_factory=set)


class Groups:
    """Groups that all clients increment."""

    def __init__(self, tally: Tally, prefix: str, count: int) -> None:
        self._tally = tally
        self.items = [
            Group([f"{{{prefix}:{number}}}{member}".encode() for member in range(GROUP_KEYS)])
            for number in range(count)
        ]

    def end(self, group: Group, floor: int, reply: Reply, where: str) -> None:
        """Call with the reply to EXEC; `floor` was acknowledged when the transaction was sent."""
        ending = ending_of(reply)
        if ending is Ending.UNKNOWN:
            group.unknown += 1
        elif ending is Ending.EXECUTED:
            number = self._one(group, reply, where)
            if number is None:
                group.unknown += 1
                return
            group.acknowledged += 1
            if number <= floor or number in group.answers:
                self._tally.find(Fault.LOST, f"INCRs of {group.members[0]!r} … (through {where}) answer {number} again")
            group.answers.add(number)

    def read(self, group: Group, floor: int, reply: Reply, where: str) -> None:
        """Call with the values of a read in one transaction."""
        self._tally.reads += 1
        number = self._one(group, reply, where)
        if number is not None and number < floor and self._tally.exact:
            example = f"{group.members[0]!r} … are {number} (through {where}), acknowledged is {floor}"
            self._tally.find(Fault.OLD, example)

    def keys(self) -> Iterable[bytes]:
        """All keys."""
        return (key for group in self.items for key in group.members)

    def settle(self, values: dict[bytes, bytes | None], where: str) -> None:
        """Compares the final values, as read through one node."""
        for group in self.items:
            number = self._one(group, [values[key] for key in group.members], where)
            if number is not None and not group.acknowledged <= number <= group.acknowledged + group.unknown:
                wanted = f"{group.acknowledged} to {group.acknowledged + group.unknown}"
                fault = Fault.LOST if number < group.acknowledged else Fault.DENIED
                self._tally.find(fault, f"{group.members[0]!r} … are {number} in the end, not {wanted} ({where})")

    def _one(self, group: Group, reply: Reply, where: str) -> int | None:
        """The number that all keys have; a fault if there is none."""
        numbers = [number_of(value) for value in reply] if isinstance(reply, list) else []
        if len(numbers) == len(group.members) and len(set(numbers)) == 1:
            return numbers[0]
        self._tally.find(Fault.TORN, f"{group.members[0]!r} … are {Counter(numbers)} (through {where})")
        return None


def number_of(value: Reply) -> int:
    """The number in a value: 0 for a missing one, -1 for what is not a number."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, bytes) and value.isdigit() else -1
