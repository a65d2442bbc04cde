# SPDX-License-Identifier: Apache-2.0
"""Durations as people write them: a whole number and a unit, ``90s``, ``15m``, ``6h``, ``2d``."""

from typing import Annotated

from msgspec import Meta

Duration = Annotated[
    str,
    Meta(
        pattern=r"\A(0|[1-9][0-9]{0,6})[smhd]\Z", description="a whole number of seconds, minutes, hours or days, as in 90s, 15m, 6h or 2d"
    ),
]

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds(duration: Duration) -> int:
    """Return a duration in seconds; a day has 86,400."""
    return int(duration[:-1]) * _UNITS_S[duration[-1]]
