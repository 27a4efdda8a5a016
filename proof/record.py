"""The findings of a watch: a count for each situation, operation and finding, and how long clients waited.

A *situation* is the state of the test: before, during or after its partition. A *finding* is a fault, or a request
without an answer. A table (`May`) says which findings are allowed in which situation; all others are wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

EXAMPLES_MAX = 3
"""How many examples are kept of each finding."""


class Situation(Enum):
    """Where a test stands."""

    BEFORE = "before"
    DURING = "during"
    """From just before the trouble begins."""
    HEALING = "healing"
    """From just before the trouble ends until all nodes say that they are healed."""
    AFTER = "after"


class Operation(Enum):
    """What a client was about to do."""

    READ = "read"
    WRITE = "write"
    LOCK = "lock"
    APPEND = "append"
    INCR = "incr"


class Finding(Enum):
    """A fault, or a request without an answer. The sentence below each value says what it means."""

    STALE = "stale"
    """A read shows an older value than one that was acknowledged before the read was asked."""
    NIL = "nil"
    """A read shows nothing, though a value was acknowledged before the read was asked."""
    OWN = "own"
    """A client does not read back its own write through the same connection."""
    BACKWARD = "backward"
    """A read shows an older value than an earlier read through the same connection."""
    ACROSS = "backward across connections"
    """A read shows an older value than a read of another client that had ended before."""
    FUTURE = "future"
    """A value that was never written, or a count that is too high."""
    DENIED = "refused yet read"
    """A read shows a write that was refused."""
    APART = "older on the other side"
    """A read at the other side of a partition shows less than was acknowledged since the partition began, but no less
    than was acknowledged before."""
    GONE = "gone on the other side"
    """A read at the other side of a partition shows less than was acknowledged before the partition began."""
    DOUBLE = "double"
    """A lock was granted while another client held it."""
    LOST = "lost"
    """Something acknowledged is not there: a held lock, an appended piece, a value in the final comparison."""
    SHORT = "short"
    """`APPEND` answers a smaller length than was acknowledged."""
    LONG = "long"
    """`APPEND` answers a larger length than is possible."""
    LOW = "low"
    """`INCR` answers a number that is not above those acknowledged before it was asked."""
    TWICE = "twice"
    """Two `INCR`s answered the same number."""
    REFUSED = "refused"
    UNKNOWN = "unknown"
    HUNG = "hung"
    """No answer within the deadline: the outcome is unknown, and this is always wrong."""


Key: TypeAlias = "tuple[Situation, Operation, Finding]"
May: TypeAlias = "Mapping[Situation, Mapping[Operation, frozenset[Finding]]]"
"""The allowed findings by situation and operation; all others are wrong."""

NO_ANSWER = frozenset({Finding.REFUSED, Finding.UNKNOWN})


def may(findings: frozenset[Finding] = NO_ANSWER) -> dict[Operation, frozenset[Finding]]:
    """The same findings for each operation."""
    return dict.fromkeys(Operation, findings)


@dataclass
class Record:
    """The findings of one watch. `str` returns one line."""

    situation: Situation = Situation.BEFORE
    counts: Counter[Key] = field(default_factory=Counter)
    examples: dict[Key, list[str]] = field(default_factory=lambda: defaultdict(list))
    answered: Counter[Situation] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    """The texts of refusals, and of replies that say that the outcome is unknown."""
    longest_wait_s: float = 0.0
    longest_refused_s: float = 0.0
    """The longest time in which one client got only refusals."""

    def book(self, operation: Operation, finding: Finding, example: str, situation: Situation | None = None) -> None:
        """Adds one finding, in the current situation unless another one is given."""
        key = (situation or self.situation, operation, finding)
        self.counts[key] += 1
        if len(self.examples[key]) < EXAMPLES_MAX:
            self.examples[key].append(example)

    def total(self, finding: Finding) -> int:
        """How often a finding was made, over all situations and operations."""
        return sum(count for (_, _, found), count in self.counts.items() if found is finding)

    def wrong(self, may: May) -> list[str]:
        """The findings that the table does not allow: one line for each situation, operation and finding."""
        return [
            f"{situation.value}: {operation.value}: {finding.value}: {count:,}, such as {'; '.join(self.examples[key])}"
            for key, count in self.counts.items()
            for situation, operation, finding in [key]
            if finding not in may.get(situation, {}).get(operation, frozenset())
        ]

    def __str__(self) -> str:
        found = ", ".join(f"{finding.value} {self.total(finding):,}" for finding in Finding)
        waits = f"longest wait {self.longest_wait_s:.1f} s, only refusals for {self.longest_refused_s:.1f} s"
        return f"{sum(self.answered.values()):,} answered; {found}; {waits}"
