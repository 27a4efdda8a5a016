"""A watch on the stand-in: a perfect cluster passes, each planted lie is found as what it is."""

from __future__ import annotations

import contextlib
import io
import os
import time
import unittest
from collections.abc import Callable
from unittest import mock

from proof.cluster import Cluster, wait_for
from proof.partitions import UNIMPEDED
from proof.record import Finding, Operation, Record, Situation
from proof.report import Report
from proof.resp import DEADLINE_S
from proof.tests.hub import STANDIN, WithHub
from proof.watch import Watch, WatchOptions

SECONDS = 1.5
PATIENCE_S = 20
OPTIONS = WatchOptions(writers=2, registers_each=3, texts_each=5, pause_s=0.002)


class Watching(WithHub):
    """Each test is one short watch."""

    def _watched(self, fault: str = "", awaited: Callable[[Record], bool] = lambda _: True) -> Record:
        """Watches for a while, and for longer if what is `awaited` takes its time."""
        os.environ["STANDIN_FAULT"] = fault
        with Cluster(STANDIN) as cluster:
            cluster.grow(2)
            with Watch([cluster.nodes], OPTIONS) as watch:
                time.sleep(SECONDS)
                patience = time.monotonic() + PATIENCE_S
                while not awaited(watch.record) and time.monotonic() < patience:
                    time.sleep(0.1)
                watch.enter(Situation.AFTER)
            watch.compare(cluster.nodes)
        self.assertGreater(watch.record.answered[Situation.BEFORE], 100)
        return watch.record

    def _finds(self, fault: str, operation: Operation, *findings: Finding) -> Record:
        def lacks(record: Record) -> set[Finding]:
            return set(findings) - {finding for _, by, finding in list(record.counts) if by is operation}

        # What is lost is seen when the nodes are compared in the end.
        record = self._watched(fault, lambda record: lacks(record) <= {Finding.LOST})
        self.assertEqual(lacks(record), set(), str(record))
        self.assertTrue(record.wrong(UNIMPEDED))
        return record

    def test_a_perfect_cluster_passes(self) -> None:
        record = self._watched()
        self.assertEqual(dict(record.counts), {})
        self.assertGreater(record.longest_wait_s, 0)

    def test_nil_reads(self) -> None:
        record = self._finds("stale", Operation.READ, Finding.NIL, Finding.OWN)
        self.assertTrue(any(by is Operation.LOCK and finding is Finding.LOST for _, by, finding in record.counts))

    def test_old_reads(self) -> None:
        self._finds("old", Operation.READ, Finding.STALE, Finding.BACKWARD, Finding.ACROSS, Finding.OWN)

    def test_values_of_the_future(self) -> None:
        self._finds("future", Operation.READ, Finding.FUTURE)

    def test_refused_writes_that_are_read(self) -> None:
        self._finds("deny", Operation.READ, Finding.DENIED)

    def test_lost_writes(self) -> None:
        self._finds("lose", Operation.READ, Finding.STALE, Finding.OWN)

    def test_what_is_lost_in_the_end(self) -> None:
        with Cluster(STANDIN) as cluster:
            cluster.grow(1)
            with Watch([cluster.nodes], OPTIONS) as watch:
                time.sleep(SECONDS)
            with cluster.nodes[0].client() as client:
                for book in watch.books:
                    client.call("SET", book.items[0].key, "7777777")
            watch.compare(cluster.nodes)
        lost = {by for _, by, finding in watch.record.counts if finding is Finding.LOST}
        self.assertEqual(lost, {Operation.WRITE, Operation.LOCK, Operation.APPEND, Operation.INCR})
        self.assertEqual(watch.record.total(Finding.LOST), 4)

    def test_double_grants(self) -> None:
        self._finds("grant", Operation.LOCK, Finding.DOUBLE, Finding.LOST)

    def test_lost_appends(self) -> None:
        self._finds("drop", Operation.APPEND, Finding.SHORT, Finding.LOST)

    def test_short_answers(self) -> None:
        self._finds("short", Operation.APPEND, Finding.SHORT)

    def test_low_increments(self) -> None:
        self._finds("low", Operation.INCR, Finding.LOW)

    def test_refusals(self) -> None:
        record = self._finds("refuse", Operation.WRITE, Finding.REFUSED)
        self.assertGreater(record.longest_refused_s, 0)
        self.assertEqual(record.total(Finding.LOST), 0, "a refused write need not be there")

    def test_unknown_outcomes(self) -> None:
        record = self._finds("timeout", Operation.INCR, Finding.UNKNOWN)
        self.assertEqual(record.total(Finding.LOST), 0, "nor one with unknown outcome")

    def test_hung_requests(self) -> None:
        os.environ["STANDIN_FAULT"] = "hang"
        with Cluster(STANDIN) as cluster:
            cluster.grow(1)
            with mock.patch("proof.watch.DEADLINE_S", 1.0), Watch([cluster.nodes], OPTIONS) as watch:
                wait_for("a hung request", lambda: watch.record.total(Finding.HUNG), 3 * DEADLINE_S)
        self.assertGreaterEqual(watch.record.longest_wait_s, 1.0)

    def test_a_failing_client_fails_the_test(self) -> None:
        with Cluster(STANDIN) as cluster:
            cluster.grow(1)
            broken = mock.patch("proof.registers.Texts.piece", side_effect=ZeroDivisionError)
            with broken, self.assertRaises(ZeroDivisionError), Watch([cluster.nodes], OPTIONS):
                time.sleep(0.2)

    def test_the_report_fails_for_what_is_not_allowed(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()), Cluster(STANDIN) as cluster:
            cluster.grow(1)
            with Watch([cluster.nodes], OPTIONS) as watch:
                time.sleep(0.2)
                watch.enter(Situation.AFTER)
                time.sleep(0.2)
            for expected in (0, 1):
                report = Report()
                watch.report(report, "w", UNIMPEDED)
                self.assertEqual(len(report.failures), expected)
                watch.record.book(Operation.READ, Finding.STALE, "planted")


if __name__ == "__main__":
    unittest.main()
