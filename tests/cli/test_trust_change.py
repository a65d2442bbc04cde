# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust add-key``, ``rotate``, ``sign`` and their like: a change is whole, signed by all who must, or not there."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.api.metadata import Root, Targets

from surefoot.cli.keys_folder import KeysFolder
from surefoot.cli.main import main
from surefoot.trust.layout import add_release, retire
from surefoot.trust.metadata import read, verified
from surefoot.trust.product_files import reachable, require_whole
from surefoot.trust.verify import load, update_root
from tests.cli.test_trust import init, tree
from tests.trust.repositories import manifest
from tests.trust.tokens import PIN, new_token

MANY = [manifest(f"1.{number}.0", f"image {number}".encode()) for number in range(200)]
OPEN = "keys/proposals/image-root-2.proposal.json"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    assert init(folder, "thermostat") == 0
    for name in ("ann", "bob", "fay", "gus"):
        assert main(["trust", "new-key", str(folder / f"{name}.pem"), "--no-passphrase"]) == 0
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, data in tree(template).items():
        path = tmp_path / name
        if (template / name).is_dir():
            path.mkdir()
        else:
            path.write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trust(*words: str) -> int:
    return main(["trust", *words])


def change(*words: str) -> int:
    return trust(*words, "--keys", "keys")


def root(name: str = "root.json") -> Root:
    return read(Path("keys/metadata", name).read_bytes(), Root, name=name).signed


def targets() -> Targets:
    return read(Path("keys/metadata/targets.json").read_bytes(), Targets, name="targets.json").signed


