"""What a pair of connections has queued and watched, so that the reply to EXEC can be judged item by item.

An item of the reply is judged as the reply to its command outside of a transaction would be.
"""

from __future__ import annotations

from proof.differential.differences import (
    EXPLAINED,
    NAMED_ALL_THE_SAME,
    PLAIN_TEXTS,
    REFERENCES,
    REFUSED_INSIDE,
    TRANSACTION_ACROSS_SLOTS,
    Command,
    Explained,
    is_same,
)
from proof.differential.raw import items

QUEUED = b"+QUEUED\r\n"
NULLS = (b"*-1\r\n", b"_\r\n")
"""EXEC after a watched key has changed, in both versions of RESP."""
EVERY_WORD = (b"DEL", b"UNLINK", b"EXISTS", b"TOUCH", b"MGET", b"WATCH")
EVERY_SECOND_WORD = (b"MSET", b"MSETNX")
TWO_WORDS = (b"RENAME", b"RENAMENX", b"COPY")
BEHIND_PART = (b"OBJECT", b"MEMORY")
WITHOUT_KEYS = frozenset(
    b"""PING ECHO CLIENT TIME SELECT HELLO AUTH DBSIZE RANDOMKEY LASTSAVE ROLE INFO WAIT SLOWLOG LATENCY MODULE CONFIG
    COMMAND FLUSHALL FLUSHDB KEYS SCAN UNWATCH NOSUCH""".split()
)


def keys_of(command: Command) -> list[bytes]:
    """The keys of a command that was accepted."""
    name = command[0].upper()
    if name in EVERY_WORD:
        return command[1:]
    if name in EVERY_SECOND_WORD:
        return command[1::2]
    if name in TWO_WORDS:
        return command[1:3]
    if name in BEHIND_PART:
        return command[2:3]
    return [] if name in WITHOUT_KEYS else command[1:2]


def slot_name(key: bytes) -> bytes:
    """The part of a key that its slot is computed from."""
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1)
    return key[begin + 1 : end] if begin >= 0 and end > begin + 1 else key


def _sets_name(command: Command) -> bool:
    return [word.upper() for word in command[:2]] == [b"CLIENT", b"SETNAME"]


class Queue:
    """Follows the transactions of one pair of connections."""

    def __init__(self) -> None:
        self._queued: list[Command] | None = None
        self._watched: list[bytes] = []
        self._has_refused = False

    def close(self) -> None:
        """Nothing is queued any more, and nothing watched."""
        self._queued, self._watched, self._has_refused = None, [], False

    @property
    def is_open(self) -> bool:
        """Whether requests are queued now."""
        return self._queued is not None

    def judge(self, command: Command, ours: bytes, theirs: bytes) -> tuple[bool, list[Explained]]:
        """Whether both replies are the same or explained, and the rows that explain the differences."""
        is_exec = command[0].upper() == b"EXEC" and self._queued is not None
        if is_exec and ours[:1] == theirs[:1] == b"*" and ours not in NULLS and theirs not in NULLS:
            return self._judge_items(ours, theirs)
        if is_same(command, ours, theirs):
            names = is_exec and ours in NULLS and any(_sets_name(queued) for queued in self._queued or ())
            return True, [NAMED_ALL_THE_SAME] if names else []
        if is_exec and (row := self._explained_end(ours, theirs)):
            return True, [row]
        row = explanation(command, ours, theirs)
        return row is not None, [row] if row else []

    def note(self, command: Command, ours: bytes, theirs: bytes) -> None:
        """Follows what both servers have answered."""
        name = command[0].upper()
        ends = name == b"EXEC" or (name == b"DISCARD" and ours == b"+OK\r\n")
        if ours == b"+RESET\r\n" or (ends and self.is_open):
            self.close()
        elif name == b"MULTI" and ours == b"+OK\r\n":
            self._queued = []
        elif self._queued is not None:
            if ours == QUEUED:
                self._queued.append(command)
            elif theirs == QUEUED:
                self._has_refused = True
        elif name == b"WATCH" and ours == b"+OK\r\n":
            self._watched += command[1:]
        elif name == b"UNWATCH":
            self._watched = []

    def _judge_items(self, ours: bytes, theirs: bytes) -> tuple[bool, list[Explained]]:
        assert self._queued is not None
        mine, its = items(ours), items(theirs)
        rows: list[Explained] = []
        if mine is None or its is None or not len(mine) == len(its) == len(self._queued):
            return False, []
        for command, one, other in zip(self._queued, mine, its, strict=True):
            if is_same(command, one, other):
                continue
            row = explanation(command, one, other) or next(
                (row for row in (PLAIN_TEXTS, REFERENCES) if row.covers(command, one, other)), None
            )
            if row is None:
                return False, rows
            rows.append(row)
            if row.parts_ways:
                break
        return True, rows

    def _explained_end(self, ours: bytes, theirs: bytes) -> Explained | None:
        if theirs[:1] != b"*" and theirs not in NULLS:
            return None
        if self._has_refused and ours.startswith(b"-EXECABORT "):
            return REFUSED_INSIDE
        crosses = ours.startswith(b"-CROSSSLOT ") and self._crosses_slots()
        return TRANSACTION_ACROSS_SLOTS if crosses else None

    def _crosses_slots(self) -> bool:
        keys = [*self._watched, *(key for command in self._queued or () for key in keys_of(command))]
        return len({slot_name(key) for key in keys}) > 1


def explanation(command: Command, ours: bytes, theirs: bytes) -> Explained | None:
    """The row of the table that explains a difference between two replies."""
    return next((row for row in EXPLAINED if row.covers(command, ours, theirs)), None)
