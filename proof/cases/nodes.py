"""What those who start and stop nodes tripped over once. Each case starts nodes of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from proof import web
from proof.cases import Case, Skipped
from proof.cluster import Cluster, wait_for
from proof.network import free_port
from proof.resp import Client

FILES = 256
CROWD = 400
DAY_S = 86_400
DEV_NODES = 5
DEV_S = 4.0

ENVIRONMENT = {
    "SALP_DIST_PORT": "tcp://10.3.2.1:9100",
    "SALP_EPMD_PORT": "tcp://10.3.2.1:4369",
    "SALP_DISCOVERY_PORT": "tcp://10.3.2.1:4369",
    "SALP_LOG": "",
    "SALP_HIDDEN": "",
    "SALP_MAX_MEMORY": "",
    "SALP_REPLICAS": "",
    "SALP_JOIN": "",
}
"""Services of Kubernetes set the first three in every pod; the others are what `X=${Y}` gives without Y."""

CLOCK_SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, at);
    if (!failed && clock == CLOCK_REALTIME) at->tv_sec += atol(getenv("CLOCK_AHEAD_S"));
    return failed;
}
"""
"""Puts the wall clock of one process ahead."""


def _environment(cluster: Cluster) -> str:
    with Cluster(cluster.binary) as own:
        own.environment.update(ENVIRONMENT)
        (node,) = own.grow(1)
        warned = node.log.read_text()
        with node.client() as client:
            if client.call("PING") != b"PONG":
                return "the node does not answer"
    lacks = [name for name in ("SALP_DIST_PORT", "SALP_EPMD_PORT", "SALP_DISCOVERY_PORT") if name not in warned]
    return f"the log does not name {', '.join(lacks)}" if lacks else ""


def _full_disk(cluster: Cluster) -> str:
    """Nothing that a node logs can be written; others come and go meanwhile."""
    with Cluster(cluster.binary) as own:
        own.grow(1)
        first = own.nodes[0]
        logs = own.add()
        with Path("/dev/full").open("wb") as full:
            logs.process = subprocess.Popen(
                logs.command([first]), stdin=subprocess.DEVNULL, stdout=full, stderr=full, env=own.environment
            )
        logs.wait_ready()
        with logs.client() as client:
            client.call("SET", "kept", "v")
            (third,) = own.grow(1)
            own.kill([third])
            wait_for("the loss to be seen", lambda: _sees_up(own, 2), 20)
            got, dropped = client.call("GET", "kept"), _info(client, "log_lines_dropped")
        if got != b"v" or not logs.running:
            return f"GET: {got!r}, running: {logs.running}"
        return "" if dropped and int(dropped) > 0 else f"log_lines_dropped is {dropped}"


def _sees_up(cluster: Cluster, count: int) -> bool:
    return all(sum(row["state"] == "up" for row in node.ask("/nodes")) == count for node in cluster.serving())


def _info(client: Client, field: str) -> str | None:
    shown = client.call("INFO", "everything")
    assert isinstance(shown, bytes)
    fields = dict(line.partition(":")[::2] for line in shown.decode().splitlines())
    return fields.get(field)


def _descriptors(cluster: Cluster) -> str:
    with ExitStack() as stack:
        own = stack.enter_context(Cluster(cluster.binary))
        first, second = own.add(), own.add()
        # A shell sets the limit and becomes the node.
        command = ["sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh", *first.command()]
        with first.log.open("ab") as log:
            first.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=own.environment
            )
        first.wait_ready()
        crowd = [
            stack.enter_context(socket.create_connection((first.host, first.resp_port), timeout=2))
            for _ in range(CROWD)
        ]
        served = refused = 0
        for connection in crowd:
            try:
                connection.sendall(b"PING\r\n")
                word = connection.recv(200)
            except ConnectionError:
                word = b""
            served += word == b"+PONG\r\n"
            refused += word.startswith(b"-ERR max")
        if served + refused != CROWD or served < FILES // 4 or not refused:
            return f"{served} are served, {refused} of {CROWD} are refused with a word"
        for path in ("/healthz", "/readyz", "/metrics"):
            if (status := first.request("GET", path).status) != 200:
                return f"{path} answers {status}"
        second.start([first])
        second.wait_ready()
        wait_for("the two to see each other", lambda: _sees_up(own, 2), 20)
    return ""


def _no_false_warnings(cluster: Cluster) -> str:
    """Twice, as the five nodes dial each other in another order each time."""
    for _ in range(2):
        with Cluster(cluster.binary) as own:
            resp, http = (_free_ports(DEV_NODES) for _ in range(2))
            command = [
                str(own.binary),
                "dev",
                "--nodes",
                str(DEV_NODES),
                "--base-resp",
                str(resp),
                "--base-http",
                str(http),
            ]
            environment = own.environment | {"XDG_STATE_HOME": str(own.folder)}
            with (own.folder / "dev.log").open("wb") as log:
                dev = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
            try:
                wait_for("five nodes", partial(_are_up, http, DEV_NODES), 30)
                time.sleep(DEV_S)
            finally:
                dev.terminate()
                dev.wait(60)
            shown = (own.folder / "dev.log").read_text(errors="replace")
            warnings = [line for line in shown.splitlines() if "WARN" in line or "ERROR" in line or "handshake" in line]
            if warnings:
                return f"{len(warnings)} warnings: {warnings[0][:200]}"
    return ""


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        first = free_port()
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return first


