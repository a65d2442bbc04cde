# SPDX-License-Identifier: Apache-2.0
"""States and events of the device's state machine, for tests that tell it one thing after another."""

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs

from surefoot.agent.signals import (
    Accepted,
    Activated,
    Answered,
    Booted,
    CheckFailed,
    Corrupt,
    Failed,
    Interrupted,
    Marked,
    Nothing,
    Probed,
    Received,
    Refused,
    Rejected,
    Reported,
    Sensed,
    Stayed,
    Unchanged,
    Weighed,
    Woke,
)
from surefoot.agent.state import Attempt, Phase, Policy, State
from surefoot.agent.vitals import Start, Vitals
from surefoot.model.assignment import AssignmentId, DeviceId, Order
from surefoot.model.digest import digest_of
from surefoot.model.manifest import MustMatch
from surefoot.model.record import utc_text
from surefoot.model.slot import Installed, SlotName, SlotState
from surefoot.model.window import DownloadTime, Window
from surefoot.model.wire import PollAnswer, PollMetadata
from surefoot.schedule.permission import Permission, Reason

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
FLOOR = utc_text(NOW)
FRESH = utc_text(NOW + timedelta(hours=24))
POLICY = Policy()
A, B = SlotName.A, SlotName.B
SIZE = 1000
WANTED = digest_of(b"1.1.0")
ANSWER = PollAnswer(next_poll_s=300, metadata=PollMetadata())


def block(**changes: object) -> MustMatch:
    facts: dict[str, Any] = {
        "product": "thermostat",
        "version": "1.1.0",
        "build_id": "b-1.1.0",
        "release_counter": 2,
        "target_hardware": ["thermostat-v1"],
        "min_bootloader_version": "1.0.0",
        "manifest": digest_of(b"manifest"),
    }
    return MustMatch(**(facts | changes))


def windowed(assignment: int = 1, download: DownloadTime = DownloadTime.ANY) -> Order:
    """Return an order that has a window."""
    return structs.replace(order(assignment), windows=[Window(start="02:00", length="3h", zone="Europe/Berlin")], download=download)


def order(assignment: int = 1, **changes: object) -> Order:
    return Order(
        device_id=DeviceId("t-1"),
        assignment_id=AssignmentId(assignment),
        issued_at=FLOOR,
        start_before=utc_text(NOW + timedelta(hours=24)),
        deadline_s=4 * 3600,
        must_match=block(**changes),
    )


def release(version: str, **changes: object) -> Installed:
    facts: dict[str, Any] = {
        "product": "thermostat",
        "version": version,
        "build_id": f"b-{version}",
        "release_counter": 1,
        "hash": digest_of(version.encode()),
        "size": SIZE,
    }
    return Installed(**(facts | changes))


def attempt(**changes: object) -> Attempt:
    facts: dict[str, Any] = {"order": order(), "size": SIZE, "hash": WANTED, "slot": B, "urls": ["https://server/x"], "started_at": FLOOR}
    return Attempt(**(facts | changes))


def state(phase: Phase = Phase.IDLE, **changes: object) -> State:
    facts: dict[str, Any] = {"slot": A, "running": release("1.0.0"), "release_counter": 1, "time_floor": FLOOR, "fresh_until": FRESH}
    return State(phase=phase, **(facts | changes))


def at_work(phase: Phase, **changes: object) -> State:
    """Return a state in the middle of an attempt whose fields are changed so."""
    return state(phase, attempt=attempt(**changes))


def booted(slot: SlotName = A, *, primary: SlotName | None = None, other: SlotState = SlotState.BAD, **changes: object) -> Booted:
    """Return a boot of ``slot``, with the bootloader thinking ``other`` of the slot that did not boot."""
    facts: dict[str, Any] = {
        "now": NOW,
        "slot": slot,
        "primary": primary or slot,
        "states": {slot: SlotState.GOOD, slot.other: other},
        "is_wanted": slot is B,
    }
    return Booted(**(facts | changes))


def accepted(assignment: int = 1, **changes: object) -> Accepted:
    facts: dict[str, Any] = {
        "now": NOW,
        "etag": "2",
        "time_floor": FLOOR,
        "fresh_until": FRESH,
        "next_poll_s": 300,
        "order": order(assignment),
    }
    facts |= {"size": SIZE, "hash": WANTED, "urls": ["https://server/x"]}
    return Accepted(**(facts | changes))


def rejected(assignment: int = 1, code: str = "no_space") -> Rejected:
    return Rejected(
        now=NOW,
        etag="2",
        time_floor=FLOOR,
        fresh_until=FRESH,
        next_poll_s=300,
        assignment_id=AssignmentId(assignment),
        code=code,
        message="It is too large.",
    )


def probed(**changes: object) -> Probed:
    facts: dict[str, Any] = {"now": NOW, "healthy_s": 0.0, "trial_s": 1.0, "failing": "", "is_reported": True}
    return Probed(**(facts | changes))


def vitals(*, reboots: int = 0, **changes: object) -> Vitals:
    """Return the vitals of a release that was kept, with so many starts at this moment."""
    facts: dict[str, Any] = {"lived_s": 100.0, "kept_s": 40.0, "starts": [Start(at_s=100.0, may_be_watchdog=False)] * reboots}
    return Vitals(**(facts | changes))


def sensed(**changes: object) -> Sensed:
    """Return a look at a watched release that is well, in the middle of a wait of which 20 s are left."""
    facts: dict[str, Any] = {"now": NOW, "vitals": vitals(), "failing": "", "other": SlotState.GOOD, "left_s": 20.0}
    return Sensed(**(facts | changes))


def stayed(primary: SlotName | None = None, *, other: SlotState = SlotState.BAD) -> Stayed:
    """Return that the board was not started again; the bootloader says what it thinks of slot b, or nothing when it cannot."""
    states = {} if primary is None else {A: SlotState.GOOD, B: other}
    return Stayed(now=NOW, code="boot", message="The board refuses.", primary=primary, states=states)


WOKE = Woke(now=NOW)
UNCHANGED = Unchanged(now=NOW, next_poll_s=300)
ANSWERED = Answered(now=NOW, answer=ANSWER, etag="2")
CHECK_FAILED = CheckFailed(now=NOW, code="transport", message="Nobody answers.")
NOTHING = Nothing(now=NOW, etag="2", time_floor=FLOOR, fresh_until=FRESH, next_poll_s=300)
REFUSED = Refused(now=NOW, code="bad_signature", message="It is not signed.")
CORRUPT = Corrupt(now=NOW, code="corrupt_download", message="Other bytes.")
MAY_START = Weighed(now=NOW, permission=Permission(may_start=True, reason=Reason.OPEN, detail="window is open until 05:00 local"))
ACTIVATED = Activated(now=NOW)
MARKED = Marked(now=NOW)
REPORTED = Reported(now=NOW)
FAILED = Failed(now=NOW, code="boot", message="The board refuses.")


def held(until: datetime | None = None, *, now: datetime = NOW, reason: Reason = Reason.CLOSED) -> Weighed:
    """Return the answer that an install may not start yet."""
    return Weighed(now=now, permission=Permission(may_start=False, reason=reason, detail="window opens Tue 02:00 local", until=until))


def received(count: int) -> Received:
    return Received(now=NOW, received=count)


def interrupted(count: int, now: datetime = NOW) -> Interrupted:
    return Interrupted(now=now, received=count, code="transport", message="The line broke.")
