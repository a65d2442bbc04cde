# SPDX-License-Identifier: Apache-2.0
"""The check that no attack of the list is without a test."""

from pathlib import Path

import pytest

from scripts.attack_ids import IDS, TESTS, main, missing, named_after


def test_every_attack_has_a_test_named_after_it() -> None:
    assert missing(IDS, named_after(TESTS)) == []
    assert main([]) == 0


def test_the_list_is_whole() -> None:
    assert len(IDS) == len(set(IDS)) == 36


def test_an_id_without_a_test_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_one.py").write_text(
        "async def test_d01_x(): ...\n# def test_d02_x\ndef test_d03(): ...\nclass A:\n  def test_d04_y(self): ..."
    )
    (tmp_path / "other.py").write_text("def test_d05_x(): ...")
    assert named_after(tmp_path) == {"d01", "d04"}
    assert missing(["d01", "d02", "d04", "d05"], named_after(tmp_path)) == ["d02", "d05"]
    assert main(["d01", "d99"]) == 1
    assert "named after: d99." in capsys.readouterr().err
