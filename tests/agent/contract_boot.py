# SPDX-License-Identifier: Apache-2.0
"""The bootloader port's contract: laws that every backend keeps with its loader, from the factory on (A good and primary, B bad)."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from msgspec import structs

from surefoot.agent import install
from surefoot.agent.boot.control import BootControl
from surefoot.agent.boot.state import TRIES, BootState, SlotRecord, choose, factory, with_state
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName, SlotState

A, B = SlotName.A, SlotName.B
GOOD, TRYING, BAD = SlotState.GOOD, SlotState.TRYING, SlotState.BAD


@dataclass(kw_only=True)
class Rig:
    """A backend, its loader, and the medium between them.

    Attributes:
        connect: Makes the agent's side anew, as an agent does that starts in that slot.
        load: Is the loader once.
        trace: What lies on the medium; equal as long as nobody wrote.
        spoil: Makes the state unreadable.
        lose: Cuts the power: what was not synced is lost.
        counts_kept: Whether the loader counts the starts of kept slots too, so that a good one is marked again and again.
        running: The slot that runs.
    """

    connect: Callable[[SlotName], BootControl]
    load: Callable[[], SlotName]
    trace: Callable[[], object]
    spoil: Callable[[], None]
    lose: Callable[[], None]
    counts_kept: bool = False
    running: SlotName = field(default=A)

    @property
    def control(self) -> BootControl:
        """A fresh agent's side."""
        return self.connect(self.running)

    def boot(self) -> SlotName:
        """Start a slot, and the agent in it."""
        self.running = self.load()
        install.keep(self.control, self.running)
        return self.running

    def boots(self, count: int) -> list[SlotName]:
        """Start a few times."""
        return [self.boot() for _ in range(count)]

    def try_b(self) -> None:
        """Install into B."""
        install.activate(self.control, B)


def a_new_board_starts_the_slot_from_the_factory(rig: Rig) -> None:
    assert rig.boots(TRIES + 2) == [A] * (TRIES + 2)
    assert (rig.control.get_primary(), rig.control.get_state(A), rig.control.get_state(B)) == (A, GOOD, BAD)


def what_is_set_is_what_the_next_agent_reads(rig: Rig) -> None:
    for state in (TRYING, GOOD, BAD, GOOD, TRYING, BAD):
        rig.control.set_state(B, state)
        assert (rig.control.get_state(B), rig.control.get_state(A), rig.control.get_primary()) == (state, GOOD, A)
    rig.control.set_state(B, GOOD)
    for slot in (B, A, B):
        rig.control.set_primary(slot)
        assert (rig.control.get_primary(), rig.control.get_state(A), rig.control.get_state(B)) == (slot, GOOD, GOOD)


def each_verb_is_durable_when_it_returns(rig: Rig) -> None:
    rig.control.set_state(B, TRYING)
    rig.lose()
    assert rig.control.get_state(B) is TRYING
    rig.control.set_primary(B)
    rig.lose()
    assert rig.control.get_primary() is B
    assert rig.boot() is B


def a_verb_done_twice_is_done_once(rig: Rig) -> None:
    for _ in range(2):
        rig.control.set_state(B, TRYING)
        rig.control.set_primary(B)
        rig.control.set_primary(B)
    assert (rig.control.get_primary(), rig.control.get_state(B)) == (B, TRYING)
    assert rig.boots(TRIES + 1) == [B] * TRIES + [A]


def nothing_is_written_when_nothing_changes(rig: Rig) -> None:
    before = rig.trace()
    rig.control.get_primary()
    rig.control.get_state(B)
    rig.control.set_primary(A)
    rig.control.set_state(B, BAD)
    if not rig.counts_kept:
        rig.control.set_state(A, GOOD)
        rig.boot()
    assert rig.trace() == before


def making_a_slot_bootable_does_not_make_it_primary(rig: Rig) -> None:
    rig.control.set_state(B, TRYING)
    assert rig.control.get_primary() is A
    assert rig.boots(2) == [A, A]
    rig.control.set_state(B, GOOD)
    assert rig.control.get_primary() is A
    assert rig.boots(2) == [A, A]


def a_trial_is_started_as_often_as_it_has_tries_and_is_then_given_up(rig: Rig) -> None:
    rig.try_b()
    assert rig.boots(TRIES + 2) == [B] * TRIES + [A, A]
    assert (rig.control.get_primary(), rig.control.get_state(B)) == (A, BAD)


def a_start_on_trial_is_counted_before_the_slot_runs(rig: Rig) -> None:
    rig.try_b()
    rig.boot()
    rig.lose()
    assert rig.boots(TRIES) == [B] * (TRIES - 1) + [A]


def the_last_try_is_still_a_trial_while_it_runs(rig: Rig) -> None:
    rig.try_b()
    rig.boots(TRIES)
    assert rig.control.get_state(B) is TRYING
    install.commit(rig.control, B)
    assert rig.control.get_state(B) is GOOD
    assert rig.boots(TRIES + 1) == [B] * (TRIES + 1)


