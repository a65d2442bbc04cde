# SPDX-License-Identifier: Apache-2.0
"""World: a fleet that a rollout of one release is simulated on; its devices as counts, its time as ticks.

Devices are offered the release in an order that nobody chose, so who comes next is drawn from those that are left, by kind. The
evidence is built as a server would build it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from surefoot.rollout.evidence import Baseline, Control, Evidence, Share, Tally
from surefoot.simulator.rollouts.counters import Counters
from surefoot.simulator.rollouts.fault import GOOD, Fault
from surefoot.simulator.rollouts.habits import USUAL, Habits, Outage
from surefoot.simulator.rollouts.lives import Flags, Lives, Numbers, draw

_SETTLED_H = 24.0
_SAMPLE = 300
"""So many devices of a region at most are control."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a rollout is simulated on.

    Attributes:
        audience: The fleet, by hardware and region.
        groups: By index of the stage, the devices of its group; what is not named is for the whole audience.
        habits: How its devices behave.
        fault: What is wrong with the release.
        outage: What befalls a region; nothing in most.
        baselines: What past releases taught; nothing: a fleet without a past.
        tick_s: How often the rollout is looked at, seconds.
        horizon_h: After how many hours nobody looks any more.
    """

    audience: list[Share]
    habits: Habits = USUAL
    fault: Fault = GOOD
    outage: Outage | None = None
    baselines: list[Baseline] | None = None
    groups: Mapping[int, list[Share]] = field(default_factory=dict)
    tick_s: int = 600
    horizon_h: int = 120

    @property
    def devices(self) -> int:
        """How many devices the fleet has."""
        return sum(share.devices for share in self.audience)

    def population(self, stage: int) -> int:
        """Return how many devices a stage has."""
        return sum(share.devices for share in self.groups[stage]) if stage in self.groups else self.devices

    @property
    def ticks(self) -> int:
        """How often it is looked at."""
        return self.horizon_h * 3_600 // self.tick_s


class World:
    """One fleet, one rollout, one course of chance."""

    def __init__(self, setting: Setting, rng: Generator, *, stages: int, deadline_s: int, start_within_s: int) -> None:
        """Start with a fleet that was offered nothing.

        Args:
            setting: What it is.
            rng: Where chance comes from; the same seed gives the same course.
            stages: How many stages the plan has.
            deadline_s: The plan's deadline, seconds.
            start_within_s: How long an offer of it stands, seconds.
        """
        self._setting, self._rng = setting, rng
        self._kinds = [(share.hardware, share.region) for share in setting.audience]
        self._regions = sorted({region for _, region in self._kinds})
        self._pools = [*sorted(setting.groups), None]
        """Stages whose group is offered the release before the others; and the others."""
        self._free = self._all_free()
        self._stages, self._deadline_h, self._tick_h = stages, deadline_s / 3_600, setting.tick_s / 3_600
        self._start_within_h = start_within_s / 3_600
        self._counters = Counters(
            rows=stages * len(self._kinds),
            ticks=setting.ticks,
            tick_h=self._tick_h,
            deadline_h=self._deadline_h,
            start_within_h=self._start_within_h,
        )
        self._is_prone: Flags = np.array([setting.fault.hardware in {None, hardware} for hardware, _ in self._kinds])
        in_outage = None if setting.outage is None else setting.outage.region
        self._is_in_outage: Flags = np.array([region == in_outage for _, region in self._kinds])
        self._offered: list[tuple[int, Lives]] = []
        self._region_of = np.array([self._regions.index(region) for _, region in self._kinds] * stages)
        self._running: list[list[int]] = []
        self._offered_now = 0
        self.tick = 0
        self._control = self._control_now()

    @property
    def hours(self) -> float:
        """How long the rollout has run."""
        return self.tick * self._tick_h

    @property
    def harmed(self) -> int:
        """Devices that started the release and carry its fault, seen or not."""
        return self._counters.harmed

    @property
    def running(self) -> int:
        """Devices that run the release well, as far as is known."""
        return self.count("succeeded") + self.count("late_good") - self.count("relapsed")

    def count(self, name: str) -> int:
        """Return one of the counts of ``Counts`` over the whole fleet, as of now."""
        return self._counters.sum_of(name)

    @property
    def resolved(self) -> int:
        """Attempts that say something about the release."""
        return sum(map(self.count, ("succeeded", "rolled_back", "silent")))

    @property
    def open(self) -> int:
        """Attempts without an outcome."""
        return self.count("offered") - self.resolved - self.count("cancelled")

    @property
    def is_offered(self) -> bool:
        """Whether no device is left that was not offered the release."""
        return not self._free.any()

    def turn(self) -> None:
        """Let one tick pass."""
        self.tick += 1
        self._counters.turn(self.tick)
        self._offered_now = 0
        self._running.append(self._counters.running_in(self._region_of))
        self._control = self._control_now()

    def offer(self, most: int, *, stage: int, hardware: str | None, not_hardware: Sequence[str], not_regions: Sequence[str]) -> int:
        """Offer the release to so many devices at most that may have it, and return to how many."""
        free = np.where(self._allowed(stage, hardware, not_hardware, not_regions), self._free, 0).ravel()
        number = min(most, int(free.sum()))
        taken = free if number == free.sum() else self._rng.multivariate_hypergeometric(free, number, method="marginals")
        self._free = self._free - taken.reshape(self._free.shape)
        if number:
            lives = self._drawn(np.repeat(np.arange(len(free)), taken), stage)
            self._counters.offer(lives, self.tick)
            self._offered.append((self.tick, lives))
        self._offered_now += number
        return number

    def withdraw(self) -> None:
        """Withdraw every offer that was not started; those devices may be offered the release again."""
        left: list[tuple[int, Lives]] = []
        for tick, lives in self._offered:
            is_open = self._waits(tick, lives) & self._stands(tick)
            if is_open.any():
                withdrawn = lives.only(is_open)
                self._counters.withdraw(withdrawn, tick)
                self._free = self._free + np.bincount(withdrawn.place, minlength=self._free.size).reshape(self._free.shape)
                left.append((tick, lives.only(~is_open)))
            else:
                left.append((tick, lives))
        self._offered = left

    def evidence(self, *, stage: int, not_hardware: Sequence[str], not_regions: Sequence[str]) -> Evidence:
        """Return what is known at this tick."""
        free = np.where(self._allowed(stage, None, not_hardware, not_regions), self._free, 0).sum(axis=0)
        left = {self._kinds[kind][0] for kind in np.flatnonzero(free)}
        return Evidence(
            tallies=[
                Tally(stage=row // len(self._kinds), hardware=hardware, region=region, counts=counts)
                for row, counts in enumerate(self._counters.counts())
                for hardware, region in [self._kinds[row % len(self._kinds)]]
                if counts.offered
            ],
            population=self._setting.population(stage),
            is_exhausted=not left,
            exhausted_hardware=sorted({hardware for hardware, _ in self._kinds} - left),
            offered_last_minute=self._offered_now,
            audience=self._setting.audience,
            control=self._control,
            baselines=self._setting.baselines or [],
        )

    def _all_free(self) -> Numbers:
        """Return how many devices of each pool and kind there are; who is in a group is not counted twice."""
        groups = [self._by_kind(self._setting.groups[stage]) for stage in self._pools if stage is not None]
        everywhere = self._by_kind(self._setting.audience)
        return np.array([*groups, np.maximum(0, everywhere - sum(groups, np.zeros_like(everywhere)))])

    def _by_kind(self, shares: Sequence[Share]) -> Numbers:
        devices = {(share.hardware, share.region): share.devices for share in shares}
        return np.array([devices.get(kind, 0) for kind in self._kinds], dtype=np.int64)

    def _drawn(self, place: Numbers, stage: int) -> Lives:
        kind = place % len(self._kinds)
        return draw(
            kind + stage * len(self._kinds),
            place,
            now_h=self.hours,
            deadline_h=self._deadline_h,
            habits=self._setting.habits,
            fault=self._setting.fault,
            is_prone=self._is_prone[kind],
            outage=self._setting.outage,
            is_in_outage=self._is_in_outage[kind],
            rng=self._rng,
        )

    def _allowed(self, stage: int, hardware: str | None, not_hardware: Sequence[str], not_regions: Sequence[str]) -> Flags:
        pools = [stage not in self._setting.groups or pool == stage for pool in self._pools]
        kinds = [hardware in {None, own} and own not in not_hardware and region not in not_regions for own, region in self._kinds]
        return np.logical_and.outer(pools, kinds)

    def _waits(self, tick: int, lives: Lives) -> Flags:
        """Return who of those that were offered it at a tick has not been seen to start."""
        return np.asarray(np.maximum(np.ceil(lives.start / self._tick_h), tick + 1) > self.tick)

    def _stands(self, tick: int) -> bool:
        return tick * self._tick_h + self._start_within_h > self.hours

    def _settled(self) -> list[int]:
        """Return how many devices of each region have run the release well for a day."""
        ticks = round(_SETTLED_H / self._tick_h)
        return self._running[-ticks] if len(self._running) >= ticks else [0] * len(self._regions)

    def _control_now(self) -> list[Control]:
        free = dict.fromkeys(self._regions, 0)
        for (_, region), number in zip(self._kinds, self._free.sum(axis=0).tolist(), strict=True):
            free[region] += number
        return [
            self._control_of(region, min(_SAMPLE, free[region]), min(_SAMPLE, settled))
            for region, settled in zip(self._regions, self._settled(), strict=True)
        ]

    def _control_of(self, region: str, devices: int, settled: int) -> Control:
        gone = self._unreachable(region)
        return Control(
            region=region,
            devices=devices,
            unreachable=int(self._rng.binomial(devices, gone)),
            settled=settled,
            settled_unreachable=int(self._rng.binomial(settled, gone)),
        )

    def _unreachable(self, region: str) -> float:
        outage, away = self._setting.outage, self._setting.habits.away
        is_out = outage is not None and region == outage.region and outage.begins_h <= self.hours < outage.ends_h
        return away + outage.cut_off * (1 - away) if outage is not None and is_out else away
