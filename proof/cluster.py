"""Starts salp nodes as processes, breaks them, and asks for their state over HTTP.

Each cluster has a temporary folder with its cookie file, and a log and a state directory for each node. A restarted
node finds its state directory as it left it. The folder is removed at the end. If a scenario failed, the folder stays,
and the last lines of each log are shown.
"""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import signal
import string
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from proof import web
from proof.network import Loopback, Namespaces, free_port
from proof.resp import Client

START_S = 30.0
"""How long a node may take until `/readyz` says yes."""
HEAL_S = 90.0
"""How long a cluster may take until `/cluster` says healed."""
EXIT_S = 60.0
"""How long a node may take to leave after SIGTERM: it hands its data over first."""
POLL_S = 0.1
LOG_LINES_SHOWN = 25

NO_ANSWER = (OSError, http.client.HTTPException, ValueError)
"""Exceptions of a request to a node that is not running or is just starting."""

T = TypeVar("T")


class Timeout(Exception):
    """A condition did not become true in time. The message says what was seen last."""


def wait_for(what: str, probe: Callable[[], T | None], timeout_s: float) -> T:
    """Calls `probe` until it returns something true. Raises `Timeout`."""
    limit = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > limit:
            raise Timeout(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(POLL_S)


def resident_bytes(pid: int) -> int:
    """The resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no VmRSS")


@cache
def has_option(binary: Path, option: str) -> bool:
    """Whether `salp start` has an option: the proofs also run older binaries."""
    shown = subprocess.run([str(binary), "start", "--help"], capture_output=True, text=True, timeout=EXIT_S)
    return option in shown.stdout.split()


class Node:
    """One salp node, whose process can be started and ended several times under the same name."""

    def __init__(self, cluster: Cluster, index: int) -> None:
        self._cluster = cluster
        self.index = index
        self.host = cluster.network.host(index)
        self.name = f"{cluster.prefix}_{index}@{self.host}"
        self.resp_port = free_port()
        self.http_port = free_port()
        self.resp_listener = f"{self.host}:{self.resp_port}"
        """Its `--resp`, for a node that listens at another address than its host, or not at all."""
        self.log = cluster.folder / f"salp_{index}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._command: list[str] = []
        """How it was started last: the nodes to join, and further options."""
        self._paused_at: float | None = None
        self._resumed_at = 0.0

    def start(self, join: Iterable[Node] = (), options: Sequence[str] = ()) -> None:
        """Starts the process and does not wait for it."""
        self._command = self.command(join, options)
        self.start_again()

    def start_again(self) -> None:
        """Starts the process with its last command line, as a supervisor would."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._cluster.network.command(self.index, self._command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._cluster.environment,
            )

    def command(self, join: Iterable[Node] = (), options: Sequence[str] = ()) -> list[str]:
        """The command that starts the process."""
        state = ("--state-dir", str(self._cluster.folder / f"state_{self.index}"))
        command = [
            str(self._cluster.binary),
            "start",
            *("--name", self.name),
            *("--cookie-file", str(self._cluster.cookie_file)),
            *("--resp", self.resp_listener),
            *("--http", f"{self.host}:{self.http_port}"),
            *("--dist-bind", self.host),
            *self._cluster.network.start_options,
            *self._cluster.options,
            *(state if has_option(self._cluster.binary, state[0]) else ()),
            *options,
        ]
        for peer in join:
            command += ["--join", peer.name]
        return command

    @property
    def pid(self) -> int:
        """The id of the process, which must have been started."""
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists. It may be paused."""
        return self.process is not None and self.process.poll() is None

    @property
    def serving(self) -> bool:
        """Whether the process exists and is not paused."""
        return self.running and self._paused_at is None

    def kill(self) -> None:
        """Kills the process, as a power failure would."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Asks the process to leave gracefully."""
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """Pauses the process (SIGSTOP); its sockets stay open."""
        self._paused_at = time.monotonic()
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused process go on."""
        self._signal(signal.SIGCONT)
        self._paused_at = None
        self._resumed_at = time.monotonic()

    def paused_since(self, moment: float) -> bool:
        """Whether the process was paused at any time since `moment`."""
        return self._paused_at is not None or self._resumed_at >= moment

    def wait_exit(self, timeout_s: float = EXIT_S) -> int:
        """Waits for the process to end and returns its exit code."""
        assert self.process is not None, f"{self.name} was never started"
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise Timeout(f"waited {timeout_s:.0f} s for {self.name} to exit") from error

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Waits until `/readyz` answers 200."""
        wait_for(f"{self.name} to be ready", self._ready_or_dead, timeout_s)

    def client(self) -> Client:
        """A new RESP connection to this node."""
        return Client(self.host, self.resp_port)

    def request(self, method: str, path: str, body: bytes | None = None) -> web.Answer:
        """One HTTP request to this node."""
        return web.request(self.host, self.http_port, method, path, body)

    def ask(self, path: str) -> Any:
        """The JSON at `path`. Raises one of `NO_ANSWER` if there is none."""
        answer = self.request("GET", path)
        if answer.status != 200:
            raise ValueError(f"{self.name} answers {answer.status} to {path}")
        return answer.json()

    def resident_bytes(self) -> int:
        """The resident memory of the process."""
        return resident_bytes(self.pid)

    def _ready_or_dead(self) -> bool:
        if not self.running:
            raise Timeout(f"{self.name} exited with {self.wait_exit()} while starting")
        try:
            return self.request("GET", "/readyz").status == 200
        except NO_ANSWER:
            return False

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"{self.name} was never started"
        self.process.send_signal(number)


