# SPDX-License-Identifier: Apache-2.0
"""The simple gate: plain percentages over resolved attempts.

It

- judges every stage by itself, so that many good devices of one stage do not hide the bad ones of another;
- divides by resolved attempts, silent ones included, never by the size of a group;
- counts attempts that are missing to ``min_resolved`` as good, as long as they can still come: one failure among the first three of
  a thousand is no pause, one among the only three is;
- says that it does not know, rather than pass, when the counts contradict one another.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from surefoot.rollout.evidence import FIELDS, Counts
from surefoot.rollout.plan import WHOLE, Bounds, SimpleGate, Stage, hundredths
from surefoot.rollout.verdict import Light, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One stage before the gate.

    Attributes:
        counts: All that is counted of it.
        acknowledged: The part that a person has seen and resumed after; not judged again.
        to_come: Attempts that can still resolve in its open batch.
    """

    counts: Counts
    acknowledged: Counts
    to_come: int


def judge(gate: SimpleGate, stages: list[Stage], cases: Mapping[int, Case]) -> Verdict:
    """Judge the attempts of a rollout, stage by stage.

    Args:
        gate: The bounds.
        stages: The plan's stages, for their names.
        cases: What is to be judged, by index of the stage.
    """
    warnings: list[str] = []
    for index, case in sorted(cases.items()):
        seen = case.counts.minus(case.acknowledged)
        if doubt := contradiction(case.counts) or _lost(seen):
            reason = f"The gate cannot be evaluated: in stage {stages[index].name}, {doubt}. Nothing is offered until the counts are right."
            return Verdict(light=Light.HOLD, cause="gate_unreadable", reason=reason)
        heard = seen.resolved + seen.late_bad
        base = max(heard, min(gate.min_resolved, heard + case.to_come))
        for cause, bounds, bad, words in _rates(gate, seen):
            sentence = _sentence(stages[index], bad, heard, base, words)
            if bad * WHOLE > hundredths(bounds.pause) * base:
                return Verdict(light=Light.PAUSE, cause=cause, reason=f"{sentence}; the limit is {bounds.pause}.", warnings=warnings)
            if bad * WHOLE > hundredths(bounds.warn) * base:
                warnings.append(f"{sentence}; people are warned above {bounds.warn}.")
    return Verdict(light=Light.GO, warnings=warnings)


def contradiction(counts: Counts) -> str:
    """Return what is impossible about counts, in words; empty when nothing is."""
    negative = [name for name in FIELDS if getattr(counts, name) < 0]
    if negative:
        return f"'{negative[0]}' counts {getattr(counts, negative[0])}"
    if counts.ended > counts.offered:
        return f"{counts.ended} attempts have ended of {counts.offered} offered"
    if counts.started > counts.offered:
        return f"{counts.started} attempts have started of {counts.offered} offered"
    if counts.due > counts.started:
        return f"the deadline of {counts.due} attempts has passed of {counts.started} started"
    if counts.running < 0:
        return f"{counts.relapsed} devices were harmed later of {counts.succeeded + counts.late_good} that went well"
    if counts.unhealthy > counts.offered:
        return f"{counts.unhealthy} attempts were unhealthy of {counts.offered} offered"
    if counts.retried > counts.offered:
        return f"{counts.retried} attempts were further tries of {counts.offered} offered"
    return ""


def _lost(seen: Counts) -> str:
    # A further try that is withdrawn is none any more.
    lost = [name for name in FIELDS if name != "retried" and getattr(seen, name) < 0]
    return f"'{lost[0]}' counts {-getattr(seen, lost[0])} less than when a person resumed" if lost else ""


def _rates(gate: SimpleGate, seen: Counts) -> list[tuple[str, Bounds, int, str]]:
    return [
        ("rollback_rate", gate.rollback_rate, seen.harmed, "failed, rolled back or went silent"),
        ("health_failure_rate", gate.health_failure_rate, seen.unhealthy, "found the release unhealthy"),
    ]


def _sentence(stage: Stage, bad: int, resolved: int, base: int, words: str) -> str:
    devices = "device" if resolved == 1 else "devices"
    judged = f" (judged as of {base}, the least that a rate is taken of)" if base > resolved else ""
    return f"In stage {stage.name}, {bad} of {resolved} {devices} {words}: {_percent(bad, base)}{judged}"


def _percent(part: int, whole: int) -> str:
    # Rounded up, so that what is over a bound never reads as the bound itself.
    return f"{-(-part * 10_000 // max(whole, 1)) / 100:g}%"
