"""Keys that are written before a fault, each with the one correct answer to one command, and probes that ask for it.

A probe is a thread with a connection to one node. It sends requests in batches from its start, whether the node runs or
not. So a restarted node gets requests as soon as its port is open, and a paused node finds requests in its sockets when
it goes on. `GET` is sent again and again; every other command is sent once for each key, by one probe.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from proof import bulk
from proof.cluster import Node
from proof.record import EXAMPLES_MAX
from proof.report import Report
from proof.resp import Argument, Client, DeadlineExceeded, Reply, ReplyError
from proof.watch import NUMBERS, UNKNOWN_TEXTS

RETRY_S = 0.005
PROBE_DEADLINE_S = 20.0
"""Longer than a node is stopped."""
FILL_BATCH = 500
COUNT = 100
TAIL = b"+more"


@dataclass(slots=True)
class _Kept:
    """One key: its value, and other possible values if an answer is missing."""

    value: bytes | None
    maybe: bytes | None = None
    doubtful: bool = False


@dataclass
class Asked:
    """How requests ended, by use."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    last_wrong_s: float = 0.0
    """When the last wrong answer came, in seconds from the start of the probe."""
    first_right_s: float | None = None

    def add(self, other: Asked) -> None:
        """Adds the findings of another probe of the same node."""
        for mine, its in zip(self._counters(), other._counters(), strict=True):
            mine.update(its)
        for use, examples in other.examples.items():
            self.examples[use] = (self.examples.get(use, []) + examples)[:EXAMPLES_MAX]
        self.last_wrong_s = max(self.last_wrong_s, other.last_wrong_s)
        firsts = [first for first in (self.first_right_s, other.first_right_s) if first is not None]
        self.first_right_s = min(firsts, default=None)

    def _counters(self) -> tuple[Counter[str], ...]:
        return self.right, self.wrong, self.refused, self.unknown, self.texts

    def __str__(self) -> str:
        wrong = ", ".join(f"{use} {self.wrong[use]:,}" for use in USES)
        right_s = "never" if self.first_right_s is None else f"after {self.first_right_s:.2f} s"
        ends = [f"refused {self.refused.total():,}", f"unknown {self.unknown.total():,}"]
        last = f", the last after {self.last_wrong_s:.2f} s" if self.wrong else ""
        return f"{self.right.total():,} right, first {right_s}; wrong: {wrong}{last}; {', '.join(ends)}"


USES = ("get", "append", "lock", "incr", "del")


class Stock:
    """Some keys for each use."""

    def __init__(self, prefix: str, count: int, seed: int = 1) -> None:
        self._rng = random.Random(f"{seed} {prefix}")
        self._keys = {use: [f"{prefix}:{use}:{number}".encode() for number in range(count)] for use in USES}
        self._kept: dict[bytes, _Kept] = {}
        self._unasked: dict[str, deque[bytes]] = {}
        self._turn = 0
        self.mutex = threading.Lock()

    def fill(self, door: Node) -> int:
        """Sets all keys to new values and returns how many were acknowledged. Probes use only those."""
        self._turn += 1
        for use, all_keys in self._keys.items():
            good: list[bytes] = []
            for at in range(0, len(all_keys), FILL_BATCH):
                batch = all_keys[at : at + FILL_BATCH]
                with door.client() as client:
                    replies = client.pipeline([("SET", key, self._value(use)) for key in batch])
                for key, reply in zip(batch, replies, strict=True):
                    if reply == b"OK":
                        self._kept[key] = _Kept(self._value(use))
                        good.append(key)
                    else:
                        self._kept.pop(key, None)
            self._rng.shuffle(good)
            self._unasked[use] = deque(good)
        return sum(len(good) for good in self._unasked.values())

    def commands(self, reads: int, others: int) -> list[tuple[str, bytes, Sequence[Argument]]]:
        """A batch of requests, with their uses and keys: `reads` reads, and `others` of each other use."""
        with self.mutex:
            readable = self._unasked["get"]
            batch = [("get", key) for key in self._rng.sample(readable, min(reads, len(readable)))]
            for use in USES[1:]:
                batch += [(use, self._unasked[use].popleft()) for _ in range(min(others, len(self._unasked[use])))]
        return [(use, key, _command(use, key)) for use, key in batch]

    def book(self, asked: Asked, use: str, key: bytes, reply: Reply, since_s: float, where: str) -> None:
        """Records the answer to one request."""
        with self.mutex:
            kept = self._kept[key]
            after = _after(use, kept.value)
            if isinstance(reply, ReplyError):
                asked.texts[NUMBERS.sub("N", str(reply))[:60]] += 1
                if str(reply).startswith(UNKNOWN_TEXTS):
                    self._doubt(asked, use, kept, after)
                else:
                    asked.refused[use] += 1
                    if use != "get":
                        self._unasked[use].append(key)
                return
            right = _right(use, kept.value)
            kept.value = after
            if reply == right:
                asked.right[use] += 1
                asked.first_right_s = since_s if asked.first_right_s is None else asked.first_right_s
                return
            asked.wrong[use] += 1
            asked.last_wrong_s = max(asked.last_wrong_s, since_s)
            examples = asked.examples.setdefault(use, [])
            if len(examples) < EXAMPLES_MAX:
                examples.append(f"{key!r} answers {reply!r} (through {where}, {since_s:.2f} s), not {right!r}")

    def doubt(self, asked: Asked, use: str, key: bytes) -> None:
        """Records that the connection was lost before the answer came."""
        with self.mutex:
            kept = self._kept[key]
            self._doubt(asked, use, kept, _after(use, kept.value))

    def compare(self, doors: Sequence[Node]) -> list[str]:
        """The keys whose value at any of `doors` differs from the acknowledged one: a line for each key and node."""
        faults: list[str] = []
        for door in doors:
            for key, value in bulk.read(door, self._kept).items():
                kept = self._kept[key]
                if value != kept.value and not (kept.doubtful and value == kept.maybe):
                    faults.append(f"{key!r} is {value!r}, acknowledged is {kept.value!r} (through {door.name})")
        return faults

    def _doubt(self, asked: Asked, use: str, kept: _Kept, after: bytes | None) -> None:
        asked.unknown[use] += 1
        if use != "get":
            kept.doubtful, kept.maybe = True, after

    def _value(self, use: str) -> bytes:
        return b"%d" % (COUNT * self._turn) if use == "incr" else b"value %d" % self._turn


