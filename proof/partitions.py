"""The kinds of partition of five nodes, and what clients may see during each.

If every node still reaches every other one, directly or through a third node, clients may get refusals and timeouts but
no wrong answer. If the nodes are split into sides, this holds within each side; a side may lack what another side wrote
since the partition began. When the nodes report that they are healed, it holds for all nodes again, and no request may
fail.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from proof.network import Namespaces
from proof.record import NO_ANSWER, Finding, May, Operation, Situation, may

NODES = 5
ALL = tuple(range(1, NODES + 1))
LOST_PERCENT = 30
DELAY_MS = 40
FLAP_CUT_S, FLAP_WHOLE_S = (0.1, 6.5), (0.1, 1.0)
"""How long a flapping link is blocked (shorter and longer than the tick time), and how long it is open."""

Links = Sequence[tuple[int, int]]
Trouble = Callable[[Namespaces, float, random.Random], None]
"""Causes the fault for some seconds, and returns while the fault still lasts."""

UNIMPEDED: May = dict.fromkeys(Situation, {Operation.READ: frozenset({Finding.ACROSS})})
"""No request may fail. A write that is not acknowledged yet may be visible at one node and not at another one, also
without a partition (docs/consistency.md)."""
_TOGETHER = may() | {Operation.READ: NO_ANSWER | {Finding.ACROSS}}
CONNECTED: May = UNIMPEDED | {Situation.DURING: _TOGETHER, Situation.HEALING: _TOGETHER}
_APART = may() | {Operation.READ: NO_ANSWER | {Finding.APART, Finding.ACROSS}}
PARTED: May = UNIMPEDED | {Situation.DURING: _APART, Situation.HEALING: _APART}


@dataclass(frozen=True)
class Kind:
    """One kind of partition."""

    name: str
    trouble: Trouble
    may: May = field(default_factory=lambda: CONNECTED)
    sides: Sequence[Sequence[int]] = (ALL,)
    """The sides into which the nodes are split."""


def _links(links: Links) -> Trouble:
    def trouble(network: Namespaces, seconds: float, rng: random.Random) -> None:
        del rng
        network.cut_links(links)
        time.sleep(seconds)

    return trouble


def _all_but(kept: Links) -> Links:
    return [link for link in combinations(ALL, 2) if link not in kept]


def _between(left: Sequence[int], right: Sequence[int]) -> Links:
    return [(one, other) for one in left for other in right]


def _parted(name: str, left: Sequence[int], right: Sequence[int]) -> Kind:
    return Kind(name, _links(_between(left, right)), PARTED, (left, right))


def _one_way(network: Namespaces, seconds: float, rng: random.Random) -> None:
    del rng
    network.deafen(1, [2])
    time.sleep(seconds)


def _flapping(network: Namespaces, seconds: float, rng: random.Random) -> None:
    limit = time.monotonic() + seconds
    while (left := limit - time.monotonic()) > 0:
        network.cut([1], [2])
        time.sleep(min(left, rng.uniform(*FLAP_CUT_S)))
        network.mend_all()
        time.sleep(min(max(0.0, limit - time.monotonic()), rng.uniform(*FLAP_WHOLE_S)))


def _lossy(network: Namespaces, seconds: float, rng: random.Random) -> None:
    del rng
    network.lose(LOST_PERCENT)
    time.sleep(seconds)


def _delayed(network: Namespaces, seconds: float, rng: random.Random) -> None:
    del rng
    network.delay(DELAY_MS)
    time.sleep(seconds)


RING: Links = [(1, 2), (2, 3), (3, 4), (4, 5), (1, 5)]
BRIDGE: Links = [(1, 2), (1, 3), (2, 3), (3, 4), (3, 5), (4, 5)]

KINDS = {
    kind.name: kind
    for kind in (
        _parted("halves", (1, 2), (3, 4, 5)),
        _parted("alone", (1,), (2, 3, 4, 5)),
        Kind("one-way", _one_way),
        Kind("one-link", _links([(1, 2)])),
        Kind("ring", _links(_all_but(RING))),
        Kind("bridge", _links(_all_but(BRIDGE))),
        Kind("flapping", _flapping),
        Kind("loss", _lossy),
        Kind("delay", _delayed, UNIMPEDED),
        _parted("long", (1, 2), (3, 4, 5)),
    )
}
"""`long` is `halves` for minutes: longer than the nodes keep messages for each other."""
