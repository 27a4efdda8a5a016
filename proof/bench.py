"""salp beside redis-server (and valkey-server, if installed), measured in one run.

    python3 -m proof.bench
    python3 -m proof.bench --rounds 7 --write docs/benchmarks.md --gate

Wall-clock times on a shared machine say little. So the servers take turns within every round, each
figure is the median of all rounds, and the goals are about ratios and about the server's CPU time per
operation. All servers run with their defaults, without persistence. With --gate the exit code is 1 if
a ratio misses its goal.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from proof import bulk
from proof.cluster import Cluster, resident_bytes, wait_for
from proof.network import free_port
from proof.resp import Client

CLIENTS = 50
VALUE_BYTES = 64
KEYS = 100_000
"""How many different keys the throughput runs use."""
DEPTHS = (1, 16, 64)
OPERATIONS = ("SET", "GET")
MEMORY_KEYS = 1_000_000
CLUSTER_NODES = 3
START_S = 15.0
SETTLE_S = 2.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

LAST_HEADING = "## Goals"

BASE = "redis"
SINGLE = "salp"
TRIO = "salp, 3 nodes"


@dataclass(frozen=True)
class Server:
    """One server or cluster that speaks RESP, and its processes, whose CPU time is measured."""

    name: str
    port: int
    pids: tuple[int, ...]

    def cpu_seconds(self) -> float:
        """User and system time of all its processes so far."""
        return sum(cpu_seconds(pid) for pid in self.pids)


@dataclass(frozen=True)
class Sample:
    """One run of redis-benchmark."""

    per_second: float
    cpu_us: float
    """Server CPU time per operation."""
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Goal:
    """The least ratio of a server to its base. Both are measured so that more is better."""

    server: str
    base: str
    measure: str
    depth: int
    least: float


GOALS = (
    Goal(SINGLE, BASE, "per_second", 1, 1.0),
    Goal(SINGLE, BASE, "cpu_us", 1, 1.0),
    Goal(SINGLE, BASE, "per_second", 16, 1.3),
    Goal(SINGLE, BASE, "cpu_us", 16, 1.3),
    Goal(TRIO, SINGLE, "per_second", 1, 0.35),
    Goal(TRIO, SINGLE, "per_second", 16, 0.35),
)
MEMORY_RATIO_MAX = 1.0

Key = tuple[str, str, int]
"""Server, operation, depth."""


class Results:
    """All samples, and the figures computed from them."""

    def __init__(self) -> None:
        self._samples: dict[Key, list[Sample]] = {}
        self.memory: dict[str, float] = {}
        """Bytes per key of each server."""

    def add(self, key: Key, sample: Sample) -> None:
        """Adds the samples of one run."""
        self._samples.setdefault(key, []).append(sample)

    def servers(self) -> list[str]:
        """The names of the servers, in the order in which they were measured."""
        return list(dict.fromkeys(server for server, _, _ in self._samples))

    def median(self, key: Key, measure: str) -> float:
        """The median of one measure over all rounds."""
        values: list[float] = [getattr(sample, measure) for sample in self._samples[key]]
        return statistics.median(values)

    def ratio(self, goal: Goal, operation: str) -> float:
        """How much better the server is than its base: 2.0 is twice as fast, or half the CPU."""
        own = self.median((goal.server, operation, goal.depth), goal.measure)
        base = self.median((goal.base, operation, goal.depth), goal.measure)
        return base / own if goal.measure == "cpu_us" else own / base


def main(arguments: list[str]) -> int:
    """Measures, prints the page, writes it if asked to, and returns the exit code."""
    options = _parser().parse_args(arguments)
    # Unwinding ends the servers; dying at once would leave them behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    missing = [tool for tool in ("redis-server", "redis-benchmark") if shutil.which(tool) is None]
    if missing or not options.salp.exists():
        print(f"missing: {', '.join(missing) or options.salp}", file=sys.stderr)
        return 2
    binary = options.salp.resolve()
    results = Results()
    with ExitStack() as stack:
        servers = [stack.enter_context(_redis_like(name, path)) for name, path in _redis_likes()]
        servers.append(stack.enter_context(_salp(binary, 1, SINGLE)))
        servers.append(stack.enter_context(_salp(binary, CLUSTER_NODES, TRIO)))
        _measure_all(servers, options, results)
    _measure_memory(binary, options.memory_keys, results)
    misses = _misses(results)
    page = _page(results, misses, binary, ["python3 -m proof.bench", *arguments])
    print(page)
    if options.write:
        _write_page(options.write, page)
    return 1 if options.gate and misses else 0


# Servers


def _redis_likes() -> list[tuple[str, str]]:
    """The installed servers to compare with."""
    found = [(BASE, shutil.which("redis-server")), ("valkey", shutil.which("valkey-server"))]
    return [(name, path) for name, path in found if path]


@contextmanager
def _redis_like(name: str, path: str) -> Iterator[Server]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [path, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_for(name, lambda: _answers(port), START_S)
            yield Server(name, port, (process.pid,))
        finally:
            process.kill()
            process.wait()


@contextmanager
def _salp(binary: Path, nodes: int, name: str) -> Iterator[Server]:
    with Cluster(binary) as cluster:
        cluster.grow(nodes)
        cluster.wait_healed()
        pids = tuple(node.pid for node in cluster.nodes)
        yield Server(name, cluster.nodes[0].resp_port, pids)


def _answers(port: int) -> bool:
    try:
        with Client("127.0.0.1", port) as client:
            return client.call("PING") == b"PONG"
    except OSError:
        return False


# Measuring


def _measure_all(servers: Sequence[Server], options: argparse.Namespace, results: Results) -> None:
    """Each round measures the same operations on each server, and begins with a different server."""
    for number in range(options.rounds):
        turn = number % len(servers)
        for depth in DEPTHS:
            for operation in OPERATIONS:
                for server in [*servers[turn:], *servers[:turn]]:
                    count = int(options.requests * min(depth, 16) ** 0.75)
                    sample = _measure(server, operation, depth, count)
                    results.add((server.name, operation, depth), sample)
        print(f"round {number + 1} of {options.rounds} is done", file=sys.stderr)


def _measure(server: Server, operation: str, depth: int, count: int) -> Sample:
    command = ["redis-benchmark", "--csv", "--precision", "3", "-p", str(server.port)]
    command += ["-c", str(CLIENTS), "-d", str(VALUE_BYTES), "-r", str(KEYS), "-P", str(depth)]
    command += ["-n", str(count), "-t", operation.lower()]
    before = server.cpu_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu_s = server.cpu_seconds() - before
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    return Sample(
        per_second=float(row["rps"]),
        cpu_us=cpu_s * 1e6 / count,
        p50_ms=float(row["p50_latency_ms"]),
        p99_ms=float(row["p99_latency_ms"]),
    )


def _measure_memory(binary: Path, count: int, results: Results) -> None:
    """Starts new servers, so that earlier work does not change the figures."""
    with _salp(binary, 1, SINGLE) as server:
        results.memory[server.name] = _bytes_per_key(server, count)
    for name, path in _redis_likes():
        with _redis_like(name, path) as server:
            results.memory[name] = _bytes_per_key(server, count)


def _bytes_per_key(server: Server, count: int) -> float:
    """The growth of resident memory by `count` keys of 16 bytes with values of 16 bytes."""
    (pid,) = server.pids
    before = resident_bytes(pid)
    with Client("127.0.0.1", server.port, deadline_s=30) as client:
        for start in range(0, count, bulk.BATCH):
            numbers = range(start, min(start + bulk.BATCH, count))
            client.pipeline([("SET", f"key:{n:012}", f"value:{n:010}") for n in numbers])
    time.sleep(SETTLE_S)
    return (resident_bytes(pid) - before) / count


def cpu_seconds(pid: int) -> float:
    """User and system time. The fields are counted after the name, because the name may contain spaces."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


