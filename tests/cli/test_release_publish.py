# SPDX-License-Identifier: Apache-2.0
"""``surefoot release sign``, ``publish`` and ``list``: signed by the product's key, published once, and refused in a sentence."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tuf.api.metadata import Targets

from surefoot.cli.main import main
from surefoot.release.bundle import read_bundle
from surefoot.trust.metadata import read, verified
from tests.release.firmware import RECIPE, built
from tests.server.running import Running, running
from tests.trust.repositories import Repositories


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, a server's folder, and an unsigned bundle, made once and copied by each test."""
    folder = tmp_path_factory.mktemp("office")
    assert main(["trust", "init", "--keys", str(folder / "keys"), "--data", str(folder / "data"), "--product", "thermostat"]) == 0
    built(folder)
    return folder


@pytest.fixture
def desk(office: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(office, tmp_path / "desk", symlinks=True))


def sign(desk: Path, bundle: str = "bundle") -> int:
    return main(["release", "sign", str(desk / bundle), "--keys", str(desk / "keys")])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_signing_puts_role_delegation_and_signatures_into_the_bundle(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = read_bundle(desk / "bundle").digest
    assert sign(desk) == 0
    assert "Signed thermostat 1.2.3, build 20251124-143022-9f3a1c: 4 image(s)." in capsys.readouterr().out
    bundle = read_bundle(desk / "bundle")
    assert bundle.digest == digest, "the bundle itself is as it was built"
    assert set(bundle.signed) == {"thermostat.json", "targets.json", "signatures.json", "provenance.dsse.json"}
    assert set(json.loads(bundle.signed["signatures.json"])) == set(bundle.manifests)
    delegator = read(bundle.signed["targets.json"], Targets, name="targets.json").signed
    role = verified(bundle.signed["thermostat.json"], Targets, delegator, "thermostat", name="thermostat.json")
    assert (role.version, len(role.targets)) == (2, 4)


def test_signing_twice_gives_the_same_role(desk: Path) -> None:
    sign(desk)
    first = read_bundle(desk / "bundle").signed["thermostat.json"]
    assert sign(desk) == 0
    assert read_bundle(desk / "bundle").signed["thermostat.json"] == first
    assert (desk / "keys/metadata/thermostat.json").read_bytes() == first


def test_an_archive_is_signed_like_a_folder(desk: Path) -> None:
    built(desk / "again", "bundle.tar")
    assert sign(desk / "again/..", "again/bundle.tar") == 0
    assert "thermostat.json" in read_bundle(desk / "again/bundle.tar").signed


def test_a_version_is_signed_once_with_one_content(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sign(desk)
    built(desk / "other", "bundle", RECIPE.replace("Security patch", "Another patch"))
    before = tree(desk)
    capsys.readouterr()
    assert sign(desk, "other/bundle") == 1
    assert "is signed already with other content. Raise the version and build again." in capsys.readouterr().err
    assert tree(desk) == before


def lose_keys(desk: Path) -> None:
    shutil.rmtree(desk / "keys")


def lose_key(desk: Path) -> None:
    (desk / "keys/product-thermostat-1.pem").unlink()


def spoil_key(desk: Path) -> None:
    (desk / "keys/product-thermostat-1.pem").write_text("garbage")


def lose_bundle(desk: Path) -> None:
    shutil.rmtree(desk / "bundle")


def change_image(desk: Path) -> None:
    image = next((desk / "bundle/images").iterdir())
    image.write_bytes(image.read_bytes() + b"!")


def change_manifest(desk: Path) -> None:
    path = next((desk / "bundle").glob("manifest-*.json"))
    path.write_text(path.read_text().replace('"required": false', '"required": true'))


def other_product(desk: Path) -> None:
    shutil.rmtree(desk / "bundle")
    built(desk / "other", "bundle", RECIPE.replace("product: thermostat", "product: fridge"))
    (desk / "other/bundle").rename(desk / "bundle")


@pytest.mark.parametrize(
    ("spoil", "status", "says"),
    [
        (lose_keys, 2, "There is no folder of keys at"),
        (lose_key, 2, "The role 'thermostat' needs 1 signatures, and 0 of its keys are here."),
        (spoil_key, 2, "product-thermostat-1.pem is not a readable private key"),
        (lose_bundle, 2, "bundle"),
        (change_image, 1, "images/"),
        (change_manifest, 1, "manifest-"),
        (other_product, 2, "Nobody may release the product 'fridge'. Add it with 'surefoot trust add-product fridge --keys"),
    ],
)
def test_what_cannot_be_signed_is_one_sentence_and_changes_nothing(
    desk: Path, spoil: Callable[[Path], None], status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(desk)
    before = tree(desk)
    assert sign(desk) == status
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert tree(desk) == before


# --- publish ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(office: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = Path(shutil.copytree(office / "data", tmp_path_factory.mktemp("server") / "data"))
    with running(data, Repositories()) as found:
        yield found


def call(server: Running, *words: str) -> int:
    return main([*words, "--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")])


def test_a_signed_bundle_is_published_once_and_listed(
    office: Path, tmp_path: Path, server: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Path(shutil.copytree(office, tmp_path / "desk"))
    sign(desk)
    capsys.readouterr()
    assert call(server, "release", "publish", str(desk / "bundle")) == 0
    told = capsys.readouterr().out
    assert f"Published thermostat 1.2.3, bundle {read_bundle(desk / 'bundle').digest}." in told
    assert told.count("sending ") == len({path.name for path in (desk / "bundle/images").iterdir()})
    assert call(server, "release", "publish", str(desk / "bundle")) == 0
    again = capsys.readouterr().out
    assert again.startswith("Was published already: thermostat 1.2.3")
    assert call(server, "release", "list") == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["PRODUCT", "VERSION", "STATE", "BUILD", "PUBLISHED"]
    assert row.split()[:4] == ["thermostat", "1.2.3", "live", "20251124-143022-9f3a1c"]
    assert call(server, "release", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["releases"][0]["version"] == "1.2.3"


def unsigned(_desk: Path) -> None:
    pass


def without(name: str) -> Callable[[Path], None]:
    def spoil(desk: Path) -> None:
        sign(desk)
        (desk / "bundle/signed" / name).unlink()

    return spoil


def with_strange_signatures(desk: Path) -> None:
    sign(desk)
    (desk / "bundle/signed/signatures.json").write_text("[]")


def with_changed_image(desk: Path) -> None:
    sign(desk)
    change_image(desk)


@pytest.mark.parametrize(
    ("spoil", "status", "says"),
    [
        (unsigned, 2, "bundle is not signed. Run 'surefoot release sign "),
        (without("thermostat.json"), 2, "bundle is not signed."),
        (without("targets.json"), 2, "bundle is not signed."),
        (without("signatures.json"), 2, "bundle is not signed."),
        (without("provenance.dsse.json"), 2, "has no signed provenance. Sign the bundle again: 'surefoot release sign "),
        (with_strange_signatures, 2, "signatures.json: Expected `object`"),
        (with_changed_image, 1, "images/"),
        (lose_bundle, 2, "bundle"),
    ],
)
def test_a_bundle_that_is_not_ready_is_refused_before_anything_is_sent(
    desk: Path, spoil: Callable[[Path], None], status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(desk)
    capsys.readouterr()
    (desk / "token").write_text("token\n")
    words = ["release", "publish", str(desk / "bundle"), "--server", "http://127.0.0.1:1", "--token-file", str(desk / "token")]
    assert main(words) == status
    told = capsys.readouterr().err
    assert "No server answers" not in told
    assert says in told
    assert told.count("\n") == 1


def test_without_a_server_nothing_is_published(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sign(desk)
    (desk / "token").write_text("token\n")
    assert main(["release", "publish", str(desk / "bundle"), "--server", "http://127.0.0.1:1", "--token-file", str(desk / "token")]) == 1
    assert "No server answers at http://127.0.0.1:1. Start one with 'surefoot serve'" in capsys.readouterr().err


def test_the_next_bundle_carries_what_was_retired(desk: Path) -> None:
    assert sign(desk) == 0
    version = json.loads((desk / "bundle/release.json").read_text())["version"]
    assert main(["release", "retire", "thermostat", version, "--keys", str(desk / "keys")]) == 0
    assert sign(desk) == 1
    assert main(["release", "restore", "thermostat", version, "--keys", str(desk / "keys")]) == 0
    assert sign(desk) == 0
    kept = (desk / "keys/metadata/thermostat+archive.json").read_bytes()
    assert (desk / "bundle/signed/thermostat+archive.json").read_bytes() == kept


def test_a_publication_strikes_out_what_it_carried_and_no_more(desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = desk / "keys/metadata/thermostat+moved"
    keys = ("--keys", str(desk / "keys"))

    def next_bundle(version: str) -> str:
        recipe = RECIPE.replace("1.2.3", version)
        folder = tmp_path / version
        folder.mkdir()
        return str(built(folder, recipe=recipe).path)

    def published(server: Running, bundle: str, *more: str) -> bool:
        assert call(server, "release", "publish", bundle, *more) == 0
        return note.exists()

    with running(desk / "data", Repositories()) as server:
        assert sign(desk) == 0
        assert not published(server, str(desk / "bundle"), *keys)
        assert main(["release", "retire", "thermostat", "1.2.3", *keys]) == 0
        first, second = next_bundle("1.3.0"), next_bundle("1.4.0")
        assert main(["release", "sign", first, *keys]) == 0
        assert published(server, first), "nobody said where the keys folder is"
        assert main(["release", "restore", "thermostat", "1.2.3", *keys]) == 0
        assert published(server, first, *keys), "what was moved since is still to be carried"
        assert main(["release", "sign", second, *keys]) == 0
        capsys.readouterr()
        assert not published(server, second, *keys)
        assert call(server, "release", "list") == 0
        states = {line.split()[1]: line.split()[2] for line in capsys.readouterr().out.splitlines()[-3:]}
        assert states == {"1.4.0": "live", "1.3.0": "live", "1.2.3": "live"}
