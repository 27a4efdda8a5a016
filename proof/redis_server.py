"""A redis-server of this machine, for the time of a comparison."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from proof.cluster import wait_for
from proof.network import free_port
from proof.resp import Client

START_S = 30.0


def unavailable() -> str | None:
    """Why no redis-server can run here, or None if one can."""
    return None if shutil.which("redis-server") else "redis-server is not installed"


@contextmanager
def redis_server(in_cluster_mode: bool, databases: int = 16, options: Sequence[str] = ()) -> Iterator[int]:
    """Starts a redis-server and yields its port. In cluster mode it has all slots."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "--port": str(port),
            "--bind": "127.0.0.1",
            "--save": "",
            "--dir": folder,
            "--databases": str(databases),
        }
        if in_cluster_mode:
            settings["--cluster-enabled"] = "yes"
        command = ["redis-server", *(word for pair in settings.items() for word in pair), *options]
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log)
        try:
            wait_for("redis-server", lambda: _is_up(port), START_S)
            if in_cluster_mode:
                with Client("127.0.0.1", port) as client:
                    client.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
                    wait_for("the slots of redis-server", lambda: b"state:ok" in _cluster_info(client), START_S)
            yield port
        finally:
            server.kill()
            server.wait()


def _is_up(port: int) -> bool:
    try:
        with Client("127.0.0.1", port) as client:
            return client.call("PING") == b"PONG"
    except OSError:
        return False


def _cluster_info(client: Client) -> bytes:
    reply = client.call("CLUSTER", "INFO")
    return reply if isinstance(reply, bytes) else b""
