# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust``: keys and roots are made whole or not at all, and kept from strangers."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.api.metadata import Root, Targets

from surefoot.cli.keys_folder import KeysFolder
from surefoot.cli.main import main
from surefoot.trust.metadata import read, verified
from surefoot.trust.repository import versions
from surefoot.trust.verify import load, refresh
from tests.trust.repositories import wire_names


def init(folder: Path, *products: str, keys: str = "keys", data: str = "data") -> int:
    words = [word for product in products for word in ("--product", product)]
    return main(["trust", "init", "--keys", str(folder / keys), "--data", str(folder / data), *words])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    assert init(tmp_path, "thermostat") == 0
    return tmp_path


def test_init_makes_all_keys_both_roots_and_says_what_to_do_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "thermostat", "fridge") == 0
    assert names(tmp_path) == {"keys", "data"}
    assert {name for name in names(tmp_path / "keys") if name.endswith(".pem")} == {
        *(f"{root}-root-{number}.pem" for root in ("image", "director") for number in (1, 2, 3)),
        "image-targets-1.pem",
        "image-targets-2.pem",
        "product-thermostat-1.pem",
        "product-fridge-1.pem",
    }
    assert names(tmp_path / "keys/metadata") == {"root.json", "director-root.json", "targets.json", "thermostat.json", "fridge.json"}
    assert len(names(tmp_path / "data/keys")) == 5
    told = capsys.readouterr().out
    assert "move them off this machine" in told
    assert f"Next: surefoot serve --data {tmp_path}/data" in told


def test_a_device_believes_what_init_published(made: Path) -> None:
    files = {path.name: path.read_bytes() for path in (made / "data/metadata/image").iterdir()}
    trusted = refresh(load({"root.json": files["root.json"]}), wire_names(files), datetime.now(UTC))
    assert trusted.targets["targets"].get_delegated_role("thermostat").threshold == 1
    director = load({"root.json": (made / "data/metadata/director/root.json").read_bytes()}).root
    for root in (trusted.root, director):
        assert (len(root.roles["root"].keyids), root.roles["root"].threshold) == (3, 2)


def test_no_offline_key_lies_on_the_server_and_no_key_has_two_roles(made: Path) -> None:
    keys = [path.read_bytes() for path in made.rglob("*.pem")]
    assert len(set(keys)) == len(keys) == 14
    on_server = {path.relative_to(made / "data").parts[0] for path in (made / "data").rglob("*.pem")}
    assert on_server == {"keys"}
    assert not any("root" in path.name for path in (made / "data/keys").iterdir())


def test_keys_are_for_their_owner_alone(made: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in made.rglob("*.pem")} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (made / "keys", made / "data/keys")} == {0o700}


