# SPDX-License-Identifier: Apache-2.0
"""The default gate: does what was tried speak against the release, somewhere, beyond what is usual there right now?

- It looks at every *segment*: the fleet, each hardware, each region, and each cell (a hardware in a region), and in each at three
  *streams*: failed, silent, and late. One e-value for a segment is the weighted mean of its streams'.
- Segments have weights that add up to 1, so the chance that a release as good as the last ones is ever paused is at most 1 %,
  whatever the number of segments and of looks.
- It also says how many devices may be at risk at once: few while little is known, more with every good report.
"""

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from surefoot.rollout import likelihood, tolerance
from surefoot.rollout.bound import upper_bound
from surefoot.rollout.evidence import Baseline, Counts, Evidence
from surefoot.rollout.finding import SLOW_AT, Finding, Segment, Stream
from surefoot.rollout.ledger import Cell, Ledger, Trials

_REST_BELOW = 5.0
_MOST_EXCLUDED = 0.34
_MOST_BUDGET = 250
_LEAST_DOUBT = 0.004
_LITTLE = 3
_MANY = 1_000

_STREAM_WEIGHTS = {Stream.FAILED: 0.5, Stream.SILENT: 0.3, Stream.LATE: 0.2}
_FLEET_WEIGHT, _HARDWARE_WEIGHT, _REGION_WEIGHT, _CELL_WEIGHT = 0.4, 0.3, 0.1, 0.2


@dataclass(slots=True)
class _Sum:
    """Log likelihood ratios of one stream, with the counts they come from: harmed, tried (devices, or device-hours), expected."""

    logs: list[float]
    bad: int = 0
    tried: float = 0.0
    expected: float = 0.0

    def add(self, other: "_Sum") -> None:
        self.logs = likelihood.add(self.logs, other.logs)
        self.bad += other.bad
        self.tried += other.tried
        self.expected += other.expected


_Sums = dict[Stream, _Sum]


class Reading:
    """What was tried, read once: what every segment says, who the culprit is, and how many may be at risk."""

    def __init__(self, ledger: Ledger, evidence: Evidence, excluded: Collection[str]) -> None:
        """Read a ledger; hardware that is excluded is left out of everything."""
        self._ledger = ledger
        self._evidence = evidence
        self._excluded = excluded
        self._sums = _by_segment((cell for cell in ledger.cells if cell.hardware not in excluded), evidence)
        weights = _weights(ledger, evidence)
        found = [_finding(segment, sums, weights[_kind(segment)]) for segment, sums in self._sums.items()]
        self.findings = sorted(found, key=lambda finding: (-finding.log_e, str(finding.segment)))
        """What every segment says, the loudest first."""

    @property
    def loudest(self) -> Finding | None:
        """What the loudest segment says; nothing while nothing was tried."""
        return self.findings[0] if self.findings else None

    @property
    def known(self) -> int:
        """Of how many devices it is known how they fare: so many have reported, and the deadlines of so many have passed."""
        whole = self._sums.get(Segment())
        return 0 if whole is None else int(min(whole[Stream.FAILED].tried, whole[Stream.SILENT].tried))

    def culprits(self) -> list[str]:
        """Return the hardware to exclude so that the rest may go on; empty when there is none.

        Flagged is hardware whose own segment has reached ``SLOW_AT``. It must be a small part of the fleet, and the rest must have
        shown that it does well: nothing speaks against it, and as many did well there as were tried of the flagged.
        """
        flagged = [
            finding
            for finding in self.findings
            if finding.segment.hardware is not None and finding.segment.region is None and finding.odds >= SLOW_AT
        ]
        names = [str(finding.segment.hardware) for finding in flagged]
        out = [*self._excluded, *names]
        if not flagged or _share(self._evidence, out) > _MOST_EXCLUDED:
            return []
        rest = Reading(self._ledger, self._evidence, out)
        is_clear = all(
            finding.odds < SLOW_AT and (finding.segment != Segment() or finding.odds / _FLEET_WEIGHT < _REST_BELOW)
            for finding in rest.findings
        )
        return sorted(names) if is_clear and all(rest.outweighs(finding) for finding in flagged) else []

    def outweighs(self, finding: Finding) -> bool:
        """Say whether as many devices did well here, in the stream that speaks against a segment, as were tried of that segment."""
        whole = self._sums.get(Segment())
        return whole is not None and whole[finding.stream].tried - whole[finding.stream].bad >= finding.tried

    def most_at_risk(self, *, is_slow: bool) -> int:
        """Return how many devices may be at risk at once.

        The budget, divided by how bad the release may still be beyond what is tolerated; while something speaks against it, 0.2 % of
        the fleet at most.
        """
        whole = self._sums.get(Segment())
        fleet = self._evidence.fleet
        doubt = 1.0 if whole is None else max(_LEAST_DOUBT, *(_doubt(whole[stream]) for stream in (Stream.FAILED, Stream.SILENT)))
        # A hair more, so that rounding takes no device away.
        most = int(budget(fleet) / doubt + 1e-9)
        return min(most, _clamped(0.002 * fleet, fleet)) if is_slow else most


