# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust publish`` and ``status --server`` against a running server: it gets what it lacks, and nothing else."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from surefoot.cli.main import main
from surefoot.cli.operator import OperatorClient
from surefoot.server.app import ServerSettings
from surefoot.trust.standing import Standings
from tests.cli.test_trust import init
from tests.server.running import Clock, serving


@dataclass
class Site:
    """A server that runs, and the keys folder of its fleet (``keys``) in the working folder."""

    options: list[str]
    calls: OperatorClient

    def trust(self, *words: str, keys: str = "keys") -> int:
        return main(["trust", *words, "--keys", keys])

    def publish(self, keys: str = "keys") -> int:
        return self.trust("publish", *self.options, keys=keys)

    def versions(self) -> dict[tuple[str, str], int | None]:
        return {(role.repository, role.role): role.version for role in self.calls.get("trust", Standings).roles if role.is_ours}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    assert init(Path(), "thermostat") == 0
    for name in ("ann", "bob"):
        assert main(["trust", "new-key", f"{name}.pem", "--no-passphrase"]) == 0
    settings = ServerSettings(data=Path("data"), host="127.0.0.1", device_port=0, enrol_port=0, operator_port=0)
    with serving(settings, Clock()) as addresses:
        token = Path("data/admin.token")
        yield Site(
            options=["--server", addresses.operator_url, "--token-file", str(token)],
            calls=OperatorClient(addresses.operator_url, token.read_text().strip()),
        )


def test_a_server_gets_every_root_that_it_lacks_and_then_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.trust("refresh", "--all") == 0
    assert site.trust("add-key", "image-root", "ann:ann.pub") == 0
    capsys.readouterr()
    assert site.publish() == 0
    told = capsys.readouterr().out
    assert "The server lacks: director root 2, image root 3, image targets 2, image thermostat 2." in told
    assert "image/2.root.json" in told
    assert "image/3.root.json" in told
    assert site.versions() == {("image", "root"): 3, ("image", "targets"): 2, ("image", "thermostat"): 2, ("director", "root"): 2}
    assert site.publish() == 0
    assert "The server has all of this already; nothing was sent." in capsys.readouterr().out


def test_only_what_is_lacking_is_sent(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.trust("add-key", "director-root", "ann:ann.pub") == 0
    capsys.readouterr()
    assert site.publish() == 0
    told = capsys.readouterr().out
    assert "The server lacks: director root 2.\nThe server took in: director/2.root.json.\n" in told


def test_a_folder_that_is_behind_is_told_so_and_sends_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("keys", "old")
    assert site.trust("add-key", "image-root", "ann:ann.pub") == 0
    assert site.publish() == 0
    before = site.versions()
    capsys.readouterr()
    assert site.publish(keys="old") == 0
    assert "The server has image root 2, which is newer than what is in old." in capsys.readouterr().out
    assert site.versions() == before
    assert site.trust("status", *site.options, keys="old") == 0
    assert "The server has newer: image root 2. This folder of keys is behind." in capsys.readouterr().out


def test_another_version_of_the_same_number_is_refused(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("keys", "other")
    assert site.trust("add-key", "image-root", "ann:ann.pub") == 0
    assert site.trust("add-key", "image-root", "bob:bob.pub", keys="other") == 0
    assert site.trust("add-key", "director-root", "ann:ann.pub", keys="other") == 0
    assert site.publish() == 0
    before = site.versions()
    capsys.readouterr()
    assert site.publish(keys="other") == 1
    assert "The server has another image root 2 than other. Find out who signed it." in capsys.readouterr().err
    assert site.versions() == before
    assert site.trust("status", *site.options, keys="other") == 0
    told = capsys.readouterr().out
    assert "The server has ANOTHER: image root 2." in told
    assert "The server lacks: director root 2." in told


def test_status_says_what_the_server_lacks_and_until_when_its_own_files_hold(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.trust("add-product", "fridge") == 0
    capsys.readouterr()
    assert site.trust("status", *site.options) == 0
    told = capsys.readouterr().out
    assert "The server lacks: image fridge 1, image targets 2.\nNext: surefoot trust publish --keys keys\n" in told
    (timestamp,) = (line.split() for line in told.splitlines() if line.startswith("image-timestamp"))
    assert timestamp[1:5] == ["1", "1", "of", "1"]
    assert site.publish() == 0
    capsys.readouterr()
    assert site.trust("status", "--json", *site.options) == 0
    assert json.loads(capsys.readouterr().out)["server"] == {"lacks": [], "newer": [], "other": []}
    assert site.trust("status", *site.options) == 0
    assert "The server has all that people have signed." in capsys.readouterr().out
