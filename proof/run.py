"""The parameters of a scenario: the binary, durations, and the report."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proof.cluster import Cluster
from proof.network import Loopback, Namespaces
from proof.report import Report

GATE_KINDS = ("halves", "one-way", "one-link", "ring", "flapping", "loss")


@dataclass
class Run:
    """One run of one or more scenarios."""

    binary: Path
    seed: int = 1
    seconds: float = 3.0
    """How long the load goes on between two events."""
    rounds: int = 1
    pause_s: float = 30.0
    cut_s: float = 12.0
    """How long a partition lasts. Longer than the tick time, so that both sides notice it."""
    partition_s: float = 7.0
    """How long each kind of partition lasts. Longer than the tick time."""
    long_s: float = 0.0
    """How long the long partition lasts. 0: it is left out."""
    kinds: Sequence[str] = GATE_KINDS
    """Kinds of partition. Each gets its own cluster."""
    down_s: float = 3.0
    """How long a restarted node is down."""
    stop_s: float = 7.0
    """How long a node is paused in `pause-resume`."""
    keys: int = 100_000
    planted_loss: bool = False
    report: Report = field(default_factory=Report)

    def random(self) -> random.Random:
        """A new generator from the seed. Each scenario has its own, so that it can be repeated alone."""
        return random.Random(self.seed)

    @contextmanager
    def cluster(
        self,
        nodes: int,
        network: Loopback | Namespaces | None = None,
        replicas: int = 3,
        options: Sequence[str] = (),
        prefix: str = "salp",
    ) -> Iterator[Cluster]:
        """A healed cluster. Its logs are shown if anything fails."""
        failures_before = len(self.report.failures)
        cluster = Cluster(self.binary, network, replicas, options, prefix=prefix)
        completed = False
        try:
            if nodes:
                cluster.grow(nodes)
                cluster.wait_healed()
                self.report.step(f"{nodes} nodes are healed")
            yield cluster
            completed = True
        finally:
            cluster.close(failed=not completed or len(self.report.failures) > failures_before)