def _command(use: str, key: bytes) -> Sequence[Argument]:
    match use:
        case "append":
            return ("APPEND", key, TAIL)
        case "lock":
            return ("SET", key, "another", "NX")
        case "incr":
            return ("INCR", key)
        case "del":
            return ("DEL", key)
        case _:
            return ("GET", key)


def _right(use: str, value: bytes | None) -> Reply:
    assert value is not None
    match use:
        case "append":
            return len(value + TAIL)
        case "lock":
            return None
        case "incr":
            return int(value) + 1
        case "del":
            return 1
        case _:
            return value


def _after(use: str, value: bytes | None) -> bytes | None:
    """The value of the key after its command was executed."""
    assert value is not None
    match use:
        case "append":
            return value + TAIL
        case "incr":
            return b"%d" % (int(value) + 1)
        case "del":
            return None
        case _:
            return value


class Probe:
    """Sends requests about the stock to one node until the probe is stopped. Use as a context manager."""

    def __init__(self, stock: Stock, node: Node, reads: int = 20, others: int = 1, pause_s: float = 0.01) -> None:
        self.asked = Asked()
        self.node = node
        self._stock, self._reads, self._others, self._pause_s = stock, reads, others, pause_s
        self._stop = threading.Event()
        self._sent = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"probe of {node.name}")

    def __enter__(self) -> Probe:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def wait_connected(self) -> None:
        """Waits until the connection is made. The kernel accepts it even if the node is paused."""
        assert self._sent.wait(PROBE_DEADLINE_S), f"no connection to {self.node.name}"

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._connection()
        except BaseException as error:  # noqa: BLE001, raised again at the end
            self._error = error

    def _connection(self) -> None:
        try:
            with Client(self.node.host, self.node.resp_port, PROBE_DEADLINE_S) as client:
                self._sent.set()
                while not self._stop.is_set() and self._batch(client):
                    time.sleep(self._pause_s)
        except (OSError, DeadlineExceeded):
            pass
        time.sleep(RETRY_S)

    def _batch(self, client: Client) -> bool:
        batch = self._stock.commands(self._reads, self._others)
        if not batch:
            return False
        try:
            replies = client.pipeline([command for _, _, command in batch])
        except (OSError, DeadlineExceeded):
            for use, key, _ in batch:
                self._stock.doubt(self.asked, use, key)
            raise
        since_s = time.monotonic() - self._began
        for (use, key, _), reply in zip(batch, replies, strict=True):
            self._stock.book(self.asked, use, key, reply, since_s, self.node.name)
        return True


def report(run: Report, name: str, probes: Iterable[Probe]) -> None:
    """Prints the requests and answers of each node, and checks that no answer was wrong."""
    by_node: dict[str, Asked] = {}
    for probe in probes:
        by_node.setdefault(probe.node.name, Asked()).add(probe.asked)
    for node, asked in by_node.items():
        run.step(f"{name}: {node}: {asked}")
        for text, count in asked.texts.most_common(3):
            run.count(f"{name}: {node}: {text!r}", count)
        wrong = asked.wrong.total()
        examples = [f"\n    {use}: {asked.wrong[use]:,}: {'; '.join(shown)}" for use, shown in asked.examples.items()]
        run.check(f"{name}: no answer of {node} is wrong", not wrong, f"{wrong:,} are{''.join(examples)}")
