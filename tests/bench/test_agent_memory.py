# SPDX-License-Identifier: Apache-2.0
"""Tests that a real agent installs an image that is larger than the memory it may take for it."""

from bench.agent_memory import GROWTH_CEILING_MIB, measure

IMAGE_MIB = 2 * int(GROWTH_CEILING_MIB)


def test_an_agent_is_small_and_does_not_grow_with_its_image() -> None:
    idle, installing, growth = measure("now", image_mib=IMAGE_MIB)
    assert idle.ratio < 1
    assert installing.value > growth.value >= 0
    assert growth.ratio < 1
