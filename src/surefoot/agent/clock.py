# SPDX-License-Identifier: Apache-2.0
"""The clock port: how the agent learns what time it is, how long things take, and how it waits."""

from datetime import datetime
from typing import Protocol


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