def setting_trying_again_gives_all_tries_again(rig: Rig) -> None:
    rig.try_b()
    rig.boots(TRIES - 1)
    rig.control.set_state(B, TRYING)
    assert rig.boots(TRIES + 1) == [B] * TRIES + [A]


def a_kept_slot_is_started_for_ever(rig: Rig) -> None:
    rig.try_b()
    rig.boot()
    install.commit(rig.control, B)
    assert rig.boots(2 * TRIES) == [B] * 2 * TRIES
    assert (rig.control.get_primary(), rig.control.get_state(A), rig.control.get_state(B)) == (B, GOOD, GOOD)


def a_slot_that_was_given_up_can_be_tried_again(rig: Rig) -> None:
    rig.try_b()
    rig.boots(TRIES + 1)
    install.prepare(rig.control, B, A)
    rig.try_b()
    assert rig.boots(2) == [B, B]
    install.commit(rig.control, B)
    install.prepare(rig.control, A, B)
    install.activate(rig.control, A)
    assert rig.boots(TRIES + 1) == [A] * TRIES + [B]


def a_bad_primary_is_not_started(rig: Rig) -> None:
    rig.try_b()
    rig.control.set_state(B, BAD)
    assert rig.boots(2) == [A, A]


def a_release_is_taken_back_for_good(rig: Rig) -> None:
    rig.try_b()
    rig.boot()
    install.revert(rig.control, B, A)
    assert (rig.control.get_primary(), rig.control.get_state(B)) == (A, BAD)
    assert rig.boots(2) == [A, A]


def a_slot_is_made_bad_before_it_is_overwritten(rig: Rig) -> None:
    rig.control.set_state(B, GOOD)
    rig.control.set_primary(B)
    install.prepare(rig.control, B, A)
    assert (rig.control.get_primary(), rig.control.get_state(B)) == (A, BAD)
    assert rig.boots(2) == [A, A]


def a_state_that_cannot_be_read_stops_both_sides(rig: Rig) -> None:
    rig.spoil()
    control = rig.control
    verbs: list[Callable[[], object]] = [
        control.get_primary,
        lambda: control.set_primary(B),
        lambda: control.get_state(A),
        lambda: control.set_state(B, TRYING),
        lambda: control.set_state(A, GOOD),
        rig.load,
    ]
    for verb in verbs:
        with pytest.raises(BootError) as caught:
            verb()
        assert caught.value.hint


def any_life_is_as_the_rules_say(rig: Rig, seed: int = 6) -> None:
    chance = random.Random(seed)  # noqa: S311  # the same lives every time
    model, running = factory(A), A
    for _ in range(40):
        slot, state = chance.choice(list(SlotName)), chance.choice(list(SlotState))
        match chance.randrange(4):
            case 0:
                running, model = choose(model)
                assert rig.boot() is running
            # A loader may give a slot that becomes primary all its tries back: RAUC's does.
            case 1 if model.slots[slot] in (SlotRecord(state=GOOD), SlotRecord(state=TRYING, tries_left=TRIES)):
                model = structs.replace(model, primary=slot)
                rig.control.set_primary(slot)
            case _ if state is GOOD or model.slots[slot.other].state is GOOD:
                if state is BAD and model.primary is slot:
                    model = structs.replace(model, primary=slot.other)
                    rig.control.set_primary(slot.other)
                model = with_state(model, slot, state)
                rig.control.set_state(slot, state)
        _agree(rig, model, running)


def _agree(rig: Rig, model: BootState, running: SlotName) -> None:
    """Assert that the agent reads what the model says; of a slot that used up its tries the loader may say so now or later."""
    if not _is_spent(model.slots[model.primary]):
        assert rig.control.get_primary() is model.primary
    for slot, record in model.slots.items():
        if not _is_spent(record) or slot is running:
            assert rig.control.get_state(slot) is record.state


def _is_spent(record: SlotRecord) -> bool:
    return record.state is TRYING and record.tries_left == 0


CONTRACT: list[Callable[[Rig], None]] = [
    a_new_board_starts_the_slot_from_the_factory,
    what_is_set_is_what_the_next_agent_reads,
    each_verb_is_durable_when_it_returns,
    a_verb_done_twice_is_done_once,
    nothing_is_written_when_nothing_changes,
    making_a_slot_bootable_does_not_make_it_primary,
    a_trial_is_started_as_often_as_it_has_tries_and_is_then_given_up,
    a_start_on_trial_is_counted_before_the_slot_runs,
    the_last_try_is_still_a_trial_while_it_runs,
    setting_trying_again_gives_all_tries_again,
    a_kept_slot_is_started_for_ever,
    a_slot_that_was_given_up_can_be_tried_again,
    a_bad_primary_is_not_started,
    a_release_is_taken_back_for_good,
    a_slot_is_made_bad_before_it_is_overwritten,
    a_state_that_cannot_be_read_stops_both_sides,
    any_life_is_as_the_rules_say,
]
