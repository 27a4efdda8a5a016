"""A small client of RESP2 and RESP3, blocking and asyncio, that never waits past its deadline.

Replies map to Python as they stand: bulk and simple strings to `bytes`, integers to `int`, nil to
`None`, arrays to `list`. What RESP3 adds maps to `Built` and, for doubles, to `float`. An error reply is a value,
`ReplyError`; `call` raises it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable, Sequence
from typing import TypeAlias

DEADLINE_S = 7.0
"""How long a request may take: the 5 s of the server, and a margin for a busy machine."""

READ_BYTES = 1 << 16

Argument: TypeAlias = "bytes | str | int"


class ReplyError(Exception):
    """An error reply: the server's clear refusal."""


class DeadlineExceeded(Exception):
    """No complete reply within the deadline. The connection cannot be used any more."""


class ProtocolError(Exception):
    """Bytes that are not RESP."""


class Built(list["Reply"]):
    """Values of RESP3 that are together more than an array: a map, a set, or text with its format.

    The keys and values of a map take turns.
    """

    def __init__(self, kind: str, values: list[Reply]) -> None:
        super().__init__(values)
        self.kind = kind


Reply: TypeAlias = "bytes | int | float | None | list[Reply] | ReplyError"


def encode(command: Sequence[Argument]) -> bytes:
    """One command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(command)]
    for argument in command:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


class _Incomplete(Exception):
    """More bytes are needed for the next reply."""


class Decoder:
    """Cuts a stream of bytes into replies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Adds bytes as they came from the socket."""
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data

    def replies(self, count: int) -> list[Reply]:
        """Takes out at most `count` complete replies."""
        found: list[Reply] = []
        while len(found) < count:
            start = self._at
            try:
                found.append(self._value())
            except _Incomplete:
                self._at = start
                break
        return found

    def _line(self) -> bytes:
        end = self._buffer.find(b"\r\n", self._at)
        if end < 0:
            raise _Incomplete
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _value(self) -> Reply:
        line = self._line()
        kind, rest = line[:1], line[1:]
        match kind:
            case b"+":
                return rest
            case b"-":
                return ReplyError(rest.decode(errors="replace"))
            case b":":
                return int(rest)
            case b"$":
                return self._bulk(int(rest))
            case b"*":
                length = int(rest)
                return None if length < 0 else [self._value() for _ in range(length)]
            case b"%" | b"~":
                length = int(rest) * (2 if kind == b"%" else 1)
                return Built(kind.decode(), [self._value() for _ in range(length)])
            case b"=":
                return Built("=", [self._bulk(int(rest))])
            case b",":
                return float(rest)
            case b"_":
                return None
            case _:
                raise ProtocolError(f"not a reply: {line[:60]!r}")

    def _bulk(self, length: int) -> bytes | None:
        if length < 0:
            return None
        end = self._at + length
        if len(self._buffer) < end + 2:
            raise _Incomplete
        data = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return data


class Client:
    """A blocking connection. Use as a context manager."""

    def __init__(self, host: str, port: int, deadline_s: float = DEADLINE_S) -> None:
        self._deadline_s = deadline_s
        self._decoder = Decoder()
        try:
            self._socket = socket.create_connection((host, port), timeout=deadline_s)
        except TimeoutError as error:
            raise DeadlineExceeded(f"connecting to {host}:{port}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def call(self, *command: Argument) -> Reply:
        """One request, one reply. Raises `ReplyError`, `DeadlineExceeded` or `OSError`."""
        (reply,) = self.pipeline([command])
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def pipeline(self, commands: Iterable[Sequence[Argument]]) -> list[Reply]:
        """Sends all commands at once and returns their replies in order, errors as values."""
        encoded = [encode(command) for command in commands]
        limit = time.monotonic() + self._deadline_s
        replies: list[Reply] = []
        try:
            self._socket.settimeout(self._deadline_s)
            self._socket.sendall(b"".join(encoded))
            while len(replies) < len(encoded):
                replies += self._decoder.replies(len(encoded) - len(replies))
                if len(replies) < len(encoded):
                    self._receive(limit)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{len(replies)} of {len(encoded)} replies") from error
        return replies

    def _receive(self, limit: float) -> None:
        left = limit - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError("closed by the server")
        self._decoder.feed(data)


class AsyncClient:
    """An asyncio connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder()

    @classmethod
    async def open(cls, host: str, port: int, deadline_s: float = DEADLINE_S) -> AsyncClient:
        """Connects. Raises `DeadlineExceeded` or `OSError`."""
        try:
            async with asyncio.timeout(deadline_s):
                return cls(*await asyncio.open_connection(host, port))
        except TimeoutError as error:
            raise DeadlineExceeded(f"connecting to {host}:{port}") from error

    def close(self) -> None:
        """Closes the connection without waiting for the other side."""
        self._writer.transport.abort()

    @property
    def ended(self) -> bool:
        """The server has closed the connection; what is sent now is not executed."""
        return self._reader.at_eof()

    async def call(self, *command: Argument, deadline_s: float = DEADLINE_S) -> Reply:
        """One request, one reply. Raises `ReplyError`, `DeadlineExceeded` or `OSError`."""
        (reply,) = await self.pipeline([command], deadline_s)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    async def pipeline(self, commands: Sequence[Sequence[Argument]], deadline_s: float = DEADLINE_S) -> list[Reply]:
        """Sends all commands at once and returns their replies in order, errors as values."""
        try:
            async with asyncio.timeout(deadline_s):
                self._writer.write(b"".join(map(encode, commands)))
                await self._writer.drain()
                return await self._replies(len(commands))
        except TimeoutError as error:
            raise DeadlineExceeded(str(commands[0][0])) from error

    async def _replies(self, count: int) -> list[Reply]:
        replies: list[Reply] = []
        while len(replies) < count:
            replies += self._decoder.replies(count - len(replies))
            if len(replies) < count:
                data = await self._reader.read(READ_BYTES)
                if not data:
                    raise ConnectionResetError("closed by the server")
                self._decoder.feed(data)
        return replies
