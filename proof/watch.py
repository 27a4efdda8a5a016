"""Clients that use every kind of key at all nodes, and record the answers that no client may see.

The clients are asyncio tasks in their own thread, as in `proof/load.py`. All calls of the books (`proof/registers.py`)
come from this thread. A scenario calls `enter` when its situation changes, for example when a partition begins.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from proof import bulk
from proof.cluster import Node
from proof.load import BACK_OFF_S, Outcome
from proof.record import Finding, May, Operation, Record, Situation
from proof.registers import AnItem, Book, Lock, Locks, Registers, Tallies, Texts
from proof.report import Report
from proof.resp import DEADLINE_S, Argument, AsyncClient, DeadlineExceeded, Reply, ReplyError

UNKNOWN_TEXTS = ("TIMEOUT", "NOREPLICAS no_quorum")
"""How errors begin after which the outcome is unknown. After all other errors, the command was not executed."""
NUMBERS = re.compile(r"\d+")
MOVE_ODDS = 0.02
"""How often a client without a reason to stay goes to another node."""
HOLD_S = 0.01
"""How long a lock is held."""


@dataclass(frozen=True)
class WatchOptions:
    """How many clients of each kind a side has, and how many keys of each kind."""

    writers: int = 3
    lockers: int = 4
    appenders: int = 3
    counters: int = 2
    readers: int = 1
    """Readers at each node, whatever its side."""
    registers_each: int = 8
    """Of each writer."""
    locks: int = 6
    texts_each: int = 40
    """Of each appender."""
    tallies: int = 4
    pause_s: float = 0.006
    """What each client waits between two requests."""
    prefix: str = "watch"
    seed: int = 1


class Answer(NamedTuple):
    """How a request ended: the reply is None unless it was answered."""

    outcome: Outcome
    reply: Reply
    wait_s: float


class Watch:
    """Clients at work.

    `sides` has the nodes of each part that a partition is to leave; without parts, one. `writers_at` are the nodes that
    are asked to change something, if not all of a side; only with one side.
    """

    def __init__(
        self,
        sides: Sequence[Sequence[Node]],
        options: WatchOptions = WatchOptions(),
        writers_at: Sequence[Node] | None = None,
    ) -> None:
        assert writers_at is None or len(sides) == 1, "each side has writers of its own"
        self.record = Record()
        self.options = options
        self._sides = [list(side) for side in sides]
        self._writers_at = writers_at
        self.registers = Registers(self.record, f"{options.prefix}:register")
        self.locks = Locks(self.record, f"{options.prefix}:lock")
        self.texts = Texts(self.record, f"{options.prefix}:text")
        self.tallies = Tallies(self.record, f"{options.prefix}:tally")
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="watch")

    @property
    def books(self) -> tuple[Registers, Locks, Texts, Tallies]:
        """All books."""
        return self.registers, self.locks, self.texts, self.tallies

    @property
    def side_count(self) -> int:
        """How many parts a partition is to leave."""
        return len(self._sides)

    @property
    def stopping(self) -> bool:
        """The clients are to end."""
        return self._stop.is_set()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def enter(self, situation: Situation) -> None:
        """Sets the situation. Call it before the partition begins, before it ends, and after healing."""

        async def change() -> None:
            if len(self._sides) > 1 and situation is Situation.DURING:
                for book in self.books:
                    book.part()
            elif situation is Situation.AFTER:
                for book in self.books:
                    book.join()
            self.record.situation = situation

        asyncio.run_coroutine_threadsafe(change(), self._loop).result()

    def stop(self) -> None:
        """Ends the clients when their requests are answered, and judges what had to wait for that."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
            self.registers.settle()
            self.locks.settle()
        if self._error is not None:
            raise self._error

    def compare(self, doors: Sequence[Node]) -> None:
        """Reads every key through every node, and records once for each key that differs from what was acknowledged.

        For a cluster that is healed, after `stop`.
        """
        self._compare(doors, self.registers, Operation.WRITE)
        self._compare(doors, self.locks, Operation.LOCK)
        self._compare(doors, self.texts, Operation.APPEND)
        self._compare(doors, self.tallies, Operation.INCR)

    def report(self, report: Report, name: str, may: May) -> None:
        """Prints the record, and checks that `may` allows all findings."""
        report.step(f"{name}: {self.record}")
        for text, count in self.record.refusals.most_common(5):
            report.count(f"{name}: {text!r}", count)
        for situation in Situation:
            if situation in (Situation.BEFORE, Situation.AFTER):
                report.check(f"{name}: requests are answered {situation.value}", self.record.answered[situation] > 0)
        report.check_none(f"{name}: no client sees a forbidden answer", self.record.wrong(may))

    def _compare(self, doors: Sequence[Node], book: Book[AnItem], operation: Operation) -> None:
        items = {item.key: item for item in book.items}
        faults: dict[bytes, str] = {}
        for door in doors:
            for key, value in bulk.read(door, items).items():
                if isinstance(value, ReplyError):
                    self.record.book(Operation.READ, Finding.REFUSED, f"{key!r} through {door.name}: {value}")
                elif fault := book.final(items[key], value):
                    faults.setdefault(key, f"{fault} (through {door.name}, in the end)")
        for fault in faults.values():
            self.record.book(operation, Finding.LOST, fault)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._all())
        except BaseException as error:  # noqa: BLE001, raised again by `stop`
            self._error = error
        finally:
            self._loop.close()

    async def _all(self) -> None:
        options = self.options
        clients: list[Coroutine[Any, Any, None]] = []
        for side, nodes in enumerate(self._sides):
            for role, count in (
                (_Writer, options.writers),
                (_Locker, options.lockers),
                (_Appender, options.appenders),
                (_Counter, options.counters),
            ):
                for number in range(count):
                    clients.append(self._repeat(role(self, side, number, self._writers_at or nodes)))
            for node in nodes:
                clients += [self._repeat(_Reader(self, side, number, [node])) for number in range(options.readers)]
        tasks = [asyncio.create_task(client) for client in clients]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # Connections are closed in the next turn of the loop.

    async def _repeat(self, client: _Client) -> None:
        try:
            while not self.stopping:
                await client.step()
                await asyncio.sleep(self.options.pause_s)
        finally:
            client.caller.close()


