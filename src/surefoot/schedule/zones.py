# SPDX-License-Identifier: Apache-2.0
"""Time zones by name, read from the system's data or, where a device has none, from the package ``tzdata``.

The one place where zones are read from files; everything else is given them.
"""

import difflib
from collections.abc import Iterable, Iterator
from datetime import tzinfo
from zoneinfo import ZoneInfo, available_timezones

from surefoot.model.errors import InvalidInput
from surefoot.model.window import OF_THE_DEVICE, Window
from surefoot.schedule.flaw import WindowFlaw


def zone(name: str) -> tzinfo:
    """Return a time zone.

    Raises:
        InvalidInput: There is none of that name; the hint has the nearest ones.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidInput(f"There is no time zone {name[:80]!r}.", hint=_hint(name)) from error


def is_zone(name: str) -> bool:
    """Say whether there is a time zone of that name."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def zones_of(windows: Iterable[Window]) -> dict[str, tzinfo]:
    """Return the zones that windows name.

    Raises:
        InvalidInput: One names no zone; ``device`` is none, and is to be replaced first.
    """
    return {window.zone: zone(window.zone) for window in windows}


def zone_flaws(windows: Iterable[Window]) -> Iterator[WindowFlaw]:
    """Yield each window whose zone does not exist; ``device`` is not asked for."""
    for index, window in enumerate(windows):
        if window.zone != OF_THE_DEVICE and not is_zone(window.zone):
            key, message = f"windows[{index}].zone", f"there is no time zone '{window.zone}'"
            yield WindowFlaw(key=key, message=message, hint=_hint(window.zone))


def _hint(name: str) -> str:
    known = {known.lower(): known for known in available_timezones()}
    # People know the city better than the continent.
    cities = {lower.rpartition("/")[2]: full for lower, full in sorted(known.items())}
    near = [known[match] for match in difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.7)]
    near += [cities[match] for match in difflib.get_close_matches(name.lower().rpartition("/")[2], cities, n=2, cutoff=0.75)]
    words = " or ".join(dict.fromkeys(near))
    return f"Did you mean {words}?" if words else "Write an IANA name, as in Europe/Berlin."
