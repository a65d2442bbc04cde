# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from surefoot.simulator.rollouts.mix import HARDWARE, REGIONS, published


@given(st.integers(0, 1_000_000))
def test_a_mix_has_every_device_once_and_each_kind_within_one_of_its_share(devices: int) -> None:
    shares = {(share.hardware, share.region): share.devices for share in published(devices)}
    assert sum(shares.values()) == devices
    for hardware, a in HARDWARE.items():
        for region, b in REGIONS.items():
            assert abs(shares.get((hardware, region), 0) - devices * a * b) < 1 + 1e-6