def test_with_all_keys_at_hand_a_change_is_one_command(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert change("add-key", "image-root", "ann:ann.pub") == 0
    assert "Next: surefoot trust publish --keys keys" in capsys.readouterr().out
    assert (root().version, len(root().roles["root"].keyids)) == (2, 4)
    assert (made / "keys/metadata/roots/2.root.json").read_bytes() == (made / "keys/metadata/root.json").read_bytes()
    assert list((made / "keys/proposals").iterdir()) == []


def test_a_proposal_travels_and_comes_back(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert change("add-key", "image-root", "ann:ann.pub", "--no-sign") == 0
    (made / "travels.json").write_bytes((made / OPEN).read_bytes())
    assert trust("sign", "travels.json", "--key", "keys/image-root-1.pem", "--yes") == 0
    assert "Next: send travels.json to the next who may sign." in capsys.readouterr().out
    assert trust("publish", "travels.json", "--keys", "keys", "--no-send") == 0
    assert f"{OPEN} waits: root version 1 (old): 1 of 2; root version 2 (new): 1 of 2" in capsys.readouterr().out
    assert trust("sign", "travels.json", "--key", "ann.pem", "--key", "keys/image-root-3.pem", "--yes") == 0
    told = capsys.readouterr().out
    assert "gains the key of ann (" in told
    assert "Next, whoever has the keys folder: surefoot trust publish travels.json --keys DIR" in told
    assert root().version == 1
    assert trust("publish", "travels.json", "--keys", "keys", "--no-send") == 0
    assert root().version == 2


def test_other_targets_keys_and_what_they_sign_go_in_together(made: Path) -> None:
    encrypted = made / "keys/image-targets-2.pem"
    away = encrypted.rename(made / "away.pem")
    assert change("add-key", "image-targets", "ann:ann.pub") == 0
    assert (root().version, targets().version) == (1, 1)
    assert trust("sign", "keys/proposals/image-targets-2.proposal.json", "--key", str(away), "--keys", "keys", "--yes") == 0
    assert (root().version, targets().version) == (2, 2)


@pytest.mark.usefixtures("made")
def test_a_product_may_need_two_people() -> None:
    assert change("add-key", "product-thermostat", "ann:ann.pub", "--threshold", "2") == 0
    assert targets().version == 1
    assert trust("sign", "keys/proposals/image-thermostat-2.proposal.json", "--key", "ann.pem", "--keys", "keys", "--yes") == 0
    assert targets().get_delegated_role("thermostat").threshold == 2


@pytest.mark.usefixtures("made")
def test_an_online_key_is_rotated_in_the_root() -> None:
    old = root().roles["timestamp"].keyids[0]
    assert change("rotate", "image-timestamp", old, "server:ann.pub") == 0
    assert root().roles["timestamp"].keyids != [old]
    assert change("refresh") == 0
    assert root().version == 2
    assert change("refresh", "--all") == 0
    assert (root().version, root("director-root.json").version, targets().version) == (3, 2, 2)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["add-key", "image-roots", "ann:ann.pub"], 2, "'image-roots' is no role"),
        (["add-key", "image-root", "ann.pub"], 2, "does not say whose key it is. Write HOLDER:FILE.pub"),
        (["add-key", "image-root", "Ann:ann.pub"], 2, "is no name for who holds a key"),
        (["add-key", "image-root", "ann:nowhere.pub"], 2, "cannot be read"),
        (["add-key", "image-root", "ann:ann.pem"], 2, "is not a readable public key"),
        (["add-key", "image-root", "ann:ann.pub", "--threshold", "5"], 2, "would need 5 signatures and have 4 keys"),
        (["add-key", "product-fridge", "ann:ann.pub"], 2, "There is no role 'fridge'"),
        (["remove-key", "product-thermostat", "nobody"], 2, "names 0 keys"),
        (["rotate", "image-root", "nobody", "ann:ann.pub"], 2, "names 0 keys"),
    ],
)
def test_what_cannot_be_proposed_changes_nothing(
    made: Path, words: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(made)
    assert change(*words) == status
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert tree(made) == before


def test_a_second_proposal_for_a_file_that_somebody_signed_names_the_first(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change("add-key", "image-root", "ann:ann.pub", "--no-sign")
    assert trust("sign", OPEN, "--key", "ann.pem", "--yes") == 0
    before = tree(made)
    assert change("add-key", "image-root", "bob:bob.pub") == 1
    assert f"{OPEN} changes root.json already." in capsys.readouterr().err
    assert tree(made) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"repository":"image","role":"root"}', "\x00"])
def test_a_file_that_is_no_proposal_is_one_sentence(made: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "x.json").write_text(text)
    assert trust("sign", "x.json", "--key", "ann.pem", "--yes") == 2
    assert capsys.readouterr().err.startswith("surefoot: x.json")


def test_nothing_is_signed_that_nobody_said_yes_to(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change("add-key", "image-root", "ann:ann.pub", "--no-sign")
    before = tree(made)
    assert trust("sign", OPEN, "--key", "ann.pem") == 2
    assert "Nobody is at the terminal to say yes" in capsys.readouterr().err
    assert trust("sign", OPEN, "--key", "bob.pem", "--yes") == 2
    assert "has no say in this" in capsys.readouterr().err
    assert tree(made) == before


def test_a_proposal_that_was_edited_on_its_way_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change("add-key", "image-root", "ann:ann.pub", "--no-sign")
    assert trust("sign", OPEN, "--key", "ann.pem", "--yes") == 0
    plain = json.loads((made / OPEN).read_bytes())
    plain["after"] = plain["after"].replace('"holder":"ann"', '"holder":"eve"')
    (made / OPEN).write_text(json.dumps(plain))
    assert trust("sign", OPEN, "--key", "keys/image-root-1.pem", "--yes") == 1
    assert "was changed after it was signed" in capsys.readouterr().err


def test_a_proposal_of_another_fleet_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change("add-key", "image-root", "ann:ann.pub", "--no-sign")
    assert init(made, "thermostat", keys="other", data="elsewhere") == 0
    assert trust("sign", OPEN, "--keys", "other", "--yes") == 1
    assert "it is old, or of another fleet" in capsys.readouterr().err


@pytest.mark.usefixtures("made")
def test_several_keys_of_a_root_change_in_one_proposal_until_somebody_signs_it() -> None:
    online = {role: root().roles[role].keyids for role in ("snapshot", "timestamp")}
    assert change("rotate", "image-timestamp", "server:ann.pub", "--no-sign") == 0
    assert change("rotate", "image-snapshot", "server:bob.pub", "--no-sign") == 0
    (path,) = Path("keys/proposals").iterdir()
    assert str(path) == OPEN
    assert trust("sign", OPEN, "--keys", "keys", "--yes") == 0
    assert root().version == 2
    assert not any(set(online[role]) & set(root().roles[role].keyids) for role in online)


@pytest.mark.usefixtures("made")
def test_what_follows_from_several_changes_goes_in_the_same_round() -> None:
    first, second = root().roles["targets"].keyids
    assert change("rotate", "image-targets", first, "ann:ann.pub", "--no-sign") == 0
    assert change("rotate", "image-timestamp", "server:fay.pub", "--no-sign") == 0
    assert change("rotate", "product-thermostat", "server:gus.pub", "--no-sign") == 0
    assert change("rotate", "image-targets", second, "bob:bob.pub", "--no-sign") == 0
    names = ("root-2", "targets-2", "thermostat-2")
    assert {path.name for path in Path("keys/proposals").iterdir()} == {f"image-{name}.proposal.json" for name in names}
    assert trust("sign", OPEN, "--keys", "keys", "--yes") == 0
    assert trust("sign", "keys/proposals/image-thermostat-2.proposal.json", "--key", "gus.pem", "--yes") == 0
    assert root().version == 1
    words = ["--key", "ann.pem", "--key", "bob.pem", "--yes"]
    assert trust("sign", "keys/proposals/image-targets-2.proposal.json", *words, "--keys", "keys") == 0
    assert (root().version, targets().version) == (2, 2)
    verified(Path("keys/metadata/targets.json").read_bytes(), Targets, root(), "targets", name="targets.json")
    require_whole(product_files(["thermostat.json"]), "thermostat", targets())


@pytest.mark.usefixtures("made")
def test_two_products_change_their_keys_in_one_round() -> None:
    assert trust("add-product", "fridge", "--keys", "keys") == 0
    assert change("rotate", "product-thermostat", "ann:ann.pub", "--no-sign") == 0
    assert change("rotate", "product-fridge", "bob:bob.pub", "--no-sign") == 0
    for name, words in {"thermostat-2": ["--key", "ann.pem"], "fridge-2": ["--key", "bob.pem"], "targets-3": ["--keys", "keys"]}.items():
        assert trust("sign", f"keys/proposals/image-{name}.proposal.json", *words, "--yes") == 0
    assert targets().version == 3
    for product in ("thermostat", "fridge"):
        require_whole(product_files([f"{product}.json"]), product, targets())


@pytest.mark.usefixtures("made")
def test_a_key_may_go_unnamed_when_it_is_the_only_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert change("rotate", "image-root", "ann:ann.pub") == 2
    assert "The role 'root' has 3 keys; which of them goes? Name one of: " in capsys.readouterr().err
    assert change("rotate", "director-targets", "server:ann.pub") == 0
    assert root("director-root.json").version == 2


# --- a product's key --------------------------------------------------------------------------------------------------------


@pytest.fixture
def released(made: Path) -> list[str]:
    """Lay a catalogue with bins and an archive into the folder; return the names of its files."""
    keys = KeysFolder(path=made / "keys")
    signers = keys.signers_for_product("thermostat")
    keys.keep(add_release(files_of(keys), MANY, signers, datetime.now(UTC)))
    keys.keep(retire(files_of(keys), "thermostat", "1.7.0", signers, datetime.now(UTC)))
    return reachable(keys.roles_of("thermostat"), "thermostat")


def files_of(keys: KeysFolder) -> dict[str, bytes]:
    return {**keys.roles_of("thermostat"), "targets.json": keys.metadata("targets.json")}


def product_files(names: list[str]) -> dict[str, bytes]:
    return {name: Path("keys/metadata", name).read_bytes() for name in names}


def test_a_product_key_that_is_lost_is_replaced_in_every_file_of_the_product(released: list[str]) -> None:
    before = product_files(released)
    assert len(released) == 1 + 8 + 1
    assert change("rotate", "product-thermostat", "ann:ann.pub") == 0
    assert targets().version == 1, "the new key has not signed yet"
    (path,) = Path("keys/proposals").glob("image-thermostat-*.proposal.json")
    assert trust("sign", str(path), "--key", "keys/product-thermostat-1.pem", "--yes") == 2
    assert trust("sign", str(path), "--key", "ann.pem", "--keys", "keys", "--yes") == 0
    assert targets().version == 2
    after = product_files(released)
    require_whole(after, "thermostat", targets())
    for name in released:
        old, new = (read(files[name], Targets, name=name) for files in (before, after))
        assert (new.signed.version, new.signed.targets) == (old.signed.version + 1, old.signed.targets)
        assert not old.signatures.keys() & new.signatures.keys()


def test_refresh_renews_every_file_of_a_product(released: list[str]) -> None:
    before = product_files(released)
    assert change("refresh", "--all") == 0
    for name, data in product_files(released).items():
        assert read(data, Targets, name=name).signed.version == read(before[name], Targets, name=name).signed.version + 1


def test_a_product_proposal_comes_back_whole_or_not_at_all(made: Path, released: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert change("rotate", "product-thermostat", "ann:ann.pub") == 0
    (path,) = Path("keys/proposals").glob("image-thermostat-*.proposal.json")
    plain = json.loads(path.read_bytes())
    del plain["more"][released[-1].removesuffix(".json")]
    (made / "fewer.json").write_text(json.dumps(plain))
    assert trust("sign", "fewer.json", "--key", "ann.pem", "--yes") == 1
    assert "is delegated and missing" in capsys.readouterr().err
    (made / "travels.json").write_bytes(path.read_bytes())
    assert trust("sign", "travels.json", "--key", "ann.pem", "--yes") == 0
    assert trust("publish", "travels.json", "--keys", "keys", "--no-send") == 0
    require_whole(product_files(released), "thermostat", targets())


# --- with tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("made")
def test_three_people_with_tokens_take_over_a_root_two_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUREFOOT_KEY_PIN", PIN)
    people = {name: new_token() for name in ("cem", "dana", "eve")}
    old = root().roles["root"].keyids
    start = load({"root.json": Path("keys/metadata/root.json").read_bytes()})
    for (name, token), gone in zip(people.items(), old, strict=True):
        assert trust("new-key", token.uri(name), "--out", f"{name}.pub") == 0
        assert change("rotate", "image-root", gone, f"{name}:{name}.pub") == 0
        # The folder's own keys have signed; from the second change on, holders of tokens must too.
        for helper in {"cem": (), "dana": ("dana",), "eve": ("dana", "eve")}[name]:
            path = f"keys/proposals/image-root-{root().version + 1}.proposal.json"
            assert trust("sign", path, "--key", people[helper].uri(helper), "--keys", "keys", "--yes") == 0
    assert list(Path("keys/proposals").iterdir()) == []
    trusted = start
    for version in (2, 3, 4):
        trusted = update_root(trusted, Path(f"keys/metadata/roots/{version}.root.json").read_bytes())
    holders = {str(trusted.root.keys[keyid].unrecognized_fields["holder"]) for keyid in trusted.root.roles["root"].keyids}
    assert (holders, trusted.root.roles["root"].threshold) == ({"cem", "dana", "eve"}, 2)

    assert change("refresh", "--all", "--no-sign") == 0
    travelling = Path("keys/proposals/image-root-5.proposal.json")
    assert trust("sign", str(travelling), "--key", people["eve"].uri("eve"), "--yes") == 0
    assert root().version == 4
    assert trust("sign", str(travelling), "--key", people["cem"].uri("cem"), "--keys", "keys", "--yes") == 0
    assert update_root(trusted, Path("keys/metadata/root.json").read_bytes()).root.version == 5
