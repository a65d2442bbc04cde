# SPDX-License-Identifier: Apache-2.0
"""The engine: what a rollout does next, as a pure function of its plan, the evidence and the time.

In this order; the first that applies is the decision:

1. A rollout that does not run holds.
2. A gate that cannot be evaluated holds; one that shows harm pauses, whatever else passes.
3. A stage that was not counted yet, or that no device fits, holds.
4. Devices of the open batch that may be offered the release are: as many as batch and limits allow.
5. A batch that was offered holds until it is heard of: nine of ten that started have resolved, and enough have.
6. It then soaks.
7. Then the next batch opens, or the next stage. After the last, the rollout ends once no attempt is open.
"""

from datetime import datetime, timedelta
from typing import assert_never

from msgspec import structs

from surefoot.model.errors import ConflictError, InvalidInput
from surefoot.model.record import parse_utc, utc_text
from surefoot.rollout.decision import Advance, Decision, Halt, Hold, Pause, Resume
from surefoot.rollout.evidence import Counts, Evidence, total
from surefoot.rollout.gate import Case, Light, judge
from surefoot.rollout.plan import WHOLE, Rollout, Status

_AT_REST = {
    Status.DRAFT: "The rollout has not been started.",
    Status.PAUSED: "The rollout is paused until a person resumes it.",
    Status.HALTED: "The rollout was halted, for good.",
    Status.FINISHED: "The rollout is finished.",
}
_PORTIONS = 10
"""Into how many portions a minute's offers are dealt out, so that a decision stands for a few seconds and not for one device."""


