# SPDX-License-Identifier: Apache-2.0
"""When the agent wakes next, as somebody outside of it can see."""

import logging
from pathlib import Path

import pytest

from surefoot.agent.wake import next_wake, note_wake
from surefoot.model.assignment import DeviceId
from surefoot.simulator.clock import VirtualClock
from tests.agent.test_runner import drive, story

DEVICE = DeviceId("t-1")


def test_the_next_check_is_told_until_it_is_over(tmp_path: Path) -> None:
    clock = VirtualClock()
    note_wake(tmp_path, DEVICE, clock, 300)
    due = clock.now()
    for _ in range(3):
        clock.sleep(100)
        found = next_wake(tmp_path, DEVICE, clock)
        assert found is not None
        assert (found - due).total_seconds() == 300
    clock.sleep(1)
    assert next_wake(tmp_path, DEVICE, clock) is None


def test_a_wall_clock_that_is_set_meanwhile_moves_the_time_and_not_what_is_left(tmp_path: Path) -> None:
    clock = VirtualClock()
    note_wake(tmp_path, DEVICE, clock, 300)
    clock.jump(1_000_000)
    found = next_wake(tmp_path, DEVICE, clock)
    assert found is not None
    assert (found - clock.now()).total_seconds() == 300


@pytest.mark.parametrize("content", [b"", b"{", b'{"at_s":"soon"}', b'{"at_s":1e300}'])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t-1.json").write_bytes(content)
    assert next_wake(tmp_path, DEVICE, VirtualClock()) is None


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    note_wake(tmp_path / "run", DEVICE, VirtualClock(), 300)
    assert list(tmp_path.iterdir()) == []
    assert next_wake(tmp_path / "run", DEVICE, VirtualClock()) is None


def test_each_pause_is_told_before_it_begins() -> None:
    it = story()
    it.run()
    told: list[float] = []
    it.clock.waits.clear()
    drive(it.runner(it.world.board.boots[-1][0], will_wake=told.append), lambda _: it.clock.monotonic() > 2_000)
    assert len(told) > 5
    assert sum(told) == sum(it.clock.waits), "cut in parts or not"


def test_a_step_of_an_update_is_one_line_and_a_week_without_a_server_is_no_more_than_its_first_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "surefoot.agent")
    it = story()
    it.run()
    said = [record.getMessage().split()[0] for record in caplog.records]
    assert said == [event.type.removeprefix("update.") for event in it.world.server.events.values()]
    caplog.clear()
    it.server.away = (it.clock.monotonic(), 10**9)
    drive(it.runner(it.world.board.boots[-1][0]), lambda _: it.clock.monotonic() > 7 * 86_400, steps=10_000)
    assert [record.getMessage().split()[0] for record in caplog.records] == ["check.started", "check.completed", "events"]
