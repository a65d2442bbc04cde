# SPDX-License-Identifier: Apache-2.0
"""Study: what a plan makes of several faults, over several runs each; and how long a run may take."""

import math
from collections.abc import Sequence
from statistics import fmean, median

import numpy as np

from surefoot.model.duration import seconds
from surefoot.model.record import Record
from surefoot.rollout.plan import Plan
from surefoot.simulator.rollouts.course import Result, run
from surefoot.simulator.rollouts.world import Setting

_SLACK_H = 72
_LONGEST_H = 30 * 24


class Outlook(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What is to be expected of a plan when a release has a fault.

    Attributes:
        fault: As it was written; ``good`` for none.
        runs: How many runs it is told from.
        hours: Median hours until 95 % of the devices that take updates ran it well, of the runs that came so far; nothing when none did.
        harmed: Devices that started the release and carry its fault, on average.
        harmed_worst: Most of them in any run.
        stopped: Share of the runs that were ever paused, 0 to 1; of a good release, false pauses.
        stopped_after_h: Median hours until that; nothing when no run was.
        excluded: Share of the runs that went on without some hardware, 0 to 1.
    """

    fault: str
    runs: int
    hours: float | None
    harmed: float
    harmed_worst: int
    stopped: float
    stopped_after_h: float | None
    excluded: float


def one_run(plan: Plan, setting: Setting, seed: Sequence[int]) -> Result:
    """Run a plan once, as far as it matters; the same seed gives the same result."""
    return run(plan, setting, np.random.default_rng(list(seed)), is_enough=lambda so_far: so_far.hours is not None and so_far.is_offered)


def outlook(fault: str, results: Sequence[Result]) -> Outlook:
    """Return what runs of one fault tell; there is at least one."""
    hours = [result.hours for result in results if result.hours is not None]
    stopped = [result.stopped_h for result in results if result.stopped_h is not None]
    return Outlook(
        fault=fault,
        runs=len(results),
        hours=median(hours) if hours else None,
        harmed=fmean(result.harmed for result in results),
        harmed_worst=max(result.harmed for result in results),
        stopped=len(stopped) / len(results),
        stopped_after_h=median(stopped) if stopped else None,
        excluded=fmean(bool(result.excluded) for result in results),
    )


def horizon_h(plan: Plan, devices: int) -> int:
    """Return after how many hours a run of a plan need not be looked at any more: ample for its soaks, and at most 30 days."""
    soaks_s = sum(seconds(stage.soak_of(batch)) for stage in plan.stages for batch in range(len(stage.batches)))
    batches = sum(len(stage.batches) for stage in plan.stages)
    waits_h = (2 * soaks_s + 2 * batches * plan.deadline_s + seconds(plan.watch)) / 3_600
    return min(_LONGEST_H, math.ceil(_SLACK_H + waits_h + 1.5 * devices / plan.limits.per_minute / 60))
