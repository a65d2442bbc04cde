# SPDX-License-Identifier: Apache-2.0
"""The file-backed bootloader: the agent's verbs, the bootloader's choice, and what a power cut may do to them."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.agent.boot.control import BootControl
from surefoot.agent.boot.file import boot, file_control, load, save
from surefoot.agent.boot.state import TRIES, BootState, SlotRecord, choose, factory, with_state
from surefoot.agent.storage import replace_file
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName, SlotState
from surefoot.simulator.flash import Damage, PowerCut, SimulatedFlash

A, B = SlotName.A, SlotName.B
GOOD, TRYING, BAD = SlotState.GOOD, SlotState.TRYING, SlotState.BAD

RECORDS = st.builds(SlotRecord, state=st.sampled_from([GOOD, BAD])) | st.builds(
    SlotRecord, state=st.just(TRYING), tries_left=st.integers(0, TRIES)
)
STATES = st.builds(
    BootState,
    primary=st.sampled_from(SlotName),
    last_good=st.sampled_from(SlotName),
    slots=st.fixed_dictionaries({A: RECORDS, B: RECORDS}),
)


@pytest.fixture
def flash() -> SimulatedFlash:
    flash = SimulatedFlash()
    save(flash, factory())
    return flash


def test_nothing_is_written_when_nothing_changes(flash: SimulatedFlash) -> None:
    before = flash.operations
    file_control(flash).set_primary(A)
    file_control(flash).set_state(A, GOOD)
    boot(flash)
    assert flash.operations == before


def test_with_no_bootable_slot_the_last_good_one_is_started() -> None:
    state = with_state(with_state(factory(B), A, BAD), B, BAD)
    assert choose(state) == (B, state)


def test_a_slot_made_bad_is_not_the_last_good_one_while_the_other_is_good() -> None:
    state = with_state(with_state(factory(A), B, GOOD), B, BAD)
    assert state.last_good is A


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\0" * 200,
        b'{"crc32":"00000000","state":{"last_good":"a","primary":"a","slots":{"a":{"state":"good","tries_left":0},"b":{"state":"bad","tries_left":0}}}}',
        b'{"crc32":"00000000","state":{"last_good":"a","primary":"a","slots":{"a":{"state":"good","tries_left":0}}}}',
    ],
)
def test_a_damaged_state_stops_both_sides(flash: SimulatedFlash, data: bytes) -> None:
    replace_file(flash, "boot.json", data)
    control = file_control(flash)
    for call in (lambda: boot(flash), control.get_primary, lambda: control.set_state(B, TRYING)):
        with pytest.raises(BootError, match=r"boot\.json"):
            call()


def test_a_missing_state_stops_both_sides() -> None:
    with pytest.raises(BootError, match=r"no bootloader state at boot\.json"):
        boot(SimulatedFlash())


def test_a_full_flash_is_a_boot_error_and_changes_nothing() -> None:
    flash = SimulatedFlash(capacity_bytes=4096)
    save(flash, factory())
    with pytest.raises(BootError, match="cannot be written"):
        file_control(flash).set_primary(B)
    assert file_control(flash).get_primary() is A


@given(state=STATES)
def test_a_bad_slot_is_started_only_when_no_slot_is_bootable(state: BootState) -> None:
    def is_bootable(slot: SlotName) -> bool:
        record = state.slots[slot]
        return record.state is GOOD or (record.state is TRYING and record.tries_left > 0)

    slot, after = choose(state)
    assert is_bootable(slot) or not any(map(is_bootable, SlotName))
    assert slot is after.primary


@given(state=STATES)
def test_trials_come_to_an_end(state: BootState) -> None:
    for _ in range(2 * TRIES + 1):
        _, state = choose(state)
    slot, settled = choose(state)
    assert settled == state
    assert slot is state.primary


CHANGES: list[Callable[[BootControl], None]] = [
    lambda control: control.set_state(B, TRYING),
    lambda control: control.set_primary(B),
    lambda control: control.set_state(B, GOOD),
]


@pytest.mark.parametrize("damage", Damage)
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_cut_at_any_operation_leaves_the_old_state_or_the_new(
    flash: SimulatedFlash, change: Callable[[BootControl], None], damage: Damage, *, half: bool
) -> None:
    done = flash.fork()
    change(file_control(done))
    allowed = [load(flash), load(done)]
    for cut_at in range(flash.operations + 1, done.operations + 1):
        cut = flash.fork()
        cut.cut_at, cut.cut_in_half = cut_at, half
        with pytest.raises(PowerCut):
            change(file_control(cut))
        assert all(load(cut.power_cycle(damage, seed=seed)) in allowed for seed in range(8)), cut.log
