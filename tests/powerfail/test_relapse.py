# SPDX-License-Identifier: Apache-2.0
"""Power cuts at every operation of a rollback after the commit: a kept release fails, and the board goes back to the one before."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from surefoot.agent.journal import peek
from surefoot.agent.runner import Runner
from surefoot.agent.state import Phase, State
from surefoot.model.event import EventType
from surefoot.model.slot import SlotName
from surefoot.simulator.board import Behaviour, load_sketch
from surefoot.simulator.flash import Damage, PowerCut
from tests.agent.mains import Ward
from tests.powerfail.cuts import Cut
from tests.powerfail.pocket import Plan, PocketWorld

PLAN = Plan.to(Behaviour.GOOD)


@dataclass
class Relapse:
    """A board whose release is well until it was kept, and never again.

    Attributes:
        world: The board and its server.
        kept_operations: How many operations there were until the release was kept and that was reported.
    """

    world: PocketWorld = field(default_factory=PLAN.world)
    kept_operations: int = field(init=False)

    def __post_init__(self) -> None:
        is_well = [True]
        self.world.board.load = lambda image: Ward(lambda: is_well[0]) if image == PLAN.content else load_sketch(image)
        self.world.run_to_the_end()
        self.kept_operations = self.world.board.flash.operations
        is_well[0] = False

    def run(self) -> None:
        """Let the board go on until it is at rest with the release before."""
        self.world.board.run(self._is_back)

    def _is_back(self, runner: Runner) -> bool:
        state = runner.state
        return state.phase is Phase.IDLE and state.slot is SlotName.A and not runner.parts.journal.pending

    def check(self) -> None:
        """Assert that the board runs what it ran before, and told so exactly once."""
        found = peek(self.world.board.flash, "data/journal", State)
        assert found is not None
        state = found.state
        assert (state.running.version, state.fallback, state.vitals, state.leaving) == ("1.0.0", None, None, "")
        assert (state.failed, state.failed_trials) == (PLAN.wanted.image.hash, 1)
        assert state.result is not None
        assert (state.result.outcome, state.result.reason) == ("rolled back", "unhealthy")
        report = self.world.server.reports[-1]
        assert (report.version, report.hash) == ("1.0.0", self.world.board.boots[-1][1])
        story = self.world.server.story()
        for kind in (EventType.HEALTH_OK, EventType.HEALTH_FAILED, EventType.ROLLBACK_TRIGGERED, EventType.ROLLBACK_COMPLETED):
            assert story.count(kind) == 1, f"{kind} in {story}"
        seqs = sorted(seq for _, seq in self.world.server.events)
        assert seqs == list(range(1, len(seqs) + 1)), f"events are missing: {seqs}"


def survive(cut: Cut) -> None:
    """Assert that a rollback survives this cut; ``at`` is counted from when the release was kept."""
    it = Relapse()
    board = it.world.board
    board.flash.cut_at, board.flash.cut_in_half = it.kept_operations + cut.at, cut.in_half
    try:
        it.run()
    except PowerCut:
        board.flash = board.flash.power_cycle(cut.damage, seed=cut.seed)
    board.flash.cut_at = None
    it.run()
    it.check()


def operations() -> list[str]:
    """Return one line for each operation of an undisturbed rollback."""
    it = Relapse()
    it.run()
    it.check()
    return it.world.board.flash.log[it.kept_operations :]


def cuts() -> list[Cut]:
    """Return every single cut, with what was unsynced lost, kept and torn."""
    found = []
    for at, line in enumerate(operations(), 1):
        for in_half in (False, True) if " write " in f" {line} " else (False,):
            found += [Cut(at=at, in_half=in_half, damage=damage) for damage in Damage]
    return found


def test_a_power_cut_at_every_operation_of_a_rollback_after_the_commit_loses_nothing(
    record_property: Callable[[str, object], None],
) -> None:
    every = cuts()
    for cut in every:
        try:
            survive(cut)
        except (AssertionError, RuntimeError) as error:
            raise AssertionError(f"{cut}: {error}") from error
    points = len({cut.at for cut in every})
    record_property("figure", f"rollback after a commit: power cut at each of {points} operations, {len(every)} single cuts survived")


@pytest.mark.parametrize("damage", Damage)
def test_two_power_cuts_lose_no_more_than_one(damage: Damage) -> None:
    lines = len(operations())
    for first in range(1, lines + 1, 3):
        it = Relapse()
        board = it.world.board
        for gap in (first, 4):
            board.flash.cut_at = board.flash.operations + gap
            try:
                it.run()
            except PowerCut:
                board.flash = board.flash.power_cycle(damage, seed=first)
        board.flash.cut_at = None
        it.run()
        it.check()