def budget(fleet: int) -> int:
    """Return how many devices a release of which nothing is known may harm: 0.1 % of the fleet, within bounds for small and large ones."""
    return _clamped(0.001 * fleet, fleet)


def at_risk(counts: Counts, known: int) -> int:
    """Return how many devices are at risk: those that started and have not ended.

    Until it is known how a thousand fare, those that may start at any moment are too. After that they no longer count: batches and
    limits bound them, and offers to devices that are switched off, or wait for their window, would hold the place of others for a day.
    """
    started = max(0, min(counts.started - counts.resolved, counts.open))
    return started if known >= _MANY else counts.open


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


def _by_segment(cells: Iterable[Cell], evidence: Evidence) -> dict[Segment, _Sums]:
    baselines = {(baseline.hardware, baseline.region): baseline for baseline in evidence.baselines}
    sums: dict[Segment, _Sums] = {}
    for cell in cells:
        of_cell = _of_cell(cell, baselines.get((cell.hardware, cell.region)))
        for segment in (Segment(), Segment(cell.hardware), Segment(None, cell.region), Segment(cell.hardware, cell.region)):
            known = sums.setdefault(segment, _nothing())
            for stream in Stream:
                known[stream].add(of_cell[stream])
    return sums


def _nothing() -> _Sums:
    shares, rates = [0.0] * len(likelihood.EXCESSES), [0.0] * len(likelihood.MULTIPLIERS)
    return {Stream.FAILED: _Sum(shares), Stream.SILENT: _Sum(shares), Stream.LATE: _Sum(rates)}


def _of_cell(cell: Cell, baseline: Baseline | None) -> _Sums:
    sums = _nothing()
    for entry in cell.entries:
        for stream, one in _of_trials(entry.trials, entry.correction, baseline):
            sums[stream].add(one)
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


def _share(evidence: Evidence, hardware: Collection[str]) -> float:
    """Return which part of the fleet has this hardware; all of it when nobody counted the fleet."""
    devices = sum(share.devices for share in evidence.audience if share.hardware in hardware)
    return devices / evidence.fleet if evidence.audience else 1.0


def _doubt(tried: _Sum) -> float:
    """Return by how much more than tolerated the release may still harm."""
    trials = int(tried.tried)
    return upper_bound(tried.bad, trials) - (tried.expected / trials if trials else 0.0)


def _least(fleet: int) -> int:
    """Return how many devices are risked in any fleet: ten, but no more than one in twenty, and at least one."""
    return min(10, max(1, fleet // 20))


def _clamped(number: float, fleet: int) -> int:
    return int(min(max(number, _least(fleet)), _MOST_BUDGET))
