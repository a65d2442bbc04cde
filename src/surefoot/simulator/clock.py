# SPDX-License-Identifier: Apache-2.0
"""A clock that moves only when it is told to, so that a simulated year takes no time."""

from datetime import UTC, datetime, timedelta

DEFAULT_START = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """A clock in virtual time: waiting moves it, and its wall clock can be made to jump."""

    def __init__(self, start: datetime = DEFAULT_START) -> None:
        """Start at ``start`` (aware) with a monotonic clock of zero."""
        self._elapsed_s = 0.0
        self._start = start

    def monotonic(self) -> float:
        """Return how many virtual seconds have passed."""
        return self._elapsed_s

    def now(self) -> datetime:
        """Return the virtual wall clock."""
        return self._start + timedelta(seconds=self._elapsed_s)

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass at once; nothing happens when they are not positive."""
        self._elapsed_s += max(seconds, 0.0)

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, either way, as a first NTP answer or an empty battery does."""
        self._start += timedelta(seconds=seconds)
