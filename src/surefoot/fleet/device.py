# SPDX-License-Identifier: Apache-2.0
"""Devices: who they are, whether they may call, what they last said they run, and their attributes.

An attribute that operators gave wins over one of the same name that the device reported; neither stands for a built-in one.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

from surefoot.fleet.field import Traits
from surefoot.model.assignment import DeviceId
from surefoot.model.attribute import RESERVED, Attributes
from surefoot.model.event import DeviceReport
from surefoot.model.record import Name, Record
from surefoot.model.rules import Running


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
        given: Attributes that operators gave it.
    """

    device_id: DeviceId
    hardware: Name
    state: DeviceState
    enrolled_at: str
    last_seen: str = ""
    polls: int = 0
    report: DeviceReport | None = None
    given: Attributes = {}


def running(device: Device) -> Running | None:
    """Return what version rules ask of a device, as it last told of itself; nothing when it never did."""
    report = device.report
    if report is None:
        return None
    return Running(
        hardware=device.hardware,
        bootloader_version=report.bootloader_version,
        product=report.product,
        version=report.version,
        release_counter=report.release_counter,
        data_format=report.data_format,
        revert_to=report.revert_to,
    )


def attributes(device: Device) -> dict[str, str]:
    """Return a device's effective attributes, the built-in ones among them, by name in order."""
    report = device.report
    built_in = {
        "bootloader_version": "" if report is None else report.bootloader_version,
        "device_id": device.device_id,
        "hardware": device.hardware,
        "product": "" if report is None else report.product,
        "state": device.state.value,
        "version": "" if report is None else report.version,
    }
    return dict(sorted({**set_attributes(report, device.given), **built_in}.items()))


def traits(device: Device, groups: Collection[str] = (), components: Mapping[str, str] | None = None) -> Traits:
    """Return what filters look at of a device.

    Args:
        device: The device.
        groups: Those it is in.
        components: Versions of the parts of the image that it runs, by the names that filters call them; attributes win over them.
    """
    return Traits(
        attributes={**(components or {}), **attributes(device)},
        groups=groups,
        enrolled_at=device.enrolled_at,
        last_seen=device.last_seen,
    )


def set_attributes(report: DeviceReport | None, given: Mapping[str, str]) -> dict[str, str]:
    """Return the effective attributes that were reported or given, without the built-in ones."""
    reported = {} if report is None else report.attributes
    return {name: value for name, value in {**reported, **given}.items() if name not in RESERVED}


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
