"""Restarts: of a node that is cut off, of several nodes at the same time, in order, and of all nodes at once.

A restarted node has lost its memory. It must refuse a request until it has the data again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from proof import stock, verify
from proof.cluster import Cluster, Node, Timeout, wait_for
from proof.network import Namespaces
from proof.partitions import NODES
from proof.record import Finding, May, Situation, may
from proof.run import Run
from proof.stock import Probe, Stock
from proof.watch import Watch, WatchOptions

KEYS = 600
"""How many keys each use has."""
ALONE_S = 12.0
"""How long a restarted node is cut off, in seconds: longer than `--form-after` where that is set."""
OWN_KEYS = 200
"""How many keys are written through a node that is cut off."""
BACK_S = 4.0
"""How long a restarted node gets requests, in seconds."""
STARTING_S = 2.0
STARTING_ROUNDS = 3
"""The least number of rounds: two starting nodes do not meet at the critical moment each time."""
WAITING = 10
"""How many connections wait at the paused node."""
SENDING_S = 0.3
"""How long it may take to send their requests, in seconds."""
SAID_S = 5.0
"""How long a log line may take, in seconds."""

SAYS_EMPTY = re.compile(r"\b(empty|new cluster)\b", re.IGNORECASE)
"""A word in the log of a cluster that has lost all its data."""

ORDERLY: May = {Situation.DURING: may(frozenset({Finding.REFUSED}))}
"""The allowed findings during orderly restarts: no request may have an unknown outcome."""


def isolated_restart(run: Run) -> None:
    """A node is killed and restarted while it is cut off. Its `--join` names all others."""
    _alone(run, "isolated-restart", [1])


def restart_each_alone(run: Run) -> None:
    """The same for every node, one after the other."""
    _alone(run, "restart-each-alone", range(1, NODES + 1))


def _alone(run: Run, name: str, indexes: Sequence[int]) -> None:
    if missing := Namespaces.unavailable():
        run.report.skip("a restart of a node that is cut off", missing)
        return
    network = Namespaces(NODES)
    with run.cluster(NODES, network) as cluster:
        for number in range(run.rounds):
            for index in indexes:
                _restart_alone(run, cluster, network, cluster.nodes[index - 1], f"{name}, round {number + 1}")
        run.report.table(name)


def _restart_alone(run: Run, cluster: Cluster, network: Namespaces, node: Node, name: str) -> None:
    others = [other for other in cluster.nodes if other is not node]
    keys = Stock("alone", KEYS, run.seed)
    keys.fill(others[0])
    network.cut([node.index], [other.index for other in others])
    cluster.kill([node])
    time.sleep(1)
    node.start(join=others)
    run.report.step(f"{name}: {node.name} is restarted while it is cut off")
    with Probe(keys, node, others=2, pause_s=0.02) as probe:
        time.sleep(ALONE_S)
        own = _written(node)
        network.mend_all()
        cluster.wait_healed()
        run.report.step(f"{name}: healed")
        time.sleep(run.seconds / 2)
    stock.report(run.report, name, [probe])
    run.report.count(f"{name}: writes acknowledged by {node.name}, cut off", len(own))
    missing = [f"{key!r} at {door.name}" for door in cluster.nodes for key in own if _get(door, key) != b"own"]
    run.report.check_none(f"{name}: all keys that the cut-off node acknowledged are there", missing)
    run.report.check_none(f"{name}: in the end all keys are as acknowledged", keys.compare(cluster.nodes))


def seed_restarts(run: Run) -> None:
    """The first node, which has no `--join`, is killed and restarted with the same command line."""
    with run.cluster(NODES) as cluster:
        node, door = cluster.nodes[0], cluster.nodes[2]
        for number in range(run.rounds):
            name = f"seed-restarts, round {number + 1}"
            keys = Stock("seed", KEYS, run.seed + number)
            keys.fill(door)
            cluster.kill([node])
            cluster.wait_healed()
            time.sleep(run.down_s)
            with Probe(keys, node, others=2) as probe:
                node.start_again()
                time.sleep(BACK_S)
                cluster.wait_healed()
            stock.report(run.report, name, [probe])
            run.report.check_none(f"{name}: in the end all keys are as acknowledged", keys.compare(cluster.nodes))
        run.report.table("seed-restarts")


def starting_node(run: Run) -> None:
    """Two nodes are killed and restarted at the same time, and one of them joins through the other."""
    with run.cluster(NODES) as cluster:
        first, second, *_, last = cluster.nodes
        for number in range(max(run.rounds, STARTING_ROUNDS)):
            name = f"starting-node, round {number + 1}"
            keys = Stock("starting", KEYS, run.seed + number)
            keys.fill(cluster.nodes[2])
            cluster.kill([first, last])
            cluster.wait_healed()
            with ExitStack() as stack:
                probes = [stack.enter_context(Probe(keys, node, reads=50, pause_s=0.003)) for node in cluster.nodes]
                first.start(join=[second])
                last.start(join=[first])
                time.sleep(STARTING_S)
                cluster.wait_healed()
            stock.report(run.report, name, probes)
            run.report.check_none(f"{name}: in the end all keys are as acknowledged", keys.compare(cluster.nodes))
        run.report.table("starting-node")


def pause_resume(run: Run) -> None:
    """A node is paused for longer than the tick time. Requests wait in its sockets; all keys are changed meanwhile."""
    with run.cluster(NODES) as cluster:
        node, door = cluster.nodes[0], cluster.nodes[1]
        for number in range(run.rounds):
            name = f"pause-resume, round {number + 1}"
            keys = Stock("paused", KEYS, run.seed + number)
            keys.fill(door)
            node.pause()
            paused = time.monotonic()
            time.sleep(max(0.0, run.stop_s - 1.5))
            filled = keys.fill(door)
            with ExitStack() as stack:
                probes = [stack.enter_context(Probe(keys, node, reads=50, others=10)) for _ in range(WAITING)]
                for probe in probes:
                    probe.wait_connected()
                time.sleep(max(SENDING_S, paused + run.stop_s - time.monotonic()))
                node.resume()
                run.report.step(f"{name}: {node.name} goes on; {filled:,} keys were changed meanwhile")
                time.sleep(run.seconds)
                cluster.wait_healed()
            stock.report(run.report, name, probes)
            run.report.check_none(f"{name}: in the end all keys are as acknowledged", keys.compare(cluster.nodes))
        run.report.table("pause-resume")


def rolling_restart(run: Run) -> None:
    """Every node is stopped in order and restarted, one after the other, under load.

    Its `--join` names the others, because the other nodes forget a node that left in order.
    """
    with run.cluster(NODES) as cluster:
        with Watch([cluster.nodes], WatchOptions(prefix="rolling", seed=run.seed)) as watch:
            time.sleep(run.seconds / 3)
            watch.enter(Situation.DURING)
            for node in cluster.nodes * run.rounds:
                node.terminate()
                code = node.wait_exit()
                run.report.check(f"{node.name} leaves with exit code 0", code == 0, f"exit code {code}")
                cluster.launch([node])
                cluster.wait_healed()
                run.report.step(f"{node.name} is back")
            watch.enter(Situation.AFTER)
            time.sleep(run.seconds / 3)
        watch.compare(cluster.nodes)
        watch.report(run.report, "rolling-restart", ORDERLY)
        run.report.table("rolling-restart")


def power_loss(run: Run) -> None:
    """All nodes are killed at once and restarted: the data is lost, the log says so, and the cluster works."""
    with run.cluster(NODES) as cluster:
        keys = Stock("power", KEYS, run.seed)
        keys.fill(cluster.nodes[2])
        logs = {node: node.log.stat().st_size for node in cluster.nodes}
        cluster.kill(cluster.nodes)
        began = time.monotonic()
        for node in cluster.nodes:
            node.start_again()
        cluster.wait_healed()
        run.report.step(f"all five are healed {time.monotonic() - began:.1f} s after their restart")
        held = {node.name: node.ask("/stats")["sum"]["keys_held"] for node in cluster.nodes}
        left = [f"{name} says {count} keys" for name, count in held.items() if count]
        run.report.check_none("power-loss: the cluster is empty", left)

        def said() -> list[str]:
            return [line for node, size in logs.items() for line in _lines(node.log, size) if SAYS_EMPTY.search(line)]

        # It is said once for all shards, up to a second after the first one.
        with suppress(Timeout):
            wait_for("a line about the empty cluster", said, SAID_S)
        lines = said()
        run.report.check("power-loss: a log says that the cluster starts empty", bool(lines), "no line with `empty`")
        if lines:
            run.report.step(f"log: {lines[0][:160]}")
        verify.check_calm(run.report, cluster)
        run.report.table("power-loss")


def _written(node: Node) -> list[bytes]:
    """The keys that a cut-off node acknowledges."""
    names = [b"own:%d" % number for number in range(OWN_KEYS)]
    with node.client() as client:
        replies = client.pipeline([("SET", key, "own") for key in names])
    return [key for key, reply in zip(names, replies, strict=True) if reply == b"OK"]


def _get(door: Node, key: bytes) -> object:
    with door.client() as client:
        (reply,) = client.pipeline([("GET", key)])
    return reply


def _lines(log: Path, size: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(size)
        return file.read().decode(errors="replace").splitlines()
