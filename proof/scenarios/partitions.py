"""Ten kinds of partition, each on its own cluster, with clients before, during and after."""

from __future__ import annotations

import time
from collections.abc import Sequence

from proof.cluster import Cluster, Node
from proof.network import Namespaces
from proof.partitions import KINDS, NODES, Kind
from proof.record import Situation
from proof.run import Run
from proof.watch import Watch, WatchOptions


def partitions(run: Run) -> None:
    """The kinds of `--kinds`, or of `run.kinds`; `long` only with `--long`."""
    if missing := Namespaces.unavailable():
        run.report.skip("partitions between network namespaces", missing)
        return
    for name in run.kinds:
        if name == "long" and not run.long_s:
            run.report.skip("the long partition", "runs only with --long SECONDS")
            continue
        for number in range(run.rounds):
            seconds = run.long_s if name == "long" else run.partition_s
            watched(run, KINDS[name], seconds, f"{name}, round {number + 1}" if run.rounds > 1 else name)


def one_link(run: Run) -> None:
    """One of the ten links is blocked. All writers are at one end of the link; readers are at all nodes."""
    if missing := Namespaces.unavailable():
        run.report.skip("one blocked link", missing)
        return
    options = WatchOptions(pause_s=0.001, prefix="one-link", seed=run.seed)
    for number in range(run.rounds):
        name = f"one link, all writes at node 1, round {number + 1}"
        watched(run, KINDS["one-link"], run.partition_s, name, options, writers_at=[1])


def watched(
    run: Run,
    kind: Kind,
    seconds: float,
    name: str,
    options: WatchOptions | None = None,
    writers_at: Sequence[int] = (),
) -> None:
    """One partition, with clients before, during and after it. Then every key is compared at every node."""
    network = Namespaces(NODES)
    with run.cluster(NODES, network) as cluster:
        sides = [[cluster.nodes[index - 1] for index in side] for side in kind.sides]
        writers: list[Node] | None = [cluster.nodes[index - 1] for index in writers_at] or None
        with Watch(sides, options or WatchOptions(prefix=kind.name, seed=run.seed), writers) as watch:
            time.sleep(run.seconds / 3)
            watch.enter(Situation.DURING)
            run.report.step(f"{name}: begins, for {seconds:.0f} s")
            kind.trouble(network, seconds, run.random())
            watch.enter(Situation.HEALING)
            network.mend_all()
            _heal(run, cluster, name)
            watch.enter(Situation.AFTER)
            time.sleep(run.seconds / 2)
        watch.compare(cluster.nodes)
        watch.report(run.report, name, kind.may)
        run.report.table(f"partitions: {name}")


def _heal(run: Run, cluster: Cluster, name: str) -> None:
    began = time.monotonic()
    cluster.wait_healed()
    run.report.step(f"{name}: healed {time.monotonic() - began:.1f} s after its end")
