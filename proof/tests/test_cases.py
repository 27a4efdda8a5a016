"""The runner of cases: what it counts as open, and planted faults that its cases find."""

from __future__ import annotations

import contextlib
import io
import os
import unittest
from unittest import mock

from proof.cases import Case, Open, Skipped, redis
from proof.cases.runner import CASES, fault_of, run_cases
from proof.cluster import Cluster
from proof.run import Run
from proof.tests.hub import STANDIN, WithHub

KNOWN = Open("a reason", "is 2")


class Judging(unittest.TestCase):
    """Each test runs made-up cases without nodes."""

    def _run(self, *cases: Case) -> tuple[Run, str]:
        run, shown = Run(STANDIN), io.StringIO()
        without_nodes = mock.patch.object(Run, "cluster", lambda *_, **__: contextlib.nullcontext())
        with without_nodes, contextlib.redirect_stdout(shown):
            run_cases(run, cases)
        return run, shown.getvalue()

    def test_a_right_answer_passes(self) -> None:
        run, shown = self._run(Case("one", "1 + 1", lambda _: ""))
        self.assertEqual((run.report.passed, run.report.failures), (1, []))
        self.assertIn("ok     one", shown)

    def test_a_wrong_answer_fails(self) -> None:
        run, shown = self._run(Case("one", "1 + 1", lambda _: "is 3", own_nodes=True))
        self.assertEqual(run.report.failures, ["one"])
        self.assertIn("is 3", shown)

    def test_a_known_fault_is_open_and_not_passed(self) -> None:
        run, shown = self._run(Case("one", "1 + 0", lambda _: "is 2", KNOWN))
        self.assertEqual((run.report.passed, run.report.failures), (0, []))
        self.assertIn("open   one", shown)
        self.assertIn("a reason", shown)
        self.assertIn("1 open: one", shown)

    def test_another_fault_of_an_open_case_fails(self) -> None:
        run, _ = self._run(Case("one", "1 + 0", lambda _: "is 3", KNOWN))
        self.assertEqual(run.report.failures, ["one"])

    def test_an_open_case_that_holds_is_to_be_taken_off_the_list(self) -> None:
        run, shown = self._run(Case("one", "1 + 0", lambda _: "", KNOWN))
        self.assertEqual(run.report.passed, 1)
        self.assertIn("take it off the list", shown)
        self.assertNotIn("1 open", shown)

    def test_a_case_that_cannot_be_tried_is_skipped(self) -> None:
        def skips(_: Cluster) -> str:
            raise Skipped("no tool")

        run, shown = self._run(Case("one", "1 + 1", skips))
        self.assertEqual((run.report.passed, run.report.failures, run.report.skipped), (0, [], 1))
        self.assertIn("no tool", shown)

    def test_names_are_unique(self) -> None:
        self.assertEqual(len({case.name for case in CASES}), len(CASES))


class Planted(WithHub):
    """A case finds the fault that a server plants, and nothing without it."""

    def _fault(self, name: str, planted: str) -> str:
        os.environ["STANDIN_FAULT"] = planted
        (case,) = (case for case in CASES if case.name == name)
        few = mock.patch.multiple(redis, LOADED=2000, TOLD_S=0)
        with few, Cluster(STANDIN) as cluster:
            cluster.grow(3)
            fault = fault_of(case, cluster)
        assert isinstance(fault, str)
        return fault

    def test_a_random_key_that_is_always_the_same_is_found(self) -> None:
        self.assertEqual(self._fault("randomkey", ""), "")
        self.assertIn("Counter", self._fault("randomkey", "sticky"))

    def test_a_cursor_above_doubles_is_found(self) -> None:
        self.assertEqual(self._fault("scan-cursors", ""), "")
        self.assertIn("a cursor is 9007", self._fault("scan-cursors", "wide"))

    def test_a_transaction_that_counts_once_when_sent_twice_is_found(self) -> None:
        self.assertEqual(self._fault("multi-again", ""), "")
        self.assertIn("EXEC number 2", self._fault("multi-again", "once"))

    def test_a_watched_key_that_is_not_watched_is_found(self) -> None:
        self.assertEqual(self._fault("watched", ""), "")
        self.assertIn("after SET watched 2", self._fault("watched", "blind"))


if __name__ == "__main__":
    unittest.main()
