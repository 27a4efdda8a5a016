"""Runs all cases.

    python3 -m proof.cases                          all of them
    python3 -m proof.cases --only scan-cursors,multi

Prints a line for each case, and how many are open. Exits with 1 if a case fails that is not open.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from proof.cases.runner import CASES, run_cases
from proof.run import Run


def main(arguments: list[str]) -> int:
    """Runs what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="proof.cases", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--salp", type=Path, default=Path("target/release/salp"), help="the binary")
    parser.add_argument("--only", help="names of cases, separated by commas")
    options = parser.parse_args(arguments)
    # Unwinding ends the nodes; dying at once would leave them behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    if not options.salp.exists():
        print(f"{options.salp} is missing: run `cargo build --release` first", file=sys.stderr)
        return 2
    names = set(options.only.split(",")) if options.only else {case.name for case in CASES}
    if unknown := names - {case.name for case in CASES}:
        print(f"--only has unknown names: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    run = Run(binary=options.salp.resolve())
    run_cases(run, [case for case in CASES if case.name in names])
    return run.report.finish()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
