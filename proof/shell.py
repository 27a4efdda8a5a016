"""Real shells, `iex` and `erl`, each on its own terminal.

A program types a line, and the answer is what the shell prints until its next prompt. `SALP_TEST_ERL`
names the `erl`, if it is not the one on the path. `iex` brings its own.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

ANSWER_S = 30.0
"""How long a shell may take to answer a line."""
COLUMNS = 20_000
"""Columns of the terminal: more than any answer, so that lines are not wrapped."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_IDENTITIES = (
    (re.compile(r"#Ref(?:erence)?<[\d.]+>"), "REF"),
    (re.compile(r"#?PID<[\d.]+>|<\d+\.\d+\.\d+>"), "PID"),
)


class NoAnswer(Exception):
    """A shell ended, or did not come to its next prompt in time."""


class Shell:
    """One shell that runs a node."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.is_elixir = "iex" in command
        self._prompt = re.compile(rf"(?:iex)?\({re.escape(name)}\)\d+> ")
        self._text = ""
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "dumb"},
            start_new_session=True,
        )
        os.close(theirs)
        try:
            self._read_to_prompt(ANSWER_S)
        except NoAnswer:
            self.close()
            raise

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def type(self, line: str, timeout_s: float = ANSWER_S) -> str:
        """Types `line` and returns the answer, on one line and without colours. Raises `NoAnswer`."""
        os.write(self._terminal, line.encode() + b"\n")
        answer = self._read_to_prompt(timeout_s).lstrip()
        # The terminal echoes what is typed.
        answer = answer.removeprefix(line)
        return re.sub(r"\s*\n\s*", " ", answer).strip()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the node of the shell."""
        self._process.send_signal(number)

    def close(self) -> None:
        """Ends the shell and its node at once."""
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def _read_to_prompt(self, timeout_s: float) -> str:
        limit = time.monotonic() + timeout_s
        while True:
            if prompt := self._prompt.search(self._text):
                answer = self._text[: prompt.start()]
                self._text = self._text[prompt.end() :]
                return answer
            left_s = limit - time.monotonic()
            if left_s <= 0 or not select.select([self._terminal], [], [], left_s)[0]:
                raise NoAnswer(f"{self.name} does not come to a prompt: {self._text[-500:]!r}")
            try:
                read = os.read(self._terminal, 1 << 16)
            except OSError as error:
                raise NoAnswer(f"{self.name} ended: {self._text[-500:]!r}") from error
            self._text += _COLOUR.sub("", read.decode(errors="replace")).replace("\r", "")


def iex(name: str, cookie: str, *flags: str) -> list[str]:
    """The command of an `iex` that uses a running port mapper."""
    erl_flags = " ".join(["-start_epmd false", "-logger level critical", *flags])
    return ["iex", "--name", name, "--cookie", cookie, "--erl", erl_flags]


def erl(name: str, cookie: str, *flags: str) -> list[str]:
    """The same of an `erl`."""
    program = os.environ.get("SALP_TEST_ERL", "erl")
    fixed = ["-start_epmd", "false", "-kernel", "logger_level", "critical"]
    words = [word for flag in flags for word in flag.split()]
    return [program, "-name", name, "-setcookie", cookie, *fixed, *words]


def without_identities(answer: str) -> str:
    """`answer` with all pids and references replaced by the same text."""
    for pattern, word in _IDENTITIES:
        answer = pattern.sub(word, answer)
    return answer
