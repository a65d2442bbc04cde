# SPDX-License-Identifier: Apache-2.0
"""Provenance: what the specifications ask for, about exactly the files of the bundle, and the same bytes every time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surefoot.model.digest import digest_of, hex_of
from surefoot.model.errors import DigestError, Error, FormatError, ManifestError, MetadataError, TrustError
from surefoot.model.manifest import Manifest, ReleaseIndex
from surefoot.model.record import to_json, to_pretty_json
from surefoot.release.bundle import Bundle, read_bundle, verify_bundle
from surefoot.release.provenance import BUILD_TYPE, BUILDER, make_statement, read_predicate, require_predicate, require_statement
from tests.release.firmware import BUILD_ID, RECIPE, built


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return built(tmp_path_factory.mktemp("provenance"))


def statement_of(bundle: Bundle) -> bytes:
    return make_statement(read_predicate(bundle.provenance), bundle.index, bundle.manifests.values())


def check(payload: bytes, bundle: Bundle) -> None:
    require_statement(payload, bundle.index, bundle.manifests.values())


def test_a_statement_has_the_fields_that_in_toto_and_slsa_require(bundle: Bundle) -> None:
    statement = json.loads(statement_of(bundle))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert definition.keys() == {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}
    assert (definition["buildType"], details["builder"]) == (BUILD_TYPE, {"id": BUILDER})
    assert details["metadata"] == {"invocationId": BUILD_ID}


def test_the_subjects_are_the_files_of_the_bundle_with_their_digests(bundle: Bundle) -> None:
    subjects = {one["name"]: one["digest"] for one in json.loads(statement_of(bundle))["subject"]}
    files = {name: b"".join(bundle.files.pieces(name)) for name in bundle.files.sizes() if name != "provenance.json"}
    assert subjects == {name: {"sha256": hex_of(digest_of(data))} for name, data in files.items()}


def test_the_parameters_are_what_the_caller_chose(bundle: Bundle) -> None:
    said = json.loads(bundle.provenance)["buildDefinition"]
    assert said["externalParameters"] == {
        "recipe": digest_of(RECIPE.encode()),
        "product": "thermostat",
        "version": "1.2.3",
        "build_id": BUILD_ID,
        "release_counter": 4,
        "hardware": ["esp32-v2", "esp32-v3"],
        "variants": ["debug", "release"],
    }
    assert said["internalParameters"] == {"tool_version": "0.1.0"}


def test_the_dependencies_are_the_files_that_the_recipe_names_each_with_what_it_held(bundle: Bundle) -> None:
    found = json.loads(bundle.provenance)["buildDefinition"]["resolvedDependencies"]
    project = bundle.path.parent / "project"
    paths = [
        "boot.bin",
        "config/default.json",
        *(f"out/{hw}/{kind}.bin" for hw in ("esp32-v2", "esp32-v3") for kind in ("debug", "release")),
    ]
    assert [one["name"] for one in found] == paths
    assert [one["digest"]["sha256"] for one in found] == [hex_of(digest_of((project / path).read_bytes())) for path in paths]
    assert found[0]["annotations"] == {"component": "bootloader", "version": "2.1.0"}


def test_two_builds_give_the_same_statement(bundle: Bundle, tmp_path: Path) -> None:
    assert statement_of(built(tmp_path, "bundle.tar")) == statement_of(bundle)


def test_a_statement_about_the_bundle_is_taken(bundle: Bundle) -> None:
    check(statement_of(bundle), bundle)


def test_a_changed_byte_anywhere_in_a_statement_is_refused(bundle: Bundle) -> None:
    whole = statement_of(bundle)
    for at in range(len(whole)):
        with pytest.raises(TrustError):
            check(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], bundle)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda s: s["subject"].pop(), DigestError, "and the signed provenance says nothing of it"),
        (lambda s: s["subject"].append({"name": "x", "digest": s["subject"][0]["digest"]}), DigestError, "x is not there"),
        (lambda s: s["subject"].append(s["subject"][0]), MetadataError, "not written as surefoot writes it"),
        (lambda s: s["subject"].reverse(), MetadataError, "not written as surefoot writes it"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), DigestError, "and the signed provenance says sha256:0000"),
        (lambda s: s["subject"][0]["digest"].update(sha512="0" * 128), MetadataError, "unknown field `sha512`"),
        (lambda s: s.update(predicateType="https://slsa.dev/provenance/v2"), MetadataError, "predicateType"),
        (
            lambda s: s["predicate"]["buildDefinition"]["externalParameters"].update(recipe="sha256:" + "0" * 64),
            DigestError,
            "another build",
        ),
        (lambda s: s["predicate"]["buildDefinition"]["externalParameters"].update(extra=1), MetadataError, "unknown field `extra`"),
    ],
)
def test_a_statement_about_anything_else_is_refused(
    bundle: Bundle, change: Callable[[Any], object], kind: type[Error], message: str
) -> None:
    statement = json.loads(statement_of(bundle))
    change(statement)
    with pytest.raises(kind) as caught:
        check(to_json(statement), bundle)
    assert message in str(caught.value)


def parts(bundle: Bundle) -> tuple[ReleaseIndex, list[Manifest]]:
    return bundle.index, list(bundle.manifests.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, _: d["externalParameters"].update(product="lamp"), "says product 'lamp', and the release 'thermostat'"),
        (lambda d, _: d["externalParameters"].update(version="9.9.9"), "says version '9.9.9'"),
        (lambda d, _: d["externalParameters"].update(release_counter=5), "says release_counter 5, and the release 4"),
        (lambda d, _: d["externalParameters"].update(hardware=["esp32-v2"]), "says hardware ['esp32-v2']"),
        (lambda d, _: d["externalParameters"].update(variants=["debug"]), "says variants ['debug']"),
        (lambda _, r: r["metadata"].update(invocationId="other"), "is of another build than release.json"),
        (lambda d, _: d["resolvedDependencies"].pop(0), "Only a manifest lists bootloader 2.1.0 sha256:"),
        (lambda d, _: d["resolvedDependencies"][0]["annotations"].update(version="9"), "Only "),
        (lambda d, _: d["resolvedDependencies"][0].pop("annotations"), "'boot.bin' is of no component"),
    ],
)
def test_a_predicate_of_another_build_is_refused(bundle: Bundle, change: Callable[[Any, Any], object], message: str) -> None:
    plain = json.loads(bundle.provenance)
    change(plain["buildDefinition"], plain["runDetails"])
    with pytest.raises(ManifestError) as caught:
        require_predicate(read_predicate(to_pretty_json(plain)), *parts(bundle))
    assert message in str(caught.value)


def test_the_same_predicate_in_another_spelling_is_refused(bundle: Bundle) -> None:
    with pytest.raises(FormatError, match=r"provenance\.json is not written as surefoot writes it"):
        read_predicate(to_json(json.loads(bundle.provenance)))


def test_a_bundle_with_the_provenance_of_another_build_is_refused(tmp_path: Path) -> None:
    folder = built(tmp_path).path
    predicate = (folder / "provenance.json").read_bytes().replace(b'"release_counter": 4', b'"release_counter": 5')
    (folder / "provenance.json").write_bytes(predicate)
    index = json.loads((folder / "release.json").read_bytes())
    (folder / "release.json").write_bytes(to_pretty_json({**index, "provenance": digest_of(predicate)}))
    with pytest.raises(ManifestError, match="says release_counter 5, and the release 4"):
        verify_bundle(read_bundle(folder))
