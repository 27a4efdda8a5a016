"""Control runs: damage acknowledged data on purpose, and check that the checker reports it.

Without this, a checker that reports nothing would go unnoticed.
"""

from __future__ import annotations

from proof.cluster import Cluster
from proof.ledger import Ledger
from proof.report import Report
from proof.verify import compare


def check_noticed(report: Report, cluster: Cluster, ledger: Ledger) -> None:
    """Deletes one acknowledged key, flips a byte of another, and expects exactly these findings."""
    doors = cluster.serving()
    before = compare(doors, [ledger])
    report.check_none("no fault is found before the damage", list(before.faulty.values()))
    lost, flipped = _victims(ledger)
    with doors[0].client() as client:
        client.call("DEL", lost)
        client.call("SETRANGE", flipped, 0, b"!")
    found = compare(doors, [ledger]).faulty
    report.count("planted: lost", lost.decode())
    report.count("planted: flipped", flipped.decode())
    report.count("faults found", len(found))
    report.check("the planted loss is found", lost in found)
    report.check("the planted flip is found", flipped in found)
    others = [text for key, text in found.items() if key not in (lost, flipped)]
    report.check_none("nothing else is reported", others)


def _victims(ledger: Ledger) -> tuple[bytes, bytes]:
    living = (key for key in ledger.order if ledger.settled(key) is not None)
    return next(living), next(living)
