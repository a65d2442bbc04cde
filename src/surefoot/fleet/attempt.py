# SPDX-License-Identifier: Apache-2.0
"""Attempts: what the server keeps of an assignment, and how a device's events end it.

- An attempt ends once. What comes after its end, or again, changes nothing.
- It succeeded when the device found itself healthy *and* its own report names the image that was ordered; the two may
  come in different batches.
- Only events of the device that the attempt belongs to count; the caller sees to that.
"""

from collections.abc import Iterable

from msgspec import structs

from surefoot.model.assignment import AssignmentId, DeviceId, Outcome
from surefoot.model.digest import Digest
from surefoot.model.event import DeploymentEvent, EventType
from surefoot.model.record import Name, Record, Size
from surefoot.model.version import SemVer

_OUTCOMES: dict[str, Outcome] = {
    EventType.DOWNLOAD_FAILED: Outcome.FAILED,
    EventType.INSTALL_FAILED: Outcome.FAILED,
    EventType.ROLLBACK_COMPLETED: Outcome.ROLLED_BACK,
}
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
        is_started: Whether the device reported work on it.
        is_healthy: Whether the device reported a healthy trial.
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
    is_started: bool = False
    is_healthy: bool = False
    outcome: Outcome | None = None
    ended_at: str = ""


def after_events(attempt: Attempt, events: Iterable[DeploymentEvent], running: Digest | None, now: str) -> Attempt:
    """Return the attempt as it stands after a batch of its device.

    Args:
        attempt: As it stood.
        events: The batch, in order; events of other attempts in it are passed over.
        running: What the device says it runs, as of the end of the batch.
        now: RFC 3339 UTC; becomes ``ended_at``.
    """
    for event in events:
        if event.assignment_id == attempt.assignment_id and attempt.outcome is None:
            attempt = _after(attempt, event, running, now)
    if attempt.outcome is None and attempt.is_healthy and running == attempt.hash:
        return end(attempt, Outcome.SUCCEEDED, now)
    return attempt


def end(attempt: Attempt, outcome: Outcome, now: str) -> Attempt:
    """Return the attempt with this outcome, unless it already has one."""
    return attempt if attempt.outcome is not None else structs.replace(attempt, outcome=outcome, ended_at=now)


def _after(attempt: Attempt, event: DeploymentEvent, running: Digest | None, now: str) -> Attempt:
    if event.type == EventType.CHECK_COMPLETED and event.data.get("refused"):
        return end(attempt, Outcome.REJECTED, now)
    if event.type not in _NOT_A_START:
        attempt = structs.replace(attempt, is_started=True)
    if event.type == EventType.HEALTH_OK:
        healthy = structs.replace(attempt, is_healthy=True)
        return end(healthy, Outcome.SUCCEEDED, now) if running == attempt.hash else healthy
    outcome = _OUTCOMES.get(event.type)
    return attempt if outcome is None else end(attempt, outcome, now)
