# SPDX-License-Identifier: Apache-2.0
"""The order's windows, and what people at the device said, held against the time: reads the zones, lets ``schedule.permission`` judge."""

from datetime import datetime

from surefoot.model.assignment import Order
from surefoot.model.errors import InvalidInput
from surefoot.model.record import parse_utc, utc_text
from surefoot.schedule.permission import Permission, Reason, Terms, held_by_people, may_start
from surefoot.schedule.zones import zones_of


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


def held_until(order: Order, now: datetime, put_off_until: datetime | None) -> datetime | None:
    """Return until when people at the device hold an order back; nothing when they do not, or may not any longer."""
    consent_until = parse_utc(order.consent_until) if order.consent_until else None
    return held_by_people(put_off_until, consent_until, now)


def weigh(order: Order, now: datetime, put_off_until: datetime | None = None) -> Permission:
    """Say whether an order that was admitted may start now; a zone that is not to be read any more holds it."""
    try:
        zones = zones_of(order.windows)
    except InvalidInput as error:
        return Permission(may_start=False, reason=Reason.UNKNOWN_ZONE, detail=error.message)
    held = held_until(order, now, put_off_until)
    words = "" if held is None else f"its user put it off until {utc_text(held)}"
    return may_start(terms_of(order), zones, now, interlock=words, interlock_until=held)
