"""Checks that the members of a mesh agree when the load has ended, and that nothing is left behind.

Each check takes the reports of all members and returns one line for each fault. `proof/beam/mesh.erl` defines the form
of a report. An Erlang node asks the salp nodes, and their tables are read from `/metrics`.

One process of each Erlang member goes on, its *keeper*. It has the global name `{known, NODE}`. It is in the group
`known`, twice in scope `pg` and once in scope `mesh`. It monitors the store of each salp node and is linked to it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

Facts: TypeAlias = "dict[str, dict[str, Any]]"
"""Reports by member. The report of an Erlang node has a `keeper`; the report of a salp node has `tables`."""

SAMPLE = re.compile(r'^salp_(\w+?)(?:\{peer="([^"]*)"\})? (\d+)$', re.MULTILINE)


def tables_of(metrics: str) -> dict[str, int]:
    """The counts in `/metrics` that concern processes, by `name` or `name peer`."""
    return {f"{name} {peer}".rstrip(): int(value) for name, peer, value in SAMPLE.findall(metrics)}


def nodes(facts: Facts) -> list[str]:
    """Each member is connected to all others."""
    return _differing(facts, "nodes", lambda member: sorted(set(facts) - {member}))


def known(facts: Facts) -> list[str]:
    """All members are in one partition of `global`."""
    return _differing(facts, "known", lambda member: sorted(set(facts) - {member}))


def names(facts: Facts) -> list[str]:
    """Only the names of the keepers exist, and all members report the same owner for each."""
    expected = {f"{{known,'{beam}'}}": facts[beam]["keeper"] for beam in _beams(facts)}
    return _differing(facts, "names", lambda _: expected)


def groups(facts: Facts) -> list[str]:
    """The same for the members of groups, each as often as it joined. A salp node has the scope `pg` only."""
    keepers = [facts[beam]["keeper"] for beam in _beams(facts)]
    of_pg = {"{pg,known}": sorted(2 * keepers)}
    of_both = {**of_pg, "{mesh,known}": sorted(keepers)}
    return _differing(facts, "groups", lambda member: of_both if member in _beams(facts) else of_pg)


def locks(facts: Facts) -> list[str]:
    """No process holds a lock of `global`."""
    beams = [f"{beam} has the lock {lock}" for beam in _beams(facts) for lock in facts[beam]["locks"]]
    salps = [(salp, facts[salp]["tables"]["global_locks"]) for salp in _salps(facts)]
    return beams + [f"{salp} has {count} locks" for salp, count in salps if count]


def load(facts: Facts) -> list[str]:
    """The load has ended; the later checks look for what it left behind."""
    return [f"{beam} runs {facts[beam]['load']} processes of the load" for beam in _beams(facts) if facts[beam]["load"]]


def monitors(facts: Facts) -> list[str]:
    """Between nodes there are only the monitors that the keepers, `global` and `pg` need."""
    return [
        *_differing(_only(facts, _beams(facts)), "monitors", lambda beam: _watched_by(facts, beam)),
        *_differing(_only(facts, _beams(facts)), "watchers", lambda beam: _watchers_of(facts, beam)),
        *_counts(facts, "peer_monitors", lambda peer: 2 if peer in _beams(facts) else 1),
    ]


def links(facts: Facts) -> list[str]:
    """Between nodes there are only the links of the keepers."""
    expected = sorted(f"{{mesh_keeper,'{salp}'}}" for salp in _salps(facts))
    return [
        *_differing(_only(facts, _beams(facts)), "links", lambda _: expected),
        *_counts(facts, "peer_links", lambda peer: 1 if peer in _beams(facts) else 0),
    ]


def tables(facts: Facts) -> list[str]:
    """A salp node has no call under way, and monitors only the holders of names and the scopes of groups."""
    beams, salps = _beams(facts), _salps(facts)
    expected = {"global_names": len(beams), "calls": 0, "monitors": len(beams) + len(facts) - 1}
    own = [
        f"{salp} has {name}: {facts[salp]['tables'].get(name)}, not {count}"
        for salp in salps
        for name, count in expected.items()
        if facts[salp]["tables"].get(name) != count
    ]
    return [
        *own,
        *_counts(facts, "peer_global_locks", lambda _: 0),
        *_counts(facts, "peer_joins", lambda peer: 2 if peer in beams else 0),
        *_counts(facts, "peer_spawns", lambda _: 0),
    ]


def alternation(facts: Facts) -> list[str]:
    """At each Erlang node, `nodeup` and `nodedown` of a peer alternate."""
    return [f"{beam} saw {fault}" for beam in _beams(facts) for fault in facts[beam]["events"]["faults"]]


CHECKS: dict[str, Callable[[Facts], list[str]]] = {
    "each member is connected to all others": nodes,
    "all members are in one partition of global": known,
    "the global names are the same": names,
    "the members of groups are the same": groups,
    "no lock is left": locks,
    "the load has ended": load,
    "no monitor is left": monitors,
    "no link is left": links,
    "no other entry is left at the salp nodes": tables,
    "nodeup and nodedown alternate": alternation,
}


def faults(facts: Facts) -> dict[str, list[str]]:
    """The findings of each check that finds something."""
    found = {name: check(facts) for name, check in CHECKS.items()}
    return {name: lines for name, lines in found.items() if lines}


def _beams(facts: Facts) -> list[str]:
    return sorted(member for member in facts if "keeper" in facts[member])


def _salps(facts: Facts) -> list[str]:
    return sorted(member for member in facts if "tables" in facts[member])


def _only(facts: Facts, members: list[str]) -> Facts:
    return {member: facts[member] for member in members}


def _watched_by(facts: Facts, beam: str) -> list[str]:
    """The keeper monitors the salp nodes, `global` the other keepers, and a scope the scopes of peers."""
    others = [other for other in _beams(facts) if other != beam]
    pairs = [("mesh_keeper", salp) for salp in _salps(facts)]
    pairs += [("global_name_server", other) for other in others]
    pairs += [("mesh", other) for other in others] + [("pg", other) for other in facts if other != beam]
    return sorted(f"{{{holder},'{node}'}}" for holder, node in pairs)


def _watchers_of(facts: Facts, beam: str) -> list[str]:
    """Each node monitors the keeper because of its name, and the scopes of each node monitor the scopes of this one."""
    others = [other for other in _beams(facts) if other != beam]
    pairs = [(target, other) for target in ("mesh_keeper", "pg") for other in facts if other != beam]
    pairs += [("mesh", other) for other in others]
    return sorted(f"{{{target},'{node}'}}" for target, node in pairs)


def _counts(facts: Facts, table: str, expected: Callable[[str], int]) -> list[str]:
    """Compares a table of the salp nodes that has one count for each peer."""
    return [
        f"{salp} has {table} of {peer}: {count}, not {expected(peer)}"
        for salp in _salps(facts)
        for peer in facts
        if peer != salp
        for count in [facts[salp]["tables"].get(f"{table} {peer}", 0)]
        if count != expected(peer)
    ]


def _differing(facts: Facts, what: str, expected: Callable[[str], Any]) -> list[str]:
    return [
        f"{member}: {what}: {_difference(facts[member][what], expected(member))}"
        for member in sorted(facts)
        if facts[member][what] != expected(member)
    ]


def _difference(seen: Any, expected: Any) -> str:
    """Only the differences of long lists and tables."""
    if isinstance(seen, dict):
        seen, expected = ([f"{key}: {value}" for key, value in sorted(all_.items())] for all_ in (seen, expected))
    more, fewer = Counter(seen) - Counter(expected), Counter(expected) - Counter(seen)
    return f"too many {sorted(more.elements())}, too few {sorted(fewer.elements())}"
