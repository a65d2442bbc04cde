# SPDX-License-Identifier: Apache-2.0
"""What is wrong with windows and deadlines as people wrote them, before anybody waits for a window that never comes.

Zones are checked where they can be read (``schedule.zones``).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from surefoot.model.assignment import INSTALL_S
from surefoot.model.errors import InvalidInput
from surefoot.model.window import Window
from surefoot.schedule.opening import LONGEST

LONGEST_GRACE = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFlaw:
    """What is wrong: the key, as in ``windows[0].length``; what it is; what to write instead."""

    key: str
    message: str
    hint: str


def flaws(windows: Sequence[Window], *, install_s: int = INSTALL_S) -> Iterator[WindowFlaw]:
    """Yield everything that is wrong with a list of windows.

    A window that stays open for no time, or for less than an install takes; one longer than a week; a day or a window given twice.

    Args:
        windows: As written.
        install_s: How long an install takes on the hardware they are for, in seconds.
    """
    for index, window in enumerate(windows):
        key = f"windows[{index}]"
        if window.length_s == 0:
            yield WindowFlaw(key=f"{key}.length", message="it never opens", hint="Write for example 3h.")
        elif window.length_s < install_s:
            message = f"it is shorter than an install takes, {install_s} s"
            yield WindowFlaw(key=f"{key}.length", message=message, hint="Write for example 3h.")
        elif window.length_s > LONGEST.total_seconds():
            yield WindowFlaw(key=f"{key}.length", message="it is longer than a week", hint="Write at most 7d, or no window at all.")
        if len(set(window.days)) < len(window.days):
            yield WindowFlaw(key=f"{key}.days", message="a day is given twice", hint="Name each day once.")
        if window in windows[:index]:
            yield WindowFlaw(key=key, message="the same window is there already", hint="Keep one of the two.")


def grace_flaws(grace_s: int) -> Iterator[WindowFlaw]:
    """Yield what is wrong with the grace that devices have before windows are ignored, in seconds."""
    if not 0 <= grace_s <= LONGEST_GRACE.total_seconds():
        yield WindowFlaw(key="grace", message="it is not between nothing and 30 days", hint="Write for example 24h.")


def check(found: Iterable[WindowFlaw]) -> None:
    """See that there are no flaws.

    Raises:
        InvalidInput: There is one; names the key.
    """
    for flaw in found:
        raise InvalidInput(f"'{flaw.key}': {flaw.message}.", hint=flaw.hint)
