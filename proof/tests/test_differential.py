"""The comparison with redis-server: what it takes for the same, what it explains, and a planted difference."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import types
import unittest
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import cast
from unittest import mock

from proof import redis_server
from proof.cluster import Cluster
from proof.differential import draw
from proof.differential.__main__ import ROWS
from proof.differential.differences import Command, is_same
from proof.differential.draw import Draw
from proof.differential.pairs import Comparison
from proof.differential.raw import end_of, items
from proof.differential.transactions import QUEUED, Queue, explanation
from proof.resp import encode


class Replies(unittest.TestCase):
    """Each test looks at single replies."""

    def _same(self, command: str, ours: bytes, theirs: bytes) -> bool:
        return is_same(command.encode().split(), ours, theirs)

    def _row(self, command: str, ours: bytes, theirs: bytes) -> str | None:
        row = explanation(command.encode().split(), ours, theirs)
        return row.name if row else None

    def test_replies_of_both_versions_are_cut_apart(self) -> None:
        for reply in (
            b"+OK\r\n",
            b"$3\r\na\r\n\r\n",
            b"*-1\r\n",
            b"*2\r\n:1\r\n$-1\r\n",
            b"%1\r\n+a\r\n~1\r\n_\r\n",
            b"#t\r\n",
        ):
            self.assertEqual(end_of(reply + b"+next\r\n", 0), len(reply))
        self.assertEqual(items(b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n"), [b"*1\r\n:1\r\n", b"$1\r\nx\r\n"])

    def test_times_may_differ_by_less_than_those_that_are_drawn(self) -> None:
        self.assertTrue(self._same("PTTL k", b":99990\r\n", b":100000\r\n"))
        self.assertFalse(self._same("PTTL k", b":100000\r\n", b":5000000\r\n"))
        self.assertFalse(self._same("TTL k", b":-1\r\n", b":5\r\n"))
        self.assertFalse(self._same("TTL k", b":-2\r\n", b":-1\r\n"))
        self.assertFalse(self._same("STRLEN k", b":99990\r\n", b":100000\r\n"))

    def test_the_order_of_keys_may_differ_and_keys_may_not(self) -> None:
        one, other, less = b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\nb\r\n$1\r\na\r\n", b"*1\r\n$1\r\na\r\n"
        self.assertTrue(self._same("KEYS *", one, other))
        self.assertFalse(self._same("KEYS *", one, less))
        self.assertFalse(self._same("MGET a b", one, other))

    def test_a_sum_may_differ_in_its_last_digits(self) -> None:
        theirs = b"$24\r\n123456790.1234567889987\r\n"
        self.assertEqual(self._row("INCRBYFLOAT k 1", b"$19\r\n123456790.123456789\r\n", theirs), "exact sums")
        self.assertIsNone(self._row("INCRBYFLOAT k 1", b"$19\r\n123456790.123457000\r\n", theirs))
        self.assertIsNone(self._row("GET k", b"$1\r\n1\r\n", b"$1\r\n2\r\n"))

    def test_no_row_explains_a_wrong_value(self) -> None:
        for command in ("SET k v", "GET k", "MGET a b", "DEL k", "COPY a b", "SCAN 0", "SELECT 0", "OBJECT ENCODING k"):
            for ours, theirs in ((b":1\r\n", b":0\r\n"), (b"$1\r\na\r\n", b"$-1\r\n"), (b"-ERR a\r\n", b"+OK\r\n")):
                self.assertIsNone(self._row(command, ours, theirs), command)

    def test_rows_have_names_of_their_own(self) -> None:
        self.assertEqual(len({row.name for row in ROWS}), len(ROWS))

    def test_a_seed_draws_the_same_commands(self) -> None:
        one, other = Draw(7), Draw(7)
        names = [one.command()[0] for _ in range(500)]
        self.assertEqual(names, [other.command()[0] for _ in range(500)])


class Transactions(unittest.TestCase):
    """Each test follows one transaction and judges the reply to its EXEC."""

    def _judged(self, ours: bytes, theirs: bytes, *lines: str, refused: str = "") -> tuple[bool, list[str]]:
        queue = Queue()
        for line in lines:
            reply = b"+OK\r\n" if line.startswith(("WATCH", "MULTI")) else QUEUED
            queue.note(line.encode().split(), b"-ERR no\r\n" if line == refused else reply, reply)
        right, rows = queue.judge([b"EXEC"], ours, theirs)
        return right, [row.name for row in rows]

    def test_each_item_is_judged_as_the_reply_to_its_command(self) -> None:
        lines = ("MULTI", "TTL k", "STRLEN k")
        ours, late, other = b"*2\r\n:100\r\n:4\r\n", b"*2\r\n:99\r\n:4\r\n", b"*2\r\n:100\r\n:5\r\n"
        self.assertEqual(self._judged(ours, late, *lines), (True, []))
        self.assertEqual(self._judged(ours, other, *lines), (False, []))
        wait = self._judged(b"*1\r\n:2\r\n", b"*1\r\n:0\r\n", "MULTI", "WAIT 0 0")
        self.assertEqual(wait, (True, ["WAIT counts replicas"]))

    def test_only_keys_of_several_slots_are_refused(self) -> None:
        ours, theirs = b"-CROSSSLOT Keys\r\n", b"*1\r\n:1\r\n"
        self.assertTrue(self._judged(ours, theirs, "MULTI", "DEL {t}1 a")[0])
        self.assertTrue(self._judged(ours, theirs, "WATCH a", "MULTI", "MSET {t}1 b {t}2 c")[0])
        self.assertFalse(self._judged(ours, theirs, "WATCH {t}a", "MULTI", "MSET {t}1 b {t}2 c")[0])
        self.assertFalse(self._judged(ours, theirs, "MULTI", "DEL {t}1 {t}2", "ECHO a", "OBJECT FREQ {t}1")[0])

    def test_only_a_refused_request_aborts(self) -> None:
        ours, theirs = b"-EXECABORT no\r\n", b"*1\r\n:1\r\n"
        self.assertTrue(self._judged(ours, theirs, "MULTI", "DEL a", "DBSIZE", refused="DBSIZE")[0])
        self.assertFalse(self._judged(ours, theirs, "MULTI", "DEL a")[0])

    def test_a_change_that_is_not_seen_is_found(self) -> None:
        for null in (b"*-1\r\n", b"_\r\n"):
            self.assertFalse(self._judged(b"*1\r\n:1\r\n", null, "WATCH a", "MULTI", "DEL a")[0])
            self.assertFalse(self._judged(null, b"*1\r\n:1\r\n", "WATCH a", "MULTI", "DEL a")[0])


class Forgetful(StreamRequestHandler):
    """Forwards to a redis-server, and has it forget the watched keys before each MULTI."""

    port = 0
    MULTI = b"*1\r\n$5\r\nMULTI\r\n"
    WITHOUT_REPLY = encode(("CLIENT", "REPLY", "SKIP"))

    def handle(self) -> None:
        """Serves one connection."""
        with socket.create_connection(("127.0.0.1", self.port)) as server:
            replies = threading.Thread(target=self._pass_replies, args=(server,), daemon=True)
            replies.start()
            while data := self.connection.recv(1 << 20):
                server.sendall(data.replace(self.MULTI, self.WITHOUT_REPLY + encode(("UNWATCH",)) + self.MULTI))

    def _pass_replies(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 20):
                self.connection.sendall(data)


@unittest.skipIf(redis_server.unavailable(), "redis-server is not installed")
class Planted(unittest.TestCase):
    """Two servers of redis, of which one is told to do something else."""

    def _findings(self, *options: str, ours: int | None = None) -> tuple[list[str], int]:
        with (
            redis_server.redis_server(in_cluster_mode=False, databases=1, options=options) as other,
            redis_server.redis_server(in_cluster_mode=False, databases=1) as theirs,
        ):
            node = types.SimpleNamespace(host="127.0.0.1", resp_port=ours or other)
            cluster = cast(Cluster, types.SimpleNamespace(nodes=[node]))
            with Comparison(cluster, theirs, 5) as comparison:
                while comparison.compared < 6000 and not comparison.findings():
                    comparison.batch()
                return comparison.findings(), comparison.explained.total()

    def test_two_equal_servers_differ_in_nothing(self) -> None:
        self.assertEqual(self._findings(), ([], 0))

    def test_a_missing_command_is_found_and_made_smaller(self) -> None:
        (finding,), _ = self._findings("--rename-command", "STRLEN", "")
        self.assertRegex(finding.lower(), r"^strlen [^|]*: b\"-err unknown command")

    def test_keys_that_are_not_watched_are_found(self) -> None:
        """They are not explained as keys that came and went."""

        def transaction(_: Draw) -> tuple[list[Command], list[Command]]:
            return [[b"WATCH", b"{t}1"]], [[b"MULTI"], [b"GET", b"{t}1"], [b"EXEC"]]

        with redis_server.redis_server(in_cluster_mode=False, databases=1) as port:
            Forgetful.port = port
            with ThreadingTCPServer(("127.0.0.1", 0), Forgetful) as proxy:
                proxy.daemon_threads = True
                threading.Thread(target=proxy.serve_forever, daemon=True).start()
                without_multi = mock.patch.dict(draw.FIXED, {0.05: "INFO"})
                with without_multi, mock.patch.object(Draw, "transaction", transaction):
                    findings, _ = self._findings(ours=proxy.server_address[1])
                proxy.shutdown()
        self.assertTrue(any(re.search(r"WATCH .*EXEC: b'\*1", finding) for finding in findings), findings)

    def test_a_difference_that_needs_a_key_keeps_what_makes_it(self) -> None:
        """With this policy, OBJECT IDLETIME of a key that is there is an error, and FREQ is none."""
        (finding,), _ = self._findings("--maxmemory-policy", "allkeys-lfu")
        self.assertRegex(finding, r"(?i)^[^|]+ \| object (idletime|freq) [^|]*: ")


if __name__ == "__main__":
    unittest.main()
