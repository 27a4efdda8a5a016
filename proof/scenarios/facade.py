"""Programs that were written for another key-value server, run by a real Elixir node.

Afterwards the same requests are typed into an `iex`, while nodes are stopped, killed and started.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from proof.cluster import Cluster
from proof.run import Run
from proof.scenarios.beam import report_checks
from proof.scenarios.shells import Person, person
from proof.shell import NoAnswer, iex

NODES = 5
REPLICAS = 3
CLIENT = Path(__file__).resolve().parent.parent / "beam" / "facade.exs"
CLIENT_S = 180
KEYS = 5_000
FILL_S = 60.0
STOP_S = 40.0
"""How long a node may take to hand its keys over."""
FACADES = (
    "Elixir.Apothik.Cache:missing=nil",
    "Elixir.KvStore.MapServer",
    "server:style=messages",
)


def facade(run: Run) -> None:
    """One store under the names and in the styles of other servers."""
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
    if shutil.which("iex") is None:
        run.report.skip("facades, typed", "not installed: iex")
        return
    with run.cluster(NODES, replicas=REPLICAS, options=options, prefix="apothik") as cluster:
        name = "typist@127.0.0.1"
        try:
            with person(run, name, iex(name, cluster.cookie), cluster.environment) as typist:
                _typed(cluster, typist)
        except NoAnswer as error:
            run.report.check("the shell answers", False, str(error))
        run.report.table("facade, typed")


def _typed(cluster: Cluster, typist: Person) -> None:
    """A session in which nodes leave and come back, and all values stay."""
    listed = ", ".join(f'n{number} = :"{node.name}"' for number, node in enumerate(cluster.nodes, 1))
    typist.says(f"ns = [{listed}]; length(ns)", str(NODES))
    typist.says("Node.connect(n1)", "true")
    typist.says(':rpc.call(n1, Apothik.Cache, :put, ["k", 12])', ":ok")
    everywhere = 'Enum.all?(ns, &(:rpc.call(&1, Apothik.Cache, :get, ["k"]) == 12))'
    typist.says(everywhere, "true")
    total = "Enum.sum(for n <- ns, do: :rpc.call(n, Apothik.Cache, :stats, []))"
    typist.comes_to(total, str(REPLICAS))
    put = ':rpc.call(n1, Apothik.Cache, :put, ["k_#{i}", i])'
    typist.says(f"Enum.all?(1..{KEYS}, fn i -> {put} == :ok end)", "true", FILL_S)
    typist.says('GenServer.call({Apothik.Cache, n1}, {:put, 1, "something"})', ":ok")
    typist.says("GenServer.call({Apothik.Cache, n2}, {:get, 1})", '"something"')
    copies = str((KEYS + 2) * REPLICAS)
    typist.comes_to(total, copies)
    _stop_one(cluster, typist, total, copies)
    typist.says(everywhere, "true")
    typist.says("GenServer.call({KvStore.MapServer, n1}, {:put, :a, 5})", ":ok")
    map_server = "Enum.all?(ns, &(GenServer.call({KvStore.MapServer, &1}, {:get, :a}) == 5))"
    typist.says(map_server, "true")
    cluster.kill([cluster.nodes[2]])
    typist.comes_to("GenServer.call({KvStore.MapServer, n1}, {:get, :a})", "5")
    cluster.launch([cluster.nodes[2]])
    cluster.wait_healed()
    typist.comes_to(map_server, "true")
    _messages(cluster, typist)


def _stop_one(cluster: Cluster, typist: Person, total: str, copies: str) -> None:
    """A node is stopped by `System.stop`, as an Elixir node is. It leaves. When it is back, all is as before."""
    node = cluster.nodes[1]
    typist.says(":rpc.call(n2, System, :stop, [0])", ":ok")
    typist.comes_to(':rpc.call(n2, Apothik.Cache, :get, ["k"])', "{:badrpc, :nodedown}", STOP_S)
    typist.report.check("the stopped node exits with code 0", node.wait_exit() == 0)
    typist.comes_to(total.replace("n <- ns", "n <- ns -- [n2]"), copies, STOP_S)
    cluster.launch([node])
    cluster.wait_healed()
    typist.comes_to(total, copies, STOP_S)


def _messages(cluster: Cluster, typist: Person) -> None:
    """Plain messages, answered by plain messages."""
    heard = "receive do m -> m after 5000 -> :nothing end"
    typist.says("send({:server, n1}, {:set, :moo, -3.14})", "{:set, :moo, -3.14}")
    typist.comes_to(f"send({{:server, n2}}, {{:get, :moo, self()}}); {heard}", "{:get, -3.14}")
    typist.says(f"send({{:server, n3}}, {{:get, :nothing, self()}}); {heard}", "{:get, :none}")
    # One that waits for nodes that are not there has nothing to answer from, until it is told of another.
    alone = cluster.add()
    alone.start(options=("--join", "nobody@127.0.0.1"))
    typist.shell.type(f'n6 = :"{alone.name}"')
    typist.comes_to("Node.connect(n6)", "true")
    typist.says(f"send({{:server, n6}}, {{:get, :moo, self()}}); {heard}", "{:get, :no_nodes}")
    typist.says("GenServer.call({KvStore.MapServer, n6}, {:get, :a})", "{:error, :no_nodes}")
    typist.says("send({:server, n6}, {:add_node, n1})", "{:add_node, :\"" + cluster.nodes[0].name + '"}')
    cluster.wait_healed()
    typist.comes_to(f"send({{:server, n6}}, {{:get, :moo, self()}}); {heard}", "{:get, -3.14}")
    typist.says("GenServer.call({KvStore.MapServer, n6}, {:get, :a})", "5")
