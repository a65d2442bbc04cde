# SPDX-License-Identifier: Apache-2.0
"""A sample of the power cuts under bootloaders that ``make powerfail`` makes in full."""

from collections.abc import Callable
from pathlib import Path

import pytest

from surefoot.agent.storage import replace_file
from surefoot.simulator.board import Behaviour, stored
from surefoot.simulator.flash import Damage, PowerCut
from tests.agent.rigs import BLOCK, block_bytes, block_store
from tests.powerfail.bootloaders import UNSAFE, Medium, media, sweep, sweep_tool, tools
from tests.powerfail.pocket import Plan, PocketWorld

MEDIA = {medium.name: medium for medium in media()}


@pytest.mark.parametrize("medium", [each for name, each in MEDIA.items() if name not in UNSAFE], ids=lambda medium: medium.name)
def test_every_cut_leaves_the_old_state_or_the_new_one(medium: Medium, record_property: Callable[[str, object], None]) -> None:
    tally = sweep(medium, seeds=4, every=2)
    assert tally.is_safe, tally.worst
    assert tally.ends["old"] > 100
    assert tally.ends["new"] > 100
    record_property("figure", f"{medium.name}: {tally.points} power cuts in {tally.changes} changes of the bootloader's state survived")


@pytest.mark.parametrize("name", [name for name in MEDIA if name in UNSAFE])
def test_what_is_said_not_to_be_safe_is_not(name: str, record_property: Callable[[str, object], None]) -> None:
    tally = sweep(MEDIA[name], seeds=4)
    assert not tally.is_safe
    lost, other = tally.ends["lost"], tally.ends["other"]
    record_property("figure", f"{name}: of {tally.points} power cuts {lost} lost the state and {other} left another")


def test_real_tools_are_as_safe_as_it_is_said_of_them(tmp_path: Path) -> None:
    uboot, grub = (sweep_tool(tool, most=32, every=4) for tool in tools(tmp_path))
    assert uboot.is_safe, uboot.worst
    assert uboot.ends["new"] == uboot.changes
    assert grub.ends["lost"] > grub.changes


@pytest.mark.parametrize("behaviour", [Behaviour.GOOD, Behaviour.CRASHES])
def test_a_whole_update_survives_a_cut_at_each_operation_on_a_state_block(behaviour: Behaviour) -> None:
    plan = Plan.to(behaviour)
    undisturbed = block_world(plan)
    undisturbed.run_to_the_end()
    for cut_at in range(block_world(plan).board.flash.operations + 1, undisturbed.board.flash.operations + 1):
        world = block_world(plan)
        world.board.flash.cut_at, world.board.flash.cut_in_half = cut_at, bool(cut_at % 2)
        with pytest.raises(PowerCut):
            world.run_to_the_end()
        world.board.flash = world.board.flash.power_cycle(Damage.TORN, seed=cut_at)
        world.run_to_the_end()
        world.check(commits=behaviour is Behaviour.GOOD)


def block_world(plan: Plan) -> PocketWorld:
    """Return a fresh board, whose bootloader has a state block and no file, at a fresh server."""
    world = plan.world()
    world.board.flash.remove("boot.json")
    replace_file(world.board.flash, BLOCK, block_bytes())
    world.board.loader = stored(block_store)
    return world
