# SPDX-License-Identifier: Apache-2.0
"""Tests of who may call, and of what a device is in the words of filters."""

import msgspec
import pytest
from hypothesis import given

from surefoot.fleet.device import Device, DeviceState, attributes, may_call
from surefoot.model.attribute import BUILT_IN
from surefoot.model.digest import digest_of
from tests.server.office import DEVICE, statement
from tests.strategies import devices

SILENT = Device(device_id=DEVICE, hardware="v1", state=DeviceState.ACTIVE, enrolled_at="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("state", "is_revoked", "not_after", "expected"),
    [
        (DeviceState.ACTIVE, False, 100, True),
        (DeviceState.ACTIVE, False, 99, False),
        (DeviceState.ACTIVE, True, 100, False),
        (DeviceState.REVOKED, False, 100, False),
        ("unheard of", False, 100, False),
    ],
)
def test_only_an_active_device_with_a_living_certificate_may_call(state: str, is_revoked: bool, not_after: int, expected: bool) -> None:  # noqa: FBT001  # a table's column
    assert may_call(state=state, certificate_is_revoked=is_revoked, not_after=not_after, now=100) is expected


def test_what_operators_give_wins_over_what_a_device_reports() -> None:
    report = msgspec.structs.replace(statement(digest_of(b"image")), attributes={"site": "factory", "colour": "red"})
    found = attributes(msgspec.structs.replace(SILENT, report=report, given={"site": "berlin"}))
    assert (found["site"], found["colour"]) == ("berlin", "red")


def test_a_device_cannot_report_that_it_is_something_built_in() -> None:
    report = msgspec.structs.replace(statement(digest_of(b"image")), attributes={"state": "revoked", "device_id": "t-2"})
    found = attributes(msgspec.structs.replace(SILENT, report=report))
    assert (found["state"], found["device_id"]) == ("active", "t-1")


@given(devices())
def test_every_device_has_every_built_in_attribute(device: Device) -> None:
    assert set(BUILT_IN) <= attributes(device).keys()
