# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust status``: what a person reads before going home, and what a monitor reads as JSON."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from surefoot.cli.main import main
from tests.cli.test_trust import init


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert init(Path(), "thermostat") == 0
    for name in ("ann", "bob"):
        assert main(["trust", "new-key", f"{name}.pem", "--no-passphrase"]) == 0
    return tmp_path


def status(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["trust", "status", "--keys", "keys", *words]) == 0
    return capsys.readouterr().out


def age(name: str, left: timedelta) -> None:
    """Let a file of the folder expire then; its signature is not looked at here."""
    path = Path("keys/metadata", name)
    plain = json.loads(path.read_bytes())
    plain["signed"]["expires"] = (datetime.now(UTC) + left).strftime("%Y-%m-%dT%H:%M:%SZ")
    path.write_text(json.dumps(plain))


@pytest.mark.usefixtures("made")
def test_every_role_is_shown_with_its_keys_and_expiry_in_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    lines = status(capsys).splitlines()
    begin = {name: lines[0].index(name) for name in ("ROLE", "NEEDS", "EXPIRES", "HELD BY")}
    rows = [line for line in lines[1:-1] if not line.startswith(" ")]
    cells = [(line[: begin["NEEDS"]].split(), line[begin["NEEDS"] : begin["EXPIRES"]].strip()) for line in rows]
    assert cells == [
        (["image-root", "1"], "2 of 3"),
        (["image-targets", "1"], "2 of 2"),
        (["product-thermostat", "1"], "1 of 1"),
        (["image-snapshot"], "1 of 1"),
        (["image-timestamp"], "1 of 1"),
        (["director-root", "1"], "2 of 3"),
        (["director-targets"], "1 of 1"),
        (["director-snapshot"], "1 of 1"),
        (["director-timestamp"], "1 of 1"),
    ]
    assert "(in 364 days)" in rows[0]
    assert all(len(line) <= 100 for line in lines)
    assert lines[-1].startswith("Next: image-targets expires ")
    assert lines[-1].endswith(": surefoot trust refresh --keys keys")


@pytest.mark.usefixtures("made")
def test_holders_are_called_by_their_names_and_keys_without_by_their_ids(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trust", "add-key", "image-root", "ann:ann.pub", "--keys", "keys"]) == 0
    plain = json.loads(status(capsys, "--json"))
    (root,) = (role for role in plain["roles"] if (role["repository"], role["role"]) == ("image", "root"))
    held = [key.get("holder", "") or key["key_id"] for key in root["keys"]]
    assert held[-1] == "ann"
    shown = " ".join(status(capsys).split("product")[0].split())
    assert all(name in shown for name in held)


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("left", "says"),
    [
        (timedelta(days=-1), "EXPIRED"),
        (timedelta(days=44), "; now: surefoot trust refresh"),
        (timedelta(days=46), " on: surefoot trust refresh"),
    ],
)
def test_what_expires_first_is_said_with_what_to_do(left: timedelta, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    age("thermostat.json", left)
    last = status(capsys).splitlines()[-1]
    assert last.startswith("Next: product-thermostat ")
    assert says in last


@pytest.mark.usefixtures("made")
def test_an_open_proposal_names_whom_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trust", "add-key", "product-thermostat", "ann:ann.pub", "--threshold", "2", "--keys", "keys"]) == 0
    told = status(capsys)
    assert "open: keys/proposals/image-thermostat-2.proposal.json\n      thermostat: 1 of 2, awaited: ann (" in told
    age("targets.json", timedelta(days=200))
    (proposal,) = (each for each in json.loads(status(capsys, "--json"))["open"] if each["role"] == "image-targets")
    assert "does not build on the targets.json" in proposal["stale"]
    assert "Next: surefoot trust withdraw keys/proposals/image-targets-2.proposal.json --keys keys" in status(capsys)


@pytest.mark.usefixtures("made")
def test_a_role_that_waits_to_be_signed_anew_leads_to_its_proposal(capsys: pytest.CaptureFixture[str]) -> None:
    age("thermostat.json", timedelta(days=3))
    assert main(["trust", "refresh", "--no-sign", "--keys", "keys"]) == 0
    expected = "; now: surefoot trust sign keys/proposals/image-thermostat-2.proposal.json --key KEY"
    assert status(capsys).splitlines()[-1].endswith(expected)