def decide(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    """Say what a rollout does next, from what its devices have reported.

    Deciding twice on the same input gives the same answer.

    Args:
        rollout: The plan and where it stands.
        evidence: Counts by stage, hardware and region; population of the open stage; offers of the last minute.
        now: Aware, UTC; compared with the end of the soak.

    Returns:
        ``Advance``, ``Hold`` or ``Pause``, each with the reason shown to people.

    Raises:
        InvalidInput: The evidence names a stage that the plan does not have.
    """
    if rollout.status is not Status.RUNNING:
        return Hold(cause=rollout.status.value, reason=_AT_REST[rollout.status])
    _check(rollout, evidence)
    verdict = judge(rollout.plan.gate.simple, rollout.plan.stages, _cases(rollout, evidence))
    if verdict.light is Light.HOLD:
        return Hold(cause=verdict.cause, reason=verdict.reason, warnings=verdict.warnings)
    if verdict.light is Light.PAUSE:
        return Pause(cause=verdict.cause, reason=f"Paused: {verdict.reason[:1].lower()}{verdict.reason[1:]}", warnings=verdict.warnings)
    return structs.replace(_go_on(rollout, evidence, now), warnings=verdict.warnings)


def start(rollout: Rollout, by: str) -> Resume:
    """Say that a person starts a rollout.

    Raises:
        ConflictError: It was started before.
    """
    if rollout.status is not Status.DRAFT:
        hint = "Go on with 'surefoot rollout resume'." if rollout.status is Status.PAUSED else "See 'surefoot rollout show'."
        raise ConflictError(f"The rollout is {rollout.status}; it was started before.", hint=hint)
    return Resume(cause="started", reason=f"Started by {by}.", by=by)


def pause(rollout: Rollout, by: str, why: str) -> Pause:
    """Say that a person pauses a rollout.

    Raises:
        ConflictError: It does not run.
    """
    if rollout.status is not Status.RUNNING:
        raise ConflictError(f"The rollout is {rollout.status}; only a running one can be paused.", hint="See 'surefoot rollout show'.")
    return Pause(cause="person", reason=f"Paused by {by}{_because(why)}.", by=by)


def resume(rollout: Rollout, by: str, why: str) -> Resume:
    """Say that a person resumes a rollout, having seen why it was paused.

    Raises:
        ConflictError: It is not paused.
    """
    if rollout.status is not Status.PAUSED:
        hint = "A halt is for good: create a new rollout." if rollout.status is Status.HALTED else "See 'surefoot rollout show'."
        raise ConflictError(f"The rollout is {rollout.status}; only a paused one can be resumed.", hint=hint)
    return Resume(cause="person", reason=f"Resumed by {by}{_because(why)}.", by=by)


def halt(rollout: Rollout, by: str, why: str) -> Halt:
    """Say that a person ends a rollout for good.

    Raises:
        ConflictError: It has ended already.
    """
    if rollout.status in (Status.HALTED, Status.FINISHED):
        raise ConflictError(f"The rollout is {rollout.status} already.", hint="See 'surefoot rollout show'.")
    return Halt(cause="person", reason=f"Halted by {by}{_because(why)}.", by=by)


def after(rollout: Rollout, decision: Decision, evidence: Evidence, now: datetime) -> Rollout:
    """Return where a rollout stands after a decision that was made on this evidence, at this time."""
    match decision:
        case Advance(cause="offer"):
            return rollout
        case Advance(is_end=True):
            return structs.replace(rollout, status=Status.FINISHED)
        case Advance(stage=stage, batch=batch):
            opened = evidence.of_stage(stage) if stage == rollout.stage else Counts()
            return structs.replace(rollout, stage=stage, batch=batch, settled_at="", opened=opened)
        case Hold(is_settled=True):
            return rollout if rollout.settled_at else structs.replace(rollout, settled_at=utc_text(now))
        case Hold():
            return rollout
        case Pause():
            return structs.replace(rollout, status=Status.PAUSED)
        case Resume():
            seen = [evidence.of_stage(stage) for stage in range(rollout.stage + 1)]
            return structs.replace(rollout, status=Status.RUNNING, acknowledged=seen)
        case Halt():
            return structs.replace(rollout, status=Status.HALTED)
        case _ as never:
            assert_never(never)


def ceiling(rollout: Rollout, population: int) -> int | None:
    """Return how many devices of the open stage may have been offered the release in the open batch; nothing means all of them.

    Every batch is at least one device: 1% of 20 is one, not none.
    """
    share = rollout.share
    return None if share == WHOLE else max(1, -(-population * share // WHOLE))


def _go_on(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    stage = rollout.open_stage
    if evidence.population is None:
        return Hold(cause="counting", reason=f"The devices of stage {stage.name} are being counted.")
    if evidence.population == 0:
        reason = f"No device fits stage {stage.name}: put devices into it, or halt this rollout and write a plan without it."
        return Hold(cause="empty_stage", reason=reason)
    counts = evidence.of_stage(rollout.stage)
    wanted = _wanted(rollout, evidence, counts)
    if wanted:
        return _offer(rollout, evidence, wanted)
    return _unsettled(rollout, counts) or _soak(rollout, evidence, now)


def _wanted(rollout: Rollout, evidence: Evidence, counts: Counts) -> int:
    """Return how many more devices the open batch has room for, as far as this decision can use it; 0 when there is none left to offer."""
    if evidence.is_exhausted:
        return 0
    most = ceiling(rollout, evidence.population or 0)
    if most is None:
        # Devices may have joined since the stage was counted: a pass that finds nobody says when it is done.
        return max(1, (evidence.population or 0) - counts.taken)
    return max(0, most - counts.taken)


def _offer(rollout: Rollout, evidence: Evidence, wanted: int) -> Decision:
    per_minute = rollout.plan.limits.per_minute
    allowed = per_minute - evidence.offered_last_minute
    if allowed < min(wanted, -(-per_minute // _PORTIONS)):
        reason = f"Within a minute it was offered to {_devices(evidence.offered_last_minute)}; the limit is {per_minute}."
        return Hold(cause="limit", reason=reason)
    offers = min(wanted, allowed)
    reason = f"Offer it to up to {_devices(offers, 'more ')} of {_batch_words(rollout)}."
    return Advance(cause="offer", reason=reason, offers=offers, stage=rollout.stage, batch=rollout.batch)


def _unsettled(rollout: Rollout, counts: Counts) -> Hold | None:
    """Return why the open batch does not soak yet; nothing when it does."""
    if rollout.settled_at:
        return None
    # An attempt that was replaced or refused after its start has ended, though it says nothing.
    unresolved = min(counts.started - counts.resolved, counts.open)
    opened = rollout.opened
    heard = counts.resolved - opened.resolved
    # What earlier batches still owe counts for this one too: it only makes the wait longer.
    enough = min(rollout.plan.gate.simple.min_resolved, counts.taken - opened.resolved)
    if counts.offered and not counts.resolved and not counts.open:
        return _nothing_learnt(rollout, counts)
    if heard < enough:
        return Hold(cause="evidence", reason=f"{_batch_words(rollout).capitalize()}: {heard} of at least {enough} attempts have ended.")
    if unresolved * 10 > counts.started:
        reason = f"{_batch_words(rollout).capitalize()}: {unresolved} of {counts.started} devices that started have not ended yet."
        return Hold(cause="unresolved", reason=reason)
    return None


def _nothing_learnt(rollout: Rollout, counts: Counts) -> Hold:
    """Return the hold of a batch whose attempts all ended without saying anything of the release: to go on would be to guess."""
    stage = _batch_words(rollout)
    if counts.rejected:
        reason = f"Nothing was learnt in {stage}: {_devices(counts.rejected)} refused it. See why: 'surefoot device show'."
        return Hold(cause="all_refused", reason=reason)
    void = counts.cancelled + counts.superseded
    reason = f"Nothing was learnt in {stage}: {_devices(void)} had another order, or did not start in time. Put other devices into it."
    return Hold(cause="nothing_learnt", reason=reason)


def _soak(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    stage = rollout.open_stage
    since = parse_utc(rollout.settled_at) if rollout.settled_at else now
    until = since + timedelta(seconds=stage.soak_s)
    if now < until:
        reason = f"{_batch_words(rollout).capitalize()} soaks for {stage.soak}, until {utc_text(until)}."
        return Hold(cause="soak", reason=reason, is_settled=True)
    return _next(rollout, evidence)


def _next(rollout: Rollout, evidence: Evidence) -> Decision:
    stage = rollout.open_stage
    counts = evidence.of_stage(rollout.stage)
    done = f"{counts.succeeded} of {counts.resolved} attempts in stage {stage.name} went well"
    if rollout.batch + 1 < len(stage.batches):
        following = structs.replace(rollout, batch=rollout.batch + 1)
        return Advance(cause="batch", reason=f"{done}: open {_batch_words(following)}.", stage=rollout.stage, batch=rollout.batch + 1)
    if rollout.stage + 1 < len(rollout.plan.stages):
        following = structs.replace(rollout, stage=rollout.stage + 1, batch=0)
        return Advance(cause="stage", reason=f"{done}: open {_batch_words(following)}.", stage=rollout.stage + 1)
    return _end(rollout, total(tally.counts for tally in evidence.tallies))


def _end(rollout: Rollout, counts: Counts) -> Decision:
    """Return what follows the last batch, from the counts of all stages: an attempt of an early stage may still be open."""
    if counts.open:
        still = "attempt is" if counts.open == 1 else "attempts are"
        return Hold(cause="open_attempts", reason=f"Everybody has been offered it; {counts.open} {still} still open.", is_settled=True)
    silent = f" {counts.silent} went silent." if counts.silent else ""
    unheeded = f" {counts.cancelled} offers were never taken up." if counts.cancelled else ""
    return Advance(
        cause="end",
        reason=f"Finished: {counts.succeeded} of {counts.resolved} attempts went well.{silent}{unheeded}",
        stage=rollout.stage,
        batch=rollout.batch,
        is_end=True,
    )


def _cases(rollout: Rollout, evidence: Evidence) -> dict[int, Case]:
    cases: dict[int, Case] = {}
    for stage in range(rollout.stage + 1):
        counts = evidence.of_stage(stage)
        more = 0
        if stage == rollout.stage and not evidence.is_exhausted:
            most = ceiling(rollout, evidence.population or 0)
            more = max(0, (evidence.population or 0 if most is None else most) - counts.taken)
        acknowledged = rollout.acknowledged[stage] if stage < len(rollout.acknowledged) else Counts()
        cases[stage] = Case(counts=counts, acknowledged=acknowledged, to_come=max(0, counts.open) + more)
    return cases


def _check(rollout: Rollout, evidence: Evidence) -> None:
    unknown = [tally.stage for tally in evidence.tallies if tally.stage >= len(rollout.plan.stages)]
    if unknown:
        raise InvalidInput(
            f"The evidence names stage {unknown[0]}; the plan has {len(rollout.plan.stages)}.", hint="Use the plan it was made for."
        )


def _batch_words(rollout: Rollout) -> str:
    stage = rollout.open_stage
    if len(stage.batches) == 1:
        return f"stage {stage.name}"
    return f"stage {stage.name}, batch {rollout.batch + 1} of {len(stage.batches)} ({stage.batches[rollout.batch]})"


def _devices(number: int, which: str = "") -> str:
    return f"{number} {which}{'device' if number == 1 else 'devices'}"


def _because(why: str) -> str:
    return f": {why.strip().rstrip('.')}" if why.strip() else ""
