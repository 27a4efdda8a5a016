"""A load: clients at all nodes that write keys and read acknowledged keys back.

The clients are asyncio tasks in their own thread, so that a scenario can break the cluster in plain
sequential code. Each client stays at one node until a request fails, then goes to another node.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from proof.cluster import Node
from proof.ledger import Ledger, Value
from proof.report import Report
from proof.resp import DEADLINE_S, Argument, AsyncClient, DeadlineExceeded, Reply, ReplyError

BACK_OFF_S = 0.02
"""Pause after a refusal or a lost connection."""
LAG_PERIOD_S = 0.05
COUNTERS = 20
VALUE_NOISE_BYTES = (4, 16, 64, 700)
RECENT = 200
"""Every second read is of one of this many keys that were acknowledged last."""


@dataclass(frozen=True)
class LoadOptions:
    """How many clients, and what they do."""

    writers: int = 8
    readers: int = 6
    pause_s: float = 0.004
    """How long each client waits between two requests, so that the machine is not overloaded."""
    prefix: str = "load"
    """The beginning of every key, so that two loads have no key in common."""
    seed: int = 1


class Outcome(Enum):
    """How a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Load:
    """A running load. `doors` returns the nodes that clients may connect to now."""

    def __init__(
        self,
        doors: Callable[[], Sequence[Node]],
        options: LoadOptions = LoadOptions(),
        ledger: Ledger | None = None,
    ) -> None:
        self._doors = doors
        self._options = options
        self.ledger = ledger or Ledger()
        self.tally: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.hung: list[str] = []
        self.refusals: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.lag_s = 0.0
        """The longest time for which this program itself delayed its clients."""
        self._stop_writers = threading.Event()
        self._stop_readers = threading.Event()
        self.deletes_held = False
        """While it is set, writers delete nothing."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the load once the requests under way are answered."""
        self._stop_writers.set()
        self._stop_readers.set()
        if self._thread.is_alive():
            self._thread.join()

    def stop_readers(self) -> None:
        """Ends the reads only."""
        self._stop_readers.set()

    @property
    def acknowledged(self) -> int:
        """Writes acknowledged so far, of any kind."""
        return sum(self.tally[f"{kind} answered"] for kind in ("set", "del", "incr"))

    def report(self, report: Report, name: str = "load") -> None:
        """Adds the counts to the table, and makes the checks that hold for every load."""
        for kind in ("set", "del", "incr", "get"):
            for outcome in Outcome:
                report.count(
                    f"{name}: {kind} {outcome.value}", self.tally[f"{kind} {outcome.value}"]
                )
        for text, count in self.refusals.most_common(5):
            report.count(f"{name}: refused with {text!r}", count)
        report.count(f"{name}: wrong reads", len(self.wrong))
        report.count(f"{name}: hung requests", len(self.hung))
        report.count(f"{name}: slowest request", f"{self.slowest_s * 1000:,.0f} ms")
        report.count(f"{name}: longest stall of the clients", f"{self.lag_s * 1000:,.0f} ms")
        report.check(f"{name}: writes were acknowledged", self.acknowledged > 0)
        if self._options.readers:
            report.check(f"{name}: reads were answered", self.tally["get answered"] > 0)
        report.check_none(f"{name}: no read was answered wrongly", self.wrong)
        report.check_none(f"{name}: no request hung beyond its deadline", self.hung)

    async def _run(self) -> None:
        clients = [self._write(number) for number in range(self._options.writers)]
        clients += [self._read(number) for number in range(self._options.readers)]
        lag = asyncio.create_task(self._watch_lag())
        await asyncio.gather(*clients)
        lag.cancel()

    async def _watch_lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_PERIOD_S)
            self.lag_s = max(self.lag_s, time.monotonic() - before - LAG_PERIOD_S)

    async def _write(self, number: int) -> None:
        writer = _Writer(self, f"{self._options.prefix}:{number}", self._random("writer", number))
        while not self._stop_writers.is_set():
            await writer.step()
            await asyncio.sleep(self._options.pause_s)
        writer.session.close()

    async def _read(self, number: int) -> None:
        rng = self._random("reader", number)
        session = Session(self, rng)
        while not self._stop_readers.is_set():
            if self.ledger.order:
                await self._read_one(session, rng)
            await asyncio.sleep(self._options.pause_s)
        session.close()

    async def _read_one(self, session: Session, rng: random.Random) -> None:
        order, counters = self.ledger.order, self.ledger.counters()
        if counters and rng.random() < 0.1:
            key = rng.choice(counters)
        elif rng.random() < 0.5:
            key = order[-rng.randrange(1, min(RECENT, len(order)) + 1)]
        else:
            key = rng.choice(order)
        expectation = self.ledger.expect(key)
        outcome, reply = await session.request("GET", key)
        if outcome is Outcome.ANSWERED:
            assert reply is None or isinstance(reply, bytes), f"GET answered {reply!r}"
            if fault := self.ledger.fault(expectation, reply):
                self.wrong.append(f"{fault} (through {session.door_name})")

    def _random(self, role: str, number: int) -> random.Random:
        return random.Random(f"{self._options.seed} {self._options.prefix} {role} {number}")

    def choose_door(self, rng: random.Random) -> Node | None:
        """One of the nodes that clients may connect to now."""
        doors = self._doors()
        return rng.choice(doors) if doors else None


