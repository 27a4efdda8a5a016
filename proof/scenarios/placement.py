"""Placement: copies are spread evenly, and move only when a node joins or leaves."""

from __future__ import annotations

import re

from proof.cluster import Cluster, Node
from proof.run import Run

NODES = 5
KEYS = 5_000
KEY_SHARE_TOLERANCE = 0.10
SHARD_SHARE_TOLERANCE = 0.05
MOVE_TOLERANCE = 0.02

Table = dict[tuple[str, int], frozenset[str]]
"""The replicas of each shard, by keyspace and number."""


def placement(run: Run) -> None:
    """`salp fill` and `salp stats` on five nodes; then a sixth node joins and leaves."""
    with run.cluster(NODES) as cluster:
        first = cluster.nodes[0]
        filled = cluster.command("fill", "--count", str(KEYS), "--url", _url(first))
        run.report.check("`salp fill` exits 0", filled.returncode == 0, filled.stderr.strip())
        _check_sums(run, cluster, first)
        _check_shares(run, first)
        before = _table(first)
        (sixth,) = cluster.grow(1)
        cluster.wait_healed()
        run.report.step("a sixth node is in")
        _check_moves(run, before, _table(first), sixth.name)
        _check_sums(run, cluster, first)
        left = cluster.command("leave", sixth.name, "--url", _url(first))
        run.report.check("`salp leave` exits 0", left.returncode == 0, left.stderr.strip())
        sixth.wait_exit()
        cluster.wait_healed()
        run.report.step("the sixth node is gone")
        run.report.check("every replica is back where it was", _table(first) == before)
        _check_sums(run, cluster, first)
        run.report.table("placement")


def _url(node: Node) -> str:
    return f"http://{node.host}:{node.http_port}"


def _table(node: Node) -> Table:
    shards = node.ask("/shards")
    return {(shard["keyspace"], shard["shard"]): frozenset(shard["replicas"]) for shard in shards}


def _check_sums(run: Run, cluster: Cluster, door: Node) -> None:
    """The last line of `salp stats`, and the same over HTTP."""
    copies = KEYS * cluster.replicas
    total = door.ask("/stats")["sum"]
    right = total["keys_primary"] == KEYS and total["keys_held"] == copies
    run.report.check(f"/stats sums up to {KEYS} keys and {copies} copies", right, repr(total))
    shown = cluster.command("stats", "--url", _url(door))
    last = shown.stdout.strip().splitlines()[-1:] or [""]
    numbers = {
        int(number) for number in re.findall(r"\d+", re.sub(r"(?<=\d)[,_ ](?=\d{3})", "", last[0]))
    }
    run.report.check("`salp stats` ends with these sums", {KEYS, copies} <= numbers, last[0])


def _check_shares(run: Run, door: Node) -> None:
    members = door.ask("/nodes")
    for field, tolerance in (
        ("keys_primary", KEY_SHARE_TOLERANCE),
        ("shards_primary", SHARD_SHARE_TOLERANCE),
    ):
        even = sum(member[field] for member in members) / NODES
        worst = max(abs(member[field] - even) / even for member in members)
        run.report.count(f"{field}: farthest from even", f"{worst:.1%}")
        run.report.check(
            f"{field} within {tolerance:.0%} of even", worst <= tolerance, f"{worst:.1%}"
        )


def _check_moves(run: Run, before: Table, after: Table, newcomer: str) -> None:
    gained = [name for shard in before for name in after[shard] - before[shard]]
    replicas = sum(len(names) for names in before.values())
    share, limit = len(gained) / replicas, 1 / (NODES + 1) + MOVE_TOLERANCE
    run.report.count("replicas that moved", f"{share:.1%}")
    run.report.count("of them not to the sixth node", sum(name != newcomer for name in gained))
    run.report.check(f"at most {limit:.1%} of the replicas move", share <= limit, f"{share:.1%}")