def test_init_again_is_refused_and_changes_nothing(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(made)
    assert init(made) == 2
    assert capsys.readouterr().err == f"surefoot: There is something at {made}/keys already. Name another folder; nothing was changed.\n"
    assert tree(made) == before


@pytest.mark.parametrize("occupied", ["keys", "data/keys", "data/metadata"])
@pytest.mark.parametrize("is_folder", [True, False])
def test_init_over_anything_is_refused_and_leaves_nothing_half(
    tmp_path: Path, occupied: str, *, is_folder: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / occupied
    target.parent.mkdir(exist_ok=True)
    if is_folder:
        target.mkdir()
        (target / "precious").write_text("mine")
    else:
        target.write_text("mine")
    before = tree(tmp_path)
    assert init(tmp_path, "thermostat") == 2
    assert f"There is something at {target} already" in capsys.readouterr().err
    assert tree(tmp_path).keys() - before.keys() <= {"data"}
    assert {name: tree(tmp_path)[name] for name in before} == before


def test_empty_folders_may_be_there(tmp_path: Path) -> None:
    for name in ("keys", "data/keys", "data/metadata"):
        (tmp_path / name).mkdir(parents=True)
    assert init(tmp_path) == 0


@pytest.mark.parametrize(
    ("keys", "data"),
    [
        ("data", "data"),
        ("data/keys", "data"),
        ("data/offline", "data"),
        ("data/../data/x", "data"),
        ("keys", "keys/data"),
        ("data/metadata/image", "data"),
    ],
)
def test_offline_keys_never_lie_in_the_servers_folder_nor_around_it(
    tmp_path: Path, keys: str, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(tmp_path, keys=keys, data=data) == 2
    assert "outside each other" in capsys.readouterr().err
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(("keys", "data"), [("file/keys", "data"), ("keys", "file"), ("keys", "file/data")])
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, keys: str, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert init(tmp_path, keys=keys, data=data) == 2
    told = capsys.readouterr().err
    assert told.startswith("surefoot: ")
    assert "cannot be made" in told
    assert list(tmp_path.rglob("*.pem")) == []
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("products", "says"),
    [
        (["Thermostat"], "is no name for a product. Use up to 64"),
        (["../x"], "is no name for a product. Use up to 64"),
        ([""], "is no name for a product. Use up to 64"),
        (["targets"], "'targets' cannot be the name of a product"),
        (["root"], "'root' cannot be the name of a product"),
        (["director-root"], "'director-root' cannot be the name of a product"),
        (["signatures"], "'signatures' cannot be the name of a product"),
    ],
)
def test_a_product_that_cannot_be_called_so_leaves_nothing(
    tmp_path: Path, products: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(tmp_path, *products) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.rglob("*.pem")) == []
    assert list(tmp_path.rglob("*.json")) == []


def test_a_product_that_is_named_twice_is_made_once(tmp_path: Path) -> None:
    assert init(tmp_path, "thermostat", "thermostat") == 0


# --- add-product ------------------------------------------------------------------------------------------------------------


def add(made: Path, product: str) -> int:
    return main(["trust", "add-product", product, "--keys", str(made / "keys")])


def test_a_product_is_added_with_a_key_of_its_own(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(made, "fridge") == 0
    assert "fridge may be released with" in capsys.readouterr().out
    path = made / "keys/product-fridge-1.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert versions({"targets.json": (made / "keys/metadata/targets.json").read_bytes()}) == {"targets.json": 2}
    assert [signer.public_key.keyid for signer in KeysFolder(path=made / "keys").signers_for_product("fridge")]


@pytest.mark.parametrize(
    ("product", "status", "says"),
    [
        ("thermostat", 1, "The product 'thermostat' has a role already. It can be released"),
        ("Fridge", 2, "is no name for a product. Use up to 64"),
        ("targets", 2, "cannot be the name of a product"),
        ("director-root", 2, "cannot be the name of a product"),
    ],
)
def test_a_product_that_cannot_be_added_changes_nothing(
    made: Path, product: str, status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(made)
    assert add(made, product) == status
    assert says in capsys.readouterr().err
    assert tree(made) == before


def test_without_the_keys_of_targets_a_product_waits_for_them(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = (made / "keys/image-targets-2.pem").rename(made / "away.pem")
    before = tree(made / "keys/metadata")
    assert add(made, "fridge") == 0
    told = capsys.readouterr().out
    assert "image-targets-2.proposal.json waits: targets: 1 of 2" in told
    assert "image-fridge-1.proposal.json is signed: fridge: 1 of 1; it waits for those that go in with it." in told
    assert "may be released" not in told
    assert tree(made / "keys/metadata") == before
    waiting = str(made / "keys/proposals/image-targets-2.proposal.json")
    assert main(["trust", "sign", waiting, "--key", str(away), "--keys", str(made / "keys"), "--yes"]) == 0
    assert KeysFolder(path=made / "keys").signers_for_product("fridge")


def test_a_critical_product_needs_two_people_from_the_beginning(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys, people = made / "keys", ("hal", "ida")
    for name in people:
        assert main(["trust", "new-key", f"{made}/{name}.pem", "--no-passphrase"]) == 0
    brought = [word for name in people for word in ("--key", f"{name}:{made}/{name}.pub")]
    before = tree(keys / "metadata")
    assert main(["trust", "add-product", "fridge", *brought, "--threshold", "2", "--keys", str(keys)]) == 0
    for name in people:
        assert tree(keys / "metadata") == before
        travelling = str(keys / "proposals/image-fridge-1.proposal.json")
        assert main(["trust", "sign", travelling, "--key", f"{made}/{name}.pem", "--keys", str(keys), "--yes"]) == 0
    top = read((keys / "metadata/targets.json").read_bytes(), Targets, name="targets.json").signed
    assert top.get_delegated_role("fridge").threshold == 2
    assert verified((keys / "metadata/fridge.json").read_bytes(), Targets, top, "fridge", name="fridge.json").version == 1
    assert not (keys / "product-fridge-1.pem").exists()
    told = capsys.readouterr().out
    assert "image fridge: version 1, the first there is." in told
    assert "Then 0 releases are listed." in told


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--key", "ann:{}/ann.pub", "--threshold", "2"], "would need 2 signatures and have 1 keys"),
        (["--threshold", "0"], "would need 0 signatures"),
        (["--key", "ann:{}/ann.pub", "--key", "bob:{}/ann.pub"], "has a role already, and no key has two"),
        (["--key", "root:{}/keys/root.pub"], "has a role already, and no key has two"),
    ],
)
def test_a_product_whose_keys_cannot_be_is_refused(made: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trust", "new-key", f"{made}/ann.pem", "--no-passphrase"]) == 0
    assert main(["trust", "show-key", f"{made}/keys/director-root-1.pem", "--out", f"{made}/keys/root.pub"]) == 0
    before = tree(made)
    assert main(["trust", "add-product", "fridge", *(word.format(made) for word in words), "--keys", str(made / "keys")]) == 2
    assert says in capsys.readouterr().err
    assert tree(made) == before


def test_a_key_file_that_is_in_the_way_is_never_overwritten(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made / "keys/product-fridge-1.pem"
    path.write_bytes((made / "keys/product-thermostat-1.pem").read_bytes())
    before = tree(made)
    assert add(made, "fridge") == 2
    assert f"There is something at {path} already." in capsys.readouterr().err
    assert tree(made) == before


# --- folders that are none ----------------------------------------------------------------------------------------------------


def lose_folder(keys: Path) -> None:
    keys.rename(keys.with_name("elsewhere"))


def lose_root(keys: Path) -> None:
    (keys / "metadata/root.json").unlink()


def spoil_root(keys: Path) -> None:
    (keys / "metadata/root.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "status", "says"),
    [
        (lose_folder, 2, "There is no folder of keys at"),
        (lose_root, 2, "holds no metadata root.json. Name the folder that 'surefoot trust init' made"),
        (spoil_root, 1, "root.json: not TUF metadata"),
    ],
)
def test_a_folder_that_is_none_is_one_sentence(
    made: Path, spoil: Callable[[Path], None], status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(made / "keys")
    assert main(["trust", "status", "--keys", str(made / "keys")]) == status
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


def test_metadata_that_is_kept_again_is_replaced_whole(made: Path) -> None:
    keys = KeysFolder(path=made / "keys")
    (made / "keys/metadata/.targets.json.new").write_text("left by a cut")
    keys.keep({"targets.json": keys.metadata("targets.json")})
    assert not (made / "keys/metadata/.targets.json.new").exists()
    assert read(keys.metadata("targets.json"), Targets, name="targets.json").signed.version == 1
    assert read(keys.metadata("root.json"), Root, name="root.json").signed.version == 1
