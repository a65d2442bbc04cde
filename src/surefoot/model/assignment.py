# SPDX-License-Identifier: Apache-2.0
"""Assignments: one attempt of one device to reach one release, with one final outcome."""

from enum import StrEnum
from typing import Annotated, NewType

from msgspec import Meta

from surefoot.model.manifest import MustMatch
from surefoot.model.record import Record
from surefoot.model.window import DownloadTime, Windows

DeviceId = NewType(
    "DeviceId",
    Annotated[
        str,
        Meta(
            pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z", description="up to 128 letters, digits, dots, colons, hyphens and underscores"
        ),
    ],
)

# Older DDI clients in the field read the id as a signed 32-bit number and choke on a final 0 (reference: zephyr#89530).
AssignmentId = NewType("AssignmentId", Annotated[int, Meta(ge=1, lt=2**31)])


INSTALL_S = 300
"""How long an install is taken to last where nobody knows better, in seconds."""


class Outcome(StrEnum):
    """How an attempt ended. An attempt gets exactly one; what is learned later is a fact beside it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    SILENT = "silent"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"


class Order(Record, frozen=True, kw_only=True):
    """Custom block of a director target: which attempt this is, and when it may start.

    Times are RFC 3339 UTC; ``deadline_s`` is counted by the device from the moment it starts.

    Attributes:
        start_before: When it is void unless its install has started.
        windows: When the install may start, each with an IANA zone; none means at any time.
        download: Whether the download waits for a window too, as on a line that is paid by the byte.
        install_s: How long an install usually takes on this hardware (95th percentile); it starts only where that fits.
        deadline_at: By when an urgent release should run; for people, the device obeys ``ignore_windows_from``.
        consent_until: From when on nobody at the device may put the order off any longer; empty means that they always may.
        ignore_windows_from: From when on this device ignores its windows; empty means never.
    """

    device_id: DeviceId
    assignment_id: AssignmentId
    issued_at: str
    start_before: str
    deadline_s: Annotated[int, Meta(ge=60, le=30 * 86_400)]
    must_match: MustMatch
    rollout_id: int | None = None
    consent_until: str = ""
    windows: Windows = []
    download: DownloadTime = DownloadTime.ANY
    install_s: Annotated[int, Meta(ge=0, le=86_400)] = INSTALL_S
    deadline_at: str = ""
    ignore_windows_from: str = ""


def next_assignment_id(last: int) -> AssignmentId:
    """Return the id that follows ``last`` (0 when there is none yet), skipping those that end in 0."""
    following = last + 1
    return AssignmentId(following + 1 if following % 10 == 0 else following)
