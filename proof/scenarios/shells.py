"""Two shells, an `iex` and an `erl`, connected to salp nodes.

The same lines are typed again with an Erlang node in the place of the salp node, and must get the same
answers. Only the messages about a lost node may come in another order.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from proof.cluster import Cluster, Node, Timeout, wait_for
from proof.report import Report
from proof.run import Run
from proof.shell import ANSWER_S, NoAnswer, Shell, erl, iex, without_identities

NODES = 3
TICK = "-kernel net_ticktime 8"
"""A paused peer is dropped within this time, in seconds."""
LOSS_S = 12.0
SETTLE_S = 20.0
"""How long names, locks and node lists may take until all agree."""
QUIET_MS = 1000
"""After this time without a message, no further one is expected; in seconds."""
IDLE_S = 12.0

COMING_MS = 10_000
"""How long an expected message may take, in seconds."""

HABITS = (
    "IEx.configure(colors: [enabled: false], inspect: [limit: :infinity, width: 10000])",
    "heard = fn count -> Stream.unfold(count, fn due -> receive do m -> {m, due - 1} "
    f"after (if due > 0, do: {COMING_MS}, else: {QUIET_MS}) -> nil end end) |> "
    'Enum.sort_by(&Regex.replace(~r/#(PID|Reference)<[\\d.]+>/, inspect(&1), "")) end',
    "soon = fn f -> Enum.any?(1..100, fn _ -> f.() || (Process.sleep(50) && false) end) end",
)
"""What is typed into an `iex` first.

