# SPDX-License-Identifier: Apache-2.0
"""The ledger of a rollout: what was tried, in which cell, and how much of it control spoke for at the time.

A cell is one hardware in one region. Trials are entered once, when they are first seen, under the correction of that moment; so the
ledger is a table of whole numbers (and device-hours) that grows with the number of cells and corrections, never with the fleet, and
every e-value can be computed from it again.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, structs

from surefoot.model.record import Record
from surefoot.rollout.evidence import Counts, Tally, total

_Count = Annotated[int, Meta(ge=0)]
_ENTER_HOURS_S = 300
"""Device-hours alone are entered no more often than this, so that a quiet rollout writes nothing."""

_TRIALS = ("reported", "failed", "unhealthy", "due", "silent", "relapsed")


class Trials(Record, frozen=True, kw_only=True):
    """What was tried.

    Attributes:
        reported: Devices that reported an outcome.
        failed: Those of them that failed or rolled back.
        unhealthy: Devices on which the release found itself unhealthy.
        due: Devices whose deadline has passed.
        silent: Those of them that had not reported by then.
        hours: Device-hours after a good update.
        relapsed: Devices that were harmed in those.
    """

    reported: int = 0
    failed: int = 0
    unhealthy: int = 0
    due: int = 0
    silent: int = 0
    hours: float = 0.0
    relapsed: int = 0

    def plus(self, other: "Trials") -> "Trials":
        """Return the sum."""
        return Trials(**{name: getattr(self, name) + getattr(other, name) for name in (*_TRIALS, "hours")})


class Entry(Record, frozen=True, kw_only=True):
    """Trials of one cell under one correction, percent."""

    correction: Annotated[int, Meta(ge=0, le=100)] = 0
    trials: Trials


class Cell(Record, frozen=True, kw_only=True):
    """One hardware in one region.

    Attributes:
        seen: All that is counted of it, what a person has acknowledged included.
        running: How many devices ran the release well at the last look.
        entries: What is judged, by correction.
    """

    hardware: str
    region: str = ""
    seen: Trials = Trials()
    running: int = 0
    entries: list[Entry] = []


class Ledger(Record, frozen=True, kw_only=True):
    """All cells, and when they were last looked at, seconds since 1970."""

    at: int = 0
    cells: list[Cell] = []


def contradiction(ledger: Ledger, tallies: list[Tally]) -> str:
    """Return what is impossible about counts that follow a ledger, in words; empty when nothing is."""
    known = {(cell.hardware, cell.region): cell for cell in ledger.cells}
    counted = _by_cell(tallies)
    for counts in counted.values():
        if counts.silent > counts.due:
            return f"{counts.silent} attempts are silent of {counts.due} whose deadline has passed"
    for key, cell in known.items():
        now = _seen(counted.get(key, Counts()))
        lost = next((name for name in _TRIALS if getattr(now, name) < getattr(cell.seen, name)), "")
        if lost:
            return f"'{lost}' counts {getattr(cell.seen, lost) - getattr(now, lost)} less than before"
    return ""


def enter(ledger: Ledger, tallies: list[Tally], corrections: Mapping[str, int], now: int) -> Ledger:
    """Return the ledger with all that was counted since the last look.

    Args:
        ledger: As it was.
        tallies: What is counted now; contradicts nothing.
        corrections: Percent by region; a region that is not named has none.
        now: Seconds since 1970; before the last look, no hours have passed.
    """
    known = {(cell.hardware, cell.region): cell for cell in ledger.cells}
    hours = max(0, now - ledger.at) / 3_600 if ledger.at else 0.0
    cells = []
    for (hardware, region), counts in sorted(_by_cell(tallies).items()):
        cell = known.get((hardware, region), Cell(hardware=hardware, region=region))
        cells.append(_entered(cell, counts, hours, corrections.get(region, 0)))
    return Ledger(at=max(now, ledger.at), cells=cells)


def is_worth_keeping(before: Ledger, after: Ledger) -> bool:
    """Say whether a ledger says more than the one before it, but for a few device-hours that the next look enters as well."""
    if after.at - before.at >= _ENTER_HOURS_S:
        return True
    return [(cell.seen, cell.running) for cell in before.cells] != [(cell.seen, cell.running) for cell in after.cells]


def acknowledged(tallies: list[Tally], now: int) -> Ledger:
    """Return the ledger of which a person has seen everything: only what is counted from now on is judged.

    Counts that went back, as a recount may put them right, are seen as they are.
    """
    seen = sorted(_by_cell(tallies).items())
    cells = [Cell(hardware=hardware, region=region, seen=_seen(counts), running=counts.running) for (hardware, region), counts in seen]
    return Ledger(at=now, cells=cells)


def _entered(cell: Cell, counts: Counts, hours: float, correction: int) -> Cell:
    seen = _seen(counts)
    fresh = Trials(**{name: getattr(seen, name) - getattr(cell.seen, name) for name in _TRIALS}, hours=cell.running * hours)
    others = [entry for entry in cell.entries if entry.correction != correction]
    same = next((entry.trials for entry in cell.entries if entry.correction == correction), Trials())
    entries = cell.entries if fresh == Trials() else [*others, Entry(correction=correction, trials=same.plus(fresh))]
    return structs.replace(cell, seen=seen, running=counts.running, entries=sorted(entries, key=lambda entry: entry.correction))


def _seen(counts: Counts) -> Trials:
    return Trials(
        reported=counts.reported,
        failed=counts.went_badly,
        unhealthy=counts.unhealthy,
        due=counts.due,
        silent=counts.silent,
        relapsed=counts.relapsed,
    )


def _by_cell(tallies: list[Tally]) -> dict[tuple[str, str], Counts]:
    cells: dict[tuple[str, str], list[Counts]] = {}
    for tally in tallies:
        cells.setdefault((tally.hardware, tally.region), []).append(tally.counts)
    return {key: counts[0] if len(counts) == 1 else total(counts) for key, counts in cells.items()}
