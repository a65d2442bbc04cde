# SPDX-License-Identifier: Apache-2.0
"""Rules by which other systems pause a rollout, on the same simulated fleets as our gate.

- ``Plain``: batches that soak, and a pause above 5 % of what devices *reported*; who is silent is not noticed.
- ``Aws``: jobs with an abort rule: above 5 % of at least 100 executed, timeouts included; a rate that doubles with every 1,000 that went
  well, from 50 to 1,000 a minute.
- ``Hawkbit``: groups; the next one at 80 % success of the group, an end at 5 % errors of the group.
- ``Wilson``: batches that soak, and a pause when the lower end of Wilson's 95 % interval of the share that is bad exceeds 1 %;
  silent ones and those harmed later are among them.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from numpy.random import Generator

from surefoot.model.duration import seconds
from surefoot.rollout.plan import WHOLE, hundredths
from surefoot.rollout.risk import PACES, Kind
from surefoot.simulator.rollouts.world import Setting, World

_SHARES = [hundredths(batch) for batch in PACES[Kind.FIRMWARE].batches]
_SOAKS_H = [seconds(soak) / 3_600 for soak in PACES[Kind.FIRMWARE].soaks]
_LIMIT = 0.05
_LEAST = 20
_MOST = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a rule sees: counts of the whole fleet, and the time in hours."""

    hours: float
    devices: int
    offered: int
    started: int
    good: int
    failed: int
    silent: int
    late_good: int
    relapsed: int

    @property
    def resolved(self) -> int:
        """Attempts that ended, silent ones included."""
        return self.good + self.failed + self.silent


class Rule(Protocol):
    """Says at every look how many devices shall have been offered the release by now, or to pause."""

    def offered_by_now(self, seen: Seen) -> int | None:
        """Return how many devices, or nothing to pause."""


class Batches:
    """Batches that open when nine of ten that started have resolved, and the soak is over."""

    def __init__(self) -> None:
        """Start with the first batch."""
        self._batch, self._settled_h = 0, math.inf

    def offered(self, seen: Seen) -> int:
        """Return how many devices the batches that are open have."""
        resolved = seen.resolved
        if seen.started and (seen.started - resolved) * 10 <= seen.started and resolved * 2 >= seen.offered:
            self._settled_h = min(self._settled_h, seen.hours)
        if self._batch + 1 < len(_SHARES) and seen.hours >= self._settled_h + _SOAKS_H[self._batch]:
            self._batch, self._settled_h = self._batch + 1, math.inf
        return _part(seen.devices, self._batch)


class Plain:
    """A plain percentage of what was reported."""

    def __init__(self) -> None:
        """Start with the first batch."""
        self._batches = Batches()

    def offered_by_now(self, seen: Seen) -> int | None:
        """Pause above 5 % of at least 20."""
        heard = seen.good + seen.failed
        return None if heard >= _LEAST and seen.failed > _LIMIT * heard else self._batches.offered(seen)


class Wilson:
    """A lower confidence bound, as if one looked once."""

    def __init__(self) -> None:
        """Start with the first batch."""
        self._batches = Batches()

    def offered_by_now(self, seen: Seen) -> int | None:
        """Pause when the lower end of the interval is above 1 %."""
        bad = seen.failed + seen.silent - seen.late_good + seen.relapsed
        return None if _wilson(bad, seen.resolved) > 0.01 else self._batches.offered(seen)


class Aws:
    """A rate that grows with success, and an abort above a share of those that executed."""

    def __init__(self) -> None:
        """Start at the base rate."""
        self._offered, self._hours = 0.0, 0.0

    def offered_by_now(self, seen: Seen) -> int | None:
        """Abort above 5 % of at least 100."""
        if seen.resolved >= 100 and seen.failed + seen.silent > _LIMIT * seen.resolved:
            return None
        rate = min(1_000.0, 50.0 * 2 ** min(10, seen.good // 1_000))
        self._offered, self._hours = self._offered + rate * 60 * (seen.hours - self._hours), seen.hours
        return max(50, int(self._offered))


class Hawkbit:
    """Groups, one after another."""

    def __init__(self) -> None:
        """Start with the first group."""
        self._group, self._good, self._failed = 0, 0, 0

    def offered_by_now(self, seen: Seen) -> int | None:
        """End at 5 % errors of the open group; open the next at 80 % success of it."""
        size = _part(seen.devices, self._group) - (_part(seen.devices, self._group - 1) if self._group else 0)
        if seen.failed - self._failed >= max(1.0, _LIMIT * size):
            return None
        if seen.good - self._good >= 0.8 * size and self._group + 1 < len(_SHARES):
            self._group, self._good, self._failed = self._group + 1, seen.good, seen.failed
        return _part(seen.devices, self._group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it went by a rule: devices harmed, hours until most devices that take updates at all ran it well, whether it paused."""

    harmed: int
    hours: float | None
    is_paused: bool


def run(rule: Rule, setting: Setting, rng: Generator) -> Outcome:
    """Roll a release out by a rule, until it pauses or everybody has it."""
    world = World(setting, rng, stages=1, deadline_s=9_000, start_within_s=86_400)
    most = _MOST * (1 - setting.habits.never) * setting.devices
    hours = None
    for _ in range(setting.ticks):
        wanted = rule.offered_by_now(_seen(world, setting))
        if wanted is None:
            world.withdraw()
            return Outcome(harmed=world.harmed, hours=hours, is_paused=True)
        world.offer(wanted - world.count("offered"), stage=0, hardware=None, not_hardware=(), not_regions=())
        if hours is None and world.running >= most:
            hours = world.hours
        if world.count("offered") == setting.devices and not world.open:
            break
        world.turn()
    return Outcome(harmed=world.harmed, hours=hours, is_paused=False)


def _seen(world: World, setting: Setting) -> Seen:
    return Seen(
        hours=world.hours,
        devices=setting.devices,
        offered=world.count("offered"),
        started=world.count("started"),
        good=world.count("succeeded"),
        failed=world.count("rolled_back"),
        silent=world.count("silent"),
        late_good=world.count("late_good"),
        relapsed=world.count("relapsed"),
    )


def _part(devices: int, batch: int) -> int:
    return max(1, -(-devices * _SHARES[batch] // WHOLE))


def _wilson(bad: int, trials: int, z: float = 1.96) -> float:
    if not trials:
        return 0.0
    share, square = bad / trials, z * z
    middle = share + square / (2 * trials)
    return (middle - z * math.sqrt(share * (1 - share) / trials + square / (4 * trials * trials))) / (1 + square / trials)
