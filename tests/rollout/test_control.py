# SPDX-License-Identifier: Apache-2.0
"""Control: what an outage takes from the evidence, and when a region is held and goes on."""

import pytest
from msgspec import structs

from surefoot.model.record import from_json, to_json
from surefoot.rollout.control import CALM_S, MOST_HOLDS, SOON_S, Region, observe, released, unreachable
from surefoot.rollout.evidence import Control

HOUR = 3_600
LONG_AGO = -10 * HOUR


def seen(gone: int, devices: int = 100) -> list[Control]:
    return [Control(region="eu", devices=devices, unreachable=gone)]


class Watch:
    """Looks at one region every five minutes."""

    def __init__(self, opened_at: int = LONG_AGO) -> None:
        self.now, self.opened_at, self.regions = 0, opened_at, dict[str, Region]()

    def look(self, gone: int, devices: int = 100, *, minutes: int = 5) -> Region:
        self.now += minutes * 60
        self.regions = observe(self.regions, seen(gone, devices), self.now, self.opened_at)
        region = self.regions["eu"]
        assert from_json(to_json(region), Region, what="region") == region
        return region

    def hold_and_calm(self) -> Region:
        self.look(50)
        for _ in range(CALM_S // 300):
            self.look(0)
        return self.look(0)


@pytest.mark.parametrize(
    ("gone", "devices", "correction"), [(0, 100, 0), (3, 100, 0), (4, 100, 1), (80, 100, 77), (100, 100, 97), (1, 30, 1), (0, 0, 0)]
)
def test_beyond_the_usual_three_percent_trials_are_as_good_as_not_made(gone: int, devices: int, correction: int) -> None:
    assert Watch().look(gone, devices).correction == correction


def test_the_worst_of_six_hours_counts_and_then_the_worst_of_the_rest() -> None:
    watch = Watch()
    watch.look(80)
    watch.look(40, minutes=60)
    assert watch.look(0, minutes=299).correction == 77
    assert watch.look(0, minutes=2).correction == 37
    assert watch.look(0, minutes=60).correction == 0


def test_a_region_of_which_nothing_is_seen_keeps_its_hold_and_forgets_its_peaks() -> None:
    watch = Watch()
    watch.look(80)
    unseen = observe(watch.regions, [], watch.now + 7 * HOUR, LONG_AGO)["eu"]
    assert (unseen.is_held, unseen.correction) == (True, 0)
    assert observe(watch.regions, seen(0, 0), watch.now + HOUR, LONG_AGO)["eu"].is_held


@pytest.mark.parametrize(("gone", "devices", "is_held"), [(10, 100, False), (11, 100, True), (2, 5, False), (3, 5, True)])
def test_nothing_starts_above_ten_percent_but_a_device_or_two_are_switched_off(gone: int, devices: int, is_held: bool) -> None:  # noqa: FBT001  # expected
    assert Watch().look(gone, devices).is_held is is_held


def test_it_goes_on_when_it_was_calm_for_half_an_hour_without_a_break() -> None:
    watch = Watch()
    watch.look(11)
    watch.look(4)
    assert watch.look(4, minutes=29).is_held
    assert watch.look(5).calm_since is None
    watch.look(4)
    assert watch.look(4, minutes=29).is_held
    assert not watch.look(4, minutes=1).is_held


def test_the_third_hold_is_ended_by_a_person() -> None:
    watch = Watch()
    for _ in range(MOST_HOLDS - 1):
        assert not watch.hold_and_calm().is_held
    region = watch.hold_and_calm()
    assert (region.is_held, region.needs_person, region.holds) == (True, True, 3)
    watch.regions["eu"] = released(region)
    assert not watch.look(0).is_held
    assert watch.look(50).is_held


@pytest.mark.parametrize(("after_s", "needs_person"), [(SOON_S, True), (SOON_S + 1, False)])
def test_a_hold_soon_after_a_batch_opened_is_ended_by_a_person(after_s: int, needs_person: bool) -> None:  # noqa: FBT001  # expected
    assert Watch(opened_at=5 * 60 - after_s).look(50).needs_person is needs_person


def test_where_few_are_left_those_that_run_it_for_long_stand_in() -> None:
    many = Control(region="eu", devices=50, unreachable=5, settled=200, settled_unreachable=0)
    assert unreachable(many) == (50, 5)
    assert unreachable(structs.replace(many, devices=49)) == (249, 5)
