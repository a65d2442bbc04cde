# SPDX-License-Identifier: Apache-2.0
"""Bundles: every changed byte, missing file and stranger is refused by name, in a folder and in an archive."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from surefoot.model.digest import digest_of
from surefoot.model.errors import DigestError, Error, FormatError, InvalidInput, ManifestError
from surefoot.model.record import to_pretty_json
from surefoot.release.bundle import Bundle, read_bundle, verify_bundle
from surefoot.release.draft import add_signed
from surefoot.release.layout import MAX_FILES, check_names
from tests.release.firmware import RECIPE, built

SMALL = RECIPE.replace("[esp32-v2, esp32-v3]", "[esp32-v2]").replace("[release, debug]", "[release]")
MANIFEST = "manifest-esp32-v2-release.json"


def names_of(bundle: Bundle) -> list[str]:
    return sorted(bundle.files.sizes())


def check(path: Path) -> None:
    verify_bundle(read_bundle(path))


@pytest.mark.parametrize("name", ["bundle", "bundle.tar"])
def test_a_built_bundle_is_good_and_holds_what_the_formats_page_says(tmp_path: Path, name: str) -> None:
    bundle = built(tmp_path, name, SMALL)
    verify_bundle(bundle)
    image = next(iter(bundle.manifests.values())).image.hash.removeprefix("sha256:")
    assert names_of(bundle) == [f"images/{image}", MANIFEST, "provenance.json", "release.json", "sbom.cdx.json"]


def test_folder_and_archive_are_the_same_bundle(tmp_path: Path) -> None:
    folder, archive = built(tmp_path / "1", "bundle"), built(tmp_path / "2", "bundle.tar")
    assert folder.digest == archive.digest == digest_of((folder.path / "release.json").read_bytes())
    assert [b"".join(folder.files.pieces(n)) for n in names_of(folder)] == [b"".join(archive.files.pieces(n)) for n in names_of(archive)]


def test_a_changed_byte_anywhere_in_a_folder_is_refused_by_file(tmp_path: Path) -> None:
    bundle = built(tmp_path, recipe=SMALL)
    for name in names_of(bundle):
        path = bundle.path / name
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises((InvalidInput, DigestError)) as caught:
                check(bundle.path)
            assert name in str(caught.value) or name == "release.json"
        path.write_bytes(whole)
    check(bundle.path)


def test_a_changed_byte_anywhere_in_an_archive_is_refused(tmp_path: Path) -> None:
    path = built(tmp_path, "bundle.tar", SMALL).path
    whole = path.read_bytes()
    for at in range(0, len(whole), 13):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises((InvalidInput, DigestError)):
            check(path)
    path.write_bytes(whole)
    check(path)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def add(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"{}\n")

    return change


def remove_image(folder: Path) -> None:
    next((folder / "images").iterdir()).unlink()


def cut_image(folder: Path) -> None:
    image = next((folder / "images").iterdir())
    image.write_bytes(image.read_bytes()[:-1])


def link_image(folder: Path) -> None:
    image = next((folder / "images").iterdir())
    image.rename(folder.parent / "elsewhere")
    image.symlink_to(folder.parent / "elsewhere")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "signed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("release.json"), "the file release.json is missing"),
        (remove("sbom.cdx.json"), "the file sbom.cdx.json is missing"),
        (remove(MANIFEST), f"the file {MANIFEST} is missing"),
        (remove_image, "is missing"),
        (cut_image, "has been changed: it has"),
        (link_image, "is neither a file nor a folder"),
        (pipe, "is neither a file nor a folder"),
        (add("README"), "the file 'README' does not belong in a bundle"),
        (add("images/" + "A" * 64), "does not belong in a bundle"),
        (add("more/release.json"), "the file 'more' does not belong in a bundle"),
        (add("signed/.hidden"), "the file 'signed/.hidden' does not belong"),
        (add("manifest-esp32-v9-release.json"), "nothing names the file manifest-esp32-v9-release.json"),
        (add("images/" + "a" * 64), "nothing names the file images/aaaa"),
    ],
)
def test_what_is_missing_or_does_not_belong_is_named(tmp_path: Path, change: Callable[[Path], None], message: str) -> None:
    bundle = built(tmp_path, recipe=SMALL)
    change(bundle.path)
    with pytest.raises((ManifestError, DigestError)) as caught:
        check(bundle.path)
    assert message in str(caught.value)


def rewrite(folder: Path, change: Callable[[dict[str, object], dict[str, object]], None], *, is_pretty: bool = True) -> None:
    """Change manifest and index of a bundle and put all hashes right again, as a builder with other ideas would."""
    manifest, index = json.loads((folder / MANIFEST).read_bytes()), json.loads((folder / "release.json").read_bytes())
    change(manifest, index)
    data = to_pretty_json(manifest) if is_pretty else json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(data)
    for entry in index["manifests"]:
        entry["hash"] = digest_of(data)
    (folder / "release.json").write_bytes(to_pretty_json(index))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, _: m.update(product="other"), "says product 'other', release.json says 'thermostat'"),
        (lambda m, _: m.update(version="9.9.9"), "says version '9.9.9'"),
        (lambda m, _: m.update(build_id="other"), "says build_id 'other'"),
        (lambda m, _: m.update(variant="debug"), "for other hardware or another variant"),
        (lambda m, _: m.update(target_hardware=["esp32-v2", "more"]), "for other hardware or another variant"),
        (lambda m, _: m["image"].update(url="https://x"), "has a URL or a signature"),
        (lambda m, _: m["image"].update(size=1), "has been changed"),
        (lambda m, _: m.update(extra=1), "unknown field `extra`"),
        (lambda m, _: m["components"].pop(), "only sbom.cdx.json lists config"),
        (lambda m, _: m["components"][0].update(version="9"), "only "),
        (lambda _, i: i.update(product="other"), "release.json says 'other'"),
        (lambda _, i: i["manifests"][0].update(file="manifest-x-y.json"), "names the manifest of esp32-v2 release 'manifest-x-y.json'"),
        (lambda _, i: i["manifests"].append(i["manifests"][0]), "names a manifest twice"),
    ],
)
def test_files_that_contradict_each_other_are_refused(
    tmp_path: Path, change: Callable[[dict[str, object], dict[str, object]], None], message: str
) -> None:
    bundle = built(tmp_path, recipe=SMALL)
    rewrite(bundle.path, change)
    with pytest.raises(Error) as caught:
        check(bundle.path)
    assert message in str(caught.value)


def test_manifests_of_one_release_agree_on_what_is_not_about_hardware(tmp_path: Path) -> None:
    folder = built(tmp_path, recipe=RECIPE.replace("[release, debug]", "[release]")).path
    index = json.loads((folder / "release.json").read_bytes())
    manifest = json.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_bytes(to_pretty_json({**manifest, "release_counter": 9}))
    index["manifests"][0]["hash"] = digest_of((folder / MANIFEST).read_bytes())
    (folder / "release.json").write_bytes(to_pretty_json(index))
    with pytest.raises(ManifestError, match=f"manifest-esp32-v3-release.json and {MANIFEST} disagree on release_counter"):
        check(folder)


def test_a_bill_of_another_release_is_refused(tmp_path: Path) -> None:
    folder = built(tmp_path, recipe=SMALL).path
    bill = (folder / "sbom.cdx.json").read_bytes().replace(b'"name": "thermostat"', b'"name": "lamp"')
    (folder / "sbom.cdx.json").write_bytes(bill)
    rewrite(folder, lambda _, index: index.update(sbom=digest_of(bill)))
    with pytest.raises(ManifestError, match=r"sbom\.cdx\.json is of lamp 1\.2\.3, not of this release"):
        check(folder)


def test_the_same_values_in_another_spelling_are_refused(tmp_path: Path) -> None:
    folder = built(tmp_path, recipe=SMALL).path
    rewrite(folder, lambda *_: None, is_pretty=False)
    with pytest.raises(FormatError, match=f"{MANIFEST} is not written as surefoot writes it"):
        check(folder)


@pytest.mark.parametrize("name", ["bundle", "bundle.tar"])
def test_what_signing_adds_is_no_part_of_the_digest(tmp_path: Path, name: str) -> None:
    bundle = built(tmp_path, name, SMALL)
    add_signed(bundle, {"thermostat.json": b"one", "signatures.json": b"{}"})
    add_signed(read_bundle(bundle.path), {"thermostat.json": b"two"})
    again = read_bundle(bundle.path)
    verify_bundle(again)
    assert again.digest == bundle.digest
    assert again.signed == {"thermostat.json": b"two", "signatures.json": b"{}"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [name, "project"]


def test_signed_files_keep_to_their_folder(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="does not belong in a bundle"):
        add_signed(built(tmp_path, recipe=SMALL), {"../release.json": b""})


@pytest.mark.parametrize(("name", "message"), [("nothing", "No such file"), ("project/boot.bin", "not an archive as surefoot writes it")])
def test_what_is_no_bundle_is_refused(tmp_path: Path, name: str, message: str) -> None:
    built(tmp_path, recipe=SMALL)
    with pytest.raises(InvalidInput) as caught:
        read_bundle(tmp_path / name)
    assert message in str(caught.value)


def test_a_bundle_has_bounds(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="more than 10000 files"):
        check_names(tmp_path, {f"images/{n:064x}": 0 for n in range(MAX_FILES + 1)})
    with pytest.raises(ManifestError, match=r"the file release\.json is larger than"):
        check_names(tmp_path, {"release.json": 1 << 40})


def test_a_copied_bundle_is_the_same_bundle(tmp_path: Path) -> None:
    bundle = built(tmp_path)
    shutil.copytree(bundle.path, tmp_path / "copy")
    check(tmp_path / "copy")
    assert read_bundle(tmp_path / "copy").digest == bundle.digest
