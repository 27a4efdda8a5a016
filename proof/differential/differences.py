"""Which replies are the same, and which differences are explained.

Some commands answer with what no two servers share: a time, an id, a key at random. For these, `is_same` says what must
hold of each reply instead. A difference is explained by a row of `EXPLAINED`, and by nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from proof.differential.raw import items

Command = list[bytes]

LATE_S = 60
"""How much later one server may execute a command than the other. The times that are drawn differ by more."""
SHOWN_TWICE = {b"TTL": 1, b"EXPIRETIME": 1, b"PTTL": 1000, b"PEXPIRETIME": 1000}
"""Commands that tell a time, with how many units a second has."""


def is_same(command: Command, ours: bytes, theirs: bytes) -> bool:
    """Whether both replies are right if one is."""
    if ours == theirs:
        return True
    name = command[0].upper()
    if ours[:1] != theirs[:1]:
        return False
    if name in SHOWN_TWICE and ours[:1] == b":":
        mine, its = int(ours[1:]), int(theirs[1:])
        return mine >= 0 and its >= 0 and abs(mine - its) <= LATE_S * SHOWN_TWICE[name]
    return (rule := FREE.get(_verb(command))) is not None and rule(ours, theirs)


def _verb(command: Command) -> bytes:
    """The name of a command, with that of its part if it has any."""
    name = command[0].upper()
    return b" ".join((name, command[1].upper())) if name in WITH_PARTS and len(command) > 1 else name


WITH_PARTS = frozenset((b"CLIENT", b"COMMAND", b"CONFIG", b"OBJECT", b"MEMORY", b"SLOWLOG"))


def _both(holds: Callable[[bytes], bool]) -> Callable[[bytes, bytes], bool]:
    return lambda ours, theirs: holds(ours) and holds(theirs)


def _is_count(reply: bytes) -> bool:
    return reply[:1] == b":" and int(reply[1:]) >= 0


def _is_time(reply: bytes) -> bool:
    parts = items(reply)
    return parts is not None and len(parts) == 2 and abs(int(parts[0].split(b"\r\n")[1]) - time.time()) < LATE_S


def _is_text(reply: bytes) -> bool:
    """Not nil. Any word can be a key, as commands with a word too many have others in its place."""
    return reply[:1] == b"$" and reply[:2] != b"$-"


def _is_slow_log(reply: bytes) -> bool:
    """Which requests were slow is different at each server. An entry has an id, a time, a duration, the request, the
    client's address and its name."""
    entries = items(reply)
    return entries is not None and all(len(items(entry) or ()) == 6 for entry in entries)


def _same_members(ours: bytes, theirs: bytes) -> bool:
    mine, its = items(ours), items(theirs)
    return mine is not None and its is not None and sorted(mine) == sorted(its)


def _same_scan(ours: bytes, theirs: bytes) -> bool:
    """Both went through all keys at once, so only the order may differ."""
    mine, its = items(ours), items(theirs)
    return mine is not None and its is not None and mine[0] == its[0] and _same_members(mine[1], its[1])


def _same_greeting(ours: bytes, theirs: bytes) -> bool:
    """HELLO: the same fields; version, id and mode are of each server."""
    mine, its = items(ours), items(theirs)
    if mine is None or its is None or mine[::2] != its[::2]:
        return False
    free = {b"$7\r\nversion\r\n", b"$2\r\nid\r\n", b"$4\r\nmode\r\n"}
    pairs = zip(mine[::2], mine[1::2], its[1::2], strict=True)
    return all(value == its_value or field in free for field, value, its_value in pairs)


