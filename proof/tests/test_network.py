"""Namespaces and cuts, where they can be had."""

from __future__ import annotations

import subprocess
import sys
import unittest

from proof.cluster import wait_for
from proof.network import Namespaces

PORT = 8000
MISSING = Namespaces.unavailable()


@unittest.skipIf(MISSING, f"no network namespaces: {MISSING}")
class Cuts(unittest.TestCase):
    """Node 1 serves, node 2 asks."""

    def setUp(self) -> None:
        self.network = Namespaces(2)
        self.addCleanup(self.network.close)
        serve = [sys.executable, "-m", "http.server", str(PORT), "--bind", self.network.host(1)]
        self.server = subprocess.Popen(
            self.network.command(1, serve), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.kill)
        wait_for("the server", self._reaches, 10)

    def _reaches(self) -> bool:
        url = f"http://{self.network.host(1)}:{PORT}/"
        ask = ["curl", "-s", "--max-time", "0.5", "-o", "/dev/null", url]
        return subprocess.run(self.network.command(2, ask)).returncode == 0

    def test_cut_and_mend(self) -> None:
        self.network.cut([1], [2])
        self.assertFalse(self._reaches())
        self.network.mend_all()
        self.assertTrue(self._reaches())

    def test_one_way(self) -> None:
        self.network.deafen(2, [1])
        self.assertFalse(self._reaches())
        self.network.mend(2)
        self.assertTrue(self._reaches())


if __name__ == "__main__":
    unittest.main()
