# SPDX-License-Identifier: Apache-2.0
"""What people say to a rollout: start, pause, resume, halt; each a decision with a name and a reason."""

from surefoot.model.errors import ConflictError, InvalidInput
from surefoot.rollout.decision import Halt, Pause, Resume
from surefoot.rollout.plan import Rollout, Status


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
    """Say that a person resumes a rollout, having seen why it was paused, or overrides a halt of the gate, saying why.

    Raises:
        ConflictError: It is neither paused nor halted by the gate.
        InvalidInput: The gate halted it, and no reason is given.
    """
    is_override = rollout.status is Status.HALTED and not rollout.is_final
    if rollout.status is not Status.PAUSED and not is_override:
        hint = "A halt is for good: create a new rollout." if rollout.status is Status.HALTED else "See 'surefoot rollout show'."
        raise ConflictError(f"The rollout is {rollout.status}; only a paused one can be resumed.", hint=hint)
    if is_override and not why.strip():
        raise InvalidInput("The gate halted this rollout; to go on against it needs a reason.", hint="Say why.")
    return Resume(cause="override" if is_override else "person", reason=f"Resumed by {by}{_because(why)}.", by=by)


def include(rollout: Rollout, hardware: str, by: str, why: str) -> Resume:
    """Say that a person includes hardware that the gate excluded, saying why; it begins anew, nothing counted against it.

    Raises:
        ConflictError: It is not excluded.
        InvalidInput: No reason is given.
    """
    if hardware not in rollout.excluded:
        raise ConflictError(f"Hardware {hardware} is not excluded.", hint=f"Excluded is: {', '.join(rollout.excluded) or 'nothing'}.")
    if not why.strip():
        raise InvalidInput("The gate excluded this hardware; to include it again needs a reason.", hint="Say why.")
    return Resume(cause="included", reason=f"Hardware {hardware} included again by {by}{_because(why)}.", by=by, hardware=[hardware])


def release(rollout: Rollout, region: str, by: str, why: str) -> Resume:
    """Say that a person ends the hold of a region.

    Raises:
        ConflictError: It is not held.
    """
    if region not in rollout.held_regions:
        raise ConflictError(f"Region {region} is not held.", hint=f"Held is: {', '.join(rollout.held_regions) or 'nothing'}.")
    return Resume(cause="released", reason=f"Region {region} released by {by}{_because(why)}.", by=by, regions=[region])


def halt(rollout: Rollout, by: str, why: str) -> Halt:
    """Say that a person ends a rollout for good.

    Raises:
        ConflictError: It has ended already.
    """
    if rollout.status is Status.FINISHED or (rollout.status is Status.HALTED and rollout.is_final):
        raise ConflictError(f"The rollout is {rollout.status} already.", hint="See 'surefoot rollout show'.")
    return Halt(cause="person", reason=f"Halted by {by}{_because(why)}.", by=by)


def _because(why: str) -> str:
    return f": {why.strip().rstrip('.')}" if why.strip() else ""
