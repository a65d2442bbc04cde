# SPDX-License-Identifier: Apache-2.0
"""``surefoot release verify --keys|--root``: every changed byte of what was signed is refused, and no silence about signatures."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from surefoot.cli.main import main
from surefoot.cli.release_signatures import require_signed_by_folder, require_signed_by_root
from surefoot.model.errors import ExpiredError, TrustError
from surefoot.release.bundle import Bundle, read_bundle
from surefoot.trust.envelope import sign_envelope
from surefoot.trust.signer import generate, load
from tests.release.firmware import RECIPE, built

SIGNED = ["thermostat.json", "targets.json", "signatures.json", "provenance.dsse.json"]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and a signed bundle, made once; ``fresh`` is the bundle before it was signed."""
    folder = tmp_path_factory.mktemp("office")
    assert main(["trust", "init", "--keys", str(folder / "keys"), "--data", str(folder / "data"), "--product", "thermostat"]) == 0
    shutil.copy(folder / "keys/metadata/thermostat.json", folder / "first-role.json")
    built(folder)
    shutil.copytree(folder / "bundle", folder / "fresh")
    assert main(["release", "sign", str(folder / "bundle"), "--keys", str(folder / "keys")]) == 0
    return folder


@pytest.fixture
def desk(office: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(office, tmp_path / "desk"))


def trusting(desk: Path, way: str) -> list[str]:
    return ["--keys", str(desk / "keys")] if way == "keys" else ["--root", str(desk / "keys/metadata/root.json")]


def verify(desk: Path, way: str, bundle: str = "bundle") -> int:
    return main(["release", "verify", str(desk / bundle), *trusting(desk, way)])


