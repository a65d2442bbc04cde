# SPDX-License-Identifier: Apache-2.0
"""Devices: who they are, whether they may call, and what they last said they run."""

from enum import StrEnum

from surefoot.model.assignment import DeviceId
from surefoot.model.event import DeviceReport
from surefoot.model.record import Name, Record


class DeviceState(StrEnum):
    """Whether a device belongs to the fleet."""

    ACTIVE = "active"
    REVOKED = "revoked"


class Device(Record, frozen=True, kw_only=True):
    """One device as the server knows it.

    Attributes:
        device_id: Its identity, from its certificate.
        hardware: What it was enrolled as.
        state: Whether it may call.
        enrolled_at: RFC 3339 UTC.
        last_seen: Coarse, RFC 3339 UTC; empty when it never polled.
        polls: Polls counted so far, coarse as ``last_seen``.
        report: Its own statement of what it runs, when it made one.
    """

    device_id: DeviceId
    hardware: Name
    state: DeviceState
    enrolled_at: str
    last_seen: str = ""
    polls: int = 0
    report: DeviceReport | None = None


def may_call(*, state: str, certificate_is_revoked: bool, not_after: int, now: int) -> bool:
    """Say whether a request may be served on a connection opened with a device's certificate.

    Asked for every request: a connection outlives the certificate it was opened with.

    Args:
        state: The device's ``DeviceState``.
        certificate_is_revoked: Whether the certificate was revoked by its serial number.
        not_after: Last second of the certificate, in seconds since 1970.
        now: Seconds since 1970.
    """
    return now <= not_after and not certificate_is_revoked and state == DeviceState.ACTIVE
