# SPDX-License-Identifier: Apache-2.0
"""Watch: follows the vitals of the release that runs, between one note of them in the journal and the next."""

from collections.abc import Collection
from typing import Protocol

from surefoot.agent.clock import Clock
from surefoot.agent.health import Health
from surefoot.agent.vitals import Vitals, asking_for, lived

PACE_S = 30.0
"""How often a probe of a committed release is looked at that does not say so itself."""


class HealthMonitor(Protocol):
    """Looks after the release that runs; ``surefoot.agent.health.Monitor`` is the real one, and says what the calls mean."""

    @property
    def brokers(self) -> frozenset[str]:
        """The brokers that are required."""
        ...

    def check(self, owed: Collection[str] = (), *, pace_s: float = 0.0) -> Health:
        """Look at what is due, and say how long everything has held, and what does not."""
        ...

    def reached(self) -> frozenset[str]:
        """Return the required brokers that are reached now."""
        ...

    def rest_s(self, *, pace_s: float) -> float:
        """Return in how many seconds something is due."""
        ...


class Watch:
    """What has been counted since the journal was told last.

    Attributes:
        health: What the last look found.
    """

    def __init__(self, monitor: HealthMonitor, clock: Clock) -> None:
        """Count uptime from now on."""
        self.health = Health(healthy_s=0.0, failing="")
        self._monitor = monitor
        self._clock = clock
        self._noted: Vitals | None = None
        self._vitals: Vitals | None = None
        self._counted_s = clock.monotonic()

    def look(self, noted: Vitals | None, *, pace_s: float) -> Vitals | None:
        """Look at what is due, and return what has been counted.

        Args:
            noted: What the agent's state has; what was counted since goes on while it is the same.
            pace_s: How often to look at a probe that does not say so itself.

        Returns:
            The vitals now, or nothing while nothing is counted.
        """
        if noted is not self._noted:
            self._noted = self._vitals = noted
        before = None if self._vitals is None else asking_for(self._vitals, self._monitor.brokers)
        self.health = self._monitor.check(() if before is None else before.brokers, pace_s=pace_s)
        now_s = self._clock.monotonic()
        elapsed_s, self._counted_s = now_s - self._counted_s, now_s
        if before is not None:
            # How long a release on trial may take to come up, the trial's own time-out says.
            is_up = self.health.has_held or before.kept_s is not None
            self._vitals = lived(before, elapsed_s, is_failing=is_up and bool(self.health.failing), reached=self.health.reached)
        return self._vitals

    def rest_s(self) -> float:
        """Return how long a committed release may be left alone; never so short that looking is all that is done."""
        return max(0.1, self._monitor.rest_s(pace_s=PACE_S))

    def counted(self, noted: Vitals | None) -> Vitals | None:
        """Return what has been counted up to the last look."""
        return self._vitals if noted is self._noted else noted
