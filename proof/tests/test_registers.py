"""The books of a watch: for every finding one course of events that has it, and the nearest one that has not."""

from __future__ import annotations

import unittest
from collections import Counter

from proof.record import Finding, Operation, Record, Situation, may
from proof.registers import SLOW_S, Locks, Register, Registers, Tallies, Texts

FAST_S = 0.01


class Case(unittest.TestCase):
    """A record, and what was found."""

    def setUp(self) -> None:
        self.record = Record()

    def found(self, *expected: Finding) -> None:
        """These findings are in the record, each so often, and no others."""
        counts = Counter(finding for (_, _, finding), count in self.record.counts.items() for _ in range(count))
        self.assertEqual(counts, Counter(expected))


class RegisterBook(Case):
    """One register of side 0, which readers of both sides read."""

    def setUp(self) -> None:
        super().setUp()
        self.book = Registers(self.record, "r")
        self.register = self.book.take(0, 0)
        self.seen: dict[bytes, int] = {}

    def _write(self, wait_s: float = FAST_S) -> None:
        partings = self.book.partings
        self.book.issue(self.register)
        self.book.acknowledge(self.register, wait_s, partings)

    def _read(self, value: bytes | None, side: int = 0, seen: dict[bytes, int] | None = None) -> None:
        asked = self.book.ask(self.register, side)
        self.book.answer(self.register, asked, value, self.seen if seen is None else seen, "here")

    def test_right_reads(self) -> None:
        self._read(None)
        self._write()
        self._read(b"1")
        self.book.issue(self.register)
        self._read(b"2")
        self.book.acknowledge(self.register, FAST_S, 0)
        self.book.own(self.register, b"2", "here")
        self._read(b"2")
        self.book.settle()
        self.found()
        self.assertIsNone(self.book.final(self.register, b"2"))

    def test_a_stale_read(self) -> None:
        self._write()
        self._write()
        self._read(b"1")
        self.found(Finding.STALE)

    def test_an_acknowledgement_during_a_read_may_be_missed(self) -> None:
        self._write()
        asked = self.book.ask(self.register, 0)
        self._write()
        self.book.answer(self.register, asked, b"1", self.seen, "here")
        self.found()

    def test_a_nil_read(self) -> None:
        self._write()
        self._read(None)
        self.found(Finding.NIL)

    def test_a_read_of_an_own_write(self) -> None:
        self._write()
        self._write()
        self.book.own(self.register, b"1", "here")
        self.book.own(self.register, None, "here")
        self.found(Finding.OWN, Finding.OWN)

    def test_a_read_backward_through_one_connection(self) -> None:
        self._write()
        self.book.issue(self.register)
        self._read(b"2")
        self._read(b"1")
        self.book.acknowledge(self.register, FAST_S, 0)
        self.book.settle()
        self.found(Finding.BACKWARD)

    def test_a_read_backward_across_connections(self) -> None:
        self._write()
        self.book.issue(self.register)
        self._read(b"2")
        self._read(b"1", seen={})
        self.book.acknowledge(self.register, FAST_S, 0)
        self.book.settle()
        self.found(Finding.ACROSS)

    def test_a_read_that_began_before_another_ended_may_show_less(self) -> None:
        self._write()
        self.book.issue(self.register)
        asked = self.book.ask(self.register, 0)
        self._read(b"2")
        self.book.answer(self.register, asked, b"1", {}, "there")
        self.book.acknowledge(self.register, FAST_S, 0)
        self.book.settle()
        self.found()

    def test_a_fall_below_a_write_that_came_to_nothing_is_allowed(self) -> None:
        self._write()
        self.book.issue(self.register)
        self._read(b"2")
        self._read(b"1")
        self.book.lose(self.register)
        self.book.settle()
        self.found()

    def test_a_value_of_the_future(self) -> None:
        self._write()
        self._read(b"2")
        self._read(b"word")
        self.found(Finding.FUTURE, Finding.FUTURE)

    def test_a_refused_write_that_is_read(self) -> None:
        self._write()
        self.book.issue(self.register)
        self._read(b"2")
        self.book.refuse(self.register)
        self._read(b"2")
        self.book.settle()
        self.found(Finding.DENIED, Finding.DENIED)

    def test_an_unknown_outcome_retires_the_key(self) -> None:
        self._write()
        self.book.issue(self.register)
        self.book.lose(self.register)
        self.assertIsNot(self.book.take(0, 0), self.register)
        self.assertIsNone(self.book.final(self.register, b"1"))
        self.assertIsNone(self.book.final(self.register, b"2"))
        self.assertIsNotNone(self.book.final(self.register, b"3"))
        self.assertIsNotNone(self.book.final(self.register, None))

    def test_the_other_side_may_lag_but_not_behind_the_parting(self) -> None:
        self._write()
        self._write()
        self.book.part()
        self._write()
        self._read(b"2", side=1)
        self.found(Finding.APART)
        self._read(b"1", side=1)
        self._read(None, side=1)
        self.found(Finding.APART, Finding.GONE, Finding.GONE)
        self._read(b"2", side=0)
        self.found(Finding.APART, Finding.GONE, Finding.GONE, Finding.STALE)

    def test_all_is_exact_again_once_healed(self) -> None:
        self.book.part()
        self._write()
        self.book.join()
        self._read(None, side=1)
        self.found(Finding.NIL)

    def test_what_one_side_shows_apart_is_no_floor_for_anybody(self) -> None:
        self._write()
        self.book.issue(self.register)
        asked = self.book.ask(self.register, 1)
        self.book.part()
        self._read(b"2", side=1)
        self._read(b"1", side=1)
        self.book.answer(self.register, asked, b"1", {}, "there")
        self.book.acknowledge(self.register, FAST_S, 0)
        self.book.settle()
        self.found()

    def test_a_slow_acknowledgement_at_a_parting_retires_the_key(self) -> None:
        self._write(SLOW_S)
        self.assertFalse(self.register.retired)
        self.book.part()
        self.assertTrue(self.register.retired)
        self.register = self.book.take(0, 0)
        partings = self.book.partings
        self.book.issue(self.register)
        self.book.part()
        self.book.acknowledge(self.register, SLOW_S, partings)
        self.assertTrue(self.register.retired)