@pytest.mark.parametrize("way", ["keys", "root"])
def test_a_signed_bundle_is_verified(desk: Path, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(desk, way) == 0
    assert "Signed by the keys of thermostat: the role, 4 manifest(s), the provenance." in capsys.readouterr().out


def test_only_the_metadata_of_a_keys_folder_is_needed(desk: Path) -> None:
    for key in (desk / "keys").glob("*.pem"):
        key.unlink()
    assert verify(desk, "keys") == 0


@pytest.mark.parametrize("bundle", ["bundle", "fresh"])
def test_without_anything_trusted_it_says_that_signatures_were_not_checked(
    desk: Path, bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["release", "verify", str(desk / bundle)]) == 0
    told = capsys.readouterr().out
    assert "Signatures were NOT checked: name what you trust with --keys DIR (a folder of keys) or --root FILE (an image root)." in told
    assert "Signed by" not in told


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("way", ["keys", "root"])
def test_a_changed_byte_in_what_was_signed_is_refused(office: Path, name: str, way: str) -> None:
    bundle = read_bundle(office / "bundle")
    whole = bundle.signed[name]
    step = max(1, len(whole) // 300)
    for at in range(0, len(whole), step):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with pytest.raises(TrustError):
            check(office, replace(bundle, signed={**bundle.signed, name: changed}), way)
    check(office, bundle, way)


def check(office: Path, bundle: Bundle, way: str) -> None:
    if way == "keys":
        require_signed_by_folder(bundle, office / "keys")
    else:
        require_signed_by_root(bundle, office / "keys/metadata/root.json", datetime.now(UTC))


def without(name: str) -> Callable[[Path], None]:
    return lambda desk: (desk / "bundle/signed" / name).unlink()


def unsigned(desk: Path) -> None:
    shutil.rmtree(desk / "bundle/signed")


def change_statement(desk: Path) -> None:
    path = desk / "bundle/signed/provenance.dsse.json"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"payload":"ey', b'"payload":"fy'))


def change_envelope(desk: Path) -> None:
    path = desk / "bundle/signed/provenance.dsse.json"
    path.write_bytes(path.read_bytes() + b" ")


def change_signatures(desk: Path) -> None:
    path = desk / "bundle/signed/signatures.json"
    path.write_text(path.read_text().replace('"base64:ME', '"base64:MF', 1))


def drop_a_signature(desk: Path) -> None:
    path = desk / "bundle/signed/signatures.json"
    signatures = json.loads(path.read_bytes())
    signatures.popitem()
    path.write_text(json.dumps(signatures, indent=1, sort_keys=True) + "\n")


def spoil_signatures(desk: Path) -> None:
    (desk / "bundle/signed/signatures.json").write_text("[]")


def take_another_envelope(desk: Path) -> None:
    built(desk / "other", "bundle", RECIPE.replace("1.2.3", "1.2.4"))
    assert main(["release", "sign", str(desk / "other/bundle"), "--keys", str(desk / "keys")]) == 0
    shutil.copy(desk / "other/bundle/signed/provenance.dsse.json", desk / "bundle/signed")


def let_a_stranger_sign(desk: Path) -> None:
    path = desk / "bundle/signed/provenance.dsse.json"
    path.write_bytes(sign_envelope(b"{}", [generate()]))


def take_the_role_before(desk: Path) -> None:
    shutil.copy(desk / "first-role.json", desk / "bundle/signed/thermostat.json")


def change_image(desk: Path) -> None:
    image = next((desk / "bundle/images").iterdir())
    image.write_bytes(image.read_bytes() + b"!")


@pytest.mark.parametrize("way", ["keys", "root"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        *((without(name), f"is not signed: signed/{name} is missing. Sign the bundle again.") for name in SIGNED),
        (unsigned, "is not signed: signed/thermostat.json is missing."),
        (change_statement, "the signed provenance is not signed by the keys of the product 'thermostat'"),
        (change_envelope, "the signed provenance is"),
        (change_signatures, "is not signed by the product's key. Sign it again."),
        (drop_a_signature, "signed/signatures.json is not as surefoot wrote it."),
        (spoil_signatures, "signed/signatures.json: Expected `object`"),
        (take_another_envelope, "and the signed provenance says"),
        (let_a_stranger_sign, "the signed provenance is not signed by the keys of the product 'thermostat'"),
        (take_the_role_before, "signed/thermostat.json does not list thermostat/1.2.3/"),
        (change_image, "has been changed"),
    ],
)
def test_what_was_not_signed_so_is_refused_in_a_sentence(
    desk: Path, way: str, spoil: Callable[[Path], None], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(desk)
    capsys.readouterr()
    assert verify(desk, way) == 1
    told = capsys.readouterr()
    assert says in told.err
    assert told.err.count("\n") == 1
    assert "Signed by" not in told.out


def test_a_strangers_keys_and_root_are_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stranger = desk / "stranger"
    assert main(["trust", "init", "--keys", str(stranger / "keys"), "--data", str(stranger / "data"), "--product", "thermostat"]) == 0
    capsys.readouterr()
    for way in ("keys", "root"):
        assert main(["release", "verify", str(desk / "bundle"), *trusting(stranger, way)]) == 1
        assert "signed/targets.json" in capsys.readouterr().err
    assert main(["release", "verify", str(desk / "bundle"), "--root", str(desk / "keys/metadata/director-root.json")]) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--root", "nowhere.json"], "nowhere.json cannot be read: No such file or directory. Name a root of the image repository."),
        (["--root", "keys/metadata/targets.json"], "expected root. Name a root of the image repository, root.json."),
        (["--root", "keys/metadata"], "cannot be read: Is a directory."),
        (["--keys", "nowhere"], "There is no folder of keys at nowhere."),
        (["--keys", "data"], "holds no metadata root.json"),
    ],
)
def test_wrong_input_is_status_2(
    desk: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    capsys.readouterr()
    assert main(["release", "verify", "bundle", *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("days", "says"), [(91, r"signed/targets\.json expired on"), (366, r"root\.json expired on")])
def test_an_expired_delegation_is_not_trusted_by_a_root_alone(office: Path, days: int, says: str) -> None:
    now = datetime.now(UTC) + timedelta(days=days)
    with pytest.raises(ExpiredError, match=says):
        require_signed_by_root(read_bundle(office / "bundle"), office / "keys/metadata/root.json", now)


def test_an_envelope_by_the_right_key_about_nothing_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signer = load(desk / "keys/product-thermostat-1.pem")
    (desk / "bundle/signed/provenance.dsse.json").write_bytes(sign_envelope(b"{}", [signer]))
    capsys.readouterr()
    assert verify(desk, "keys") == 1
    assert "signed provenance: Object missing required field" in capsys.readouterr().err


def test_a_product_called_like_a_signed_file_cannot_be_added(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["trust", "add-product", "provenance.dsse", "--keys", str(desk / "keys")]) == 2
    assert "cannot be the name of a product" in capsys.readouterr().err
