# SPDX-License-Identifier: Apache-2.0
"""Slots on block devices: what is written there, and what is refused before a byte is."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.agent.download import Downloader, DownloadTarget, Response
from surefoot.agent.installers.block import BlockFacts, facts_of, refusal
from surefoot.agent.installers.devices import HEAD_BYTES, SlotDevices
from surefoot.model.digest import digest_of
from surefoot.model.errors import (
    CorruptDownloadError,
    DeviceError,
    DigestError,
    SlotBusyError,
    SlotMissingError,
    SlotReadOnlyError,
    SpaceError,
    WrongSlotError,
)
from surefoot.model.slot import SlotName
from surefoot.simulator.clock import VirtualClock
from tests.agent.loopdev import loop_device, mounted, read_only
from tests.trust.repositories import NOW

A, B = SlotName.A, SlotName.B
SIZE = 1024 * 1024
IMAGE = os.urandom(300_001)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def devices(tmp_path: Path, stack: ExitStack) -> dict[SlotName, Path]:
    """Two block devices; a has an image."""
    (tmp_path / "a.disk").write_bytes(IMAGE)
    return {slot: stack.enter_context(loop_device(tmp_path / f"{slot}.disk", SIZE)) for slot in SlotName}


@pytest.fixture
def slots(devices: dict[SlotName, Path], stack: ExitStack) -> SlotDevices:
    slots = SlotDevices(devices, A)
    stack.callback(slots.close)
    return slots


def fill(slots: SlotDevices, image: bytes = IMAGE) -> None:
    file = slots.writer(B)
    file.write_at(0, image)
    file.sync()


def test_a_downloaded_image_is_on_the_device(slots: SlotDevices, devices: dict[SlotName, Path]) -> None:
    target = DownloadTarget(urls=("u",), size=len(IMAGE), hash=digest_of(IMAGE), slot=B)
    downloader = Downloader(Source(IMAGE), slots, VirtualClock(NOW))
    done = 0
    for until in (100_000, 200_000, len(IMAGE)):
        done = downloader.step(target, done, until)
        downloader = Downloader(Source(IMAGE), slots, VirtualClock(NOW))
    slots.install(B, len(IMAGE), digest_of(IMAGE))
    slots.verify(B, len(IMAGE), digest_of(IMAGE))
    assert devices[B].read_bytes()[: len(IMAGE)] == IMAGE
    assert slots.running_digest(A, len(IMAGE)) == digest_of(IMAGE)


def test_a_device_says_itself_how_much_it_holds(slots: SlotDevices, devices: dict[SlotName, Path]) -> None:
    assert slots.capacity_bytes == SIZE
    assert SlotDevices(devices, A, 1000).capacity_bytes == 1000
    assert SlotDevices(devices, A, 2 * SIZE).capacity_bytes == SIZE


def test_an_image_that_fills_the_device_passes_and_a_longer_one_is_refused(slots: SlotDevices) -> None:
    whole = os.urandom(SIZE)
    fill(slots, whole)
    slots.verify(B, SIZE, digest_of(whole))
    with pytest.raises(SpaceError, match=f"holds {SIZE} bytes"):
        slots.writer(B).write_at(SIZE - 1, b"ab")
    with pytest.raises(SpaceError, match=f"slot b holds {SIZE}"):
        Downloader(Source(b""), slots, VirtualClock(NOW)).step(
            DownloadTarget(urls=("u",), size=SIZE + 1, hash=digest_of(b""), slot=B), 0, SIZE + 1
        )


def test_a_changed_byte_is_refused_wherever_it_lies_in_the_image(slots: SlotDevices) -> None:
    for at in (0, 150_000, len(IMAGE) - 1):
        fill(slots)
        slots.writer(B).write_at(at, bytes([IMAGE[at] ^ 1]))
        with pytest.raises(DigestError, match="Slot b holds sha256:"):
            slots.verify(B, len(IMAGE), digest_of(IMAGE))


def test_what_lies_behind_the_image_means_nothing(slots: SlotDevices) -> None:
    fill(slots)
    slots.writer(B).write_at(len(IMAGE), b"rest of an older one")
    slots.verify(B, len(IMAGE), digest_of(IMAGE))


def test_what_the_medium_holds_is_read_back_and_not_what_was_cached(slots: SlotDevices, devices: dict[SlotName, Path]) -> None:
    fill(slots)
    backing = Path(f"/sys/block/{devices[B].name}/loop/backing_file").read_text().strip()
    with Path(backing).open("r+b") as file:
        file.seek(1000)
        file.write(b"the medium lied")
    with pytest.raises(DigestError):
        slots.verify(B, len(IMAGE), digest_of(IMAGE))


def test_wrong_bytes_leave_no_head_to_start(slots: SlotDevices, devices: dict[SlotName, Path]) -> None:
    target = DownloadTarget(urls=("u",), size=len(IMAGE), hash=digest_of(b"other"), slot=B)
    with pytest.raises(CorruptDownloadError):
        Downloader(Source(IMAGE), slots, VirtualClock(NOW)).step(target, 0, len(IMAGE))
    slots.close()
    assert devices[B].read_bytes()[:HEAD_BYTES] == bytes(HEAD_BYTES)


def test_the_running_slot_is_only_read(slots: SlotDevices, devices: dict[SlotName, Path], tmp_path: Path) -> None:
    with pytest.raises(WrongSlotError, match="Slot a is running"):
        slots.writer(A)
    with mounted(devices[A], tmp_path / "root"), read_only(devices[B]):
        assert slots.running_digest(A, 4096) == digest_of(devices[A].read_bytes()[:4096])
        assert slots.capacity_bytes == SIZE


def test_a_mounted_device_is_refused_and_nothing_is_written(slots: SlotDevices, devices: dict[SlotName, Path], tmp_path: Path) -> None:
    at = tmp_path / "some where"
    with mounted(devices[B], at):
        (at / "precious").write_text("data")
        for verb in (slots.writer, lambda slot: slots.verify(slot, 1, digest_of(b""))):
            with pytest.raises(SlotBusyError, match=f"{devices[B]} is mounted at {at}") as caught:
                verb(B)
            assert str(at) in caught.value.hint
        assert (at / "precious").read_text() == "data"


def test_the_kernel_refuses_what_nobody_told_of(devices: dict[SlotName, Path], tmp_path: Path) -> None:
    free = BlockFacts(exists=True, is_block=True)
    slots = SlotDevices(devices, A, look=lambda _: free)
    with mounted(devices[B], tmp_path / "m"), pytest.raises(SlotBusyError, match="used by something else"):
        slots.writer(B)
    with read_only(devices[B]), pytest.raises(DeviceError):
        slots.writer(B).write_at(0, b"x")
    with pytest.raises(SlotMissingError):
        SlotDevices({B: tmp_path / "nothing"}, A, look=lambda _: free).writer(B)


def test_nobody_can_mount_a_device_that_is_being_written(slots: SlotDevices, devices: dict[SlotName, Path], tmp_path: Path) -> None:
    with mounted(devices[B], tmp_path / "m"):
        pass
    slots.writer(B)
    with pytest.raises(subprocess.CalledProcessError, match="mount"), mounted(devices[B], tmp_path / "m"):
        pass


def test_a_read_only_device_is_refused(slots: SlotDevices, devices: dict[SlotName, Path]) -> None:
    with read_only(devices[B]), pytest.raises(SlotReadOnlyError, match=f"{devices[B]} is read-only"):
        slots.writer(B)


def test_a_missing_device_is_refused_when_it_is_written_and_hinders_nothing_before(devices: dict[SlotName, Path], tmp_path: Path) -> None:
    slots = SlotDevices({A: devices[A], B: tmp_path / "nothing"}, A)
    assert slots.capacity_bytes > SIZE
    assert slots.running_digest(A, len(IMAGE)) == digest_of(IMAGE)
    with pytest.raises(SlotMissingError, match="There is no device"):
        slots.writer(B)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, os.mkfifo], ids=["folder", "file", "pipe"])
def test_what_is_no_block_device_is_refused(devices: dict[SlotName, Path], tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "slot")
    with pytest.raises(WrongSlotError, match="not a block device"):
        SlotDevices({A: devices[A], B: tmp_path / "slot"}, A).writer(B)


def test_a_name_that_leads_elsewhere_after_the_download_is_refused(devices: dict[SlotName, Path], tmp_path: Path) -> None:
    link = tmp_path / "by-label"
    link.symlink_to(devices[B])
    slots = SlotDevices({A: devices[A], B: link}, A)
    fill(slots)
    link.unlink()
    link.symlink_to(devices[A])
    with pytest.raises(WrongSlotError, match="another device"):
        slots.verify(B, len(IMAGE), digest_of(IMAGE))


FREE = BlockFacts(exists=True, is_block=True)
PATH = Path("/dev/slot")


def test_a_free_device_may_be_written() -> None:
    assert refusal(PATH, FREE) is None


@given(st.builds(BlockFacts, exists=st.booleans(), is_block=st.booleans(), is_root=st.booleans(), is_read_only=st.booleans()))
def test_any_reason_is_enough_and_says_what_to_do(facts: BlockFacts) -> None:
    refused = refusal(PATH, facts)
    assert (refused is None) == (facts == FREE)
    assert refused is None or (refused.hint and str(PATH) in refused.message)


def system(folder: Path, number: str, **files: str) -> Path:
    """Make a ``proc`` and a ``sys`` that know one device."""
    for path, text in {f"sys/dev/block/{number}/ro": "0\n", "proc/self/mountinfo": "", "proc/swaps": "Filename\n", **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def test_a_disk_is_in_use_when_a_part_of_it_is(devices: dict[SlotName, Path], tmp_path: Path) -> None:
    found = devices[B].stat().st_rdev
    number = f"{os.major(found)}:{os.minor(found)}"
    part = f"sys/dev/block/{number}/p1"
    mountinfo = "36 35 98:1 / /mnt\\040data rw,noatime master:1 - ext4 /dev/x rw\n"
    files = {f"{part}/dev": "98:1\n", f"{part}/partition": "1\n", "proc/self/mountinfo": mountinfo}
    assert facts_of(devices[B], system(tmp_path, number, **files)).mounted_at == "/mnt data"


def test_swap_and_devices_made_of_it_hold_a_device(devices: dict[SlotName, Path], tmp_path: Path) -> None:
    found = devices[B].stat().st_rdev
    number = f"{os.major(found)}:{os.minor(found)}"
    swaps = f"Filename Type Size Used Priority\n{devices[B]} partition 1 0 -2\n/gone partition 1 0 -2\n"
    files = {"proc/swaps": swaps, f"sys/dev/block/{number}/holders/dm-0": ""}
    facts = facts_of(devices[B], system(tmp_path, number, **files))
    refused = refusal(devices[B], facts)
    assert facts.held_by == "swap, dm-0"
    assert isinstance(refused, SlotBusyError)


def test_the_root_of_the_running_system_is_known() -> None:
    root = Path("/").stat().st_dev
    disks = [path for path in Path("/dev").iterdir() if path.is_block_device() and path.stat().st_rdev == root]
    assert all(isinstance(refusal(disk, facts_of(disk)), WrongSlotError) for disk in disks)
    refused: DeviceError | None = refusal(PATH, BlockFacts(exists=True, is_block=True, is_root=True))
    assert isinstance(refused, WrongSlotError)


class Source:
    """A peer that has an image."""

    def __init__(self, image: bytes) -> None:
        self._image = image

    def open(self, _url: str, offset: int) -> Response:
        rest = self._image[offset:]
        pieces = iter([rest[at : at + 7000] for at in range(0, len(rest), 7000)])
        return Response(status=206, start=offset, total=None, chunks=pieces, close=lambda: None)
