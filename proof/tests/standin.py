#!/usr/bin/env python3
"""Stands in for the salp binary, so that the checkers can be tested without it.

A "node" here forwards RESP to one redis-server that all nodes share (STANDIN_HUB is its port) and
serves the JSON of the contract from it: a cluster that cannot lose anything, unless STANDIN_FAULT
tells it to. Database 0 has the keys, database 1 the members, who say every 0.2 s that they live.

Faults: `lose` acknowledges some writes without storing them, `stale` answers some reads with nil,
`hang` leaves some requests without an answer, `miscount` says one copy too few. Further ones strike some of the
requests, too: `old` answers reads with the value before the last, `future` with one that nobody wrote; `deny` executes
writes and says that they were refused; `refuse` refuses, `timeout` says that the outcome is unknown; `grant` grants
locks that are held; `drop` acknowledges appends without storing them, `short` answers them with too small a length;
`low` answers increments with 1. `sticky` answers every RANDOMKEY with one key, `wide` adds 2^53 to
cursors. Of transactions, `blind` watches nothing, `tear` sets another key in some, `void` acknowledges some
without executing them, and `once` executes none and answers 1. With `amnesia` a node that was started again answers as
if it were empty for a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import unquote

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from proof.resp import Client, Decoder, Reply  # noqa: E402

SHARDS = 16
ALIVE_MS = 1_000
AMNESIA_S = 1.0
FAULT = os.environ.get("STANDIN_FAULT", "")
FAULT_ODDS = 0.02
HUB_PORT = int(os.environ["STANDIN_HUB"])


amnesia_ends = 0.0
"""Until when this node knows nothing."""


def hub(database: int = 0) -> Client:
    """A connection to the shared store."""
    client = Client("127.0.0.1", HUB_PORT)
    client.call("SELECT", database)
    return client


def strikes(fault: str) -> bool:
    """Whether this request is to suffer `fault`."""
    return fault == FAULT and random.random() < FAULT_ODDS


def answer_of(client: Client, command: list[bytes]) -> bytes:
    """Runs one command, or pretends to; returns the reply as bytes for the wire."""
    name = command[0].upper()
    if strikes("hang"):
        time.sleep(60)
    if name == b"SET" and strikes("lose"):
        return b"+OK\r\n"
    if name == b"GET" and strikes("stale"):
        return b"$-1\r\n"
    if (lie := lie_of(client, name, command)) is not None:
        return lie
    (reply,) = client.pipeline([command])
    return b"+OK\r\n" if reply == b"OK" else encode_reply(reply)


class Session:
    """One connection: which requests of a transaction are queued, and the lies about transactions."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queued: list[bytes] | None = None

    def answer(self, command: list[bytes]) -> bytes:
        """The reply to one request, as bytes for the wire."""
        name = command[0].upper()
        match name:
            case b"WATCH" if FAULT == "blind":
                return b"+OK\r\n"
            case b"EXEC" if self._queued == [b"SET"] and strikes("void"):
                self._client.call("DISCARD")
                reply = b"*1\r\n+OK\r\n"
            case b"EXEC" if FAULT == "once":
                self._client.call("DISCARD")
                reply = b"*1\r\n:1\r\n"
            case b"SET" if self._queued is not None and strikes("tear"):
                reply = answer_of(self._client, [command[0], command[1] + b"?", *command[2:]])
            case _:
                reply = answer_of(self._client, command)
        if name == b"MULTI":
            self._queued = []
        elif name in (b"EXEC", b"DISCARD", b"RESET"):
            self._queued = None
        elif self._queued is not None:
            self._queued.append(name)
        return reply


def lie_of(client: Client, name: bytes, command: list[bytes]) -> bytes | None:
    """The reply to a request that one of the further faults strikes."""
    if time.monotonic() < amnesia_ends:
        return answer_of_empty(name, command)
    match name:
        case b"GET" if strikes("old"):
            return encode_reply(client.call("GET", b"old:" + command[1]))
        case b"GET" if strikes("future"):
            return b"$5\r\n99999\r\n"
        case b"SET" if FAULT == "old":
            (old,) = client.pipeline([("GET", command[1])])
            client.call("SET", b"old:" + command[1], old if isinstance(old, bytes) else b"0")
        case b"SET" if strikes("deny"):
            client.pipeline([command])
            return b"-CLUSTERDOWN no_nodes, says the stand-in\r\n"
        case b"SET" if command[-1] == b"NX":
            # The rest of this file takes any SET for one that succeeds.
            return encode_reply(client.call(*(command[:-1] if strikes("grant") else command)))
        case b"SET" | b"GET" if strikes("refuse"):
            return b"-CLUSTERDOWN no_nodes, says the stand-in\r\n"
        case b"SET" | b"APPEND" | b"INCR" if strikes("timeout"):
            return b"-TIMEOUT says the stand-in\r\n"
        case b"RANDOMKEY" if FAULT == "sticky":
            return encode_reply(min(client.call("KEYS", "*")))
        case b"SCAN" if FAULT == "wide":
            cursor, keys = client.call(b"SCAN", b"%d" % (int(command[1]) % (1 << 53)), *command[2:])
            return encode_reply([b"%d" % (int(cursor) + (1 << 53)) if int(cursor) else b"0", keys])
        case b"APPEND" if strikes("drop"):
            length = client.call("STRLEN", command[1])
            assert isinstance(length, int)
            return encode_reply(length + len(command[2]))
        case b"APPEND" if strikes("short"):
            length = client.call(*command)
            assert isinstance(length, int)
            return encode_reply(length - 1)
        case b"INCR" if strikes("low"):
            client.call(*command)
            return b":1\r\n"
    return None