class Caller:
    """A connection to one of several nodes. After a failure, and sometimes at random, it goes to another node."""

    def __init__(self, watch: Watch, nodes: Sequence[Node], rng: random.Random) -> None:
        self._watch = watch
        self._nodes = nodes
        self._rng = rng
        self._client: AsyncClient | None = None
        self._node: Node = nodes[0]
        self._refused_since: float | None = None
        self.connections = 0
        """How many connections there were: a new one does not know what an earlier one read."""

    @property
    def where(self) -> str:
        """The node that was asked last."""
        return self._node.name

    def close(self) -> None:
        """Drops the connection."""
        if self._client:
            self._client.close()
            self._client = None

    def wander(self) -> None:
        """Sometimes closes the connection, to go to another node."""
        if len(self._nodes) > 1 and self._rng.random() < MOVE_ODDS:
            self.close()

    async def connect(self) -> bool:
        """Makes sure that there is a connection; False if the watch ended first.

        As a pool of connections does, it does not use one that the server has closed since the last reply.
        """
        if self._client is not None and self._client.ended:
            self.close()
        while self._client is None and not self._watch.stopping:
            running = [node for node in self._nodes if node.running]
            if running:
                self._node = self._rng.choice(running)
                try:
                    self._client = await AsyncClient.open(self._node.host, self._node.resp_port)
                    self.connections += 1
                    break
                except (DeadlineExceeded, OSError):
                    pass
            await asyncio.sleep(BACK_OFF_S)
        return self._client is not None

    async def ask(self, operation: Operation, *command: Argument) -> Answer:
        """Sends one request through the open connection. Records its outcome and duration."""
        assert self._client is not None
        record, situation = self._watch.record, self._watch.record.situation
        began = time.monotonic()
        reply: Reply = None
        try:
            reply = await self._client.call(*command)
            outcome = Outcome.ANSWERED
            record.answered[situation] += 1
            self._refused_since = None
        except ReplyError as error:
            outcome = Outcome.UNKNOWN if str(error).startswith(UNKNOWN_TEXTS) else Outcome.REFUSED
            record.refusals[NUMBERS.sub("N", str(error))[:60]] += 1
            text = str(error)
        except (DeadlineExceeded, OSError) as error:
            self.close()
            outcome, text = Outcome.UNKNOWN, repr(error)
        wait_s = time.monotonic() - began
        if not self._node.paused_since(began):
            record.longest_wait_s = max(record.longest_wait_s, wait_s)
            if wait_s >= DEADLINE_S:
                record.book(operation, Finding.HUNG, f"{command!r} through {self.where}: {wait_s:.1f} s", situation)
        if outcome is not Outcome.ANSWERED:
            finding = Finding.REFUSED if outcome is Outcome.REFUSED else Finding.UNKNOWN
            record.book(operation, finding, f"{command[0]!r} through {self.where}: {text}", situation)
            self._refused_since = began if self._refused_since is None else self._refused_since
            record.longest_refused_s = max(record.longest_refused_s, time.monotonic() - self._refused_since)
            await asyncio.sleep(BACK_OFF_S)
        return Answer(outcome, reply, wait_s)


class _Client:
    """The base of all clients."""

    def __init__(self, watch: Watch, side: int, number: int, nodes: Sequence[Node]) -> None:
        self.watch = watch
        self.side = side
        self.number = number
        self.rng = random.Random(f"{watch.options.seed} {type(self).__name__} {side} {nodes[0].index} {number}")
        self.caller = Caller(watch, nodes, self.rng)

    async def step(self) -> None:
        """One step of the client, which is repeated."""
        self.caller.wander()
        if await self.caller.connect():
            await self.use()

    async def use(self) -> None:
        """Uses one key, through an open connection."""
        raise NotImplementedError

    def slot(self, each: int) -> int:
        """One of the client's own keys, of which it has so many."""
        return self.number * each + self.rng.randrange(each)


