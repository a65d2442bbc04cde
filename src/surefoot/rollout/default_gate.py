# SPDX-License-Identifier: Apache-2.0
"""The default gate: does what was tried speak against the release, somewhere, beyond what is usual there right now?

- It looks at every *segment*: the fleet, each hardware, each region, and each cell (a hardware in a region), and in each at three
  *streams*: failed, silent, and late. One e-value for a segment is the weighted mean of its streams'.
- Segments have weights that add up to 1, so the chance that a release as good as the last ones is ever paused is at most 1 %,
  whatever the number of segments and of looks.
- It also says how many devices may be at risk at once: few while little is known, more with every good report.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from surefoot.rollout import likelihood, tolerance
from surefoot.rollout.bound import upper_bound
from surefoot.rollout.evidence import Baseline, Evidence
from surefoot.rollout.ledger import Cell, Ledger, Trials

SLOW_AT = 10.0
"""Weighted e-value at which little more is risked until more is known."""

PAUSE_AT = 100.0
"""Weighted e-value at which the release is paused: a healthy release ever gets there with a chance of 1 %."""

_REST_BELOW = 5.0
_MOST_EXCLUDED = 0.34
_MOST_BUDGET = 250
_LEAST_DOUBT = 0.004
_LITTLE = 3


class Stream(StrEnum):
    """A kind of harm."""

    FAILED = "failed"
    SILENT = "silent"
    LATE = "late"


_STREAM_WEIGHTS = {Stream.FAILED: 0.5, Stream.SILENT: 0.3, Stream.LATE: 0.2}
_FLEET_WEIGHT, _HARDWARE_WEIGHT, _REGION_WEIGHT, _CELL_WEIGHT = 0.4, 0.3, 0.1, 0.2


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A part of the fleet; nothing means any hardware, or any region."""

    hardware: str | None = None
    region: str | None = None

    def __str__(self) -> str:
        """Return how to speak of it: ``on hardware rev-C in region eu``."""
        hardware = "" if self.hardware is None else f"on hardware {self.hardware}"
        region = "" if self.region is None else f"in region {self.region or '(none)'}"
        return " ".join(filter(None, (hardware, region))) or "in the whole fleet"


@dataclass(frozen=True, slots=True)
class _Sum:
    """Log likelihood ratios of one stream, with the counts they come from: harmed, tried (devices, or device-hours), expected."""

    logs: list[float]
    bad: int = 0
    tried: float = 0.0
    expected: float = 0.0

    def plus(self, other: "_Sum") -> "_Sum":
        return _Sum(likelihood.add(self.logs, other.logs), self.bad + other.bad, self.tried + other.tried, self.expected + other.expected)


