# SPDX-License-Identifier: Apache-2.0
"""Decisions: what a rollout does next, with one sentence for people.

The engine says all of them; ``Pause``, ``Resume`` and ``Halt`` are also said by people, named in ``by``; ``Approve`` and
``Schedule`` by people alone. ``Revert`` is said by people, or follows from a halt.
``cause`` is a stable word for programs, ``reason`` the sentence, ``warnings`` sentences about rates that do not pause yet.
"""

from typing import Annotated

from msgspec import Meta

from surefoot.model.record import Record

_Count = Annotated[int, Meta(ge=0)]


class Advance(Record, frozen=True, kw_only=True, tag_field="decision", tag="advance"):
    """Go on: offer the release to more devices of the open batch, or open the next one.

    Attributes:
        offers: How many more devices may be offered it now; 0 when a batch opens or the rollout ends.
        hardware: Of which hardware they must be; nothing means any.
        not_hardware: Of which hardware they must not be: it is excluded.
        not_regions: In which regions they must not be: nothing starts there.
        quotas: With cause ``room``: the networks whose waiting devices they must be of, and how many of each at most.
        stage: Index of the stage that is open afterwards.
        batch: Index of the batch that is open afterwards.
        is_end: Whether the rollout is finished with this.
    """

    cause: str
    reason: str
    offers: _Count = 0
    hardware: str | None = None
    not_hardware: list[str] = []
    not_regions: list[str] = []
    quotas: dict[str, _Count] = {}
    stage: _Count = 0
    batch: _Count = 0
    is_end: bool = False
    warnings: list[str] = []


class Hold(Record, frozen=True, kw_only=True, tag_field="decision", tag="hold"):
    """Offer nothing now; ask again later.

    Attributes:
        regions: Where; empty means everywhere. The rest goes on with the next decision.
        is_settled: Whether the open batch has been heard of, and soaks.
    """

    cause: str
    reason: str
    regions: list[str] = []
    is_settled: bool = False
    warnings: list[str] = []


class Pause(Record, frozen=True, kw_only=True, tag_field="decision", tag="pause"):
    """Offer nothing until a person resumes; offers that were not started are withdrawn."""

    cause: str
    reason: str
    by: str = ""
    warnings: list[str] = []


class Exclude(Record, frozen=True, kw_only=True, tag_field="decision", tag="exclude"):
    """Offer nothing to some hardware until a person includes it again, and go on with the rest."""

    cause: str
    reason: str
    hardware: list[str]
    warnings: list[str] = []


class Resume(Record, frozen=True, kw_only=True, tag_field="decision", tag="resume"):
    """Go on as before; what has been counted so far is not judged again. The first one starts the rollout.

    Attributes:
        by: Who says so; empty when a region goes on by itself.
        regions: Which regions go on; empty means the rollout.
        hardware: Which excluded hardware is included again.
    """

    cause: str
    reason: str
    by: str = ""
    regions: list[str] = []
    hardware: list[str] = []
    warnings: list[str] = []


class Halt(Record, frozen=True, kw_only=True, tag_field="decision", tag="halt"):
    """Offer nothing ever again; offers that were not started are withdrawn. By the gate (``by`` is empty): unless a person overrides it.

    Attributes:
        reverts: Whether the devices that it updated are taken back; then it is for good, whoever says it.
    """

    cause: str
    reason: str
    by: str = ""
    reverts: bool = False
    warnings: list[str] = []


class WayBack(Record, frozen=True, kw_only=True):
    """What becomes of the devices that a rollout updated from one version.

    Attributes:
        version: What they ran before.
        devices: How many; those that are still at it, or fell silent over it, are among them.
        rollout_id: The rollout that takes them back; nothing when none does.
        obstacle: Why none does, a sentence; empty when one does.
    """

    version: str
    devices: _Count
    rollout_id: int | None = None
    obstacle: str = ""


class Revert(Record, frozen=True, kw_only=True, tag_field="decision", tag="revert"):
    """Take the devices that a rollout updated back to what they ran before, each version by a rollout; then its halt is for good."""

    cause: str
    reason: str
    by: str
    ways: list[WayBack]
    warnings: list[str] = []


class Approve(Record, frozen=True, kw_only=True, tag_field="decision", tag="approve"):
    """Let a rollout start whose plan asks for a person to say so first."""

    cause: str
    reason: str
    by: str
    warnings: list[str] = []


class Schedule(Record, frozen=True, kw_only=True, tag_field="decision", tag="schedule"):
    """Start by itself at an instant: ``at``, RFC 3339 UTC."""

    cause: str
    reason: str
    by: str
    at: str
    warnings: list[str] = []


Decision = Advance | Hold | Pause | Exclude | Resume | Halt | Revert | Approve | Schedule
