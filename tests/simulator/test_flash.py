# SPDX-License-Identifier: Apache-2.0
"""Simulated flash: the port's contract while it has power, and only allowed damage when it goes."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.model.errors import SpaceError
from surefoot.simulator.flash import BLOCK, SECTOR, Damage, PowerCut, SimulatedFlash
from tests.agent.contract_storage import CONTRACT, name_of


@pytest.mark.parametrize("law", CONTRACT, ids=name_of)
def test_simulated_flash_keeps_the_contract(law: Callable[[Storage], None]) -> None:
    law(SimulatedFlash())


def test_each_block_and_each_call_is_an_operation() -> None:
    flash = SimulatedFlash()
    with flash.open("slots/b.img", create=True) as file:
        file.write_at(100, bytes(2 * BLOCK))
        file.sync()
    flash.rename("slots/b.img", "slots/a.img")
    flash.sync_folder("slots/a.img")
    flash.remove("slots/a.img")
    flash.remove("slots/a.img")
    assert flash.log == [
        "1 create slots/b.img",
        "2 write slots/b.img 100+3996",
        "3 write slots/b.img 4096+4096",
        "4 write slots/b.img 8192+100",
        "5 sync slots/b.img",
        "6 rename slots/b.img to slots/a.img",
        "7 sync folder slots",
        "8 remove slots/a.img",
    ]


def test_nothing_works_without_power() -> None:
    flash = SimulatedFlash()
    file = flash.open("x", create=True)
    flash.cut_at = 2
    with pytest.raises(PowerCut, match="operation 2: write x"):
        file.write_at(0, b"x")
    for call in (file.sync, file.size, lambda: flash.exists("x"), lambda: flash.open("x"), lambda: flash.count("boot")):
        with pytest.raises(PowerCut):
            call()
    file.close()
    assert flash.operations == 1


def test_a_cut_write_may_leave_half_of_its_block() -> None:
    flash = SimulatedFlash()
    file = flash.open("x", create=True)
    flash.sync_folder("x")
    flash.cut_at, flash.cut_in_half = 3, True
    with pytest.raises(PowerCut):
        file.write_at(0, b"x" * BLOCK)
    assert read_file(flash.power_cycle(Damage.KEPT), "x") == b"x" * (BLOCK // 2)
    assert read_file(flash.power_cycle(Damage.LOST), "x") == b""


def test_unsynced_names_are_undone_or_kept() -> None:
    flash = SimulatedFlash()
    replace_file(flash, "x", b"old")
    with flash.open("x.new", create=True) as file:
        file.write_at(0, b"new")
        file.sync()
    flash.rename("x.new", "x")
    assert read_file(flash.power_cycle(Damage.LOST), "x") == b"old"
    assert read_file(flash.power_cycle(Damage.KEPT), "x") == b"new"
    assert {read_file(flash.power_cycle(Damage.TORN, seed=seed), "x") for seed in range(20)} == {b"old", b"new"}


def test_a_rename_that_was_not_preceded_by_a_sync_can_lose_the_content() -> None:
    flash = SimulatedFlash()
    with flash.open("x.new", create=True) as file:
        file.write_at(0, b"new")
    flash.rename("x.new", "x")
    flash.sync_folder("x")
    assert read_file(flash.power_cycle(Damage.LOST), "x") == b""


def test_syncing_one_folder_does_not_sync_another() -> None:
    flash = SimulatedFlash()
    flash.open("one/x", create=True)
    flash.open("two/y", create=True)
    flash.sync_folder("one/x")
    after = flash.power_cycle(Damage.LOST)
    assert after.exists("one/x")
    assert not after.exists("two/y")


def test_a_file_moved_between_folders_is_never_in_none() -> None:
    flash = SimulatedFlash()
    flash.open("one/x", create=True)
    flash.rename("one/x", "two/x")
    flash.sync_folder("two/x")
    assert flash.power_cycle(Damage.LOST).exists("two/x")


def test_the_same_seed_tears_the_same_way() -> None:
    flash = SimulatedFlash()
    with flash.open("x", create=True) as file:
        file.write_at(0, bytes(range(256)) * 64)
    flash.sync_folder("x")
    torn = [read_file(flash.power_cycle(Damage.TORN, seed=seed), "x") for seed in (1, 1, 2, 3)]
    assert torn[0] == torn[1]
    assert len(set(torn)) == 3


def test_a_torn_block_is_a_mixture_of_whole_sectors() -> None:
    flash = SimulatedFlash()
    replace_file(flash, "x", b"a" * BLOCK)
    flash.open("x").write_at(0, b"b" * BLOCK)
    found = [read_file(flash.power_cycle(Damage.TORN, seed=seed), "x") or b"" for seed in range(5)]
    mixtures = [{sector[:1] for sector in sectors(content, BLOCK) if len(set(sector)) == 1} for content in found]
    assert {frozenset(mixture) for mixture in mixtures} == {frozenset({b"a", b"b"})}
    assert all(len(set(sector)) == 1 for content in found for sector in sectors(content, BLOCK))


def test_a_full_flash_refuses_and_keeps_what_it_has() -> None:
    flash = SimulatedFlash(capacity_bytes=3 * BLOCK)
    replace_file(flash, "x", b"x" * BLOCK)
    with pytest.raises(SpaceError, match=r"x\.new does not fit"):
        replace_file(flash, "x", b"y" * 3 * BLOCK)
    assert read_file(flash, "x") == b"x" * BLOCK
    flash.remove("x.new")
    replace_file(flash, "y", b"y" * 2 * BLOCK)
    with pytest.raises(SpaceError):
        flash.open("z", create=True)


def test_what_was_replaced_is_forgotten_once_nobody_has_it_open() -> None:
    flash = SimulatedFlash()
    replace_file(flash, "x", b"first")
    with flash.open("x") as held:
        for _ in range(5):
            replace_file(flash, "x", b"other")
        assert held.read_at(0, 9) == b"first"
        assert len(flash._inodes) == 2
    replace_file(flash, "x", b"last")
    assert len(flash._inodes) == 1


def test_a_flash_that_keeps_no_log_counts_all_the_same() -> None:
    flash = SimulatedFlash(keeps_log=False)
    replace_file(flash, "x", b"content")
    assert (flash.power_cycle(Damage.KEPT).log, flash.operations) == ([], 6)


def test_a_fork_goes_its_own_way() -> None:
    flash = SimulatedFlash()
    replace_file(flash, "x", b"before")
    fork = flash.fork()
    replace_file(flash, "x", b"here")
    replace_file(fork, "x", b"there")
    assert (read_file(flash, "x"), read_file(fork, "x")) == (b"here", b"there")
    assert fork.operations == flash.operations


def test_the_numbers_go_on_after_a_power_cut() -> None:
    flash = SimulatedFlash()
    replace_file(flash, "x", b"1")
    after = flash.power_cycle(Damage.LOST)
    after.count("report sent")
    assert after.log[-2:] == ["- power back, unsynced lost (seed 0)", f"{flash.operations + 1} report sent"]


@dataclass(frozen=True, slots=True)
class Write:
    path: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Truncate:
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    path: str


PATHS = st.sampled_from(["a", "b", "data/c"])
ACTIONS = st.one_of(
    st.builds(Write, PATHS, st.integers(0, 3 * BLOCK), st.integers(1, 2 * BLOCK)),
    st.builds(Truncate, PATHS, st.integers(0, 4 * BLOCK)),
    st.builds(Sync, PATHS),
)


def perform(flash: SimulatedFlash, actions: Sequence[Write | Truncate | Sync], synced: dict[str, bytes], seen: dict[str, bytes]) -> None:
    """Perform actions, keeping in ``synced`` and ``seen`` what a model says of chip and cache at the last step begun."""
    for number, action in enumerate(actions, 1):
        with flash.open(action.path) as file:
            match action:
                case Write():
                    # One block at a time, so that the model knows the cache at every operation.
                    for offset in range(action.offset, action.offset + action.size, BLOCK):
                        room = BLOCK - offset % BLOCK
                        file.write_at(offset, bytes([number]) * min(room, action.offset + action.size - offset))
                        seen[action.path] = file.read_at(0, file.size())
                case Truncate():
                    file.truncate(action.size)
                    seen[action.path] = file.read_at(0, file.size())
                case Sync():
                    file.sync()
                    synced[action.path] = seen[action.path]


def sectors(content: bytes, size: int) -> list[bytes]:
    padded = content[:size].ljust(-(-size // SECTOR) * SECTOR, b"\0")
    return [padded[start : start + SECTOR] for start in range(0, len(padded), SECTOR)]


@given(
    actions=st.lists(ACTIONS, max_size=12),
    cut_at=st.integers(7, 60),
    cut_in_half=st.booleans(),
    damage=st.sampled_from(Damage),
    seed=st.integers(0, 100),
)
def test_after_a_cut_every_sector_is_the_synced_one_or_the_written_one(
    *, actions: list[Write | Truncate | Sync], cut_at: int, cut_in_half: bool, damage: Damage, seed: int
) -> None:
    flash = SimulatedFlash()
    for path in ("a", "b", "data/c"):
        flash.open(path, create=True)
        flash.sync_folder(path)
    synced = dict.fromkeys(("a", "b", "data/c"), b"")
    seen = dict(synced)
    flash.cut_at, flash.cut_in_half = cut_at, cut_in_half
    with suppress(PowerCut):
        perform(flash, actions, synced, seen)
    cached = flash.power_cycle(Damage.KEPT)
    after = flash.power_cycle(damage, seed=seed)
    for path, old in synced.items():
        new, found = read_file(cached, path) or b"", read_file(after, path) or b""
        assert cut_in_half or new == seen[path], flash.log
        assert min(len(old), len(new)) <= len(found) <= max(len(old), len(new)), flash.log
        pairs = zip(sectors(found, len(found)), sectors(old, len(found)), sectors(new, len(found)), strict=True)
        assert all(sector in {was, became} for sector, was, became in pairs), flash.log
        if damage is Damage.LOST:
            assert found == old, flash.log