class Session:
    """One client: a connection that goes to another node when a request fails. Records how each request ended."""

    def __init__(self, load: Load, rng: random.Random) -> None:
        self._load = load
        self._rng = rng
        self._door: Node | None = None
        self._client: AsyncClient | None = None

    @property
    def door_name(self) -> str:
        """The node this client talked to last."""
        return self._door.name if self._door else "nobody"

    def close(self) -> None:
        """Drops the connection."""
        if self._client:
            self._client.close()
            self._client = None

    async def request(self, name: str, *arguments: Argument) -> tuple[Outcome, Reply]:
        """Sends one request and returns how it ended; the reply is None unless there was an answer."""
        await self._connect()
        began = time.monotonic()
        outcome, reply = await self._call(name, *arguments)
        elapsed = time.monotonic() - began
        self._load.tally[f"{name.lower()} {outcome.value}"] += 1
        paused = self._door is not None and self._door.paused_since(began)
        if not paused:
            self._load.slowest_s = max(self._load.slowest_s, elapsed)
            if elapsed >= DEADLINE_S:
                self._load.hung.append(f"{name} through {self.door_name}: {elapsed:.1f} s")
        if outcome is not Outcome.ANSWERED:
            await asyncio.sleep(BACK_OFF_S)
        return outcome, reply

    async def _call(self, *command: Argument) -> tuple[Outcome, Reply]:
        assert self._client is not None
        try:
            return Outcome.ANSWERED, await self._client.call(*command)
        except ReplyError as error:
            self._load.refusals[str(error)[:60]] += 1
            return Outcome.REFUSED, None
        except (DeadlineExceeded, OSError):
            self.close()
            return Outcome.UNKNOWN, None

    async def _connect(self) -> None:
        while self._client is None:
            self._door = self._load.choose_door(self._rng)
            if self._door is not None:
                try:
                    self._client = await AsyncClient.open(self._door.host, self._door.resp_port)
                    return
                except (DeadlineExceeded, OSError):
                    self._load.tally["connect failed"] += 1
            await asyncio.sleep(BACK_OFF_S)


class _Writer:
    """One client that writes its own keys: mostly new ones, sometimes an old one again."""

    def __init__(self, load: Load, prefix: str, rng: random.Random) -> None:
        self.session = Session(load, rng)
        self._load = load
        self._ledger = load.ledger
        self._prefix = prefix
        self._rng = rng
        self._written = 0
        self._live: list[bytes] = []

    async def step(self) -> None:
        """One write."""
        draw = self._rng.random()
        if draw < 0.08:
            await self._increment()
        elif draw < 0.16 and self._live and not self._load.deletes_held:
            await self._delete(self._take_live())
        elif draw < 0.22 and self._live:
            await self._set(self._take_live())
        else:
            self._written += 1
            await self._set(f"{self._prefix}:{self._written}".encode())

    def _take_live(self) -> bytes:
        at = self._rng.randrange(len(self._live))
        self._live[at], self._live[-1] = self._live[-1], self._live[at]
        return self._live.pop()

    async def _set(self, key: bytes) -> None:
        value = b"%s=%s" % (
            key,
            self._rng.randbytes(self._rng.choice(VALUE_NOISE_BYTES)).hex().encode(),
        )
        if await self._apply(key, value):
            self._live.append(key)

    async def _delete(self, key: bytes) -> None:
        acknowledged = await self._apply(key, None)
        if acknowledged and self._rng.random() < 0.5:
            await self._set(key)

    async def _apply(self, key: bytes, value: Value) -> bool:
        """A SET, or a DEL if `value` is None; whether it was acknowledged."""
        self._ledger.begin(key, value)
        if value is None:
            outcome, _ = await self.session.request("DEL", key)
        else:
            outcome, _ = await self.session.request("SET", key, value)
        if outcome is Outcome.ANSWERED:
            self._ledger.acknowledge(key, value)
        return outcome is Outcome.ANSWERED

    async def _increment(self) -> None:
        key = f"{self._prefix.split(':')[0]}:counter:{self._rng.randrange(COUNTERS)}".encode()
        self._ledger.begin_increment(key)
        outcome, _ = await self.session.request("INCR", key)
        if outcome is Outcome.ANSWERED:
            self._ledger.acknowledge_increment(key)
