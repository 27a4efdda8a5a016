"""The books of transactions, and runs against the stand-in: a perfect cluster passes, planted faults are found."""

from __future__ import annotations

import contextlib
import io
import os
import unittest

from proof.resp import Reply, ReplyError
from proof.run import Run
from proof.scenarios import transactions
from proof.tests.hub import STANDIN, WithHub
from proof.transactions import GROUP_KEYS, Counters, Ending, Fault, Groups, Pairs, Tally, ending_of


class Books(unittest.TestCase):
    """Each test plants one fault in the answers that a book is told of."""

    def setUp(self) -> None:
        self.tally = Tally()

    def _found(self) -> dict[Fault, int]:
        return dict(self.tally.faults)

    def test_the_reply_to_exec_says_how_it_ended(self) -> None:
        for reply, ending in (
            ([b"OK"], Ending.EXECUTED),
            (None, Ending.CHANGED),
            (ReplyError("EXECABORT x"), Ending.REFUSED),
            (ReplyError("NOREPLICAS x"), Ending.REFUSED),
            (ReplyError("NOREPLICAS no_quorum"), Ending.UNKNOWN),
            (ReplyError("TIMEOUT x"), Ending.UNKNOWN),
        ):
            self.assertIs(ending_of(reply), ending)

    def test_two_clients_that_set_the_same_number(self) -> None:
        book = Counters(self.tally, "c", 1)
        (counter,) = book.items
        for number, ending in ((1, Ending.EXECUTED), (2, Ending.UNKNOWN), (2, Ending.EXECUTED), (3, Ending.CHANGED)):
            book.end(counter, number, ending, "n")
        self.assertEqual(self._found(), {})
        book.end(counter, 2, Ending.EXECUTED, "n")
        self.assertEqual(self._found(), {Fault.LOST: 1})

    def test_a_counter_that_lacks_an_increment(self) -> None:
        book = Counters(self.tally, "c", 1)
        (counter,) = book.items
        for number, ending in ((1, Ending.EXECUTED), (2, Ending.EXECUTED), (3, Ending.UNKNOWN)):
            book.end(counter, number, ending, "n")
        for value in (b"2", b"3"):
            book.settle({counter.key: value}, "n")
        self.assertEqual(self._found(), {})
        book.settle({counter.key: b"1"}, "n")
        self.assertEqual(self._found(), {Fault.LOST: 1})
        book.settle({counter.key: b"4"}, "n")
        self.assertEqual(self._found(), {Fault.LOST: 1, Fault.DENIED: 1})

    def test_pairs(self) -> None:
        book = Pairs(self.tally, "p", 1)
        pair = book.take(0)
        for ending in (Ending.EXECUTED, Ending.EXECUTED, Ending.REFUSED):
            book.begin(pair)
            book.end(pair, ending)
        wanted = {}
        for values, fault in (
            ([b"2", b"2"], None),
            ([b"2", b"1"], Fault.TORN),
            ([b"1", b"1"], Fault.OLD),
            ([None, None], Fault.OLD),
            ([b"3", b"3"], Fault.DENIED),
            ([b"9", b"9"], Fault.DENIED),
        ):
            if fault:
                wanted[fault] = wanted.get(fault, 0) + 1
            book.read(pair, 2, values, "n")
            self.assertEqual(self._found(), wanted, values)
        book.settle(dict.fromkeys(pair.keys, b"1"), "n")
        self.assertEqual(self.tally.faults[Fault.LOST], 1)
        book.settle(dict(zip(pair.keys, (b"2", b"1"), strict=True)), "n")
        self.assertEqual(self.tally.faults[Fault.TORN], 2)

    def test_a_parted_node_may_show_old_pairs_but_no_halves(self) -> None:
        book = Pairs(self.tally, "p", 1)
        pair = book.take(0)
        book.begin(pair)
        book.end(pair, Ending.EXECUTED)
        self.tally.exact = False
        book.read(pair, 1, [None, None], "n")
        self.assertEqual(self._found(), {})
        book.read(pair, 1, [b"1", None], "n")
        self.assertEqual(self._found(), {Fault.TORN: 1})

    def test_groups(self) -> None:
        book = Groups(self.tally, "g", 1)
        (group,) = book.items
        answers: list[Reply] = [1] * GROUP_KEYS
        book.end(group, 0, answers, "n")
        book.read(group, 1, [b"1"] * GROUP_KEYS, "n")
        book.settle(dict.fromkeys(group.members, b"1"), "n")
        self.assertEqual(self._found(), {})
        book.end(group, 1, answers, "n")
        self.assertEqual(self._found(), {Fault.LOST: 1})
        book.end(group, 1, [*answers[1:], 2], "n")
        self.assertEqual(self._found(), {Fault.LOST: 1, Fault.TORN: 1})
        book.read(group, 2, [b"1"] * GROUP_KEYS, "n")
        self.assertEqual(self._found(), {Fault.LOST: 1, Fault.TORN: 1, Fault.OLD: 1})
        book.settle(dict.fromkeys(group.members, b"1") | {group.members[7]: None}, "n")
        self.assertEqual(self.tally.faults[Fault.TORN], 2)


class Planted(WithHub):
    """Each test is a short quiet run of the clients."""

    def _failures(self, fault: str) -> tuple[str, str]:
        os.environ["STANDIN_FAULT"] = fault
        run, shown = Run(STANDIN, seconds=0.5), io.StringIO()
        with contextlib.redirect_stdout(shown), run.cluster(3) as cluster:
            transactions.watched(run, cluster, "quiet", transactions._quiet)
        return "\n".join(run.report.failures), shown.getvalue()

    def test_a_perfect_cluster_passes(self) -> None:
        failures, shown = self._failures("")
        self.assertEqual(failures, "", shown)
        self.assertRegex(shown, r"executed [1-9].* refused by WATCH [1-9].* lost 0, torn 0")

    def test_watch_that_watches_nothing_is_caught(self) -> None:
        self.assertRegex(self._failures("blind")[1], r"lost: \d+, such as two EXECs")

    def test_an_increment_that_is_lost_is_caught(self) -> None:
        self.assertRegex(self._failures("void")[1], r"lost: \d+, such as")

    def test_a_torn_pair_is_caught(self) -> None:
        shown = self._failures("tear")[1]
        self.assertRegex(shown, r"torn: \d+, such as .*and the other key are")


if __name__ == "__main__":
    unittest.main()
