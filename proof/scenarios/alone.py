"""Four of five nodes are killed: the last node answers for its own keys, and refuses others at once."""

from __future__ import annotations

import time

from proof import bulk
from proof.cluster import Cluster, Node
from proof.resp import ReplyError
from proof.run import Run
from proof.web import key_path

NODES = 5
KEYS = 2_000
HTTP_SAMPLE = 50
AT_ONCE_S = 1.0
"""The longest that a refusal may take."""


def alone(run: Run) -> None:
    """Four of five nodes are killed at the same instant."""
    with run.cluster(NODES) as cluster:
        survivor, *others = cluster.nodes
        pairs = {f"alone:{number}".encode(): b"value %d" % number for number in range(KEYS)}
        bulk.write(survivor, pairs.items())
        run.report.step(f"kill -9 of all but {survivor.name}")
        cluster.kill(others)
        _check_answers(run, survivor, pairs)
        _check_balance(run, cluster, survivor, pairs)
        run.report.table("alone")


def _check_answers(run: Run, survivor: Node, pairs: dict[bytes, bytes]) -> None:
    """Asks at once for every key, one by one, so that each refusal is timed."""
    wrong: list[str] = []
    slow: list[str] = []
    refused: list[bytes] = []
    with survivor.client() as client:
        for key, value in pairs.items():
            began = time.monotonic()
            try:
                answer = client.call("GET", key)
                if answer != value:
                    wrong.append(f"{key!r} reads {answer!r}")
            except ReplyError as error:
                refused.append(key)
                if not str(error).startswith("CLUSTERDOWN"):
                    wrong.append(f"{key!r} is refused with {error}")
            if (elapsed := time.monotonic() - began) > AT_ONCE_S:
                slow.append(f"{key!r} took {elapsed:.1f} s")
    run.report.count("keys", len(pairs))
    run.report.count("answered", len(pairs) - len(refused))
    run.report.count("refused", len(refused))
    run.report.check_none("answers are correct, refusals begin with CLUSTERDOWN", wrong)
    run.report.check_none("every reply comes at once", slow)
    statuses = [survivor.request("GET", key_path(key)) for key in refused[:HTTP_SAMPLE]]
    bad = [
        f"{a.status} {a.body[:60]!r}"
        for a in statuses
        if a.status != 503 or b"no_nodes" not in a.body
    ]
    run.report.check_none("HTTP refuses the same keys with 503 no_nodes", bad)


def _check_balance(run: Run, cluster: Cluster, survivor: Node, pairs: dict[bytes, bytes]) -> None:
    """Three of five nodes have a copy of a shard, so the last node must have about three fifths of the keys."""
    held = sum(answer == pairs[key] for key, answer in bulk.read(survivor, pairs).items())
    share, even = held / len(pairs), cluster.replicas / NODES
    run.report.check(
        "the node answers for all keys that it holds",
        abs(share - even) < 0.1,
        f"{share:.0%} of the keys",
    )
