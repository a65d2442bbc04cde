# SPDX-License-Identifier: Apache-2.0
import pytest

from surefoot.model.event import EventType
from surefoot.simulator.board import Behaviour
from tests.powerfail.cuts import check, every_cut, operations
from tests.powerfail.pocket import Plan

PLANS = {behaviour: Plan.to(behaviour) for behaviour in Behaviour}


@pytest.mark.parametrize("behaviour", Behaviour)
def test_without_a_power_cut_an_update_ends_as_its_release_behaves(behaviour: Behaviour) -> None:
    world = PLANS[behaviour].world()
    world.run_to_the_end()
    world.check(commits=behaviour is Behaviour.GOOD)


def test_a_good_update_tells_its_whole_story_in_order() -> None:
    world = PLANS[Behaviour.GOOD].world()
    world.run_to_the_end()
    assert [kind for kind in world.server.story() if kind is not EventType.DOWNLOAD_PROGRESS] == [
        EventType.CHECK_STARTED,
        EventType.CHECK_COMPLETED,
        EventType.DOWNLOAD_STARTED,
        EventType.DOWNLOAD_COMPLETED,
        EventType.INSTALL_STARTED,
        EventType.INSTALL_COMPLETED,
        EventType.REBOOT_STARTED,
        EventType.REBOOT_COMPLETED,
        EventType.HEALTH_OK,
    ]
    assert world.server.story().count(EventType.DOWNLOAD_PROGRESS) == 9


@pytest.mark.parametrize("behaviour", Behaviour)
def test_a_power_cut_at_every_operation_leaves_a_board_that_boots_and_converges(
    behaviour: Behaviour, record_property: pytest.RecordProperty, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = PLANS[behaviour]
    cuts = list(every_cut(plan))
    for cut in cuts:
        check(plan, behaviour, cut)
    points = len({cut.at for cut in cuts})
    record_property("cuts", len(cuts))
    with capsys.disabled():
        print(f"\npower cuts: {behaviour} update, {points} operations, {len(cuts)} single cuts survived")
    assert points >= len(operations(plan))
