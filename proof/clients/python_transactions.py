"""Transactions through redis-py: `python_transactions.py LIBRARY ADDRESSES SECONDS`, in the library's environment.

Three threads have a client for each address, or a client of the cluster each. Each thread sets a pair of its own keys by one pipeline and
reads it back by another one; and it increases counters that all threads share, by `client.transaction`, which uses
WATCH. Prints what `python_program.py` prints, and how many transactions WATCH refused. `node_transactions.mjs` does
the same in JavaScript.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

WORKERS = 3
COUNTERS = 2
PAUSE_S = 0.004
WRONG_MAX = 5
TRIES = 20


class Addresses:
    """Clients of single addresses, of which one is used until it fails."""

    def __init__(self, clients: list[Any]) -> None:
        self._clients = clients
        self._at = 0

    def use(self, act: Any) -> Any:
        """Calls `act` with the current client."""
        try:
            return act(self._clients[self._at])
        except Exception:
            self._at = (self._at + 1) % len(self._clients)
            raise


class Made(Addresses):
    """A client of a cluster, which is made anew after an error."""

    def __init__(self, make: Any) -> None:
        super().__init__([None])
        self._make = make

    def use(self, act: Any) -> Any:
        """Calls `act` with the client."""
        if self._clients[0] is None:
            self._clients[0] = self._make()
        try:
            return act(self._clients[0])
        except Exception:
            self._clients[0] = None
            raise


class Told:
    """What happened, from all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.successes: list[float] = []
        self.errors: list[float] = []
        self.texts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.changed = 0
        self.attempts: Counter[str] = Counter()
        self.acknowledged: dict[str, set[int]] = {}

    def fault(self, text: str) -> None:
        """Keeps the first wrong answers."""
        with self.lock:
            if len(self.wrong) < WRONG_MAX:
                self.wrong.append(text)

    def failed(self, error: Exception) -> None:
        """A transaction was refused, or its outcome is unknown."""
        with self.lock:
            self.errors.append(time.time())
            self.texts[f"{type(error).__name__}: {error}"[:100]] += 1

    def succeeded(self) -> None:
        """A transaction was executed."""
        with self.lock:
            self.successes.append(time.time())


@dataclass
class Pair:
    """Two keys of one thread."""

    tag: str
    acknowledged: int = 0
    maybe: set[int] = field(default_factory=set)
    """Numbers of transactions without an answer: each may have been executed, and may show."""


def set_pair(addresses: Addresses, told: Told, pair: Pair, turn: int) -> None:
    """Sets a pair and reads it back."""
    tag = pair.tag

    def write(client: Any) -> Any:
        pipe = client.pipeline(transaction=True)
        pipe.set(f"{tag}a", turn)
        pipe.set(f"{tag}b", turn)
        return pipe.execute()

    def read(client: Any) -> Any:
        pipe = client.pipeline(transaction=True)
        pipe.get(f"{tag}a")
        pipe.get(f"{tag}b")
        return pipe.execute()

    pair.maybe.add(turn)
    addresses.use(write)
    pair.acknowledged = turn
    pair.maybe.discard(turn)
    one, other = (int(value or 0) for value in addresses.use(read))
    if one != other or one not in {pair.acknowledged, *pair.maybe}:
        told.fault(f"{tag}a and {tag}b are {one} and {other}, acknowledged is {pair.acknowledged}")
    pair.acknowledged = one


def increase(addresses: Addresses, told: Told, key: str) -> None:
    """Increases a counter by one. The library tries again until no other thread changes it meanwhile."""
    attempts, number = 0, 0

    def step(pipe: Any) -> None:
        nonlocal attempts, number
        attempts += 1
        number = int(pipe.get(key) or 0) + 1
        pipe.multi()
        pipe.set(key, number)

    try:
        addresses.use(lambda client: client.transaction(step, key))
    finally:
        with told.lock:
            told.attempts[key] += attempts
            told.changed += max(0, attempts - 1)
    with told.lock:
        is_again = number in told.acknowledged.setdefault(key, set())
        told.acknowledged[key].add(number)
    if is_again:
        told.fault(f"two transactions set {key} to {number}")


def worker(addresses: Addresses, told: Told, prefix: str, number: int, ends: float) -> None:
    """One thread."""
    turn, pair = 0, Pair(f"{{{prefix}:{number}}}")
    while time.time() < ends:
        turn += 1
        try:
            if turn % 2:
                set_pair(addresses, told, pair, turn)
            else:
                increase(addresses, told, f"{{{prefix}}}counter:{turn // 2 % COUNTERS}")
            told.succeeded()
        except Exception as error:  # noqa: BLE001, libraries raise what they like, and all of it is counted
            told.failed(error)
        time.sleep(PAUSE_S)


def check_counters(addresses: Addresses, told: Told) -> None:
    """Compares the counters with what was acknowledged."""
    for key, acknowledged in told.acknowledged.items():
        for left in reversed(range(TRIES)):
            try:
                value = int(addresses.use(lambda client, key=key: client.get(key)) or 0)
                break
            except Exception:
                if not left:
                    raise
                time.sleep(0.1)
        if not len(acknowledged) <= value <= told.attempts[key]:
            told.fault(f"{key} is {value} in the end, not {len(acknowledged)} to {told.attempts[key]}")


def work(makers: list[Addresses], prefix: str, seconds: float) -> dict[str, Any]:
    """Runs all threads until the time is over; returns what happened."""
    told, ends = Told(), time.time() + seconds
    threads = [
        threading.Thread(target=worker, args=(addresses, told, prefix, number, ends), daemon=True)
        for number, addresses in enumerate(makers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_counters(makers[0], told)
    return {
        "successes": sorted(told.successes),
        "errors": sorted(told.errors),
        "texts": told.texts.most_common(3),
        "wrong": told.wrong,
        "changed": told.changed,
    }


def main(library: str, listed: str, seconds: str) -> None:
    """Connects, says so, works, and says what happened."""
    import redis
    import redis.cluster
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    pairs = [(host, int(port)) for host, _, port in (pair.partition(":") for pair in listed.split(","))]
    if library.endswith("cluster"):
        nodes = [redis.cluster.ClusterNode(host, port) for host, port in pairs]

        # By default it sends MULTI to EXEC again after a lost connection, on a new connection that watches nothing.
        # Without retries it does not read the map again.
        def make() -> Any:
            return redis.cluster.RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 0))

        makers: list[Addresses] = [Made(make) for _ in range(WORKERS)]
    else:
        clients = [redis.Redis(host=host, port=port) for host, port in pairs]
        makers = [Addresses(clients) for _ in range(WORKERS)]
    prefix = f"{library} {os.getpid()}"
    for number in range(20):
        makers[0].use(lambda client, number=number: client.get(f"{{{prefix}:{number}}}a"))
    print(json.dumps({"connected": True}), flush=True)
    print(json.dumps(work(makers, prefix, float(seconds))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
