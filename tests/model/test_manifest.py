# SPDX-License-Identifier: Apache-2.0
"""Manifests: what is signed of them, and what is not."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from surefoot.model.digest import digest_of
from surefoot.model.manifest import Component, Manifest, as_built, manifest_digest, must_match, target_path
from surefoot.model.record import from_json, to_json, to_pretty_json
from tests.strategies import digests, manifests


@given(manifests())
def test_a_manifest_survives_its_json(manifest: Manifest) -> None:
    assert from_json(to_pretty_json(manifest), Manifest, what="m") == from_json(to_json(manifest), Manifest, what="m") == manifest


@given(manifests(), st.text(), st.text())
def test_url_and_signature_are_no_part_of_the_digest(manifest: Manifest, url: str, signature: str) -> None:
    published = structs.replace(manifest, image=structs.replace(manifest.image, url=url, signature=signature))
    assert manifest_digest(published) == manifest_digest(manifest)
    assert as_built(published).image.url == as_built(published).image.signature == ""


@given(manifests(), st.data())
def test_everything_else_is_part_of_the_digest(manifest: Manifest, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from([field for field in Manifest.__struct_fields__ if field != "image"]))
    other = structs.replace(manifest, **{field: getattr(data.draw(manifests()), field)})
    assert (manifest_digest(other) == manifest_digest(manifest)) is (other == manifest)


@given(manifests(), digests())
def test_another_image_is_another_digest(manifest: Manifest, digest: str) -> None:
    other = structs.replace(manifest, image=structs.replace(manifest.image, hash=digest))
    assert (manifest_digest(other) == manifest_digest(manifest)) is (digest == manifest.image.hash)


@given(manifests())
def test_the_must_match_block_says_what_the_manifest_says(manifest: Manifest) -> None:
    block = must_match(manifest)
    same = [field for field in block.__struct_fields__ if field not in {"manifest", "updates_bootloader"}]
    assert [getattr(block, field) for field in same] == [getattr(manifest, field) for field in same]
    assert block.manifest == manifest_digest(manifest)


@given(manifests(), st.sampled_from([("bootloader", True, True), ("bootloader", False, False), ("application", True, False)]))
def test_an_image_with_an_updatable_bootloader_says_so_where_both_sign(whole: Manifest, case: tuple[str, bool, bool]) -> None:
    name, updatable, says = case
    part = Component(name=name, version="1", hash=digest_of(b""), updatable=updatable)
    other = Component(name="config", version="1", hash=digest_of(b""))
    assert must_match(structs.replace(whole, components=[other, part])).updates_bootloader is says


def test_a_target_path_is_product_version_hardware_and_variant() -> None:
    assert target_path("thermostat", "1.2.3", "esp32-v2", "release") == "thermostat/1.2.3/esp32-v2-release"