class Cluster:
    """Several nodes that join each other. Use as a context manager."""

    def __init__(
        self,
        binary: Path,
        network: Loopback | Namespaces | None = None,
        replicas: int = 3,
        options: Sequence[str] = (),
        epmd_port: int | None = None,
        first_index: int = 1,
        prefix: str = "salp",
    ) -> None:
        self.binary = binary
        self.prefix = prefix
        self.network = network or Loopback()
        self.replicas = replicas
        self.options = ("--replicas", str(replicas), *options)
        self.folder = Path(tempfile.mkdtemp(prefix="salp-proof-"))
        self.cookie = "".join(secrets.choice(string.ascii_uppercase) for _ in range(32))
        self.cookie_file = self.folder / "cookie"
        self.cookie_file.write_text(self.cookie)
        self.cookie_file.chmod(0o400)
        self.epmd_port = epmd_port or free_port()
        self.environment = {
            **os.environ,
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.epmd_port),
        }
        self.nodes: list[Node] = []
        self._first_index = first_index

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(failed=kind is not None)

    def add(self) -> Node:
        """One more node, not started yet."""
        node = Node(self, self._first_index + len(self.nodes))
        self.nodes.append(node)
        return node

    def launch(self, nodes: Iterable[Node]) -> None:
        """Starts `nodes`, each joining those that serve already, and waits until all are ready.

        If none serves yet the first of them is started alone, as the seed of the others.
        """
        waiting = list(nodes)
        if not self.serving():
            seed = waiting.pop(0)
            seed.start()
            seed.wait_ready()
        peers = self.serving()
        for node in waiting:
            node.start(join=peers)
        for node in waiting:
            node.wait_ready()

    def grow(self, count: int) -> list[Node]:
        """Adds and launches `count` nodes."""
        nodes = [self.add() for _ in range(count)]
        self.launch(nodes)
        return nodes

    def running(self) -> list[Node]:
        """The nodes that have a process."""
        return [node for node in self.nodes if node.running]

    def serving(self) -> list[Node]:
        """The nodes that have a process which is not paused."""
        return [node for node in self.nodes if node.serving]

    def wait_healed(self, timeout_s: float = HEAL_S) -> None:
        """Waits until each serving node reports exactly the serving nodes as up, and all copies as made.

        The view of members is part of it because a node that has not yet noticed a loss still
        says, truthfully as far as it knows, that everything is in place.
        """
        seen = ""

        def healed() -> bool:
            nonlocal seen
            seen = self._unhealed()
            return not seen

        try:
            wait_for("healed", healed, timeout_s)
        except Timeout as error:
            raise Timeout(f"{error}; last seen: {seen}") from error

    def kill(self, nodes: Sequence[Node]) -> None:
        """Kills `nodes` at the same moment, as a power failure would."""
        for node in nodes:
            node.kill()
        for node in nodes:
            node.wait_exit()

    def command(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a subcommand of salp to its end, as a user would."""
        return subprocess.run(
            [str(self.binary), *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=timeout_s,
        )

    def close(self, failed: bool) -> None:
        """Ends all processes; shows the logs if `failed`, removes them otherwise."""
        for node in self.running():
            node.kill()
            node.wait_exit()
        self.network.close()
        if not failed:
            shutil.rmtree(self.folder)
            return
        for node in self.nodes:
            if node.log.exists():
                lines = node.log.read_text(errors="replace").splitlines()
                print(f"--- {node.log}, last lines")
                print("\n".join(lines[-LOG_LINES_SHOWN:]))

    def _unhealed(self) -> str:
        serving = self.serving()
        expected = {node.name for node in serving}
        for node in serving:
            try:
                view = node.ask("/cluster")
            except NO_ANSWER as error:
                return f"{node.name}: {error!r}"
            up = {member["name"] for member in view["nodes"] if member["state"] == "up"}
            if up != expected:
                return f"{node.name} sees up {sorted(up)}, not {sorted(expected)}"
            if not view["healed"] or view["moves"] or view["unavailable_shards"]:
                keys = ("healed", "moves", "unavailable_shards")
                return f"{node.name}: { {key: view[key] for key in keys} }"
        return ""
