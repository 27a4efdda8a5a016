"""What Redis users tripped over once.

Some answers are fixed, as a client sees them. Others are compared with a redis-server in cluster mode that is asked the
same, where one is installed.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from proof import redis_server
from proof.cases import Case, Open, Skipped
from proof.cluster import Cluster, Node, wait_for
from proof.differential.raw import RawClient, items
from proof.resp import Client, Reply, ReplyError, encode

EXACT_MAX = 1 << 53
"""Integers below it are exact as doubles, which clients in JavaScript keep cursors in."""
LOADED = 30_000
TOLD_S = 2.0
"""Within this time the nodes tell each other how many keys they have."""
PATIENCE_S = 60.0
VALUE = b"w" * (100 << 10)
PIPELINED = 100
MAP_BYTES_MAX = 32 << 10
"""A client reads the map every few seconds."""


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
            if replies[:3] != [b"OK", b"QUEUED", b"QUEUED"] or not all(_is_error(reply) for reply in replies[3:6]):
                return f"{replies!r}"
            if not _is_error(replies[5], "EXECABORT") or replies[6] != b"0":
                return f"{replies!r}"
    return ""


def _multi_ends(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client:
        client.call("SET", "ends", "0")
        for end, wanted in (("DISCARD", b"OK"), ("RESET", b"RESET")):
            replies = _asked(client, "MULTI", "INCR ends", end, "PING", "GET ends")
            if replies != [b"OK", b"QUEUED", wanted, b"PONG", b"0"]:
                return f"{end}: {replies!r}"
            if not _is_error(_asked(client, "EXEC")[0], "ERR EXEC without MULTI"):
                return f"EXEC after {end} is accepted"
    return ""


# Keys of all shards


def _random_key(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client:
        client.call("FLUSHALL")
        for name in "abcdefgh":
            client.call("SET", name, 1)
        for node in cluster.nodes:
            with node.client() as other:
                drawn = Counter(str(other.call("RANDOMKEY")) for _ in range(800))
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
        got = [
            second.call("GET", ""),
            second.call("EXISTS", ""),
            second.call("MGET", "", "none"),
            first.call("DEL", ""),
        ]
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
    node = cluster.nodes[0]
    with Client(node.host, node.resp_port, PATIENCE_S) as client:
        refused, next_one = client.pipeline([["SET", "large", bytes(65 << 20)], ["ECHO", "the next"]])
    if not _is_error(refused, "ERR ") or "max_value" not in str(refused):
        return f"SET is answered {str(refused)[:80]}"
    return "" if next_one == b"the next" else f"the request behind it is answered {str(next_one)[:80]}"


def _many_keys(cluster: Cluster) -> str:
    node = cluster.nodes[0]
    with Client(node.host, node.resp_port, PATIENCE_S) as client:
        (reply,) = client.pipeline([["DEL", *(str(number) for number in range(1_100_000))]])
    return "" if reply == 0 else f"{str(reply)[:80]}"


# Maps


def _cluster_info(cluster: Cluster) -> str:
    if shutil.which("redis-cli") is None:
        raise Skipped("redis-cli is not installed")
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
    with Cluster(cluster.binary) as own:
        return _any_address_in(own)


def _any_address_in(cluster: Cluster) -> str:
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
    "SELECT 99999999999",
)
"""Requests that salp answers as redis-server in cluster mode does, in this order."""


def _same(cluster: Cluster) -> str:
    if why := redis_server.unavailable():
        raise Skipped(why)
    different = []
    with (
        redis_server.redis_server(in_cluster_mode=True) as port,
        Client("127.0.0.1", port) as theirs,
        cluster.nodes[0].client() as ours,
    ):
        ours.call("FLUSHALL")
        for line in SAME:
            wanted, got = str(_asked(theirs, line)[0]), str(_asked(ours, line)[0])
            if wanted != got:
                different.append(f"{line}: {got}, and redis-server: {wanted}")
    return "; ".join(different)


# What tools ask for

INFO_FIELDS = (
    "keyspace_hits keyspace_misses total_net_input_bytes total_net_output_bytes rejected_connections used_memory_peak "
    "mem_fragmentation_ratio maxclients total_error_replies used_cpu_sys used_cpu_user process_id os redis_git_sha1 "
    "pubsub_channels lazyfree_pending_objects master_repl_offset redis_version uptime_in_seconds connected_clients "
    "expired_keys evicted_keys instantaneous_ops_per_sec total_connections_received cluster_enabled role"
).split()
"""Fields that exporters and panels read."""


def _info_fields(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client:
        client.call("GET", "none")
        client.pipeline([["NOSUCH"]])
        shown = client.call("INFO", "everything")
    assert isinstance(shown, bytes)
    has = {line.split(":")[0] for line in shown.decode().splitlines()}
    lacks = [field for field in (*INFO_FIELDS, "cmdstat_get", "errorstat_ERR") if field not in has]
    return f"lacks {', '.join(lacks)}" if lacks else ""


CLIENT_FIELDS = (
    "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free omem tot-mem events cmd user resp"
).split()


def _client_fields(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client:
        client.call("CLIENT", "SETNAME", "counted")
        shown = client.call("CLIENT", "LIST")
    assert isinstance(shown, bytes)
    rows = [dict(word.partition("=")[::2] for word in line.split()) for line in shown.decode().splitlines()]
    if [row["name"] for row in rows].count("counted") != 1:
        return f"this connection is not listed once: {shown[:200]!r}"
    lacks = [field for field in CLIENT_FIELDS if any(field not in row for row in rows)]
    return f"lacks {', '.join(lacks)}" if lacks else ""


def _client_kill(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client, cluster.nodes[0].client() as victim:
        killed = client.call("CLIENT", "KILL", "ID", str(victim.call("CLIENT", "ID")))
        try:
            left = victim.pipeline([["PING"]])
        except OSError:
            return "" if killed == 1 else f"{killed!r} were closed"
    return f"{killed!r} were closed, and the connection answers {left!r}"


def _eviction(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client:
        return "" if client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru") == b"OK" else "is not answered OK"


def _lock_released(cluster: Cluster) -> str:
    """As lock libraries do: release by a script that compares and deletes."""
    script = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end"
    with cluster.nodes[0].client() as client:
        if client.call("SET", "lock", "mine", "NX", "PX", 60_000) != b"OK":
            return "a free lock is denied"
        if client.call("SET", "lock", "other", "NX", "PX", 60_000) is not None:
            return "a held lock is granted"
        reply = client.call("EVAL", script, 1, "lock", "mine")
        return "" if reply == 1 and client.call("EXISTS", "lock") == 0 else f"the release is answered {reply!r}"


FAMILIES = {
    "scripts": "EVAL EVALSHA SCRIPT",
    "hashes": "HSET HGET HGETALL HDEL HINCRBY HMGET HINCRBYFLOAT HEXISTS",
    "lists": "LPUSH RPUSH LRANGE LREM LPOP RPOPLPUSH LMOVE LLEN LTRIM LINDEX BRPOP BRPOPLPUSH",
    "publishing": "SUBSCRIBE PSUBSCRIBE PUBLISH UNSUBSCRIBE",
    "sorted sets": "ZADD ZREM ZRANGE ZRANGEBYSCORE ZCARD ZSCORE ZPOPMIN ZREMRANGEBYSCORE",
    "sets": "SADD SREM SMEMBERS SCARD",
    "streams": "XADD XREAD XREVRANGE XTRIM",
}
"""Commands that web frameworks, queues and caches send."""


def _families(cluster: Cluster) -> str:
    """A family counts as there if all of its commands are known."""
    lacks = []
    with cluster.nodes[0].client() as client:
        for family, names in FAMILIES.items():
            known = client.call("COMMAND", "INFO", *names.split())
            assert isinstance(known, list)
            if None in known:
                lacks.append(f"{family} ({known.count(None)} of {len(known)})")
    return f"unknown: {', '.join(lacks)}" if lacks else ""


def _transactions(cluster: Cluster) -> str:
    """Through each node, whichever is the primary."""
    for node in cluster.nodes:
        with node.client() as client:
            replies = _asked(client, "MULTI", "SET {tx}a 1", "INCR {tx}a", "MGET {tx}a {tx}none", "EXEC")
            if replies != [b"OK", b"QUEUED", b"QUEUED", b"QUEUED", [b"OK", 2, [b"2", None]]]:
                return f"{node.name}: {[str(reply)[:60] for reply in replies]}"
    return ""


def _asked_again(cluster: Cluster) -> str:
    """A library sends a transaction, and sends it again."""
    with cluster.nodes[0].client() as client:
        client.call("SET", "again", 0)
        for count in (1, 2):
            reply = _asked(client, "MULTI", "INCR again", "EXEC")[-1]
            if reply != [count]:
                return f"EXEC number {count} is answered {reply!r}"
        got = client.call("GET", "again")
    return "" if got == b"2" else f"the number is {got!r}"


def _watched(cluster: Cluster) -> str:
    """The key is changed through another node than the one at which it is watched."""
    with cluster.nodes[0].client() as client, cluster.nodes[1].client() as other:
        for change, wanted in (("GET watched", [b"OK"]), ("SET watched 2", None), ("EXPIRE watched 100", None)):
            client.call("SET", "watched", "1")
            _asked(client, "WATCH watched")
            _asked(other, change)
            reply = _asked(client, "MULTI", "SET watched 3", "EXEC")[-1]
            if reply != wanted:
                return f"after {change}, EXEC is answered {reply!r}"
    return ""


def _large_exec(cluster: Cluster) -> str:
    """One node. Replies that do not fit together are dropped one by one, and small ones behind them are kept."""
    count, value = 12, b"w" * (15 << 20)
    with Cluster(cluster.binary) as own:
        own.grow(1)
        with RawClient(own.nodes[0].host, own.nodes[0].resp_port) as client:
            client.send([["SET", "{m}large", value], ["MULTI"], *[["GET", "{m}large"]] * count])
            client.send([["INCR", "{m}n"], ["EXEC"]])
            replies = items(client.receive(count + 4)[-1]) or []
    shown = [reply[:20] for reply in replies]
    whole = sum(len(reply) > len(value) for reply in replies)
    dropped = sum(reply.startswith(b"-OOM ") for reply in replies)
    return "" if whole >= 3 and whole + dropped == count and replies[-1] == b":1\r\n" else f"{shown}"


def _many_replies(cluster: Cluster) -> str:
    """The replies of a node about itself are limited, too."""
    count = 2_000
    with RawClient(cluster.nodes[0].host, cluster.nodes[0].resp_port) as client:
        client.send([["MULTI"], *[["INFO", "everything"]] * count, ["GET", "many"], ["EXEC"]])
        replies = items(client.receive(count + 3)[-1]) or []
    shown = [reply[:30] for reply in (*replies[:1], *replies[-2:])]
    is_right = replies[0][:1] == b"$" and replies[-2].startswith(b"-OOM not executed") and replies[-1] == b"$-1\r\n"
    return "" if is_right else f"{shown}"


def _across_slots(cluster: Cluster) -> str:
    with cluster.nodes[0].client() as client:
        client.call("SET", "from", 1)
        for line in ("COPY from to", "RENAME from to", "RENAMENX from to", "MSETNX from 1 to 2"):
            if not _is_error(_asked(client, line)[0], "CROSSSLOT"):
                return f"{line} is not refused"
        got = client.call("MGET", "from", "to")
    return "" if got == [b"1", None] else f"then {got!r}"


def _documented(cluster: Cluster) -> str:
    """The differences that docs/redis.md names."""
    with cluster.nodes[0].client() as client:
        now_ms = time.time_ns() // 1_000_000
        client.call("SET", "d", "1")
        got = {
            "INCRBYFLOAT": client.call("INCRBYFLOAT", "d", "123456789.123456789"),
            "APPEND": (
                client.call("SET", "e", "a"),
                client.call("APPEND", "e", "b"),
                client.call("OBJECT", "ENCODING", "e"),
            ),
            "SELECT": str(_asked(client, "SELECT abc")[0]),
        }
        client.call("GETEX", "d", "PXAT", now_ms + 10_000)
        left = client.call("PTTL", "d")
    wanted = {
        "INCRBYFLOAT": b"123456790.123456789",
        "APPEND": (b"OK", 2, b"embstr"),
        "SELECT": "ERR no keyspace has the name 'abc'",
    }
    if got != wanted:
        return f"{got!r}"
    return "" if isinstance(left, int) and 0 < left <= 10_002 else f"{left!r} ms are left of 10,000"


def _one_row_each(cluster: Cluster) -> str:
    """Every node is a master, every slot is of one node, and the two maps agree."""
    with cluster.nodes[0].client() as client:
        shown, ranges = client.call("CLUSTER", "NODES"), client.call("CLUSTER", "SLOTS")
    assert isinstance(shown, bytes) and isinstance(ranges, list)
    lines = [line.split() for line in shown.decode().splitlines()]
    flags = sorted(line[2] for line in lines)
    if flags != ["master", "master", "myself,master"]:
        return f"rows are {flags}"
    owners: Counter[tuple[int, str]] = Counter()
    for line in lines:
        for span in line[8:]:
            begin, _, end = span.partition("-")
            owners.update((slot, line[0]) for slot in range(int(begin), int(end or begin) + 1))
    if len(owners) != 16384 or len({slot for slot, _ in owners}) != 16384 or max(owners.values()) != 1:
        return f"{len(owners)} slots are listed"
    for row in ranges:
        assert isinstance(row, list)
        first, last, primary = row[:3]
        assert isinstance(first, int) and isinstance(last, int) and isinstance(primary, list)
        assert isinstance(primary[2], bytes)
        owner = primary[2].decode()
        if any(owners[slot, owner] != 1 for slot in range(first, last + 1)):
            return f"CLUSTER SLOTS has another owner for {first}-{last}"
    for node in cluster.nodes:
        with node.client() as client:
            role = client.call("ROLE")
            if not isinstance(role, list) or role[0] != b"master":
                return f"ROLE of {node.name} is {role!r}"
    return ""


def _small_map(cluster: Cluster) -> str:
    with _socket_to(cluster.nodes[0]) as connection:
        connection.sendall(encode(("CLUSTER", "SLOTS")) + encode(("ECHO", "the end")))
        data = b""
        while not data.endswith(b"the end\r\n"):
            data += connection.recv(1 << 16)
    count = data.split(b"\r\n", 1)[0][1:].decode()
    return "" if len(data) < MAP_BYTES_MAX else f"{len(data):,} bytes in {count} ranges"


def _plain_scans(cluster: Cluster) -> str:
    """As tools do that ask for the map on one connection and scan on others."""
    count = 0
    with cluster.nodes[0].client() as client:
        client.call("FLUSHALL")
        client.pipeline([["SET", f"user:{number}", 1] for number in range(300)])
    for node in cluster.nodes:
        with node.client() as client:
            count += sum(len(keys) for _, keys in _scanned(client, "COUNT", 50))
    return "" if count == 300 else f"300 keys are {count}"


def _error_for_all(cluster: Cluster) -> str:
    """One copy of each shard, and one of three nodes is dead."""
    keys = [f"lost:{number}" for number in range(40)]
    with Cluster(cluster.binary, replicas=1) as poor:
        poor.grow(3)
        poor.wait_healed()
        with poor.nodes[0].client() as client:
            client.call("MSET", *(word for key in keys for word in (key, "v")))
            poor.nodes[2].kill()
            wait_for(
                "the loss to be seen", lambda: _is_error(client.pipeline([["EXISTS", *keys]])[0], "CLUSTERDOWN"), 15
            )
            (reply,) = client.pipeline([["MGET", *keys]])
    return "" if _is_error(reply, "CLUSTERDOWN") else f"MGET is answered {str(reply)[:120]}"


REDIS: tuple[Case, ...] = (
    Case("error-in-array", "MGET, EXISTS, TOUCH with a key of 70,000 bytes: one error", _error_in_array),
    Case("error-for-all", "MGET while a shard has no live replica: one error", _error_for_all, own_nodes=True),
    Case("half-done", "MSET, DEL, FLUSHALL that are refused change nothing", _half_done),
    Case("multi", "EXEC after a request that cannot be queued: EXECABORT, nothing is executed", _multi),
    Case("multi-ends", "DISCARD and RESET end a transaction, nothing is executed", _multi_ends),
    Case("multi-again", "MULTI INCR EXEC, sent twice: the number is 2", _asked_again),
    Case("transactions", "MULTI SET INCR MGET EXEC, through each node: all replies in order", _transactions),
    Case("large-exec", "MULTI, 12 GETs of 15 MiB, INCR, EXEC: values, then errors, then 1", _large_exec, own_nodes=True),
    Case("many-replies", "MULTI, 2,000 times INFO, GET, EXEC: texts, then errors, then nil", _many_replies),
    Case("watched", "EXEC after a watched key was changed at another node: nil", _watched),
    Case("randomkey", "RANDOMKEY of 8 keys, 800 times at each node: each 50 to 160 times", _random_key),
    Case("scan-cursors", "SCAN COUNT 70 of 30,000 keys: cursors below 2^53, all keys", _cursors),
    Case("scan-count", "SCAN 0 COUNT 10 just after a load of 30,000 keys: at most 20 keys", _scan_count),
    Case("empty-key", "SET, GET, EXISTS, MGET, DEL of the empty key", _empty_key),
    Case("counter", "INCRBY and DECRBY overflow when the number does", _counter),
    Case("fraction", "INCRBYFLOAT is exact, takes 0x1p3, and rounds the sum", _fraction),
    Case("pipeline", "100 requests of 100 KiB, written before anything is read", _pipeline),
    Case("too-large", "SET of 65 MiB is told of max_value, and the connection goes on", _too_large),
    Case("many-keys", "DEL with 1,100,000 keys: 0", _many_keys),
    Case("beside-redis", f"{len(SAME)} requests: the replies and errors of redis-server", _same),
    Case("documented", "exact sums, encodings, names in SELECT, deadlines within 2 ms", _documented),
    Case("across-slots", "COPY, RENAME, MSETNX of two slots: CROSSSLOT, nothing done", _across_slots),
    Case("masters", "CLUSTER NODES and SLOTS: each node a master, each slot once", _one_row_each),
    Case(
        "small-map",
        f"CLUSTER SLOTS of three nodes has less than {MAP_BYTES_MAX:,} bytes",
        _small_map,
        Open("primaries are chosen shard by shard, so neighbouring slots have different ones", "ranges"),
    ),
    Case("cluster-info", "redis-cli --cluster info: 300 keys in 3 masters", _cluster_info),
    Case("scan-of-masters", "SCAN at each master on connections that asked for the map: each key once", _each_key_once),
    Case(
        "plain-scans",
        "SCAN at each master on plain connections: 300 keys are 300",
        _plain_scans,
        Open("a connection that never asked for the map covers the whole cluster", "are 900"),
    ),
    Case("any-address", "a node at 0.0.0.0 is listed where it is reached", _any_address, own_nodes=True),
    Case(
        "info-fields",
        "INFO everything has the fields that exporters read",
        _info_fields,
        Open("these are not counted yet", "lacks "),
    ),
    Case(
        "client-list",
        "CLIENT LIST has the fields of redis-server",
        _client_fields,
        Open("the buffers of a connection are not shown", "lacks fd, qbuf"),
    ),
    Case(
        "client-kill",
        "CLIENT KILL ID closes that connection: 1",
        _client_kill,
    ),
    Case(
        "eviction",
        "CONFIG SET maxmemory-policy allkeys-lru: OK",
        _eviction,
        Open("a full store refuses writes; nothing is evicted", "immutable config"),
    ),
    Case("lock-released", "SET NX, then EVAL that compares and deletes: 1", _lock_released),
    Case(
        "families",
        "COMMAND INFO knows what frameworks send: hashes, lists, sets and more",
        _families,
        Open("these types do not exist yet", "unknown: "),
    ),
)
