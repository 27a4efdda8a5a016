"""What is checked of shells: a false answer, a message too many and an overlapping turn are seen."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import unittest
from typing import cast

from proof.report import Report
from proof.scenarios.shells import Person
from proof.scenarios.shells_rust import overlaps
from proof.shell import NoAnswer, Shell, erl, without_identities


class Parrot:
    """Answers whatever is typed with the next of its answers."""

    name = "parrot@127.0.0.1"
    is_elixir = True

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)

    def type(self, line: str, timeout_s: float = 0) -> str:
        """One answer."""
        del line, timeout_s
        return self._answers.pop(0)


def failures(check: str, *arguments: str, answers: list[str]) -> int:
    """How many checks fail if the shell answers so."""
    report = Report()
    person = Person(cast(Shell, Parrot(*answers)), report)
    with contextlib.redirect_stdout(io.StringIO()):
        getattr(person, check)(*arguments)
    assert report.passed + len(report.failures) == 1
    return len(report.failures)


class Answers(unittest.TestCase):
    """Right and false ones."""

    def test_says(self) -> None:
        self.assertEqual(failures("says", "1 + 1", "2", answers=["2"]), 0)
        self.assertEqual(failures("says", "1 + 1", "2", answers=["22"]), 1)

    def test_hears(self) -> None:
        heard = ["{{:nodeup, :a}, {:DOWN, #Reference<0.1.2>, #PID<0.1.0>}}"]
        down = "{:DOWN, REF, PID}"
        self.assertEqual(failures("hears", "all", "{:nodeup, :a}", down, answers=heard), 0)
        self.assertEqual(failures("hears", "once", "{:nodeup, :a}", answers=heard), 1)
        self.assertEqual(failures("hears", "nothing", answers=heard), 1)

    def test_identities(self) -> None:
        self.assertEqual(without_identities("[<0.1.2>,#Ref<1.2.3.4>,<<1>>]"), "[PID,REF,<<1>>]")

    def test_turns(self) -> None:
        fair = ["a prints", "a is done", "b prints", "b is done", "a prints"]
        self.assertEqual(overlaps(fair), [])
        self.assertEqual(len(overlaps([*fair, "b prints"])), 1)
        self.assertEqual(len(overlaps(["a prints", "b is done"])), 1)


@unittest.skipIf(shutil.which("erl") is None, "no erl")
class Terminals(unittest.TestCase):
    """A real shell."""

    def test_a_shell_answers_or_has_ended(self) -> None:
        name = "typed@127.0.0.1"
        command = erl(name, "typing", "-dist_listen false")
        with Shell(name, command, os.environ) as shell:
            self.assertEqual(shell.type("{1 + 1, node()}."), f"{{2,'{name}'}}")
            self.assertEqual(shell.type('io:format("one~ntwo~n").'), "one two ok")
            with self.assertRaises(NoAnswer):
                shell.type("receive never -> ok end.", timeout_s=0.2)
        with Shell(name, command, os.environ) as shell, self.assertRaises(NoAnswer):
            shell.type("halt().")


if __name__ == "__main__":
    unittest.main()
