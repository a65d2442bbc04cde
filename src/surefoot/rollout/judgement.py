# SPDX-License-Identifier: Apache-2.0
"""Judgement: what the gates of a plan say of a rollout, from its ledger and the evidence.

With the default gate the plain percentages are a backstop: judged over the whole rollout, from a fair number of attempts on, and only
beyond what control speaks for.
"""

from surefoot.rollout import default_gate, simple_gate
from surefoot.rollout.default_gate import Reading
from surefoot.rollout.evidence import Counts, Evidence, total
from surefoot.rollout.ledger import Entry, contradiction
from surefoot.rollout.plan import WHOLE, Bounds, Rollout, hundredths
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
    if loudest is not None and loudest.odds >= default_gate.PAUSE_AT:
        cause = f"evidence_{loudest.stream}"
        return Verdict(light=Light.PAUSE, cause=cause, reason=f"{loudest.sentence()}.", warnings=backstop.warnings)
    if backstop.light is Light.PAUSE:
        return backstop
    is_slow = loudest is not None and loudest.odds >= default_gate.SLOW_AT
    warnings = [*backstop.warnings, *([f"Slowed down: {loudest.sentence()}."] if loudest is not None and is_slow else [])]
    counts = total(tally.counts for tally in evidence.tallies)
    return Verdict(
        light=Light.GO,
        warnings=warnings,
        most_at_risk=reading.most_at_risk(is_slow=is_slow),
        at_risk=default_gate.at_risk(counts, reading.reported),
        is_slow=is_slow,
    )


def _backstop(rollout: Rollout, evidence: Evidence) -> Verdict:
    entries = [entry for cell in rollout.ledger.cells if cell.hardware not in rollout.excluded for entry in cell.entries]
    ended = sum(entry.trials.reported + entry.trials.silent for entry in entries)
    harmed, unhealthy = sum(map(_net_harmed, entries)), sum(map(_net_unhealthy, entries))
    fair = max(1, min(_FAIR, evidence.fleet // _FAIR_PART))
    gate, warnings = rollout.plan.simple, list[str]()
    for cause, bounds, bad, words in (
        ("rollback_rate", gate.rollback_rate, harmed, "failed, rolled back or went silent"),
        ("health_failure_rate", gate.health_failure_rate, unhealthy, "found the release unhealthy"),
    ):
        sentence = f"{bad} of {ended} devices {words}, beyond what devices without the release account for"
        if ended >= fair and _exceeds(bad, ended, bounds.pause):
            return Verdict(light=Light.PAUSE, cause=cause, reason=f"{sentence}; the limit is {bounds.pause}.", warnings=warnings)
        if bad and (cause == "rollback_rate" or _exceeds(bad, ended, bounds.warn)):
            warnings.append(f"{sentence}{_over(bounds, bad, ended)}.")
    return Verdict(light=Light.GO, warnings=warnings)


def _net_harmed(entry: Entry) -> int:
    ended = entry.trials.reported + entry.trials.silent
    return max(0, entry.trials.failed + entry.trials.silent - ended * entry.correction // 100)


def _net_unhealthy(entry: Entry) -> int:
    return max(0, entry.trials.unhealthy - entry.trials.reported * entry.correction // 100)


def _exceeds(bad: int, whole: int, bound: str) -> bool:
    return bad * WHOLE > hundredths(bound) * whole


def _over(bounds: Bounds, bad: int, ended: int) -> str:
    return f"; people are warned above {bounds.warn}" if _exceeds(bad, ended, bounds.warn) else ""


def _cases(rollout: Rollout, evidence: Evidence, to_come: int) -> dict[int, Case]:
    cases: dict[int, Case] = {}
    for stage in range(rollout.stage + 1):
        counts = evidence.of_stage(stage)
        more = to_come if stage == rollout.stage else 0
        acknowledged = rollout.acknowledged[stage] if stage < len(rollout.acknowledged) else Counts()
        cases[stage] = Case(counts=counts, acknowledged=acknowledged, to_come=max(0, counts.open) + more)
    return cases
