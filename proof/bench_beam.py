"""Messages and calls between nodes: salp beside the BEAM, measured in one run.

    cargo build --release -p salp --example node_speed
    python3 -m proof.bench_beam
    python3 -m proof.bench_beam --rounds 7 --write docs/benchmarks.md --gate

Two nodes of each kind run at the same time: `crates/server/examples/node_speed.rs` for salp, and
`proof/beam/speed.erl` for each installed OTP. The pairs do the same work, one pair at a time, and
each round begins with a different pair. Each figure is the median of all rounds. All nodes run with
their defaults and the same payload. The goals are about ratios within one run. With --gate the exit
code is 1 if a ratio misses its goal.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from proof import bench
from proof.network import free_port

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "proof" / "beam" / "speed.erl"
HEADING = "## Messages and calls"
SALP = "salp"
LINE_S = 120.0
"""How long one measurement may take."""
PAYLOAD_BYTES = 64
CALLERS = 50


@dataclass(frozen=True)
class Work:
    """One kind of work between two nodes."""

    name: str
    word: str
    """Its name in the commands of the programs."""
    many: int
    count: int


CALL = Work("call, 1 caller", "calls", 1, 15_000)
CALLS = Work(f"call, {CALLERS} callers", "calls", CALLERS, 100_000)
SEND = Work("message, 1 sender", "sends", 1, 500_000)
SENDS = Work(f"message, {CALLERS} senders", "sends", CALLERS, 500_000)
WORKS = (CALL, CALLS, SEND, SENDS)


def by_async(work: Work) -> Work:
    """Its name if async processes do the work, which only salp has."""
    return Work(work.name, f"async-{work.word}", work.many, work.count)


@dataclass(frozen=True)
class Pair:
    """Which node does which work to which other node. `base` is the pair to compare with."""

    work: Work
    source: str
    target: str
    base: str

    @property
    def label(self) -> str:
        """Its label in the table."""
        kind = ", async" if self.work.word.startswith("async") else ""
        return f"{self.source} → {self.target}{kind}"


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    per_second: float
    source_us: float
    """CPU time per operation of the node that begins it."""
    target_us: float


@dataclass(frozen=True)
class Goal:
    """The least ratio of operations per second, for every OTP."""

    work: Work
    source: str
    least: float


GOALS = (
    Goal(CALL, "OTP", 1.0),
    Goal(CALLS, "OTP", 1.0),
    Goal(CALL, SALP, 2.0),
    Goal(CALLS, SALP, 2.0),
    Goal(SEND, SALP, 5.0),
    Goal(SENDS, SALP, 5.0),
)


@dataclass
class Program:
    """A node that takes commands, one on each line."""

    name: str
    process: subprocess.Popen[str]
    
    @property
    def cpu_s(self) -> float:
        """User and system time so far."""
        return bench.cpu_seconds(self.process.pid)

    def read(self) -> str:
        """The next line that it prints. Raises if the node has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} has ended")
        return line.strip()

    def order(self, line: str) -> float:
        """Sends a command and returns the seconds it took."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        while True:
            answer = self.read()
            word, _, micros = answer.partition(" ")
            if word == "done":
                return int(micros) / 1e6
            # What its logger has to say.
            print(f"{self.name}: {answer}", file=sys.stderr)


Results = dict[Pair, list[Sample]]


def main(arguments: list[str]) -> int:
    """Measures, prints the section, writes it if asked to, and returns the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    # A measurement that hangs ends the run, and with it all programs.
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("a measurement took too long"))
    releases = _releases()
    if not releases or not options.salp.exists():
        missing = "erl" if not releases else f"{options.salp}; build the example node_speed"
        print(f"missing: {missing}", file=sys.stderr)
        return 2
    results: Results = {}
    with ExitStack() as stack:
        epmd = stack.enter_context(_epmd())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        subprocess.run(["erlc", "-o", folder, str(MODULE)], check=True)
        cookie = secrets.token_hex(16)
        kinds: dict[str, list[Program]] = {}
        for number, (label, erl) in enumerate(releases.items()):
            names = [f"otp_{number}_{side}@localhost" for side in "ab"]
            kinds[label] = [stack.enter_context(_beam(name, cookie, epmd, erl, folder)) for name in names]
        names = [f"salp_{side}@localhost" for side in "ab"]
        kinds[SALP] = [
            stack.enter_context(_salp(name, cookie, epmd, options.salp.resolve())) for name in names
        ]
        pairs = [pair for pair in _pairs(list(releases)) if options.only in f"{pair.work.word} {pair.label}"]
        for pair in pairs:
            _measure(pair, kinds, options.scale / 10)
        for number in range(options.rounds):
            turn = number % len(pairs)
            for pair in [*pairs[turn:], *pairs[:turn]]:
                results.setdefault(pair, []).append(_measure(pair, kinds, options.scale))
            print(f"round {number + 1} of {options.rounds} is done", file=sys.stderr)
    misses = _misses(results)
    section = _section(results, misses, ["python3 -m proof.bench_beam", *arguments])
    print(section)
    if options.write:
        bench.write_section(options.write, HEADING, section)
    return 1 if options.gate and misses else 0


