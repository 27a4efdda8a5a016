"""Asks every case and judges the answers: ok, open, or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from subprocess import SubprocessError

from proof.cases import Case, Skipped
from proof.cases.beam import BEAM
from proof.cases.http import HTTP
from proof.cases.nodes import NODES
from proof.cases.redis import REDIS
from proof.cluster import Cluster, Timeout
from proof.resp import DeadlineExceeded, ProtocolError, ReplyError
from proof.run import Run

CASES: tuple[Case, ...] = (*REDIS, *HTTP, *NODES, *BEAM)
AT_ONCE = 3
"""So many cases with nodes of their own run beside each other."""
FAULT_CHARACTERS = 400
PATIENT = ("--tick-time", "20s", "--request-timeout", "20s")
"""A busy machine may let a node wait for some seconds, which is not what the cases are about."""
NODE_TROUBLE = (
    ReplyError,
    DeadlineExceeded,
    ProtocolError,
    Timeout,
    OSError,
    ValueError,
    HTTPException,
    SubprocessError,
)
"""What nodes can do to a case: it fails, and the others go on."""


def all_cases(run: Run) -> None:
    """What the gate runs."""
    run_cases(run, CASES)


def run_cases(run: Run, cases: Sequence[Case]) -> None:
    """Runs `cases` and prints a line for each. Cases on the shared cluster of three nodes run one after the other."""
    open_cases: list[Case] = []
    with run.cluster(3, options=PATIENT) as cluster, ThreadPoolExecutor(AT_ONCE) as pool:
        apart = [(case, pool.submit(fault_of, case, cluster)) for case in cases if case.own_nodes]
        for case in cases:
            if not case.own_nodes:
                judge(run, case, fault_of(case, cluster), open_cases)
        for case, future in apart:
            judge(run, case, future.result(), open_cases)
    if open_cases:
        run.report.step(f"{len(open_cases)} open: {', '.join(case.name for case in open_cases)}")


def fault_of(case: Case, cluster: Cluster) -> str | Skipped:
    """How the answer differs from the right one; nothing if it does not."""
    try:
        return case.fault(cluster)
    except Skipped as skipped:
        return skipped
    except NODE_TROUBLE as error:
        return f"{type(error).__name__}: {error}"


def judge(run: Run, case: Case, fault: str | Skipped, open_cases: list[Case]) -> None:
    """Prints the line of a case and counts it. A known fault of an open case neither fails nor passes."""
    if isinstance(fault, Skipped):
        run.report.skip(case.name, str(fault))
        return
    fault = " ".join(fault.split())[:FAULT_CHARACTERS]
    if fault and case.open and case.open.fault in fault:
        open_cases.append(case)
        _line(run, "open", case, f"; {case.open.reason}; {fault}")
        return
    note = "; it is listed as open: take it off the list" if case.open and not fault else ""
    _line(run, "WRONG" if fault else "ok", case, f"; {fault}" if fault else note)
    run.report.check(case.name, not fault, fault)


def _line(run: Run, verdict: str, case: Case, rest: str) -> None:
    run.report.step(f"{verdict:<5}  {case.name:<24}  {case.asked}{rest}")