class _Writer(_Client):
    """Writes its own registers, and reads every second write back at once."""

    async def use(self) -> None:
        book = self.watch.registers
        register = book.take(self.side, self.slot(self.watch.options.registers_each))
        number, partings, connection = book.issue(register), book.partings, self.caller.connections
        answer = await self.caller.ask(Operation.WRITE, "SET", register.key, number)
        match answer.outcome:
            case Outcome.ANSWERED:
                book.acknowledge(register, answer.wait_s, partings)
            case Outcome.REFUSED:
                return book.refuse(register)
            case Outcome.UNKNOWN:
                return book.lose(register)
        if register.retired or self.rng.random() < 0.5 or connection != self.caller.connections:
            return
        read = await self.caller.ask(Operation.READ, "GET", register.key)
        if read.outcome is Outcome.ANSWERED:
            book.own(register, _value(read.reply), self.caller.where)


class _Reader(_Client):
    """Reads the registers of all sides, through one node."""

    def __init__(self, watch: Watch, side: int, number: int, nodes: Sequence[Node]) -> None:
        super().__init__(watch, side, number, nodes)
        self._seen: dict[bytes, int] = {}
        self._connection = 0

    async def use(self) -> None:
        if self._connection != self.caller.connections:
            self._seen, self._connection = {}, self.caller.connections
        options, book = self.watch.options, self.watch.registers
        side = self.rng.randrange(self.watch.side_count)
        slots = options.writers * options.registers_each
        register = book.take(side, self.rng.randrange(slots)) if slots else None
        if register is None:
            return
        asked = book.ask(register, self.side)
        answer = await self.caller.ask(Operation.READ, "GET", register.key)
        if answer.outcome is Outcome.ANSWERED:
            book.answer(register, asked, _value(answer.reply), self._seen, self.caller.where)


class _Appender(_Client):
    """Appends to its own texts."""

    async def use(self) -> None:
        book = self.watch.texts
        text = book.take(self.side, self.slot(self.watch.options.texts_each))
        partings = book.partings
        answer = await self.caller.ask(Operation.APPEND, "APPEND", text.key, book.piece(text))
        if answer.outcome is Outcome.ANSWERED:
            book.acknowledge(text, _integer(answer.reply), answer.wait_s, partings, self.caller.where)
        elif answer.outcome is Outcome.UNKNOWN:
            book.lose(text)


class _Counter(_Client):
    """Increments tallies that it shares with other clients of its side."""

    async def use(self) -> None:
        book = self.watch.tallies
        tally = book.take(self.side, self.rng.randrange(self.watch.options.tallies))
        floor, partings = book.ask(tally), book.partings
        answer = await self.caller.ask(Operation.INCR, "INCR", tally.key)
        match answer.outcome:
            case Outcome.ANSWERED:
                book.acknowledge(tally, floor, _integer(answer.reply), answer.wait_s, partings, self.caller.where)
            case Outcome.REFUSED:
                book.refuse(tally)
            case Outcome.UNKNOWN:
                book.lose(tally)


class _Locker(_Client):
    """Takes a lock that other clients of its side want too, holds it briefly, and releases it."""

    taken = 0

    async def use(self) -> None:
        book = self.watch.locks
        lock = book.take(self.side, self.rng.randrange(self.watch.options.locks))
        self.taken += 1
        token = f"side {self.side} client {self.number} turn {self.taken}".encode()
        moment, partings = book.moment(), book.partings
        answer = await self.caller.ask(Operation.LOCK, "SET", lock.key, token, "NX")
        if answer.outcome is Outcome.UNKNOWN:
            book.lose(lock, moment)
        if answer.outcome is not Outcome.ANSWERED or answer.reply is None:
            return
        book.grant(lock, token, answer.wait_s, partings, self.caller.where)
        await asyncio.sleep(HOLD_S)
        found = await self._until_answered(lambda: self.caller.ask(Operation.LOCK, "GET", lock.key))
        if found is None or not book.check(lock, token, _value(found.reply), self.caller.where):
            return
        book.releasing(lock, token)
        await self._release(lock, token)

    async def _release(self, lock: Lock, token: bytes) -> None:
        book = self.watch.locks
        while await self.caller.connect():
            moment = book.moment()
            answer = await self.caller.ask(Operation.LOCK, "DEL", lock.key)
            if answer.outcome is Outcome.ANSWERED:
                return book.released(lock, token, _integer(answer.reply), self.caller.where)
            if answer.outcome is Outcome.UNKNOWN:
                return book.lose(lock, moment)

    async def _until_answered(self, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer | None:
        while await self.caller.connect():
            answer = await ask()
            if answer.outcome is Outcome.ANSWERED:
                return answer
        return None


def _value(reply: Reply) -> bytes | None:
    assert reply is None or isinstance(reply, bytes), f"GET answered {reply!r}"
    return reply


def _integer(reply: Reply) -> int:
    assert isinstance(reply, int), f"a number was expected, not {reply!r}"
    return reply
