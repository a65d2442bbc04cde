# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust new-key`` and ``show-key``, and where passphrases and PINs are found."""

import getpass
import io
import sys
from pathlib import Path

import pytest

from surefoot.cli.key_secrets import KeySecrets
from surefoot.cli.keys_folder import KeysFolder
from surefoot.cli.main import main
from surefoot.model.errors import InvalidInput
from surefoot.trust.key_file import read_public
from surefoot.trust.signer import generate, load, write_key
from tests.trust.tokens import PIN, Given, new_token


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _no_secrets_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CREDENTIALS_DIRECTORY", *(f"SUREFOOT_KEY_{kind}{end}" for kind in ("PIN", "PASSPHRASE") for end in ("", "_FILE"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())


def typed(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Let a person at the terminal type these; return what was asked."""
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return answers[len(asked) - 1]

    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.setattr(sys, "stdin", Terminal())
    return asked


def test_a_key_in_an_encrypted_file_and_its_public_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "passphrase").write_text("correct horse\n")
    assert main(["trust", "new-key", f"{tmp_path}/ann.pem", "--passphrase-file", f"{tmp_path}/passphrase"]) == 0
    public = read_public(tmp_path / "ann.pub")
    assert load(tmp_path / "ann.pem", Given("correct horse")).public_key == public
    told = capsys.readouterr().out
    assert f"key {public.keyid}, ecdsa-sha2-nistp256" in told
    assert "horse" not in told


def test_a_person_types_a_new_passphrase_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = typed(monkeypatch, "correct horse", "correct horse")
    assert main(["trust", "new-key", f"{tmp_path}/ann.pem"]) == 0
    assert asked == ["ann.passphrase: ", "ann.passphrase, again: "]
    typed(monkeypatch, "correct horse", "battery staple")
    assert main(["trust", "new-key", f"{tmp_path}/ben.pem"]) == 2
    assert "are not the same" in capsys.readouterr().err
    assert not (tmp_path / "ben.pem").exists()


def test_a_key_in_the_clear_must_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trust", "new-key", f"{tmp_path}/ann.pem"]) == 2
    assert "'ann.passphrase' is needed" in capsys.readouterr().err
    assert main(["trust", "new-key", f"{tmp_path}/ann.pem", "--no-passphrase"]) == 0
    load(tmp_path / "ann.pem")


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ann.pub").write_text("mine")
    assert main(["trust", "new-key", f"{tmp_path}/ann.pem", "--no-passphrase"]) == 2
    assert "ann.pub already" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"ann.pub"}


def test_a_key_on_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    token = new_token()
    monkeypatch.setenv("SUREFOOT_KEY_PIN", PIN)
    assert main(["trust", "new-key", token.uri("ann"), "--out", f"{tmp_path}/ann.pub"]) == 0
    public = read_public(tmp_path / "ann.pub")
    assert main(["trust", "show-key", token.uri("ann")]) == 0
    told = capsys.readouterr().out
    assert told.count(f"key {public.keyid}") == 2
    assert str(public.keyval["public"]) in told
    assert PIN not in told
    assert main(["trust", "new-key", token.uri("ben"), "--no-passphrase"]) == 2
    assert "no passphrase" in capsys.readouterr().err


def test_show_key_writes_the_public_part(tmp_path: Path) -> None:
    made = generate()
    write_key(tmp_path / "ann.pem", made, None)
    assert main(["trust", "show-key", f"{tmp_path}/ann.pem", "--out", f"{tmp_path}/ann.pub"]) == 0
    assert read_public(tmp_path / "ann.pub") == made.public_key


def test_secrets_are_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = KeySecrets(may_ask=True)
    asked = typed(monkeypatch, "typed")
    assert secrets.secret("ann.passphrase") == "typed"
    assert asked == ["ann.passphrase: "]
    with pytest.raises(InvalidInput, match="SUREFOOT_KEY_PASSPHRASE_FILE"):
        KeySecrets(may_ask=False).secret("ann.passphrase")
    monkeypatch.setenv("SUREFOOT_KEY_PASSPHRASE", "variable")
    assert secrets.secret("ann.passphrase") == "variable"
    (tmp_path / "file").write_text("file\n")
    monkeypatch.setenv("SUREFOOT_KEY_PASSPHRASE_FILE", f"{tmp_path}/file")
    assert secrets.secret("ann.passphrase") == "file"
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert secrets.secret("ann.passphrase") == "file"
    (credentials / "passphrase").write_text("for all")
    assert secrets.secret("ann.passphrase") == "for all"
    (credentials / "ann.passphrase").write_text("for ann")
    assert secrets.secret("ann.passphrase") == "for ann"
    (credentials / "_etc_ann.pin").write_text("pin")
    assert secrets.secret("/etc/ann.pin") == "pin"


def test_a_secret_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUREFOOT_KEY_PIN_FILE", f"{tmp_path}/none")
    with pytest.raises(InvalidInput, match=f"No secret can be read from {tmp_path}/none"):
        KeySecrets(may_ask=True).secret("token.pin")


def test_a_folder_of_keys_may_be_encrypted(tmp_path: Path) -> None:
    assert main(["trust", "init", "--keys", f"{tmp_path}/keys", "--data", f"{tmp_path}/data", "--product", "lamp"]) == 0
    plain = tmp_path / "keys/product-lamp-1.pem"
    signer = load(plain)
    plain.unlink()
    write_key(plain, signer, "correct horse")
    found = KeysFolder(path=tmp_path / "keys", secrets=Given("correct horse")).signers_for_product("lamp")
    assert [each.public_key for each in found] == [signer.public_key]