`heard` waits for so many messages, and gives all that have come, in order of what they look like;
`soon` says whether something is so within 5 s.
"""
ERL_HABITS = (
    "Heard = fun(Count) -> lists:sort((fun All(Due) -> receive M -> [M | All(Due - 1)] "
    f"after case Due > 0 of true -> {COMING_MS}; false -> {QUIET_MS} end -> [] end end)(Count)) end.",
)
"""The same for an `erl`."""

ALIKE = (
    "Node.connect(t)",
    "Node.ping(t)",
    'Node.ping(:"nobody@127.0.0.1")',
    "t in Node.list()",
    ":rpc.call(t, Node, :self, []) == t",
    "node() in :rpc.call(t, Node, :list, [])",
    ":rpc.call(t, :erlang, :nodes, [:this]) == [t]",
    ":rpc.call(t, :no, :such, [1])",
    ":rpc.call(t, :no, :such, [1], 5000)",
    ":rpc.block_call(t, :no, :such, [1])",
    ":erpc.call(t, :erlang, :node, []) == t",
    "try do :erpc.call(t, :no, :such, [1]) catch kind, what -> {kind, what} end",
    ":erpc.multicall([node(), t], :erlang, :is_alive, [])",
    ":rpc.multicall([node(), t], :erlang, :is_alive, [])",
    "{_, r} = :erlang.spawn_monitor(t, :no, :such, [1]); receive do {:DOWN, ^r, _, _, why} -> why end",
    "Node.spawn(t, :no, :such, [])",
    "GenServer.call({:nope, t}, 1)",
    "GenServer.cast({:nope, t}, 1)",
    "GenServer.multi_call([t], :nope, 1) == {[], [t]}",
    "GenServer.multi_call([t], :nope, 1, 2000) == {[], [t]}",
    "GenServer.abcast([t], :nope, 1)",
    "Process.monitor({:nope, t}); heard.(1)",
    "Process.flag(:trap_exit, true); p = :rpc.call(t, :erlang, :whereis, [:rex]); node(p) == t",
    "{Process.link(p), Process.link(p), Process.unlink(p), Process.unlink(p)}",
    "m = Process.monitor(p); Process.demonitor(m, [:flush])",
    "send({:nope, t}, :hello)",
    "send(p, :hello)",
    ":rpc.call(t, :erlang, :is_process_alive, [p])",
    ':global.register_name({:todo_list, "bob"}, self())',
    ':rpc.call(t, :global, :whereis_name, [{:todo_list, "bob"}]) == self()',
    ':global.register_name({:todo_list, "bob"}, p)',
    ':global.unregister_name({:todo_list, "bob"})',
    ':rpc.call(t, :global, :whereis_name, [{:todo_list, "bob"}])',
    ":global.set_lock({:r, self()}, [node(), t], 0)",
    ":global.set_lock({:r, :another}, [node(), t], 0)",
    ":global.set_lock({:r, self()}, [t], 0)",
    "for _ <- 1..2, do: :global.del_lock({:r, self()}, [node(), t])",
    ":global.trans({:r, self()}, fn -> :done end, [node(), t])",
    ":global.set_lock({:r, :another}, [node(), t], 0)",
    ":global.del_lock({:r, :another}, [node(), t])",
    ":global.sync()",
    "t in Node.list(:known)",
    ":pg.join(:guests, self())",
    "soon.(fn -> :rpc.call(t, :pg, :get_members, [:guests]) == [self()] end)",
    ":pg.leave(:guests, self())",
    "soon.(fn -> :rpc.call(t, :pg, :get_members, [:guests]) == [] end)",
    "heard.(0)",
)
"""Lines of `ada` about the node `t`. Each must get the same answer for salp and for Erlang."""

LOSS = (
    "Process.monitor(p); Process.link(p); Process.monitor({:rex, t}); Process.monitor({:nope, t})",
    "Node.monitor(t, true); :net_kernel.monitor_nodes(true)",
    # An answer, so that what was asked before has arrived.
    ":rpc.call(t, :erlang, :is_alive, [])",
)
"""Lines by which `ada` subscribes to messages before `t` is killed."""
TOLD = 6
"""How many messages these lines lead to."""


@dataclass
class Person:
    """A shell whose answers are checked."""

    shell: Shell
    report: Report

    def says(self, line: str, expected: str, timeout_s: float = ANSWER_S) -> None:
        """Types `line` and checks the answer."""
        answer = self.shell.type(line, timeout_s)
        self.report.check(f"{self._who}: {line}", answer == expected, f"{answer!r}, not {expected!r}")

    def comes_to(self, line: str, expected: str, timeout_s: float = SETTLE_S) -> None:
        """Types `line` again and again until the answer is as expected."""
        answer = ""

        def is_so() -> bool:
            nonlocal answer
            answer = self.shell.type(line)
            return answer == expected

        try:
            wait_for(line, is_so, timeout_s)
            self.report.check(f"{self._who}: {line}", True)
        except Timeout as error:
            self.report.check(f"{self._who}: {line}", False, f"{error}; last: {answer!r}")

    def hears(self, what: str, *messages: str) -> None:
        """Checks the messages since the last time, except for pids and references."""
        # A list of pairs would be shown as keywords.
        heard = f"(heard.({len(messages)}))" if self.is_elixir else f"(Heard({len(messages)}))."
        line = ("List.to_tuple" if self.is_elixir else "list_to_tuple") + heard
        answer = without_identities(self.shell.type(line))
        separator = ", " if self.is_elixir else ","
        expected = f"{{{separator.join(messages)}}}"
        self.report.check(f"{self._who} gets {what}", answer == expected, f"{answer}, not {expected}")

    def knows(self, name: str) -> str:
        """A line that asks whether the node of this name is connected."""
        if self.is_elixir:
            return f':"{name}" in Node.list()'
        return f"lists:member('{name}', nodes())."

    def finds_at(self, node: str, name: str) -> str:
        """A line that asks whether `node` sees the same holder of a global name as this shell."""
        if self.is_elixir:
            at = f':rpc.call(:"{node}", :global, :whereis_name, [:{name}])'
            return f"{at} == :global.whereis_name(:{name})"
        return f"rpc:call('{node}', global, whereis_name, [{name}]) =:= global:whereis_name({name})."

    @property
    def is_elixir(self) -> bool:
        """Whether it is an `iex`."""
        return self.shell.is_elixir

    @property
    def _who(self) -> str:
        return self.shell.name.split("@")[0]


@contextmanager
def person(run: Run, name: str, command: list[str], environment: dict[str, str]) -> Iterator[Person]:
    """Starts a shell."""
    with Shell(name, command, environment) as shell:
        for line in HABITS if shell.is_elixir else ERL_HABITS:
            shell.type(line)
        yield Person(shell, run.report)


def missing() -> str:
    """The programs that are not installed."""
    return ", ".join(tool for tool in ("iex", "elixir", "erl") if shutil.which(tool) is None)


def shells(run: Run) -> None:
    """Two shells and three nodes."""
    if tools := missing():
        run.report.skip("shells", f"not installed: {tools}")
        return
    try:
        with run.cluster(NODES) as cluster:
            _shells(run, cluster)
    except NoAnswer as error:
        run.report.check("the shells answer", False, str(error))
    run.report.table("shells")


def _shells(run: Run, cluster: Cluster) -> None:
    environment = dict(cluster.environment)
    ada_name, bob_name = "ada@127.0.0.1", "bob@127.0.0.1"
    ada_command = iex(ada_name, cluster.cookie, TICK)
    bob_command = erl(bob_name, cluster.cookie, TICK)
    with person(run, ada_name, ada_command, environment) as ada:
        ada.says(":pg.start_link(); :ok", ":ok")
        _alike(run, cluster, ada)
        with person(run, bob_name, bob_command, environment) as bob:
            _acquaintance(cluster, ada, bob)
            _names(cluster, ada, bob)
            _comings(run, cluster, ada, bob)
            _standstill(cluster, ada, bob)


@contextmanager
def _plain(cluster: Cluster, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """An Erlang node without a shell."""
    flags = f"-start_epmd false -logger level critical {TICK}"
    command = ["elixir", "--name", name, "--cookie", cluster.cookie, "--erl", flags]
    command += ["--no-halt", "-e", ":pg.start(:pg)"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=cluster.environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _alike(run: Run, cluster: Cluster, ada: Person) -> None:
    """Types the same lines about a salp node and about an Erlang node. Both are killed in the end."""
    plain_name = "plain@127.0.0.1"
    with _plain(cluster, plain_name) as process:
        ada.comes_to(f'Node.connect(:"{plain_name}")', "true")
        plain = _visit(run, ada, plain_name, lambda: os.kill(process.pid, signal.SIGKILL))
    guest = cluster.add()
    cluster.launch([guest])
    ada.comes_to(f'Node.connect(:"{guest.name}")', "true")
    ada.comes_to("length(Node.list())", str(NODES + 1))
    salp = _visit(run, ada, guest.name, guest.kill)
    guest.wait_exit()
    cluster.nodes.remove(guest)
    for (line, theirs), (_, ours) in zip(plain, salp, strict=True):
        run.report.check(f"as an Erlang node: {line}", ours == theirs, f"{ours}, an Erlang node: {theirs}")
    run.report.count("lines answered as by a BEAM", len(plain))


def _visit(run: Run, ada: Person, name: str, kill: Callable[[], None]) -> list[tuple[str, str]]:
    """The answers to each line about the node of this name."""
    run.report.step(f"lines about {name}")
    ada.shell.type(f't = :"{name}"; nil')

    def answered(line: str) -> tuple[str, str]:
        return line, without_identities(ada.shell.type(line)).replace(name, "T")

    answers = [answered(line) for line in (*ALIKE, *LOSS)]
    kill()
    wait_for("its loss", lambda: ada.shell.type("t in Node.list()") == "false", LOSS_S)
    answers.append(answered(f"heard.({TOLD})"))
    ada.shell.type(":net_kernel.monitor_nodes(false); Process.flag(:trap_exit, false)")
    return answers


def _acquaintance(cluster: Cluster, ada: Person, bob: Person) -> None:
    one = cluster.nodes[0].name
    bob.says(f"net_adm:ping('{one}').", "pong")
    everybody = sorted([*(node.name for node in cluster.nodes), ada.shell.name, bob.shell.name])
    listed = "[" + ", ".join(f':"{name}"' for name in everybody) + "]"
    ada.comes_to("Enum.sort([node() | Node.list()])", listed)
    bob.comes_to("length(nodes()).", str(len(everybody) - 1))
    for node in cluster.nodes:
        line = f':rpc.call(:"{node.name}", Node, :list, [])'
        ada.comes_to(f'Enum.sort([:"{node.name}" | {line}])', listed)


def _names(cluster: Cluster, ada: Person, bob: Person) -> None:
    """A global name is the same at all nodes, whichever node registers it. A lock excludes all nodes."""
    task = '{:todo_list, "bob"}'
    ada.says(f":global.register_name({task}, self())", ":yes")
    bob.says('node(global:whereis_name({todo_list, <<"bob">>})).', f"'{ada.shell.name}'")
    bob.says('global:register_name({todo_list, <<"bob">>}, self()).', "no")
    bob.says('global:send({todo_list, <<"bob">>}, hello), ok.', "ok")
    ada.hears("what is sent to the name", ":hello")
    bob.says("global:register_name(erlang_side, self()).", "yes")
    ada.says("node(:global.whereis_name(:erlang_side))", f':"{bob.shell.name}"')
    for node in cluster.nodes:
        at = f':rpc.call(:"{node.name}", :global, :whereis_name, [{{}}])'
        ada.says(at.format(task) + " == self()", "true")
        ada.says(at.format(":erlang_side") + " == :global.whereis_name(:erlang_side)", "true")
    ada.says(f":global.unregister_name({task})", ":ok")
    bob.says('global:whereis_name({todo_list, <<"bob">>}).', "undefined")
    ada.says(":global.set_lock({:printer, self()})", "true")
    bob.says("global:set_lock({printer, self()}, [node() | nodes()], 0).", "false")
    ada.says(":global.del_lock({:printer, self()})", "true")
    bob.says("global:trans({printer, self()}, fun() -> done end).", "done")
    # The end of who holds a lock or a name frees both, everywhere.
    ada.says(
        "holder = spawn(fn -> true = :global.set_lock({:printer, self()}); "
        ":yes = :global.register_name(:holder, self()); receive do :end -> :ok end end); "
        "Process.sleep(500); :global.whereis_name(:holder) == holder",
        "true",
    )
    bob.says("global:set_lock({printer, self()}, [node() | nodes()], 0).", "false")
    ada.says("Process.exit(holder, :kill)", "true")
    bob.comes_to("global:set_lock({printer, self()}, [node() | nodes()], 0).", "true")
    bob.comes_to("{global:del_lock({printer, self()}), global:whereis_name(holder)}.", "{true,undefined}")


def _comings(run: Run, cluster: Cluster, ada: Person, bob: Person) -> None:
    """Each node that joins or leaves is reported once, and a silent node is not reported as lost."""
    ada.says(":net_kernel.monitor_nodes(true)", ":ok")
    bob.says("net_kernel:monitor_nodes(true).", "ok")
    guest = cluster.add()

    def both_hear(what: str, verb: str, name: str) -> None:
        ada.hears(what, f'{{:{verb}, :"{name}"}}')
        bob.hears(what, f"{{{verb},'{name}'}}")

    for going, way in ((guest.terminate, "left"), (guest.kill, "was killed")):
        cluster.launch([guest])
        ada.comes_to(f':"{guest.name}" in Node.list()', "true")
        bob.comes_to(f"lists:member('{guest.name}', nodes()).", "true")
        both_hear("once of who came", "nodeup", guest.name)
        going()
        guest.wait_exit()
        both_hear(f"once of who {way}", "nodedown", guest.name)
    cluster.nodes.remove(guest)
    run.report.step(f"silence for {IDLE_S:.0f} s")
    time.sleep(IDLE_S)
    ada.hears("nothing in silence")
    bob.hears("nothing in silence")


def _standstill(cluster: Cluster, ada: Person, bob: Person) -> None:
    """A paused salp node is dropped in time by the shells; so is a paused Erlang node by the salp nodes."""
    stopped = cluster.nodes[-1]
    others = cluster.nodes[:-1]
    began = time.monotonic()
    stopped.pause()
    ada.comes_to(f':"{stopped.name}" in Node.list()', "false", LOSS_S)
    ada.report.count("a stopped node was lost after", f"{time.monotonic() - began:.1f} s")
    ada.hears("once of who stands still", f'{{:nodedown, :"{stopped.name}"}}')
    stopped.resume()
    cluster.wait_healed()
    ada.comes_to(f'Node.connect(:"{stopped.name}")', "true")
    ada.hears("once of who goes on", f'{{:nodeup, :"{stopped.name}"}}')
    # A BEAM that is stopped while it lacks a node takes others along when it goes on: `global` keeps partitions apart.
    bob.comes_to(f"lists:member('{stopped.name}', nodes()).", "true")
    bob.shell.signal(signal.SIGSTOP)
    began = time.monotonic()
    for node in others:
        ada.comes_to(f':"bob@127.0.0.1" in :rpc.call(:"{node.name}", Node, :list, [])', "false", LOSS_S)
    ada.report.count("a stopped shell was lost after", f"{time.monotonic() - began:.1f} s")
    bob.shell.signal(signal.SIGCONT)
    bob.comes_to(f"net_adm:ping('{others[0].name}').", "pong")
    bob.comes_to("length(nodes()).", str(len(cluster.nodes) + 1))
    for node in cluster.nodes:
        ada.comes_to(f':"bob@127.0.0.1" in :rpc.call(:"{node.name}", Node, :list, [])', "true")
