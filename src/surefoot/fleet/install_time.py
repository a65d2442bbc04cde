# SPDX-License-Identifier: Apache-2.0
"""How long installs take on one hardware, as devices report them: a small histogram, so that nobody ever looks through the attempts.

- An install is what a window must have room for: from ``update.install.started`` to ``update.health.ok``, reboot and trial included,
  by the device's own clock. What came of a clock that was set in between, or of an install that did not go well, is not counted.
- Each install is counted once, in the report that ends it. Old ones fade: when there are ``MEMORY``, all counts are halved.
- Of fewer than ``ENOUGH`` nothing is said.
"""

from datetime import timedelta
from itertools import accumulate
from typing import Annotated

import msgspec
from msgspec import Meta, structs

from surefoot.model.errors import FormatError
from surefoot.model.event import DeploymentEvent
from surefoot.model.record import Record, parse_utc

BOUNDS_S = (15, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1_200, 1_800, 2_700, 3_600, 7_200, 14_400, 43_200, 86_400)
"""Up to how long the installs of each count took, in seconds; what took longer is not counted."""

ENOUGH = 20
MEMORY = 2_000

_USUAL_PERCENT = 95


class InstallTimes(Record, frozen=True, kw_only=True):
    """How many installs took up to each of ``BOUNDS_S``, and longer than the one before it."""

    counts: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=len(BOUNDS_S), max_length=len(BOUNDS_S))] = msgspec.field(
        default_factory=lambda: [0] * len(BOUNDS_S)
    )

    @property
    def installs(self) -> int:
        """How many are remembered."""
        return sum(self.counts)

    @property
    def usual_s(self) -> int | None:
        """Within how many seconds 95 of 100 were done, rounded up to a bound; nothing while too few are known."""
        if self.installs < ENOUGH:
            return None
        sums = accumulate(self.counts)
        return next(bound for bound, done in zip(BOUNDS_S, sums, strict=True) if done * 100 >= self.installs * _USUAL_PERCENT)


def with_install(times: InstallTimes, seconds: int) -> InstallTimes:
    """Return what is known after one more install of so many seconds, 0 to a day."""
    place = next(index for index, bound in enumerate(BOUNDS_S) if seconds <= bound)
    counts = [count + (index == place) for index, count in enumerate(times.counts)]
    if sum(counts) >= MEMORY:
        counts = [count // 2 for count in counts]
    return structs.replace(times, counts=counts)


def seconds_between(began: str, ended: DeploymentEvent) -> int | None:
    """Return how long an install took that began at an instant of the device's clock; nothing when that cannot be said.

    What devices say is not trusted: an instant that is none, a clock that cannot be believed, an end before the beginning or more than
    a day after it.
    """
    try:
        took = parse_utc(ended.at) - parse_utc(began) if began and ended.clock == "synced" else None
    except FormatError:
        return None
    return int(took.total_seconds()) if took is not None and timedelta() <= took <= timedelta(seconds=BOUNDS_S[-1]) else None
