# SPDX-License-Identifier: Apache-2.0
"""Lives: what will happen to devices that are offered a release, drawn when they are offered it; times in hours of the rollout."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from surefoot.simulator.rollouts.fault import Fault
from surefoot.simulator.rollouts.habits import Habits, Outage

Numbers = NDArray[np.int64]
Hours = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lives:
    """Devices, one a place; a time that never comes is infinite.

    Attributes:
        row: In which row of the counters each is counted.
        place: Where each was free before.
        start: When it starts the update.
        says: When it reports how that went.
        is_bad: Whether it reports a failure.
        relapse: When it is harmed after a good install.
        carries: Whether the release harms it, seen or not.
    """

    row: Numbers
    place: Numbers
    start: Hours
    says: Hours
    is_bad: Flags
    relapse: Hours
    carries: Flags

    def only(self, chosen: Flags) -> "Lives":
        """Return those that are chosen."""
        return Lives(
            self.row[chosen],
            self.place[chosen],
            self.start[chosen],
            self.says[chosen],
            self.is_bad[chosen],
            self.relapse[chosen],
            self.carries[chosen],
        )


def draw(
    row: Numbers,
    place: Numbers,
    *,
    now_h: float,
    deadline_h: float,
    habits: Habits,
    fault: Fault,
    is_prone: Flags,
    outage: Outage | None,
    is_in_outage: Flags,
    rng: Generator,
) -> Lives:
    """Draw the lives of devices that are offered the release now.

    Args:
        row: In which row of the counters each is counted.
        place: Where each was free.
        now_h: When they are offered it.
        deadline_h: After which time from the start a device counts as silent.
        habits: How they behave with a good release.
        fault: What is wrong with this one.
        is_prone: Whether each is of hardware that has the fault.
        outage: What befalls a region.
        is_in_outage: Whether each is in that region.
        rng: Where chance comes from.
    """
    number = len(row)
    pace = rng.random(number)
    mean = np.where(pace < habits.slow, habits.slow_start_h, habits.start_h)
    start = now_h + rng.exponential(size=number) * mean
    start[pace >= 1 - habits.never] = np.inf
    trouble = rng.random(number)
    fails = is_prone & (trouble < fault.fails)
    silences = is_prone & ~fails & (trouble < fault.fails + fault.silences)
    harms_late = is_prone & ~fails & ~silences & (trouble < fault.fails + fault.silences + fault.harms_late)
    # What remains of an exponential time beyond its multiples of a limit is the exponential time cut off at that limit.
    takes = rng.exponential(habits.takes_h, number) % habits.report_h
    fate = rng.random(number)
    lags = fate < habits.lag
    takes[lags] = deadline_h + rng.exponential(habits.lag_h, int(lags.sum()))
    takes[silences | (fate >= 1 - habits.lost)] = np.inf
    is_bad = fails | (rng.random(number) < habits.fails)
    if outage is not None:
        takes, is_bad = _cut_off(start, takes, is_bad, outage, is_in_outage, rng=rng)
    says = start + takes
    relapse = says + rng.exponential(1 / habits.relapses_h, number) if habits.relapses_h else np.full(number, np.inf)
    shows = fault.late_after_h * np.exp(fault.late_spread * rng.standard_normal(number))
    relapse[harms_late] = np.minimum(relapse, start + np.maximum(takes, shows))[harms_late]
    relapse[is_bad] = np.inf
    return Lives(row, place, start, says, is_bad, relapse, fails | silences | harms_late)


def _cut_off(start: Hours, takes: Hours, is_bad: Flags, outage: Outage, is_in_outage: Flags, *, rng: Generator) -> tuple[Hours, Flags]:
    """Return what becomes of it: an install that ends meanwhile is heard of afterwards, some having been rolled back."""
    says = start + takes
    is_held = is_in_outage & (rng.random(len(start)) < outage.cut_off) & (says >= outage.begins_h) & (says < outage.ends_h)
    takes = takes.copy()
    takes[is_held] = outage.ends_h + takes[is_held] * rng.random(int(is_held.sum())) - start[is_held]
    return takes, is_bad | (is_held & (rng.random(len(start)) < outage.rolled_back))
