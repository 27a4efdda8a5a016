"""The moment in which a partition ends, seen by clients that use keys of their own side only."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence

from proof import stock
from proof.network import Namespaces
from proof.partitions import KINDS, NODES
from proof.record import Situation
from proof.run import Run
from proof.stock import Probe, Stock
from proof.watch import Watch, WatchOptions

SIDES = KINDS["halves"].sides
APPENDERS = WatchOptions(
    writers=0, lockers=0, counters=0, readers=0, appenders=3, texts_each=400, pause_s=0.001, prefix="heal-append"
)
MIN_ACKS = """[[keyspace]]
name = "default"
min_acks = 2
"""
WINDOW_KEYS = 4_000
"""How many keys each use has."""
WINDOW_S = 4.0
"""How long the keys are used after the end of the partition, in seconds."""
WINDOW_OTHERS = 20


def heal_append(run: Run) -> None:
    """While a partition ends, clients of both sides append to their own keys; once more with `min_acks`."""
    if missing := Namespaces.unavailable():
        run.report.skip("appends while a partition ends", missing)
        return
    _appends(run, "heal-append", ())
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
        settings.write(MIN_ACKS)
        settings.flush()
        _appends(run, "heal-append with min_acks = 2", ("--config", settings.name))


def _appends(run: Run, name: str, options: Sequence[str]) -> None:
    network = Namespaces(NODES)
    with run.cluster(NODES, network, options=options) as cluster:
        sides = [[cluster.nodes[index - 1] for index in side] for side in SIDES]
        with Watch(sides, APPENDERS) as watch:
            time.sleep(run.seconds / 3)
            for number in range(run.rounds):
                watch.enter(Situation.DURING)
                network.cut(*SIDES)
                time.sleep(run.partition_s)
                watch.enter(Situation.HEALING)
                network.mend_all()
                cluster.wait_healed()
                watch.enter(Situation.AFTER)
                run.report.step(f"{name}: round {number + 1} of {run.rounds} is healed")
                time.sleep(run.seconds / 3)
        watch.compare(cluster.nodes)
        watch.report(run.report, name, KINDS["halves"].may)
        run.report.table(name)


def heal_window(run: Run) -> None:
    """One side writes keys that the other side never uses, and uses them as fast as it can when the partition ends."""
    if missing := Namespaces.unavailable():
        run.report.skip("keys of one side while a partition ends", missing)
        return
    for number in range(run.rounds):
        network = Namespaces(NODES)
        with run.cluster(NODES, network) as cluster:
            network.cut(*SIDES)
            time.sleep(run.partition_s)
            keys, door = Stock("window", WINDOW_KEYS, run.seed + number), cluster.nodes[SIDES[1][1] - 1]
            filled = keys.fill(door)
            run.report.step(f"{filled:,} keys are acknowledged at {door.name}, on the side of three")
            with Probe(keys, door, reads=WINDOW_OTHERS, others=WINDOW_OTHERS, pause_s=0) as probe:
                network.mend_all()
                time.sleep(WINDOW_S)
                cluster.wait_healed()
            stock.report(run.report, "heal-window", [probe])
            run.report.check_none("heal-window: in the end all keys are as acknowledged", keys.compare(cluster.nodes))
            run.report.table("heal-window")
