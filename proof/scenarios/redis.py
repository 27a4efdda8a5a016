"""What Redis users tripped over once: each case asks real nodes, and a line says whether the answer is right.

Some answers are fixed, as a client sees them. Others are compared with a redis-server in cluster mode that is asked the
same, where one is installed.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from proof.cluster import Cluster, Node, wait_for
from proof.network import free_port
from proof.resp import Built, Client, DeadlineExceeded, Reply, ReplyError, encode
from proof.run import Run

EXACT_MAX = 1 << 53
"""Integers below it are exact as doubles, which clients in JavaScript keep cursors in."""
LOADED = 30_000
TOLD_S = 2.0
"""Within this time the nodes tell each other how many keys they have."""
PATIENCE_S = 60.0
VALUE = b"w" * (100 << 10)
PIPELINED = 100

Case = Callable[[Cluster], str]
"""Says what is wrong, or nothing."""


def redis_clients(run: Run) -> None:
    """All cases, one after the other, on one cluster of three nodes."""
    cases: dict[str, Case] = {
        "no error within an array": _error_in_array,
        "what is refused is not half done": _half_done,
        "nothing behind a refused MULTI is executed": _multi,
        "a refused MULTI ends with DISCARD and RESET": _multi_ends,
        "RANDOMKEY draws evenly": _random_key,
        "SCAN ends with cursors that are exact as doubles": _cursors,
        "SCAN COUNT holds just after a load": _scan_count,
        "the empty key is a key": _empty_key,
        "a counter overflows when its number does": _counter,
        "INCRBYFLOAT rounds the sum": _fraction,
        "a pipeline may be written before it is read": _pipeline,
        "a value that is too large is told the limit": _too_large,
        "DEL takes 1,100,000 keys": _many_keys,
        "redis-cli --cluster info counts each key once": _cluster_info,
        "masters have each key once for who asked for the map": _each_key_once,
    }
    with run.cluster(3) as cluster:
        for name, case in cases.items():
            _say(run, name, _tried(case, cluster))
        _compare(run, cluster.nodes[0])
    with run.cluster(0) as cluster:
        _say(run, "a node at any address is told where it is reached", _tried(_any_address, cluster))
    run.report.table("redis clients")


def _tried(case: Case, cluster: Cluster) -> str:
    try:
        return case(cluster)
    except (ReplyError, DeadlineExceeded, OSError) as error:
        return f"{type(error).__name__}: {error}"


def _say(run: Run, name: str, fault: str) -> None:
    run.report.step(f"{'WRONG' if fault else 'right'}  {name}")
    run.report.check(name, not fault, fault)


def _words(line: str) -> list[str]:
    return line.split(" ")


def _asked(client: Client, *lines: str) -> list[Reply]:
    """The replies to requests, each a line of words, that are sent in one pipeline."""
    return client.pipeline([_words(line) for line in lines])


def _is_error(reply: Reply, start: str = "") -> bool:
    return isinstance(reply, ReplyError) and str(reply).startswith(start)


# Replies and refusals


def _error_in_array(cluster: Cluster) -> str:
    """A key that is too long is refused, and with it the request."""
    long = "k" * 70_000
    with cluster.nodes[0].client() as client:
        for request in (f"MGET a {long} b", f"MGET {long}", f"EXISTS a {long}", f"TOUCH {long} a"):
            (reply,) = _asked(client, request)
            if not _is_error(reply, "ERR key is longer"):
                return f"{request[:8]} is answered {str(reply)[:80]}"
    return ""


def _half_done(cluster: Cluster) -> str:
    long = "k" * 70_000
    with cluster.nodes[0].client() as client:
        client.call("MSET", "h1", "old", "h2", "old")
        for request in (f"MSET h1 new h2 new {long} v", f"DEL h1 h2 {long}", "MSET h1 new h2", "FLUSHALL SOMETIMES"):
            (reply,) = _asked(client, request)
            kept = client.call("MGET", "h1", "h2")
            if not _is_error(reply) or kept != [b"old", b"old"]:
                return f"{request[:30]}: {str(reply)[:60]}, and then {kept!r}"
    return ""


def _multi(cluster: Cluster) -> str:
    """In one write, and in one write for each request."""
    requests = ("MULTI", "INCR tx", "SET tx 5", "FLUSHALL", "NOSUCH", "EXEC", "GET tx")
    with cluster.nodes[0].client() as client:
        client.call("SET", "tx", "0")
        for replies in (_asked(client, *requests), [_asked(client, request)[0] for request in requests]):
            if not all(_is_error(reply) for reply in replies[:-1]):
                return f"{replies!r}"
            if not _is_error(replies[5], "EXECABORT") or replies[6] != b"0":
                return f"{replies!r}"
    return ""


def _multi_ends(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client:
        for end, wanted in (("DISCARD", b"OK"), ("RESET", b"RESET")):
            replies = _asked(client, "MULTI", "PING", end, "PING")
            if not _is_error(replies[1]) or replies[2:] != [wanted, b"PONG"]:
                return f"{end}: {replies!r}"
        if not _is_error(_asked(client, "EXEC")[0], "ERR EXEC without MULTI"):
            return "EXEC without MULTI is accepted"
        if not _is_error(_asked(client, "WATCH tx")[0]):
            return "WATCH is accepted"
    return ""


# Keys of all shards


def _random_key(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client:
        client.call("FLUSHALL")
        for name in "abcdefgh":
            client.call("SET", name, 1)
        for node in cluster.nodes:
            with node.client() as other:
                drawn = Counter(reply for reply in other.pipeline([["RANDOMKEY"]] * 800) if isinstance(reply, bytes))
            # Each is expected 100 times, with a standard deviation of 9.
            if len(drawn) != 8 or not all(50 < count < 160 for count in drawn.values()):
                return f"{node.name}: {drawn}"
    return ""


def _scanned(client: Client, *options: str | int) -> Iterator[tuple[int, list[Reply]]]:
    """Cursors and keys of a scan, call by call."""
    cursor = b"0"
    while True:
        reply = client.call("SCAN", cursor, *options)
        assert isinstance(reply, list) and isinstance(reply[0], bytes) and isinstance(reply[1], list)
        cursor = reply[0]
        yield int(cursor), reply[1]
        if cursor == b"0":
            return


def _load(client: Client) -> None:
    """Into a cluster whose nodes know that it is empty."""
    client.call("FLUSHALL")
    time.sleep(TOLD_S)
    client.pipeline([["SET", f"load:{number}", "v"] for number in range(LOADED)])


def _cursors(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client:
        _load(client)
        time.sleep(TOLD_S)
        seen: set[Reply] = set()
        for cursor, keys in _scanned(client, "COUNT", 70):
            if cursor >= EXACT_MAX:
                return f"a cursor is {cursor}"
            seen.update(reply for reply in keys if isinstance(reply, bytes))
    return "" if len(seen) == LOADED else f"{len(seen)} of {LOADED} keys were seen"


def _scan_count(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client:
        for _ in range(3):
            _load(client)
            _, keys = next(_scanned(client, "COUNT", 10))
            if len(keys) > 20:
                return f"{len(keys)} keys at once"
        client.call("FLUSHALL")
    return ""


def _empty_key(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as first, cluster.nodes[1].client() as second:
        first.call("SET", "", "x")
        got = [second.call("GET", ""), second.call("EXISTS", ""), second.call("MGET", "", "none"), first.call("DEL", "")]
    return "" if got == [b"x", 1, [b"x", None], 1] else f"{got!r}"


# Numbers


def _counter(cluster: Cluster) -> str:
    big = 6_000_000_000_000_000_000
    with cluster.nodes[0].client() as client:
        for key, start, steps in (
            ("{n}a", 1 - big, (big, big)),
            ("{n}b", big - 1, (-big, -big)),
            ("{n}c", -1, ((1 << 63) - 1, 1)),
            ("{n}d", -(1 << 63), ((1 << 63) - 1, (1 << 63) - 1, 1)),
            ("{n}e", (1 << 63) - 1, (-(1 << 63) + 1, -(1 << 63) + 1, -1)),
        ):
            client.call("SET", key, start)
            for step in steps:
                start += step
                (reply,) = client.pipeline([["INCRBY", key, step]])
                if reply != start:
                    return f"{key} plus {step}: {reply!r} and not {start}"
    return ""


def _fraction(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client:
        for stored, by, wanted in (
            ("123456789012345678", "0." + "0" * 33 + "1", b"123456789012345678"),
            ("9007199254740993", "0.5", b"9007199254740993.5"),
            ("0", "0x1p3", b"8"),
            ("1", "1e30", b"1" + b"0" * 29 + b"1"),
            ("0.1", "0.2", b"0.3"),
            ("3", "-3.0e0", b"0"),
        ):
            client.call("SET", "fraction", stored)
            reply = client.call("INCRBYFLOAT", "fraction", by)
            if reply != wanted:
                return f"{stored} plus {by}: {reply!r}"
    return ""


# Bytes


@contextmanager
def _socket_to(node: Node) -> Iterator[socket.socket]:
    with socket.create_connection((node.host, node.resp_port), timeout=PATIENCE_S) as connection:
        yield connection


def _read_all(connection: socket.socket, count: int) -> int:
    got = 0
    while got < count and (data := connection.recv(1 << 20)):
        got += len(data)
    return got


def _pipeline(cluster: Cluster) -> str:
    for command in (("SET", "pipelined", VALUE, "GET"), ("ECHO", VALUE), ("GETSET", "pipelined", VALUE)):
        with cluster.nodes[0].client() as client:
            client.call("SET", "pipelined", VALUE)
        with _socket_to(cluster.nodes[0]) as connection:
            try:
                connection.sendall(encode(command) * PIPELINED)
            except OSError as error:
                return f"{command[0]} cannot be written: {error}"
            wanted = PIPELINED * (len(VALUE) + len(b"$102400\r\n\r\n"))
            if (got := _read_all(connection, wanted)) != wanted:
                return f"{command[0]}: {got} of {wanted} bytes came back"
    return ""


def _too_large(cluster: Cluster) -> str:
    with _socket_to(cluster.nodes[0]) as connection:
        text = bytearray()
        writer = threading.Thread(target=lambda: _send_all(connection, encode(("SET", "large", bytes(65 << 20)))))
        writer.start()
        with suppress(ConnectionResetError):
            while data := connection.recv(1 << 16):
                text += data
        writer.join(PATIENCE_S)
    return "" if b"max_value" in text else f"told is {bytes(text)!r}"


def _send_all(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        connection.sendall(data)


def _many_keys(cluster: Cluster) -> str:
    node = cluster.nodes[0]
    with Client(node.host, node.resp_port, PATIENCE_S) as client:
        (reply,) = client.pipeline([["DEL", *(str(number) for number in range(1_100_000))]])
    return "" if reply == 0 else f"{str(reply)[:80]}"


# Maps


def _cluster_info(cluster: Cluster) -> str:
    if shutil.which("redis-cli") is None:
        return ""
    with cluster.nodes[0].client() as client:
        client.call("FLUSHALL")
        client.pipeline([["SET", f"user:{number}", 1] for number in range(300)])
    node = cluster.nodes[0]
    command = ["redis-cli", "--cluster", "info", f"{node.host}:{node.resp_port}"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S).stdout
    return "" if "300 keys in 3 masters" in shown else shown.strip()[-300:]


def _each_key_once(cluster: Cluster) -> str:
    seen: Counter[Reply] = Counter()
    for node in cluster.nodes:
        with node.client() as client:
            client.call("CLUSTER", "SLOTS")
            for _, keys in _scanned(client, "COUNT", 50):
                seen.update(reply for reply in keys if isinstance(reply, bytes))
    once = all(count == 1 for count in seen.values())
    return "" if len(seen) == 300 and once else f"{len(seen)} keys, {sum(seen.values())} times"


def _any_address(cluster: Cluster) -> str:
    """Two nodes, of which the second takes no Redis clients."""
    first, second = cluster.add(), cluster.add()
    first.resp_listener, second.resp_listener = f"0.0.0.0:{first.resp_port}", "off"
    first.start(options=["--insecure"])
    first.wait_ready()
    second.start([first])
    second.wait_ready()
    cluster.wait_healed()
    with first.client() as client:
        maps = [client.call("CLUSTER", words) for words in ("SLOTS", "SHARDS", "NODES")]
    shown = repr(maps)
    endpoint = f"{first.host}:{first.resp_port}"
    if "0.0.0.0" in shown or endpoint not in shown or ":0@" in shown:
        return shown[:300]
    slots = maps[0]
    assert isinstance(slots, list)
    covered = [row[:2] for row in slots if isinstance(row, list)]
    return "" if covered == [[0, 16383]] else f"the slots {covered[:5]}"


# Beside a redis-server

SAME: Sequence[str] = (
    "SET {r}b 1",
    "COPY {r}b {r}d DB 0",
    "COPY {r}b {r}d REPLACE DB 0",
    "COPY {r}b {r}e DB 1",
    "COPY {r}b {r}e DB 16",
    "COPY {r}b {r}e DB -1",
    "COPY {r}b {r}e DB x",
    "COPY {r}b {r}e DB 3000000000",
    "COPY {r}b {r}e DB 77 FOO",
    "COPY {r}b {r}e FOO DB 77",
    "COPY {r}b {r}b DB 1",
    "EXPIRE {r}b abc FOO",
    "EXPIRE {r}b abc NX GT",
    "EXPIREAT {r}b abc GT LT",
    "PEXPIRE {r}b 9223372036854775807 FOO",
    "GETEX {r}b PERSIST PERSIST",
    "GETEX {r}b EX 10 EX 20",
    "GETEX {r}b EX 10 PX 20",
    "GETEX {r}b EX 10 PERSIST",
    "PERSIST {r}b",
    "OBJECT REFCOUNT {r}b",
    "SETRANGE {r}b 9223372036854775807 x",
    "SETRANGE {r}b -1 x",
    "SET {r}n -5000000000000000000",
    "INCRBY {r}n 6000000000000000000",
    "INCRBY {r}n 5000000000000000000",
    "INCRBY {r}n 5000000000000000000",
    "SET {r}f 17179869184",
    "INCRBYFLOAT {r}f 0x1p3",
    "INCRBYFLOAT {r}f inf",
    "INCRBYFLOAT {r}f nan",
    "INCRBYFLOAT {r}f 1e4933",
    "INCRBYFLOAT {r}f 1e-5000",
    "EXEC",
    "DISCARD",
    "UNWATCH",
    "MULTI x",
    "COMMAND INFO nosuch",
    "CLIENT KILL ID x",
    "CLIENT KILL ID 0",
    "CLIENT KILL ID 999999",
    "CLIENT KILL nobody",
    "CLIENT KILL TYPE nosuch",
    "CLIENT KILL TYPE pubsub",
    "CLIENT KILL USER nobody",
    "CLIENT KILL SKIPME maybe",
    "CLIENT KILL ADDR 192.0.2.1:1 FOO bar",
    "CLIENT KILL SKIPME yes",
    "CLIENT PAUSE x",
    "CLIENT PAUSE -1",
    "CLIENT PAUSE 1 FOO",
    "CLIENT PAUSE 1 WRITE x",
    "CLIENT PAUSE 0",
    "CLIENT UNPAUSE",
    "CLIENT NO-EVICT maybe",
    "CONFIG GET slowlog-max-len",
    "CONFIG GET slowlog-log-slower-than",
    "CONFIG GET latency-monitor-threshold",
    "CONFIG GET maxclients",
    "CONFIG SET slowlog-max-len -1",
    "CONFIG SET slowlog-log-slower-than -2",
    "CONFIG SET slowlog-log-slower-than x",
    "CONFIG SET latency-monitor-threshold -1",
    "CONFIG SET slowlog-log-slower-than 0",
    "CONFIG RESETSTAT",
    "SLOWLOG GET -2",
    "SLOWLOG GET x",
    "SLOWLOG GET 1 2",
    "SLOWLOG LEN x",
    "LATENCY LATEST",
    "LATENCY HISTORY command",
    "LATENCY RESET",
    "LATENCY HISTOGRAM nosuch",
    "MEMORY PURGE",
    "INFO nosuch",
)
"""Requests that salp answers as redis-server in cluster mode does, in this order."""

ALIKE: Sequence[str] = (
    "SLOWLOG GET 1",
    "SLOWLOG LEN",
    "LATENCY HISTOGRAM get",
    "LATENCY DOCTOR",
    "MEMORY DOCTOR",
    "CLIENT LIST",
    "CLIENT INFO",
    "INFO stats",
    "CONFIG GET slowlog*",
)
"""Requests whose replies have numbers and texts of their own: behind a `GET` they are built alike in RESP2 and RESP3."""

INFO_FIELDS: Sequence[str] = (
    "cmdstat_get",
    "connected_clients",
    "errorstat_ERR",
    "instantaneous_input_kbps",
    "instantaneous_ops_per_sec",
    "instantaneous_output_kbps",
    "keyspace_hits",
    "keyspace_misses",
    "latency_percentiles_usec_get",
    "lazyfree_pending_objects",
    "maxclients",
    "maxmemory",
    "maxmemory_policy",
    "mem_fragmentation_ratio",
    "os",
    "process_id",
    "pubsub_channels",
    "redis_git_sha1",
    "rejected_connections",
    "total_error_replies",
    "total_net_input_bytes",
    "total_net_output_bytes",
    "total_system_memory",
    "used_cpu_sys",
    "used_cpu_user",
    "used_memory_peak",
    "used_memory_rss",
)
"""What exporters and panels read, as both servers have it."""


def _compare(run: Run, node: Node) -> None:
    if shutil.which("redis-server") is None:
        run.report.skip("replies beside those of redis-server", "it is not installed")
        return
    with _redis_server() as port, Client("127.0.0.1", port) as theirs, node.client() as ours:
        ours.call("FLUSHALL")
        different = []
        for line in SAME:
            wanted, got = str(_asked(theirs, line)[0]), str(_asked(ours, line)[0])
            if wanted != got:
                different.append(f"{line}: {got}, and redis-server: {wanted}")
        different += _built_otherwise(theirs, ours)
        different += _fields_missing(theirs, ours)
    run.report.step(f"{'WRONG' if different else 'right'}  {len(SAME)} replies beside those of redis-server")
    run.report.check_none("replies are those of redis-server", different)


def _built_otherwise(theirs: Client, ours: Client) -> list[str]:
    """Which of `ALIKE` are built in another way than those of redis-server."""
    different = []
    for version in (2, 3):
        for client in (theirs, ours):
            client.call("HELLO", version)
            client.call("GET", "{r}b")
        for line in ALIKE:
            wanted, got = _shape(_asked(theirs, line)[0]), _shape(_asked(ours, line)[0])
            if wanted != got:
                different.append(f"{line} in RESP{version}: {got}, and redis-server: {wanted}")
    return different


def _shape(reply: Reply) -> str:
    """Of which kinds of values a reply is made; entries of one kind, one after the other, are one."""
    if isinstance(reply, Built):
        inner = [_shape(value) for value in reply]
        pairs = [" ".join(inner[at : at + 2]) for at in range(0, len(inner), 2)] if reply.kind == "%" else inner
        return f"{reply.kind}({', '.join(_once(pairs))})"
    if isinstance(reply, list):
        return f"*({', '.join(_once([_shape(value) for value in reply]))})"
    return type(reply).__name__


def _once(shapes: list[str]) -> list[str]:
    return [shape for at, shape in enumerate(shapes) if at == 0 or shape != shapes[at - 1]]


def _fields_missing(theirs: Client, ours: Client) -> list[str]:
    """Which of `INFO_FIELDS` one of the two does not have."""
    missing = []
    for name, client in (("redis-server", theirs), ("salp", ours)):
        client.call("HELLO", 2)
        text = client.call("INFO", "everything")
        assert isinstance(text, bytes)
        fields = {line.split(b":")[0].decode() for line in text.split(b"\r\n") if b":" in line}
        missing += [f"{name} has no {field} in INFO" for field in INFO_FIELDS if field not in fields]
    return missing


@contextmanager
def _redis_server() -> Iterator[int]:
    """A redis-server in cluster mode that has all slots."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        options = {"--port": str(port), "--save": "", "--cluster-enabled": "yes", "--dir": folder}
        command = ["redis-server", *(word for pair in options.items() for word in pair), "--bind", "127.0.0.1"]
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log)
        try:
            wait_for("redis-server", lambda: _is_up(port), PATIENCE_S)
            with Client("127.0.0.1", port) as client:
                client.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
                wait_for("its cluster", lambda: b"state:ok" in _info(client), PATIENCE_S)
            yield port
        finally:
            server.kill()
            server.wait()


def _info(client: Client) -> bytes:
    reply = client.call("CLUSTER", "INFO")
    return reply if isinstance(reply, bytes) else b""


def _is_up(port: int) -> bool:
    try:
        with Client("127.0.0.1", port) as client:
            return client.call("PING") == b"PONG"
    except OSError:
        return False
