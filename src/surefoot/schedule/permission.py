# SPDX-License-Identifier: Apache-2.0
"""Whether an install may start now: one judgement for both ends, with the reason as a word and a sentence.

Order of authority, first come first heard:

1. a pause of the rollout, or an order that is void: nothing starts, whatever the deadline;
2. the device's own interlock: busy, battery low, unsafe to reboot, or put off by people there, as long as they may;
3. a deadline that has passed: windows are ignored;
4. the windows: open, long enough for the usual install, and at the device's own moment in them.

Devices are spread by a hash of their id: over the first half of what a window leaves them, and over the grace of a forced install.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from surefoot.model.assignment import DeviceId
from surefoot.model.record import utc_text
from surefoot.model.window import Window
from surefoot.schedule.opening import Opening, Zones, following

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WIDEST = timedelta(hours=2)


class Reason(StrEnum):
    """Why an install may start, or may not."""

    PAUSED = "paused"
    VOID = "void"
    INTERLOCK = "interlock"
    DEADLINE = "deadline"
    NO_WINDOWS = "no_windows"
    OPEN = "window_open"
    CLOSED = "window_closed"
    TOO_SHORT = "window_too_short"
    TURN = "turn_in_window"
    UNKNOWN_ZONE = "unknown_zone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """The answer.

    Attributes:
        may_start: Whether the install may start.
        reason: Why, as a word that stays.
        detail: Why, in words for people.
        until: When to ask again at the latest, aware; nothing when it depends on no time.
    """

    may_start: bool
    reason: Reason
    detail: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an order says of its start.

    Attributes:
        device_id: Whose order it is; draws its moment in a window.
        windows: When it may start; none means at any time. Each names an IANA zone.
        install_s: How long an install usually takes on this hardware, at the 95th percentile, in seconds.
        start_before: When the order is void, aware.
        ignore_windows_from: From when on windows are ignored, aware; nothing means never.
    """

    device_id: DeviceId
    windows: Sequence[Window]
    install_s: int
    start_before: datetime
    ignore_windows_from: datetime | None = None


def may_start(
    terms: Terms, zones: Zones, now: datetime, *, paused: str = "", interlock: str = "", interlock_until: datetime | None = None
) -> Permission:
    """Say whether an install may start now.

    Args:
        terms: What the order says.
        zones: The zones of its windows, by name.
        now: Aware.
        paused: Why the rollout is paused, in words; empty when it is not.
        interlock: What the device, or whoever is at it, has against a reboot now, in words; empty when nothing.
        interlock_until: When that ends, aware; nothing when nobody knows.
    """
    if paused:
        return Permission(may_start=False, reason=Reason.PAUSED, detail=f"the rollout is paused: {paused}")
    if now > terms.start_before:
        return Permission(may_start=False, reason=Reason.VOID, detail=f"the order was to be started before {utc_text(terms.start_before)}")
    if interlock:
        return Permission(may_start=False, reason=Reason.INTERLOCK, detail=interlock, until=interlock_until)
    forced = terms.ignore_windows_from
    if forced is not None and now >= forced:
        return Permission(may_start=True, reason=Reason.DEADLINE, detail=f"windows are ignored since {utc_text(forced)}")
    if not terms.windows:
        return Permission(may_start=True, reason=Reason.NO_WINDOWS, detail="no window is set")
    return _soonest(_by_windows(terms, zones, now), forced)


def held_by_people(put_off_until: datetime | None, consent_until: datetime | None, now: datetime) -> datetime | None:
    """Return until when people at the device hold an install back; nothing when they do not, or may not any longer.

    Args:
        put_off_until: Until when they have put updates off, aware; nothing when they have not.
        consent_until: From when on nobody may put this order off, aware; nothing means that they always may.
        now: Aware.
    """
    if put_off_until is None:
        return None
    ends_at = put_off_until if consent_until is None else min(put_off_until, consent_until)
    return ends_at if now < ends_at else None


def forced_at(deadline: datetime, first_offered: datetime, grace: timedelta, device_id: DeviceId) -> datetime:
    """Return from when on a device with an urgent release ignores its windows.

    Never before the deadline, nor before the device has had its grace since it was first offered the release; then at a moment of
    its own within one more grace, so that a fleet does not reboot at once.

    Args:
        deadline: Of the release, aware.
        first_offered: When this device was first offered it, aware; after a time offline that is when it came back.
        grace: How long a device may look for a window of its own; not negative.
        device_id: Draws the moment.
    """
    earliest = max(deadline, first_offered + grace)
    return earliest + spread(device_id, f"deadline {utc_text(deadline)}", grace)


def spread(device_id: DeviceId, occasion: str, over: timedelta) -> timedelta:
    """Return a device's own part of ``over``, in whole seconds, at least nothing and less than all of it.

    Devices are drawn evenly; another occasion draws anew, so that none is always the last.
    """
    drawn = int.from_bytes(hashlib.sha256(f"{occasion} {device_id}".encode()).digest()[:8])
    return timedelta(seconds=drawn * int(over.total_seconds()) >> 64)


def _by_windows(terms: Terms, zones: Zones, now: datetime) -> Permission:
    install = timedelta(seconds=terms.install_s)
    ahead = following(terms.windows, zones, now)
    usable = [opening for opening in ahead if opening.closes_at - install >= max(opening.opens_at, now)]
    if not usable:
        detail = f"no window is as long as an install takes, {terms.install_s} s" if ahead else "no window opens"
        return Permission(may_start=False, reason=Reason.TOO_SHORT if ahead else Reason.CLOSED, detail=detail)
    opening = usable[0]
    width = min((opening.closes_at - install - opening.opens_at) / 2, _WIDEST)
    starts_at = opening.opens_at + spread(terms.device_id, utc_text(opening.opens_at), width)
    is_missed = opening is not ahead[0] and ahead[0].opens_at <= now
    return _at(opening, starts_at, zones, now, is_missed=is_missed)


def _at(opening: Opening, starts_at: datetime, zones: Zones, now: datetime, *, is_missed: bool) -> Permission:
    zone = zones[opening.zone]
    if now >= starts_at:
        closes = opening.closes_at.astimezone(zone)
        return Permission(may_start=True, reason=Reason.OPEN, detail=f"window is open until {closes:%H:%M} local ({opening.zone})")
    if now >= opening.opens_at:
        own = starts_at.astimezone(zone)
        detail = f"this device's turn in the window is at {own:%H:%M} local ({opening.zone})"
        return Permission(may_start=False, reason=Reason.TURN, detail=detail, until=starts_at)
    opens = opening.opens_at.astimezone(zone)
    words = f"window opens {_WEEKDAYS[opens.weekday()]} {opens:%H:%M} local ({opening.zone})"
    if is_missed:
        detail = f"what is left of this window is too short for an install; the next {words}"
        return Permission(may_start=False, reason=Reason.TOO_SHORT, detail=detail, until=starts_at)
    return Permission(may_start=False, reason=Reason.CLOSED, detail=words, until=starts_at)


def _soonest(permission: Permission, forced: datetime | None) -> Permission:
    """Return the same with ``until`` no later than the moment when windows are ignored."""
    if permission.may_start or forced is None:
        return permission
    until = forced if permission.until is None else min(permission.until, forced)
    return Permission(may_start=False, reason=permission.reason, detail=permission.detail, until=until)