class LockBook(Case):
    """One lock that two clients want."""

    def setUp(self) -> None:
        super().setUp()
        self.book = Locks(self.record, "l")
        self.lock = self.book.take(0, 0)

    def _grant(self, token: bytes) -> None:
        self.book.moment()
        self.book.grant(self.lock, token, FAST_S, 0, "here")

    def _settled(self, *expected: Finding) -> None:
        self.book.settle()
        self.found(*expected)

    def test_one_after_the_other(self) -> None:
        for token in (b"a", b"b"):
            self._grant(token)
            self.assertTrue(self.book.check(self.lock, token, token, "here"))
            self.book.releasing(self.lock, token)
            self.book.released(self.lock, token, 1, "here")
        self._settled()
        self.assertIsNone(self.book.final(self.lock, None))
        self.assertIsNotNone(self.book.final(self.lock, b"a"))

    def test_the_next_may_be_granted_while_a_release_is_under_way(self) -> None:
        self._grant(b"a")
        self.book.releasing(self.lock, b"a")
        self._grant(b"b")
        self.book.released(self.lock, b"a", 1, "here")
        self._settled()
        self.assertFalse(self.lock.free)

    def test_a_double_grant(self) -> None:
        self._grant(b"a")
        self._grant(b"b")
        self._settled(Finding.DOUBLE)

    def test_a_held_lock_that_is_gone(self) -> None:
        self._grant(b"a")
        self.assertFalse(self.book.check(self.lock, b"a", None, "here"))
        self._settled(Finding.LOST)

    def test_a_release_of_a_lock_that_is_gone(self) -> None:
        self._grant(b"a")
        self.book.releasing(self.lock, b"a")
        self.book.released(self.lock, b"a", 0, "here")
        self._settled(Finding.LOST)
        self.assertTrue(self.lock.retired)

    def test_what_may_come_from_an_unknown_outcome_is_forgotten(self) -> None:
        moment = self.book.moment()
        self._grant(b"a")
        self._grant(b"b")
        self.book.lose(self.lock, moment)
        self._grant(b"c")
        self._settled()

    def test_what_was_found_before_an_unknown_outcome_is_kept(self) -> None:
        self._grant(b"a")
        self._grant(b"b")
        self.book.lose(self.lock, self.book.moment())
        self._settled(Finding.DOUBLE)


