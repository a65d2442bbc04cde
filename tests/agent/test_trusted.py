# SPDX-License-Identifier: Apache-2.0
"""The store of verified metadata: whole sets, byte for byte."""

import pytest

from surefoot.agent.storage import replace_file
from surefoot.agent.trusted import TrustedStore
from surefoot.model.errors import DeviceError, SpaceError
from surefoot.simulator.flash import Damage, PowerCut, SimulatedFlash

OLD = {"root.json": b'{"signed": {"version": 1}}', "1.targets.json": b"{}"}
NEW = {"root.json": b'{"signed":\n {"version": 2, "x": "\xc3\xa9"}}\n', "2.targets.json": b"{}"}


def test_files_are_given_back_byte_for_byte() -> None:
    store = TrustedStore(SimulatedFlash(), "data/trusted")
    store.save("director", NEW)
    assert store.load("director") == NEW
    assert store.load("image") == {}


def test_an_equal_set_is_not_written_again() -> None:
    flash = SimulatedFlash()
    store = TrustedStore(flash, "data/trusted")
    store.save("image", NEW)
    before = flash.operations
    store.save("image", dict(reversed(NEW.items())))
    assert flash.operations == before


def test_a_damaged_file_is_not_taken_for_an_empty_one() -> None:
    flash = SimulatedFlash()
    replace_file(flash, "data/trusted/director.json", b'{"root.json": 1}')
    with pytest.raises(DeviceError, match=r"data/trusted/director\.json"):
        TrustedStore(flash, "data/trusted").load("director")


def test_without_room_the_old_set_stays() -> None:
    flash = SimulatedFlash(capacity_bytes=8192)
    store = TrustedStore(flash, "data")
    store.save("director", OLD)
    with pytest.raises(SpaceError):
        store.save("director", {"root.json": b"x" * 8192})
    assert store.load("director") == OLD


@pytest.mark.parametrize("damage", Damage)
def test_a_cut_at_any_operation_leaves_one_whole_set(damage: Damage) -> None:
    flash = SimulatedFlash()
    TrustedStore(flash, "data").save("director", OLD)
    done = flash.fork()
    TrustedStore(done, "data").save("director", NEW)
    for cut_at in range(flash.operations + 1, done.operations + 1):
        cut = flash.fork()
        cut.cut_at = cut_at
        with pytest.raises(PowerCut):
            TrustedStore(cut, "data").save("director", NEW)
        for seed in range(8):
            assert TrustedStore(cut.power_cycle(damage, seed=seed), "data").load("director") in (OLD, NEW), cut.log
