# SPDX-License-Identifier: Apache-2.0
"""A change of several files: all old or all new, wherever a kill falls."""

import shutil
from base64 import b64encode
from contextlib import suppress
from pathlib import Path

import pytest

from surefoot.cli.one_step import change, finish
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.record import to_json
from tests.cli.killed import Killed, killed_before, kills

OLD = {"a.json": b"old a", "deep/b.json": b"old b", "c.json": b"old c"}
WRITE = {"a.json": b"new a", "deep/b.json": b"new b", "deep/new/d.json": b"new d", "key.pem": b"new key"}
NEW = {**{name: data for name, data in OLD.items() if name != "c.json"}, **WRITE}


def lay(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in OLD.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def there(folder: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if not name.endswith(".new")}


def test_what_is_changed_is_changed_and_nothing_else_is_left(tmp_path: Path) -> None:
    lay(tmp_path / "x")
    change(tmp_path / "x", WRITE, ["c.json", "gone.json"])
    assert there(tmp_path / "x") == NEW
    assert not list((tmp_path / "x").rglob("*.new"))
    assert (tmp_path / "x/key.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "x/a.json").stat().st_mode & 0o777 == 0o644


def test_a_kill_before_any_effect_leaves_the_old_or_leads_to_the_new(tmp_path: Path) -> None:
    folder, ends = tmp_path / "x", []
    for _ in kills(lambda: change(folder, WRITE, ["c.json"]), lambda: lay(folder)):
        finish(folder)
        ends.append(there(folder))
        assert ends[-1] in (OLD, NEW)
    assert there(folder) == NEW
    assert ends.count(OLD) >= 3
    assert ends.count(NEW) >= len(WRITE) + 1
    assert ends == sorted(ends, key=lambda end: end == NEW), "once it is written down it is done"


def test_a_second_kill_while_it_is_finished_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    for first in kills(lambda: change(folder, WRITE, ["c.json"]), lambda: lay(folder)):
        for second in range(3):
            with suppress(Killed), killed_before(second):
                finish(folder)
        finish(folder)
        assert there(folder) in (OLD, NEW), first


def test_another_change_first_finishes_the_interrupted_one(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    for _ in kills(lambda: change(folder, WRITE, ["c.json"]), lambda: lay(folder)):
        change(folder, {"e.json": b"new e"})
        assert there(folder) in ({**OLD, "e.json": b"new e"}, {**NEW, "e.json": b"new e"})


def test_what_is_written_down_and_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".step.json").write_text("{")
    with pytest.raises(FormatError, match=r"\.step\.json"):
        finish(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInput, match="cannot be changed: Not a directory"):
        change(tmp_path / "file", {"a": b""})


@pytest.mark.parametrize("name", ["../stranger", "{there}/stranger", "link/stranger"], ids=["up", "absolute", "by a link"])
def test_nothing_outside_of_the_folder_is_changed_whoever_wrote_it_down(name: str, tmp_path: Path) -> None:
    folder, other = tmp_path / "x", tmp_path / "other"
    lay(folder)
    other.mkdir()
    (folder / "link").symlink_to(other)
    hostile = name.format(there=other)
    with pytest.raises(InvalidInput, match="lies outside"):
        change(folder, {hostile: b"hostile"})
    (folder / ".step.json").write_bytes(to_json({"write": {hostile: b64encode(b"hostile").decode()}, "remove": []}))
    with pytest.raises(InvalidInput, match="lies outside"):
        finish(folder)
    assert not list(tmp_path.rglob("stranger"))
