"""Wrong settings and malformed bytes: the node answers with a clear error or closes the connection.

The node must stay the same process, answer other clients meanwhile, and use bounded memory.
"""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from proof.cluster import NO_ANSWER, Cluster, Node
from proof.network import free_port
from proof.resp import DeadlineExceeded, ReplyError, encode
from proof.run import Run

GROWTH_BYTES_MAX = 256 << 20
"""How much memory all the abuse together may cost, in bytes: a few buffers of the largest value."""
ANSWER_S = 5.0
GLANCE_S = 0.3
"""How long to wait where no answer is required."""
REFUSAL_S = 8.0
"""How long `salp start` may take to refuse wrong settings."""
KEY_BYTES_MAX = 65_536
VALUE_BYTES_MAX = 64 << 20
HALF_OPEN = 250
UNREAD_VALUE_BYTES = 1 << 20
UNREAD_REQUESTS = 4_000
CANARY = (b"canary", b"sings")


def bad_input(run: Run) -> None:
    """Wrong settings first, then one node that is abused on each of its ports."""
    _wrong_settings(run)
    with run.cluster(0) as cluster:
        dist_port = free_port()
        node = cluster.add()
        node.start(options=["--dist-port", str(dist_port)])
        node.wait_ready()
        with node.client() as client:
            client.call("SET", *CANARY)
        before = node.resident_bytes()
        _wrong_cookie(run, cluster, node)
        for abuse in _abuses(node, dist_port, cluster.epmd_port):
            _commit(run, node, abuse)
        _clear_refusals(run, node)
        _half_open(run, node, dist_port)
        _never_reads(run, node)
        growth = node.resident_bytes() - before
        run.report.count("memory grown by", f"{growth / (1 << 20):,.1f} MiB")
        run.report.check(
            f"memory grows by less than {GROWTH_BYTES_MAX >> 20} MiB", growth < GROWTH_BYTES_MAX
        )
        run.report.table("bad input")


# Settings


def _wrong_settings(run: Run) -> None:
    """Each must end with exit code 2 and one line that names the setting."""
    with run.cluster(0) as cluster, socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = f"127.0.0.1:{busy.getsockname()[1]}"
        cases: list[tuple[str, list[str], dict[str, str], str]] = [
            ("an unknown option", ["--no-such-option"], {}, "--no-such-option"),
            ("an option without its value", ["--name"], {}, "--name"),
            ("a name with two hosts", ["--name", "a@b@c"], {}, "name"),
            ("a name without a node", ["--name", "@127.0.0.1"], {}, "name"),
            ("an empty name", ["--name", ""], {}, "name"),
            ("a name with a space", ["--name", "a b@127.0.0.1"], {}, "name"),
            ("a name that is too long", ["--name", "n" * 300 + "@127.0.0.1"], {}, "name"),
            ("a malformed peer", ["--join", "@@"], {}, "join"),
            ("a malformed address", ["--resp", "nonsense"], {}, "resp"),
            ("a port beyond 65535", ["--http", "127.0.0.1:70000"], {}, "http"),
            ("a RESP port in use", ["--resp", taken], {}, "resp"),
            ("an HTTP port in use", ["--http", taken], {}, "http"),
            ("no replicas", ["--replicas", "0"], {}, "replicas"),
            ("a number that is none", ["--replicas", "many"], {}, "replicas"),
            ("a negative tick time", ["--tick-time=-1s"], {}, "tick-time"),
            ("a wrong environment", [], {"SALP_REPLICAS": "many"}, "replicas"),
            ("a cookie file that is a folder", ["--cookie-file", "/"], {}, "cookie"),
            ("an open door to the world", ["--resp", f"0.0.0.0:{free_port()}"], {}, "insecure"),
        ]
        for name, options, environment, mention in cases:
            fault = _settings_fault(cluster, options, environment, mention)
            run.report.check(f"{name} is refused clearly", not fault, fault)


