"""A connection that gives replies as the bytes they came in, RESP2 and RESP3 alike."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence

from proof.resp import Argument, DeadlineExceeded, ProtocolError, encode

DEADLINE_S = 60.0
READ_BYTES = 1 << 18
LINES = b"+-:_,#("
"""Replies that are one line."""
TEXTS = b"$=!"
ARRAYS = b"*~>"


class _Incomplete(Exception):
    """More bytes are needed for the reply."""


def end_of(data: bytes | bytearray, at: int) -> int:
    """Where the reply that begins at `at` ends. Raises `_Incomplete`."""
    line_end = data.find(b"\r\n", at)
    if line_end < 0:
        raise _Incomplete
    kind, after = data[at], line_end + 2
    if kind in LINES:
        return after
    length = int(data[at + 1 : line_end])
    if length < 0:
        return after
    if kind in TEXTS:
        end = after + length + 2
        if len(data) < end:
            raise _Incomplete
        return end
    if kind in ARRAYS or kind == ord("%"):
        for _ in range(2 * length if kind == ord("%") else length):
            after = end_of(data, after)
        return after
    raise ProtocolError(f"not a reply: {bytes(data[at : at + 60])!r}")


def items(reply: bytes) -> list[bytes] | None:
    """What is in an array, a set or a map, as bytes; None for other replies, nil included."""
    if reply[0] not in ARRAYS and reply[0] != ord("%"):
        return None
    at = reply.index(b"\r\n") + 2
    found = []
    while at < len(reply):
        end = end_of(reply, at)
        found.append(reply[at:end])
        at = end
    return found


class RawClient:
    """A blocking connection. Use as a context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, commands: Iterable[Sequence[Argument]]) -> None:
        """Sends commands without waiting for their replies."""
        self._socket.sendall(b"".join(map(encode, commands)))

    def receive(self, count: int) -> list[bytes]:
        """So many replies. Raises `DeadlineExceeded` or `OSError`."""
        limit = time.monotonic() + DEADLINE_S
        replies: list[bytes] = []
        at = 0
        while len(replies) < count:
            try:
                end = end_of(self._buffer, at)
                replies.append(bytes(self._buffer[at:end]))
                at = end
            except _Incomplete:
                if time.monotonic() > limit:
                    raise DeadlineExceeded(f"{len(replies)} of {count} replies") from None
                data = self._socket.recv(READ_BYTES)
                if not data:
                    raise ConnectionResetError("closed by the server") from None
                self._buffer += data
        del self._buffer[:at]
        return replies

    def ask(self, *command: Argument) -> bytes:
        """One request, one reply."""
        self.send([command])
        return self.receive(1)[0]
