"""The store that all nodes of the stand-in share, for the time of one test."""

from __future__ import annotations

import os
import unittest
from pathlib import Path

from proof.redis_server import redis_server

STANDIN = Path(__file__).with_name("standin.py")


class WithHub(unittest.TestCase):
    """A test of checkers on the stand-in."""

    def setUp(self) -> None:
        port = self.enterContext(redis_server(in_cluster_mode=False, databases=2))
        os.environ["STANDIN_HUB"] = str(port)
        os.environ["STANDIN_FAULT"] = ""
