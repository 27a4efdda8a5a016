"""What a ledger lets a reader be told, and what not."""

from __future__ import annotations

import unittest

from proof.ledger import Ledger

KEY = b"k"


class Registers(unittest.TestCase):
    """Keys that are set and deleted."""

    def setUp(self) -> None:
        self.ledger = Ledger()

    def _write(self, value: bytes | None, acknowledged: bool = True) -> None:
        self.ledger.begin(KEY, value)
        if acknowledged:
            self.ledger.acknowledge(KEY, value)

    def _allows(self, *answers: bytes | None) -> None:
        for answer in (None, b"1", b"2"):
            fault = self.ledger.fault(self.ledger.expect(KEY), answer)
            self.assertEqual(fault is None, answer in answers, f"{answer!r}: {fault}")

    def test_acknowledged_is_all_there_is(self) -> None:
        self._write(b"1")
        self._allows(b"1")
        self._write(b"2")
        self._allows(b"2")
        self._write(None)
        self._allows(None)

    def test_unknown_stays_possible(self) -> None:
        self._write(b"1", acknowledged=False)
        self._allows(None, b"1")
        self._write(b"2")
        self._allows(b"1", b"2")

    def test_an_unknown_delete_outlives_an_acknowledged_one(self) -> None:
        self._write(b"1")
        self._write(None, acknowledged=False)
        self._write(None)
        self._write(b"2")
        self._allows(None, b"2")

    def test_a_read_may_show_what_changed_meanwhile(self) -> None:
        self._write(b"1")
        expectation = self.ledger.expect(KEY)
        self._write(b"2")
        self.assertIsNone(self.ledger.fault(expectation, b"1"))
        self.assertIsNone(self.ledger.fault(expectation, b"2"))
        self.assertIsNotNone(self.ledger.fault(expectation, None))


class Counters(unittest.TestCase):
    """Keys that are incremented."""

    def test_between_acknowledged_and_possible(self) -> None:
        ledger = Ledger()
        for number in range(5):
            ledger.begin_increment(KEY)
            if number < 3:
                ledger.acknowledge_increment(KEY)
        expectation = ledger.expect(KEY)
        verdicts = [
            ledger.fault(expectation, answer) is None
            for answer in (None, b"2", b"3", b"4", b"5", b"6", b"x")
        ]
        self.assertEqual(verdicts, [False, False, True, True, True, False, False])


if __name__ == "__main__":
    unittest.main()
