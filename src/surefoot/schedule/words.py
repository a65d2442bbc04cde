# SPDX-License-Identifier: Apache-2.0
"""Windows in one line, as people type and read them: ``mon-fri 02:00 3h``, ``sat,sun 01:00 5h Europe/Berlin``, ``daily 03:00 2h``."""

from datetime import datetime, tzinfo

from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.record import from_plain
from surefoot.model.window import OF_THE_DEVICE, Weekday, Window

_DAILY = "daily"
_DAYS = tuple(Weekday)
_HINT = "Write days, start, length and perhaps a zone, as in 'mon-fri 02:00 3h' or 'daily 01:00 2h Europe/Berlin'."


def parse(text: str) -> Window:
    """Return the window that a line names.

    Raises:
        InvalidInput: It names none.
    """
    try:
        days, start, length, *zone = text.split()
        plain = {"days": [day.value for day in _days(days)], "start": start, "length": length}
        return from_plain(plain | ({"zone": " ".join(zone)} if zone else {}), Window, what=repr(text))
    except (ValueError, FormatError) as error:
        raise InvalidInput(f"{text[:80]!r} is no window.", hint=_HINT) from error


def words_of(window: Window) -> str:
    """Return a window as a line that ``parse`` reads back; its days in the order of the week."""
    days = [day for day in _DAYS if day in window.days]
    zone = "" if window.zone == OF_THE_DEVICE else f" {window.zone}"
    return f"{_day_words(days)} {window.start} {window.length}{zone}"


def clock_words(at: datetime, zone: tzinfo, name: str) -> str:
    """Return what an aware instant is on the clocks of a zone of that name: ``Sun 2026-11-29 03:00 (Europe/Berlin)``."""
    local = at.astimezone(zone)
    return f"{_DAYS[local.weekday()].capitalize()} {local:%Y-%m-%d %H:%M} ({name})"


def _days(words: str) -> list[Weekday]:
    if words == _DAILY:
        return list(_DAYS)
    found: list[Weekday] = []
    for word in words.split(","):
        first, dash, last = word.partition("-")
        begin = _DAYS.index(Weekday(first))
        # A span may go round the end of the week: sat-mon.
        count = (_DAYS.index(Weekday(last)) - begin) % len(_DAYS) + 1 if dash else 1
        found += [_DAYS[(begin + step) % len(_DAYS)] for step in range(count)]
    return found


def _day_words(days: list[Weekday]) -> str:
    if len(days) == len(_DAYS):
        return _DAILY
    places = [_DAYS.index(day) for day in days]
    is_span = len(days) > 2 and places == list(range(places[0], places[0] + len(places)))  # noqa: PLR2004  # two days read better as two
    return f"{days[0]}-{days[-1]}" if is_span else ",".join(days)
