# SPDX-License-Identifier: Apache-2.0
"""What people say to a rollout: approve, start, pause, resume, include, release, halt, revert; each a decision with a name and reason.

In hints ``ROLLOUT`` stands for the rollout's number, which who stores it puts in.
"""

from collections.abc import Sequence
from datetime import datetime

from surefoot.model.errors import ConflictError, DeniedError, InvalidInput
from surefoot.model.record import parse_utc
from surefoot.rollout.decision import Approve, Halt, Pause, Resume, Revert, Schedule, WayBack
from surefoot.rollout.plan import Rollout, Status, is_instant
from surefoot.rollout.way_back import AS_PLANNED, reverted


def approve(rollout: Rollout, by: str, why: str, created_by: str) -> Approve:
    """Say that a person approves a rollout, so that it may start.

    Raises:
        ConflictError: It waits for no approval.
        DeniedError: Its plan asks for a second person, and this one created it.
    """
    if rollout.status is not Status.DRAFT:
        raise ConflictError(f"The rollout is {rollout.status}; only a draft can be approved.", hint="See 'surefoot rollout show ROLLOUT'.")
    if not rollout.plan.approval.required:
        raise ConflictError("The plan of this rollout asks for no approval.", hint="Start it with 'surefoot rollout start ROLLOUT'.")
    if rollout.plan.approval.second_person and by == created_by:
        raise DeniedError(
            f"{by} created this rollout, and its plan asks for a second person to approve it.",
            hint="Let another operator say 'surefoot rollout approve ROLLOUT'.",
        )
    return Approve(cause="approved", reason=f"Approved by {by}{_because(why)}.", by=by)


def schedule(rollout: Rollout, by: str, why: str, at: str, now: datetime) -> Schedule:
    """Say that a person lets a rollout start by itself at an instant, instead of the one that was said before.

    Raises:
        ConflictError: It was started, or nobody approved it.
        InvalidInput: There is no such instant, or it has passed.
    """
    _see_that_it_may_start(rollout)
    if not is_instant(at):
        raise InvalidInput(f"{at!r} is no instant.", hint="Write it in UTC, as in 2026-12-01T02:00:00Z.")
    if parse_utc(at) <= now:
        raise InvalidInput(f"{at} has passed.", hint="Name a later instant, or start it now: 'surefoot rollout start ROLLOUT'.")
    return Schedule(cause="scheduled", reason=f"Scheduled by {by} to start at {at}{_because(why)}.", by=by, at=at)


def start(rollout: Rollout, by: str) -> Resume:
    """Say that a person starts a rollout.

    Raises:
        ConflictError: It was started before, or nobody approved it.
    """
    _see_that_it_may_start(rollout)
    return Resume(cause="started", reason=f"Started by {by}.", by=by)


def pause(rollout: Rollout, by: str, why: str) -> Pause:
    """Say that a person pauses a rollout.

    Raises:
        ConflictError: It does not run.
    """
    if rollout.status is not Status.RUNNING:
        raise ConflictError(
            f"The rollout is {rollout.status}; only a running one can be paused.", hint="See 'surefoot rollout show ROLLOUT'."
        )
    return Pause(cause="person", reason=f"Paused by {by}{_because(why)}.", by=by)


def resume(rollout: Rollout, by: str, why: str) -> Resume:
    """Say that a person resumes a rollout, having seen why it was paused, or overrides a halt of the gate, saying why.

    Raises:
        ConflictError: It is neither paused nor halted by the gate.
        InvalidInput: The gate halted it, and no reason is given.
    """
    is_override = rollout.status is Status.HALTED and not rollout.is_final
    if rollout.status is not Status.PAUSED and not is_override:
        hint = "A halt is for good: create a new rollout." if rollout.status is Status.HALTED else "See 'surefoot rollout show ROLLOUT'."
        raise ConflictError(f"The rollout is {rollout.status}; only a paused one can be resumed.", hint=hint)
    if is_override and not why.strip():
        raise InvalidInput("The gate halted this rollout; to go on against it needs a reason.", hint="Say why.")
    return Resume(cause="override" if is_override else "person", reason=f"Resumed by {by}{_because(why)}.", by=by)


def include(rollout: Rollout, hardware: str, by: str, why: str) -> Resume:
    """Say that a person includes hardware that the gate excluded, saying why; it begins anew, nothing counted against it.

    Raises:
        ConflictError: It is not excluded, or the rollout is over.
        InvalidInput: No reason is given.
    """
    _see_that_it_is_not_over(rollout)
    if hardware not in rollout.excluded:
        raise ConflictError(f"Hardware {hardware} is not excluded.", hint=f"Excluded is: {', '.join(rollout.excluded) or 'nothing'}.")
    if not why.strip():
        raise InvalidInput("The gate excluded this hardware; to include it again needs a reason.", hint="Say why.")
    return Resume(cause="included", reason=f"Hardware {hardware} included again by {by}{_because(why)}.", by=by, hardware=[hardware])


