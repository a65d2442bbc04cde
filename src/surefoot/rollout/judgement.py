# SPDX-License-Identifier: Apache-2.0
"""Judgement: what the gates of a plan say of a rollout, from its ledger and the evidence.

With the default gate the plain percentages are a backstop: judged over the whole rollout, from a fair number of attempts on, and only
beyond what is tolerated and what control speaks for.
"""

from surefoot.rollout import default_gate, simple_gate, tolerance
from surefoot.rollout.default_gate import Reading
from surefoot.rollout.evidence import Counts, Evidence, total
from surefoot.rollout.finding import PAUSE_AT, SLOW_AT
from surefoot.rollout.ledger import Cell, Entry, contradiction
from surefoot.rollout.plan import WHOLE, Rollout, hundredths
from surefoot.rollout.simple_gate import Case
from surefoot.rollout.verdict import Light, Verdict

_FAIR = 100
_FAIR_PART = 5


def judge(rollout: Rollout, evidence: Evidence, to_come: int) -> Verdict:
    """Judge a rollout.

    Args:
        rollout: With its ledger as of now.
        evidence: All that is known.
        to_come: Attempts that the open batch may still make.
    """
    if doubt := _doubt(rollout, evidence):
        reason = f"The gate cannot be evaluated: {doubt}. Nothing is offered until the counts are right."
        return Verdict(light=Light.HOLD, cause="gate_unreadable", reason=reason)
    if rollout.plan.has_default_gate:
        return _by_default(rollout, evidence)
    return simple_gate.judge(rollout.plan.simple, rollout.plan.stages, _cases(rollout, evidence, to_come))


def _doubt(rollout: Rollout, evidence: Evidence) -> str:
    for tally in evidence.tallies:
        if doubt := simple_gate.contradiction(tally.counts):
            return f"in stage {rollout.plan.stages[tally.stage].name}, {doubt}"
    return contradiction(rollout.ledger, evidence.tallies) if rollout.plan.has_default_gate else ""


def _by_default(rollout: Rollout, evidence: Evidence) -> Verdict:
    reading = Reading(rollout.ledger, evidence, rollout.excluded)
    backstop = _backstop(rollout, evidence)
    loudest = reading.loudest
    # First, since only a pause of the default gate looks for the culprit.
    if loudest is not None and loudest.odds >= PAUSE_AT:
        cause = f"evidence_{loudest.stream}"
        return Verdict(light=Light.PAUSE, cause=cause, reason=f"{loudest.sentence()}.", warnings=backstop.warnings)
    if backstop.light is Light.PAUSE:
        return backstop
    is_slow = loudest is not None and loudest.odds >= SLOW_AT
    warnings = [*backstop.warnings, *([f"Slowed down: {loudest.sentence()}."] if loudest is not None and is_slow else [])]
    counts = total(tally.counts for tally in evidence.tallies)
    return Verdict(
        light=Light.GO,
        warnings=warnings,
        most_at_risk=reading.most_at_risk(is_slow=is_slow),
        at_risk=default_gate.at_risk(counts, reading.known),
        is_slow=is_slow,
    )


def _backstop(rollout: Rollout, evidence: Evidence) -> Verdict:
    cells = [cell for cell in rollout.ledger.cells if cell.hardware not in rollout.excluded]
    entries = [entry for cell in cells for entry in cell.entries]
    ended = sum(entry.trials.reported + entry.trials.silent for entry in entries)
    fair = max(1, min(_FAIR, evidence.fleet // _FAIR_PART))
    gate, warnings = rollout.plan.simple, list[str]()
    for cause, bounds, bad, normal, words in (
        ("rollback_rate", gate.rollback_rate, sum(map(_harmed, entries)), _normal(cells, evidence), "failed, rolled back or went silent"),
        (
            "health_failure_rate",
            gate.health_failure_rate,
            sum(entry.trials.unhealthy for entry in entries),
            sum(min(entry.trials.unhealthy, entry.trials.reported * entry.correction / 100) for entry in entries),
            "found the release unhealthy",
        ),
    ):
        sentence = f"{bad} of {ended} devices {words}; up to {normal:.1f} would be normal for them right now"
        if ended >= fair and _exceeds(bad - normal, ended, bounds.pause):
            reason = f"{sentence}, and the limit is {bounds.pause} beyond that."
            return Verdict(light=Light.PAUSE, cause=cause, reason=reason, warnings=warnings)
        if _exceeds(bad - normal, ended, bounds.warn):
            warnings.append(f"{sentence}, and people are warned above {bounds.warn} beyond that.")
        elif bad and cause == "rollback_rate":
            warnings.append(f"{sentence}.")
    return Verdict(light=Light.GO, warnings=warnings)


def _harmed(entry: Entry) -> int:
    return entry.trials.failed + entry.trials.silent


def _normal(cells: list[Cell], evidence: Evidence) -> float:
    """Return how many may be harmed without the release being to blame: what control speaks for, and what is tolerated.

    Plain percentages know no chance; those of a fleet at its tolerated rate would cross the limit in one of sixty good rollouts.
    """
    baselines = {(baseline.hardware, baseline.region): baseline for baseline in evidence.baselines}
    normal = 0.0
    for cell in cells:
        baseline = baselines.get((cell.hardware, cell.region))
        for entry in cell.entries:
            trials = entry.trials
            tolerated = trials.reported * tolerance.failed(baseline) + trials.due * tolerance.silent(baseline)
            # Control speaks for no more harm than there was: an outage over here hides nothing over there.
            spoken_for = min(_harmed(entry), (trials.reported + trials.silent) * entry.correction / 100)
            normal += spoken_for + tolerated * (1 - entry.correction / 100)
    return normal


def _exceeds(bad: float, whole: int, bound: str) -> bool:
    return bad * WHOLE > hundredths(bound) * whole


def _cases(rollout: Rollout, evidence: Evidence, to_come: int) -> dict[int, Case]:
    cases: dict[int, Case] = {}
    for stage in range(rollout.stage + 1):
        counts = evidence.of_stage(stage)
        more = to_come if stage == rollout.stage else 0
        acknowledged = rollout.acknowledged[stage] if stage < len(rollout.acknowledged) else Counts()
        cases[stage] = Case(counts=counts, acknowledged=acknowledged, to_come=max(0, counts.open) + more)
    return cases