# The page


def write_section(path: Path, heading: str, section: str) -> None:
    """Replaces the section with that heading in a page, or appends it."""
    page = path.read_text() if path.exists() else ""
    start = page.find(f"\n{heading}\n")
    if start < 0:
        path.write_text(f"{page.rstrip()}\n\n{section}".lstrip())
        return
    end = page.find("\n## ", start + len(heading))
    rest = page[end:] if end >= 0 else ""
    path.write_text(f"{page[:start]}\n{section}{rest}")


def _write_page(path: Path, page: str) -> None:
    """Writes the page, and keeps the sections that other programs appended to it."""
    old = path.read_text() if path.exists() else ""
    _, _, behind = old.partition(f"\n{LAST_HEADING}\n")
    _, heading, others = behind.partition("\n## ")
    path.write_text(page + heading + others)


def _misses(results: Results) -> list[str]:
    found = []
    for goal in GOALS:
        for operation in OPERATIONS if goal.server == SINGLE else ("SET",):
            ratio = results.ratio(goal, operation)
            if ratio < goal.least:
                found.append(
                    f"{goal.server}, {operation}, depth {goal.depth}, {goal.measure}:"
                    f" {ratio:.2f} of {goal.base}, the goal is {goal.least}"
                )
    ratio = results.memory[SINGLE] / results.memory[BASE]
    if ratio > MEMORY_RATIO_MAX:
        found.append(f"memory per key: {ratio:.2f} of {BASE}, the goal is {MEMORY_RATIO_MAX}")
    return found


