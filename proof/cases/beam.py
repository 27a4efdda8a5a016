"""What users of Erlang and Elixir tripped over once. A program of Erlang asks, in a node of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from proof.cases import Case, Skipped
from proof.cluster import Cluster

PROGRAM = Path(__file__).resolve().parent.parent / "beam" / "cases.escript"
PROGRAM_S = 30


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        raise Skipped(f"{program} is not installed")


def _asked(cluster: Cluster, question: str) -> str:
    """Has the program ask one question; it prints `ok`, or what is wrong."""
    _needs("escript")
    flags = f"-name case_{question}@127.0.0.1 -setcookie {cluster.cookie} -start_epmd false"
    done = subprocess.run(
        ["escript", str(PROGRAM), question, *(node.name for node in cluster.nodes)],
        capture_output=True,
        text=True,
        env={**cluster.environment, "ERL_FLAGS": flags, "PATH": os.environ["PATH"]},
        timeout=PROGRAM_S,
    )
    said = (done.stdout + done.stderr).strip()
    return "" if said == "ok" else said or f"exit code {done.returncode}"


def _hidden(cluster: Cluster) -> str:
    """Rings of workers are made of nodes(), which must not have the store's nodes then."""
    with Cluster(cluster.binary, options=("--hidden",)) as own:
        own.grow(1)
        return _asked(own, "hidden")


def _mapper(cluster: Cluster) -> str:
    """A salp's port mapper is asked to end while nodes are registered."""
    _needs("epmd")
    command = ["epmd", "-port", str(cluster.epmd_port), "-kill"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_S)
    said = (done.stdout + done.stderr).strip()
    if "Killing not allowed" not in said:
        return said or f"exit code {done.returncode}"
    names = subprocess.run([*command[:-1], "-names"], capture_output=True, text=True, timeout=PROGRAM_S).stdout
    return "" if all(f"name {node.name.split('@')[0]} " in names for node in cluster.nodes) else names


def _question(name: str) -> Callable[[Cluster], str]:
    return lambda cluster: _asked(cluster, name)


BEAM: tuple[Case, ...] = (
    Case("beam-deep", "{put, K, V} of 300 maps in each other disturbs no other process", _question("deep")),
    Case(
        "beam-long", "{put, K, V} of a list of 4.2 million elements disturbs no other process", _question("long")
    ),
    Case("beam-number", "{put, K, V} of a number of 70 KiB disturbs no other process", _question("number")),
    Case("beam-large", "{put, K, V} of 73 MiB disturbs no other process", _question("large")),
    Case("beam-infinity", "{put, K, V, [{ttl, infinity}]}: ok", _question("infinity")),
    Case("beam-counter", "{incr, K, N} overflows when the number does", _question("counter")),
    Case("beam-empty-key", "{put, <<>>, V} and {get, <<>>}", _question("empty_key")),
    Case("beam-unknown", "an unknown call is answered, and rpc gives undef", _question("unknown")),
    Case("beam-hidden", "a node with --hidden is not in nodes(), and answers", _hidden, own_nodes=True),
    Case("mapper-kill", "epmd -kill while nodes are registered: refused, as by Erlang's", _mapper),
)
