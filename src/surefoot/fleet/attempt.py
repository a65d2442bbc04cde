# SPDX-License-Identifier: Apache-2.0
"""Attempts: what the server keeps of an assignment, and how a device's events end it.

- An attempt ends once. What comes after its end, or again, changes nothing.
- It succeeded when the device found itself healthy *and* its own report names the image that was ordered; the two may
  come in different batches.
- With windows it starts when its install does, not when its download does: until then it may wait, and be withdrawn.
- What a device says after its attempt was given up as silent, or withdrawn, is a fact beside that outcome; so is harm that shows
  after it had gone well.
- The deadline of an attempt of a rollout is noted when it passes, however the attempt ended: silence is judged then, never earlier.
- Only events of the device that the attempt belongs to count; the caller sees to that.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import IntEnum

from msgspec import structs

from surefoot.fleet.install_time import seconds_between
from surefoot.model.assignment import INSTALL_S, AssignmentId, DeviceId, Outcome
from surefoot.model.digest import Digest
from surefoot.model.event import DeploymentEvent, EventType
from surefoot.model.record import Name, Record, Size, parse_utc, utc_text
from surefoot.model.version import SemVer
from surefoot.model.window import Windows

_OUTCOMES: dict[str, Outcome] = {
    EventType.DOWNLOAD_FAILED: Outcome.FAILED,
    EventType.INSTALL_FAILED: Outcome.FAILED,
    EventType.ROLLBACK_COMPLETED: Outcome.ROLLED_BACK,
}
_GRACE = timedelta(hours=24)
_RELAPSES = {EventType.HEALTH_FAILED, EventType.ROLLBACK_TRIGGERED, EventType.ROLLBACK_COMPLETED}
_GIVEN_UP = {Outcome.SILENT, Outcome.CANCELLED}
_CAME_TO_NOTHING = {Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.REJECTED, Outcome.SUPERSEDED}
_NOT_A_START = {EventType.CHECK_STARTED, EventType.CHECK_COMPLETED, EventType.INSTALL_WAITING}
_FETCHING = {EventType.DOWNLOAD_STARTED, EventType.DOWNLOAD_PROGRESS}
_BEFORE_INSTALL = {EventType.DOWNLOAD_STARTED, EventType.DOWNLOAD_PROGRESS, EventType.DOWNLOAD_COMPLETED}


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
        windows: Windows of the rollout's plan; nearer levels may have others, see ``schedule.nearest``.
        ignores_windows: Whether a person ordered it for any time.
        install_s: How long an install usually takes on this hardware.
        deadline_at: By when it should run, for an urgent release: windows are ignored some time after.
        grace_s: Seconds that a device has from its first offer before its windows are ignored.
        first_offered_at: When the device's view first ordered it.
        starts_at_install: Whether it was ordered with windows.
        networks: Its region and site, written as ``site:berlin``, of those that its rollout limits: what it fetches counts there.
        is_fetching: Whether the device said that it fetches the image, and not yet that it has it.
        has_fetched: Whether the device said that it has the image.
        is_started: Whether the device reported work on it; with windows, on its install.
        started_at: When that was first heard.
        installing_at: When the install began, by the device's own clock; empty while that is not known, or cannot be believed.
        install_took_s: How long that took until the release was found healthy, in seconds; nothing while it is not known.
        is_healthy: Whether the device reported a healthy trial.
        is_unhealthy: Whether the device reported a trial that was not healthy.
        is_late_good: Whether it went well after it had been given up or withdrawn.
        is_late_bad: Whether it went badly after that.
        is_due: Whether its deadline has passed since it started; noted of attempts of rollouts alone.
        is_relapsed: Whether the release was found unhealthy or rolled back after it had gone well.
        outcome: How it ended; nothing while it is open.
        retry: How often the device had failed with this release before, when its rollout tries it again; 0 for its first try there.
        updated_from: Which version of the product the device ran when a rollout offered it; empty for what a person ordered.
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
    windows: Windows = []
    ignores_windows: bool = False
    install_s: int = INSTALL_S
    deadline_at: str = ""
    grace_s: int = 86_400
    first_offered_at: str = ""
    starts_at_install: bool = False
    networks: list[str] = []
    is_fetching: bool = False
    has_fetched: bool = False
    is_started: bool = False
    started_at: str = ""
    installing_at: str = ""
    install_took_s: int | None = None
    is_healthy: bool = False
    is_unhealthy: bool = False
    is_late_good: bool = False
    is_late_bad: bool = False
    is_due: bool = False
    is_relapsed: bool = False
    outcome: Outcome | None = None
    ended_at: str = ""
    retry: int = 0
    updated_from: str = ""

    @property
    def may_have_updated(self) -> bool:
        """Whether the device may run the release because of it, now or once it is done; what the device says decides."""
        is_at_it = self.is_started and self.outcome not in _CAME_TO_NOTHING and not self.is_late_bad
        return is_at_it or self.is_late_good


class Load(IntEnum):
    """Whether an attempt burdens its networks: not, or not any more; perhaps soon; now."""

    NONE = 0
    SOON = 1
    FETCHING = 2


def load(attempt: Attempt) -> Load:
    """Return whether an attempt burdens its networks. A device that has the image fetches it no more, whatever it waits for."""
    if attempt.is_fetching:
        return Load.FETCHING
    return Load.NONE if attempt.has_fetched or attempt.outcome is not None else Load.SOON


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
    return attempt if attempt.outcome is not None else structs.replace(attempt, outcome=outcome, ended_at=now, is_fetching=False)


def due_at(attempt: Attempt) -> datetime | None:
    """Return when an attempt is to be looked at: at its deadline once it has started, at the end of its offer before that.

    Nothing when there is nothing to look for any more.
    """
    if attempt.is_due or (attempt.outcome is not None and (attempt.rollout_id is None or not attempt.is_started)):
        return None
    if attempt.is_started:
        return parse_utc(attempt.started_at) + timedelta(seconds=attempt.deadline_s)
    return parse_utc(attempt.start_before)


def reissue(attempt: Attempt, now: datetime) -> Attempt:
    """Return an attempt that was not started as if it were ordered now, for as long as it was ordered first; a minute at least."""
    life = parse_utc(attempt.start_before) - parse_utc(attempt.issued_at)
    return structs.replace(
        attempt,
        issued_at=utc_text(now),
        start_before=utc_text(now + max(life, timedelta(minutes=1))),
    )


def consent_until(attempt: Attempt, *, is_required: bool) -> str:
    """Return until when people at the device may put an attempt off, RFC 3339 UTC; empty when its release does not have to be.

    Renewing the order gives no more grace; a device that was away for longer than an order stands is ordered anew, and gets its own.
    """
    return utc_text(parse_utc(attempt.first_offered_at or attempt.issued_at) + _GRACE) if is_required else ""


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
    if not attempt.is_started and _is_start(attempt, event):
        attempt = structs.replace(attempt, is_started=True, started_at=now)
    if event.type not in _NOT_A_START:
        is_fetching = event.type in _FETCHING
        attempt = structs.replace(attempt, is_fetching=is_fetching, has_fetched=attempt.has_fetched or not is_fetching)
    if event.type == EventType.INSTALL_STARTED and not attempt.installing_at and event.clock == "synced":
        attempt = structs.replace(attempt, installing_at=event.at)
    if event.type == EventType.HEALTH_FAILED:
        return structs.replace(attempt, is_unhealthy=True)
    if event.type == EventType.HEALTH_OK:
        if not attempt.is_healthy:
            attempt = structs.replace(attempt, is_healthy=True, install_took_s=seconds_between(attempt.installing_at, event))
        return end(attempt, Outcome.SUCCEEDED, now) if running == attempt.hash else attempt
    outcome = _OUTCOMES.get(event.type)
    return attempt if outcome is None else end(attempt, outcome, now)


def _is_start(attempt: Attempt, event: DeploymentEvent) -> bool:
    return event.type not in _NOT_A_START and not (attempt.starts_at_install and event.type in _BEFORE_INSTALL)


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
