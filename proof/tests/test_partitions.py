"""Each kind of partition cuts the links that it is to cut, and its table allows no more than it says."""

from __future__ import annotations

import os
import random
import selectors
import socket
import subprocess
import sys
import time
import unittest
from itertools import permutations
from unittest import mock

from proof import partitions
from proof.network import Namespaces
from proof.partitions import ALL, BRIDGE, DELAY_MS, KINDS, RING
from proof.record import NO_ANSWER, Finding, Operation, Situation

MISSING = Namespaces.unavailable()
ECHO = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 7))
print("ready", flush=True)
while True:
    data, sender = server.recvfrom(100)
    if len(data) == 1:
        for peer in sys.argv[2:]:
            server.sendto(data + sys.argv[1].encode(), (peer, 7))
    else:
        print(data[1:].decode(), flush=True)
"""
"""Told one byte, it calls every peer; it prints who calls it."""


class Tables(unittest.TestCase):
    """What may be seen."""

    def test_nothing_more_is_allowed_before_and_after_than_in_quiet_times(self) -> None:
        for kind in KINDS.values():
            for situation in (Situation.BEFORE, Situation.AFTER):
                self.assertEqual(kind.may[situation], {Operation.READ: {Finding.ACROSS}}, kind.name)

    def test_only_parted_nodes_may_differ(self) -> None:
        for kind in KINDS.values():
            allowed = {finding for by in kind.may.values() for findings in by.values() for finding in findings}
            apart = {Finding.APART} if len(kind.sides) > 1 else set()
            self.assertLessEqual(allowed, NO_ANSWER | {Finding.ACROSS} | apart, kind.name)

    def test_every_node_is_on_one_side(self) -> None:
        for kind in KINDS.values():
            self.assertEqual(sorted(index for side in kind.sides for index in side), list(ALL), kind.name)


@unittest.skipIf(MISSING, f"no network namespaces: {MISSING}")
class Links(unittest.TestCase):
    """Every node calls every other with one packet; who is heard by whom?"""

    network: Namespaces
    servers: dict[int, subprocess.Popen[bytes]]

    @classmethod
    def setUpClass(cls) -> None:
        cls.network = Namespaces(len(ALL))
        cls.addClassCleanup(cls.network.close)
        cls.servers = {}
        for index in ALL:
            peers = [cls.network.host(peer) for peer in ALL if peer != index]
            command = [sys.executable, "-c", ECHO, cls.network.host(index), *peers]
            server = subprocess.Popen(cls.network.command(index, command), stdout=subprocess.PIPE, bufsize=0)
            cls.addClassCleanup(server.communicate)
            cls.addClassCleanup(server.kill)
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            cls.servers[index] = server

    def tearDown(self) -> None:
        self.network.mend_all()

    def _heard(self, calls: int = 1, patience_s: float = 0.3) -> dict[tuple[int, int], int]:
        """How many calls came from the first node of each pair to the second."""
        counts = dict.fromkeys(permutations(ALL, 2), 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as starter:
            for _ in range(calls):
                for index in ALL:
                    starter.sendto(b"!", (self.network.host(index), 7))
        hosts = {self.network.host(index): index for index in ALL}
        with selectors.DefaultSelector() as selector:
            for index, server in self.servers.items():
                assert server.stdout is not None
                selector.register(server.stdout, selectors.EVENT_READ, index)
            limit = time.monotonic() + patience_s
            while (left := limit - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    # Lines are short and written at once, so a read gives whole ones.
                    for host in os.read(key.fd, 1 << 16).decode().split():
                        counts[hosts[host], key.data] += 1
        return counts

    def _during(self, name: str) -> dict[tuple[int, int], int]:
        KINDS[name].trouble(self.network, 0.0, random.Random(1))
        return self._heard()

    def _cut(self, name: str) -> set[tuple[int, int]]:
        return {pair for pair, count in self._during(name).items() if not count}

    def test_all_is_whole_at_first_and_afterwards(self) -> None:
        self.assertEqual(set(self._heard().values()), {1})
        self._during("ring")
        self.network.mend_all()
        self.assertEqual(set(self._heard().values()), {1})

    def test_sides(self) -> None:
        for name in ("halves", "alone", "long"):
            left, _ = KINDS[name].sides
            self.assertEqual(self._cut(name), {p for p in permutations(ALL, 2) if (p[0] in left) != (p[1] in left)})
            self.network.mend_all()

    def test_one_way(self) -> None:
        self.assertEqual(self._cut("one-way"), {(2, 1)})

    def test_one_link(self) -> None:
        self.assertEqual(self._cut("one-link"), {(1, 2), (2, 1)})

    def test_ring_and_bridge(self) -> None:
        for name, links in (("ring", RING), ("bridge", BRIDGE)):
            both = {*links, *((other, one) for one, other in links)}
            self.assertEqual(self._cut(name), set(permutations(ALL, 2)) - both)
            self.network.mend_all()

    def test_flapping(self) -> None:
        changes: list[str] = []
        with (
            mock.patch.object(self.network, "cut", lambda *_: changes.append("cut")),
            mock.patch.object(self.network, "mend_all", lambda: changes.append("mended")),
            mock.patch.multiple(partitions, FLAP_CUT_S=(0.05, 0.1), FLAP_WHOLE_S=(0.05, 0.1)),
        ):
            KINDS["flapping"].trouble(self.network, 0.8, random.Random(1))
        self.assertGreaterEqual(len(changes), 4)
        self.assertEqual(changes[:4], ["cut", "mended"] * 2)

    def test_loss(self) -> None:
        KINDS["loss"].trouble(self.network, 0.0, random.Random(1))
        calls = 20
        counts = self._heard(calls, 1.0)
        share = sum(counts.values()) / (len(counts) * calls)
        self.assertAlmostEqual(share, 0.7, delta=0.1)

    def test_delay(self) -> None:
        KINDS["delay"].trouble(self.network, 0.0, random.Random(1))
        self._heard(1, 1.0)  # Neighbours look for each other first.
        self.assertEqual(sum(self._heard(1, DELAY_MS / 1000 * 0.9).values()), 0)
        self.assertEqual(sum(self._heard(1, 1.0).values()), 2 * len(ALL) * (len(ALL) - 1))


if __name__ == "__main__":
    unittest.main()