_Sums = dict[Stream, _Sum]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one segment says.

    Attributes:
        log_e: Logarithm of the segment's e-value times its weight.
        stream: The stream that speaks loudest.
        bad: Devices that stream counts against the release.
        tried: Of how many devices, or in how many device-hours.
        expected: How many such devices would be normal there now, at most.
    """

    segment: Segment
    log_e: float
    stream: Stream
    bad: int
    tried: float
    expected: float

    @property
    def odds(self) -> float:
        """Once in how many rollouts a healthy release looks as bad as this, at least."""
        return math.exp(min(self.log_e, 700.0))

    def sentence(self) -> str:
        """Return it for people."""
        normal = (
            f"at most {_rounded(self.expected)} would be normal for these devices right now (past releases and devices not yet updated)"
        )
        return (
            f"{self.segment}, {_what(self)}; {normal}. "
            f"A healthy release would look this bad less than once in {self.odds:,.0f} rollouts; the limit is once in {PAUSE_AT:,.0f}"
        )


def findings(ledger: Ledger, evidence: Evidence, excluded: Collection[str]) -> list[Finding]:
    """Return what every segment says, the loudest first; hardware that is excluded is left out of all of them."""
    cells = [cell for cell in ledger.cells if cell.hardware not in excluded]
    sums = _by_segment(cells, _baselines(evidence))
    weights = _weights(ledger, evidence)
    found = [_finding(segment, of_streams, weights[_kind(segment)]) for segment, of_streams in sums.items()]
    return sorted(found, key=lambda finding: (-finding.log_e, str(finding.segment)))


def culprits(ledger: Ledger, evidence: Evidence, excluded: Collection[str]) -> list[str]:
    """Return the hardware to exclude so that nothing speaks against the rest; empty when there is none, or it is too much of the fleet.

    Flagged is hardware whose own segment has reached ``SLOW_AT``.
    """
    flagged = [
        finding.segment.hardware
        for finding in findings(ledger, evidence, excluded)
        if finding.segment.hardware is not None and finding.segment.region is None and finding.odds >= SLOW_AT
    ]
    out = [*excluded, *flagged]
    if not flagged or _share(evidence, ledger, out) > _MOST_EXCLUDED:
        return []
    rest = findings(ledger, evidence, out)
    is_clear = all(
        finding.odds < SLOW_AT and (finding.segment != Segment() or finding.odds / _FLEET_WEIGHT < _REST_BELOW) for finding in rest
    )
    return sorted(flagged) if is_clear else []


def budget(fleet: int) -> int:
    """Return how many devices a release of which nothing is known may harm: 0.1 % of the fleet, within bounds for small and large ones."""
    return _clamped(0.001 * fleet, fleet)


def most_at_risk(ledger: Ledger, evidence: Evidence, excluded: Collection[str], *, is_slow: bool) -> int:
    """Return how many devices may have an open attempt at once.

    The budget, divided by how bad the release may still be beyond what is tolerated; while something speaks against it, 0.2 % of the
    fleet at most.
    """
    cells = [cell for cell in ledger.cells if cell.hardware not in excluded]
    whole = _by_segment(cells, _baselines(evidence)).get(Segment())
    fleet = evidence.fleet
    doubt = 1.0 if whole is None else max(_LEAST_DOUBT, *(_doubt(whole[stream]) for stream in (Stream.FAILED, Stream.SILENT)))
    # A hair more, so that rounding takes no device away.
    most = int(budget(fleet) / doubt + 1e-9)
    return min(most, _clamped(0.002 * fleet, fleet)) if is_slow else most


def canaries(hardware: str, evidence: Evidence) -> int:
    """Return how many devices of a hardware the first batch tries at least."""
    devices = sum(share.devices for share in evidence.audience if share.hardware == hardware)
    return min(devices, _least(evidence.fleet))


def little_known(ledger: Ledger, evidence: Evidence, excluded: Collection[str]) -> list[tuple[str, int]]:
    """Return the hardware of which fewer than three devices have said anything, and of how many."""
    tried: dict[str, int] = {share.hardware: 0 for share in evidence.audience if share.hardware not in excluded and share.devices}
    for cell in ledger.cells:
        if cell.hardware in tried:
            tried[cell.hardware] += cell.seen.reported
    return sorted((hardware, number) for hardware, number in tried.items() if number < _LITTLE)


def _baselines(evidence: Evidence) -> dict[tuple[str, str], Baseline]:
    return {(baseline.hardware, baseline.region): baseline for baseline in evidence.baselines}


def _by_segment(cells: Iterable[Cell], baselines: Mapping[tuple[str, str], Baseline]) -> dict[Segment, _Sums]:
    sums: dict[Segment, _Sums] = {}
    for cell in cells:
        of_cell = _of_cell(cell, baselines.get((cell.hardware, cell.region)))
        for segment in (Segment(), Segment(cell.hardware), Segment(None, cell.region), Segment(cell.hardware, cell.region)):
            known = sums.get(segment)
            sums[segment] = of_cell if known is None else {stream: known[stream].plus(of_cell[stream]) for stream in Stream}
    return sums


def _of_cell(cell: Cell, baseline: Baseline | None) -> _Sums:
    sums = {
        Stream.FAILED: _Sum([0.0] * len(likelihood.EXCESSES)),
        Stream.SILENT: _Sum([0.0] * len(likelihood.EXCESSES)),
        Stream.LATE: _Sum([0.0] * len(likelihood.MULTIPLIERS)),
    }
    for entry in cell.entries:
        for stream, one in _of_trials(entry.trials, entry.correction, baseline):
            sums[stream] = sums[stream].plus(one)
    return sums


def _of_trials(trials: Trials, correction: int, baseline: Baseline | None) -> Iterator[tuple[Stream, _Sum]]:
    for stream, bad, tried, tolerated in (
        (Stream.FAILED, trials.failed, trials.reported, tolerance.failed(baseline)),
        (Stream.SILENT, trials.silent, trials.due, tolerance.silent(baseline)),
    ):
        share = tolerance.corrected(tolerated, correction)
        yield stream, _Sum(likelihood.of_share(bad, tried, share), bad, tried, share * tried)
    rate = tolerance.corrected(tolerance.late(baseline), correction)
    yield Stream.LATE, _Sum(likelihood.of_rate(trials.relapsed, trials.hours, rate), trials.relapsed, trials.hours, rate * trials.hours)


def _finding(segment: Segment, sums: _Sums, weight: float) -> Finding:
    of_streams = {stream: math.log(_STREAM_WEIGHTS[stream]) + _log_e(stream, of_stream) for stream, of_stream in sums.items()}
    loudest = max(Stream, key=lambda stream: of_streams[stream])
    return Finding(
        segment=segment,
        log_e=math.log(weight) + likelihood.log_mean(list(of_streams.values()), [1.0] * len(of_streams)),
        stream=loudest,
        bad=sums[loudest].bad,
        tried=sums[loudest].tried,
        expected=sums[loudest].expected,
    )


def _log_e(stream: Stream, of_stream: _Sum) -> float:
    weights = likelihood.MULTIPLIER_WEIGHTS if stream is Stream.LATE else likelihood.EXCESS_WEIGHTS
    return likelihood.log_mean(of_stream.logs, weights)


def _kind(segment: Segment) -> tuple[bool, bool]:
    return segment.hardware is not None, segment.region is not None


def _weights(ledger: Ledger, evidence: Evidence) -> dict[tuple[bool, bool], float]:
    """Return the weight of one segment of each kind: those of a kind share equally."""
    cells = {(share.hardware, share.region) for share in evidence.audience} | {(cell.hardware, cell.region) for cell in ledger.cells}
    hardware, regions = {cell[0] for cell in cells}, {cell[1] for cell in cells}
    return {
        (False, False): _FLEET_WEIGHT,
        (True, False): _HARDWARE_WEIGHT / max(1, len(hardware)),
        (False, True): _REGION_WEIGHT / max(1, len(regions)),
        (True, True): _CELL_WEIGHT / max(1, len(cells)),
    }


def _share(evidence: Evidence, ledger: Ledger, hardware: Collection[str]) -> float:
    """Return which part of the fleet has this hardware; all of it when nobody counted the fleet and it is all there is."""
    if not evidence.audience:
        return 1.0 if {cell.hardware for cell in ledger.cells} <= set(hardware) else 0.0
    devices = sum(share.devices for share in evidence.audience if share.hardware in hardware)
    return devices / max(1, sum(share.devices for share in evidence.audience))


def _doubt(tried: _Sum) -> float:
    """Return by how much more than tolerated the release may still harm."""
    trials = int(tried.tried)
    return upper_bound(tried.bad, trials) - (tried.expected / trials if trials else 0.0)


def _least(fleet: int) -> int:
    """Return how many devices are risked in any fleet: ten, but no more than one in twenty, and at least one."""
    return min(10, max(1, fleet // 20))


def _clamped(number: float, fleet: int) -> int:
    return int(min(max(number, _least(fleet)), _MOST_BUDGET))


def _what(finding: Finding) -> str:
    if finding.stream is Stream.LATE:
        return f"{finding.bad} updated devices were harmed later, in {finding.tried:,.0f} device-hours"
    verb = "failed or rolled back" if finding.stream is Stream.FAILED else "went silent past their deadline"
    return f"{finding.bad} of {finding.tried:.0f} updated devices {verb}"


def _rounded(number: float) -> str:
    return f"{number:.1f}" if number < 100 else f"{number:,.0f}"  # noqa: PLR2004  # three digits either way
