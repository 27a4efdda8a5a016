"""Clusters that did not know each other meet: no key is lost, no data is mixed, no deleted key comes back.

First, an empty node meets a node with data: it must not erase the data. Then clusters that both have data meet, with
many keys and with deletes.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from proof import bulk, verify
from proof.cluster import NO_ANSWER, Cluster, Node, Timeout, wait_for
from proof.run import Run

HELD = 2_000
WRITTEN = 1_500
PATIENCE_S = 30.0
MEMORY_S = 45.0
"""How long freed memory may take to go back."""
MEMORY_SLACK_BYTES = 1 << 20
RESIDENT_GROWTH_LEFT = 0.35
"""What the allocator may keep of the memory that the data had taken."""


def two_bad_cases(run: Run) -> None:
    """A node with data meets an empty node, dialled from either side; then clusters with data meet."""
    _holder_is_joined(run, HELD)
    _holder_joins(run)
    _writers_meet(run)
    _holder_is_joined(run, run.keys)
    _deletes(run)
    run.report.table("two bad cases")


def _holder_is_joined(run: Run, count: int) -> None:
    with run.cluster(1) as cluster:
        bulk.write(cluster.nodes[0], _pairs("held", count))
        began = time.monotonic()
        cluster.grow(1)
        cluster.wait_healed()
        run.report.count(f"{count:,} keys on both after", f"{time.monotonic() - began:.1f} s")
        _check_all(run, cluster, dict(_pairs("held", count)))


def _holder_joins(run: Run) -> None:
    with run.cluster(0) as cluster:
        empty, holder = _islands(cluster, 2)
        bulk.write(holder, _pairs("held", HELD))
        _meet(run, empty, holder)
        cluster.wait_healed()
        _check_all(run, cluster, dict(_pairs("held", HELD)))


def _writers_meet(run: Run) -> None:
    """Three clusters with data refuse each other, and each goes on with its own keys."""
    with run.cluster(0) as cluster, ThreadPoolExecutor() as pool:
        islands = _islands(cluster, 3)
        writers = [pool.submit(_write_slowly, island) for island in islands]
        time.sleep(0.5)
        for other in islands[1:]:
            _meet(run, islands[0], other)
        for writer in writers:
            writer.result()
        for island in islands:
            own = dict(_pairs(island.name, WRITTEN))
            found = bulk.read(island, own)
            wrong = [f"{key!r} reads {found[key]!r}" for key in own if found[key] != own[key]]
            run.report.check_none(f"{island.name} goes on with its own keys", wrong)
            others = dict(pair for other in islands if other is not island for pair in _pairs(other.name, WRITTEN))
            mixed = [repr(key) for key, answer in bulk.read(island, others).items() if answer is not None]
            run.report.check_none(f"{island.name} has no key of another cluster", mixed)


def _deletes(run: Run) -> None:
    """Keys are deleted while one node with copies of them is paused; then all keys are deleted."""
    with run.cluster(3) as cluster:
        door, _, sleeper = cluster.nodes
        kept, deleted = dict(_pairs("kept", run.keys // 2)), dict(_pairs("gone", run.keys // 2))
        _warm_up(cluster)
        before = [(node, _memory(node), node.resident_bytes()) for node in cluster.nodes]
        bulk.write(door, {**kept, **deleted}.items())
        full = {node.name: node.resident_bytes() for node in cluster.nodes}
        sleeper.pause()
        cluster.wait_healed()
        bulk.delete(door, deleted, PATIENCE_S)
        sleeper.resume()
        cluster.wait_healed()
        run.report.step(f"{len(deleted):,} keys are deleted, {sleeper.name} is back")
        for node in cluster.nodes:
            returned = [
                repr(key) for key, answer in bulk.read(node, deleted).items() if answer is not None
            ]
            run.report.check_none(f"no deleted key is back at {node.name}", returned)
        _check_all(run, cluster, kept)
        bulk.delete(door, kept)
        verify.check_copies(run.report, cluster, 0)
        for node, memory, resident in before:
            _check_memory(run, node, memory, resident, full[node.name])


def _pairs(prefix: str, count: int) -> list[tuple[bytes, bytes]]:
    return [(f"{prefix}:{n}".encode(), f"{prefix}={n}".encode()) for n in range(count)]


def _islands(cluster: Cluster, count: int) -> list[Node]:
    """Nodes without a node to join, each a cluster of its own."""
    islands = [cluster.add() for _ in range(count)]
    for island in islands:
        island.start()
    for island in islands:
        island.wait_ready()
    return islands


def _meet(run: Run, door: Node, other: Node) -> None:
    body = f'{{"name": "{other.name}"}}'.encode()
    answer = door.request("POST", "/nodes", body)
    run.report.check(
        f"POST /nodes with {other.name} is accepted", answer.status in (200, 201, 202, 204)
    )


def _write_slowly(island: Node) -> None:
    """Writes in small batches, so that the meeting happens in between."""
    pairs = _pairs(island.name, WRITTEN)
    for start in range(0, WRITTEN, 10):
        bulk.write(island, pairs[start : start + 10], PATIENCE_S)
        time.sleep(0.01)


def _check_all(run: Run, cluster: Cluster, expected: dict[bytes, bytes]) -> None:
    for node in cluster.nodes:
        found = bulk.read(node, expected)
        wrong = [f"{key!r} reads {found[key]!r}" for key in expected if found[key] != expected[key]]
        run.report.check_none(f"all {len(expected):,} keys are correct at {node.name}", wrong)
    verify.check_copies(run.report, cluster, len(expected))


def _warm_up(cluster: Cluster) -> None:
    """Touches every shard once, so that what is allocated once is part of the baseline."""
    pairs = _pairs("warm", 20_000)
    bulk.write(cluster.nodes[0], pairs)
    bulk.delete(cluster.nodes[0], [key for key, _ in pairs])
    time.sleep(1)


def _memory(node: Node) -> int:
    (own,) = (member for member in node.ask("/nodes") if member["name"] == node.name)
    return int(own["memory_bytes"])


def _check_memory(run: Run, node: Node, memory: int, resident: int, full: int) -> None:
    """The memory that the node reports and the memory that the kernel reports must be close to their first values."""
    memory_limit = memory + memory // 10 + MEMORY_SLACK_BYTES
    resident_limit = (
        resident + RESIDENT_GROWTH_LEFT * max(0, full - resident) + 4 * MEMORY_SLACK_BYTES
    )

    def back() -> bool:
        try:
            return _memory(node) <= memory_limit and node.resident_bytes() <= resident_limit
        except NO_ANSWER:
            return False

    try:
        wait_for("memory to be given back", back, MEMORY_S)
        fine = True
    except Timeout:
        fine = False
    now = f"{_memory(node):,} B said, {node.resident_bytes():,} B resident"
    run.report.count(f"{node.name}: memory empty, full, empty", f"{resident:,} {full:,} {now}")
    run.report.check(
        f"{node.name}: memory is freed after all keys are deleted", fine, f"{memory:,} B before, {now}"
    )