class TextBook(Case):
    """One text."""

    def setUp(self) -> None:
        super().setUp()
        self.book = Texts(self.record, "t")
        self.text = self.book.take(0, 0)

    def _append(self, length: int) -> None:
        self.book.acknowledge(self.text, length, FAST_S, 0, "here")

    def test_right_lengths(self) -> None:
        self._append(2)
        self._append(4)
        self.found()
        self.assertIsNone(self.book.final(self.text, b"0,1,"))

    def test_a_short_answer(self) -> None:
        self._append(2)
        self._append(2)
        self.found(Finding.SHORT)
        self.assertTrue(self.text.retired)

    def test_a_long_answer(self) -> None:
        self._append(4)
        self.found(Finding.LONG)

    def test_a_lost_piece(self) -> None:
        self._append(2)
        self._append(4)
        for value in (b"0,", b"1,", None, b"0,1,2,"):
            self.assertIsNotNone(self.book.final(self.text, value))

    def test_an_unknown_piece_may_be_there_or_not(self) -> None:
        self._append(2)
        self.book.lose(self.text)
        self.assertTrue(self.text.retired)
        self.assertIsNone(self.book.final(self.text, b"0,"))
        self.assertIsNone(self.book.final(self.text, b"0,1,"))
        self.assertIsNotNone(self.book.final(self.text, b"1,"))


class TallyBook(Case):
    """One tally that two clients increment."""

    def setUp(self) -> None:
        super().setUp()
        self.book = Tallies(self.record, "c")
        self.tally = self.book.take(0, 0)

    def _increment(self, number: int) -> None:
        floor = self.book.ask(self.tally)
        self.book.acknowledge(self.tally, floor, number, FAST_S, 0, "here")

    def test_increments_at_the_same_time_in_any_order(self) -> None:
        first, second = self.book.ask(self.tally), self.book.ask(self.tally)
        self.book.acknowledge(self.tally, second, 2, FAST_S, 0, "here")
        self.book.acknowledge(self.tally, first, 1, FAST_S, 0, "here")
        self.found()
        self.assertIsNone(self.book.final(self.tally, b"2"))
        self.assertIsNotNone(self.book.final(self.tally, b"1"))
        self.assertIsNotNone(self.book.final(self.tally, b"3"))

    def test_a_low_answer(self) -> None:
        self._increment(1)
        self._increment(1)
        self.found(Finding.LOW)

    def test_one_number_twice(self) -> None:
        first, second = self.book.ask(self.tally), self.book.ask(self.tally)
        self.book.acknowledge(self.tally, first, 1, FAST_S, 0, "here")
        self.book.acknowledge(self.tally, second, 1, FAST_S, 0, "here")
        self.found(Finding.TWICE)

    def test_a_number_that_is_too_high(self) -> None:
        self._increment(2)
        self.found(Finding.FUTURE)

    def test_refused_ones_do_not_count_and_unknown_ones_may(self) -> None:
        self._increment(1)
        self.book.ask(self.tally)
        self.book.refuse(self.tally)
        self.assertIsNotNone(self.book.final(self.tally, b"2"))
        self.book.ask(self.tally)
        self.book.lose(self.tally)
        self.assertIsNone(self.book.final(self.tally, b"1"))
        self.assertIsNone(self.book.final(self.tally, b"2"))


class Tables(Case):
    """What is allowed, and what is not."""

    def test_only_what_the_table_allows_is_not_wrong(self) -> None:
        table = {Situation.DURING: may() | {Operation.READ: frozenset({Finding.APART})}}
        self.record.book(Operation.READ, Finding.APART, "e", Situation.DURING)
        self.record.book(Operation.WRITE, Finding.REFUSED, "e", Situation.DURING)
        self.assertEqual(self.record.wrong(table), [])
        for situation, operation, finding in (
            (Situation.AFTER, Operation.READ, Finding.APART),
            (Situation.DURING, Operation.READ, Finding.STALE),
            (Situation.DURING, Operation.READ, Finding.REFUSED),
            (Situation.BEFORE, Operation.WRITE, Finding.REFUSED),
        ):
            before = len(self.record.wrong(table))
            self.record.book(operation, finding, "e", situation)
            self.assertEqual(len(self.record.wrong(table)), before + 1)

    def test_one_line_with_every_finding(self) -> None:
        self.record.book(Operation.LOCK, Finding.DOUBLE, "e")
        line = str(self.record)
        self.assertNotIn("\n", line)
        self.assertIn("double 1", line)
        for finding in Finding:
            self.assertIn(finding.value, line)

    def test_a_book_gives_each_side_keys_of_its_own(self) -> None:
        book = Registers(self.record, "r")
        keys = [book.take(side, slot).key for side in (0, 1) for slot in (0, 1)]
        self.assertEqual(len(set(keys)), 4)
        self.assertIsInstance(book.take(1, 1), Register)


if __name__ == "__main__":
    unittest.main()
