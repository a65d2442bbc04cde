# SPDX-License-Identifier: Apache-2.0
"""What the state machine is told (events), and what it asks for (effects).

Each effect says which events may answer it. Everything here is a plain value; who performs an effect is the runner's affair.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from surefoot.agent.state import Attempt
from surefoot.agent.vitals import Vitals
from surefoot.model.assignment import AssignmentId, Order
from surefoot.model.digest import Digest
from surefoot.model.event import EventType
from surefoot.model.slot import Installed, SlotName, SlotState
from surefoot.model.wire import PollAnswer
from surefoot.schedule.permission import Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """The agent started, after a boot or a crash.

    Attributes:
        now: The clock.
        slot: The slot that was booted.
        primary: The slot that the next boot will try first.
        states: What the bootloader thinks of each slot.
        is_wanted: Whether the booted slot holds exactly the image of the attempt.
        vitals: What is counted of the release, with this start; nothing when nothing is counted.
    """

    now: datetime
    slot: SlotName
    primary: SlotName
    states: Mapping[SlotName, SlotState]
    is_wanted: bool
    vitals: Vitals | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Woke:
    """A wait is over."""

    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensed:
    """Something about the release that is watched is worth a note, in the middle of a wait.

    Attributes:
        now: The clock.
        vitals: What has been counted of it.
        failing: The first required probe that does not hold, in words; empty when all do.
        other: What the bootloader thinks of the slot that does not run; nothing when it cannot say, or was not asked.
        left_s: What is left of the wait.
    """

    now: datetime
    vitals: Vitals
    failing: str
    other: SlotState | None
    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """The server has nothing new; ask again after ``next_poll_s``."""

    now: datetime
    next_poll_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The server has something new, not yet verified."""

    now: datetime
    answer: PollAnswer
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFailed:
    """The server could not be asked."""

    now: datetime
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """Both repositories verified, and nothing is ordered."""

    now: datetime
    etag: str
    time_floor: str
    fresh_until: str
    next_poll_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An order that both repositories list and every rule of this device allows.

    Attributes:
        is_put_off: Whether something at the device holds it back now: people put it off, or somebody inhibits updates.
    """

    now: datetime
    etag: str
    time_floor: str
    fresh_until: str
    next_poll_s: int
    order: Order
    size: int
    hash: Digest
    urls: list[str]
    is_put_off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A verified order that a rule of this device forbids; the attempt is over."""

    now: datetime
    etag: str
    time_floor: str
    fresh_until: str
    next_poll_s: int
    assignment_id: AssignmentId
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The answer did not verify; nothing of it is believed."""

    now: datetime
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """The image is durable in the slot up to ``received`` bytes."""

    now: datetime
    received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The connection broke or could not be made; ``received`` bytes are durable."""

    now: datetime
    received: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupt:
    """What arrived, or what lies in the slot, is not what was signed; it has been discarded."""

    now: datetime
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """Whether the order's windows and times let the install start now, and why."""

    now: datetime
    permission: Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class Activated:
    """The slot holds the verified image and the next boot will try it.

    Attributes:
        now: The clock.
        brokers: The message brokers that were reached just before the update.
    """

    now: datetime
    brokers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The health of the release on trial.

    Attributes:
        now: The clock.
        healthy_s: How long every required probe has held without a break.
        trial_s: How long the trial has lasted since this boot.
        failing: The first required probe that does not hold, in words; empty when all do.
        is_reported: Whether the server has accepted a report since this boot.
        lost: The first required broker that was reached before the update and not yet since, in words; empty when there is none.
        ailing: The first probe that is not required and does not hold, in words; empty when all do.
        vitals: What has been counted of the release; nothing when nothing is counted.
    """

    now: datetime
    healthy_s: float
    trial_s: float
    failing: str
    is_reported: bool
    lost: str = ""
    ailing: str = ""
    vitals: Vitals | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """The bootloader counts the release on trial as good."""

    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """The server has acknowledged every event."""

    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An effect failed on the board or on the way to the server.

    Attributes:
        now: The clock.
        code: Why, as a word.
        message: Why, as a sentence.
        is_untouched: Whether the slot that was to be written holds what it held before, and the bootloader may start that.
    """

    now: datetime
    code: str
    message: str
    is_untouched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stayed:
    """The board, or its application, still runs what it should leave: the bootloader was not told so, or it was not started again.

    Attributes:
        now: The clock.
        code: Why, as a word.
        message: Why, as a sentence.
        primary: The slot that the next boot will try first; nothing when the bootloader cannot say.
        states: What the bootloader thinks of each slot; empty when it cannot say.
    """

    now: datetime
    code: str
    message: str
    primary: SlotName | None
    states: Mapping[SlotName, SlotState]


Event = (
    Booted
    | Woke
    | Sensed
    | Unchanged
    | Answered
    | CheckFailed
    | Nothing
    | Accepted
    | Rejected
    | Refused
    | Received
    | Interrupted
    | Corrupt
    | Weighed
    | Activated
    | Probed
    | Marked
    | Reported
    | Failed
    | Stayed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Emit:
    """Journal an event for the server, in the same record as the new state."""

    type: EventType
    assignment_id: AssignmentId | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """Ask the server what changed → ``Unchanged``, ``Answered``, ``CheckFailed``."""

    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Verify an answer and keep what is verified → ``Nothing``, ``Accepted``, ``Rejected``, ``Refused``, ``Failed``."""

    answer: PollAnswer
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """Bring the image to ``until`` durable bytes in its slot → ``Received``, ``Interrupted``, ``Corrupt``, ``Failed``."""

    attempt: Attempt
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weigh:
    """Hold the time against the order's windows, in their zones, and what people at the device said → ``Weighed``."""

    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """Read the image back from its slot, then make it the one to try → ``Activated``, ``Corrupt``, ``Failed``."""

    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Shut:
    """See that a slot that was given up is not started, whatever the bootloader was told of it; then go on."""

    slot: SlotName


@dataclass(frozen=True, slots=True, kw_only=True)
class Reboot:
    """Boot again; the next event is ``Booted``, or ``Stayed`` when the board does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Look at the health of the release on trial, and try to report → ``Probed``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkGood:
    """Tell the bootloader that the slot is good → ``Marked``, ``Failed``."""

    slot: SlotName


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """Make ``to`` the slot to boot and ``bad`` one never to boot; then go on, or → ``Stayed``.

    Attributes:
        bad: The slot to leave.
        to: The slot to go back to.
        release: What must lie there, when it has not run since long and is to be read first.
    """

    bad: SlotName
    to: SlotName
    release: Installed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Send every journalled event → ``Reported``, ``Failed``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Do nothing for a while, but look after a release that is watched → ``Woke``, ``Sensed``."""

    seconds: float


Effect = Emit | Poll | Verify | Download | Weigh | Install | Shut | Reboot | Probe | MarkGood | Revert | Report | Wait
