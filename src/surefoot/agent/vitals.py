# SPDX-License-Identifier: Apache-2.0
"""Vitals: what is counted of a release from its first boot until it is trusted, in seconds of uptime; plain values, no clock.

- A board may have no clock, so time is counted as uptime, over reboots, as far as the journal has it. What passed between the last
  note and a reset is unknown, and counts as nothing: what happened around it stays inside the windows.
- A boot that was asked for (by this agent, or by an orderly stop of the machine) is no sign of harm. Where that cannot be told, it is.
- What resets a board is not always known; a reset that may have been the watchdog's counts as one.
"""

from collections.abc import Collection
from enum import StrEnum

from msgspec import structs

from surefoot.model.record import Record

MOST_STARTS = 64
"""Starts that are remembered at most."""

NOTE_S, NOTE_SOON_S = 1800.0, 60.0
"""Uptime between two notes in the journal: when nothing happened lately, and while a start lies inside a window."""

NOTE_FAILING_S = 30.0
"""How much longer health must have been failing to be noted again."""


class Reset(StrEnum):
    """What started a board, as far as it can tell."""

    WATCHDOG = "watchdog"
    OTHER = "other"
    UNKNOWN = "unknown"


class Start(Record, frozen=True, kw_only=True):
    """A boot that nobody asked for: when, in ``Vitals.lived_s``, and whether the watchdog may have been what reset the board."""

    at_s: float
    may_be_watchdog: bool


class Vitals(Record, frozen=True, kw_only=True):
    """What was counted of a release since it was installed.

    Attributes:
        lived_s: Uptime, in seconds, over reboots.
        boot: The boot that was seen last, as the system names it; empty where it does not.
        is_stopped: Whether the next boot was asked for.
        starts: Boots that nobody asked for, oldest first.
        failing_s: For how long a required probe has failed without a break; nothing while all hold.
        brokers: Brokers that were reached before the update and have not been since, as far as the release requires them.
        kept_s: ``lived_s`` when the release was committed; nothing before that.
    """

    lived_s: float = 0.0
    boot: str = ""
    is_stopped: bool = False
    starts: list[Start] = []
    failing_s: float | None = None
    brokers: list[str] = []
    kept_s: float | None = None


def started(vitals: Vitals, boot: str, reset: Reset) -> Vitals:
    """Return the vitals after the agent started in ``boot``: a start of the agent alone counts for nothing."""
    is_same = bool(boot) and boot == vitals.boot
    after = structs.replace(vitals, boot=boot, is_stopped=False)
    if is_same or vitals.is_stopped:
        return after
    start = Start(at_s=vitals.lived_s, may_be_watchdog=reset is not Reset.OTHER)
    return structs.replace(after, starts=[*vitals.starts, start][-MOST_STARTS:])


def asking_for(vitals: Vitals, required: Collection[str]) -> Vitals:
    """Return the vitals with those brokers alone that the release requires: one that moved, or is optional now, is owed no longer."""
    return structs.replace(vitals, brokers=[broker for broker in vitals.brokers if broker in required])


def lived(vitals: Vitals, elapsed_s: float, *, is_failing: bool, reached: Collection[str]) -> Vitals:
    """Return the vitals ``elapsed_s`` seconds of uptime later.

    Args:
        vitals: What was counted up to the look before.
        elapsed_s: Uptime since then.
        is_failing: Whether a required probe fails now, of a release that had come up; one that failed then and now is taken to have
            failed between.
        reached: Brokers that are reached now.
    """
    before_s = vitals.failing_s
    return structs.replace(
        vitals,
        lived_s=vitals.lived_s + elapsed_s,
        failing_s=(0.0 if before_s is None else before_s + elapsed_s) if is_failing else None,
        brokers=[broker for broker in vitals.brokers if broker not in reached],
    )


def is_worth_noting(noted: Vitals, now: Vitals, window_s: float) -> bool:
    """Say whether what was counted since the last note belongs into the journal; seldom, since each note wears the flash.

    Args:
        noted: What the journal has.
        now: What has been counted.
        window_s: The longest window in which starts are counted, in seconds of uptime.
    """
    is_recent = any(now.lived_s - start.at_s <= window_s for start in now.starts)
    return (
        now.lived_s - noted.lived_s >= (NOTE_SOON_S if is_recent else NOTE_S)
        or now.brokers != noted.brokers
        or abs((now.failing_s or 0.0) - (noted.failing_s or 0.0)) >= NOTE_FAILING_S
    )