def answer_of_empty(name: bytes, command: list[bytes]) -> bytes | None:
    """What a store says that has no keys."""
    empty = {b"GET": b"$-1\r\n", b"SET": b"+OK\r\n", b"APPEND": b":%d\r\n" % len(command[-1]), b"INCR": b":1\r\n"}
    return b":0\r\n" if name == b"DEL" else empty.get(name)


def encode_reply(reply: Reply) -> bytes:
    """A reply of the store, for the wire."""
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(encode_reply(item) for item in reply)
        case _:
            return b"-%s\r\n" % str(reply).encode()


class RespHandler(StreamRequestHandler):
    """One RESP connection."""

    def handle(self) -> None:
        decoder = Decoder()
        with hub() as client:
            session = Session(client)
            while data := self.connection.recv(1 << 16):
                decoder.feed(data)
                for command in decoder.replies(1 << 20):
                    assert isinstance(command, list), "only arrays of bulk strings are understood"
                    words = [word for word in command if isinstance(word, bytes)]
                    self.connection.sendall(session.answer(words))


class HttpHandler(BaseHTTPRequestHandler):
    """The parts of the HTTP contract that the proofs look at."""

    def do_GET(self) -> None:  # noqa: N802, the name is fixed by the base class
        if self.path == "/readyz":
            return self._send(200, b"ready")
        if self.path.startswith("/kv/"):
            with hub() as client:
                value = client.call("GET", unquote(self.path[4:]))
            return self._send(200, value) if isinstance(value, bytes) else self._send(404, b"")
        facts = cluster_facts()[self.path]
        return self._send(200, json.dumps(facts).encode())

    def log_message(self, *_: object) -> None:
        """Silent."""

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def cluster_facts() -> dict[str, Any]:
    """What the JSON paths say now."""
    with hub(1) as client:
        names = client.call("KEYS", "*")
    with hub() as client:
        keys = client.call("DBSIZE")
    assert isinstance(names, list) and isinstance(keys, int)
    up = sorted(name.decode() for name in names if isinstance(name, bytes))
    copies = min(3, len(up))
    held = keys * copies - (1 if FAULT == "miscount" else 0)
    nodes = [{"name": name, "state": "up", "creation": 1, "connected": True} for name in up]
    replicas = up[:copies]
    shards = [
        {"shard": n, "replicas": replicas, "ready": replicas, "keys": keys if n == 0 else 0}
        for n in range(SHARDS)
    ]
    return {
        "/nodes": nodes,
        "/cluster": {"nodes": nodes, "healed": True, "moves": 0, "unavailable_shards": 0},
        "/stats": {"nodes": nodes, "sum": {"keys_primary": keys, "keys_held": held}},
        "/shards": shards,
    }


def say_alive(name: str) -> None:
    """Keeps this node among the members until the process ends."""
    with hub(1) as client:
        while True:
            client.pipeline([("SET", name, "up", "PX", ALIVE_MS)])
            time.sleep(0.2)


def main() -> None:
    """`standin.py start …` with the options that the proofs give to salp."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("start")
    for option in ("name", "resp", "http"):
        parser.add_argument(f"--{option}", required=True)
    options, _ = parser.parse_known_args()
    if FAULT == "amnesia":
        global amnesia_ends
        with hub() as client:
            if client.call("INCR", f"starts of {options.name}") != 1:
                amnesia_ends = time.monotonic() + AMNESIA_S
    ThreadingTCPServer.allow_reuse_address = True
    ThreadingTCPServer.daemon_threads = True
    ThreadingTCPServer.request_queue_size = 64
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Thread(target=say_alive, args=[options.name], daemon=True).start()
    host, port = options.http.split(":")
    http = ThreadingHTTPServer((host, int(port)), HttpHandler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    host, port = options.resp.split(":")
    ThreadingTCPServer((host, int(port)), RespHandler).serve_forever()


if __name__ == "__main__":
    main()
