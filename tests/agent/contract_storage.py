# SPDX-License-Identifier: Apache-2.0
"""The storage port's contract: laws that every implementation keeps while it has power."""

from collections.abc import Callable

import pytest

from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.model.errors import DeviceError


def a_missing_file_is_not_found(storage: Storage) -> None:
    assert not storage.exists("data/x")
    assert read_file(storage, "data/x") is None
    with pytest.raises(FileNotFoundError):
        storage.open("data/x")
    with pytest.raises(FileNotFoundError):
        storage.open("x")


def a_created_file_is_empty_and_exists(storage: Storage) -> None:
    with storage.open("data/deep/x", create=True) as file:
        assert file.size() == 0
        assert file.read_at(0, 10) == b""
    assert storage.exists("data/deep/x")
    assert not storage.exists("data/deep")


def opening_with_create_keeps_what_is_there(storage: Storage) -> None:
    replace_file(storage, "x", b"old")
    with storage.open("x", create=True) as file:
        assert file.read_at(0, 10) == b"old"


def bytes_are_read_back_where_they_were_written(storage: Storage) -> None:
    data = bytes(range(256)) * 40
    with storage.open("x", create=True) as file:
        file.write_at(0, data)
        file.write_at(5000, b"island")
        assert file.read_at(4998, 10) == data[4998:5000] + b"island" + data[5006:5008]
        assert file.read_at(len(data) - 3, 100) == data[-3:]
        assert file.read_at(len(data), 100) == b""
        assert file.size() == len(data)


def a_gap_reads_as_zeros(storage: Storage) -> None:
    with storage.open("x", create=True) as file:
        file.write_at(9000, b"end")
        assert file.size() == 9003
        assert file.read_at(0, 9003) == bytes(9000) + b"end"


def cutting_and_growing_leaves_zeros(storage: Storage) -> None:
    with storage.open("x", create=True) as file:
        file.write_at(0, b"a" * 10_000)
        file.truncate(4100)
        assert file.size() == 4100
        file.truncate(10_000)
        assert file.read_at(0, 10_000) == b"a" * 4100 + bytes(5900)


def a_rename_replaces_what_had_the_name(storage: Storage) -> None:
    replace_file(storage, "data/old", b"old")
    replace_file(storage, "data/new", b"new")
    storage.rename("data/new", "data/old")
    assert read_file(storage, "data/old") == b"new"
    assert not storage.exists("data/new")


def a_rename_into_another_folder_moves_the_file(storage: Storage) -> None:
    replace_file(storage, "one/x", b"x")
    replace_file(storage, "two/y", b"y")
    storage.rename("one/x", "two/x")
    storage.sync_folder("one/x")
    storage.sync_folder("two/x")
    assert read_file(storage, "two/x") == b"x"
    assert not storage.exists("one/x")


def a_folder_names_its_files_and_no_others(storage: Storage) -> None:
    assert storage.names("data") == []
    for path in ("data/b", "data/a", "data/deep/c", "other/d", "e"):
        replace_file(storage, path, b"x")
    assert storage.names("data") == ["a", "b"]
    storage.rename("data/a", "data/z")
    storage.remove("data/b")
    assert storage.names("data") == ["z"]
    assert storage.names("data/deep") == ["c"]


def renaming_nothing_is_not_found(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.rename("x", "y")


def removing_is_done_once_and_may_be_repeated(storage: Storage) -> None:
    replace_file(storage, "data/x", b"x")
    storage.remove("data/x")
    storage.remove("data/x")
    storage.remove("nowhere/x")
    assert not storage.exists("data/x")


def an_open_file_outlives_its_name(storage: Storage) -> None:
    replace_file(storage, "x", b"first")
    with storage.open("x") as file:
        replace_file(storage, "x", b"second")
        assert file.read_at(0, 10) == b"first"
    assert read_file(storage, "x") == b"second"


def two_openings_see_the_same_bytes(storage: Storage) -> None:
    with storage.open("x", create=True) as one, storage.open("x") as two:
        one.write_at(0, b"abc")
        assert two.read_at(0, 3) == b"abc"


def a_path_never_leaves_the_root(storage: Storage) -> None:
    for path in ("../x", "/etc/passwd", "data/../../x", "", "data//x", "./x", "data/", "x\0y"):
        with pytest.raises(DeviceError):
            storage.open(path, create=True)
        with pytest.raises(DeviceError):
            storage.exists(path)
        with pytest.raises(DeviceError):
            storage.remove(path)
        with pytest.raises(DeviceError):
            storage.sync_folder(path)
        with pytest.raises(DeviceError):
            storage.names(path)
    replace_file(storage, "x", b"x")
    with pytest.raises(DeviceError):
        storage.rename("x", "../x")


CONTRACT: list[Callable[[Storage], None]] = [
    a_missing_file_is_not_found,
    a_created_file_is_empty_and_exists,
    opening_with_create_keeps_what_is_there,
    bytes_are_read_back_where_they_were_written,
    a_gap_reads_as_zeros,
    cutting_and_growing_leaves_zeros,
    a_rename_replaces_what_had_the_name,
    a_rename_into_another_folder_moves_the_file,
    a_folder_names_its_files_and_no_others,
    renaming_nothing_is_not_found,
    removing_is_done_once_and_may_be_repeated,
    an_open_file_outlives_its_name,
    two_openings_see_the_same_bytes,
    a_path_never_leaves_the_root,
]


def name_of(law: Callable[[Storage], None]) -> str:
    """Return the law's sentence, for the test's id."""
    return law.__name__
