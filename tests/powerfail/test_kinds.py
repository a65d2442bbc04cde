# SPDX-License-Identifier: Apache-2.0
"""A sample of the power cuts under every kind of board that ``make powerfail`` makes in full."""

import random
from collections.abc import Callable

import pytest

from surefoot.simulator.board import Behaviour
from surefoot.simulator.flash import Damage
from tests.powerfail.snapshots import cut_everywhere, life
from tests.powerfail.worlds import BACKENDS, FORGETFUL_RAUC, KINDS, Backend, Filler, Story


@pytest.mark.parametrize("behaviour", [Behaviour.GOOD, Behaviour.CRASHES])
@pytest.mark.parametrize(("backend", "filler"), KINDS, ids=[f"{backend.name} with {filler.name}" for backend, filler in KINDS])
def test_every_kind_of_board_survives_cuts_and_converges(
    backend: Backend, filler: Filler, behaviour: Behaviour, record_property: Callable[[str, object], None]
) -> None:
    story = Story.of(backend, filler, behaviour)
    survived = cut_everywhere(story, seeds=1, pairs=20, chance=random.Random(1), every=6)  # noqa: S311  # the same pairs every time
    assert survived.operations > 25
    record_property("figure", f"{story}: {survived.singles} power cuts and {survived.pairs} pairs of them survived")


def test_an_installer_that_does_not_sync_would_be_caught() -> None:
    story = Story.of(BACKENDS[0], FORGETFUL_RAUC, Behaviour.GOOD)
    with pytest.raises(AssertionError, match=r"a rauc that does not sync, good release, cut at .* lost 0"):
        cut_everywhere(story, seeds=0, pairs=0, chance=random.Random(1))  # noqa: S311  # no pairs


def test_a_life_goes_on_from_a_snapshot_as_it_would_have_gone_on() -> None:
    story = Story.of(*KINDS[0], Behaviour.GOOD)
    taken = life(story.world())
    assert [snapshot.at for snapshot in taken if not snapshot.in_half] == list(range(taken[0].at, taken[-1].at + 1))
    assert {snapshot.what for snapshot in taken if snapshot.in_half} <= {snapshot.what for snapshot in taken if not snapshot.in_half}
    before = taken[len(taken) // 2]
    assert before.after(Damage.KEPT, 0).board.flash.fingerprint() == before.world.board.flash.fingerprint()
    later = life(before.after(Damage.KEPT, 0))
    assert later[0].at == before.at
