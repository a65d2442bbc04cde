# SPDX-License-Identifier: Apache-2.0
"""``make coverage``: print how much of each part the tests run, and fail when a part is below its floor.

A figure counts lines and branches alike. What decides whether a device boots, and what the two ends say to each other, must be
run whole; everything else to nine tenths.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from coverage import Coverage
from coverage.exceptions import NoDataError

PACKAGE = Path(__file__).parents[1] / "src" / "surefoot"
FLOOR = 90
WHOLE = ("model", "schedule", "rollout", "trust/verify.py", "agent/machine.py", "agent/state.py", "agent/signals.py", "agent/admission.py")
"""Folders and modules of which every line and every branch is run."""

ELSEWHERE = {
    "cli/demo.py": "all it does is done by processes; 'make demo' runs it",
    "__main__.py": "a few lines; every test that starts the command as a process runs them",
}
"""Modules that this figure cannot judge, and what does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One part: how many of its lines and branches there are, how many were run, and the share in per cent that must be."""

    part: str
    total: int
    run: int
    floor: int

    @property
    def per_cent(self) -> float:
        """The share that was run; all of it when there is nothing to run."""
        return 100 * self.run / self.total if self.total else 100.0

    @property
    def holds(self) -> bool:
        """Whether enough was run; counted in whole lines and branches, so that 99.99 is not 100."""
        return self.run * 100 >= self.floor * self.total


def main() -> int:
    """Print the table; 1 when a part is below its floor, 2 when nothing was measured."""
    try:
        found = rows(measured())
    except NoDataError:
        print("Nothing was measured: run 'make coverage'.", file=sys.stderr)
        return 2
    print(f"{'part':<20}{'counted':>9}{'run':>8}{'per cent':>10}{'floor':>7}")
    for row in found:
        note = "" if row.holds else "  BELOW ITS FLOOR"
        print(f"{row.part:<20}{row.total:>9}{row.run:>8}{row.per_cent:>10.1f}{row.floor:>7}{note}")
    for name, judge in ELSEWHERE.items():
        print(f"{name}: not counted; {judge}")
    return 0 if all(row.holds for row in found) else 1


def measured() -> dict[str, tuple[int, int]]:
    """Return how many lines and branches each module has and how many were run, from the data file of ``coverage``.

    Raises:
        NoDataError: There is no such file.
    """
    coverage = Coverage()
    coverage.load()
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        coverage.json_report(outfile=str(report))
        files = json.loads(report.read_bytes())["files"]
    return {name_of(path): _count(file["summary"]) for path, file in files.items()}


def rows(counts: Mapping[str, tuple[int, int]]) -> list[Row]:
    """Return a row for each part: what must be run whole, and the rest of each package.

    Raises:
        LookupError: A part that must be run whole has no module: its name is wrong, and it would be judged by nobody.
    """
    strict = {part: [name for name in counts if name == part or name.startswith(f"{part}/")] for part in WHOLE}
    lost = [part for part, names in strict.items() if not names]
    if lost:
        raise LookupError(f"there is no {', '.join(lost)}")
    taken = {name for names in strict.values() for name in names} | ELSEWHERE.keys()
    packages: dict[str, list[str]] = {}
    for name in counts.keys() - taken:
        packages.setdefault(name.partition("/")[0], []).append(name)
    return [
        *(_row(part, names, counts, 100) for part, names in strict.items()),
        *(
            _row(package, packages[package], counts, FLOOR)
            for package in sorted(packages)
            if _row(package, packages[package], counts, 0).total
        ),
    ]


def name_of(path: str) -> str:
    """Return a module's path below the package."""
    return Path(path).resolve().relative_to(PACKAGE).as_posix()


def _count(summary: Mapping[str, int]) -> tuple[int, int]:
    return summary["num_statements"] + summary["num_branches"], summary["covered_lines"] + summary["covered_branches"]


def _row(part: str, names: Iterable[str], counts: Mapping[str, tuple[int, int]], floor: int) -> Row:
    found = [counts[name] for name in names]
    return Row(part=part, total=sum(total for total, _ in found), run=sum(run for _, run in found), floor=floor)


if __name__ == "__main__":
    sys.exit(main())