FREE: dict[bytes, Callable[[bytes, bytes], bool]] = {
    b"RANDOMKEY": _both(_is_text),
    b"TIME": _both(_is_time),
    b"KEYS": _same_members,
    b"SCAN": _same_scan,
    b"HELLO": _same_greeting,
    b"CLIENT ID": _both(_is_count),
    b"CLIENT INFO": _both(lambda reply: b"id=" in reply and b"addr=" in reply),
    b"COMMAND COUNT": _both(lambda reply: _is_count(reply) and int(reply[1:]) > 50),
    b"INFO": _both(lambda reply: reply[:1] in (b"$", b"=")),
    b"LASTSAVE": _both(lambda reply: _is_count(reply) and 0 <= time.time() - int(reply[1:]) < 86_400),
    b"SLOWLOG GET": _both(_is_slow_log),
    b"SLOWLOG LEN": _both(_is_count),
    b"MEMORY USAGE": _both(lambda reply: _is_count(reply) and int(reply[1:]) > 0),
    b"OBJECT IDLETIME": _both(_is_count),
    b"ROLE": _both(lambda reply: reply.startswith(b"*3\r\n$6\r\nmaster\r\n")),
}
"""What must hold of replies that may differ."""


@dataclass(frozen=True)
class Explained:
    """A difference, and why it is one."""

    name: str
    reason: str
    covers: Callable[[Command, bytes, bytes], bool]
    nodes_min: int = 1
    """It occurs only with so many nodes."""
    parts_ways: bool = False
    """The keys may differ after it, so both servers are emptied."""


def _named(*names: bytes) -> Callable[[Command], bool]:
    return lambda command: command[0].upper() in names


def _is_float_sum(command: Command, ours: bytes, theirs: bytes) -> bool:
    """Two fractions that differ in the last digits of a long double, or beyond its range."""
    if command[0].upper() != b"INCRBYFLOAT" or ours[:1] != b"$" or theirs[:1] != b"$":
        return False
    mine, its = float(ours.split(b"\r\n")[1]), float(theirs.split(b"\r\n")[1])
    return mine == its or abs(mine - its) <= 1e-15 * max(abs(mine), abs(its))


def _lacks_empty(ours: bytes, theirs: bytes) -> bool:
    """Their keys and the empty one are ours."""
    mine, its = items(ours), items(theirs)
    if mine is not None and len(mine) == 2 and (inner := items(mine[1])) is not None:
        mine, its = inner, items((its or [b"", b""])[1])
    return mine is not None and its is not None and sorted(mine) == sorted([*its, b"$0\r\n\r\n"])


def _repeats(ours: bytes, theirs: bytes) -> bool:
    """Both errors repeat a word that is not a text."""
    shown = theirs.decode(errors="replace").encode()
    before_zero, zero, _ = ours.partition(b"\x00")
    return (shown == ours and b"\xef\xbf\xbd" in ours) or (zero != b"" and shown.startswith(before_zero))


INT, EMBSTR, RAW = b"$3\r\nint\r\n", b"$6\r\nembstr\r\n", b"$3\r\nraw\r\n"
CHANGED_VALUES = {(INT, RAW), (INT, EMBSTR), (EMBSTR, RAW), (b":2147483647\r\n", b":1\r\n")}
"""What salp and redis-server say of the form."""

REFUSED_INSIDE = Explained(
    "refused inside MULTI",
    "what concerns all keys, another keyspace or RESP is refused inside MULTI; then EXEC answers EXECABORT",
    lambda command, ours, theirs: (
        _named(b"SELECT", b"HELLO", b"SCAN", b"KEYS", b"DBSIZE", b"RANDOMKEY", b"FLUSHALL", b"FLUSHDB")(command)
        and ours.startswith(b"-ERR ")
        and b" is not supported inside MULTI: " in ours
        and theirs == b"+QUEUED\r\n"
    ),
)
TRANSACTION_ACROSS_SLOTS = Explained(
    "transactions across slots",
    "the keys of a transaction, and those that are watched, need to be in one slot (docs/redis.md)",
    lambda *_: False,
    parts_ways=True,
)
"""Explains the reply to EXEC, if the keys are in several slots."""
PLAIN_TEXTS = Explained(
    "plain texts in EXEC",
    "with RESP3 the texts of INFO and CLIENT INFO have a format, which they lose in a transaction that has keys",
    lambda _, ours, theirs: ours[:1] == b"$" and theirs[:1] == b"=",
)
"""This row and the next one explain items of the reply to EXEC."""
REFERENCES = Explained(
    "references of queued values",
    "OBJECT REFCOUNT counts a value once; redis-server also counts the queue that has set it",
    lambda command, ours, theirs: (
        _verb(command) == b"OBJECT REFCOUNT" and ours == b":1\r\n" and theirs in (b":2\r\n", b":3\r\n")
    ),
)
CAME_AND_WENT = Explained(
    "keys that came and went",
    "a watched key that was missing, was set and is missing again has not changed (docs/redis.md)",
    lambda *_: False,
    parts_ways=True,
)
"""Explains an EXEC that is executed, if both servers end it alike without watching this key."""
NAMED_ALL_THE_SAME = Explained(
    "CLIENT SETNAME in an EXEC that does nothing",
    "commands of the connection are executed also if a watched key has changed (docs/redis.md)",
    lambda *_: False,
    parts_ways=True,
)
"""Counts EXECs that both servers answer alike, while the name of the connection may differ afterwards."""

