# SPDX-License-Identifier: Apache-2.0
"""A real folder as storage: the port's contract, and what only a real folder can do wrong."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path

import pytest

from surefoot.agent.posix import PosixFile, PosixStorage, SystemClock
from surefoot.agent.storage import Storage, replace_file
from surefoot.model.errors import DeviceError, SpaceError
from tests.agent.contract_storage import CONTRACT, name_of


@pytest.fixture
def umask_of_nothing() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


@pytest.mark.parametrize("law", CONTRACT, ids=name_of)
def test_posix_storage_keeps_the_contract(law: Callable[[Storage], None], tmp_path: Path) -> None:
    law(PosixStorage(tmp_path))


@pytest.mark.usefixtures("umask_of_nothing")
def test_files_and_folders_belong_to_the_agent_alone(tmp_path: Path) -> None:
    replace_file(PosixStorage(tmp_path), "data/deep/x", b"secret")
    assert (tmp_path / "data/deep/x").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data/deep").stat().st_mode & 0o777 == 0o700


def test_a_linked_file_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"untouched")
    root = tmp_path / "root"
    root.mkdir()
    (root / "x").symlink_to(outside)
    storage = PosixStorage(root)
    with pytest.raises(DeviceError, match="symbolic link"):
        storage.open("x", create=True)
    with pytest.raises(DeviceError, match="symbolic link"):
        storage.exists("x")
    assert outside.read_bytes() == b"untouched"


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "data").symlink_to(tmp_path / "outside")
    with pytest.raises(DeviceError, match="symbolic link"):
        PosixStorage(root).open("data/x", create=True)
    assert not list((tmp_path / "outside").iterdir())


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "y").write_bytes(b"y")
    (tmp_path / "x").symlink_to(tmp_path / "y")
    PosixStorage(tmp_path).remove("x")
    assert (tmp_path / "y").read_bytes() == b"y"


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    storage = PosixStorage(tmp_path)
    with pytest.raises(DeviceError, match="regular"):
        storage.open("pipe")
    with pytest.raises(DeviceError, match="folder"):
        storage.open("folder")
    assert not storage.exists("pipe")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(DeviceError, match="data/x"):
        PosixStorage(tmp_path).open("data/x", create=True)


def test_a_full_disk_is_a_space_error() -> None:
    # The one file of the system that is always full; it is opened here, as the storage itself refuses devices.
    with PosixFile("full", os.open("/dev/full", os.O_RDWR)) as file, pytest.raises(SpaceError, match="no space is left"):
        file.write_at(0, b"x")


def test_a_refused_write_is_a_device_error_that_names_the_file(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with storage.open("x", create=True) as file, pytest.raises(DeviceError, match="x cannot be written: File too large"):
            file.write_at(0, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path)
    before = _open_descriptors()
    replace_file(storage, "data/x", b"x")
    with pytest.raises(FileNotFoundError):
        storage.open("data/none/y")
    storage.remove("data/x")
    file = storage.open("z", create=True)
    file.close()
    file.close()
    assert _open_descriptors() == before


def test_the_system_clock_is_in_utc_and_does_not_go_back() -> None:
    clock = SystemClock()
    first = clock.monotonic()
    clock.sleep(-1)
    clock.sleep(0.001)
    assert clock.monotonic() > first
    assert clock.now().tzinfo is UTC


def _open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
