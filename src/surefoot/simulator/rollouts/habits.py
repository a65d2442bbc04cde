# SPDX-License-Identifier: Apache-2.0
"""Habits: how devices of a simulated fleet behave with a good release, and what happens to their region meanwhile.

The numbers are those that the default gate was designed on: most devices start an update within an hour of its offer, some within
half a day, a few practically never; reports come within two hours, most of them much sooner; a few come late, and very few never.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from surefoot.rollout.evidence import Baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A region that most devices of it cannot be reached in for some hours.

    Attributes:
        region: Where.
        begins_h: When, hours after the start of the rollout.
        lasts_h: For how long, hours.
        cut_off: Share of the region's devices that it cuts off, 0 to 1.
        rolled_back: Share of installs that roll back because they end in it, 0 to 1.
    """

    region: str
    begins_h: float
    lasts_h: float = 4.0
    cut_off: float = 0.8
    rolled_back: float = 0.5

    @property
    def ends_h(self) -> float:
        """When it is over, hours after the start of the rollout."""
        return self.begins_h + self.lasts_h


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How devices behave; shares are 0 to 1.

    Attributes:
        slow: Of devices, those that take long to start.
        never: Of devices, those that practically never start.
        start_h: How long the others take on average, hours; exponential.
        slow_start_h: How long slow ones take on average, hours; exponential.
        takes_h: How long after the start reports come, hours; exponential, but for those that would take longer than ``report_h``.
        report_h: Within which time of the start reports come, hours.
        lag: Of reports, those that come after the deadline.
        lag_h: How long after it on average, hours; exponential.
        lost: Of reports, those that never come.
        fails: Of good installs, those that fail nevertheless.
        relapses_h: Of devices that run a good release, those harmed in an hour.
        away: Of devices in touch, those that are out of reach at any one time.
    """

    slow: float = 0.10
    never: float = 0.02
    start_h: float = 1.0
    slow_start_h: float = 10.0
    takes_h: float = 0.6
    report_h: float = 2.0
    lag: float = 0.007
    lag_h: float = 2.0
    lost: float = 0.001
    fails: float = 0.003
    relapses_h: float = 0.0005 / 24
    away: float = 0.01

    @property
    def silent(self) -> float:
        """Share of started updates of which nothing is heard before their deadline."""
        return self.lag + self.lost


USUAL = Habits()
"""A fleet as the default gate was designed on."""


def of_fleet(baselines: Sequence[Baseline], *, never: float) -> Habits:
    """Return the habits of a fleet that a server knows.

    Args:
        baselines: What past releases taught; nothing: what is usual anywhere.
        never: Share of devices that are out of touch, and so practically never start, 0 to 1.
    """
    if not baselines:
        return replace(USUAL, never=never)
    silent = fmean(baseline.silent for baseline in baselines)
    return replace(
        USUAL,
        never=never,
        fails=fmean(baseline.failed for baseline in baselines),
        lag=max(0.0, silent - USUAL.lost),
        lost=min(silent, USUAL.lost),
        relapses_h=fmean(baseline.late for baseline in baselines),
    )
