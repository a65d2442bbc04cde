# SPDX-License-Identifier: Apache-2.0
import stat
from pathlib import Path

import pytest

from surefoot.cli.main import main
from tests.server.running import Running


def run(server: Running, *words: str) -> int:
    options = ["--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")]
    return main(["user", *words, *options])


def test_an_operator_is_added_acts_under_the_own_name_and_is_removed(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ann.token"
    assert run(server, "add", "ann", "-o", str(file)) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = file.read_text().strip()
    assert server.call("POST", "tokens", {"device_id": "u-1", "hardware": "thermostat-v1"}, token).status == 201
    assert run(server, "list") == 0
    assert {"admin", "ann"} <= {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert run(server, "remove", "ann") == 0
    assert server.call("GET", "devices", token=token).status == 401


def test_a_name_is_given_once_and_nothing_is_left_when_it_is_refused(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, "add", "bob", "-o", str(tmp_path / "bob.token")) == 0
    assert run(server, "add", "bob", "-o", str(tmp_path / "again.token")) == 1
    assert "already" in capsys.readouterr().err
    assert not (tmp_path / "again.token").exists()
    assert run(server, "add", "eve", "-o", str(tmp_path / "bob.token")) == 2, "a token file is never overwritten"


@pytest.mark.parametrize(("name", "status"), [("admin", 1), ("nobody", 2)])
def test_who_cannot_be_removed_is_told_why(server: Running, name: str, status: int) -> None:
    assert run(server, "remove", name) == status


def test_a_name_that_is_no_name_is_refused(server: Running) -> None:
    assert server.call("POST", "users", {"name": "Ann Smith"}).status == 400