def _settings_fault(
    cluster: Cluster, options: list[str], environment: dict[str, str], mention: str
) -> str:
    defaults = {
        "--name": "salp@127.0.0.1",
        "--cookie-file": str(cluster.cookie_file),
        "--resp": f"127.0.0.1:{free_port()}",
        "--http": f"127.0.0.1:{free_port()}",
    }
    command = [str(cluster.binary), "start", *options]
    for option, value in defaults.items():
        if option not in options:
            command += [option, value]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=REFUSAL_S,
            env={**cluster.environment, **environment},
        )
    except subprocess.TimeoutExpired:
        return "it started"
    lines = done.stderr.strip().splitlines()
    if done.returncode != 2:
        return f"exit code {done.returncode}: {lines}"
    if len(lines) != 1:
        return f"{len(lines)} lines instead of one: {lines}"
    return "" if mention in lines[0].lower() else f"{mention!r} is not named: {lines[0]}"


def _wrong_cookie(run: Run, cluster: Cluster, node: Node) -> None:
    """A node with another cookie must not become a member, and must log why."""
    with Cluster(cluster.binary, epmd_port=cluster.epmd_port, first_index=2) as strangers:
        stranger = strangers.add()
        stranger.start(join=[node])
        time.sleep(ANSWER_S)
        members = {member["name"] for member in node.ask("/nodes") if member["state"] == "up"}
        run.report.check("a node with another cookie is no member", stranger.name not in members)
        said = stranger.log.read_text(errors="replace").lower()
        run.report.check("its log names the cookie as the reason", "cookie" in said, said[-300:])
    _check_health(run, node, "the refused node harms no client")


# Bytes


@dataclass(frozen=True)
class Abuse:
    """Bytes for one port. `ends`: the node must answer something or hang up."""

    name: str
    port: int
    data: bytes
    ends: bool = True


def _abuses(node: Node, dist_port: int, epmd_port: int) -> Iterator[Abuse]:
    rng = random.Random(1)
    noise = rng.randbytes(100_000)
    hello = bytes.fromhex("16030100c8010000c40303") + rng.randbytes(189)
    for name, port in (
        ("RESP", node.resp_port),
        ("HTTP", node.http_port),
        ("distribution", dist_port),
        ("port mapper", epmd_port),
    ):
        yield Abuse(f"noise on {name}", port, noise, ends=False)
        yield Abuse(f"noise with line ends on {name}", port, noise.replace(b"\x00", b"\r\n"))
        yield Abuse(f"zeros on {name}", port, bytes(100_000), ends=False)
        yield Abuse(f"ones on {name}", port, b"\xff" * 100_000, ends=False)
        yield Abuse(f"a TLS hello on {name}", port, hello, ends=False)
        yield Abuse(f"a line without an end on {name}", port, b"a" * (2 << 20))
    yield from _resp_abuses(node.resp_port)
    yield from _http_abuses(node.http_port)
    yield from _dist_abuses(dist_port, epmd_port)


