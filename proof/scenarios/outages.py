"""Nodes are killed, paused, stopped and replaced under load.

The promise: no acknowledged write is lost, no read gets a wrong answer, no request hangs, and
afterwards every key has its acknowledged value and the right number of copies.
"""

from __future__ import annotations

import time

from proof import plant, verify
from proof.cluster import Cluster, Node
from proof.load import Load, LoadOptions
from proof.run import Run

NODES = 5
LOSSES = 2
"""How many nodes may fail at once with three copies of everything."""


def kill(run: Run) -> None:
    """Two nodes are killed at the same time, then two others. Then all are started again."""
    rng = run.random()
    with run.cluster(NODES) as cluster, _load(run, cluster) as load:
        for _ in range(run.rounds):
            time.sleep(run.seconds)
            shuffled = rng.sample(cluster.nodes, NODES)
            for victims in (shuffled[:LOSSES], shuffled[LOSSES : 2 * LOSSES]):
                run.report.step(f"kill -9 of {_names(victims)}")
                cluster.kill(victims)
                cluster.wait_healed()
                run.report.step("healed")
                time.sleep(run.seconds)
            _restart(run, cluster, shuffled[: 2 * LOSSES])
        _settle(run, cluster, load, "kill")


def pause(run: Run) -> None:
    """Two nodes are paused and go on later; then two others."""
    rng = run.random()
    with run.cluster(NODES) as cluster, _load(run, cluster) as load:
        for _ in range(run.rounds):
            time.sleep(run.seconds)
            victims = rng.sample(cluster.nodes, LOSSES)
            run.report.step(f"SIGSTOP of {_names(victims)} for {run.pause_s:.0f} s")
            for victim in victims:
                victim.pause()
            time.sleep(run.pause_s)
            for victim in victims:
                victim.resume()
            run.report.step("SIGCONT")
            cluster.wait_healed()
            run.report.step("healed")
        time.sleep(run.seconds)
        _settle(run, cluster, load, "pause")


def terminate(run: Run) -> None:
    """Two nodes are stopped in order at the same time, then two others. Then all are started again."""
    rng = run.random()
    with run.cluster(NODES) as cluster, _load(run, cluster) as load:
        for _ in range(run.rounds):
            time.sleep(run.seconds)
            shuffled = rng.sample(cluster.nodes, NODES)
            for victims in (shuffled[:LOSSES], shuffled[LOSSES : 2 * LOSSES]):
                _leave(run, victims)
                cluster.wait_healed()
                run.report.step("healed")
                time.sleep(run.seconds)
            _restart(run, cluster, shuffled[: 2 * LOSSES])
        _settle(run, cluster, load, "term")


def rolling(run: Run) -> None:
    """Every node is replaced by a new one, one after the other."""
    with run.cluster(NODES) as cluster, _load(run, cluster) as load:
        for old in list(cluster.nodes):
            (new,) = cluster.grow(1)
            cluster.wait_healed()
            run.report.step(f"{new.name} has joined, {old.name} leaves")
            _leave(run, [old])
            cluster.wait_healed()
        run.report.step("all nodes are replaced")
        time.sleep(run.seconds)
        _settle(run, cluster, load, "rolling")


def _load(run: Run, cluster: Cluster) -> Load:
    return Load(cluster.running, LoadOptions(seed=run.seed))


def _leave(run: Run, nodes: list[Node]) -> None:
    run.report.step(f"SIGTERM of {_names(nodes)}")
    for node in nodes:
        node.terminate()
    for node in nodes:
        code = node.wait_exit()
        run.report.check(f"{node.name} leaves with exit code 0", code == 0, f"exit code {code}")


def _restart(run: Run, cluster: Cluster, nodes: list[Node]) -> None:
    run.report.step(f"start of {_names(nodes)}")
    cluster.launch(nodes)
    cluster.wait_healed()
    run.report.step("healed")
    time.sleep(run.seconds)


def _settle(run: Run, cluster: Cluster, load: Load, title: str) -> None:
    """Ends the load, and compares all keys with what was acknowledged."""
    load.stop()
    load.report(run.report)
    if run.planted_loss:
        plant.check_noticed(run.report, cluster, load.ledger)
    else:
        calm = verify.check_calm(run.report, cluster)
        existing = verify.check_ledgers(run.report, cluster, load.ledger)
        verify.check_copies(run.report, cluster, existing + calm)
    run.report.table(title)


def _names(nodes: list[Node]) -> str:
    return " and ".join(node.name for node in nodes)
