"""Where nodes live: all on the loopback address, or each in a network namespace of its own.

Namespaces hang on one bridge, so that the proof reaches every node and can still drop what a node
hears from another. Cuts are elements of an nftables set, which makes both ends of a cut one short
command. Needs root, iproute2 and nftables; `Namespaces.unavailable` says what is missing.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterable

PORTS = range(20_000, 30_000)
"""Below the ephemeral range, so that no outgoing connection takes a dead node's port."""


_given: set[int] = set()
"""Ports that were given out; who got one may not listen on it yet."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on, another one each time."""
    while True:
        port = random.choice(PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            _given.add(port)
            return port


class Loopback:
    """Every node on 127.0.0.1, on ports of its own."""

    start_options: tuple[str, ...] = ()

    def host(self, index: int) -> str:
        """The address of node `index`."""
        del index
        return "127.0.0.1"

    def command(self, index: int, command: list[str]) -> list[str]:
        """`command` as it is run where node `index` lives."""
        del index
        return command

    def close(self) -> None:
        """Nothing was set up."""


class Namespaces:
    """Node 1 in the namespace of 10.213.N.1, and so on; the proof itself is 10.213.N.254."""

    start_options = ("--insecure",)

    def __init__(self, count: int) -> None:
        self._subnet = f"10.213.{random.randrange(1, 255)}"
        self._bridge = f"slp{secrets.token_hex(3)}"
        self._count = count
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def unavailable() -> str | None:
        """Why namespaces cannot be used here, or None if they can."""
        if os.geteuid() != 0:
            return "not root"
        missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
        if missing:
            return f"not installed: {', '.join(missing)}"
        probe = f"slp{secrets.token_hex(3)}"
        try:
            _run("ip", "netns", "add", probe)
            try:
                _run("ip", "netns", "exec", probe, "nft", "add table inet cut")
                _run("ip", "-n", probe, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
            finally:
                _run("ip", "netns", "del", probe)
        except subprocess.CalledProcessError as error:
            return f"the kernel or container refuses: {error.stderr.strip()}"
        return None

    def host(self, index: int) -> str:
        """The address of node `index`."""
        return f"{self._subnet}.{index}"

    def command(self, index: int, command: list[str]) -> list[str]:
        """`command` as it is run where node `index` lives; the process keeps its id."""
        return ["ip", "netns", "exec", self._namespace(index), *command]

    def deafen(self, listener: int, speakers: Iterable[int]) -> None:
        """From now on node `listener` hears nothing from `speakers`."""
        self._nft(listener, f"add element inet cut deaf {{ {self._hosts(speakers)} }}")

    def mend(self, listener: int) -> None:
        """Node `listener` hears everybody again."""
        self._nft(listener, "flush set inet cut deaf")

    def cut(self, left: Iterable[int], right: Iterable[int]) -> None:
        """Nothing passes between the two sides, in either direction."""
        left, right = list(left), list(right)
        for side, other in ((left, right), (right, left)):
            for listener in side:
                self.deafen(listener, other)

    def hear(self, listener: int, speakers: Iterable[int]) -> None:
        """Node `listener` hears these again, all of whom it did not; whom else it does not hear stays so."""
        self._nft(listener, f"delete element inet cut deaf {{ {self._hosts(speakers)} }}")

    def mend_all(self) -> None:
        """Ends every cut."""
        for index in range(1, self._count + 1):
            self.mend(index)

    def close(self) -> None:
        """Removes the namespaces and the bridge."""
        for index in range(1, self._count + 1):
            subprocess.run(["ip", "link", "del", self._outer(index)], capture_output=True)
            subprocess.run(["ip", "netns", "del", self._namespace(index)], capture_output=True)
        subprocess.run(["ip", "link", "del", self._bridge], capture_output=True)

    def _build(self) -> None:
        _run("ip", "link", "add", self._bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{self._subnet}.254/24", "dev", self._bridge)
        _run("ip", "link", "set", self._bridge, "up")
        for index in range(1, self._count + 1):
            self._add(index)

    def _add(self, index: int) -> None:
        space, outer = self._namespace(index), self._outer(index)
        _run("ip", "netns", "add", space)
        _run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
        _run("ip", "link", "set", outer, "master", self._bridge, "up")
        _run("ip", "-n", space, "addr", "add", f"{self.host(index)}/24", "dev", "eth0")
        _run("ip", "-n", space, "link", "set", "eth0", "up")
        _run("ip", "-n", space, "link", "set", "lo", "up")
        self._nft(index, "add table inet cut")
        self._nft(index, "add set inet cut deaf { type ipv4_addr; }")
        self._nft(index, "add chain inet cut input { type filter hook input priority 0; }")
        self._nft(index, "add rule inet cut input ip saddr @deaf drop")

    def _namespace(self, index: int) -> str:
        return f"{self._bridge}n{index}"

    def _outer(self, index: int) -> str:
        """The end of the node's cable that hangs on the bridge."""
        return f"{self._bridge}v{index}"

    def _hosts(self, indexes: Iterable[int]) -> str:
        return ", ".join(self.host(index) for index in indexes)

    def _nft(self, index: int, command: str) -> None:
        _run(*self.command(index, ["nft", command]))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
