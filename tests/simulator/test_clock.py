# SPDX-License-Identifier: Apache-2.0
"""The virtual clock."""

from datetime import UTC, datetime, timedelta

from surefoot.simulator.clock import VirtualClock


def test_time_passes_only_by_waiting() -> None:
    start = datetime(2027, 5, 1, tzinfo=UTC)
    clock = VirtualClock(start)
    clock.sleep(90)
    clock.sleep(-5)
    assert clock.monotonic() == 90
    assert clock.now() == start + timedelta(seconds=90)


def test_a_jump_moves_the_wall_clock_alone() -> None:
    clock = VirtualClock()
    before = clock.now()
    clock.jump(-3600)
    assert clock.now() == before - timedelta(hours=1)
    assert clock.monotonic() == 0
