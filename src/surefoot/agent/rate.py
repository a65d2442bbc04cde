# SPDX-License-Identifier: Apache-2.0
"""A token bucket: how long to wait so that bytes come no faster than they may, on average and in bursts of a second."""

from typing import Annotated

from msgspec import Meta

from surefoot.model.record import Record

BytesPerSecond = Annotated[int, Meta(ge=1_024, lt=2**40)]


class DownloadRule(Record, frozen=True, kw_only=True):
    """The table ``[download]``: how many bytes of images may come in a second; nothing sets no limit."""

    max_bytes_per_second: BytesPerSecond | None = None


class Bucket:
    """Fills by ``rate`` bytes a second up to a second's worth; what is taken beyond that is waited for."""

    def __init__(self, rate: int) -> None:
        """Begin full; ``rate`` is positive."""
        self._rate = rate
        self._level = float(rate)
        self._at_s: float | None = None

    def take(self, count: int, now_s: float) -> float:
        """Take ``count`` bytes that have come, and return how many seconds to wait before the next are asked for.

        Args:
            count: How many bytes.
            now_s: A clock that never goes back, in seconds.
        """
        passed_s = 0.0 if self._at_s is None else max(0.0, now_s - self._at_s)
        self._at_s = now_s
        self._level = min(float(self._rate), self._level + passed_s * self._rate) - count
        return max(0.0, -self._level / self._rate)
