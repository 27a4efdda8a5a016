"""Clients that make a node hold as much as they can, all at once, beside a client that behaves.

What a node holds besides stored data has one bound (`--max-buffers`). So its memory grows by no more than that, the
client that behaves gets every reply and keeps its connection, and once all are gone the node holds nothing for them.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterable, Iterator

from proof.cluster import NO_ANSWER, Node, wait_for
from proof.resp import DeadlineExceeded, ReplyError, encode
from proof.run import Run

BUFFERS_BYTES = 256 << 20
"""The default of `--max-buffers`."""
VALUE_BYTES = 1 << 20
VALUES = 64
UNREAD_CLIENTS = 60
UNREAD_REQUESTS = 2_000
HALF_CLIENTS = 40
HALF_BYTES = 60 << 20
AHEAD_CLIENTS = 8
AHEAD_BYTES = 128 << 20
BATCH_CLIENTS = 8
BATCH_BYTES = 63_000_000
HOSTILE_S = 25.0
"""How long they go on: longer than a request waits for room."""
SETTLE_S = 60.0
PIECE_BYTES = 1 << 20
PAUSE_S = 0.002
"""Between two requests of the client that behaves."""


def buffers(run: Run) -> None:
    """The memory of every node stays within stored data and its buffers, and a client that behaves sees nothing."""
    with run.cluster(3, replicas=1) as cluster:
        node = cluster.nodes[0]
        with node.client() as client:
            for number in range(VALUES):
                client.call("SET", f"buffers:{number}", bytes(VALUE_BYTES))
        before = [each.resident_bytes() for each in cluster.nodes]
        _alone(run, node)
        behaving = Behaving(node)
        peaks = before
        with Hostile(node) as hostile:
            end = time.monotonic() + HOSTILE_S
            while time.monotonic() < end:
                hostile.push(0.1)
                peaks = [max(peak, each.resident_bytes()) for peak, each in zip(peaks, cluster.nodes, strict=True)]
        behaving.stop()
        _judge(run, behaving)
        for each, low, peak in zip(cluster.nodes, before, peaks, strict=True):
            growth = peak - low
            run.report.count(f"{each.name} had before, and grew by", f"{low >> 20} MiB, {growth >> 20} MiB")
            run.report.check(
                f"{each.name} grows by at most {BUFFERS_BYTES >> 20} MiB", growth <= BUFFERS_BYTES, f"{growth:,} bytes"
            )
        cut, refused = figure(node, "salp_clients_cut_total"), figure(node, "salp_buffer_refusals_total")
        run.report.count("clients cut, requests refused", f"{cut}, {refused}")
        run.report.check("clients that do not read are cut and counted", cut > 0)
        run.report.check("requests without room are refused and counted", refused > 0)
        for each in cluster.nodes:
            wait_for(f"{each.name} to hold nothing", lambda each=each: figure(each, "salp_buffer_bytes") == 0, SETTLE_S)
        run.report.check("once all clients are gone the buffers are empty", True)
        run.report.table("buffers")


def _alone(run: Run, node: Node) -> None:
    """The client that behaves, without the others: what its figures are to be compared with."""
    behaving = Behaving(node)
    time.sleep(3)
    behaving.stop()
    run.report.count("p99 of the client that behaves, alone", f"{behaving.p99_ms():.1f} ms")


def _judge(run: Run, behaving: Behaving) -> None:
    run.report.count("requests of the client that behaves", len(behaving.took_s))
    run.report.count("its p99 beside the others", f"{behaving.p99_ms():.1f} ms")
    run.report.check("the client that behaves was served", len(behaving.took_s) > 100)
    run.report.check_none("it has every reply, and its connection", behaving.faults)


def figure(node: Node, name: str) -> int:
    """A sample without labels of `/metrics`."""
    for line in node.request("GET", "/metrics").body.decode().splitlines():
        if line.startswith(name + " "):
            return int(line.split()[1])
    raise ValueError(f"{node.name} has no {name}")


class Behaving:
    """A client that writes and reads small values, one request at a time, in a thread of its own."""

    def __init__(self, node: Node) -> None:
        self.took_s: list[float] = []
        self.faults: list[str] = []
        self._node = node
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Ends it and waits for its thread."""
        self._ends.set()
        self._thread.join()

    def p99_ms(self) -> float:
        """Of all its requests so far."""
        took_s = sorted(self.took_s)
        return took_s[len(took_s) * 99 // 100] * 1000 if took_s else 0.0

    def _run(self) -> None:
        try:
            with self._node.client() as client:
                number = 0
                while not self._ends.is_set():
                    key, value = f"behaving:{number % 1000}", str(number).encode()
                    for command, wanted in ((("SET", key, value), b"OK"), (("GET", key), value)):
                        begun = time.monotonic()
                        reply = client.call(*command)
                        self.took_s.append(time.monotonic() - begun)
                        if reply != wanted:
                            self.faults.append(f"{command} is answered {reply!r}")
                    number += 1
                    time.sleep(PAUSE_S)
        except (ReplyError, DeadlineExceeded, *NO_ANSWER) as error:
            self.faults.append(repr(error))


class Hostile:
    """All that clients can do to fill a node. Each sends as much as it gets rid of, and none reads."""

    def __init__(self, node: Node) -> None:
        self._selector = selectors.DefaultSelector()
        self._connections: list[socket.socket] = []
        for number in range(UNREAD_CLIENTS):
            self._add(node.host, node.resp_port, _unread(number))
        for _ in range(HALF_CLIENTS):
            self._add(node.host, node.resp_port, _half())
        for _ in range(AHEAD_CLIENTS):
            self._add(node.host, node.resp_port, _ahead())
        for _ in range(BATCH_CLIENTS):
            self._add(node.host, node.http_port, _batch())

    def __enter__(self) -> Hostile:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for connection in self._connections:
            connection.close()

    def push(self, seconds: float) -> None:
        """Sends what can be sent, for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not self._selector.get_map():
                time.sleep(left)
            for key, _ in self._selector.select(left):
                connection, pieces = key.data
                self._send(connection, pieces)

    def _add(self, host: str, port: int, pieces: Iterable[bytes]) -> None:
        connection = socket.create_connection((host, port))
        connection.setblocking(False)
        self._connections.append(connection)
        self._selector.register(connection, selectors.EVENT_WRITE, (connection, _Pieces(pieces)))

    def _send(self, connection: socket.socket, pieces: _Pieces) -> None:
        try:
            if piece := pieces.rest():
                pieces.sent(connection.send(piece))
        except BlockingIOError:
            return
        except OSError:
            pieces.end()
        if not pieces.rest():
            # It has sent all, or was cut. Its socket stays open, and is not read.
            self._selector.unregister(connection)


class _Pieces:
    """What one of them sends, piece by piece."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def rest(self) -> memoryview:
        """What is to be sent next; empty at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        return self._rest

    def sent(self, count: int) -> None:
        """So many bytes of it are sent."""
        self._rest = self._rest[count:]

    def end(self) -> None:
        """Nothing more is sent."""
        self._pieces, self._rest = iter(()), memoryview(b"")


def _unread(number: int) -> Iterator[bytes]:
    """Many requests with large replies, which other nodes have."""
    yield b"".join(encode(("GET", f"buffers:{(number + k) % VALUES}")) for k in range(UNREAD_REQUESTS))


def _half() -> Iterator[bytes]:
    """A large request without its end."""
    yield b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$%d\r\n" % HALF_BYTES
    yield from (bytes(PIECE_BYTES) for _ in range(HALF_BYTES // PIECE_BYTES - 1))


def _ahead() -> Iterator[bytes]:
    """A pipeline as long as a client may write before it reads."""
    once = encode(("ECHO", bytes(PIECE_BYTES)))
    yield from (once for _ in range(AHEAD_BYTES // PIECE_BYTES))


def _batch() -> Iterator[bytes]:
    """A batch of as many operations as fit a body."""
    once = b'{"op":"get","key":"a"},' * 1000
    yield b"POST /batch HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n[" % BATCH_BYTES
    yield from (once for _ in range(BATCH_BYTES // len(once)))
