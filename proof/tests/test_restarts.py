"""Stocks, probes and the scenarios with restarts, on the stand-in."""

from __future__ import annotations

import contextlib
import io
import os
import time
import unittest
from collections.abc import Callable
from unittest import mock

from proof.cluster import Cluster
from proof.report import Report
from proof.resp import ReplyError
from proof.run import Run
from proof.scenarios import restarts
from proof.stock import USES, Asked, Probe, Stock
from proof.tests.hub import STANDIN, WithHub


def _failures(scenario: Callable[[Run], None], fault: str = "") -> str:
    """The failed checks of a short scenario, one per line."""
    os.environ["STANDIN_FAULT"] = fault
    report = Report()
    run = Run(STANDIN, seconds=0.5, down_s=0.1, stop_s=1.6, report=report)
    short = mock.patch.multiple(restarts, BACK_S=1.5, STARTING_S=1.0, STARTING_ROUNDS=1, KEYS=200)
    with short, contextlib.redirect_stdout(io.StringIO()):
        scenario(run)
    return "\n".join(report.failures)


class Scenarios(WithHub):
    """Whole scenarios."""

    def test_a_seed_that_comes_back(self) -> None:
        self.assertEqual(_failures(restarts.seed_restarts), "")
        failures = _failures(restarts.seed_restarts, "amnesia")
        self.assertIn("no answer of salp_1@127.0.0.1 is wrong", failures)
        self.assertIn("in the end all keys are as acknowledged", failures)

    def test_nodes_that_start_together(self) -> None:
        self.assertEqual(_failures(restarts.starting_node), "")
        self.assertIn("no answer of salp_5@127.0.0.1 is wrong", _failures(restarts.starting_node, "amnesia"))

    def test_a_node_that_stood_still(self) -> None:
        self.assertEqual(_failures(restarts.pause_resume), "")
        self.assertIn("no answer of salp_1@127.0.0.1 is wrong", _failures(restarts.pause_resume, "stale"))

    def test_an_end_that_cuts_requests_off(self) -> None:
        """The stand-in ends at once at SIGTERM, whatever it was asked."""
        self.assertIn("rolling-restart: no client sees a forbidden answer", _failures(restarts.rolling_restart))

    def test_data_that_outlives_a_power_loss_and_a_log_that_is_silent(self) -> None:
        failures = _failures(restarts.power_loss)
        self.assertIn("the cluster is empty", failures)
        self.assertIn("a log says that the cluster starts empty", failures)


class Answers(WithHub):
    """What a stock takes for right."""

    def setUp(self) -> None:
        super().setUp()
        self.cluster = self.enterContext(Cluster(STANDIN))
        (self.node,) = self.cluster.grow(1)
        self.stock = Stock("s", 1)
        self.assertEqual(self.stock.fill(self.node), len(USES))

    def _book(self, replies: dict[str, object]) -> Asked:
        asked = Asked()
        for use, key, _ in self.stock.commands(1, 1):
            if use in replies:
                self.stock.book(asked, use, key, replies[use], 0.5, "here")  # type: ignore[arg-type]
        return asked

    def test_right_and_wrong_answers(self) -> None:
        right = {"get": b"value 1", "append": 12, "lock": None, "incr": 101, "del": 1}
        wrong = {"get": None, "append": 5, "lock": b"OK", "incr": 1, "del": 0}
        self.assertEqual(self._book(dict(right)).right, dict.fromkeys(USES, 1))
        self.stock.fill(self.node)
        asked = self._book(dict(wrong))
        self.assertEqual((asked.wrong, asked.right.total()), (dict.fromkeys(USES, 1), 0))

    def test_a_refused_command_is_asked_again_and_changes_nothing(self) -> None:
        refusal = ReplyError("CLUSTERDOWN no_nodes")
        self.assertEqual(self._book(dict.fromkeys(USES, refusal)).refused.total(), len(USES))
        self.assertEqual(len(self.stock.commands(1, 1)), len(USES))
        self.assertEqual(self.stock.compare([self.node]), [])

    def test_an_unknown_outcome_allows_both(self) -> None:
        with self.node.client() as client:
            for executed in (False, True):
                self.stock.fill(self.node)
                commands = {use: command for use, _, command in self.stock.commands(1, 1)}
                self.stock.fill(self.node)
                self.assertEqual(self._book(dict.fromkeys(USES, ReplyError("TIMEOUT"))).unknown.total(), len(USES))
                if executed:
                    for use in ("append", "incr", "del"):
                        client.call(*commands[use])
                self.assertEqual(self.stock.compare([self.node]), [])

    def test_what_is_lost_in_the_end_is_found(self) -> None:
        with self.node.client() as client:
            for use in USES:
                client.call("SET", f"s:{use}:0", "another")
        self.assertEqual(len(self.stock.compare([self.node])), len(USES))

    def test_a_probe_asks_everything(self) -> None:
        with Probe(self.stock, self.node) as probe:
            probe.wait_connected()
            time.sleep(0.3)
        self.assertEqual({use for use in USES if probe.asked.right[use]}, set(USES))
        self.assertEqual(probe.asked.wrong.total(), 0)
        self.assertEqual(self.stock.compare([self.node]), [])

    def test_what_probes_of_one_node_found_is_added_up(self) -> None:
        total, one = Asked(), Asked()
        one.wrong["get"], one.examples["get"], one.first_right_s = 2, ["e"], 0.5
        total.add(one)
        total.add(one)
        self.assertEqual((total.wrong["get"], total.examples["get"], total.first_right_s), (4, ["e", "e"], 0.5))


if __name__ == "__main__":
    unittest.main()
