"""What is compared at the end: a copy, a door or a program that says something else is seen."""

from __future__ import annotations

import contextlib
import io
import unittest
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

from proof import verify
from proof.ledger import Ledger
from proof.report import Report
from proof.resp import ReplyError
from proof.run import Run
from proof.scenarios.beam import report_checks


class AnyOf(dict[bytes, set[bytes | None]]):
    """A ledger that allows these answers to each key."""

    def expect(self, key: bytes) -> set[bytes | None]:
        """What is allowed."""
        return self[key]

    def fault(self, expectation: set[bytes | None], answer: bytes | None) -> str:
        """What is wrong with an answer."""
        return "" if answer in expectation else f"{answer!r}"


def compared(first: object, second: object) -> tuple[int, int]:
    """How many keys are faulty and how many differ if two nodes answer so, where both `a` and `b` are allowed."""
    doors = [SimpleNamespace(name="one"), SimpleNamespace(name="two")]
    answers = {"one": {b"k": first}, "two": {b"k": second}}
    with mock.patch("proof.bulk.read", lambda door, _: answers[door.name]):
        ledger = cast(Ledger, AnyOf({b"k": {b"a", b"b"}}))
        result = verify.compare(cast(Any, doors), [ledger])
    return len(result.faulty), len(result.differing)


def failures(act: Callable[[Report], None]) -> int:
    """How many checks of `act` fail."""
    report = Report()
    with contextlib.redirect_stdout(io.StringIO()):
        act(report)
    return len(report.failures)


def program(output: str) -> int:
    """How many checks fail of a program that prints this."""
    return failures(lambda report: report_checks(Run(Path("salp"), report=report), "erl", output))


class Comparisons(unittest.TestCase):
    """Right and false ones."""

    def test_copies(self) -> None:
        self.assertEqual(compared(b"a", b"a"), (0, 0))
        self.assertEqual(compared(b"a", b"b"), (0, 1))
        self.assertEqual(compared(b"a", b"c"), (1, 0))
        self.assertEqual(compared(b"a", None), (1, 0))
        self.assertEqual(compared(b"a", ReplyError("no")), (1, 0))

    def test_doors(self) -> None:
        def differences(status: int, body: bytes) -> int:
            answer = SimpleNamespace(status=status, body=body)
            door = SimpleNamespace(name="one", request=lambda *_: answer)
            return len(verify._http_differences(cast(Any, [door]), {b"k": b"v"}))

        self.assertEqual(differences(200, b"v"), 0)
        self.assertEqual(differences(200, b"w"), 1)
        self.assertEqual(differences(404, b"v"), 1)

    def test_programs(self) -> None:
        self.assertEqual(program("ok a\nok b\nend\n"), 0)
        self.assertEqual(program("ok a\nfailed b: why\nend\n"), 1)
        self.assertEqual(program("ok a\n"), 1, "it broke off")
        self.assertEqual(program("end\n"), 1, "it checked nothing")
        self.assertEqual(program("ok a\nfailed b: at end"), 2)


if __name__ == "__main__":
    unittest.main()
