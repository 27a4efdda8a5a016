"""Many commands through one node, pipelined in batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeAlias

from proof.cluster import Node
from proof.resp import Argument, DeadlineExceeded, Reply, ReplyError

BATCH = 256
RETRY_S = 0.05

Found: TypeAlias = "bytes | None | ReplyError"
"""What a GET may answer."""


def read(door: Node, keys: Iterable[bytes]) -> dict[bytes, Found]:
    """A plain GET of every key; errors are values."""
    found: dict[bytes, Found] = {}
    iterator = iter(keys)
    with door.client() as client:
        while batch := list(islice(iterator, BATCH)):
            replies = client.pipeline([("GET", key) for key in batch])
            for key, reply in zip(batch, replies, strict=True):
                if not (reply is None or isinstance(reply, (bytes, ReplyError))):
                    raise TypeError(f"GET answered {reply!r}")
                found[key] = reply
    return found


def write(door: Node, pairs: Iterable[tuple[bytes, bytes]], patience_s: float = 0) -> None:
    """SETs all pairs; see `send`."""
    send(door, (("SET", key, value) for key, value in pairs), patience_s)


def delete(door: Node, keys: Iterable[bytes], patience_s: float = 0) -> None:
    """DELs all keys; see `send`."""
    send(door, (("DEL", key) for key in keys), patience_s)


def send(door: Node, commands: Iterable[Sequence[Argument]], patience_s: float) -> None:
    """Sends all commands, and those that were refused again, for at most `patience_s` per batch.

    To be used for commands that may be repeated. Raises the refusal or the lost connection that
    outlasted the patience.
    """
    iterator = iter(commands)
    while batch := list(islice(iterator, BATCH)):
        limit = time.monotonic() + patience_s
        while batch:
            batch, error = _attempt(door, batch)
            if error is not None:
                if time.monotonic() >= limit:
                    raise error
                time.sleep(RETRY_S)


def _attempt(
    door: Node, batch: list[Sequence[Argument]]
) -> tuple[list[Sequence[Argument]], Exception | None]:
    """Sends a batch once; returns what must be sent again, and why."""
    try:
        with door.client() as client:
            replies: list[Reply] = client.pipeline(batch)
    except (DeadlineExceeded, OSError) as error:
        return batch, error
    refused = [(c, r) for c, r in zip(batch, replies, strict=True) if isinstance(r, ReplyError)]
    return [command for command, _ in refused], refused[0][1] if refused else None
