"""Kills the node that client libraries use, and says how long each of them is without an answer.

    python3 -m proof.clients                        all libraries
    python3 -m proof.clients --only ioredis,glide   those whose names contain one of these words
    python3 -m proof.clients --folder DIR           keeps the installed libraries there for the next run
    python3 -m proof.clients --transactions         has them execute transactions

Needs the registries of pip and npm. Exits with 1 if an answer was wrong, or if a library does not recover in time.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proof.clients.libraries import LIBRARIES, WITH_TRANSACTIONS, Library, command, install
from proof.cluster import Timeout, wait_for
from proof.run import Run

BEFORE_S = 2.0
"""Load before the kill."""
AFTER_S = 11.0
RECOVERED_S_MAX = 10.0
GAP_S_GOAL = 1.0
CONNECT_S = 40.0
WORDS_SHOWN = 45


@dataclass
class Outcome:
    """What a library saw of the loss of its node."""

    library: Library
    gap_s: float = 0.0
    """The longest time without a success, around the kill and after it."""
    recovered_s: float | None = None
    """From the kill to the first success behind the last error; None if it never recovered."""
    successes: int = 0
    errors: int = 0
    wrong: list[str] = field(default_factory=list)
    text: str = ""
    """The most frequent errors."""
    changed: int | None = None
    """How many transactions were not executed because a watched key had changed; None without transactions."""


def measured(library: Library, told: dict[str, Any], killed_at: float) -> Outcome:
    """Works out what the program of a library told. Times are seconds of the wall clock."""
    successes, errors = told["successes"], told["errors"]
    outcome = Outcome(library, successes=len(successes), errors=len(errors), wrong=told["wrong"])
    outcome.changed = told.get("changed")
    outcome.text = ", ".join(f"{count} × {text[:WORDS_SHOWN]}" for text, count in told["texts"])
    later = [moment for moment in successes if moment > killed_at]
    before = [moment for moment in successes if moment <= killed_at]
    moments = [before[-1] if before else killed_at, *later]
    outcome.gap_s = max((end - start for start, end in zip(moments, moments[1:], strict=False)), default=AFTER_S)
    last_error = max((moment for moment in errors if moment > killed_at), default=killed_at)
    recovered = [moment for moment in later if moment > last_error]
    outcome.recovered_s = recovered[0] - killed_at if recovered else None
    return outcome


class Program:
    """The running program of one library."""

    def __init__(self, library: Library, folder: Path, addresses: str, transactions: bool) -> None:
        self.library = library
        words, where = command(library, folder, addresses, BEFORE_S + AFTER_S, transactions)
        self._process = subprocess.Popen(
            words, cwd=where, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def is_connected(self) -> bool:
        """Whether the program works by now. A program that has ended counts, too: its end is looked at later."""
        return bool(self._lines) or self._process.poll() is not None

    def told(self) -> dict[str, Any] | str:
        """What the program saw, or why it saw nothing."""
        try:
            self._process.wait(BEFORE_S + AFTER_S + CONNECT_S)
        except subprocess.TimeoutExpired:
            self.close()
            return "the program does not end"
        self._reader.join()
        if len(self._lines) < 2:
            assert self._process.stderr is not None
            return f"exit code {self._process.returncode}: {self._process.stderr.read().strip()[-300:]}"
        told: dict[str, Any] = json.loads(self._lines[1])
        return told

    def close(self) -> None:
        """Ends the program, if it runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        # Some libraries print lines of their own.
        self._lines += (line for line in self._process.stdout if line.startswith("{"))


def kill_under(run: Run, libraries: Sequence[Library], folder: Path, transactions: bool = False) -> list[Outcome]:
    """Has some libraries work at once, and kills the node that they use first."""
    outcomes = []
    with run.cluster(3) as cluster:
        victim, *others = cluster.nodes[1], cluster.nodes[0], cluster.nodes[2]
        addresses = ",".join(f"{node.host}:{node.resp_port}" for node in (victim, *others))
        programs = [Program(library, folder, addresses, transactions) for library in libraries]
        try:
            wait_for("the libraries to connect", lambda: all(p.is_connected() for p in programs), CONNECT_S)
            time.sleep(BEFORE_S)
            victim.kill()
            killed_at = time.time()
            for program in programs:
                told = program.told()
                if run.report.check(f"{program.library.shown} runs", not isinstance(told, str), str(told)):
                    assert isinstance(told, dict)
                    outcomes.append(measured(program.library, told, killed_at))
        finally:
            for program in programs:
                program.close()
    return outcomes


def judge(run: Run, outcomes: Sequence[Outcome]) -> None:
    """Prints the table and checks each row."""
    width = max((len(outcome.library.shown) for outcome in outcomes), default=0)
    print(
        f"\n{'library':<{width}}     gap s  recovered s  answers  refused by WATCH  errors  wrong"
        "  errors, the most frequent first"
    )
    for outcome in outcomes:
        recovered = "never" if outcome.recovered_s is None else f"{outcome.recovered_s:.2f}"
        print(
            f"{outcome.library.shown:<{width}}  {outcome.gap_s:8.2f}  {recovered:>11}  {outcome.successes:7}"
            f"  {'-' if outcome.changed is None else outcome.changed:>16}  {outcome.errors:6}  {len(outcome.wrong):5}"
            f"  {outcome.text}"
        )
    print(flush=True)
    for outcome in outcomes:
        name = outcome.library.shown
        run.report.check_none(f"{name}: no answer is wrong", outcome.wrong)
        is_back = outcome.recovered_s is not None and outcome.recovered_s <= RECOVERED_S_MAX
        run.report.check(f"{name}: recovers within {RECOVERED_S_MAX:.0f} s", is_back)
    long = [outcome.library.shown for outcome in outcomes if outcome.gap_s > GAP_S_GOAL]
    if long:
        run.report.step(f"longer than {GAP_S_GOAL:.0f} s without an answer: {', '.join(long)}")


def main(arguments: list[str]) -> int:
    """Runs what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="proof.clients", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--salp", type=Path, default=Path("target/release/salp"), help="the binary")
    parser.add_argument("--only", default="", help="words of the names, separated by commas")
    parser.add_argument("--folder", type=Path, help="where the libraries are installed; default: a temporary folder")
    parser.add_argument("--transactions", action="store_true", help="transactions of the libraries that have them")
    parser.add_argument("--at-once", type=int, default=4, help="libraries that share one cluster and one kill")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    if not options.salp.exists():
        print(f"{options.salp} is missing: run `cargo build --release` first", file=sys.stderr)
        return 2
    words = options.only.split(",")
    among = WITH_TRANSACTIONS if options.transactions else LIBRARIES
    libraries = [library for library in among if any(word in library.shown for word in words)]
    run = Run(binary=options.salp.resolve())
    with tempfile.TemporaryDirectory(prefix="salp-clients-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        run.report.check_none("the libraries are installed", install(folder.resolve()))
        outcomes = []
        for at in range(0, len(libraries), options.at_once):
            try:
                outcomes += kill_under(run, libraries[at : at + options.at_once], folder.resolve(), options.transactions)
            except Timeout as error:
                run.report.check("all libraries connect", False, str(error))
    judge(run, outcomes)
    return run.report.finish()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
