# SPDX-License-Identifier: Apache-2.0
"""Worlds of boards in virtual time around the real services of the server."""

import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from surefoot.agent.state import Policy
from surefoot.model.assignment import DeviceId
from surefoot.simulator.board import Behaviour
from surefoot.simulator.flash import Damage
from surefoot.simulator.network import Outage, Weather
from surefoot.simulator.world import Cut, Fate, Jump
from tests.simulator.town import Town, open_town

DAY_S = 86_400
BOARDS = 20


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with open_town(tmp_path) as found:
        yield found


def updated(town: Town, *serials: str) -> bool:
    return "" not in town.outcomes(*serials)


def versions(town: Town) -> set[str]:
    return {board.runner.state.running.version for board in town.world.boards.values() if board.runner is not None}


def weather(chance: random.Random) -> Weather:
    begin_s = chance.uniform(0, 4_000)
    return Weather(
        lost_requests=0.15,
        lost_answers=0.15,
        cut_downloads=0.5,
        latency_s=(0.05, 2.0),
        outages=(Outage(begin_s, begin_s + chance.uniform(60, 3_000)),),
    )


def fate(chance: random.Random) -> Fate:
    cuts = [
        Cut(
            after=after,
            in_half=chance.random() < 0.5,
            damage=chance.choice(list(Damage)),
            seed=chance.randrange(100),
            off_s=chance.uniform(1, 600),
        )
        for after in sorted(chance.sample(range(120), 3))
    ]
    jumps = [Jump(at_s, chance.choice([-400 * DAY_S, -3600, 3600, 10_000])) for at_s in sorted(chance.sample(range(6_000), 3))]
    return Fate(cuts=cuts, jumps=jumps)


def test_in_bad_weather_without_power_and_with_mad_clocks_all_boards_end_on_the_new_release(town: Town) -> None:
    chance = random.Random(7)  # noqa: S311  # the same disasters every time
    town.policy = Policy(settle_s=5, trial_s=2 * 3_600, probe_s=5)  # longer than any outage, which no trial need survive
    serials = [f"s-{number}" for number in range(BOARDS)]
    fates = [fate(chance) for _ in serials]
    for serial, its in zip(serials, fates, strict=True):
        town.settle(serial, ahead_s=chance.uniform(0, 300), weather=weather(chance), fate=its)
    town.release("1.1.0", Behaviour.GOOD, 6_000)
    town.order("1.1.0", *serials)
    assert town.world.run(lambda: updated(town, *serials), at_most_s=2 * DAY_S)
    town.world.run(lambda: False, at_most_s=3_600)
    assert (set(town.outcomes(*serials)), versions(town)) == ({"succeeded"}, {"1.1.0"})
    assert sum(len(board.boots) for board in town.world.boards.values()) > 3 * BOARDS


def test_every_board_comes_back_from_a_release_that_crashes(town: Town) -> None:
    serials = ["s-1", "s-2"]
    for serial in serials:
        town.settle(serial, weather=Weather(lost_answers=0.3))
    town.release("1.1.0", Behaviour.CRASHES)
    town.order("1.1.0", *serials)
    assert town.world.run(lambda: updated(town, *serials), at_most_s=DAY_S)
    assert (town.outcomes(*serials), versions(town)) == (["rolled_back"] * 2, {"1.0.0"})


def test_two_worlds_with_the_same_seeds_live_the_same_lives(tmp_path: Path) -> None:
    lives = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with open_town(tmp_path / name) as town:
            board = town.settle(
                "s-1", weather=Weather(lost_requests=0.3, lost_answers=0.3, latency_s=(0.1, 5)), fate=Fate(cuts=[Cut(after=60)])
            )
            town.release("1.1.0", Behaviour.GOOD)
            town.order("1.1.0", "s-1")
            town.world.run(lambda: updated(town, "s-1"), at_most_s=DAY_S)
            lives.append((board.boots, town.world.steps, town.world.now_s))
    assert lives[0] == lives[1]


