"""Draws commands at random: right ones, with every option, and ones that are wrong in one place."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial

Command = list[bytes]
KEYS = [b"{t}%d" % number for number in range(6)] + [b"a", b"b", b"c", b"", b"\x00\xff\r\n", b"{t}"]
"""Those with {t} share a slot; the others have three slots, the empty key one more."""
VALUES = [
    b"", b"0", b"1", b"-1", b"42", b"007", b"+5", b"3.0", b"0.1", b"-2.5e3", b"1e10", b"text", b"OK", b"\x00\x01\xfe",
    b"9223372036854775807", b"-9223372036854775808", b"9223372036854775806", b"9223372036854775808", b" 1", b"1 ",
    b"12345678901234567890", b"a" * 44, b"b" * 45, b"c" * 3000,
]  # fmt: skip
NUMBERS = [
    b"0", b"1", b"-1", b"2", b"5", b"10", b"-7", b"100", b"9223372036854775807", b"-9223372036854775808",
    b"9223372036854775808", b"", b"abc", b"1.5", b" 1", b"+1", b"01", b"-0", b"0x10", b"1e3",
]  # fmt: skip
FRACTIONS = [
    b"0", b"1", b"-1", b"0.5", b"0.1", b"-2.25", b"3.0e2", b"1e-5", b"5.0", b"0x1p3", b"inf", b"-inf", b"nan", b"abc",
    b"", b" 1", b"1 ", b"1e400", b"1e5000", b"+.5", b".5", b"5.",
]  # fmt: skip
TIMES = [b"100", b"5000", b"100000", b"100000000"]
"""Far enough apart that a time that is left tells which one it was."""
BAD_TIMES = [b"0", b"-1", b"-100000", b"abc", b"", b"1.5", b"9223372036854775807", b"-9223372036854775808", b"10 "]
OFFSETS = [b"0", b"1", b"-1", b"3", b"-3", b"100", b"-100", b"4000", b"2147483648", b"-9223372036854775808", b"x"]
PATTERNS = [b"*", b"{t}*", b"?", b"[abc]", b"[^a]", b"[a-c]*", b"\\{t}*", b"", b"a", b"{t}[0-2", b"*1*", b"**"]
MISTAKES = [b"", b"abc", b"-1", b"7700000000000", b"NX", b"EX", b"\xff", b"9223372036854775808", b"KEEPTTL", b"0"]
FIXED = {
    1: """
        PING, DBSIZE
    """,
    0.5: """
        RANDOMKEY, CLIENT GETNAME
    """,
    0.4: """
        SELECT 0
    """,
    0.3: """
        TIME, CLIENT ID, NOSUCH a b
    """,
    0.2: """
        LASTSAVE, ROLE, INFO keyspace, WAIT 0 0, SLOWLOG RESET, SLOWLOG GET, SLOWLOG LEN, LATENCY LATEST,
        LATENCY RESET, LATENCY HISTORY command, MODULE LIST, CONFIG RESETSTAT, CONFIG GET nosuch*,
        CONFIG GET appendonly, CONFIG GET save, CONFIG GET databases, CONFIG SET nosuch 1, COMMAND COUNT,
        COMMAND GETKEYS GET k, COMMAND GETKEYS MSET a 1 b 2, COMMAND GETKEYS PING, COMMAND INFO nosuch,
        COMMAND LIST FILTERBY PATTERN getr*, CLIENT INFO, CLIENT GETREDIR, CLIENT NO-EVICT ON, CLIENT REPLY ON,
        CLIENT NOSUCH, RESET, UNWATCH, DISCARD, EXEC,
        EXEC x, DISCARD x, MULTI x, WATCH, AUTH x, AUTH nobody x, HELLO, HELLO 4, HELLO x, HELLO 2 NOSUCH,
        SELECT 1, SELECT -1, nosuch, GET, OBJECT NOSUCH a
    """,
    0.15: """
        FLUSHDB
    """,
    0.1: """
        FLUSHALL SYNC, FLUSHALL ASYNC
    """,
    0.05: """
        INFO, MULTI
    """,
}
"""Commands without anything to draw, by how often they come."""
MISTAKE_SHARE = 0.06
MISTAKE_SHARE_INSIDE = 0.02
"""A mistake that is seen before EXEC leaves nothing else of a transaction to compare."""
TAGGED = [key for key in KEYS if key.startswith(b"{t}")]
NOT_INSIDE = frozenset((b"SELECT", b"HELLO", b"SCAN", b"KEYS", b"DBSIZE", b"RANDOMKEY", b"FLUSHALL", b"FLUSHDB"))
"""salp refuses them inside MULTI, so most transactions are drawn without them."""
INSIDE_COMMANDS = 12


class Draw:
    """Commands from one seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        kinds = self._kinds()
        self._makers = [make for make, _ in kinds]
        self._weights = [weight for _, weight in kinds]
        self._pool: Sequence[bytes] = KEYS
        self._mistake_share = MISTAKE_SHARE

    def command(self) -> Command:
        """The next command."""
        rng = self._rng
        (make,) = rng.choices(self._makers, self._weights)
        command = [word if isinstance(word, bytes) else str(word).encode() for word in make()]
        if rng.random() < self._mistake_share and command[0] not in NO_MISTAKES:
            self._spoil(command)
        if rng.random() < 0.1:
            command[0] = command[0].lower()
        return command

    def commands(self, count: int, tagged: bool = False) -> list[Command]:
        """The next commands; if `tagged`, on keys of one slot."""
        self._pool = TAGGED if tagged else KEYS
        drawn = [self.command() for _ in range(count)]
        self._pool = KEYS
        return drawn

    def transaction(self) -> tuple[list[Command], list[Command]]:
        """What comes before a transaction, and the transaction, mostly on keys of one slot."""
        rng = self._rng
        self._pool = TAGGED if rng.random() < 0.95 else KEYS
        self._mistake_share = MISTAKE_SHARE_INSIDE
        before = [[b"WATCH", *self._keys(2)] for _ in range(rng.choice((0, 1, 1, 2)))]
        before += [self.command() for _ in range(rng.choice((0, 0, 1, 2)))]
        inside = [self.command() for _ in range(rng.randrange(INSIDE_COMMANDS))]
        if rng.random() < 0.9:
            inside = [command for command in inside if command[0].upper() not in NOT_INSIDE]
        if rng.random() < 0.1:
            other = rng.choice(([b"MULTI"], [b"WATCH", self._key()], [b"UNWATCH"]))
            inside.insert(rng.randrange(len(inside) + 1), other)
        end = rng.choice((b"EXEC", b"EXEC", b"EXEC", b"EXEC", b"EXEC", b"EXEC", b"exec", b"DISCARD", b"RESET"))
        after = [self.command() for _ in range(rng.randrange(4))]
        self._pool, self._mistake_share = KEYS, MISTAKE_SHARE
        return before, [[b"MULTI"], *inside, [end], *after]

    def _spoil(self, command: Command) -> None:
        """One word too many, too few, or another one."""
        rng = self._rng
        match rng.randrange(3):
            case 0:
                command.insert(rng.randrange(1, len(command) + 1), rng.choice(MISTAKES))
            case 1 if len(command) > 1:
                del command[rng.randrange(1, len(command))]
            case _ if len(command) > 1:
                command[rng.randrange(1, len(command))] = rng.choice(MISTAKES)

    # Words

    def _key(self) -> bytes:
        return self._rng.choice(self._pool)

    def _value(self) -> bytes:
        return self._rng.choice(VALUES)

    def _number(self) -> bytes:
        return self._rng.choice(NUMBERS)

    def _time(self) -> bytes:
        return self._rng.choice(TIMES if self._rng.random() < 0.8 else BAD_TIMES)

    def _moment(self, unit_ms: int, past_share: float = 0.2) -> bytes:
        """A time on the wall clock, mostly in the future."""
        if self._rng.random() < 0.2:
            return self._rng.choice(BAD_TIMES)
        ahead_s = int(self._rng.choice(TIMES)) * (1 if self._rng.random() >= past_share else -1)
        return b"%d" % ((int(time.time()) + ahead_s) * 1000 // unit_ms)

    def _unlike_any(self, name: bytes) -> bytes:
        """A time that no key has: which of two times within a millisecond is greater, two servers see differently."""
        ahead_s = self._rng.randrange(100, 100_000_000)
        at_s = ahead_s + int(time.time()) if name.endswith(b"AT") else ahead_s
        return b"%d" % (at_s * 1000 if name.startswith(b"P") else at_s)

    def _some(self, words: Sequence[bytes], count_max: int) -> list[bytes]:
        return [
            self._case(word) for word in self._rng.sample(words, self._rng.randrange(min(count_max, len(words)) + 1))
        ]

    def _case(self, word: bytes) -> bytes:
        return self._rng.choice((word, word, word.lower(), word.capitalize()))

    def _keys(self, count_max: int = 4) -> list[bytes]:
        return [self._key() for _ in range(self._rng.randrange(1, count_max + 1))]

    def _lifetime(self) -> list[bytes]:
        unit = self._rng.choice((b"EX", b"PX", b"EXAT", b"PXAT"))
        if unit.endswith(b"AT"):
            return [self._case(unit), self._moment(1 if unit == b"PXAT" else 1000, past_share=0)]
        amount = self._time()
        return [self._case(unit), amount + b"000" if unit == b"PX" and amount in TIMES else amount]

    # Commands

    def _set(self) -> list[bytes]:
        words = [[self._case(word)] for word in (b"NX", b"XX", b"GET", b"KEEPTTL") if self._rng.random() < 0.2]
        words += [self._lifetime() for _ in range(self._rng.choice((0, 0, 0, 1, 1, 2)))]
        self._rng.shuffle(words)
        return [b"SET", self._key(), self._value(), *(word for group in words for word in group)]

    def _getex(self) -> list[bytes]:
        options = self._lifetime() if self._rng.random() < 0.6 else self._some((b"PERSIST",), 1)
        more = self._lifetime() if self._rng.random() < 0.1 else []
        return [b"GETEX", self._key(), *options, *more]

    def _expire(self) -> list[bytes]:
        name = self._rng.choice((b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT"))
        options = self._some((b"NX", b"XX", b"GT", b"LT"), 1 if self._rng.random() < 0.8 else 3)
        if any(option.upper() in (b"GT", b"LT") for option in options):
            return [name, self._key(), self._unlike_any(name), *options]
        if name.endswith(b"AT"):
            return [name, self._key(), self._moment(1 if name == b"PEXPIREAT" else 1000), *options]
        amount = self._time()
        return [name, self._key(), amount + b"000" if name == b"PEXPIRE" and amount in TIMES else amount, *options]

    def _pairs(self) -> list[bytes]:
        return [word for _ in range(self._rng.randrange(1, 4)) for word in (self._key(), self._value())]

    def _tagged_pairs(self) -> list[bytes]:
        """Mostly of one slot."""
        keys = KEYS[:6] if self._rng.random() < 0.9 else self._pool
        return [word for _ in range(self._rng.randrange(1, 4)) for word in (self._rng.choice(keys), self._value())]

    def _two_keys(self) -> list[bytes]:
        keys = KEYS[:6] if self._rng.random() < 0.9 else self._pool
        return [self._rng.choice(keys), self._rng.choice(keys)]

    def _copy(self) -> list[bytes]:
        database = [self._case(b"DB"), self._rng.choice((b"0", b"0", b"1", b"-1", b"x"))]
        options = [
            [self._case(b"REPLACE")] if self._rng.random() < 0.4 else [],
            database if self._rng.random() < 0.15 else [],
        ]
        self._rng.shuffle(options)
        return [b"COPY", *self._two_keys(), *options[0], *options[1]]

    def _scan(self) -> list[bytes]:
        options = [
            [b"MATCH", self._rng.choice(PATTERNS)],
            [b"COUNT", self._rng.choice((b"1000", b"1000", b"0", b"-1", b"x"))],
        ]
        options.append([b"TYPE", self._rng.choice((b"string", b"STRING", b"hash", b"nosuch"))])
        chosen = [option for option, share in zip(options, (0.4, 1.0, 0.2), strict=True) if self._rng.random() < share]
        if self._rng.random() < 0.05:
            return [b"SCAN", b"0", self._rng.choice((b"COUNT", b"NOSUCH", b"MATCH"))]
        return [b"SCAN", self._rng.choice((b"0", b"0", b"0", b"0", b"x", b"1x", b"")), *(w for o in chosen for w in o)]

    def _kinds(self) -> list[tuple[Callable[[], Sequence[bytes]], float]]:
        """Each with how often it is drawn."""
        choice, key, value, number = self._rng.choice, self._key, self._value, self._number
        kinds: list[tuple[Callable[[], Sequence[bytes]], float]] = [
            (self._set, 14),
            (lambda: [b"GET", key()], 12),
            (self._getex, 3),
            (self._expire, 8),
            (self._copy, 2),
            (self._scan, 1),
            (lambda: [b"SETNX", key(), value()], 2),
            (lambda: [b"SETEX", key(), self._time(), value()], 2),
            (lambda: [b"PSETEX", key(), self._time() + b"000", value()], 2),
            (lambda: [b"GETSET", key(), value()], 2),
            (lambda: [b"GETDEL", key()], 2),
            (lambda: [b"MGET", *self._keys()], 3),
            (lambda: [b"MSET", *self._pairs()], 3),
            (lambda: [b"MSETNX", *self._tagged_pairs()], 2),
            (lambda: [b"APPEND", key(), value()], 4),
            (lambda: [b"STRLEN", key()], 3),
            (lambda: [choice((b"GETRANGE", b"SUBSTR")), key(), choice(OFFSETS), choice(OFFSETS)], 4),
            (lambda: [b"SETRANGE", key(), choice(OFFSETS[:8]), value()], 3),
            (lambda: [choice((b"INCR", b"DECR")), key()], 4),
            (lambda: [choice((b"INCRBY", b"DECRBY")), key(), number()], 4),
            (lambda: [b"INCRBYFLOAT", key(), choice(FRACTIONS)], 3),
            (lambda: [choice((b"DEL", b"UNLINK", b"EXISTS", b"TOUCH")), *self._keys()], 5),
            (lambda: [b"TYPE", key()], 1),
            (lambda: [b"WATCH", *self._keys(2)], 0.5),
            (lambda: [choice((b"RENAME", b"RENAMENX")), *self._two_keys()], 2),
            (lambda: [b"KEYS", choice(PATTERNS)], 1),
            (lambda: [choice((b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME")), key()], 6),
            (lambda: [b"PERSIST", key()], 2),
            (lambda: [b"OBJECT", choice((b"ENCODING", b"REFCOUNT", b"FREQ", b"IDLETIME")), key()], 2),
            (lambda: [b"MEMORY", b"USAGE", key()], 0.5),
            (lambda: [b"ECHO", value()], 1),
            (lambda: [b"PING", value()], 1),
            (lambda: [b"CLIENT", b"SETNAME", choice((b"me", b"", b"a b", b"line\n", b"x" * 100))], 0.5),
            (lambda: [b"HELLO", choice((b"2", b"3"))], 0.3),
            (lambda: [b"HELLO", b"3", b"SETNAME", choice((b"me", b"a b"))], 0.2),
            (lambda: [b"SELECT", number()], 0.3),
            (lambda: [b"SET", key(), value(), b"PX", b"1"], 0.1),
            (lambda: [b"SET", key(), value(), b"PXAT", b"1"], 0.1),
            (lambda: [b"GETEX", key(), b"PXAT", b"1"], 0.1),
        ]
        for weight, listed in FIXED.items():
            kinds += [(partial(list, line.encode().split()), weight) for line in listed.split(",")]
        return kinds


NO_MISTAKES = frozenset(
    (
        b"CLIENT",
        b"COMMAND",
        b"CONFIG",
        b"HELLO",
        b"INFO",
        b"LATENCY",
        b"SCAN",
        b"SLOWLOG",
        b"WAIT",
        b"FLUSHALL",
        b"FLUSHDB",
    )
)
"""Their wrong forms are among those drawn: others could mute the connection, or begin a scan in the middle."""
