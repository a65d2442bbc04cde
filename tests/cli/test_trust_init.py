# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust init`` with people's own keys: the beginning travels, is signed by its holders, and then a server starts on it."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from tuf.api.metadata import Root

from surefoot.cli.main import main
from surefoot.cli.operator import OperatorClient
from surefoot.server.app import ServerSettings
from surefoot.trust.metadata import read
from surefoot.trust.standing import Standings
from surefoot.trust.verify import load, update_root
from tests.cli.test_trust import names, tree
from tests.server.running import Clock, serving
from tests.trust.tokens import PIN, Given, new_token

PEOPLE = {
    "image-root": ("ann", "bob", "cem"),
    "director-root": ("dana", "eli", "fay"),
    "image-targets": ("gus", "hal"),
    "product-lamp": ("ida", "jon"),
}


@dataclass(frozen=True)
class Folder:
    """A working folder, and each person's key by name: a token's URI or a file."""

    keys: dict[str, str]

    def brought(self, *roles: str) -> list[str]:
        return [word for role in roles for name in PEOPLE[role] for word in ("--key", f"{role}={name}:{name}.pub")]


def trust(*words: str) -> int:
    return main(["trust", *words])


def init(*words: str, product: str = "lamp") -> int:
    return trust("init", "--keys", "keys", "--data", "data", "--product", product, *words)


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Everybody has a key in a file."""
    monkeypatch.chdir(tmp_path)
    keys = {name: f"{name}.pem" for role in PEOPLE.values() for name in role}
    for file in keys.values():
        assert trust("new-key", file, "--no-passphrase") == 0
    return Folder(keys=keys)


@pytest.fixture
def holders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Everybody who signs roots has a token; the others have files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUREFOOT_KEY_PIN", PIN)
    keys: dict[str, str] = {}
    for role, held in PEOPLE.items():
        for name in held:
            keys[name] = new_token().uri(name) if role.endswith("root") else f"{name}.pem"
            assert trust("new-key", keys[name], *(["--out", f"{name}.pub"] if role.endswith("root") else ["--no-passphrase"])) == 0
    return Folder(keys=keys)


def test_three_people_with_tokens_found_a_fleet_two_of_three_and_a_server_starts_on_it(
    holders: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    token = new_token()
    for role in ("image-timestamp", "director-timestamp"):
        assert trust("new-key", token.uri(role), "--out", f"{role}.pub") == 0
    online = [word for role in ("image-timestamp", "director-timestamp") for word in ("--online", f"{role}={token.uri(role)}")]
    assert init(*holders.brought(*PEOPLE), "--threshold", "product-lamp=2", *online) == 0
    told = capsys.readouterr().out
    assert "image-root: 2 of 3 must sign: ann (" in told
    assert "Then: surefoot trust publish FILE --keys keys --data data" in told
    assert not list(Path("keys").glob("*.pem")), "nobody's private key is here"
    assert names(Path("data/keys")) == {
        *(f"{role}.pem" for role in ("image-snapshot", "director-targets", "director-snapshot")),
        *(f"{role}.{kind}" for role in ("image-timestamp", "director-timestamp") for kind in ("uri", "pub")),
    }

    signing = {"image-root-1": "ac", "director-root-1": "ef", "image-targets-1": "gh", "image-lamp-1": "ij"}
    files = []
    for proposal, initials in signing.items():
        for number, initial in enumerate(initials):
            copy = Path(f"{number}-{proposal}.proposal.json")
            copy.write_bytes(Path(f"keys/proposals/{proposal}.proposal.json").read_bytes())
            (name,) = (each for each in holders.keys if each[0] == initial)
            assert not Path("data/metadata").exists()
            assert trust("sign", str(copy), "--key", holders.keys[name], "--yes") == 0
            files.append(str(copy))
    assert trust("publish", *files, "--keys", "keys", "--data", "data") == 0
    assert "Next: surefoot serve --data data" in capsys.readouterr().out
    assert list(Path("keys/proposals").iterdir()) == []

    settings = ServerSettings(data=Path("data"), host="127.0.0.1", device_port=0, enrol_port=0, operator_port=0, secrets=Given())
    with serving(settings, Clock()) as addresses:
        calls = OperatorClient(addresses.operator_url, Path("data/admin.token").read_text().strip())
        roles = {(role.repository, role.role): role for role in calls.get("trust", Standings).roles}
        assert {key.holder for key in roles["image", "root"].keys} == {"ann", "bob", "cem"}
        assert (roles["image", "lamp"].threshold, roles["image", "lamp"].version) == (2, 1)
        # What comes later goes the same way, to the server that runs.
        start = load({"root.json": Path("keys/metadata/root.json").read_bytes()})
        assert trust("refresh", "--all", "--keys", "keys") == 0
        later = "keys/proposals/image-root-2.proposal.json"
        assert trust("sign", later, "--key", holders.keys["bob"], "--yes") == 0
        assert trust("sign", later, "--key", holders.keys["ann"], "--keys", "keys", "--yes") == 0
        options = ["--server", addresses.operator_url, "--token-file", "data/admin.token"]
        assert trust("publish", "--keys", "keys", *options) == 0
        assert update_root(start, calls.get_bytes("metadata/image/root.json")).root.version == 2


def test_what_nobody_brings_is_made_and_signs_at_once(people: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(*people.brought("image-root")) == 0
    assert sorted(path.name for path in Path("keys").glob("*.pem")) == [
        *(f"director-root-{number}.pem" for number in (1, 2, 3)),
        "image-targets-1.pem",
        "image-targets-2.pem",
        "product-lamp-1.pem",
    ]
    assert names(Path("keys/metadata")) == {"director-root.json"}
    told = capsys.readouterr().out
    assert "image-root-1.proposal.json waits: root version 1 (new): 0 of 2" in told
    assert "image-targets-1.proposal.json waits: targets: 2 of 2" in told
    for name in ("ann", "bob"):
        path = "keys/proposals/image-root-1.proposal.json"
        assert trust("sign", path, "--key", people.keys[name], "--keys", "keys", "--yes") == 0
    assert "Next: surefoot trust publish --keys keys --data DATA" in capsys.readouterr().out
    assert trust("publish", "--keys", "keys", "--data", "data") == 0
    files = {path.name: path.read_bytes() for path in Path("data/metadata/image").iterdir()}
    assert files.keys() == {"root.json", "targets.json", "lamp.json", "snapshot.json", "timestamp.json"}


def test_before_all_have_signed_nothing_is_published_and_status_says_who_is_awaited(
    people: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(*people.brought("image-root")) == 0
    assert trust("publish", "--keys", "keys", "--data", "data") == 2
    assert "Not all of the beginning is signed yet" in capsys.readouterr().err
    assert trust("publish", "--keys", "keys") == 0, "no server is called: there can be none"
    assert not Path("data/metadata").exists()
    capsys.readouterr()
    assert trust("status", "--keys", "keys") == 0
    told = capsys.readouterr().out
    assert "image-root                   2 of 3  not signed yet" in told
    assert "root version 1 (new): 0 of 2, awaited: ann (" in told
    assert trust("refresh", "--keys", "keys") == 2
    assert "'surefoot trust status' says what waits to be signed" in capsys.readouterr().err


def test_a_threshold_may_be_named(people: Folder) -> None:
    assert init(*people.brought("image-root"), "--threshold", "image-root=3", "--threshold", "director-root=3") == 0
    proposal = json.loads(Path("keys/proposals/image-root-1.proposal.json").read_bytes())
    assert read(proposal["after"].encode(), Root, name="root").signed.roles["root"].threshold == 3
    assert read(Path("keys/metadata/director-root.json").read_bytes(), Root, name="root").signed.roles["root"].threshold == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--key", "image-root=ann:ann.pub"], "'image-root' would need 2 signatures and have 1 keys"),
        (["--key", "image-targets=ann:ann.pub"], "'image-targets' would need 2 signatures and have 1 keys"),
        (["--threshold", "image-root=1"], "'image-root' would need 1 signatures and have 3 keys"),
        (["--threshold", "director-root=4"], "'director-root' would need 4 signatures and have 3 keys"),
        (["--threshold", "product-lamp=2"], "'product-lamp' would need 2 signatures and have 1 keys"),
        (["--threshold", "product-lamp=0"], "would need 0 signatures"),
        (["--threshold", "product-lamp=two"], "'two' is no number of signatures for product-lamp"),
        (["--threshold", "product-lamp"], "names no role that this can be said of"),
        (["--threshold", "product-lamp=1", "--threshold", "product-lamp=1"], "--threshold is given twice for product-lamp"),
        (["--key", "product-toy=ann:ann.pub"], "names no role that this can be said of"),
        (["--key", "image-timestamp=ann:ann.pub"], "names no role that this can be said of"),
        (["--key", "product-lamp=ann.pub"], "does not say whose key it is"),
        (["--key", "product-lamp=Ann:ann.pub"], "is no name for who holds a key"),
        (["--key", "product-lamp=ann:nowhere.pub"], "cannot be read"),
        (["--key", "product-lamp=ann:ann.pub", "--key", "product-lamp=bob:ann.pub"], "has a role already, and no key has two"),
        (["--key", "product-lamp=ann:ann.pub", "--key", "image-targets=ann:ann.pub", "--threshold", "image-targets=1"], "no key has two"),
        (["--online", "image-root=pkcs11:token=x"], "names no role that this can be said of"),
        (["--online", "image-timestamp=ann.pem"], "takes the key of a token"),
        (["--online", "image-timestamp=pkcs11:token=nowhere;object=x"], "surefoot: "),
    ],
)
def test_a_beginning_that_cannot_be_leaves_nothing(people: Folder, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(Path())
    assert init(*words) in {1, 2}
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert {name for name in tree(Path()).keys() - before.keys() if name != "data"} == set()
    assert people.keys


def test_a_server_that_has_metadata_is_never_given_others(people: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert init() == 0
    before = tree(Path("data"))
    assert trust("publish", "--keys", "keys", "--data", "data") == 2
    assert "data has metadata already. Start that server, and publish without --data." in capsys.readouterr().err
    assert tree(Path("data")) == before
    assert people.keys


def test_a_server_without_its_keys_gets_no_metadata(people: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(*people.brought("product-lamp")) == 0
    assert trust("sign", "keys/proposals/image-lamp-1.proposal.json", "--key", "ida.pem", "--keys", "keys", "--yes") == 0
    Path("data/keys/director-targets.pem").unlink()
    assert trust("publish", "--keys", "keys", "--data", "data") == 2
    assert "holds no key for the role 'targets'" in capsys.readouterr().err
    assert not Path("data/metadata").exists()