EXPLAINED: tuple[Explained, ...] = (
    REFUSED_INSIDE,
    Explained(
        "across slots",
        "RENAME, RENAMENX, COPY and MSETNX need their keys in one slot (docs/redis.md)",
        lambda command, ours, _: (
            _named(b"RENAME", b"RENAMENX", b"COPY", b"MSETNX")(command) and ours.startswith(b"-CROSSSLOT ")
        ),
        parts_ways=True,
    ),
    Explained(
        "exact sums",
        "INCRBYFLOAT gives exact sums, redis-server those of long doubles (docs/redis.md)",
        _is_float_sum,
        parts_ways=True,
    ),
    Explained(
        "encoding of changed values",
        "OBJECT tells how a value would be kept that was set whole, also after APPEND and INCRBYFLOAT (docs/redis.md)",
        lambda command, ours, theirs: (
            _verb(command) in (b"OBJECT ENCODING", b"OBJECT REFCOUNT") and (ours, theirs) in CHANGED_VALUES
        ),
    ),
    Explained(
        "bytes in errors",
        "errors are UTF-8: what is not is shown as U+FFFD; redis-server repeats bytes up to a zero (docs/redis.md)",
        lambda _, ours, theirs: ours[:1] == theirs[:1] == b"-" and _repeats(ours, theirs),
    ),
    Explained(
        "EXEC with arguments",
        "outside of a transaction none is discarded: the number of arguments is wrong, and keys stay watched",
        lambda command, ours, theirs: (
            _named(b"EXEC")(command)
            and ours == b"-ERR wrong number of arguments for 'exec' command\r\n"
            and theirs.startswith(b"-EXECABORT Transaction discarded because of: wrong number")
        ),
        parts_ways=True,
    ),
    Explained(
        "WAIT counts replicas",
        "redis-server has none; WAIT tells how many other nodes hold what was acknowledged (docs/redis.md)",
        lambda command, ours, theirs: (
            _named(b"WAIT")(command) and theirs == b":0\r\n" and ours in (b":1\r\n", b":2\r\n")
        ),
        nodes_min=2,
    ),
    Explained(
        "odd cursors",
        "a cursor of SCAN is a number; redis-server takes an empty one for 0",
        lambda command, ours, _: _named(b"SCAN")(command) and command[1] == b"" and ours == b"-ERR invalid cursor\r\n",
    ),
    Explained(
        "the empty key and **",
        "any text matches two stars; redis-server denies that of the empty one, though a single star matches it",
        lambda command, ours, theirs: (
            _named(b"KEYS", b"SCAN")(command) and b"**" in command and _lacks_empty(ours, theirs)
        ),
    ),
    Explained(
        "names in SELECT",
        "SELECT takes the name of a keyspace, so a word that is not a number is looked up (docs/redis.md)",
        lambda command, ours, theirs: (
            _named(b"SELECT")(command)
            and ours.startswith(b"-ERR no keyspace has the name ")
            and theirs == b"-ERR value is not an integer or out of range\r\n"
        ),
    ),
)
OF_TRANSACTIONS: tuple[Explained, ...] = (
    TRANSACTION_ACROSS_SLOTS,
    PLAIN_TEXTS,
    REFERENCES,
    CAME_AND_WENT,
    NAMED_ALL_THE_SAME,
)
"""Rows that explain only replies to EXEC (`proof/differential/transactions.py`)."""