def _are_up(http_port: int, count: int) -> bool:
    try:
        rows = web.request("127.0.0.1", http_port, "GET", "/nodes").json()
    except (OSError, ValueError):
        return False
    return [row["state"] for row in rows] == ["up"] * count


class _NotFound(BaseHTTPRequestHandler):
    """A web server that is no salp node: it answers 404 to whatever is asked."""

    def do_GET(self) -> None:  # noqa: N802, the name is fixed by the base class
        self.send_error(404)

    do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Silent."""


def _another_server(cluster: Cluster) -> str:
    server = HTTPServer(("127.0.0.1", 0), _NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        for words in (("get", "moo"), ("set", "moo", "1"), ("del", "moo"), ("incr", "moo")):
            done = cluster.command(*words, "--url", url)
            if done.returncode != 3 or "node" not in done.stderr:
                return f"salp {words[0]} exits with {done.returncode}: {done.stderr.strip()[:100]!r}"
        done = cluster.command("get", "none", "--url", f"http://127.0.0.1:{cluster.nodes[0].http_port}")
        return "" if done.returncode == 1 else f"salp get of a missing key exits with {done.returncode}"
    finally:
        server.shutdown()
        server.server_close()


def _safe_to_stop(cluster: Cluster) -> str:
    node = cluster.nodes[0]
    rows = node.ask("/nodes")
    unsafe = [f"{row['name']}: {row['stop_risk']}" for row in rows if not row["safe_to_stop"]]
    if len(rows) != 3 or unsafe:
        return "; ".join(unsafe) or f"{len(rows)} nodes"
    shown = cluster.command("cluster", "--url", f"http://{node.host}:{node.http_port}").stdout
    return "" if sum(line.endswith("yes") for line in shown.splitlines()) == 3 else shown


def _lone_leave(cluster: Cluster) -> str:
    """The last node holds a key and is stopped: the log does not say that somebody has it."""
    with Cluster(cluster.binary) as own:
        (node,) = own.grow(1)
        with node.client() as client:
            client.call("SET", "a", "1")
        node.terminate()
        code, shown = node.wait_exit(), node.log.read_text()
        is_told = any("WARN" in line and "1 key in 1 shard are lost with this node" in line for line in shown.splitlines())
        return "" if code == 1 and is_told else f"exit code {code}; {shown.splitlines()[-3:]}"


def _first_clock(cluster: Cluster) -> str:
    """The first node's clock is a day ahead; a node with the right time joins, and the first one leaves."""
    if (compiler := shutil.which("cc")) is None:
        raise Skipped("needs a C compiler, which makes a clock that is wrong")
    with tempfile.TemporaryDirectory() as folder, Cluster(cluster.binary) as own:
        source, library = Path(folder) / "clock.c", Path(folder) / "clock.so"
        source.write_text(CLOCK_SHIM)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
        wrong = {"LD_PRELOAD": str(library), "CLOCK_AHEAD_S": str(DAY_S)}
        own.environment.update(wrong)
        own.grow(1)
        for name in wrong:
            del own.environment[name]
        with own.nodes[0].client() as client:
            shown = client.call("TIME")
            if (
                not isinstance(shown, list)
                or not isinstance(shown[0], bytes)
                or int(shown[0]) < time.time() + DAY_S / 2
            ):
                return f"the planted clock does not work: TIME is {shown!r}"
        (right,) = own.grow(1)
        own.nodes[0].terminate()
        own.nodes[0].wait_exit()
        with right.client() as client:
            now_s = int(time.time())
            shown = client.call("TIME")
            client.call("SET", "k", "v", "EXAT", now_s + 100)
            got, left = client.call("GET", "k"), client.call("TTL", "k")
        faults = []
        if not isinstance(shown, list) or not isinstance(shown[0], bytes) or abs(int(shown[0]) - now_s) > 2:
            faults.append(f"TIME is {shown!r}, and the clock {now_s}")
        if got != b"v" or left not in (99, 100):
            faults.append(f"a key that is to live for 100 s: {got!r}, {left!r} s are left")
        if "clock" not in right.log.read_text():
            faults.append("no line of the log speaks of the clock")
        return "; ".join(faults)


NODES: tuple[Case, ...] = (
    Case(
        "environment",
        "empty variables, and SALP_DIST_PORT=tcp://… of Kubernetes: the node starts",
        _environment,
        own_nodes=True,
    ),
    Case(
        "full-disk", "a log that cannot be written: the node goes on, and counts the lines", _full_disk, own_nodes=True
    ),
    Case(
        "descriptors",
        f"{CROWD} clients, {FILES} files: some are refused with a word; HTTP and nodes get in",
        _descriptors,
        own_nodes=True,
    ),
    Case("no-false-warnings", "salp dev twice: no warning", _no_false_warnings, own_nodes=True),
    Case("another-server", "salp get, set, del, incr at a web server that is no node: exit code 3", _another_server),
    Case("safe-to-stop", "three healthy nodes: each is safe to stop", _safe_to_stop),
    Case("lone-leave", "the last node leaves with a key: exit code 1, and a warning", _lone_leave, own_nodes=True),
    Case(
        "first-clock",
        "the first clock is a day ahead: TIME and EXAT of later nodes are right",
        _first_clock,
        own_nodes=True,
    ),
)