def _pairs(releases: list[str]) -> list[Pair]:
    """All pairs to measure, each base first. The same work between two Erlang nodes is measured once."""
    found = []
    for work in WORKS:
        for otp in releases:
            found.append(Pair(work, otp, otp, otp))
            if work.word == "calls":
                found.append(Pair(work, otp, SALP, otp))
        for way in (work, by_async(work)):
            found.append(Pair(way, SALP, SALP, releases[0]))
    return found


def _measure(pair: Pair, kinds: dict[str, list[Program]], scale: float) -> Sample:
    source, target = kinds[pair.source][0], kinds[pair.target][1]
    work = pair.work
    count = max(int(work.count * scale) // work.many, 1) * work.many
    signal.alarm(int(LINE_S))
    before = source.cpu_s, target.cpu_s
    seconds = source.order(f"{work.word} {target.name} {work.many} {count}")
    signal.alarm(0)
    return Sample(
        per_second=count / seconds,
        source_us=(source.cpu_s - before[0]) * 1e6 / count,
        target_us=(target.cpu_s - before[1]) * 1e6 / count,
    )


# Nodes


def _releases() -> dict[str, str]:
    """The `erl` of each available OTP, the installed one first: its compiler is used for all."""
    found = {}
    installed = shutil.which("erl")
    if installed:
        found[_release(installed)] = installed
    fetched = subprocess.run([ROOT / "script" / "otp28"], capture_output=True, text=True)
    if fetched.returncode == 0:
        erl = fetched.stdout.strip()
        found[_release(erl)] = erl
    return found


def _release(erl: str) -> str:
    say = 'io:format("~s", [erlang:system_info(otp_release)]), halt().'
    done = subprocess.run([erl, "-noshell", "-eval", say], capture_output=True, text=True, check=True)
    return f"OTP {done.stdout.strip()}"


@contextmanager
def _epmd() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(["epmd", "-port", str(port), "-address", "127.0.0.1"])
    try:
        time.sleep(0.5)
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def _beam(name: str, cookie: str, epmd: int, erl: str, folder: str) -> Iterator[Program]:
    command = [erl, "-noshell", "-sname", name, "-setcookie", cookie, "-pa", folder, "-s", "speed"]
    yield from _program(name, command, {**os.environ, "ERL_EPMD_PORT": str(epmd)})


@contextmanager
def _salp(name: str, cookie: str, epmd: int, program: Path) -> Iterator[Program]:
    yield from _program(name, [str(program), name, cookie, str(epmd)], dict(os.environ))


def _program(name: str, command: list[str], environment: dict[str, str]) -> Iterator[Program]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, text=True, **pipes)
    program = Program(name, process)
    try:
        if program.read() != "ready":
            raise RuntimeError(f"{name} does not start")
        yield program
    finally:
        process.kill()
        process.wait()


