# SPDX-License-Identifier: Apache-2.0
"""Where a rollout stands: after a look at the evidence, and after a decision."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import assert_never

from msgspec import structs

from surefoot.model.duration import seconds
from surefoot.model.record import parse_utc, utc_text
from surefoot.rollout import control, ledger
from surefoot.rollout.control import Region
from surefoot.rollout.decision import Advance, Approve, Decision, Exclude, Halt, Hold, Pause, Resume, Revert, Schedule
from surefoot.rollout.evidence import Counts, Evidence
from surefoot.rollout.ledger import Ledger
from surefoot.rollout.plan import Mark, Rollout, Status
from surefoot.rollout.urgency import alarms

LOCALISE_AFTER_S = 2 * 3_600
"""How long a pause of the default gate collects what is still to be heard before it looks for the culprit, seconds."""

_MARKS_A_SOAK = 36


def look(rollout: Rollout, evidence: Evidence, now: datetime) -> Rollout:
    """Return a rollout with all that the evidence says entered; no region is held or released by it.

    What contradicts the ledger is not entered. Nothing is before a rollout begins, nor while only a person can go on: a resume begins
    the ledger anew.
    """
    is_judged = rollout.plan.has_default_gate and rollout.is_judged
    if not is_judged or ledger.contradiction(rollout.ledger, evidence.tallies):
        return rollout
    observed = _observed(rollout, evidence, now)
    corrections = {region.region: region.correction for region in observed}
    entered = ledger.enter(rollout.ledger, evidence.tallies, corrections, int(now.timestamp()))
    known = {region.region: region for region in rollout.regions}
    same = [control.with_hold_of(known.get(region.region), region) for region in observed]
    return structs.replace(rollout, ledger=entered, regions=same)


def turned(rollout: Rollout, evidence: Evidence, now: datetime) -> tuple[list[Region], list[Region]]:
    """Return the regions that are to be held from now on, and those that are to go on by themselves."""
    if not rollout.plan.has_default_gate:
        return [], []
    held = set(rollout.held_regions)
    observed = _observed(rollout, evidence, now)
    return (
        [region for region in observed if region.is_held and region.region not in held],
        [region for region in observed if not region.is_held and region.region in held],
    )


def after(rollout: Rollout, decision: Decision, evidence: Evidence, now: datetime) -> Rollout:
    """Return where a rollout stands after a decision that was made on this evidence, at this time."""
    moved = _decided(_kept(rollout, look(rollout, evidence, now), evidence, now), decision, evidence, now)
    standing = alarms(moved, now)
    is_told = moved.is_alarmed or any(alarm in decision.warnings for alarm in standing)
    return structs.replace(moved, is_alarmed=bool(standing) and is_told)


def soaked_at(rollout: Rollout, evidence: Evidence, now: datetime) -> datetime:
    """Return when nine of ten good installs of the open batch will have run for its soak, as far as it is known now.

    Its good installs are those that were known when it had been heard of; who comes later does not put the end off. A batch without a
    good install soaks from when it was heard of.
    """
    soak = timedelta(seconds=seconds(rollout.open_stage.soak_of(rollout.batch)))
    settled = parse_utc(rollout.settled_at) if rollout.settled_at else now
    before, good = rollout.opened.running, evidence.of_stage(rollout.stage).running
    marks = [*rollout.marks, Mark(at=int(now.timestamp()), good=good)]
    if good <= before:
        return settled + soak
    known = next((mark.good for mark in marks if mark.at >= settled.timestamp() and mark.good > before), good)
    at = next(mark.at for mark in marks if (mark.good - before) * 10 >= (known - before) * 9)
    return datetime.fromtimestamp(at, UTC) + soak


def _kept(before: Rollout, looked: Rollout, evidence: Evidence, now: datetime) -> Rollout:
    """Return what of a look is worth a write: a quiet rollout writes nothing, since the next look sees the same."""
    is_same = [_gist(region) for region in before.regions] == [_gist(region) for region in looked.regions]
    if is_same and not ledger.is_worth_keeping(before.ledger, looked.ledger):
        looked = before
    return structs.replace(looked, marks=_marks(looked, evidence, now)) if looked.status is Status.RUNNING else looked


def _observed(rollout: Rollout, evidence: Evidence, now: datetime) -> list[Region]:
    known = {region.region: region for region in rollout.regions}
    return list(control.observe(known, evidence.control, int(now.timestamp()), rollout.opened_at).values())


def _gist(region: Region) -> tuple[object, ...]:
    return region.region, region.is_held, region.calm_since, region.holds, region.needs_person, region.correction


def _marks(rollout: Rollout, evidence: Evidence, now: datetime) -> list[Mark]:
    good, at = evidence.of_stage(rollout.stage).running, int(now.timestamp())
    marks = rollout.marks
    soak_s = seconds(rollout.open_stage.soak_of(rollout.batch))
    known = marks[-1] if marks else Mark(at=rollout.opened_at, good=rollout.opened.running)
    if not soak_s or good == known.good or at - known.at < soak_s // _MARKS_A_SOAK:
        return marks
    # Of the marks that have aged, the last says it all.
    kept = [mark for mark, following in pairwise(marks) if following.at > at - soak_s] + marks[-1:]
    return [*kept, Mark(at=at, good=good)]


def _decided(rollout: Rollout, decision: Decision, evidence: Evidence, now: datetime) -> Rollout:
    at = int(now.timestamp())
    match decision:
        case Advance(cause="offer" | "retry" | "room"):
            return rollout
        case Advance(is_end=True):
            return structs.replace(rollout, status=Status.FINISHED)
        case Advance(stage=stage, batch=batch):
            opened = evidence.of_stage(stage) if stage == rollout.stage else Counts()
            return structs.replace(rollout, stage=stage, batch=batch, settled_at="", opened=opened, opened_at=at, marks=[])
        case Hold(regions=regions) if regions:
            return _turned(rollout, regions, evidence, now)
        case Hold(is_settled=True):
            return rollout if rollout.settled_at else structs.replace(rollout, settled_at=utc_text(now))
        case Hold():
            return rollout
        case Pause(cause=cause):
            localise_at = at + LOCALISE_AFTER_S if cause.startswith("evidence_") else None
            return structs.replace(rollout, status=Status.PAUSED, was_paused=True, localise_at=localise_at)
        case Exclude(hardware=hardware):
            excluded = sorted({*rollout.excluded, *hardware})
            return structs.replace(rollout, status=Status.RUNNING, excluded=excluded, localise_at=None)
        case Resume(regions=regions, by="") if regions:
            return _turned(rollout, regions, evidence, now)
        case Resume(regions=regions) if regions:
            known = [control.released(region) if region.region in regions else region for region in rollout.regions]
            return structs.replace(rollout, regions=known)
        case Resume(hardware=hardware) if hardware:
            kept = [name for name in rollout.excluded if name not in hardware]
            return structs.replace(rollout, excluded=kept, ledger=_forgiven(rollout.ledger, hardware))
        case Resume():
            seen = [evidence.of_stage(stage) for stage in range(rollout.stage + 1)]
            opened_at = rollout.opened_at if rollout.has_begun else at
            return structs.replace(
                rollout,
                status=Status.RUNNING,
                acknowledged=seen,
                ledger=ledger.acknowledged(evidence.tallies, at),
                localise_at=None,
                opened_at=opened_at,
            )
        case Halt(by=by, reverts=reverts):
            return structs.replace(rollout, status=Status.HALTED, localise_at=None, is_final=bool(by) or reverts)
        case Revert():
            # Nobody goes on with what others take back.
            return structs.replace(rollout, is_final=True)
        case Approve(by=by):
            return structs.replace(rollout, status=Status.APPROVED, approved_by=by)
        case Schedule(at=starts_at):
            return structs.replace(rollout, status=Status.SCHEDULED, starts_at=starts_at)
        case _ as never:
            assert_never(never)


def _turned(rollout: Rollout, regions: list[str], evidence: Evidence, now: datetime) -> Rollout:
    observed = {region.region: region for region in _observed(rollout, evidence, now)}
    return structs.replace(rollout, regions=[observed[one.region] if one.region in regions else one for one in rollout.regions])


def _forgiven(entered: Ledger, hardware: list[str]) -> Ledger:
    cells = [structs.replace(cell, entries=[]) if cell.hardware in hardware else cell for cell in entered.cells]
    return structs.replace(entered, cells=cells)
