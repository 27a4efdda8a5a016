"""How nodes are started: their state directories, and the command line of the last time."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from proof.cluster import Cluster

SCRIPT = """#!/bin/sh
[ "$2" = --help ] && echo "      {option} <DIR>" || echo "$@"
"""


class Starts(unittest.TestCase):
    """A program that prints how it was started, and ends."""

    def _lines(self, option: str) -> tuple[Path, list[str]]:
        """The folder of the cluster, and what a node printed that was started and started again."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        binary = folder / "printer"
        binary.write_text(SCRIPT.format(option=option))
        binary.chmod(0o700)
        with Cluster(binary) as cluster:
            node, peer = cluster.add(), cluster.add()
            node.start(join=[peer], options=("--hidden",))
            node.wait_exit()
            node.start_again()
            node.wait_exit()
            self.assertIn(f"--hidden --join {peer.name}", node.log.read_text())
            return cluster.folder, node.log.read_text().splitlines()

    def test_a_node_keeps_its_state_directory_and_its_command_line(self) -> None:
        folder, lines = self._lines("--state-dir")
        self.assertEqual(lines[0], lines[1])
        self.assertIn(f"--state-dir {folder}/state_1", lines[0])

    def test_a_program_without_state_directories_is_given_none(self) -> None:
        _, lines = self._lines("--other-dir")
        self.assertNotIn("state", lines[0])


if __name__ == "__main__":
    unittest.main()
