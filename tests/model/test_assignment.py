# SPDX-License-Identifier: Apache-2.0
"""Assignments: ids that older clients can read."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.model.assignment import AssignmentId, DeviceId, next_assignment_id


@given(st.integers(0, 2**31 - 4))
def test_the_next_id_is_higher_and_does_not_end_in_0(last: int) -> None:
    following = next_assignment_id(last)
    assert msgspec.convert(following, AssignmentId) > last
    assert following % 10 != 0


def test_no_id_but_those_that_end_in_0_is_left_out() -> None:
    ids = [0]
    while ids[-1] < 21:
        ids.append(next_assignment_id(ids[-1]))
    assert ids == [0, *range(1, 10), *range(11, 20), 21]


@pytest.mark.parametrize("text", ["", "-a", "a/b", "a b", "a\n", "ä", "a" * 129, "../a"])
def test_a_device_id_is_safe_in_a_path(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, DeviceId)