# The section


def _median(samples: list[Sample], measure: str) -> float:
    return statistics.median(getattr(sample, measure) for sample in samples)


def _cpu_us(samples: list[Sample]) -> float:
    return statistics.median(sample.source_us + sample.target_us for sample in samples)


def _speed_ratio(results: Results, pair: Pair, otp: str) -> float:
    """Operations per second, divided by those between two nodes of that OTP."""
    base = results.get(_base(pair, otp))
    if not base:
        return float("nan")
    return _median(results[pair], "per_second") / _median(base, "per_second")


def _base(pair: Pair, otp: str) -> Pair:
    plain = next(work for work in WORKS if work.name == pair.work.name)
    return Pair(plain, otp, otp, otp)


def _misses(results: Results) -> list[str]:
    found = []
    for goal in GOALS:
        for pair in results:
            is_it = pair.work == goal.work and pair.target == SALP and pair.source.startswith(goal.source)
            if not is_it:
                continue
            otps = [pair.source] if pair.source != SALP else _otps(results)
            for otp in otps:
                ratio = _speed_ratio(results, pair, otp)
                if ratio < goal.least:
                    found.append(
                        f"{pair.work.name}, {pair.label}: {ratio:.2f} of {otp}, the goal is {goal.least}"
                    )
    return found


def _otps(results: Results) -> list[str]:
    return list(dict.fromkeys(pair.target for pair in results if pair.target != SALP))


def _section(results: Results, misses: list[str], command: list[str]) -> str:
    goals = "\n".join(f"- missed: {miss}" for miss in misses) or "All goals of this section are met."
    return f"""{HEADING}

This section is written by:

    {" ".join(command)}

Two nodes run on the machine above and share its {os.cpu_count()} cores; they are connected over loopback.
Messages, requests and answers are binaries of {PAYLOAD_BYTES} bytes. All settings are the defaults: an Erlang node
has one scheduler for each core; a salp node has one thread, and runs async processes on the threads of
the program. A call is `gen_server:call` to a server that returns its argument. Messages go to one
process, and a message counts when the process has received it. *CPU* is user and system time per
operation: of the node that begins the operation + of the other node. Ratio = salp ÷ that OTP in the same
run, for throughput and for the CPU time of both nodes; above 1, salp is better.

{_table(results)}

{goals}
"""


def _table(results: Results) -> str:
    otps = _otps(results)
    head = ["operation", "from → to", "ops/s", "CPU µs/op"]
    for otp in otps:
        head += [f"of {otp}", "CPU"]
    rows = [head]
    for pair, samples in results.items():
        cells = [
            pair.work.name,
            pair.label,
            f"{_median(samples, 'per_second'):,.0f}",
            f"{_median(samples, 'source_us'):.2f} + {_median(samples, 'target_us'):.2f}",
        ]
        for otp in otps:
            base = results.get(_base(pair, otp))
            if not base or (pair.source != SALP and pair.source != otp):
                cells += ["", ""]
                continue
            cells += [
                f"{_speed_ratio(results, pair, otp):.2f}",
                f"{_cpu_us(base) / max(_cpu_us(samples), 0.001):.2f}",
            ]
        rows.append(cells)
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append(f"| {' | '.join([*left, *right])} |")
    ruler = ["-" * width for width in widths[:2]] + ["-" * (width - 1) + ":" for width in widths[2:]]
    lines.insert(1, f"| {' | '.join(ruler)} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="proof.bench_beam",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    program = Path("target/release/examples/node_speed")
    parser.add_argument("--salp", type=Path, default=program, help="the example node_speed")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each work is done")
    parser.add_argument("--only", default="", help="only pairs with this in them, such as `sends salp`")
    parser.add_argument("--write", type=Path, help="put the section into this file")
    parser.add_argument("--gate", action="store_true", help="exit 1 if a goal is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
