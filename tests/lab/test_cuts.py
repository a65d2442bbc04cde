# SPDX-License-Identifier: Apache-2.0
"""Where cuts are aimed: at the same requests every time, and at nothing else."""

import random

from lab.cuts import Struck, anywhere, in_slot_writes, in_state_writes
from lab.layout import DATA_OFFSET, SLOT_BYTES, SLOTS, STATE_OFFSET, STATE_RANGE
from lab.nbd import Request, Verb
from surefoot.agent.boot.block import COPY_BYTES
from surefoot.model.slot import SlotName


def write(offset: int, size: int = COPY_BYTES) -> Request:
    return Request(verb=Verb.WRITE, offset=offset, size=size)


def test_the_same_seed_cuts_at_the_same_places_with_the_same_damage() -> None:
    one, two = (list(anywhere(8, 3000, random.Random(6))) for _ in range(2))
    assert [cut.name for cut in one] == [cut.name for cut in two]
    sectors = range(100)
    assert [[cut.survives(n) for n in sectors] for cut in one] == [[cut.survives(n) for n in sectors] for cut in two]


def test_cuts_are_torn_and_lost_and_now_and_then_kept() -> None:
    survivors = [{cut.survives(n) for n in range(100)} for cut in anywhere(4, 3000, random.Random(6))]
    assert survivors == [{True, False}, {False}, {True, False}, {True}]


def test_an_aim_strikes_at_its_place_among_what_matches_and_nowhere_else() -> None:
    cut = list(in_state_writes(2, random.Random(6)))[1]
    aim = Struck(cut)
    read = Request(verb=Verb.READ, offset=STATE_OFFSET, size=COPY_BYTES)
    asked = [read, write(0), write(STATE_OFFSET), write(STATE_RANGE.stop), write(STATE_OFFSET + COPY_BYTES), write(STATE_OFFSET)]
    assert [aim(request) for request in asked] == [False, False, False, False, True, False]
    assert aim.seen == 3


def test_slot_writes_are_those_of_both_slots_and_of_nothing_else() -> None:
    (cut,) = in_slot_writes(1, 1, random.Random(6))
    matches = cut.matches
    ends = (SLOTS[SlotName.A], SLOTS[SlotName.B], SLOTS[SlotName.B] + SLOT_BYTES - COPY_BYTES)
    assert all(matches(write(offset)) for offset in ends)
    assert not matches(write(DATA_OFFSET))
    assert not matches(write(STATE_RANGE.start))
