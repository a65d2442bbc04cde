# SPDX-License-Identifier: Apache-2.0
"""What devices report: typed events, keyed by device, journal and sequence number, and stored once."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from msgspec import Meta

from surefoot.model.assignment import AssignmentId
from surefoot.model.attribute import Attributes
from surefoot.model.digest import Digest
from surefoot.model.manifest import Counter
from surefoot.model.record import Hint, Name, Record
from surefoot.model.slot import SlotName
from surefoot.model.version import RevertTo, SemVer

MAX_BATCH = 200
"""Events in one call."""

Sequence = Annotated[int, Meta(ge=1, lt=2**53)]
Kind = Annotated[str, Meta(pattern=r"\A[a-z]{1,20}(\.[a-z_]{1,20}){1,4}\Z")]
Instant = Annotated[str, Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z")]
JournalId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16,64}\Z")]


class EventType(StrEnum):
    """Every event a device sends, in the order of a good update."""

    CHECK_STARTED = "update.check.started"
    CHECK_COMPLETED = "update.check.completed"
    DOWNLOAD_STARTED = "update.download.started"
    DOWNLOAD_PROGRESS = "update.download.progress"
    DOWNLOAD_COMPLETED = "update.download.completed"
    DOWNLOAD_FAILED = "update.download.failed"
    INSTALL_WAITING = "update.install.waiting"
    INSTALL_STARTED = "update.install.started"
    INSTALL_COMPLETED = "update.install.completed"
    INSTALL_FAILED = "update.install.failed"
    REBOOT_STARTED = "update.reboot.started"
    REBOOT_COMPLETED = "update.reboot.completed"
    HEALTH_OK = "update.health.ok"
    HEALTH_FAILED = "update.health.failed"
    ROLLBACK_TRIGGERED = "update.rollback.triggered"
    ROLLBACK_COMPLETED = "update.rollback.completed"


class DeploymentEvent(Hint, frozen=True, kw_only=True):
    """One thing that happened on a device.

    Attributes:
        seq: Grows by one within a journal; orders the events of a device whatever its clock says.
        type: What happened: an ``EventType``, or a word of an agent newer than the reader, which is kept and has no effect.
        at: The device's own clock, RFC 3339 UTC.
        clock: Whether that clock can be believed.
        assignment_id: The attempt it belongs to, when there is one.
        data: Facts of the event; small, flat, and never trusted.
    """

    seq: Sequence
    type: Kind
    at: Instant
    clock: Literal["synced", "unsynced"] = "synced"
    assignment_id: AssignmentId | None = None
    data: dict[str, Any] = {}


class DeviceReport(Hint, frozen=True, kw_only=True):
    """A device's own statement of what it runs, with all that version rules ask of it, and what else it says of itself.

    ``release_counter`` is the highest it ever committed; ``data_format`` and ``revert_to`` are the running release's.
    """

    hardware: Name
    bootloader_version: SemVer
    agent_version: str
    slot: SlotName
    product: Name
    version: SemVer
    build_id: str
    hash: Digest
    release_counter: Counter
    data_format: Counter | None = None
    revert_to: RevertTo = "patch"
    attributes: Attributes = {}


class EventBatch(Hint, frozen=True, kw_only=True):
    """``POST /v1/events``: events in order, oldest first, and the device's statement at the time of sending."""

    journal: JournalId
    events: Annotated[list[DeploymentEvent], Meta(max_length=MAX_BATCH)]
    report: DeviceReport | None = None


class Position(Record, frozen=True, kw_only=True):
    """A place in a device's journal: everything up to it is meant."""

    journal: JournalId
    seq: Annotated[int, Meta(ge=0, lt=2**53)]


class Acknowledgement(Record, frozen=True, kw_only=True):
    """The server's answer to a batch, given after the events are durable."""

    acknowledged: Position
