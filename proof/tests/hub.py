"""The store that all nodes of the stand-in share, for the time of one test."""

from __future__ import annotations

import os
import subprocess
import unittest
from pathlib import Path

from proof.cluster import wait_for
from proof.network import free_port
from proof.resp import Client

STANDIN = Path(__file__).with_name("standin.py")


class WithHub(unittest.TestCase):
    """A test of checkers on the stand-in."""

    def setUp(self) -> None:
        port = free_port()
        command = ["redis-server", "--port", str(port), "--save", "", "--databases", "2"]
        self.hub = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.addCleanup(self._stop_hub)
        os.environ["STANDIN_HUB"] = str(port)
        os.environ["STANDIN_FAULT"] = ""
        wait_for("the hub", lambda: _answers(port), 10)

    def _stop_hub(self) -> None:
        self.hub.kill()
        self.hub.wait()


def _answers(port: int) -> bool:
    try:
        with Client("127.0.0.1", port) as client:
            return client.call("PING") == b"PONG"
    except OSError:
        return False
