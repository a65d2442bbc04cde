# SPDX-License-Identifier: Apache-2.0
"""When windows are open: from wall time and weekdays to instants.

- A start that the clocks skip is the first instant after the gap; one that comes twice is the first of the two.
- A window opens at most once a civil day of its zone, and not on a civil day that does not exist (Apia, 30 December 2011).
- It stays open for its length in elapsed time, through any change of the clocks.
- Windows that touch or overlap are one opening. All is compared in UTC.

Zones are given: ``schedule.zones`` reads them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import reduce

from surefoot.model.window import Weekday, Window

LONGEST = timedelta(days=7)
"""The longest window; what opened earlier than this, and a skipped day, is closed by now."""

Zones = Mapping[str, tzinfo]
"""Time zones by their IANA names."""

_DAY = timedelta(days=1)
_BACK = LONGEST + 2 * _DAY
# A window of one weekday opens within a week, or two when its day is skipped.
_AHEAD = timedelta(days=16)
_WEEKDAYS = tuple(Weekday)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A time in which installs may start: from ``opens_at`` up to, and not including, ``closes_at``; both aware, UTC.

    ``zone`` is the name of the zone by which it opens.
    """

    opens_at: datetime
    closes_at: datetime
    zone: str


def resolve(day: date, wall: time, zone: tzinfo) -> datetime:
    """Return the first instant (UTC) at or after ``wall`` on ``day`` in ``zone``.

    In a gap that is the first instant after the gap, which may lie on another day; of a repeated time it is the first pass.
    """
    naive = datetime.combine(day, wall)
    early, late = (naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    if late.astimezone(zone).replace(tzinfo=None) == naive:
        return late
    # PEP 495: in a gap the two folds lie on either side of the change of the clocks, a whole second.
    before = early.astimezone(zone).utcoffset()
    seconds = range(int((late - early).total_seconds()) + 1)
    is_after = bisect_left(seconds, True, key=lambda second: (early + timedelta(seconds=second)).astimezone(zone).utcoffset() != before)  # noqa: FBT003  # what the key returns
    return early + timedelta(seconds=is_after)


def openings(window: Window, zones: Zones, now: datetime) -> Iterator[Opening]:
    """Yield every opening of one window that may matter at ``now``, in order: from nine days before to sixteen after."""
    zone, wall = zones[window.zone], time.fromisoformat(window.start)
    length = timedelta(seconds=window.length_s)
    first, last = ((now + by).astimezone(zone).date() for by in (-_BACK, _AHEAD))
    for number in range(first.toordinal(), last.toordinal() + 1):
        day = date.fromordinal(number)
        if _WEEKDAYS[day.weekday()] in window.days and _exists(day, zone):
            opens_at = resolve(day, wall, zone)
            yield Opening(opens_at=opens_at, closes_at=opens_at + length, zone=window.zone)


def next_opening(windows: Sequence[Window], zones: Zones, now: datetime) -> Opening | None:
    """Return the opening that ``now`` lies in, else the next one; nothing when no window ever opens.

    Args:
        windows: Any of them counts.
        zones: The zone of each window, by name.
        now: Aware.
    """
    return next((opening for opening in following(windows, zones, now)), None)


def following(windows: Sequence[Window], zones: Zones, now: datetime) -> list[Opening]:
    """Return the openings that close after ``now``, in order, those that touch made one; as far as sixteen days ahead."""
    single = sorted((one for window in windows for one in openings(window, zones, now)), key=lambda one: one.opens_at)
    return [opening for opening in _united(single) if opening.closes_at > now]


def is_open(windows: Sequence[Window], zones: Zones, now: datetime) -> bool:
    """Say whether any window is open at ``now``."""
    opening = next_opening(windows, zones, now)
    return opening is not None and opening.opens_at <= now


def _exists(day: date, zone: tzinfo) -> bool:
    return resolve(day, time.min, zone).astimezone(zone).date() == day


def _united(openings: Iterable[Opening]) -> list[Opening]:
    return reduce(_joined, openings, [])


def _joined(so_far: list[Opening], one: Opening) -> list[Opening]:
    if not so_far or one.opens_at > so_far[-1].closes_at:
        return [*so_far, one]
    last = so_far[-1]
    return [*so_far[:-1], Opening(opens_at=last.opens_at, closes_at=max(last.closes_at, one.closes_at), zone=last.zone)]