def _page(results: Results, misses: list[str], binary: Path, command: list[str]) -> str:
    goals = "\n".join(f"- missed: {miss}" for miss in misses) or "All goals are met."
    return f"""# Benchmarks

This page is written by:

    {" ".join(command)}

One machine runs the servers and the load generator (`redis-benchmark`: {CLIENTS} connections,
{VALUE_BYTES}-byte values, {KEYS:,} random keys). The servers take turns, and each figure is the median
of all rounds. No server writes to disk; all other settings are the defaults. *CPU* is the CPU time of
the server per operation, summed over all its nodes. *Ratio* compares the figure before it with {BASE} in
the same run: above 1, the server is better than {BASE}. For memory, below 1 is better.

{_machine(binary)}

## One operation

{_operation_table(results)}

`{TRIO}` writes every value to {CLUSTER_NODES} replicas and acknowledges a write when all of them have
it. The three nodes and the load generator share the machine.

## Memory

{_memory_table(results)}

{LAST_HEADING}

{goals}
"""


def _operation_table(results: Results) -> str:
    rows = [
        "| operation | depth | server | ops/s | ratio | CPU µs/op | ratio | p50 ms | p99 ms |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for operation in OPERATIONS:
        for depth in DEPTHS:
            for server in results.servers():
                key = (server, operation, depth)
                speed = results.ratio(Goal(server, BASE, "per_second", depth, 0), operation)
                thrift = results.ratio(Goal(server, BASE, "cpu_us", depth, 0), operation)
                cells = [
                    operation,
                    str(depth),
                    server,
                    f"{results.median(key, 'per_second'):,.0f}",
                    f"{speed:.2f}",
                    f"{results.median(key, 'cpu_us'):.2f}",
                    f"{thrift:.2f}",
                    f"{results.median(key, 'p50_ms'):.2f}",
                    f"{results.median(key, 'p99_ms'):.2f}",
                ]
                rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _memory_table(results: Results) -> str:
    rows = ["| server | bytes per key (16 + 16 bytes) | ratio |", "|---|---:|---:|"]
    for server, size in results.memory.items():
        rows.append(f"| {server} | {size:.0f} | {size / results.memory[BASE]:.2f} |")
    return "\n".join(rows)


def _machine(binary: Path) -> str:
    paths = [str(binary), *(path for _, path in _redis_likes())]
    versions = [_first_line([path, "--version"]) for path in paths]
    facts = [f"{_cpu_model()}, {os.cpu_count()} cores", f"Linux {'.'.join(platform.release().split('.')[:2])}", *versions]
    return "\n".join(f"- {fact}" for fact in facts)


def _first_line(command: list[str]) -> str:
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return lines[0] if lines else f"{Path(command[0]).name}: no version"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="proof.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--salp", type=Path, default=Path("target/release/salp"), help="the binary")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    parser.add_argument(
        "--requests", type=int, default=150_000, help="per measurement at depth 1; more at others"
    )
    parser.add_argument("--memory-keys", type=int, default=MEMORY_KEYS, help="for bytes per key")
    parser.add_argument("--write", type=Path, help="write the page to this file")
    parser.add_argument("--gate", action="store_true", help="exit 1 if a goal is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
