# SPDX-License-Identifier: Apache-2.0
"""Counters: what the server would count of a simulated rollout, tick by tick.

A row is one stage, hardware and region. Drawn lives are entered once, each event at the tick that first sees it; time then only adds
a tick to the counts. So a device costs as much as its few events, and a tick the same for ten devices and for a million.
"""

import numpy as np
from numpy.typing import NDArray

from surefoot.rollout.evidence import Counts
from surefoot.simulator.rollouts.lives import Flags, Hours, Lives, Numbers

EVENTS = ("offered", "started", "succeeded", "rolled_back", "unhealthy", "silent", "cancelled", "late_good", "late_bad", "due", "relapsed")
"""What is counted, by the names of ``Counts``."""

_CARRIED = len(EVENTS)
_COLUMN = {name: index for index, name in enumerate(EVENTS)}


class Counters:
    """Counts by row as of the tick that stands, and what is to come."""

    def __init__(self, *, rows: int, ticks: int, tick_h: float, deadline_h: float, start_within_h: float) -> None:
        """Start with nothing.

        Args:
            rows: How many rows there are.
            ticks: After how many ticks nobody looks any more.
            tick_h: Length of a tick in hours.
            deadline_h: After which time from its start an attempt is given up as silent.
            start_within_h: After which time an offer that was not started is void.
        """
        self._rows, self._ticks, self._tick_h = rows, ticks, tick_h
        self._deadline_h, self._start_within_h = deadline_h, start_within_h
        self._coming: NDArray[np.int64] = np.zeros((_CARRIED + 1, ticks + 1, rows), dtype=np.int64)
        self._counts: NDArray[np.int64] = np.zeros((_CARRIED + 1, rows), dtype=np.int64)

    def turn(self, tick: int) -> None:
        """Let the events of a tick come true; ticks are turned once each, in order."""
        self._counts += self._coming[:, tick]

    def offer(self, lives: Lives, tick: int) -> None:
        """Enter devices that are offered the release at the tick that stands."""
        self._counts[_COLUMN["offered"]] += np.bincount(lives.row, minlength=self._rows)
        self._enter(lives, tick, 1)

    def withdraw(self, lives: Lives, offered: int) -> None:
        """Take the future of devices back that have not started: offered the release at one tick, all at one tick."""
        self._enter(lives, offered, -1)
        self._counts[_COLUMN["cancelled"]] += np.bincount(lives.row, minlength=self._rows)

    def counts(self) -> list[Counts]:
        """Return the counts of every row."""
        return [Counts(**dict(zip(EVENTS, row, strict=True))) for row in self._counts[:_CARRIED].T.tolist()]

    def sum_of(self, name: str) -> int:
        """Return one count over all rows."""
        return int(self._counts[_COLUMN[name]].sum())

    def running_in(self, places: Numbers) -> list[int]:
        """Return how many devices run the release well in each place; ``places`` names that of every row."""
        running = self._counts[_COLUMN["succeeded"]] + self._counts[_COLUMN["late_good"]] - self._counts[_COLUMN["relapsed"]]
        return [int(number) for number in np.bincount(places, weights=running)]

    @property
    def harmed(self) -> int:
        """Devices that started the release and carry its fault, seen or not."""
        return int(self._counts[_CARRIED].sum())

    def _enter(self, lives: Lives, tick: int, sign: int) -> None:
        due = lives.start + self._deadline_h
        is_void = lives.start > tick * self._tick_h + self._start_within_h
        starts = ~is_void
        is_in_time = starts & (lives.says <= due)
        is_late = starts & (lives.says > due) & np.isfinite(lives.says)
        for name, at, who in (
            ("cancelled", np.full(len(lives.row), tick * self._tick_h + self._start_within_h), is_void),
            ("started", lives.start, starts),
            ("succeeded", lives.says, is_in_time & ~lives.is_bad),
            ("rolled_back", lives.says, is_in_time & lives.is_bad),
            ("unhealthy", lives.says, starts & lives.is_bad),
            ("silent", due, starts & ~is_in_time),
            ("late_good", lives.says, is_late & ~lives.is_bad),
            ("late_bad", lives.says, is_late & lives.is_bad),
            ("due", due, starts),
            ("relapsed", lives.relapse, starts & np.isfinite(lives.says) & ~lives.is_bad),
        ):
            self._add(_COLUMN[name], at, lives, who, tick=tick, sign=sign)
        self._add(_CARRIED, lives.start, lives, starts & lives.carries, tick=tick, sign=sign)

    def _add(self, column: int, at: Hours, lives: Lives, who: Flags, *, tick: int, sign: int) -> None:
        when = np.ceil(at[who] / self._tick_h)
        is_seen = when <= self._ticks
        # What happens within the tick that stands is seen at the next one.
        ticks = np.maximum(when[is_seen].astype(np.int64), tick + 1)
        found = np.bincount(ticks * self._rows + lives.row[who][is_seen])
        coming = self._coming[column].reshape(-1)
        coming[: len(found)] += sign * found
