# SPDX-License-Identifier: Apache-2.0
"""Slots as files, and the order in which the bootloader is told."""

from collections.abc import Callable

import pytest

from surefoot.agent.boot.control import BootControl
from surefoot.agent.boot.file import boot, file_control, save
from surefoot.agent.boot.state import factory
from surefoot.agent.install import activate, commit, prepare, revert
from surefoot.agent.installers.files import SlotFiles
from surefoot.model.digest import digest_of
from surefoot.model.errors import BootError, DigestError
from surefoot.model.slot import SlotName, SlotState
from surefoot.simulator.flash import Damage, PowerCut, SimulatedFlash

A, B = SlotName.A, SlotName.B
PATHS = {A: "slots/a.img", B: "slots/b.img"}
IMAGE = bytes(range(256)) * 700


@pytest.fixture
def flash() -> SimulatedFlash:
    flash = SimulatedFlash()
    save(flash, factory())
    return flash


@pytest.fixture
def slots(flash: SimulatedFlash) -> SlotFiles:
    slots = SlotFiles(flash, PATHS, capacity_bytes=1_000_000)
    slots.writer(B).write_at(0, IMAGE)
    return slots


def test_a_slot_with_the_signed_bytes_passes(slots: SlotFiles) -> None:
    slots.verify(B, len(IMAGE), digest_of(IMAGE))


def test_a_changed_byte_is_refused(slots: SlotFiles) -> None:
    slots.writer(B).write_at(100_000, b"!")
    with pytest.raises(DigestError, match="Slot b holds sha256:"):
        slots.verify(B, len(IMAGE), digest_of(IMAGE))


@pytest.mark.parametrize("size", [len(IMAGE) - 1, len(IMAGE) + 1])
def test_another_length_is_refused(slots: SlotFiles, size: int) -> None:
    slots.writer(B).truncate(size)
    with pytest.raises(DigestError, match=f"holds {size} bytes and not the {len(IMAGE)}"):
        slots.verify(B, len(IMAGE), digest_of(IMAGE))


def test_an_empty_slot_is_refused(slots: SlotFiles) -> None:
    with pytest.raises(DigestError, match="Slot a holds 0 bytes"):
        slots.verify(A, len(IMAGE), digest_of(IMAGE))


def test_what_lies_under_the_name_of_a_slot_is_verified_whatever_was_written(flash: SimulatedFlash, slots: SlotFiles) -> None:
    flash.rename("slots/b.img", "slots/elsewhere.img")
    with pytest.raises(DigestError, match="holds 0 bytes"):
        slots.verify(B, len(IMAGE), digest_of(IMAGE))
    flash.rename("slots/elsewhere.img", "slots/b.img")
    slots.verify(B, len(IMAGE), digest_of(IMAGE))


def test_the_name_of_a_new_slot_file_is_durable(flash: SimulatedFlash) -> None:
    SlotFiles(flash, PATHS, capacity_bytes=1).writer(B)
    assert flash.power_cycle(Damage.LOST).exists("slots/b.img")


def test_the_running_digest_is_that_of_the_image_alone(slots: SlotFiles) -> None:
    assert slots.running_digest(B, 1000) == digest_of(IMAGE[:1000])
    assert slots.running_digest(B, 10**9) == digest_of(IMAGE)


def test_the_running_slot_is_never_prepared(flash: SimulatedFlash) -> None:
    control = file_control(flash)
    with pytest.raises(BootError, match="Slot a is running"):
        prepare(control, A, A)
    assert control.get_state(A) is SlotState.GOOD


def test_a_slot_being_written_is_not_started(flash: SimulatedFlash) -> None:
    control = file_control(flash)
    activate(control, B)
    prepare(control, B, A)
    assert control.get_state(B) is SlotState.BAD
    assert control.get_primary() is A
    assert boot(flash) is A


def test_what_runs_starts_after_every_cut_though_the_bootloader_was_told_to_leave_it(flash: SimulatedFlash) -> None:
    start = flash.fork()
    control = file_control(start)
    activate(control, B)
    commit(control, B)
    revert(control, B, A)
    done = start.fork()
    prepare(file_control(done), A, B)
    assert boot(done.fork()) is B, "slot a is about to be half written"
    assert file_control(done).get_state(A) is SlotState.BAD
    for cut_at in range(start.operations + 1, done.operations + 1):
        cut = start.fork()
        cut.cut_at = cut_at
        try:
            prepare(file_control(cut), A, B)
        except PowerCut:
            cut = cut.power_cycle(Damage.TORN, seed=cut_at)
        again = file_control(cut)
        assert again.get_state(again.get_primary()) is SlotState.GOOD, cut.log


def test_a_slot_that_was_left_is_not_started_again(flash: SimulatedFlash) -> None:
    control = file_control(flash)
    activate(control, B)
    revert(control, B, A)
    assert control.get_state(B) is SlotState.BAD
    assert boot(flash) is A


def test_going_back_to_a_bad_slot_is_refused(flash: SimulatedFlash) -> None:
    control = file_control(flash)
    activate(control, B)
    control.set_state(A, SlotState.BAD)
    with pytest.raises(BootError, match="nothing to go back to"):
        revert(control, B, A)
    assert boot(flash) is B


STEPS: list[tuple[str, Callable[[BootControl], None], set[SlotName]]] = [
    ("prepare", lambda control: prepare(control, B, A), {A}),
    ("activate", lambda control: activate(control, B), {A, B}),
    ("commit", lambda control: commit(control, B), {B}),
    ("revert", lambda control: revert(control, B, A), {A, B}),
]


def before(flash: SimulatedFlash, step: str) -> SimulatedFlash:
    """Return the flash as it is before ``step``, with every earlier step done."""
    fork = flash.fork()
    for name, perform, _ in STEPS:
        if name == step:
            break
        perform(file_control(fork))
    return fork


@pytest.mark.parametrize(("name", "perform", "bootable"), STEPS, ids=[name for name, *_ in STEPS])
def test_a_cut_step_leaves_a_slot_to_boot_and_can_be_repeated(
    flash: SimulatedFlash, name: str, perform: Callable[[BootControl], None], bootable: set[SlotName]
) -> None:
    start = before(flash, name)
    done = start.fork()
    perform(file_control(done))
    perform(file_control(done))
    for cut_at in range(start.operations + 1, done.operations + 1):
        cut = start.fork()
        cut.cut_at = cut_at
        try:
            perform(file_control(cut))
        except PowerCut:
            cut = cut.power_cycle(Damage.TORN, seed=cut_at)
        again = file_control(cut)
        assert again.get_state(again.get_primary()) is not SlotState.BAD, cut.log
        assert boot(cut.fork()) in bootable, cut.log
        perform(again)
        wanted = file_control(done)
        assert again.get_primary() is wanted.get_primary(), cut.log
        assert [again.get_state(slot) for slot in SlotName] == [wanted.get_state(slot) for slot in SlotName], cut.log
