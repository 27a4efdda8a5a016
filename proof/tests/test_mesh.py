"""The checks of a mesh: a perfect one passes, and each planted fault is caught by the check that is for it."""

from __future__ import annotations

import copy
import os
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proof import agreement, beam_node
from proof.agreement import Facts, faults
from proof.beam_node import Beam
from proof.cluster import wait_for
from proof.network import Loopback, free_port

BEAMS = ["beam_4@h", "beam_5@h"]
SALPS = ["salp_1@h", "salp_2@h"]
METRICS = """# TYPE salp_global_locks gauge
salp_global_locks 0
salp_global_names 2
salp_monitors 5
salp_calls 0
salp_node_keys_held{node="x@h"} 7
salp_peer_monitors{peer="beam_4@h"} 2
salp_peer_monitors{peer="beam_5@h"} 2
salp_peer_monitors{peer="PEER"} 1
salp_peer_links{peer="beam_4@h"} 1
salp_peer_links{peer="beam_5@h"} 1
salp_peer_joins{peer="beam_4@h"} 2
salp_peer_joins{peer="beam_5@h"} 2
"""


def perfect() -> Facts:
    """What the members of a mesh at rest say."""
    members = BEAMS + SALPS
    keepers = {beam: f"{{'{beam}',9,0,1}}" for beam in BEAMS}
    facts: Facts = {}
    for member in members:
        others = sorted(set(members) - {member})
        facts[member] = {
            "nodes": others,
            "known": list(others),
            "names": {f"{{known,'{beam}'}}": keeper for beam, keeper in keepers.items()},
            "groups": {"{pg,known}": sorted(2 * list(keepers.values()))},
        }
    for beam, other in (BEAMS, BEAMS[::-1]):
        facts[beam]["groups"]["{mesh,known}"] = sorted(keepers.values())
        facts[beam] |= {"keeper": keepers[beam], "locks": [], "load": 0, "events": {"count": 3, "faults": []}}
        watched = [f"{{{holder},'{other}'}}" for holder in ("global_name_server", "mesh", "pg")]
        salps = [f"{{{holder},'{salp}'}}" for salp in SALPS for holder in ("mesh_keeper", "pg")]
        facts[beam]["monitors"] = sorted(watched + salps)
        facts[beam]["watchers"] = sorted([f"{{{of},'{other}'}}" for of in ("mesh", "mesh_keeper", "pg")] + salps)
        facts[beam]["links"] = [f"{{mesh_keeper,'{salp}'}}" for salp in SALPS]
    for salp, other in (SALPS, SALPS[::-1]):
        facts[salp]["tables"] = agreement.tables_of(METRICS.replace("PEER", other))
    return facts


class Agreement(unittest.TestCase):
    """Each test changes one thing that a member says."""

    def _caught(self, check: str, change: Callable[[Facts], Any]) -> None:
        facts = copy.deepcopy(perfect())
        change(facts)
        self.assertEqual(list(faults(facts)), [check])

    def test_a_perfect_mesh_passes(self) -> None:
        self.assertEqual(faults(perfect()), {})

    def test_a_lost_connection(self) -> None:
        self._caught("each member is connected to all others", lambda f: f["salp_1@h"]["nodes"].pop())

    def test_a_member_that_knows_one_node_too_few(self) -> None:
        self._caught("all members are in one partition of global", lambda f: f["beam_4@h"]["known"].pop())

    def test_a_member_that_knows_one_name_too_many(self) -> None:
        self._caught("the global names are the same", lambda f: f["salp_2@h"]["names"].update(extra="{a,1,0,1}"))

    def test_a_name_with_another_owner(self) -> None:
        change = {"{known,'beam_4@h'}": "{'beam_4@h',8,0,1}"}
        self._caught("the global names are the same", lambda f: f["beam_5@h"]["names"].update(change))

    def test_a_lost_member_of_a_group(self) -> None:
        self._caught("the members of groups are the same", lambda f: f["salp_1@h"]["groups"]["{pg,known}"].pop())

    def test_a_lock_left_at_salp(self) -> None:
        self._caught("no lock is left", lambda f: f["salp_1@h"]["tables"].update(global_locks=1))

    def test_a_monitor_left_at_salp(self) -> None:
        change = {"peer_monitors beam_4@h": 3}
        self._caught("no monitor is left", lambda f: f["salp_1@h"]["tables"].update(change))

    def test_a_link_left_at_salp(self) -> None:
        self._caught("no link is left", lambda f: f["salp_1@h"]["tables"].update({"peer_links beam_4@h": 2}))

    def test_a_call_that_was_never_answered(self) -> None:
        self._caught("no other entry is left at the salp nodes", lambda f: f["salp_1@h"]["tables"].update(calls=1))

    def test_a_process_left_of_a_call(self) -> None:
        change = {"peer_spawns beam_5@h": 1}
        self._caught("no other entry is left at the salp nodes", lambda f: f["salp_2@h"]["tables"].update(change))

    def test_load_that_goes_on(self) -> None:
        self._caught("the load has ended", lambda f: f["beam_4@h"].update(load=1))


@unittest.skipIf(beam_node.unavailable(), "no erl")
class Members(unittest.TestCase):
    """Two real BEAMs that are at rest; then one of them misbehaves."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        beam_node.compile_program(Path(folder.name))
        environment = {**os.environ, "HOME": folder.name, "ERL_EPMD_PORT": str(free_port())}
        self.beams = [Beam(Loopback(), index, "erl", Path(folder.name), environment) for index in (1, 2)]
        for beam in self.beams:
            self.addCleanup(beam.close)
            beam.start("secret", [], [beam.name for beam in self.beams])
        for beam in self.beams:
            beam.wait_ready()
        wait_for("the two to agree", lambda: not faults(self._facts()), 20)

    def _facts(self) -> Facts:
        return {beam.name: beam.tell("facts") for beam in self.beams}

    def test_planted_faults_are_caught(self) -> None:
        expected: set[str] = set()
        for fault, check in {
            "lock": "no lock is left",
            "name": "the global names are the same",
            "group": "the members of groups are the same",
            "monitor": "no monitor is left",
            "nodeup": "nodeup and nodedown alternate",
            "link": "no link is left",
        }.items():
            self.beams[0].tell(f"plant {fault}")
            expected.add(check)
            self.assertEqual(set(faults(self._facts())), expected)

    def test_load_ends_and_leaves_nothing(self) -> None:
        for beam in self.beams:
            beam.tell("load 1")
        self.assertIn("the load has ended", faults(self._facts()))
        for beam in self.beams:
            beam.tell("calm")
        wait_for("the two to agree again", lambda: not faults(self._facts()), 20)


if __name__ == "__main__":
    unittest.main()
