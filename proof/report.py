"""The output of a proof: tables of counts, failed checks, and one last line."""

from __future__ import annotations

import time

EXAMPLES_MAX = 10
"""How many findings are printed below a failed check; the others are counted."""


class Report:
    """Collects counts and checks while a scenario runs, and prints at the end how many checks held."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._rows: list[tuple[str, str]] = []
        self.passed = 0
        self.failures: list[str] = []
        self.skipped = 0

    def step(self, text: str) -> None:
        """Prints what happens now, with the seconds since the start."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", flush=True)

    def count(self, name: str, value: object) -> None:
        """Adds a row to the table of counts."""
        self._rows.append((name, f"{value:,}" if isinstance(value, int) else str(value)))

    def check(self, name: str, holds: bool, detail: str = "") -> bool:
        """Records whether `name` holds; a failure is printed at once. Returns `holds`."""
        if holds:
            self.passed += 1
            return True
        self.failures.append(name)
        self.step(f"FAILED {name}{': ' + detail if detail else ''}")
        return False

    def check_none(self, name: str, findings: list[str]) -> bool:
        """Records that there are no `findings`; prints the first few if there are."""
        examples = "".join(f"\n    {finding}" for finding in findings[:EXAMPLES_MAX])
        return self.check(name, not findings, f"{len(findings)} found{examples}")

    def skip(self, name: str, why: str) -> None:
        """Records that something could not be tested on this machine."""
        self.skipped += 1
        self.step(f"SKIPPED {name}: {why}")

    def table(self, title: str) -> None:
        """Prints the counts since the last table, and clears them."""
        if not self._rows:
            return
        name_width = max(len(name) for name, _ in self._rows)
        value_width = max(len(value) for _, value in self._rows)
        print(f"\n{title}")
        for name, value in self._rows:
            print(f"  {name:<{name_width}}  {value:>{value_width}}")
        print(flush=True)
        self._rows.clear()

    def finish(self) -> int:
        """Prints the closing line and returns the exit code: 0 if every check held.

        A run that checked nothing has not passed, unless it said what it skipped.
        """
        for failure in self.failures:
            print(f"failed: {failure}")
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {len(self.failures)} failed{skipped}", flush=True)
        return 0 if not self.failures and (self.passed or self.skipped) else 1
