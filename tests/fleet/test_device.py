# SPDX-License-Identifier: Apache-2.0
"""Tests of who may call."""

import pytest

from surefoot.fleet.device import DeviceState, may_call


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
