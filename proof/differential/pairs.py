"""Pairs of connections that are sent the same commands, and what their replies differ in."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

from proof.cluster import Cluster
from proof.differential.differences import EXPLAINED, Command, Explained, is_same
from proof.differential.draw import Draw
from proof.differential.raw import RawClient

BATCH_COMMANDS = 64
CONNECTIONS_PER_NODE = 2
BATCHES_KEPT = 6
"""After so many batches all is emptied, so that a difference has a short history."""
FINDINGS_MAX = 12
TRIES_MAX = 400
EXPIRED_S = 0.05
"""After this time a key that lives for 1 ms is gone at both servers."""
SHOWN_BYTES = 160


class Pair:
    """A connection to a node and one to redis-server, in the same state."""

    def __init__(self, ours: RawClient, theirs: RawClient) -> None:
        self.ours, self.theirs = ours, theirs

    def send(self, commands: Sequence[Command]) -> list[tuple[bytes, bytes]]:
        """Both replies to each command. redis-server executes them later, by the time of a batch at most."""
        self.ours.send(commands)
        mine = self.ours.receive(len(commands))
        self.theirs.send(commands)
        return list(zip(mine, self.theirs.receive(len(commands)), strict=True))

    def hello(self, version: int) -> None:
        """Puts both connections back as they began, with a version of RESP."""
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
        self._history: list[Command] = []
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
        """Sends some commands through one pair."""
        pair = self._rng.choice(self._pairs)
        commands = [self._draw.command() for _ in range(self._rng.randrange(1, BATCH_COMMANDS))]
        expires = next((at for at, command in enumerate(commands) if ends_life(command)), None)
        if expires is not None:
            commands = commands[: expires + 1]
        parted = self._compare(pair, commands)
        if expires is not None and not parted:
            time.sleep(EXPIRED_S)
            key = commands[expires][1]
            parted = self._compare(pair, [[name, key] for name in (b"GET", b"EXISTS", b"TTL", b"TYPE")])
        self._batches += 1
        # Until an expired key is found, DBSIZE counts it, for a time that differs.
        if parted or expires is not None or self._batches % BATCHES_KEPT == 0:
            self._empty()

    def _compare(self, pair: Pair, commands: list[Command]) -> bool:
        """Returns whether the servers went different ways; what comes behind that is not compared."""
        for command, (ours, theirs) in zip(commands, pair.send(commands), strict=True):
            self.compared += 1
            self._history.append(command)
            if is_same(command, ours, theirs):
                continue
            row = explanation(command, ours, theirs)
            if row is None:
                self._find(pair, ours, theirs)
                return True
            self.explained[row.name] += 1
            if row.parts_ways:
                return True
        return False

    def _find(self, pair: Pair, ours: bytes, theirs: bytes) -> None:
        """Keeps the first difference of each kind, with the shortest history that leads to it."""
        command = self._history[-1]
        kind = f"{command[0].upper()!r} {ours[:30]!r} {theirs[:30]!r}"
        if kind in self._unexplained or self.is_full:
            return
        shortest = self._shortened(pair, list(self._history))
        lines = " | ".join(shown(words) for words in shortest)
        self._unexplained[kind] = f"{lines}: {ours[:SHOWN_BYTES]!r}, and redis-server: {theirs[:SHOWN_BYTES]!r}"

    def _shortened(self, pair: Pair, history: list[Command]) -> list[Command]:
        """Leaves out what is not needed for the difference at the end, first in large pieces."""
        tries, size = 0, len(history) // 2
        if not self._still_differs(pair, history):
            return history[-3:]
        while size >= 1:
            at = 0
            while at < len(history) - 1 and tries < TRIES_MAX:
                tries += 1
                shorter = history[:at] + history[min(at + size, len(history) - 1) :]
                if self._still_differs(pair, shorter):
                    history = shorter
                else:
                    at += size
            size //= 2
        return history

    def _still_differs(self, pair: Pair, history: list[Command]) -> bool:
        self._empty_keys()
        pair.hello(2)
        replies = pair.send(history)
        return not is_same(history[-1], *replies[-1]) and explanation(history[-1], *replies[-1]) is None

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


def explanation(command: Command, ours: bytes, theirs: bytes) -> Explained | None:
    """The row of the table that explains a difference."""
    return next((row for row in EXPLAINED if row.covers(command, ours, theirs)), None)


def shown(command: Command) -> str:
    """A command on one line."""
    return " ".join(repr(word)[2:-1][:40] or '""' for word in command)
