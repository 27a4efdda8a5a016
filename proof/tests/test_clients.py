"""What is counted of a client library whose node is killed, with planted wrong answers."""

from __future__ import annotations

import asyncio
import contextlib
import io
import unittest
from typing import Any
from unittest import mock

from proof.clients import python_program
from proof.clients.__main__ import Outcome, judge, measured
from proof.clients.libraries import LIBRARIES
from proof.run import Run
from proof.tests.hub import STANDIN

KILLED_AT = 100.0


class Store:
    """A server in the process, which may lie."""

    def __init__(self, lie: str = "") -> None:
        self.values: dict[str, str] = {}
        self.lie = lie
        self.asked = 0

    async def call(self, name: str, key: str, *value: str) -> Any:
        """One request; each hundredth one suffers the lie."""
        self.asked += 1
        strikes = self.asked % 100 in (50, 51)
        if name == "set" and strikes and self.lie == "lose":
            return b"OK"
        if name == "set" and strikes and self.lie == "unknown":
            self.values[key] = value[0]
            raise ConnectionError("cut off")
        if name == "set":
            self.values[key] = value[0]
            return b"OK"
        if strikes and self.lie == "nil":
            return None
        if strikes and self.lie == "future":
            return b"999999"
        return self.values.get(key, "").encode() or None


class Working(unittest.TestCase):
    """Each test has the program of a library work on a made-up server."""

    def _told(self, lie: str) -> dict[str, Any]:
        with mock.patch.object(python_program, "PAUSE_S", 0):
            return asyncio.run(python_program.work(Store(lie), "p", 0.2))

    def test_a_server_that_keeps_all_is_right(self) -> None:
        told = self._told("")
        self.assertEqual((told["wrong"], told["errors"]), ([], []))
        self.assertGreater(len(told["successes"]), 100)

    def test_lies_are_wrong_answers(self) -> None:
        for lie in ("lose", "nil", "future"):
            self.assertTrue(self._told(lie)["wrong"], lie)

    def test_a_write_without_an_answer_may_show(self) -> None:
        told = self._told("unknown")
        self.assertEqual(told["wrong"], [])
        self.assertTrue(told["errors"])


class Measuring(unittest.TestCase):
    """Each test measures made-up times."""

    def _measured(self, successes: list[float], errors: list[float]) -> Outcome:
        told = {"successes": successes, "errors": errors, "texts": [], "wrong": []}
        return measured(LIBRARIES[0], told, KILLED_AT)

    def test_the_gap_begins_with_the_last_success_before_the_kill(self) -> None:
        outcome = self._measured([97.0, 99.5, 100.5, 100.6], [100.2])
        self.assertEqual((outcome.gap_s, outcome.recovered_s), (1.0, 0.5))

    def test_a_library_that_fails_to_the_end_never_recovers(self) -> None:
        self.assertIsNone(self._measured([99.0, 101.0], [100.5, 105.0]).recovered_s)
        self.assertIsNone(self._measured([99.0], []).recovered_s)

    def test_a_wrong_answer_and_no_recovery_fail(self) -> None:
        run = Run(STANDIN)
        wrong = Outcome(LIBRARIES[0], recovered_s=0.5, wrong=["k is 1, acknowledged is 2"])
        with contextlib.redirect_stdout(io.StringIO()):
            judge(run, [wrong, Outcome(LIBRARIES[1], recovered_s=None), Outcome(LIBRARIES[2], recovered_s=11.0)])
        self.assertEqual(len(run.report.failures), 3)
        self.assertEqual(run.report.passed, 3)


if __name__ == "__main__":
    unittest.main()
