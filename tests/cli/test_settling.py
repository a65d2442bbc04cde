# SPDX-License-Identifier: Apache-2.0
"""How proposals end: in one step, with all that need one another, wherever a kill falls; or taken back."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from surefoot.cli.keys_folder import open_keys
from surefoot.cli.main import main
from surefoot.cli.proposals import open_proposals
from surefoot.cli.settling import settle
from tests.cli.killed import kills
from tests.cli.test_trust import init, tree

GROUP = ("keys/proposals/image-root-2.proposal.json", "keys/proposals/image-targets-2.proposal.json")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert init(Path(), "thermostat") == 0
    for name in ("ann", "bob"):
        assert main(["trust", "new-key", f"{name}.pem", "--no-passphrase"]) == 0
    return tmp_path


def trust(*words: str) -> int:
    return main(["trust", *words, "--keys", "keys"])


def finished_but_open() -> None:
    """Propose other targets keys, and sign all that is needed in the files, without taking anything in."""
    assert trust("add-key", "image-targets", "ann:ann.pub", "--no-sign") == 0
    for path in GROUP:
        Path("travels.json").write_bytes(Path(path).read_bytes())
        keys = [f"keys/image-{'root' if 'root' in path else 'targets'}-{number}.pem" for number in (1, 2)]
        assert main(["trust", "sign", "travels.json", *(word for key in keys for word in ("--key", key)), "--yes"]) == 0
        Path("travels.json").replace(path)


def shape() -> tuple[int, int, int, bool]:
    """Return the versions of root and targets, how many proposals are open, and whether the second root is kept by its version."""
    numbers = [json.loads(Path("keys/metadata", name).read_bytes())["signed"]["version"] for name in ("root.json", "targets.json")]
    return numbers[0], numbers[1], len(open_proposals(open_keys(Path("keys")))), Path("keys/metadata/roots/2.root.json").exists()


OLD, NEW = (1, 1, 2, False), (2, 2, 0, True)


@pytest.mark.usefixtures("made")
def test_a_kill_while_proposals_are_taken_in_leaves_all_of_it_old_or_new() -> None:
    finished_but_open()
    shutil.copytree("keys", "start")

    def start_over() -> None:
        shutil.rmtree("keys")
        shutil.copytree("start", "keys")

    ends = []
    for effect in kills(lambda: settle(open_keys(Path("keys")), datetime.now(UTC)), start_over):
        keys = open_keys(Path("keys"))
        ends.append(shape())
        assert ends[-1] in (OLD, NEW), effect
        settle(keys, datetime.now(UTC))
        assert shape() == NEW
    assert shape() == NEW
    assert {OLD, NEW} == set(ends)
    assert len(ends) > 10


@pytest.mark.usefixtures("made")
def test_a_kill_while_a_change_is_proposed_leaves_nothing_or_all_of_it() -> None:
    shutil.copytree("keys", "start")

    def start_over() -> None:
        shutil.rmtree("keys")
        shutil.copytree("start", "keys")

    found = set()
    for _ in kills(lambda: trust("add-product", "fridge", "--no-sign"), start_over):
        keys = open_keys(Path("keys"))
        found.add((len(open_proposals(keys)), Path("keys/product-fridge-1.pem").exists()))
    assert found == {(0, False), (2, True)}


@pytest.mark.usefixtures("made")
def test_a_proposal_is_taken_back_with_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(Path("keys"))
    assert trust("add-key", "image-targets", "ann:ann.pub", "--no-sign") == 0
    assert trust("add-key", "director-root", "ann:ann.pub", "--no-sign") == 2, "ann has a role in an open proposal"
    assert trust("refresh", "--all", "--no-sign") == 0
    capsys.readouterr()
    assert trust("withdraw", "image-targets-2.proposal.json") == 0
    assert capsys.readouterr().out.splitlines() == [f"{path} is taken back." for path in GROUP]
    left = {path.name for path in Path("keys/proposals").iterdir()}
    assert left == {"director-root-2.proposal.json", "image-thermostat-2.proposal.json"}
    for name in left:
        assert trust("withdraw", f"keys/proposals/{name}") == 0
    assert tree(Path("keys")) == before


@pytest.mark.usefixtures("made")
def test_a_kill_while_a_group_is_taken_back_leaves_it_whole_or_takes_it_whole() -> None:
    assert trust("add-key", "image-targets", "ann:ann.pub", "--no-sign") == 0
    shutil.copytree("keys", "start")

    def start_over() -> None:
        shutil.rmtree("keys")
        shutil.copytree("start", "keys")

    left = {len(open_proposals(open_keys(Path("keys")))) for _ in kills(lambda: trust("withdraw", GROUP[0]), start_over)}
    assert left == {0, 2}


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("file", ["image-root-9.proposal.json", "keys/metadata/root.json", "elsewhere/image-root-2.proposal.json"])
def test_only_what_is_open_here_is_taken_back(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust("add-key", "image-root", "ann:ann.pub", "--no-sign") == 0
    before = tree(Path("keys"))
    assert trust("withdraw", file) == 2
    assert capsys.readouterr().err.startswith("surefoot: ")
    assert tree(Path("keys")) == before


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("text", ["", "{", '{"repository":"image","role":"root","after":"{}"}'])
def test_a_damaged_proposal_can_be_taken_back_and_keeps_no_other(text: str) -> None:
    assert trust("add-key", "image-targets", "ann:ann.pub", "--no-sign") == 0
    damaged = Path("keys/proposals/director-root-2.proposal.json")
    damaged.write_text(text)
    assert trust("withdraw", GROUP[0]) == 0
    assert [path.name for path in Path("keys/proposals").iterdir()] == [damaged.name]
    assert trust("withdraw", str(damaged)) == 0
    assert trust("refresh", "--all") == 0


@pytest.mark.usefixtures("made")
def test_a_stale_proposal_keeps_no_other_from_going_in_and_says_how_to_be_rid_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("keys", "other")
    assert trust("add-key", "director-root", "ann:ann.pub", "--no-sign") == 0
    stale = Path("keys/proposals/director-root-2.proposal.json")
    assert main(["trust", "refresh", "--all", "--keys", "other"]) == 0
    shutil.copy("other/metadata/director-root.json", "keys/metadata/director-root.json")
    command = f"surefoot trust withdraw {stale} --keys keys"
    capsys.readouterr()
    assert trust("refresh", "--all") == 0
    told = capsys.readouterr().out
    assert "director-root-2.proposal.json does not build on the director-root.json of keys: it is old, or of another fleet." in told
    assert f"Next: {command}" in told.splitlines()
    assert "targets.json is signed by everybody who must" in told
    assert main(["trust", "sign", str(stale), "--keys", "keys", "--yes"]) == 1
    assert command in capsys.readouterr().err
    assert trust("add-key", "director-root", "bob:bob.pub", "--no-sign") == 1
    assert f"changes director-root.json already. Have that signed first, or take it back: {command}" in capsys.readouterr().err
    assert trust("withdraw", str(stale)) == 0
    assert trust("refresh", "--all") == 0


@pytest.mark.usefixtures("made")
def test_a_proposal_that_expired_before_it_was_signed_does_not_go_in() -> None:
    finished_but_open()
    keys = open_keys(Path("keys"))
    assert settle(keys, datetime.now(UTC) + timedelta(days=91)) == [], "the targets would be expired, and the root goes in with them"
    assert shape() == OLD
    assert settle(keys, datetime.now(UTC)) == ["root.json", "targets.json"]
