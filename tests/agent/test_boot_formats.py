# SPDX-License-Identifier: Apache-2.0
"""What bootloaders' states look like on their media, and that others read them as we do."""

import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.agent.boot.block import COPY_BYTES, MOST, BlockStore, Copy, decode, encode
from surefoot.agent.boot.efi import parse
from surefoot.agent.boot.state import TRIES, BootState, SlotRecord, factory, with_state
from surefoot.agent.boot.uboot import UBootStore
from surefoot.agent.boot.variables import from_variables, to_variables
from surefoot.agent.storage import replace_file
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName, SlotState
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.loaders import UBootEnvironment
from tests.agent.rigs import ENV, ENV_BYTES, uboot_environment, write_environment
from tests.docs.pages import ROOT

A, B = SlotName.A, SlotName.B
RECORDS = st.sampled_from([SlotRecord(state=SlotState.GOOD), SlotRecord(state=SlotState.BAD)]) | st.builds(
    SlotRecord, state=st.just(SlotState.TRYING), tries_left=st.integers(0, TRIES)
)
STATES = st.builds(
    BootState,
    primary=st.sampled_from(SlotName),
    last_good=st.sampled_from(SlotName),
    slots=st.fixed_dictionaries({A: RECORDS, B: RECORDS}),
)
ON_TRIAL = with_state(factory(), B, SlotState.TRYING)


@given(state=STATES)
def test_variables_hold_all_of_a_state(state: BootState) -> None:
    variables = to_variables(state)
    assert from_variables({**variables, "bootdelay": "3"}, "there") == state
    # Who knows RAUC's convention alone reads the same: no starts left, no start.
    for slot, record in state.slots.items():
        may_start = record.state is SlotState.GOOD or record.tries_left > 0
        assert (int(variables[f"BOOT_{slot.upper()}_LEFT"], 16) > 0) is may_start


@given(state=STATES, sequence=st.integers(0, MOST))
def test_a_copy_is_what_uboot_exports(state: BootState, sequence: int) -> None:
    data = encode(Copy(sequence=sequence, state=state))
    assert len(data) == COPY_BYTES
    assert int.from_bytes(data[:4], "little") == zlib.crc32(data[4:])
    strings = data[4:].rstrip(b"\0").decode().split("\0")
    assert strings == sorted(strings)
    assert f"BOOT_SEQ={sequence:x}" in strings
    assert decode(data, "x") == Copy(sequence=sequence, state=state)


@given(at=st.integers(0, COPY_BYTES - 1), bit=st.integers(0, 7))
def test_a_copy_with_a_flipped_bit_is_none(at: int, bit: int) -> None:
    data = bytearray(encode(Copy(sequence=7, state=ON_TRIAL)))
    data[at] ^= 1 << bit
    assert decode(bytes(data), "x") is None


def block(*copies: bytes) -> BlockStore:
    flash = SimulatedFlash()
    replace_file(flash, "block", b"".join(copies))
    return BlockStore(lambda: flash.open("block"), (0, COPY_BYTES), "block")


def test_the_newer_copy_holds_and_the_older_one_is_overwritten() -> None:
    old, new = encode(Copy(sequence=9, state=factory())), encode(Copy(sequence=10, state=ON_TRIAL))
    for copies in ((old, new), (new, old), (new, bytes(COPY_BYTES)), (new,), (new, new)):
        store = block(*copies)
        assert store.read() == ON_TRIAL
        store.write(factory())
        assert store.read() == factory()
    assert block(bytes(COPY_BYTES), new).read() == ON_TRIAL


def test_the_newer_copy_is_not_touched() -> None:
    # All that a copy says lies in its first sector: a cut would hardly ever show that the wrong one was overwritten.
    flash = SimulatedFlash()
    new = encode(Copy(sequence=10, state=ON_TRIAL))
    replace_file(flash, "block", encode(Copy(sequence=9, state=factory())) + new)
    BlockStore(lambda: flash.open("block"), (0, COPY_BYTES), "block").write(factory())
    with flash.open("block") as file:
        assert file.read_at(0, COPY_BYTES) == encode(Copy(sequence=11, state=factory()))
        assert file.read_at(COPY_BYTES, COPY_BYTES) == new


