"""Programs of other projects: redis-cli, curl, and a real Erlang node."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from proof.cluster import Cluster
from proof.run import Run

NODES = 5
PEER = Path(__file__).resolve().parent.parent / "beam" / "peer.escript"
PEER_S = 90
TOOL_S = 10


def beam(run: Run) -> None:
    """One program writes a value, and all others read it."""
    missing = [tool for tool in ("redis-cli", "curl", "escript") if shutil.which(tool) is None]
    if missing:
        run.report.skip("foreign programs", f"not installed: {', '.join(missing)}")
        return
    with run.cluster(NODES) as cluster:
        _command_line(run, cluster)
        _erlang(run, cluster)
        run.report.table("beam")


def _command_line(run: Run, cluster: Cluster) -> None:
    one, two, three, four, *_ = cluster.nodes
    url = f"http://{three.host}:{three.http_port}/kv/moo"
    redis_one, redis_two = (["redis-cli", "-p", str(node.resp_port)] for node in (one, two))
    curl = ["curl", "-sS", "--fail"]
    salp_url = f"http://{four.host}:{four.http_port}"
    steps: list[tuple[str, list[str], str]] = [
        ("redis-cli sets", [*redis_one, "set", "moo", "-3.14"], "OK"),
        ("redis-cli gets elsewhere", [*redis_two, "get", "moo"], "-3.14"),
        ("redis-cli -c follows the slots", [*redis_two, "-c", "get", "moo"], "-3.14"),
        ("curl gets", [*curl, url], "-3.14"),
        ("curl puts", [*curl, "-X", "PUT", "-d", "7", url + "-curl"], ""),
        ("curl increments", [*curl, "-X", "POST", url + "-curl/incr?by=35"], "42"),
        ("redis-cli sees it", [*redis_one, "get", "moo-curl"], "42"),
        ("salp gets", [str(cluster.binary), "get", "moo", "--url", salp_url], "-3.14"),
    ]
    for name, command, expected in steps:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_S)
        right = done.returncode == 0 and done.stdout.strip() == expected
        run.report.check(name, right, f"{done.stdout.strip()!r} {done.stderr.strip()!r}")


def _erlang(run: Run, cluster: Cluster) -> None:
    """The escript prints `ok NAME` or `failed NAME: REASON` for each check, and `end` last."""
    victim = cluster.nodes[-1]
    environment = {
        **cluster.environment,
        "ERL_FLAGS": f"-name m@127.0.0.1 -setcookie {cluster.cookie} -start_epmd false"
        " -kernel net_ticktime 4",
        "PATH": os.environ["PATH"],
    }
    arguments = [str(victim.pid), *(node.name for node in cluster.nodes)]
    try:
        done = subprocess.run(
            ["escript", str(PEER), *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=PEER_S,
        )
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode(errors="replace")
    report_checks(run, "erl", output)


def report_checks(run: Run, program: str, output: str) -> None:
    """Reports what a program of `proof/beam` printed: a line for each check, and `end`."""
    lines = output.splitlines()
    checked = 0
    for line in lines:
        word, _, rest = line.partition(" ")
        checked += word in ("ok", "failed")
        if word == "ok":
            run.report.check(f"{program}: {rest}", True)
        elif word == "failed":
            name, _, reason = rest.partition(": ")
            run.report.check(f"{program}: {name}", False, reason)
    is_whole = checked > 0 and lines[-1] == "end"
    run.report.check(f"{program} runs to its end", is_whole, output[-500:])