def _resp_abuses(port: int) -> Iterator[Abuse]:
    yield Abuse("HTTP on RESP", port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    yield Abuse("an array of a billion", port, b"*1000000000\r\n", ends=False)
    yield Abuse("an array of ten billion", port, b"*10000000000\r\n")
    yield Abuse("an array of minus five", port, b"*-5\r\nPING\r\n")
    yield Abuse("a bulk of ten billion", port, b"*2\r\n$3\r\nGET\r\n$10000000000\r\n")
    yield Abuse("a bulk of minus five", port, b"*2\r\n$3\r\nGET\r\n$-5\r\n")
    yield Abuse("a length that is no number", port, b"*1\r\n$many\r\n")
    yield Abuse("a length of 100 digits", port, b"*1\r\n$" + b"9" * 100 + b"\r\n")
    yield Abuse("a bulk that ends wrongly", port, b"*1\r\n$4\r\nPINGxx*1\r\n")
    yield Abuse("deep arrays", port, b"*1\r\n" * 100_000)
    yield Abuse("quotes that never close", port, b'SET "abc\r\n')


def _http_abuses(port: int) -> Iterator[Abuse]:
    yield Abuse("RESP on HTTP", port, b"*1\r\n$4\r\nPING\r\n\r\n")
    yield Abuse("a header without an end", port, b"GET / HTTP/1.1\r\nX: " + b"a" * (2 << 20))
    many = b"A: b\r\n" * 10_000
    put = b"PUT /kv/k HTTP/1.1\r\nHost: localhost\r\n"
    chunked = put + b"Transfer-Encoding: chunked\r\n\r\n"
    yield Abuse("ten thousand headers", port, b"GET / HTTP/1.1\r\n" + many + b"\r\n")
    yield Abuse("a body of a terabyte", port, put + b"Content-Length: 1099511627776\r\n\r\n")
    yield Abuse("a body of minus one", port, put + b"Content-Length: -1\r\n\r\n")
    yield Abuse("two lengths", port, put + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")
    yield Abuse("a chunk of 2^68", port, chunked + b"f" * 17 + b"\r\n")


def _dist_abuses(port: int, epmd_port: int) -> Iterator[Abuse]:
    yield Abuse("a handshake of a lie", port, b"\xff\xff" + b"N" * 10, ends=False)
    yield Abuse("an empty handshake", port, b"\x00\x00")
    yield Abuse("a handshake of a wrong kind", port, b"\x00\x05Xabcd")
    flags = (0x0000_000D_07DF_7FBD).to_bytes(8, "big")
    name = b"liar@127.0.0.1"
    body = b"N" + flags + (1).to_bytes(4, "big") + len(name).to_bytes(2, "big") + name
    greeting = len(body).to_bytes(2, "big") + body
    yield Abuse("a false answer to the challenge", port, greeting + b"\x00\x15r" + bytes(20))
    yield Abuse("a frame before the handshake", port, greeting + b"\xff\xff\xff\xff" * 1000)
    yield Abuse("a register request of a lie", epmd_port, b"\x00\x20x" + b"\xff" * 31)
    yield Abuse("an empty port mapper request", epmd_port, b"\x00\x00")
    yield Abuse("an unknown port mapper request", epmd_port, b"\x00\x01\x00")


def _commit(run: Run, node: Node, abuse: Abuse) -> None:
    ended = _ends(node.host, abuse)
    run.report.check(f"{abuse.name}: an answer or the end of the connection", ended or not abuse.ends)
    _check_health(run, node, f"{abuse.name} harms no other client")


def _ends(host: str, abuse: Abuse) -> bool:
    """Sends the bytes. Returns whether an answer or the end of the connection came back."""
    with socket.create_connection((host, abuse.port), timeout=ANSWER_S) as connection:
        connection.settimeout(ANSWER_S if abuse.ends else GLANCE_S)
        try:
            connection.sendall(abuse.data)
            connection.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError:
            return True
        return True


def _check_health(run: Run, node: Node, name: str) -> None:
    fault = _illness(node)
    run.report.check(name, not fault, fault)


def _illness(node: Node) -> str:
    """What another client finds wrong with the node; empty if nothing."""
    if not node.running:
        return "the process is gone"
    try:
        with node.client() as client:
            answer = client.call("GET", CANARY[0])
            if answer != CANARY[1]:
                return f"the canary reads {answer!r}"
        status = node.request("GET", "/healthz").status
        return "" if status == 200 else f"/healthz says {status}"
    except (ReplyError, DeadlineExceeded, *NO_ANSWER) as error:
        return repr(error)


# Sizes


def _clear_refusals(run: Run, node: Node) -> None:
    """Well-formed but too large requests are refused with an error and change nothing."""
    long_key, large = b"k" * (KEY_BYTES_MAX + 1), bytes(VALUE_BYTES_MAX + 1)
    over_resp: list[tuple[str, tuple[bytes, ...]]] = [
        ("a key that is too long", (b"SET", long_key, b"v")),
        ("a value that is too large", (b"SET", b"large", large)),
        ("an unknown command", (b"NOSUCHCOMMAND", b"x")),
        ("too few arguments", (b"SET", b"k")),
        ("a wrong option of SET", (b"SET", b"k", b"v", b"NOSUCHOPTION")),
        ("an increment of what is no number", (b"INCR", CANARY[0])),
    ]
    for name, command in over_resp:
        run.report.check(f"RESP refuses {name}", _is_refused(node, command))
    over_http: list[tuple[str, str, str, bytes | None, tuple[int, ...]]] = [
        ("a key that is too long", "PUT", "/kv/" + long_key.decode(), b"v", (400, 413, 414, 431)),
        ("a value that is too large", "PUT", "/kv/large", large, (413,)),
        ("an unknown path", "GET", "/nowhere", None, (404,)),
        ("an unknown method", "BREW", "/kv/k", None, (405, 501)),
        ("an increment of what is no number", "POST", "/kv/canary/incr", None, (400, 409, 422)),
        ("a lifetime that is none", "PUT", "/kv/k?ttl=soon", b"v", (400,)),
        ("a batch that is no JSON", "POST", "/batch", b"[{", (400,)),
    ]
    for name, method, path, body, statuses in over_http:
        fault = _http_refusal_fault(node, method, path, body, statuses)
        run.report.check(f"HTTP refuses {name}", not fault, fault)
    with node.client() as client:
        run.report.check("refused requests changed nothing", client.call("EXISTS", "large", "k") == 0)
    _check_health(run, node, "refusals harm no other client")


def _is_refused(node: Node, command: tuple[bytes, ...]) -> bool:
    """An error reply, or a closed connection while a command of many MiB is still being sent."""
    try:
        with node.client() as client:
            client.call(*command)
    except (ReplyError, ConnectionError):
        return True
    except DeadlineExceeded:
        return False
    return False


def _http_refusal_fault(
    node: Node, method: str, path: str, body: bytes | None, statuses: tuple[int, ...]
) -> str:
    try:
        answer = node.request(method, path, body)
    except ConnectionError:
        return "" if body and len(body) > VALUE_BYTES_MAX else "the connection was closed"
    except NO_ANSWER as error:
        return repr(error)
    return "" if answer.status in statuses else f"{answer.status} {answer.body[:80]!r}"


# Patience


def _half_open(run: Run, node: Node, dist_port: int) -> None:
    """Many connections that send the beginning of a request and nothing more."""
    beginnings = {
        node.resp_port: b"*2\r\n$3\r\nGE",
        node.http_port: b"GET /kv/k HT",
        dist_port: b"\x00",
    }
    with ExitStack() as stack:
        for port, beginning in beginnings.items():
            for _ in range(HALF_OPEN):
                connection = socket.create_connection((node.host, port), ANSWER_S)
                stack.enter_context(connection).sendall(beginning)
        _check_health(run, node, f"{len(beginnings) * HALF_OPEN} half-open connections harm nobody")


def _never_reads(run: Run, node: Node) -> None:
    """One client requests far more than it reads."""
    with node.client() as client:
        client.call("SET", "unread", bytes(UNREAD_VALUE_BYTES))
    before = node.resident_bytes()
    with socket.create_connection((node.host, node.resp_port), ANSWER_S) as greedy:
        _send_until_stuck(greedy, encode(("GET", "unread")) * UNREAD_REQUESTS)
        time.sleep(1)
        _check_health(run, node, "a client that never reads harms nobody")
        growth = node.resident_bytes() - before
        run.report.count("a client that never reads costs", f"{growth / (1 << 20):,.1f} MiB")
        run.report.check("its replies are bounded", growth < GROWTH_BYTES_MAX)
    with node.client() as client:
        client.call("DEL", "unread")


def _send_until_stuck(connection: socket.socket, data: bytes) -> None:
    """Sends until the socket is full or the connection is closed: both are correct."""
    connection.settimeout(1)
    with suppress(OSError):
        connection.sendall(data)
