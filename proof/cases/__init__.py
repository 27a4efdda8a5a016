"""Small inputs that failed once. Each case sends its input to real nodes and compares the answer with the right one.

The right value is that of the standard or of redis-server 7.0, or the refusal that the docs name. A case that still
fails is *open*: it names its reason and the fault that is known. An open case with another fault is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proof.cluster import Cluster


class Skipped(Exception):
    """The case cannot be tried on this machine; the message says why."""


@dataclass(frozen=True)
class Open:
    """Why a case still fails."""

    reason: str
    fault: str
    """Text within the fault that is known. Any other fault is a failure."""


@dataclass(frozen=True)
class Case:
    """One input, and what is right."""

    name: str
    asked: str
    """The input and the right answer, in a few words."""
    fault: Callable[[Cluster], str]
    """Says how the answer differs from the right one, or nothing. It is given the cluster of three nodes."""
    open: Open | None = None
    own_nodes: bool = False
    """The case starts nodes of its own, so it may run beside the others."""
