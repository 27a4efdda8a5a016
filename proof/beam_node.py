"""Starts `erl` as a member of a mesh, breaks it, and asks what it sees.

Each `erl` runs the program `proof/beam/mesh.erl`, which lists its commands. A member has the same methods as
`proof.cluster.Node`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from proof.cluster import wait_for
from proof.network import Loopback, Namespaces, free_port

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "proof" / "beam" / "mesh.erl"
START_S = 20.0
ANSWER_S = 15.0
TICK_S = 4
"""The tick time of all members: a lost connection is noticed within 5 s."""


class NoAnswer(ConnectionError):
    """The member did not answer, or answered with an error."""


def unavailable() -> str | None:
    """Why no member can run on this machine, or None if one can."""
    missing = [tool for tool in ("erl", "erlc", "epmd") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def newer_erl() -> str | None:
    """The `erl` of OTP 28, or None if it cannot be fetched."""
    done = subprocess.run([ROOT / "script" / "otp28"], capture_output=True, text=True, timeout=120)
    return done.stdout.strip() or None if done.returncode == 0 else None


def compile_program(folder: Path) -> None:
    """Compiles the members' program, once for all releases."""
    subprocess.run(["erlc", "-o", folder, PROGRAM], check=True, timeout=60)


class Beam:
    """One `erl`, which can be started and ended several times under the same name."""

    def __init__(
        self, network: Loopback | Namespaces, index: int, erl: str, folder: Path, environment: dict[str, str]
    ) -> None:
        self._network = network
        self._erl = erl
        self._folder = folder
        self._environment = environment
        self.index = index
        self.host = network.host(index)
        self.name = f"beam_{index}@{self.host}"
        self.log = folder / f"beam_{index}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self._mapper: subprocess.Popen[bytes] | None = None

    def start(self, cookie: str, salps: list[str], beams: list[str]) -> None:
        """Starts the process and a port mapper in its namespace, and does not wait."""
        if self._mapper is None:
            port = self._environment["ERL_EPMD_PORT"]
            self._mapper = self._run(["epmd", "-port", port], subprocess.DEVNULL)
        command = [self._erl, "-noshell", "-name", self.name, "-setcookie", cookie, "-pa", str(self._folder)]
        command += ["-kernel", "net_ticktime", str(TICK_S), "net_setuptime", str(TICK_S), "-s", "mesh"]
        command += ["-extra", self.host, str(self._port), ",".join(salps), ",".join(beams)]
        with self.log.open("ab") as log:
            self.process = self._run(command, log)

    @property
    def running(self) -> bool:
        """Whether the process exists. It may be paused."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """Kills the process, as a power failure would."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Asks for an orderly end."""
        self.tell("stop")

    def pause(self) -> None:
        """Pauses the process (SIGSTOP); its sockets stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused process go on."""
        self._signal(signal.SIGCONT)

    def wait_ready(self) -> None:
        """Waits until it accepts commands."""
        wait_for(f"{self.name} to take commands", self._answers, START_S)

    def tell(self, command: str) -> Any:
        """One command and its answer. Raises `NoAnswer`."""
        try:
            with socket.create_connection((self.host, self._port), timeout=ANSWER_S) as connection:
                connection.settimeout(ANSWER_S)
                connection.sendall(f"{command}\n".encode())
                line = connection.makefile("rb").readline()
            answer = json.loads(line)
        except (OSError, ValueError) as error:
            raise NoAnswer(f"{self.name}, asked to {command}: {error!r}") from error
        if "error" in answer:
            raise NoAnswer(f"{self.name}, asked to {command}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Ends the process and its port mapper."""
        for process in (self.process, self._mapper):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()

    def _run(self, command: list[str], output: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._network.command(self.index, command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**self._environment, "PATH": os.environ["PATH"]},
        )

    def _answers(self) -> bool:
        try:
            self.tell("facts")
        except NoAnswer:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"{self.name} was never started"
        self.process.send_signal(number)
