"""Sends random commands to salp and to a redis-server, and compares the replies.

    python3 -m proof.differential                        100,000 commands to three nodes
    python3 -m proof.differential --nodes 1 --commands 1000000 --seed 7

Each connection to a node has a connection to redis-server beside it; half of them speak RESP2, half RESP3. Differences
are compared with the table in `proof/differential/differences.py`. A difference that is not explained is made smaller
and printed; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from proof import redis_server
from proof.differential.differences import EXPLAINED, OF_TRANSACTIONS
from proof.differential.pairs import Comparison
from proof.run import Run

LONG_RUN = 200_000
"""From so many commands on, a row of the table that never occurred is reported."""
QUICK = ("--slowlog-log-slower-than", "-1")
"""salp logs nothing as slow, and a busy machine makes anything slow."""
STEP_COMMANDS = 50_000
ROWS = (*EXPLAINED, *OF_TRANSACTIONS)


def compare(run: Run, nodes: int, commands: int, seed: int, seconds: float) -> None:
    """Compares replies until so many commands or seconds are over, and reports what was found."""
    if why := redis_server.unavailable():
        run.report.skip("replies beside those of redis-server", why)
        return
    # In a second database salp has no CROSSSLOT, so the comparison stays in the first.
    options = ("--tick-time", "20s", "--request-timeout", "20s", "--databases", "1")
    with (
        run.cluster(nodes, options=options) as cluster,
        redis_server.redis_server(in_cluster_mode=False, databases=1, options=QUICK) as port,
        Comparison(cluster, port, seed) as comparison,
    ):
        ends, told = time.monotonic() + seconds, 0
        while comparison.compared < commands and time.monotonic() < ends and not comparison.is_full:
            comparison.batch()
            if comparison.compared // STEP_COMMANDS > told:
                told = comparison.compared // STEP_COMMANDS
                run.report.step(f"{comparison.compared:,} compared, {comparison.explained.total():,} explained")
        unexplained = comparison.findings()
    _tell(run, nodes, comparison.compared, comparison.explained, unexplained)


def _tell(run: Run, nodes: int, compared: int, explained: Counter[str], unexplained: list[str]) -> None:
    run.report.count("replies compared", compared)
    for row in ROWS:
        run.report.count(f"explained: {row.name}", explained[row.name])
    run.report.count("not explained", len(unexplained))
    run.report.table(f"beside redis-server, {nodes} nodes, seed {run.seed}")
    never = [row.name for row in ROWS if not explained[row.name] and row.nodes_min <= nodes]
    if compared >= LONG_RUN and never:
        run.report.step(f"never occurred, so perhaps to be removed: {', '.join(never)}")
    run.report.check_none("every difference is explained", unexplained)


def main(arguments: list[str]) -> int:
    """Runs what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="proof.differential", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--salp", type=Path, default=Path("target/release/salp"), help="the binary")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--commands", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3600, help="stops after this time, too")
    parser.add_argument("--seed", type=int, help="default: a fresh one, which is printed")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    if not options.salp.exists():
        print(f"{options.salp} is missing: run `cargo build --release` first", file=sys.stderr)
        return 2
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    run = Run(binary=options.salp.resolve(), seed=seed)
    compare(run, options.nodes, options.commands, seed, options.seconds)
    return run.report.finish()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
