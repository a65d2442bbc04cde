# SPDX-License-Identifier: Apache-2.0
"""Decisions: what a rollout does next, with one sentence for people.

The engine says ``Advance``, ``Hold`` or ``Pause``; ``Pause``, ``Resume`` and ``Halt`` are also said by people, named in ``by``.
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
        stage: Index of the stage that is open afterwards.
        batch: Index of the batch that is open afterwards.
        is_end: Whether the rollout is finished with this.
    """

    cause: str
    reason: str
    offers: _Count = 0
    stage: _Count = 0
    batch: _Count = 0
    is_end: bool = False
    warnings: list[str] = []


class Hold(Record, frozen=True, kw_only=True, tag_field="decision", tag="hold"):
    """Offer nothing now; ask again later. ``is_settled``: the open batch has been heard of, and soaks."""

    cause: str
    reason: str
    is_settled: bool = False
    warnings: list[str] = []


class Pause(Record, frozen=True, kw_only=True, tag_field="decision", tag="pause"):
    """Offer nothing until a person resumes; offers that were not started are withdrawn."""

    cause: str
    reason: str
    by: str = ""
    warnings: list[str] = []


class Resume(Record, frozen=True, kw_only=True, tag_field="decision", tag="resume"):
    """Go on as before; what has been counted so far is not judged again. The first one starts the rollout."""

    cause: str
    reason: str
    by: str
    warnings: list[str] = []


class Halt(Record, frozen=True, kw_only=True, tag_field="decision", tag="halt"):
    """Offer nothing ever again; offers that were not started are withdrawn."""

    cause: str
    reason: str
    by: str
    warnings: list[str] = []


Decision = Advance | Hold | Pause | Resume | Halt