def release(rollout: Rollout, region: str, by: str, why: str) -> Resume:
    """Say that a person ends the hold of a region, saying why.

    Raises:
        ConflictError: It is not held, or the rollout is over.
        InvalidInput: No reason is given.
    """
    _see_that_it_is_not_over(rollout)
    if region not in rollout.held_regions:
        held = ", ".join(one or "devices without a region" for one in rollout.held_regions) or "nothing"
        raise ConflictError(f"{place(region)} {'is' if region else 'are'} not held.", hint=f"Held is: {held}.")
    if not why.strip():
        raise InvalidInput("The gate holds this region; to end that needs a reason.", hint="Say why.")
    return Resume(cause="released", reason=f"{place(region)} released by {by}{_because(why)}.", by=by, regions=[region])


def halt(rollout: Rollout, by: str, why: str, *, keeps: bool = False) -> Halt:
    """Say that a person ends a rollout for good; with ``keeps``, devices that it updated keep it, whatever its plan says.

    Raises:
        ConflictError: It has ended already.
    """
    _see_that_it_is_not_over(rollout)
    reverts = rollout.plan.on_halt == "revert" and rollout.has_begun and not keeps
    return Halt(cause="person", reason=f"Halted by {by}{_because(why)}.{AS_PLANNED if reverts else ''}", by=by, reverts=reverts)


def check_revert(rollout: Rollout, why: str, ways: Sequence[WayBack], under_way: Sequence[int]) -> None:
    """See that a person may take back what a rollout updated.

    Args:
        rollout: The rollout.
        why: The person's reason.
        ways: What would become of its devices.
        under_way: Rollouts that take its devices back already.

    Raises:
        ConflictError: It was not started or is not over, takes devices back itself or is reverted already, updated nobody, or nobody
            can go back.
        InvalidInput: No reason is given.
    """
    if rollout.reverts is not None:
        hint = f"Create a rollout of the release that they are to run; the one that was taken back is {rollout.reverts}."
        raise ConflictError("The rollout takes devices back itself.", hint=hint)
    if not rollout.has_begun:
        raise ConflictError(f"The rollout is {rollout.status}; it updated no device.", hint="See 'surefoot rollout show ROLLOUT'.")
    if rollout.status in {Status.RUNNING, Status.PAUSED}:
        raise ConflictError(f"The rollout is {rollout.status}.", hint="Halt it first: 'surefoot rollout halt ROLLOUT'.")
    if under_way:
        numbers = ", ".join(map(str, under_way))
        raise ConflictError(
            f"The rollout is being reverted already, by rollout {numbers}.", hint=f"See 'surefoot rollout show {under_way[0]}'."
        )
    if not ways:
        raise ConflictError("The rollout updated no device.", hint="See 'surefoot rollout show ROLLOUT'.")
    if all(way.obstacle for way in ways):
        reason = reverted("", "No device of the rollout can go back.", "", ways).reason
        raise ConflictError(reason, hint="Release what they are to run anew, with a higher version.")
    if not why.strip():
        raise InvalidInput("To take devices back needs a reason.", hint="Say why, for those who read it later: --why 'one sentence'.")


def revert(by: str, why: str, ways: Sequence[WayBack]) -> Revert:
    """Say that a person takes back what a rollout updated; ``ways`` are as they were gone."""
    return reverted("person", f"Taken back by {by}{_because(why)}.", by, ways)


def place(region: str) -> str:
    """Return what a region is called at the beginning of a sentence; the empty name is that of devices that have none."""
    return f"Region {region}" if region else "Devices without a region"


def _see_that_it_is_not_over(rollout: Rollout) -> None:
    if rollout.status is Status.FINISHED or (rollout.status is Status.HALTED and rollout.is_final):
        raise ConflictError(f"The rollout is {rollout.status} already.", hint="See 'surefoot rollout show ROLLOUT'.")


def _see_that_it_may_start(rollout: Rollout) -> None:
    if rollout.may_start:
        return
    if rollout.status is Status.DRAFT:
        who = "a second person" if rollout.plan.approval.second_person else "somebody"
        raise ConflictError(
            "The rollout has not been approved, and its plan asks for that.", hint=f"Let {who} say 'surefoot rollout approve ROLLOUT'."
        )
    hint = "Go on with 'surefoot rollout resume ROLLOUT'." if rollout.status is Status.PAUSED else "See 'surefoot rollout show ROLLOUT'."
    raise ConflictError(f"The rollout is {rollout.status}; it was started before.", hint=hint)


def _because(why: str) -> str:
    return f": {why.strip().rstrip('.')}" if why.strip() else ""
