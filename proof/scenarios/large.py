"""Values of the largest size are written while small ones are: neither holds the other up, and nothing times out.

What one node sends another is cut into slices (docs/decisions/0026), so a small write waits for one slice and not for a
whole value. The time that a request may take grows with its size.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from dataclasses import dataclass, field

from proof.cluster import Cluster, Node
from proof.resp import Client, DeadlineExceeded, ReplyError
from proof.run import Run

NODES = 3
VALUE_BYTES = 64 << 20
WRITES = 10
KEYS = 3
"""How many keys the large values go to, in turn."""
DEADLINE_S = 60.0
"""Longer than the node's own for such a value, so that a timeout is the node's."""
SMALL_BYTES = 64
SMALL_KEYS = 60
"""So many that every node is the primary of some."""


@dataclass
class Seen:
    """How long requests waited, and what went wrong with them."""

    waits_s: list[float] = field(default_factory=list)
    timeouts: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def call(self, client: Client, key: str, value: bytes) -> None:
        """One SET."""
        began = time.monotonic()
        try:
            client.call("SET", key, value)
        except ReplyError as error:
            found = self.timeouts if str(error).startswith("TIMEOUT") else self.failures
            found.append(f"{key}: {error}")
        except DeadlineExceeded as error:
            self.failures.append(f"{key}: no answer: {error}")
        self.waits_s.append(time.monotonic() - began)


def large(run: Run) -> None:
    """Large and small writes at level `all` at the same time, by two clients at two nodes."""
    for number in range(run.rounds):
        with run.cluster(NODES) as cluster:
            _write(run, cluster, run.seed + number)


def _write(run: Run, cluster: Cluster, seed: int) -> None:
    patterns = [random.Random(f"{seed}:{number}").randbytes(1 << 20) for number in range(WRITES)]
    values = {}
    large, small = Seen(), Seen()
    last: dict[str, bytes] = {}
    is_over = threading.Event()
    writer = threading.Thread(target=_write_small, args=(cluster.nodes[1], small, last, is_over))
    writer.start()
    try:
        with Client(cluster.nodes[0].host, cluster.nodes[0].resp_port, DEADLINE_S) as client:
            for number, pattern in enumerate(patterns):
                key = f"large:{number % KEYS}"
                values[key] = pattern
                large.call(client, key, _value(pattern))
                run.report.step(f"large value {number + 1} of {WRITES}: {large.waits_s[-1]:.2f} s")
    finally:
        is_over.set()
        writer.join()
    run.report.count("large writes", len(large.waits_s))
    run.report.count("longest of them", f"{max(large.waits_s):.2f} s")
    run.report.count("large writes answered TIMEOUT", len(large.timeouts))
    run.report.count("small writes meanwhile", len(small.waits_s))
    run.report.count("longest of them", f"{max(small.waits_s):.3f} s")
    run.report.check_none("no large write is answered TIMEOUT", large.timeouts)
    run.report.check_none("no small write is answered TIMEOUT", small.timeouts)
    run.report.check_none("no write fails", large.failures + small.failures)
    cluster.wait_healed()
    for node in cluster.nodes:
        _compare(run, node, values, last)
    run.report.table("large")


def _write_small(node: Node, seen: Seen, last: dict[str, bytes], is_over: threading.Event) -> None:
    with Client(node.host, node.resp_port, DEADLINE_S) as client:
        number = 0
        while not is_over.is_set():
            key = f"small:{number % SMALL_KEYS}"
            last[key] = str(number).encode().ljust(SMALL_BYTES, b".")
            seen.call(client, key, last[key])
            number += 1


def _compare(run: Run, node: Node, values: dict[str, bytes], last: dict[str, bytes]) -> None:
    different = []
    with Client(node.host, node.resp_port, DEADLINE_S) as client:
        for key, pattern in values.items():
            found = client.call("GET", key)
            if not isinstance(found, bytes) or hashlib.md5(found).digest() != hashlib.md5(_value(pattern)).digest():
                different.append(key)
        different += [key for key, value in last.items() if client.call("GET", key) != value]
    run.report.check_none(f"{node.name} has every value as it was written last", different)


def _value(pattern: bytes) -> bytes:
    return pattern * (VALUE_BYTES // len(pattern))
