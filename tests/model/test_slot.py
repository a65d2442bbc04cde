# SPDX-License-Identifier: Apache-2.0
"""Slots: there are two."""

import pytest

from surefoot.model.slot import SlotName


@pytest.mark.parametrize("slot", SlotName)
def test_the_other_slot_of_the_other_slot_is_this_one(slot: SlotName) -> None:
    assert slot.other is not slot
    assert slot.other.other is slot
