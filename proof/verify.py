"""The final comparison: reads every key through every node, and counts every copy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from proof import bulk
from proof.cluster import NO_ANSWER, Cluster, Node, Timeout, wait_for
from proof.ledger import Ledger
from proof.report import Report
from proof.resp import ReplyError
from proof.web import key_path

COUNTS_S = 15.0
"""How long the statistics may lag behind the data."""
HTTP_SAMPLE = 100
CALM_KEYS = 100
"""How many keys `check_calm` writes through each node."""


@dataclass
class Comparison:
    """The answers of all nodes, compared with what was acknowledged."""

    compared: int = 0
    existing: dict[bytes, bytes] = field(default_factory=dict)
    """The keys that the first node has."""
    faulty: dict[bytes, str] = field(default_factory=dict)
    """The keys whose value differs from the acknowledged one, with the first finding."""
    differing: dict[bytes, str] = field(default_factory=dict)
    """The keys for which two nodes give different answers that the ledger both allows."""


def compare(doors: Sequence[Node], ledgers: Sequence[Ledger]) -> Comparison:
    """Reads every key of all ledgers through every node.

    A node answers from its own copy where it has one, so that asking all of them reads all copies.
    """
    expected = {key: (ledger, ledger.expect(key)) for ledger in ledgers for key in ledger}
    result = Comparison(compared=len(expected))
    answers = {door.name: bulk.read(door, expected) for door in doors}
    first = answers[doors[0].name]
    for door, found in answers.items():
        for key, (ledger, expectation) in expected.items():
            answer = found[key]
            if isinstance(answer, ReplyError):
                result.faulty.setdefault(key, f"{key!r} is refused by {door}: {answer}")
            elif fault := ledger.fault(expectation, answer):
                result.faulty.setdefault(key, f"{fault} (through {door})")
            elif answer != first[key]:
                result.differing.setdefault(key, f"{key!r} differs at {door} and {doors[0].name}")
    result.existing = {key: answer for key, answer in first.items() if isinstance(answer, bytes)}
    return result


def check_ledgers(report: Report, cluster: Cluster, *ledgers: Ledger) -> int:
    """Checks what all serving nodes answer; returns how many keys exist."""
    doors = cluster.serving()
    result = compare(doors, ledgers)
    report.count("keys compared", result.compared)
    report.count("keys that exist", len(result.existing))
    report.count("nodes they were read through", len(doors))
    report.check_none(
        "every acknowledged key reads back exactly, through every node",
        list(result.faulty.values()),
    )
    report.check_none("all nodes give the same answers", list(result.differing.values()))
    report.check_none("HTTP and RESP give the same answers", _http_differences(doors, result.existing))
    return len(result.existing)


def check_copies(report: Report, cluster: Cluster, keys: int) -> None:
    """Checks that every node reports `keys` keys, and the right number of copies."""
    copies = min(cluster.replicas, len(cluster.serving()))
    limit = time.monotonic() + COUNTS_S
    for door in cluster.serving():
        seen = ""

        def right(door: Node = door) -> bool:
            nonlocal seen
            seen = _count_fault(door, keys, copies)
            return not seen

        with suppress(Timeout):
            wait_for(f"the counts of {door.name}", right, limit - time.monotonic())
        report.check(f"{keys:,} keys, {copies} copies of each, says {door.name}", not seen, seen)


def check_calm(report: Report, cluster: Cluster) -> int:
    """Checks that a healed cluster refuses nothing: writes at each node, and reads at the next one.

    Returns the number of keys that this left behind.
    """
    doors = cluster.serving()
    refused: list[str] = []
    for door, reader in zip(doors, doors[1:] + doors[:1], strict=True):
        pairs = {f"calm:{door.name}:{number}".encode(): b"calm" for number in range(CALM_KEYS)}
        try:
            bulk.write(door, pairs.items())
        except ReplyError as error:
            refused.append(f"SET through {door.name}: {error}")
            continue
        for key, answer in bulk.read(reader, pairs).items():
            if answer != pairs[key]:
                refused.append(f"{key!r} through {reader.name}: {answer!r}")
    report.check_none("a healed cluster answers everything", refused)
    return CALM_KEYS * len(doors)


def _http_differences(doors: Sequence[Node], existing: Mapping[bytes, bytes]) -> list[str]:
    found: list[str] = []
    sample = list(existing)[:: max(1, len(existing) // HTTP_SAMPLE)]
    for number, key in enumerate(sample):
        door = doors[number % len(doors)]
        answer = door.request("GET", key_path(key))
        if answer.status != 200 or answer.body != existing[key]:
            found.append(f"{key!r} through {door.name}: {answer.status} {answer.body[:40]!r}")
    return found


def _count_fault(door: Node, keys: int, copies: int) -> str:
    try:
        total, shards = door.ask("/stats")["sum"], door.ask("/shards")
    except NO_ANSWER as error:
        return repr(error)
    short = [shard for shard in shards if len({*shard["ready"]} & {*shard["replicas"]}) < copies]
    facts = {
        "keys as primary": (total["keys_primary"], keys),
        "keys held": (total["keys_held"], keys * copies),
        "keys of all shards": (sum(shard["keys"] for shard in shards), keys),
        "shards short of ready copies": (len(short), 0),
    }
    return "; ".join(
        f"{name}: {found}, not {right}" for name, (found, right) in facts.items() if found != right
    )
