# SPDX-License-Identifier: Apache-2.0
"""The order's windows held against the time: reads the zones, and lets ``schedule.permission`` judge."""

from datetime import datetime

from surefoot.model.assignment import Order
from surefoot.model.errors import InvalidInput
from surefoot.model.record import parse_utc
from surefoot.schedule.permission import Permission, Reason, Terms, may_start
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


def weigh(order: Order, now: datetime) -> Permission:
    """Say whether an order that was admitted may start now; a zone that is not to be read any more holds it."""
    try:
        zones = zones_of(order.windows)
    except InvalidInput as error:
        return Permission(may_start=False, reason=Reason.UNKNOWN_ZONE, detail=error.message)
    return may_start(terms_of(order), zones, now)
