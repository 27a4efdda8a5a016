"""Two shells on the two sides of a partition, each with a salp node on its side."""

from __future__ import annotations

from proof.cluster import Cluster
from proof.network import Namespaces
from proof.run import Run
from proof.scenarios.shells import LOSS_S, TICK, Person, missing, person
from proof.shell import NoAnswer, erl, iex

SIDES = 2
SETTLE_S = 40.0
"""How long two partitions may take to merge, in seconds: which node dials is random."""


def shells_apart(run: Run) -> None:
    """Which messages come when the partition begins and ends, and which of two holders of a name remains."""
    if tools := missing():
        run.report.skip("shells apart", f"not installed: {tools}")
        return
    if why := Namespaces.unavailable():
        run.report.skip("shells on two sides of a cut", why)
        return
    network = Namespaces(SIDES)
    try:
        with run.cluster(SIDES, network) as cluster:
            left, right = (f"{name}@{network.host(at)}" for name, at in (("ada", 1), ("bob", 2)))
            ada_command = network.command(1, iex(left, cluster.cookie, TICK))
            bob_command = network.command(2, erl(right, cluster.cookie, TICK))
            with (
                person(run, left, ada_command, cluster.environment) as ada,
                person(run, right, bob_command, cluster.environment) as bob,
            ):
                _cut(cluster, network, ada, bob)
    except NoAnswer as error:
        run.report.check("the shells answer", False, str(error))
    run.report.table("shells apart")


def _cut(cluster: Cluster, network: Namespaces, ada: Person, bob: Person) -> None:
    one, two = (node.name for node in cluster.nodes)
    ada.says(f'Node.connect(:"{one}")', "true")
    bob.says(f"net_adm:ping('{two}').", "pong")
    _agree(cluster, ada, bob)
    ada.says(
        f'Process.flag(:trap_exit, true); p = :rpc.call(:"{two}", :erlang, :whereis, [:salp]); '
        f'Process.link(p); Process.monitor(p); Process.monitor({{:salp, :"{two}"}}); '
        f'Node.monitor(:"{two}", true)',
        "true",
    )
    network.cut([1], [2])
    for shell, others in ((ada, (two, bob.shell.name)), (bob, (one, ada.shell.name))):
        for other in others:
            shell.comes_to(shell.knows(other), "false", LOSS_S)
    ada.hears(
        "of a lost network",
        "{:DOWN, REF, :process, PID, :noconnection}",
        f'{{:DOWN, REF, :process, {{:salp, :"{two}"}}, :noconnection}}',
        "{:EXIT, PID, :noconnection}",
        f'{{:nodedown, :"{two}"}}',
    )
    # Each side has the names for itself. That of a shell, which is told if it loses it, and that of a process, which is
    # killed if it does.
    ada.comes_to(
        ":global.register_name(:told, self(), &:global.random_notify_name/3)", ":yes", SETTLE_S
    )
    bob.comes_to(
        "global:register_name(told, self(), fun global:random_notify_name/3).", "yes", SETTLE_S
    )
    ada.says(
        "holder = spawn(fn -> Process.sleep(:infinity) end); "
        ":global.register_name(:killed, holder)",
        ":yes",
    )
    bob.says(
        "Holder = spawn(fun() -> timer:sleep(infinity) end), global:register_name(killed, Holder).",
        "yes",
    )
    for shell, name in ((ada, one), (bob, two)):
        for holder in ("told", "killed"):
            shell.comes_to(shell.finds_at(name, holder), "true")
    ada.hears("nothing behind a cut")
    network.mend_all()
    ada.report.step("the network is repaired")
    _agree(cluster, ada, bob)
    _one_remains(cluster, ada, bob)


def _agree(cluster: Cluster, ada: Person, bob: Person) -> None:
    """All nodes see each other, and `global` is synchronised."""
    names = [*(node.name for node in cluster.nodes), ada.shell.name, bob.shell.name]
    listed = ", ".join(f':"{name}"' for name in names)
    # A shell whose nodes were lost dials nobody by itself; who asks all dials all.
    ada.comes_to(
        f"for n <- [{listed}], do: n |> then(&GenServer.call({{:global_name_server, &1}}, :get_known)) "
        "|> length()",
        f"[{', '.join('3' for _ in names)}]",
        SETTLE_S,
    )


def _one_remains(cluster: Cluster, ada: Person, bob: Person) -> None:
    """Each name has one holder again, the same at all nodes, and the other one was notified."""
    for name in ("told", "killed"):
        ada.comes_to(f"node(:global.whereis_name(:{name})) in [node() | Node.list()]", "true")
        holder = ada.shell.type(f"node(:global.whereis_name(:{name}))").removeprefix(":").strip('"')
        for node in cluster.nodes:
            at = f':rpc.call(:"{node.name}", :global, :whereis_name, [:{name}])'
            ada.comes_to(f"{at} == :global.whereis_name(:{name})", "true")
        bob.comes_to(f"node(global:whereis_name({name})).", f"'{holder}'")
        ada.report.count(f"{name} is held by", holder)
        ada.report.check(f"one shell remains {name}", holder in (ada.shell.name, bob.shell.name), holder)
        is_adas = holder == ada.shell.name
        if name == "told":
            ada.hears("of the clash", *([] if is_adas else ["{:global_name_conflict, :told}"]))
            bob.hears("of the clash", *(["{global_name_conflict,told}"] if is_adas else []))
        else:
            ada.comes_to("Process.alive?(holder)", "true" if is_adas else "false")
            bob.comes_to("is_process_alive(Holder).", "false" if is_adas else "true")
    ada.comes_to(":global.set_lock({:after, self()}, [node() | Node.list()], 0)", "true")
    ada.says(":global.del_lock({:after, self()})", "true")
