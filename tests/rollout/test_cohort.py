# SPDX-License-Identifier: Apache-2.0
"""The order of devices: fixed for a device, spread evenly, begun elsewhere by every rollout."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from surefoot.rollout.cohort import RING, origin, place


@given(st.text())
def test_every_device_and_every_rollout_has_a_place_on_the_ring(text: str) -> None:
    assert all(0 <= point < RING for point in (place(text), origin(text)))


def test_a_place_never_changes_since_it_is_stored() -> None:
    digest = hashlib.sha256(b"device\0t-1").digest()
    assert place("t-1") == int.from_bytes(digest[:8], "big") % 2**62 == 882_919_595_378_205_580


def test_a_rollout_does_not_begin_at_the_device_of_its_name() -> None:
    assert origin("t-1") != place("t-1")


def test_devices_are_spread_evenly_however_alike_their_names_are() -> None:
    eighths = [place(f"board-{number}") * 8 // RING for number in range(8_000)]
    assert all(850 < eighths.count(eighth) < 1_150 for eighth in range(8))


def test_two_rollouts_do_not_begin_with_the_same_devices() -> None:
    devices = [f"board-{number}" for number in range(1_000)]
    first = [set(sorted(devices, key=lambda device: (place(device) - origin(salt)) % RING)[:10]) for salt in ("1", "2", "3")]
    assert len(first[0] | first[1] | first[2]) == 30
