# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust sign``: nothing is signed that nobody read and said yes to, that is expired, or that is not what it says."""

import json
import os
import pty
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from surefoot.cli.main import main
from tests.cli.test_trust import init

FILE = "keys/proposals/image-root-2.proposal.json"


@pytest.fixture(autouse=True)
def _proposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert init(Path(), "thermostat") == 0
    assert main(["trust", "new-key", "ann.pem", "--no-passphrase"]) == 0
    assert main(["trust", "add-key", "image-root", "ann:ann.pub", "--no-sign", "--keys", "keys"]) == 0


def sign(*words: str) -> int:
    return main(["trust", "sign", FILE, "--key", "ann.pem", *words])


@contextmanager
def typing(text: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sit at a real terminal and type."""
    person, terminal = pty.openpty()
    with os.fdopen(person, "wb", buffering=0) as keyboard, os.fdopen(terminal) as screen:
        monkeypatch.setattr(sys, "stdin", screen)
        keyboard.write(text.encode())
        yield


def signatures() -> int:
    return len(json.loads(json.loads(Path(FILE).read_bytes())["after"])["signatures"])


@pytest.mark.parametrize("typed", ["yes\n", " yes \n"])
def test_who_types_yes_at_a_terminal_signs(typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with typing(typed, monkeypatch):
        assert sign() == 0
    told = capsys.readouterr().out
    assert told.index("gains the key of ann (") < told.index("Then root needs 2 of 4") < told.index("Type yes to sign: ")
    assert signatures() == 1


@pytest.mark.parametrize("typed", ["y\n", "no\n", "YES\n", "yes please\n", "\n", "\x04"])
def test_anything_else_signs_nothing(typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(FILE).read_bytes()
    with typing(typed, monkeypatch):
        assert sign() == 2
    assert "Nobody said yes; nothing was signed." in capsys.readouterr().err
    assert Path(FILE).read_bytes() == before


def test_what_is_expired_is_shown_and_not_signed(capsys: pytest.CaptureFixture[str]) -> None:
    plain = json.loads(Path(FILE).read_bytes())
    after = json.loads(plain["after"])
    after["signed"]["expires"] = "2020-01-01T00:00:00Z"
    Path("old.json").write_text(json.dumps({**plain, "after": json.dumps(after)}))
    before = Path("old.json").read_bytes()
    assert main(["trust", "sign", "old.json", "--key", "ann.pem", "--yes"]) == 2
    told = capsys.readouterr()
    assert "It expires 2020-01-01T00:00:00Z" in told.out
    assert "The proposed image root 2 expired on 2020-01-01T00:00:00Z. Have it proposed anew." in told.err
    assert Path("old.json").read_bytes() == before