def test_copies_of_one_number_that_differ_are_not_chosen_between() -> None:
    with pytest.raises(BootError, match="one number and say different things"):
        block(encode(Copy(sequence=9, state=factory())), encode(Copy(sequence=9, state=ON_TRIAL))).read()


def sealed(text: bytes) -> bytes:
    data = text.ljust(COPY_BYTES - 4, b"\0")
    return zlib.crc32(data).to_bytes(4, "little") + data


@pytest.mark.parametrize("text", [b"BOOT_SEQ=-1\0", b"BOOT_SEQ=80000000\0", b"BOOT_SEQ=x\0", b"BOOT_SEQ=1\0", b"\xff\0", b""])
def test_a_copy_with_a_right_checksum_that_makes_no_sense_is_not_passed_over(text: bytes) -> None:
    with pytest.raises(BootError):
        block(sealed(text), encode(Copy(sequence=9, state=factory()))).read()


def test_a_block_that_was_changed_too_often_is_not_changed() -> None:
    store = block(encode(Copy(sequence=MOST, state=factory())))
    with pytest.raises(BootError, match="too often"):
        store.write(ON_TRIAL)
    assert store.read() == factory()


@pytest.mark.parametrize("flags", [(1, 2), (2, 1), (254, 255), (255, 254), (255, 0), (0, 255), (7, None), (None, 7)])
def test_libubootenv_and_the_model_of_uboot_mean_the_same_copy(tmp_path: Path, flags: tuple[int | None, int | None]) -> None:
    config = write_environment(tmp_path, to_variables(factory()))
    states = (factory(), ON_TRIAL)
    lines = [
        (b"".join(f"{name}={value}\0".encode() for name, value in to_variables(state).items()) + b"\0").ljust(ENV_BYTES - 5, b"\0")
        for state in states
    ]
    copies = [bytes(ENV_BYTES) if flag is None else UBootEnvironment.sealed(text, flag) for text, flag in zip(lines, flags, strict=True)]
    (tmp_path / ENV).write_bytes(b"".join(copies))
    agent, loader = UBootStore(str(config), timeout_s=60), uboot_environment(tmp_path)
    assert agent.read() == loader.read()
    for state in (ON_TRIAL, factory(), ON_TRIAL):
        agent.write(state)
        assert loader.read() == agent.read() == state
        loader.write(factory())
        assert agent.read() == loader.read() == factory()


def test_other_variables_are_left_alone(tmp_path: Path) -> None:
    config = write_environment(tmp_path, {"bootcmd": "run a; b=c", "ethaddr": "02:00:00:00:00:01", **to_variables(factory())})
    UBootStore(str(config), timeout_s=60).write(ON_TRIAL)
    variables = uboot_environment(tmp_path).load()[2]
    assert (variables["bootcmd"], variables["ethaddr"]) == ("run a; b=c", "02:00:00:00:00:01")


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["surefoot-2-a.conf"],
        ["surefoot-2-a.conf", "surefoot-1-b.conf", "surefoot-3-b.conf"],
        ["surefoot-2-a.conf", "surefoot-1-b.conf", "surefoot-1-b+3-0.conf"],
        ["surefoot-2-a.conf", "surefoot-2-b.conf"],
        ["surefoot-1-a.conf", "surefoot-3-b.conf"],
        ["surefoot-2-a.conf", "surefoot-3-b+03-0.conf"],
        ["surefoot-2-a.conf", "surefoot-3-b+3.conf"],
        ["surefoot-2-a.conf", "surefoot-3-b.conf.bak"],
    ],
)
def test_entries_that_are_not_one_for_each_slot_are_not_chosen_between(names: list[str]) -> None:
    with pytest.raises(BootError):
        parse(names, "surefoot")


def test_entries_of_others_do_not_matter() -> None:
    found = parse(["debian-6.1.conf", "surefoot-2-a.conf", "surefoot-3-b+1-2.conf"], "surefoot")
    assert (found[A].left, found[B].left, found[B].done) == (None, 1, 2)


def test_grub_can_read_the_boot_script() -> None:
    subprocess.run(["grub-script-check", ROOT / "integration/grub/grub.cfg"], check=True)


def test_the_boot_scripts_know_every_variable() -> None:
    for script in ("uboot/boot.cmd", "grub/grub.cfg"):
        text = (ROOT / "integration" / script).read_text()
        assert [name for name in to_variables(factory()) if name not in text] == []
