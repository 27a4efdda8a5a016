"""Programs that were written against another key-value server, and a real Elixir node to run them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from proof.run import Run
from proof.scenarios.beam import report_checks

NODES = 5
REPLICAS = 3
CLIENT = Path(__file__).resolve().parent.parent / "beam" / "facade.exs"
CLIENT_S = 180
FACADES = (
    "Elixir.Apothik.Cache:missing=nil",
    "Elixir.KvStore.MapServer",
    "server:style=messages",
)


def facade(run: Run) -> None:
    """One store under the names and in the manners of other servers."""
    if shutil.which("elixir") is None:
        run.report.skip("facades", "not installed: elixir")
        return
    options = [word for name in FACADES for word in ("--facade", name)]
    with run.cluster(NODES, replicas=REPLICAS, options=options) as cluster:
        flags = f"-name f@127.0.0.1 -setcookie {cluster.cookie} -start_epmd false"
        names = [node.name for node in cluster.nodes]
        command = ["elixir", "--erl", flags, str(CLIENT), str(REPLICAS), *names]
        environment = {**cluster.environment, "PATH": os.environ["PATH"]}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, timeout=CLIENT_S
            )
            # A check that fails is also told in the log of the BEAM, which is worth reading only at a crash.
            output = done.stdout if done.returncode == 0 else done.stdout + done.stderr
        except subprocess.TimeoutExpired as error:
            output = (error.stdout or b"").decode(errors="replace")
        report_checks(run, "elixir", output)
        run.report.table("facade")
