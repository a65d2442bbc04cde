# SPDX-License-Identifier: Apache-2.0
"""Cut the power at one operation of an update, bring it back, and see that the board converges and the server knows it."""

from collections.abc import Iterator
from dataclasses import dataclass

from surefoot.simulator.board import Behaviour, UnverifiedBootError
from surefoot.simulator.flash import Damage, PowerCut, SimulatedFlash
from tests.powerfail.pocket import Plan, PocketWorld


@dataclass(frozen=True)
class Cut:
    """Where and how the power fails.

    Attributes:
        at: Number of the operation at which it goes.
        in_half: Whether a write that is hit has half reached the cache.
        damage: What becomes of everything that was not synced.
        seed: How it is torn.
    """

    at: int
    in_half: bool
    damage: Damage
    seed: int = 0


def operations(plan: Plan) -> list[str]:
    """Return one line for each operation of an undisturbed update, from the first power-on to the last acknowledgement."""
    world = plan.world()
    world.run_to_the_end()
    return world.board.flash.log[world.factory_operations :]


def every_cut(plan: Plan, *, seeds: int = 1) -> Iterator[Cut]:
    """Yield every single cut: each operation, with what was unsynced lost, kept and torn."""
    first = plan.world().factory_operations
    for offset, line in enumerate(operations(plan), 1):
        halves = (False, True) if " write " in f" {line} " else (False,)
        for in_half in halves:
            yield Cut(at=first + offset, in_half=in_half, damage=Damage.LOST)
            yield Cut(at=first + offset, in_half=in_half, damage=Damage.KEPT)
            for seed in range(seeds):
                yield Cut(at=first + offset, in_half=in_half, damage=Damage.TORN, seed=seed)


def survive(plan: Plan, *cuts: Cut, flash: type[SimulatedFlash] = SimulatedFlash) -> PocketWorld:
    """Run an update through these cuts, each counted on from the one before; the board must come to its end."""
    world = plan.world(flash())
    for cut in cuts:
        world.board.flash.cut_at, world.board.flash.cut_in_half = cut.at, cut.in_half
        try:
            world.run_to_the_end()
        except PowerCut:
            world.board.flash = world.board.flash.power_cycle(cut.damage, seed=cut.seed)
    world.board.flash.cut_at = None  # a late cut may lie behind the end
    world.run_to_the_end()
    return world


def check(plan: Plan, behaviour: Behaviour, *cuts: Cut, flash: type[SimulatedFlash] = SimulatedFlash) -> None:
    """Assert that the update survives these cuts; the message of a failure names them and the operations around them."""
    try:
        survive(plan, *cuts, flash=flash).check(commits=behaviour is Behaviour.GOOD)
    except UnverifiedBootError:
        raise
    except (AssertionError, RuntimeError) as error:
        raise AssertionError(f"{behaviour} update, {cuts}: {error}") from error
