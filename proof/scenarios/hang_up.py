"""A terminal is closed: a node that runs in it leaves, a node without a terminal goes on.

The kernel sends SIGHUP when a terminal is closed. A service has no terminal. For a service the signal
means something else, such as new log files.
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Sequence
from typing import Any

from proof.cluster import Cluster, Node
from proof.run import Run

GOES_ON_S = 1.0
"""How long a process is watched after SIGHUP, in seconds."""
KEYS = 200


def hang_up(run: Run) -> None:
    """A node leaves when its terminal is closed; under nohup, or without a terminal, it stays."""
    with run.cluster(2, replicas=1) as cluster:
        with cluster.nodes[0].client() as client:
            for number in range(KEYS):
                client.call("SET", f"hang-up:{number}", number)
        terminal = _on_terminal(cluster, cluster.add())
        node = cluster.nodes[-1]
        cluster.wait_healed()
        run.report.step(f"the terminal of {node.name} is closed")
        os.close(terminal)
        run.report.check("a node whose terminal is closed leaves", node.wait_exit() == 0)
        cluster.wait_healed()
        with cluster.nodes[0].client() as client:
            lost = [n for n in range(KEYS) if client.call("GET", f"hang-up:{n}") is None]
        run.report.check_none("the node has handed its data over", [str(number) for number in lost])

        node = cluster.add()
        terminal = _on_terminal(cluster, node, ["nohup"])
        _goes_on(run, node, "a node under nohup ignores SIGHUP")
        os.close(terminal)
        _goes_on(run, node, "so it does when its terminal is closed")

        node = cluster.add()
        with node.log.open("ab") as log:
            _start(cluster, node, [], start_new_session=True, stdout=log, stderr=log)
        _goes_on(run, node, "a node without a terminal ignores SIGHUP")
        node.terminate()
        run.report.check("SIGTERM makes it leave", node.wait_exit() == 0)


def _goes_on(run: Run, node: Node, what: str) -> None:
    os.kill(node.pid, signal.SIGHUP)
    time.sleep(GOES_ON_S)
    run.report.check(what, node.running and node.request("GET", "/readyz").status == 200)


def _on_terminal(cluster: Cluster, node: Node, before: Sequence[str] = ()) -> int:
    """Starts a node on a new terminal, whose other end is returned. Its log goes to the terminal."""
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        # A proof that runs under nohup would hand down that the signal is ignored.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    _start(
        cluster,
        node,
        before,
        start_new_session=True,
        preexec_fn=take_terminal,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    return ours


def _start(cluster: Cluster, node: Node, before: Sequence[str], **how: Any) -> None:
    command = [*before, *node.command(join=cluster.serving())]
    node.process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, env=cluster.environment, cwd=cluster.folder, **how
    )
    node.wait_ready()
