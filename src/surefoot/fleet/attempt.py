# SPDX-License-Identifier: Apache-2.0
"""Attempts: what the server keeps of an assignment, and how a device's events end it.

- An attempt ends once. What comes after its end, or again, changes nothing.
- It succeeded when the device found itself healthy *and* its own report names the image that was ordered; the two may
  come in different batches.
- What a device says after its attempt was given up as silent, or withdrawn, is a fact beside that outcome; so is harm that shows
  after it had gone well.
- The deadline of an attempt of a rollout is noted when it passes, however the attempt ended: silence is judged then, never earlier.
- Only events of the device that the attempt belongs to count; the caller sees to that.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import structs

from surefoot.model.assignment import AssignmentId, DeviceId, Outcome
from surefoot.model.digest import Digest
from surefoot.model.event import DeploymentEvent, EventType
from surefoot.model.record import Name, Record, Size, parse_utc, utc_text
from surefoot.model.version import SemVer

_OUTCOMES: dict[str, Outcome] = {
    EventType.DOWNLOAD_FAILED: Outcome.FAILED,
    EventType.INSTALL_FAILED: Outcome.FAILED,
    EventType.ROLLBACK_COMPLETED: Outcome.ROLLED_BACK,
}
_RELAPSES = {EventType.HEALTH_FAILED, EventType.ROLLBACK_TRIGGERED, EventType.ROLLBACK_COMPLETED}
_GIVEN_UP = {Outcome.SILENT, Outcome.CANCELLED}
_NOT_A_START = {EventType.CHECK_STARTED, EventType.CHECK_COMPLETED}


class Attempt(Record, frozen=True, kw_only=True):
    """One attempt of one device to reach one image; times are RFC 3339 UTC, empty while they have not come.

    Attributes:
        assignment_id: Its number.
        device_id: Whose it is.
        path: TUF path of the image.
        hash: Digest of the image.
        size: Length of the image in bytes.
        issued_at: When it was ordered, or last renewed.
        start_before: When it is void unless started.
        deadline_s: Seconds it may take from its start.
        rollout_id: The rollout it is part of; nothing when a person ordered it.
        stage: Index of the stage that it counts in.
        region: The device's region when it was offered; empty when it had none.
        is_started: Whether the device reported work on it.
        started_at: When that was first heard.
        is_healthy: Whether the device reported a healthy trial.
        is_unhealthy: Whether the device reported a trial that was not healthy.
        is_late_good: Whether it went well after it had been given up or withdrawn.
        is_late_bad: Whether it went badly after that.
        is_due: Whether its deadline has passed since it started; noted of attempts of rollouts alone.
        is_relapsed: Whether the release was found unhealthy or rolled back after it had gone well.
        outcome: How it ended; nothing while it is open.
    """

    assignment_id: AssignmentId
    device_id: DeviceId
    product: Name
    version: SemVer
    variant: Name
    hardware: Name
    path: str
    hash: Digest
    size: Size
    issued_at: str
    start_before: str
    deadline_s: int
    rollout_id: int | None = None
    stage: int = 0
    region: str = ""
    is_started: bool = False
    started_at: str = ""
    is_healthy: bool = False
    is_unhealthy: bool = False
    is_late_good: bool = False
    is_late_bad: bool = False
    is_due: bool = False
    is_relapsed: bool = False
    outcome: Outcome | None = None
    ended_at: str = ""


def after_events(attempt: Attempt, events: Iterable[DeploymentEvent], running: Digest | None, now: str) -> Attempt:
    """Return the attempt as it stands after a batch of its device.

    Args:
        attempt: As it stood.
        events: The batch, in order; events of other attempts in it are passed over.
        running: What the device says it runs, as of the end of the batch.
        now: RFC 3339 UTC; becomes ``started_at`` and ``ended_at``.
    """
    for event in events:
        if event.assignment_id == attempt.assignment_id:
            attempt = _after(attempt, event, running, now) if attempt.outcome is None else _afterwards(attempt, event, running)
    if attempt.outcome is None and attempt.is_healthy and running == attempt.hash:
        return end(attempt, Outcome.SUCCEEDED, now)
    return attempt


def end(attempt: Attempt, outcome: Outcome, now: str) -> Attempt:
    """Return the attempt with this outcome, unless it already has one."""
    return attempt if attempt.outcome is not None else structs.replace(attempt, outcome=outcome, ended_at=now)


def due_at(attempt: Attempt) -> datetime | None:
    """Return when an attempt is to be looked at: at its deadline once it has started, at the end of its offer before that.

    Nothing when there is nothing to look for any more.
    """
    if attempt.is_due or (attempt.outcome is not None and (attempt.rollout_id is None or not attempt.is_started)):
        return None
    if attempt.is_started:
        return parse_utc(attempt.started_at) + timedelta(seconds=attempt.deadline_s)
    return parse_utc(attempt.start_before)


def after_deadline(attempt: Attempt, now: datetime) -> Attempt:
    """Return an attempt after it was looked at: one that is open ends, as silent if it had started, else its offer is void."""
    due = due_at(attempt)
    if due is None or now < due:
        return attempt
    ended = end(attempt, Outcome.SILENT if attempt.is_started else Outcome.CANCELLED, utc_text(now))
    return structs.replace(ended, is_due=attempt.is_started and attempt.rollout_id is not None)


def _after(attempt: Attempt, event: DeploymentEvent, running: Digest | None, now: str) -> Attempt:
    if event.type == EventType.CHECK_COMPLETED and event.data.get("refused"):
        return end(attempt, Outcome.REJECTED, now)
    if event.type not in _NOT_A_START and not attempt.is_started:
        attempt = structs.replace(attempt, is_started=True, started_at=now)
    if event.type == EventType.HEALTH_FAILED:
        return structs.replace(attempt, is_unhealthy=True)
    if event.type == EventType.HEALTH_OK:
        healthy = structs.replace(attempt, is_healthy=True)
        return end(healthy, Outcome.SUCCEEDED, now) if running == attempt.hash else healthy
    outcome = _OUTCOMES.get(event.type)
    return attempt if outcome is None else end(attempt, outcome, now)


def _afterwards(attempt: Attempt, event: DeploymentEvent, running: Digest | None) -> Attempt:
    if attempt.outcome is Outcome.SUCCEEDED or attempt.is_late_good:
        return structs.replace(attempt, is_relapsed=True) if event.type in _RELAPSES else attempt
    if attempt.outcome not in _GIVEN_UP:
        return attempt
    if event.type in _OUTCOMES:
        return structs.replace(attempt, is_late_bad=True)
    if event.type == EventType.HEALTH_OK and running == attempt.hash:
        return structs.replace(attempt, is_late_good=True)
    return attempt
