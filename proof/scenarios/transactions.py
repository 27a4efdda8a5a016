"""Transactions of clients at all nodes, while nodes and links fail.

    python3 -m proof.chaos transactions                  12 s of each fault
    python3 -m proof.chaos transactions --seconds 15     a minute of each

During the partition a keyspace refuses writes with fewer than three copies (`min_acks = 3`). So only the larger side
changes keys, and both sides together must be exact.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from proof import bulk
from proof.cluster import Cluster, Node
from proof.load import BACK_OFF_S
from proof.network import Namespaces
from proof.partitions import NODES
from proof.resp import DEADLINE_S, Argument, AsyncClient, DeadlineExceeded, Reply, ReplyError
from proof.run import Run
from proof.transactions import Counted, Counters, Ending, Fault, Group, Groups, Pairs, Tally, ending_of
from proof.watch import NUMBERS

LASTS = 4
"""Each fault lasts so many times `--seconds`."""
STOPPED_S = 5.0
DOWN_S = 1.5
"""How long a killed node is down, in seconds."""
BETWEEN_S = 2.0
COUNTERS = 6
GROUPS = 2
SIDES = ([1, 2], [3, 4, 5])
MIN_ACKS = """[[keyspace]]
name = "default"
min_acks = 3
"""
PAUSE_S = 0.005
"""What a client waits between two transactions."""

Trouble = Callable[[Cluster, float, random.Random], None]


def transactions(run: Run) -> None:
    """Five faults, one after the other, each with keys of its own."""
    missing = Namespaces.unavailable()
    network = None if missing else Namespaces(NODES)
    with run.cluster(NODES, network) as cluster:
        for name, trouble in (("quiet", _quiet), ("kill -9", _kills), ("SIGSTOP", _stops)):
            watched(run, cluster, name, trouble)
        if network is not None:
            watched(run, cluster, "one broken link", _broken(network))
    if missing:
        run.report.skip("transactions over broken links", missing)
        return
    network = Namespaces(NODES)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
        settings.write(MIN_ACKS)
        settings.flush()
        with run.cluster(NODES, network, options=("--config", settings.name)) as cluster:
            watched(run, cluster, "partition", _parted(network), parts=True)


def watched(run: Run, cluster: Cluster, name: str, trouble: Trouble, parts: bool = False) -> None:
    """Has clients work during one fault, and compares all keys at the end."""
    with Work(cluster.nodes, f"{name.split()[0]}", run.seed) as work:
        time.sleep(run.seconds / 3)
        work.tally.exact = not parts
        trouble(cluster, LASTS * run.seconds, run.random())
        cluster.wait_healed()
        work.tally.exact = True
        time.sleep(run.seconds / 3)
    work.compare(cluster.nodes)
    run.report.step(f"transactions, {name}: {work.tally}")
    for text, count in work.tally.texts.most_common(5):
        run.report.count(f"{name}: {text!r}", count)
    run.report.table(f"transactions: {name}, errors")
    executed = work.tally.endings[Ending.EXECUTED]
    run.report.check(f"transactions, {name}: some are executed", executed > 0)
    run.report.check_none(f"transactions, {name}: no client sees a fault", work.tally.wrong())
    if trouble is _quiet:
        failed = work.tally.endings[Ending.REFUSED] + work.tally.endings[Ending.UNKNOWN]
        run.report.check(f"transactions, {name}: none is refused", not failed, f"{failed} are")


def _quiet(cluster: Cluster, seconds: float, rng: random.Random) -> None:
    del cluster, rng
    time.sleep(seconds)


def _repeated(step: Callable[[Cluster, Node], None]) -> Trouble:
    def trouble(cluster: Cluster, seconds: float, rng: random.Random) -> None:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            step(cluster, rng.choice(cluster.nodes))
            cluster.wait_healed()
            time.sleep(BETWEEN_S)

    return trouble


def _kill(cluster: Cluster, victim: Node) -> None:
    cluster.kill([victim])
    time.sleep(DOWN_S)
    victim.start(join=cluster.serving())
    victim.wait_ready()


def _stop(cluster: Cluster, victim: Node) -> None:
    del cluster
    victim.pause()
    time.sleep(STOPPED_S)
    victim.resume()


_kills, _stops = _repeated(_kill), _repeated(_stop)


def _broken(network: Namespaces) -> Trouble:
    def trouble(cluster: Cluster, seconds: float, rng: random.Random) -> None:
        del cluster, rng
        network.cut_links([(1, 2)])
        time.sleep(seconds)
        network.mend_all()

    return trouble


def _parted(network: Namespaces) -> Trouble:
    def trouble(cluster: Cluster, seconds: float, rng: random.Random) -> None:
        del cluster, rng
        network.cut(*SIDES)
        time.sleep(seconds)
        network.mend_all()

    return trouble


class Work:
    """Clients at work: at each node two that change counters, a writer and a reader of pairs, and two of groups."""

    def __init__(self, nodes: Sequence[Node], prefix: str, seed: int) -> None:
        self.tally = Tally()
        self.nodes = nodes
        self.counters = Counters(self.tally, f"{prefix}:c", COUNTERS)
        self.pairs = Pairs(self.tally, f"{prefix}:p", len(nodes))
        self.groups = Groups(self.tally, f"{prefix}:g", GROUPS)
        self._seed = seed
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="transactions")

    @property
    def stopping(self) -> bool:
        """The clients are to end."""
        return self._stop.is_set()

    def __enter__(self) -> Work:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def compare(self, doors: Sequence[Node]) -> None:
        """Compares all keys at every node with what was acknowledged. For a cluster that is healed."""
        for door in doors:
            for book in (self.counters, self.pairs, self.groups):
                found = bulk.read(door, book.keys())
                if refused := next((value for value in found.values() if isinstance(value, ReplyError)), None):
                    self.tally.find(Fault.LOST, f"a GET in the end is refused through {door.name}: {refused}")
                    continue
                values = {key: value for key, value in found.items() if not isinstance(value, ReplyError)}
                book.settle(values, door.name)

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:  # noqa: BLE001, raised again in the end
            self._error = error

    async def _all(self) -> None:
        clients: list[Coroutine[Any, Any, None]] = []
        for number, node in enumerate(self.nodes):
            for kind in (self._count, self._count, self._write_pair, self._read_pair, self._add, self._read_group):
                rng = random.Random(f"{self._seed} {kind.__name__} {number} {len(clients)}")
                clients.append(self._repeat(kind, Door(self, node, rng), number, rng))
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client)

    async def _repeat(
        self,
        kind: Callable[[Door, int, random.Random], Coroutine[Any, Any, None]],
        door: Door,
        number: int,
        rng: random.Random,
    ) -> None:
        with door:
            while not self.stopping:
                if await door.connect():
                    await kind(door, number, rng)
                await asyncio.sleep(PAUSE_S)

    async def _count(self, door: Door, number: int, rng: random.Random) -> None:
        """Increases a counter by one, if nobody else changes it meanwhile."""
        del number
        counter: Counted = rng.choice(self.counters.items)
        requests = [("WATCH", counter.key), ("GET", counter.key)]
        if rng.random() < 0.5:
            replies = await door.ask(requests)
        else:
            replies = [reply for request in requests for reply in await door.ask([request])]
        if len(replies) < 2 or isinstance(replies[0], ReplyError) or isinstance(replies[1], ReplyError):
            await door.ask([("UNWATCH",)])
            return
        value = replies[1]
        assert value is None or isinstance(value, bytes)
        number = int(value or b"0") + 1
        reply = await door.execute([("SET", counter.key, number)])
        self.counters.end(counter, number, ending_of(reply), door.where)

    async def _write_pair(self, door: Door, number: int, rng: random.Random) -> None:
        """Sets both keys of its own pair."""
        del rng
        pair = self.pairs.take(number)
        value = self.pairs.begin(pair)
        reply = await door.execute([("SET", key, value) for key in pair.keys])
        if isinstance(reply, list) and reply != [b"OK", b"OK"]:
            self.tally.find(Fault.TORN, f"both SETs of {pair.keys[0]!r} are answered {reply!r} (through {door.where})")
        self.pairs.end(pair, ending_of(reply))

    async def _read_pair(self, door: Door, number: int, rng: random.Random) -> None:
        """Reads both keys of some pair, at one stroke."""
        del number
        pair = rng.choice(self.pairs.items[-2 * len(self.nodes) :])
        floor = pair.acknowledged
        if rng.random() < 0.5:
            reply = await door.execute([("GET", key) for key in pair.keys], changes=False)
        else:
            replies = await door.ask([("MGET", *pair.keys)])
            reply = replies[0] if replies else None
        if isinstance(reply, list):
            self.pairs.read(pair, floor, reply, door.where)

    async def _add(self, door: Door, number: int, rng: random.Random) -> None:
        """Increments all keys of a group."""
        del number
        group: Group = rng.choice(self.groups.items)
        floor = group.acknowledged
        reply = await door.execute([("INCR", key) for key in group.members])
        self.groups.end(group, floor, reply, door.where)
        await asyncio.sleep(PAUSE_S)

    async def _read_group(self, door: Door, number: int, rng: random.Random) -> None:
        """Reads all keys of a group."""
        del number
        group: Group = rng.choice(self.groups.items)
        floor = group.acknowledged
        reply = await door.execute([("GET", key) for key in group.members], changes=False)
        if isinstance(reply, list):
            self.groups.read(group, floor, reply, door.where)
        await asyncio.sleep(PAUSE_S)


class Door:
    """A connection to one node, or to another one while that node does not answer. Use as a context manager."""

    def __init__(self, work: Work, node: Node, rng: random.Random) -> None:
        self._work = work
        self._home = node
        self._node = node
        self._rng = rng
        self._client: AsyncClient | None = None

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The node that was asked last."""
        return self._node.name

    def close(self) -> None:
        """Drops the connection."""
        if self._client:
            self._client.close()
            self._client = None

    async def connect(self) -> bool:
        """Makes sure that there is a connection; False if there is none now."""
        if self._client is not None and self._client.ended:
            self.close()
        if self._client is None:
            running = [node for node in self._work.nodes if node.running]
            self._node = self._home if self._home.running else self._rng.choice(running)
            try:
                self._client = await AsyncClient.open(self._node.host, self._node.resp_port)
            except (DeadlineExceeded, OSError):
                await asyncio.sleep(BACK_OFF_S)
        return self._client is not None

    async def ask(self, requests: Sequence[Sequence[Argument]]) -> list[Reply]:
        """The replies to a pipeline; none if the connection broke."""
        if self._client is None:
            return []
        tally, began = self._work.tally, time.monotonic()
        try:
            replies = await self._client.pipeline(requests)
            text = next((str(reply) for reply in reversed(replies) if isinstance(reply, ReplyError)), "")
        except (DeadlineExceeded, OSError) as error:
            self.close()
            replies, text = [], type(error).__name__
        wait_s = time.monotonic() - began
        if not self._node.paused_since(began):
            tally.longest_wait_s = max(tally.longest_wait_s, wait_s)
            if wait_s >= DEADLINE_S:
                tally.find(Fault.HUNG, f"{requests[0][0]!r} through {self.where}: {wait_s:.1f} s")
        if text:
            tally.texts[NUMBERS.sub("N", text)[:70]] += 1
            await asyncio.sleep(BACK_OFF_S)
        return replies

    async def execute(self, requests: Sequence[Sequence[Argument]], changes: bool = True) -> Reply:
        """The reply to EXEC of a transaction. If the connection breaks, the outcome is unknown.

        Transactions that change keys are counted.
        """
        replies = await self.ask([("MULTI",), *requests, ("EXEC",)])
        reply = replies[-1] if replies else ReplyError("TIMEOUT the connection broke")
        if changes:
            self._work.tally.endings[ending_of(reply)] += 1
        if isinstance(reply, list):
            if failed := next((item for item in reply if isinstance(item, ReplyError)), None):
                self._work.tally.find(Fault.TORN, f"a part of EXEC is answered {failed} (through {self.where})")
        return reply
