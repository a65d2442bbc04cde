# SPDX-License-Identifier: Apache-2.0
"""The clock port: how the agent learns what time it is, how long things take, and how it waits; and what becomes of a clock that is behind.

A clock that stands before what is known for certain, the *floor*, is wrong: a battery is empty, or there is none.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from surefoot.model.errors import DeviceError
from surefoot.model.record import utc_text

_LOG = logging.getLogger("surefoot.agent")


class Clock(Protocol):
    """Two clocks and a way to wait; only ``monotonic`` may be used to measure how long something took."""

    def monotonic(self) -> float:
        """Return seconds since some fixed instant of this boot; never goes back and never jumps."""
        ...

    def now(self) -> datetime:
        """Return the board's wall clock, aware and in UTC; it may jump either way and may be years off."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; at once when they are not positive."""
        ...


class SettableClock(Clock, Protocol):
    """A clock whose wall clock can be set."""

    def set(self, now: datetime) -> None:
        """Set the wall clock; ``DeviceError`` when that is not allowed."""
        ...


class FlooredClock:
    """A clock that never says an earlier time than what is known for certain."""

    def __init__(self, clock: Clock, floor: Callable[[], datetime]) -> None:
        """Ask ``clock``, and ``floor`` each time anew."""
        self._clock = clock
        self._floor = floor

    def monotonic(self) -> float:
        """Implement ``Clock``."""
        return self._clock.monotonic()

    def now(self) -> datetime:
        """Implement ``Clock``."""
        return max(self._clock.now(), self._floor())

    def sleep(self, seconds: float) -> None:
        """Implement ``Clock``."""
        self._clock.sleep(seconds)


class ClockLift:
    """Sets a clock that is behind the floor, where it may; where it may not, that is told once."""

    def __init__(self, clock: SettableClock, *, may_set: bool) -> None:
        """Look after ``clock``, and set it if ``may_set``."""
        self._clock = clock
        self._may_set = may_set
        self._is_told = False

    def __call__(self, floor: datetime) -> None:
        """Set the clock to ``floor`` if it is behind; what fails is told and does no harm: the floor counts all the same."""
        now = self._clock.now()
        if now >= floor:
            return
        if not self._may_set:
            self._tell(f"the clock says {utc_text(now)}, and it is {utc_text(floor)} at the least; [clock] set would let the agent set it")
            return
        try:
            self._clock.set(floor)
        except DeviceError as error:
            self._tell(f"the clock says {utc_text(now)}, and it is {utc_text(floor)} at the least: {error}")
            return
        _LOG.info("the clock said %s and is set to %s", utc_text(now), utc_text(floor))

    def _tell(self, words: str) -> None:
        if not self._is_told:
            _LOG.warning("%s", words)
        self._is_told = True
