# SPDX-License-Identifier: Apache-2.0
"""The order's windows, and what is said at the device, held against the time: reads the zones, lets ``schedule.permission`` judge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from surefoot.agent.interlock import Inhibitor, standing
from surefoot.model.assignment import Order
from surefoot.model.errors import InvalidInput
from surefoot.model.record import parse_utc, utc_text
from surefoot.schedule.permission import Permission, Reason, Terms, held_by_people, may_start
from surefoot.schedule.zones import zones_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Interlock:
    """What the device has against a start: in words, and when that ends, aware; nothing when nobody knows."""

    words: str
    until: datetime | None


def terms_of(order: Order) -> Terms:
    """Return what an order says of its start.

    Raises:
        FormatError: One of its times cannot be read.
    """
    return Terms(
        device_id=order.device_id,
        windows=order.windows,
        install_s=order.install_s,
        start_before=parse_utc(order.start_before),
        ignore_windows_from=parse_utc(order.ignore_windows_from) if order.ignore_windows_from else None,
    )


def require_readable(order: Order) -> None:
    """See that this device can tell when the order may start.

    Raises:
        InvalidInput: It names a zone that this device does not know, or a time that is none.
    """
    terms_of(order)
    zones_of(order.windows)


def interlock_of(order: Order, now: datetime, put_off_until: datetime | None, inhibitors: Sequence[Inhibitor] = ()) -> Interlock | None:
    """Return what holds an order back at the device; nothing when nothing does, or may any longer.

    Args:
        order: It says how long people may put it off; whoever inhibits updates may do so as long as it takes.
        now: Aware.
        put_off_until: Until when people have put updates off, aware; nothing when they have not.
        inhibitors: Who lets no update start; those whose time is over count no more.
    """
    held = [(_words(each), each.until) for each in standing(inhibitors, now)]
    put_off = held_by_people(put_off_until, parse_utc(order.consent_until) if order.consent_until else None, now)
    if put_off is not None:
        held.append((f"its user put it off until {utc_text(put_off)}", put_off))
    if not held:
        return None
    ends = [until for _, until in held if until is not None]
    return Interlock(words="; ".join(words for words, _ in held), until=max(ends) if len(ends) == len(held) else None)


def consented(order: Order, permission: Permission, now: datetime, ask: Callable[[Order], str] | None) -> Permission:
    """Ask people for an order that nothing else holds back, as long as they may put it off.

    Args:
        order: It says from when on nobody is asked.
        permission: What ``weigh`` says.
        now: Aware.
        ask: Returns why the order may not start, empty when it may; nothing asks nobody.
    """
    may_be_put_off = not order.consent_until or now < parse_utc(order.consent_until)
    if ask is None or not permission.may_start or not may_be_put_off:
        return permission
    why = ask(order)
    return Permission(may_start=False, reason=Reason.INTERLOCK, detail=why) if why else permission


def weigh(order: Order, now: datetime, put_off_until: datetime | None = None, inhibitors: Sequence[Inhibitor] = ()) -> Permission:
    """Say whether an order that was admitted may start now; a zone that is not to be read any more holds it."""
    try:
        zones = zones_of(order.windows)
    except InvalidInput as error:
        return Permission(may_start=False, reason=Reason.UNKNOWN_ZONE, detail=error.message)
    interlock = interlock_of(order, now, put_off_until, inhibitors)
    if interlock is None:
        return may_start(terms_of(order), zones, now)
    return may_start(terms_of(order), zones, now, interlock=interlock.words, interlock_until=interlock.until)


def _words(inhibitor: Inhibitor) -> str:
    until = "" if inhibitor.until is None else f" until {utc_text(inhibitor.until)}"
    return f"{inhibitor.name} inhibits it{until}: {inhibitor.reason}"
