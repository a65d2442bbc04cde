# SPDX-License-Identifier: Apache-2.0
"""The power fails while a device drops the roles of a former order: what the tag in its journal claims is still there."""

import copy
from dataclasses import replace

import pytest

from surefoot.agent.home import DATA, open_journal
from surefoot.agent.runner import Runner
from surefoot.agent.state import Phase
from surefoot.agent.transport import Polled
from surefoot.agent.trusted import TrustedStore
from surefoot.simulator.board import SimulatedBoard
from surefoot.simulator.flash import Damage, PowerCut, SimulatedFlash
from tests.attacks.stage import Stage
from tests.trust.repositories import PRODUCT

FORMER, NEXT = '"news"', '"next"'
ARCHIVE = f"{PRODUCT}+archive.json"


def board_on(stage: Stage, flash: SimulatedFlash) -> SimulatedBoard:
    return replace(stage.board, flash=flash, clock=copy.copy(stage.board.clock))


def has_begun(runner: Runner) -> bool:
    return runner.state.phase is Phase.DOWNLOADING


def held(flash: SimulatedFlash) -> tuple[str, set[str]]:
    """Return the tag in the journal, and the names of the image repository's files."""
    state = open_journal(flash).state
    assert state is not None
    return state.etag, set(TrustedStore(flash, f"{DATA}/trusted").load("image"))


def test_a_cut_at_any_operation_leaves_every_role_that_the_next_poll_will_claim() -> None:
    stage = Stage()
    archived = stage.release("1.1.0")
    stage.retire("1.1.0")
    stage.carry_out(archived)
    live = stage.release("1.2.0")
    stage.order(live)
    answer = stage.answer()
    stage.says(lambda _etag: Polled(next_poll_s=300, answer=answer, etag=NEXT))
    start = stage.board.flash.fork()
    assert held(start)[0] == FORMER
    done = start.fork()
    board_on(stage, done).run(has_begun)
    assert held(done) == (NEXT, {"root.json", "timestamp.json", "snapshot.json", "targets.json", f"{PRODUCT}.json"})
    seen = set()
    for cut_at in range(start.operations + 1, done.operations + 1):
        flash = start.fork()
        flash.cut_at = cut_at
        with pytest.raises(PowerCut):
            board_on(stage, flash).run(has_begun)
        for damage in Damage:
            tag, names = held(flash.power_cycle(damage, seed=cut_at))
            seen.add((tag, ARCHIVE in names))
            assert f"{PRODUCT}.json" in names
    assert seen == {(FORMER, True), (NEXT, True), (NEXT, False)}
