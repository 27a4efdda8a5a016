"""A mesh of Erlang and salp nodes under random faults.

The mesh has two `erl`, of OTP 25 and of OTP 28 if it can be fetched, and three salp nodes, each in a network namespace.
Processes of the Erlang nodes register global names (their own, and names that others want too), take locks, join
groups, monitor, link to and call processes of the salp nodes, and are killed at random.

1. Links are blocked for less and for more than the tick time, and members are killed, stopped and paused. Then all
   faults end and the load ends. Within `SETTLE_S` all members must agree (`proof.agreement`), and no lock, name or group
   member of the load may be left.
2. All connections are closed and made again, and the load runs without faults. When it has ended, no monitor and no
   link of the load may be left either.

Monitors are not counted after the first part, because OTP leaves some: if a process of an Erlang node makes a monitor
while the connection is being made, the monitor stays after the end of the process, until the connection ends. This is
so between two Erlang nodes too (OTP 25 and 28).

Erlang nodes do not connect again on their own. So each Erlang member connects to missing members every second, as
libcluster does.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations

from proof import agreement, beam_node
from proof.agreement import Facts
from proof.beam_node import TICK_S, Beam
from proof.cluster import NO_ANSWER, Cluster, Node, Timeout, wait_for
from proof.network import Namespaces
from proof.report import Report
from proof.resp import DeadlineExceeded, ProtocolError, ReplyError
from proof.run import Run

SALPS = 3
BEAMS = 2
LOAD_S_MIN = 40.0
"""The least duration of the faults, in seconds. In other scenarios `--seconds` is the shorter time between events."""
PEACE_S = 8.0
"""How long the load runs without faults, in seconds."""
SETTLE_S = 60.0
"""How long the mesh may take to agree after all faults have ended, in seconds."""
HOLD_S = 2.0 * TICK_S
"""How long the agreement must last, in seconds: longer than a connection loss can stay unnoticed."""
AT_ONCE_MAX = 2
"""How many faults there are at the same time: at least three of five members have none."""
ORDERLY_S = 12.0
"""How long an orderly end may take before the process is killed, in seconds."""

Member = Node | Beam


@dataclass
class Mesh:
    """The members, and how to break them."""

    network: Namespaces
    cluster: Cluster
    beams: list[Beam]

    @property
    def members(self) -> list[Member]:
        """All members, by the index of their namespace."""
        return [*self.cluster.nodes, *self.beams]

    def start(self, member: Member) -> None:
        """Starts a member and does not wait for it."""
        salps = self.cluster.nodes
        if isinstance(member, Node):
            member.start(join=[salp for salp in salps if salp is not member and salp.running])
        else:
            names = [salp.name for salp in salps], [beam.name for beam in self.beams]
            member.start(self.cluster.cookie, *names)

    def facts(self) -> Facts:
        """The reports of all members. Raises one of `NO_ANSWER`."""
        facts: Facts = {beam.name: beam.tell("facts") for beam in self.beams}
        for salp in self.cluster.nodes:
            facts[salp.name] = self.beams[0].tell(f"ask {salp.name}")
            metrics = salp.request("GET", "/metrics").body.decode()
            facts[salp.name]["tables"] = agreement.tables_of(metrics)
        return facts


def mesh(run: Run) -> None:
    """Faults for `--seconds`, then a time without faults."""
    if missing := Namespaces.unavailable() or beam_node.unavailable():
        run.report.skip("a mesh of Erlang and salp nodes", missing)
        return
    with _formed(run) as mesh:
        _agree(run.report, mesh, "formed")
        seconds = max(run.seconds, LOAD_S_MIN)
        troubles = Troubles(mesh, run.random(), run.report)
        with _Requests(mesh.cluster) as requests:
            _all(mesh, f"load {run.seed}")
            troubles.make(seconds)
            run.report.step("all faults are over; the load ends")
        _all(mesh, "calm")
        _agree(run.report, mesh, "after the faults", but=("no monitor is left", "no link is left"))
        _all(mesh, "renew")
        _agree(run.report, mesh, "connected anew", but=("no monitor is left", "no link is left"))
        _all(mesh, f"load {run.seed}")
        time.sleep(PEACE_S)
        _all(mesh, "calm")
        facts = _agree(run.report, mesh, "after the peace")
        for name, count in sorted(troubles.made.items()):
            run.report.count(name, count)
        run.report.check_none("nodeup and nodedown alternate in ended processes", troubles.out_of_turn)
        for beam in sorted(facts.keys() & {beam.name for beam in mesh.beams}):
            seen = troubles.seen[beam] + facts[beam]["events"]["count"]
            run.report.count(f"nodeup and nodedown at {beam}", seen)
        for name, count in sorted(requests.tally.items()):
            run.report.count(f"requests {name}", count)
        run.report.check("requests were answered meanwhile", requests.tally["answered"] > 0)
        mesh.cluster.wait_healed()
        run.report.table("mesh")


@contextmanager
def _formed(run: Run) -> Iterator[Mesh]:
    network = Namespaces(SALPS + BEAMS)
    options = ["--tick-time", f"{TICK_S}s", "--leave-timeout", "5s", "--form-after", "3s"]
    with run.cluster(0, network, options=options) as cluster:
        newer = beam_node.newer_erl()
        if newer is None:
            run.report.skip("an `erl` of OTP 28", "it cannot be fetched; the installed one runs twice")
        beam_node.compile_program(cluster.folder)
        erls = ["erl", newer or "erl"]
        beams = [
            Beam(network, SALPS + number, erl, cluster.folder, cluster.environment)
            for number, erl in enumerate(erls, start=1)
        ]
        mesh = Mesh(network, cluster, beams)
        try:
            cluster.grow(SALPS)
            for beam in beams:
                mesh.start(beam)
            for beam in beams:
                beam.wait_ready()
            _all(mesh, "calm")
            yield mesh
        finally:
            for beam in beams:
                beam.close()


def _all(mesh: Mesh, command: str) -> None:
    for beam in mesh.beams:
        beam.tell(command)


def _agree(report: Report, mesh: Mesh, when: str, but: tuple[str, ...] = ()) -> Facts:
    """Waits until no check except `but` finds anything, and checks that this lasts. Reports each check."""
    began = time.monotonic()
    faults: dict[str, list[str]] = {}
    facts: Facts = {}

    def agreed() -> bool:
        nonlocal facts, faults
        try:
            facts = mesh.facts()
            found = agreement.faults(facts)
            faults = {name: lines for name, lines in found.items() if name not in but}
        except NO_ANSWER as error:
            faults = {"all members answer": [repr(error)]}
        return not faults

    try:
        wait_for("the mesh to agree", agreed, SETTLE_S)
        report.step(f"{when}: all agree after {time.monotonic() - began:.1f} s")
        report.count(f"{when}: agreed after", f"{time.monotonic() - began:.1f} s")
        time.sleep(HOLD_S)
        agreed()
    except Timeout:
        report.step(f"{when}: no agreement within {SETTLE_S:.0f} s")
    for name in [*(name for name in agreement.CHECKS if name not in but), "all members answer"]:
        report.check_none(f"{when}: {name}", faults.get(name, []))
    return facts


# Trouble


@dataclass
class _Trouble:
    """One fault. `mend` ends it, and returns whether that was possible."""

    what: str
    victims: list[Member]
    until: float
    mend: Callable[[], bool]


@dataclass
class Troubles:
    """Draws faults from a seed: at most `AT_ONCE_MAX` at a time, each at different members."""

    mesh: Mesh
    rng: random.Random
    report: Report
    made: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    """By Erlang node: `nodeup` and `nodedown` that its earlier processes counted."""
    out_of_turn: list[str] = field(default_factory=list)
    """Those that did not alternate."""
    _open: list[_Trouble] = field(default_factory=list)

    def make(self, seconds: float) -> None:
        """Causes faults for some time. At the end all faults are over and all members run."""
        end = time.monotonic() + seconds
        due = 0.0
        while time.monotonic() < end:
            self._mend_due()
            if time.monotonic() >= due and len(self._open) < AT_ONCE_MAX:
                self._begin()
                due = time.monotonic() + self.rng.uniform(0.5, 4)
            time.sleep(0.05)
        limit = time.monotonic() + SETTLE_S
        while self._open and time.monotonic() < limit:
            for trouble in self._open:
                trouble.until = 0.0
            self._mend_due()
            time.sleep(0.05)

    def _begin(self) -> None:
        busy = [victim for trouble in self._open for victim in trouble.victims]
        whole = [member for member in self.mesh.members if member not in busy]
        kind = self.rng.choice([self._cut, self._cut, self._deafen, self._kill, self._stop, self._pause])
        self._open.append(kind(whole))
        self.report.step(self._open[-1].what)

    def _mend_due(self) -> None:
        now = time.monotonic()
        self._open = [trouble for trouble in self._open if trouble.until > now or not trouble.mend()]

    def _for_a_while(self, kind: str) -> float:
        """A duration below or above the tick time."""
        short = self.rng.random() < 0.4
        self.made[f"{kind}, {'shorter' if short else 'longer'} than the tick time"] += 1
        return self.rng.uniform(0.2, TICK_S / 2) if short else self.rng.uniform(1.3 * TICK_S, 2.5 * TICK_S)

    def _cut(self, whole: list[Member]) -> _Trouble:
        one, other = self.rng.choice(list(combinations(whole, 2)))
        lasts = self._for_a_while("cuts of a link")
        self.mesh.network.cut([one.index], [other.index])
        what = f"{one.name} and {other.name} are cut apart for {lasts:.1f} s"
        return self._rejoined(what, lasts, [(one, other), (other, one)])

    def _deafen(self, whole: list[Member]) -> _Trouble:
        one, other = self.rng.sample(whole, 2)
        lasts = self._for_a_while("one-way cuts")
        self.mesh.network.deafen(one.index, [other.index])
        return self._rejoined(f"{one.name} does not hear {other.name} for {lasts:.1f} s", lasts, [(one, other)])

    def _rejoined(self, what: str, lasts: float, deaf: list[tuple[Member, Member]]) -> _Trouble:
        """`deaf`: which member gets no packets from which other ones."""

        def mend() -> bool:
            for listener, speaker in deaf:
                self.mesh.network.hear(listener.index, [speaker.index])
            return True

        return _Trouble(what, list(deaf[0]), time.monotonic() + lasts, mend)

    def _kill(self, whole: list[Member]) -> _Trouble:
        victim = self.rng.choice(whole)
        lasts = self.rng.uniform(0, 2 * TICK_S)
        self.made["kill -9"] += 1
        self._take_down_events(victim)
        victim.kill()
        return _Trouble(f"kill -9 of {victim.name}", [victim], time.monotonic() + lasts, lambda: self._revived(victim))

    def _stop(self, whole: list[Member]) -> _Trouble:
        victim = self.rng.choice(whole)
        lasts = self.rng.uniform(0, 2 * TICK_S)
        self.made["orderly restarts"] += 1
        self._take_down_events(victim)
        victim.terminate()
        began = time.monotonic()

        def mend() -> bool:
            if victim.running and time.monotonic() > began + ORDERLY_S:
                victim.kill()
            return self._revived(victim)

        return _Trouble(f"orderly end of {victim.name}", [victim], began + lasts, mend)

    def _take_down_events(self, victim: Member) -> None:
        """Saves the counts of an Erlang node, because they end with its process."""
        if isinstance(victim, Beam):
            events = victim.tell("events")
            self.seen[victim.name] += events["count"]
            self.out_of_turn += [f"{victim.name} saw {fault}" for fault in events["faults"]]

    def _revived(self, victim: Member) -> bool:
        """Starts the member when its process has ended; the fault is over when the member serves."""
        if not victim.running:
            self.mesh.start(victim)
            if isinstance(victim, Beam):
                victim.wait_ready()
                victim.tell(f"load {self.rng.randrange(1 << 20)}")
            return True
        return False

    def _pause(self, whole: list[Member]) -> _Trouble:
        victim = self.rng.choice(whole)
        lasts = self._for_a_while("pauses")

        def mend() -> bool:
            victim.resume()
            return True

        victim.pause()
        return _Trouble(f"{victim.name} stands still for {lasts:.1f} s", [victim], time.monotonic() + lasts, mend)


class _Requests:
    """Redis clients of the salp nodes, during the `with` block. Counts their answers."""

    KEYS = 1_000

    def __init__(self, cluster: Cluster) -> None:
        self.tally: Counter[str] = Counter()
        self._cluster = cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> _Requests:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _go_on(self) -> None:
        rng = random.Random(1)
        while not self._over.wait(0.05):
            nodes = self._cluster.serving()
            if not nodes:
                continue
            key = f"key:{rng.randrange(self.KEYS)}"
            try:
                with rng.choice(nodes).client() as client:
                    for command in (("SET", key, rng.randrange(100)), ("GET", key), ("INCR", "count")):
                        client.call(*command)
                        self.tally["answered"] += 1
            except (ReplyError, DeadlineExceeded, ProtocolError, *NO_ANSWER) as error:
                self.tally["refused" if isinstance(error, ReplyError) else "cut off"] += 1
