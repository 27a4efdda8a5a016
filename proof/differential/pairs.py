"""Pairs of connections that are sent the same commands, and what their replies differ in."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby

from proof.cluster import Cluster
from proof.differential.differences import CAME_AND_WENT, REFUSED_INSIDE, Command, Explained
from proof.differential.draw import Draw
from proof.differential.raw import RawClient
from proof.differential.transactions import NULLS, QUEUED, Queue

BATCH_COMMANDS = 64
CONNECTIONS_PER_NODE = 2
TRANSACTIONS_SHARE = 0.5
"""How many batches are a transaction."""
MEANWHILE_COMMANDS = 4
"""Fewer than so many commands come through another connection between WATCH and MULTI."""
BATCHES_KEPT = 6
"""After so many batches all is emptied, so that a difference has a short history."""
FINDINGS_MAX = 12
TRIES_MAX = 400
EXPIRED_S = 0.05
"""After this time a key that lives for 1 ms is gone at both servers."""
SHOWN_BYTES = 160
SHOWN_COMMANDS = 12
"""Of a difference that does not come again."""

Sent = tuple[int, Command]
"""A command, and the number of its pair."""


class Pair:
    """A connection to a node and one to redis-server, in the same state."""

    def __init__(self, ours: RawClient, theirs: RawClient) -> None:
        self.ours, self.theirs = ours, theirs
        self.queue = Queue()

    def send(self, commands: Sequence[Command]) -> list[tuple[bytes, bytes]]:
        """Both replies to each command. redis-server executes them later, by the time of a batch at most."""
        self.ours.send(commands)
        mine = self.ours.receive(len(commands))
        self.theirs.send(commands)
        return list(zip(mine, self.theirs.receive(len(commands)), strict=True))

    def hello(self, version: int) -> None:
        """Puts both connections back as they began, with a version of RESP."""
        self.queue.close()
        for client in (self.ours, self.theirs):
            client.ask("RESET")
            client.ask("HELLO", version)


class Comparison:
    """Draws commands, sends them, and collects the differences. Use as a context manager."""

    def __init__(self, cluster: Cluster, redis_port: int, seed: int) -> None:
        self._cluster, self._redis_port = cluster, redis_port
        self._draw, self._rng = Draw(seed), random.Random(seed)
        self._stack = ExitStack()
        self._pairs: list[Pair] = []
        self._history: list[Sent] = []
        self._batches = 0
        self._unexplained: dict[str, str] = {}
        self.compared = 0
        self.explained: Counter[str] = Counter()

    def __enter__(self) -> Comparison:
        for node in self._cluster.nodes:
            for number in range(CONNECTIONS_PER_NODE):
                ours = self._stack.enter_context(RawClient(node.host, node.resp_port))
                pair = Pair(ours, self._stack.enter_context(RawClient("127.0.0.1", self._redis_port)))
                pair.hello(2 + number % 2)
                self._pairs.append(pair)
        self._empty()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def is_full(self) -> bool:
        """So many kinds of difference are found that the rest can wait."""
        return len(self._unexplained) >= FINDINGS_MAX

    def findings(self) -> list[str]:
        """The differences that are not explained, one of each kind."""
        return list(self._unexplained.values())

    def batch(self) -> None:
        """Sends some commands through one pair; sometimes a transaction, with commands of another pair in between."""
        pair = self._rng.choice(self._pairs)
        if self._rng.random() >= TRANSACTIONS_SHARE:
            done = self._run(pair, self._draw.commands(self._rng.randrange(1, BATCH_COMMANDS)))
        else:
            other = self._rng.choice(self._pairs)
            before, within = self._draw.transaction()
            between = self._draw.commands(self._rng.randrange(MEANWHILE_COMMANDS), tagged=True)
            done = self._run(pair, before) and self._run(other, between) and self._run(pair, within)
        self._batches += 1
        if not done or self._batches % BATCHES_KEPT == 0:
            self._empty()

    def _run(self, pair: Pair, commands: list[Command]) -> bool:
        """Returns whether the next commands can be compared with the same keys at both servers."""
        if pair.queue.is_open or any(command[0].upper() == b"MULTI" for command in commands):
            # A key that expires while a transaction runs would be there at one server only.
            commands = [command for command in commands if not ends_life(command)]
        expires = next((at for at, command in enumerate(commands) if ends_life(command)), None)
        if expires is not None:
            commands = commands[: expires + 1]
        parted = self._compare(pair, commands)
        if expires is not None and not parted:
            time.sleep(EXPIRED_S)
            key = commands[expires][1]
            self._compare(pair, [[name, key] for name in (b"GET", b"EXISTS", b"TTL", b"TYPE")])
        # Until an expired key is found, DBSIZE counts it, for a time that differs.
        return not parted and expires is None

    def _compare(self, pair: Pair, commands: list[Command]) -> bool:
        """Returns whether the servers went different ways; what comes behind that is not compared."""
        number = self._pairs.index(pair)
        for command, (ours, theirs) in zip(commands, pair.send(commands), strict=True):
            self.compared += 1
            self._history.append((number, command))
            is_right, rows = pair.queue.judge(command, ours, theirs)
            parts_ways = any(row.parts_ways for row in rows) or (REFUSED_INSIDE in rows and theirs != QUEUED)
            pair.queue.note(command, ours, theirs)
            if not is_right and (row := self._explained_watch(ours, theirs)):
                is_right, rows, parts_ways = True, [row], True
            self.explained.update(row.name for row in rows)
            if not is_right:
                self._find(ours, theirs)
                return True
            if parts_ways:
                return True
        return False

    def _find(self, ours: bytes, theirs: bytes) -> None:
        """Keeps the first difference of each kind, with the shortest history that leads to it."""
        _, command = self._history[-1]
        kind = f"{command[0].upper()!r} {ours[:30]!r} {theirs[:30]!r}"
        if kind in self._unexplained or self.is_full:
            return
        shortest = self._shortened(list(self._history))
        several = len({number for number, _ in shortest}) > 1
        lines = " | ".join(f"{number}> {shown(words)}" if several else shown(words) for number, words in shortest)
        self._unexplained[kind] = f"{lines}: {ours[:SHOWN_BYTES]!r}, and redis-server: {theirs[:SHOWN_BYTES]!r}"

    def _shortened(self, history: list[Sent]) -> list[Sent]:
        """Leaves out what is not needed for the difference at the end, first in large pieces."""
        tries, size = 0, len(history) // 2
        if not self._still_differs(history):
            return history[-SHOWN_COMMANDS:]
        while size >= 1:
            at = 0
            while at < len(history) - 1 and tries < TRIES_MAX:
                tries += 1
                shorter = history[:at] + history[min(at + size, len(history) - 1) :]
                if self._still_differs(shorter):
                    history = shorter
                else:
                    at += size
            size //= 2
        return history

    def _explained_watch(self, ours: bytes, theirs: bytes) -> Explained | None:
        """The row that explains why only one server has seen a watched key change."""
        if (ours in NULLS) == (theirs in NULLS) or self._history[-1][1][0].upper() != b"EXEC":
            return None
        if theirs in NULLS:
            return CAME_AND_WENT if self._came_and_went() else None
        return None

    def _came_and_went(self) -> bool:
        """Whether the last EXEC ends alike at both servers if keys are not watched that were missing at their WATCH, and
        are missing now."""
        last, _ = self._history[-1]
        self._begin_again()
        missing: set[bytes] = set()
        for number, command in self._history[:-1]:
            if number == last and command[0].upper() == b"WATCH":
                missing |= {key for key in command[1:] if self._is_missing(key)}
            self._pairs[number].send([command])
        missing = {key for key in missing if self._is_missing(key)}
        without = [
            (number, [word for word in command if word not in missing])
            if number == last and command[0].upper() == b"WATCH"
            else (number, command)
            for number, command in self._history
        ]
        return bool(missing) and not self._still_differs([sent for sent in without if sent[1] != [b"WATCH"]])

    def _is_missing(self, key: bytes) -> bool:
        with RawClient("127.0.0.1", self._redis_port) as client:
            return client.ask("EXISTS", key) == b":0\r\n"

    def _begin_again(self) -> None:
        for pair in self._pairs:
            pair.hello(2)
        self._empty_keys()

    def _still_differs(self, history: list[Sent]) -> bool:
        self._begin_again()
        is_right = True
        for number, sent in groupby(history, lambda sent: sent[0]):
            pair, commands = self._pairs[number], [command for _, command in sent]
            for command, (ours, theirs) in zip(commands, pair.send(commands), strict=True):
                is_right, _ = pair.queue.judge(command, ours, theirs)
                pair.queue.note(command, ours, theirs)
        return not is_right

    def _empty(self) -> None:
        """Empties both servers, and puts each pair back as it began."""
        self._history.clear()
        for pair in self._pairs:
            pair.hello(self._rng.choice((2, 3)))
        self._empty_keys()

    def _empty_keys(self) -> None:
        for client in (self._pairs[0].ours, self._pairs[0].theirs):
            client.ask("FLUSHALL")


def ends_life(command: Command) -> bool:
    """Whether a key is gone 1 ms after the command, or at once."""
    return command[-2:] in ([b"PX", b"1"], [b"PXAT", b"1"])


def shown(command: Command) -> str:
    """A command on one line."""
    return " ".join(repr(word)[2:-1][:40] or '""' for word in command)
