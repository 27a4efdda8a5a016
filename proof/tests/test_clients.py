"""What is counted of a client library whose node is killed, with planted wrong answers."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import time
import unittest
from typing import Any
from unittest import mock

from proof.clients import python_program, python_transactions
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


class Keys:
    """A server in the process with the transactions of redis-py, which may lie."""

    def __init__(self, lie: str = "") -> None:
        self.values: dict[str, int] = {}
        self.lie = lie
        self.lock = threading.Lock()

    def get(self, key: str) -> int | None:
        """One request."""
        return self.values.get(key)

    def pipeline(self, transaction: bool) -> Pipe:
        """A transaction."""
        assert transaction
        return Pipe(self)

    def transaction(self, step: Any, key: str) -> None:
        """A transaction that is repeated until the key does not change meanwhile."""
        while True:
            pipe, before = Pipe(self), self.values.get(key)
            pipe.get = self.get  # type: ignore[method-assign, assignment]
            step(pipe)
            time.sleep(0.0002)
            with self.lock:
                if self.values.get(key) == before or self.lie == "blind":
                    return None if self.lie == "void" else pipe.apply()


class Pipe:
    """Requests that are executed together."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._queued: list[tuple[str, int | None]] = []

    def multi(self) -> None:
        """Nothing is executed from now on."""

    def set(self, key: str, value: int) -> None:
        """Queues a write."""
        self._queued.append((key, value))

    def get(self, key: str) -> None:
        """Queues a read."""
        self._queued.append((key, None))

    def execute(self) -> list[Any]:
        """Executes all."""
        with self._keys.lock:
            return self.apply()

    def apply(self) -> list[Any]:
        """Executes all, with the lock."""
        replies: list[Any] = []
        for at, (key, value) in enumerate(self._queued):
            if value is not None and not (self._keys.lie == "torn" and at and value > 5):
                self._keys.values[key] = value
            replies.append(self._keys.values.get(key) if value is None else True)
        return replies


class Transactions(unittest.TestCase):
    """Each test has the program of redis-py work on a made-up server."""

    def _told(self, lie: str) -> dict[str, Any]:
        keys = Keys(lie)
        makers = [python_transactions.Addresses([keys]) for _ in range(3)]
        with mock.patch.object(python_transactions, "PAUSE_S", 0):
            return python_transactions.work(makers, "p", 0.3)

    def test_a_server_that_keeps_all_is_right(self) -> None:
        told = self._told("")
        self.assertEqual((told["wrong"], told["errors"]), ([], []))
        self.assertGreater(len(told["successes"]), 50)
        self.assertGreater(told["changed"], 0)

    def test_lies_are_wrong_answers(self) -> None:
        for lie, text in (("torn", "a and "), ("blind", "two transactions set"), ("void", "two transactions set")):
            self.assertIn(text, "; ".join(self._told(lie)["wrong"]), lie)


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
