# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows: when a device may switch to a release and reboot, as people write them and as orders carry them.

- The start is what a clock on the wall shows; the length is time that passes, whatever the clock is set to in between.
- The zone is an IANA name or ``device``, never an offset: an offset does not know when clocks change.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from surefoot.model.duration import Duration, seconds
from surefoot.model.record import Record

OF_THE_DEVICE = "device"
"""Zone of a window that opens by the device's own clock on the wall; an order names the IANA zone instead."""


class DownloadTime(StrEnum):
    """When an image may be fetched: at any time, or as its install only in a window."""

    ANY = "any"
    WINDOW = "window"


class Weekday(StrEnum):
    """A day of the civil week, in the order of ``datetime.date.weekday``."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


WallTime = Annotated[str, Meta(pattern=r"\A([01][0-9]|2[0-3]):[0-5][0-9]\Z", description="a time of day as on a clock, as in 02:00")]

ZoneName = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"\A[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}\Z",
        description="'device' or the name of a time zone, as in Europe/Berlin; never an offset",
    ),
]


class Window(Record, frozen=True, kw_only=True):
    """A time of the week in which an install may start.

    Attributes:
        days: The civil days on which it opens, in its zone.
        start: When it opens, on the wall.
        length: How long it stays open, in time that passes.
        zone: By whose clock; ``device`` or an IANA name.
    """

    start: WallTime
    length: Duration
    days: Annotated[list[Weekday], Meta(min_length=1, max_length=7)] = msgspec.field(default_factory=lambda: list(Weekday))
    zone: ZoneName = OF_THE_DEVICE

    @property
    def length_s(self) -> int:
        """The length in seconds."""
        return seconds(self.length)


Windows = Annotated[list[Window], Meta(max_length=20)]
"""Windows of which any may be used; none means at any time."""