def test_the_server_has_its_ticks_between_the_boards_and_time_never_goes_back(tmp_path: Path) -> None:
    seen: list[datetime] = []
    with open_town(tmp_path, tick=seen.append, tick_s=60) as town:
        start = town.world.now
        town.settle("s-1", weather=Weather(latency_s=(100, 100)))
        town.world.run(lambda: False, at_most_s=1_000)
        assert town.office.now > start
    assert seen == sorted(seen)
    assert len(seen) == 17
    assert seen[0] == start
    assert seen[-1] - start >= timedelta(seconds=960)


def test_power_goes_where_it_is_planned_and_comes_back_when_it_is(town: Town) -> None:
    board = town.settle("s-1", fate=Fate(cuts=[Cut(after=10, off_s=500)]))
    before = board.flash.operations
    town.world.run(lambda: False, at_most_s=450)
    assert (len(board.boots), board.flash.operations - before) == (1, 10)
    town.world.run(lambda: False, at_most_s=200)
    assert len(board.boots) == 2


def test_no_planned_loss_of_power_is_left_out_wherever_it_falls(town: Town) -> None:
    town.release("1.1.0", Behaviour.GOOD)
    boards = [town.settle(f"s-{after:02}", fate=Fate(cuts=[Cut(after=after, off_s=math.inf)])) for after in range(80)]
    before = boards[0].flash.operations
    town.order("1.1.0", *(board.device_id for board in boards))
    town.world.run(lambda: False, at_most_s=600)
    assert [board.flash.operations - before for board in boards] == list(range(80))


def test_a_clock_that_jumps_changes_no_true_time(town: Town) -> None:
    board = town.settle("s-1", fate=Fate(jumps=[Jump(100, -10 * DAY_S)]))
    town.world.run(lambda: False, at_most_s=1_000)
    assert abs((town.world.now - board.clock.now()).total_seconds() - 10 * DAY_S) < 600


def test_a_dormant_board_costs_polls_and_becomes_a_board_when_something_is_ordered(town: Town) -> None:
    town.release("1.1.0", Behaviour.GOOD)
    for number in range(5):
        town.settle_dormant(f"d-{number}", ahead_s=60 * number)
    before = town.services.polls
    town.world.run(lambda: False, at_most_s=3_000)
    expected = sum(1 + (3_000 - 60 * n) // town.office.poll_verb.next_poll_s(DeviceId(f"d-{n}")) for n in range(5))
    assert (len(town.world.boards), town.services.polls - before) == (0, expected)
    town.order("1.1.0", "d-3")
    assert town.world.run(lambda: updated(town, "d-3"), at_most_s=DAY_S)
    assert (list(town.world.boards), town.outcomes("d-3")) == ([DeviceId("d-3")], ["succeeded"])


def test_a_board_that_lost_its_power_for_good_is_never_heard_of_again(town: Town) -> None:
    town.release("1.1.0", Behaviour.GOOD)
    town.settle_dormant("d-1", ahead_s=0, fate=Fate(cuts=[Cut(after=20, off_s=math.inf)]))
    town.order("1.1.0", "d-1")
    town.world.run(lambda: False, at_most_s=3_600)
    polls, boots = town.services.polls, list(town.world.boards[DeviceId("d-1")].boots)
    assert not town.world.run(lambda: updated(town, "d-1"), at_most_s=7 * DAY_S)
    assert (town.services.polls, town.world.boards[DeviceId("d-1")].boots, len(boots)) == (polls, boots, 1)


def test_boards_that_were_made_together_share_the_bytes_they_have_in_common(town: Town) -> None:
    one, two = town.settle("s-1"), town.settle("s-2")
    with one.flash.open("slots/a.img") as first, two.flash.open("slots/a.img") as second:
        assert one.flash.content(0).block(0) is two.flash.content(0).block(0)
        assert first.read_at(0, 100) == second.read_at(0, 100)
