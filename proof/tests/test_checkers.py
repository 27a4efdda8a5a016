"""Whole scenarios against the stand-in: a perfect cluster passes, each planted fault is caught."""

from __future__ import annotations

import contextlib
import io
import os
import unittest
from unittest import mock

from proof.cluster import Cluster, wait_for
from proof.load import Load
from proof.report import Report
from proof.resp import DEADLINE_S
from proof.run import Run
from proof.scenarios import outages
from proof.tests.hub import STANDIN, WithHub


class Checkers(WithHub):
    """Each test is one short run of a scenario."""

    def _failures(self, fault: str = "", planted_loss: bool = False) -> str:
        """The failed checks of a short `kill` with the given fault, one per line."""
        os.environ["STANDIN_FAULT"] = fault
        report = Report()
        run = Run(STANDIN, seconds=0.5, planted_loss=planted_loss, report=report)
        short = mock.patch("proof.verify.COUNTS_S", 1.0)
        with short, contextlib.redirect_stdout(io.StringIO()):
            outages.kill(run)
        self.assertGreater(report.passed, 0)
        return "\n".join(report.failures)

    def test_a_perfect_cluster_passes(self) -> None:
        self.assertEqual(self._failures(), "")

    def test_planted_damage_is_noticed(self) -> None:
        self.assertEqual(self._failures(planted_loss=True), "")

    def test_lost_writes_are_caught(self) -> None:
        failures = self._failures("lose")
        self.assertIn("no read was answered wrongly", failures)
        self.assertIn("every acknowledged key reads back exactly", failures)

    def test_stale_reads_are_caught(self) -> None:
        self.assertIn("no read was answered wrongly", self._failures("stale"))

    def test_hung_requests_are_caught(self) -> None:
        os.environ["STANDIN_FAULT"] = "hang"
        with Cluster(STANDIN) as cluster:
            cluster.grow(1)
            with Load(cluster.running) as load:
                wait_for("a hung request", lambda: load.hung, 3 * DEADLINE_S)

    def test_wrong_counts_are_caught(self) -> None:
        self.assertIn("copies of each", self._failures("miscount"))


if __name__ == "__main__":
    unittest.main()
