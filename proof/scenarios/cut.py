"""Partitions between network namespaces: in two halves, for 6 ms, and one-way.

With four nodes and three copies each half has a copy of everything. So both halves must answer for all earlier keys.
What one half acknowledges, the other half sees after the partition.
"""

from __future__ import annotations

import time

from proof import verify
from proof.cluster import Cluster
from proof.load import Load, LoadOptions
from proof.network import Namespaces
from proof.run import Run

NODES = 4
LEFT, RIGHT = (1, 2), (3, 4)
BLIP_S = 0.006


def cut(run: Run) -> None:
    """All three partitions, on one cluster."""
    if missing := Namespaces.unavailable():
        run.report.skip("cuts between network namespaces", missing)
        return
    network = Namespaces(NODES)
    with run.cluster(NODES, network) as cluster:
        _blip(run, cluster, network)
        _halves(run, cluster, network)
        _one_way(run, cluster, network)


def _blip(run: Run, cluster: Cluster, network: Namespaces) -> None:
    """No client may notice it: no error, and no member is reported as down."""
    before = _members(cluster)
    with Load(cluster.running, LoadOptions(prefix="blip", seed=run.seed)) as load:
        time.sleep(run.seconds / 2)
        began = time.monotonic()
        network.cut(LEFT, RIGHT)
        time.sleep(BLIP_S)
        network.mend_all()
        run.report.count("blip lasted", f"{(time.monotonic() - began) * 1000:.0f} ms")
        time.sleep(run.seconds)
    load.report(run.report, "blip")
    trouble = {name: count for name, count in load.tally.items() if not name.endswith("answered")}
    run.report.check("blip: no request fails", not trouble, repr(trouble))
    run.report.check("blip: the members stay as they were", _members(cluster) == before)
    verify.check_ledgers(run.report, cluster, load.ledger)
    run.report.table("cut: blip")


def _halves(run: Run, cluster: Cluster, network: Namespaces) -> None:
    """Each half has its own clients, which read what that half acknowledged."""
    nodes = cluster.nodes
    left = Load(lambda: nodes[:2], LoadOptions(4, 3, prefix="left", seed=run.seed))
    right = Load(lambda: nodes[2:], LoadOptions(4, 3, prefix="right", seed=run.seed))
    with left, right:
        time.sleep(run.seconds)
        run.report.step(f"a partition in halves, for {run.cut_s:.0f} s")
        network.cut(LEFT, RIGHT)
        time.sleep(run.cut_s * 2 / 3)
        marks = [load.acknowledged for load in (left, right)]
        time.sleep(run.cut_s / 3)
        for name, load, mark in (("left", left, marks[0]), ("right", right, marks[1])):
            during = load.acknowledged - mark
            run.report.count(f"{name}: acknowledged late in the partition", during)
            run.report.check(f"the {name} half answers during the partition", during > 0)
        # While the halves become one again, a node may still show what its own half knew, and a delete may be executed
        # where what it is to delete has not arrived.
        for load in (left, right):
            load.stop_readers()
            load.deletes_held = True
        network.mend_all()
        run.report.step("the network is repaired")
        cluster.wait_healed()
        run.report.step("healed")
        for load in (left, right):
            load.deletes_held = False
        time.sleep(run.seconds / 2)
    left.report(run.report, "left")
    right.report(run.report, "right")
    verify.check_ledgers(run.report, cluster, left.ledger, right.ledger)
    verify.check_calm(run.report, cluster)
    run.report.table("cut: halves")


def _one_way(run: Run, cluster: Cluster, network: Namespaces) -> None:
    """Packets from node 2 to node 1 are dropped; all other packets pass.

    There are no readers, and deletes only at the end: as long as two nodes disagree on who is there, their copies may
    differ.
    """
    with Load(cluster.running, LoadOptions(readers=0, prefix="one-way", seed=run.seed)) as load:
        load.deletes_held = True
        run.report.step(f"{cluster.nodes[0].name} gets no packets from {cluster.nodes[1].name}")
        network.deafen(1, [2])
        time.sleep(run.cut_s)
        network.mend_all()
        run.report.step("the network is repaired")
        cluster.wait_healed()
        run.report.step("healed")
        load.deletes_held = False
        time.sleep(run.seconds / 2)
    load.report(run.report, "one-way")
    verify.check_ledgers(run.report, cluster, load.ledger)
    verify.check_calm(run.report, cluster)
    run.report.table("cut: one-way")


def _members(cluster: Cluster) -> list[tuple[str, int, str]]:
    members = cluster.nodes[0].ask("/nodes")
    return sorted((member["name"], member["creation"], member["state"]) for member in members)
