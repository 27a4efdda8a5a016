"""The network of the nodes: all nodes on the loopback address, or each node in its own network namespace.

The namespaces are connected by one bridge. So the proof reaches every node, and can still drop the packets from one
node to another. A blocked link is an element of an nftables set, so one short command blocks or opens it. This needs
root, iproute2 and nftables; `Namespaces.unavailable` says what is missing.

Loss and delay concern only packets between nodes: the proof reaches every node without them. Loss is an nftables rule
that drops packets at random. Delay is a program of ours (`proof/delay.py`), because many kernels lack netem.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from proof.delay import GREETING

PROJECT = Path(__file__).resolve().parent.parent

PORTS = range(20_000, 30_000)
"""Below the ephemeral range, so that no outgoing connection takes a dead node's port."""


_given: set[int] = set()
"""Ports that were handed out. Their nodes may not listen on them yet."""


def free_port(host: str = "127.0.0.1") -> int:
    """A free port, a different one each time."""
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
    """Every node on 127.0.0.1, with its own ports."""

    start_options: tuple[str, ...] = ()

    def host(self, index: int) -> str:
        """The address of node `index`."""
        del index
        return "127.0.0.1"

    def command(self, index: int, command: list[str]) -> list[str]:
        """`command`, changed so that it runs in the namespace of node `index`."""
        del index
        return command

    def close(self) -> None:
        """Does nothing: there is nothing to remove."""


class Namespaces:
    """Node 1 in the namespace of 10.213.N.1, and so on; the proof itself is 10.213.N.254."""

    start_options = ("--insecure",)

    def __init__(self, count: int) -> None:
        self._subnet = _free_subnet()
        self._delay: subprocess.Popen[bytes] | None = None
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
        """`command`, changed so that it runs in the namespace of node `index`. The process keeps its id."""
        return ["ip", "netns", "exec", self._namespace(index), *command]

    def deafen(self, listener: int, speakers: Iterable[int]) -> None:
        """Drops all packets from `speakers` to node `listener` from now on."""
        self._nft(listener, f"add element inet cut deaf {{ {self._hosts(speakers)} }}")

    def mend(self, listener: int) -> None:
        """Lets all packets to node `listener` pass again."""
        self._nft(listener, "flush set inet cut deaf")

    def cut(self, left: Iterable[int], right: Iterable[int]) -> None:
        """Blocks all packets between the two sides, in both directions."""
        left, right = list(left), list(right)
        for side, other in ((left, right), (right, left)):
            for listener in side:
                self.deafen(listener, other)

    def cut_links(self, links: Iterable[tuple[int, int]]) -> None:
        """Blocks all packets on these links, in both directions."""
        deaf: dict[int, set[int]] = {}
        for one, other in links:
            deaf.setdefault(one, set()).add(other)
            deaf.setdefault(other, set()).add(one)
        for listener, speakers in deaf.items():
            self.deafen(listener, sorted(speakers))

    def lose(self, percent: int) -> None:
        """Drops this share of the packets between nodes from now on; 0 ends it."""
        nodes = self._hosts(range(1, self._count + 1))
        for index in range(1, self._count + 1):
            self._nft(index, "flush chain inet cut loss")
            if percent:
                drop = f"ip saddr {{ {nodes} }} numgen random mod 100 < {percent} drop"
                self._nft(index, f"add rule inet cut loss {drop}")

    def delay(self, milliseconds: int) -> None:
        """Delays every packet between nodes from now on, until `undelay` or `mend_all`."""
        assert self._delay is None, "packets are delayed already"
        command = [sys.executable, "-m", "proof.delay", str(milliseconds), f"{self._subnet}.254"]
        for index in range(1, self._count + 1):
            inner, outer = self._detour(index), f"{self._detour(index)}p"
            _run("ip", "link", "add", inner, "type", "veth", "peer", "name", outer)
            _run("ip", "link", "set", outer, "master", self._bridge, "up")
            # The host itself is not to answer on these two: it would do so without the delay.
            _run("ip", "link", "set", inner, "arp", "off", "up")
            _run("ip", "link", "set", self._outer(index), "arp", "off", "nomaster")
            command.append(f"{self._outer(index)}:{inner}")
        self._delay = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT)
        assert self._delay.stdout is not None
        if self._delay.stdout.readline().strip() != GREETING:
            raise OSError("the program that delays packets does not run")

    def undelay(self) -> None:
        """Ends the delay."""
        if self._delay is None:
            return
        for index in range(1, self._count + 1):
            subprocess.run(["ip", "link", "del", self._detour(index)], capture_output=True)
            _run("ip", "link", "set", self._outer(index), "arp", "on", "master", self._bridge)
        self._delay.kill()
        self._delay.communicate()
        self._delay = None

    def hear(self, listener: int, speakers: Iterable[int]) -> None:
        """Lets blocked packets from these nodes to `listener` pass again. Other links stay blocked."""
        self._nft(listener, f"delete element inet cut deaf {{ {self._hosts(speakers)} }}")

    def mend_all(self) -> None:
        """Opens all links, and ends all loss and all delay."""
        self.undelay()
        for index in range(1, self._count + 1):
            self.mend(index)
        self.lose(0)

    def close(self) -> None:
        """Removes the namespaces and the bridge."""
        if self._delay is not None:
            self._delay.kill()
            self._delay.communicate()
        for index in range(1, self._count + 1):
            for link in (self._detour(index), self._outer(index)):
                subprocess.run(["ip", "link", "del", link], capture_output=True)
            subprocess.run(["ip", "netns", "del", self._namespace(index)], capture_output=True)
        subprocess.run(["ip", "link", "del", self._bridge], capture_output=True)

    def _build(self) -> None:
        # A bridge without an address of its own takes that of a port, and another one when the ports change.
        address = ":".join(["02", *(f"{byte:02x}" for byte in random.randbytes(5))])
        _run("ip", "link", "add", self._bridge, "address", address, "type", "bridge")
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
        self._nft(index, "add chain inet cut loss { type filter hook input priority 1; }")

    def _namespace(self, index: int) -> str:
        return f"{self._bridge}n{index}"

    def _outer(self, index: int) -> str:
        """The bridge's end of the node's link."""
        return f"{self._bridge}v{index}"

    def _detour(self, index: int) -> str:
        """The end of a second link to the bridge, which delayed packets take."""
        return f"{self._bridge}d{index}"

    def _hosts(self, indexes: Iterable[int]) -> str:
        return ", ".join(self.host(index) for index in indexes)

    def _nft(self, index: int, command: str) -> None:
        _run(*self.command(index, ["nft", command]))


def _free_subnet() -> str:
    """The first three numbers of an IPv4 network that no other proof on this machine uses."""
    used = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True).stdout
    return random.choice([net for net in (f"10.213.{part}" for part in range(1, 255)) if f" {net}." not in used])


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
