# SPDX-License-Identifier: Apache-2.0
"""Drafts: whole or not at all."""

from pathlib import Path

import pytest

from surefoot.model.errors import InvalidInput, RecipeError, StoreError
from surefoot.release.draft import draft_bundle


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("target", ["new", "empty", "a/b/new"])
def test_the_folder_appears_when_the_block_ends(tmp_path: Path, target: str) -> None:
    (tmp_path / "empty").mkdir()
    with draft_bundle(tmp_path / target) as draft:
        (draft / "file").write_bytes(b"x")
        assert not (tmp_path / target / "file").exists()
    assert (tmp_path / target / "file").read_bytes() == b"x"
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_an_archive_appears_when_the_block_ends(tmp_path: Path) -> None:
    with draft_bundle(tmp_path / "x.tar") as draft:
        (draft / "file").write_bytes(b"x")
    assert names(tmp_path) == ["x.tar"]


def fail_half_way(draft: Path) -> None:
    (draft / "file").write_bytes(b"x")
    raise RecipeError("It is wrong.")


@pytest.mark.parametrize("target", ["new", "new.tar", "a/b/new"])
def test_nothing_is_left_when_the_block_fails(tmp_path: Path, target: str) -> None:
    with pytest.raises(RecipeError), draft_bundle(tmp_path / target) as draft:
        fail_half_way(draft)
    assert names(tmp_path) == []


def test_a_full_disk_is_said_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"Cannot write .*new: No space left on device\. Make room"), draft_bundle(tmp_path / "new"):
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("target", "message"), [("full", "is not empty"), ("file", "There is already a file"), ("x.tar", "There is already a file")]
)
def test_what_is_there_already_is_kept(tmp_path: Path, target: str, message: str) -> None:
    (tmp_path / "full").mkdir()
    for name in ("full/kept", "file", "x.tar"):
        (tmp_path / name).write_bytes(b"kept")
    before = names(tmp_path)
    with pytest.raises(InvalidInput, match=message), draft_bundle(tmp_path / target):
        pytest.fail("the block must not run")
    assert names(tmp_path) == before


def occupy(target: Path) -> None:
    target.mkdir()
    (target / "kept").write_bytes(b"kept")


def test_what_appears_in_the_meantime_is_kept(tmp_path: Path) -> None:
    with pytest.raises(StoreError), draft_bundle(tmp_path / "new"):
        occupy(tmp_path / "new")
    assert names(tmp_path) == ["new", "new/kept"]
