# SPDX-License-Identifier: Apache-2.0
"""Bills of materials: valid by the standard's own schema, complete, and the same every time."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import FormatError, ManifestError
from surefoot.release.sbom import Ingredient, Listed, Subject, make_sbom, read_sbom
from tests.release.firmware import built
from tests.strategies import NAMES, digests

SUBJECT = Subject(product="lamp", version="1.0.0", build_id="b1", built_at=datetime(2025, 11, 24, 14, 30, 22, tzinfo=UTC))
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
LICENSES = st.sampled_from(["MIT", "Apache-2.0", "MIT OR Apache-2.0", "GPL-2.0-only WITH Linux-syscall-note"])


@st.composite
def bills(draw: st.DrawFn) -> list[Ingredient]:
    """Return the components of a few images, of which each may depend on the others."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    images = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    return [
        ingredient(image, name, draw(digests()), draw(LICENSES), tuple(draw(st.sets(st.sampled_from(names))) - {name}))
        for image in images
        for name in names
    ]


def ingredient(image: str, name: str, digest: Digest, license_: str = "MIT", depends_on: tuple[str, ...] = ()) -> Ingredient:
    return Ingredient(
        image=image, name=name, version="1", hash=digest, license=license_, supplier="", updatable=True, depends_on=depends_on
    )


@settings(deadline=None, max_examples=30)
@given(bills(), st.data())
def test_any_bill_is_valid_and_its_order_does_not_matter(ingredients: list[Ingredient], data: st.DataObject) -> None:
    bill = make_sbom(SUBJECT, ingredients)
    assert make_sbom(SUBJECT, data.draw(st.permutations(ingredients))) == bill
    assert VALIDATOR.validate_str(bill.decode()) is None
    assert read_sbom(bill) == ("lamp", "1.0.0", {Listed(name=one.name, version="1", hash=one.hash) for one in ingredients})


def test_a_built_bill_says_licence_supplier_version_hash_and_dependencies(tmp_path: Path) -> None:
    bundle = built(tmp_path)
    assert VALIDATOR.validate_str(bundle.sbom.decode()) is None
    bill = json.loads(bundle.sbom)
    application = next(component for component in bill["components"] if component["name"] == "application")
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert application["licenses"] == [{"expression": "Apache-2.0 OR MIT"}]
    assert (application["supplier"]["name"], application["version"]) == ("Example GmbH", "1.2.3")
    assert application["hashes"][0]["alg"] == "SHA-256"
    assert needs[application["bom-ref"]] == [f"component:config@{digest_of(b'{}' + bytes([10])).removeprefix('sha256:')}"]
    assert set(needs[bill["metadata"]["component"]["bom-ref"]]) == {component["bom-ref"] for component in bill["components"]}


def test_a_component_that_differs_between_images_is_listed_once_per_content() -> None:
    one, other = digest_of(b"1"), digest_of(b"2")
    bill = json.loads(make_sbom(SUBJECT, [ingredient("a", "app", one), ingredient("b", "app", other), ingredient("c", "app", one)]))
    images = [[p["value"] for p in component["properties"] if p["name"] == "surefoot:image"] for component in bill["components"]]
    assert sorted(images) == [["a", "c"], ["b"]]


def test_the_time_is_that_of_the_build_id_or_left_out() -> None:
    subject = Subject(product="lamp", version="1.0.0", build_id="b1", built_at=None)
    timeless = make_sbom(subject, [ingredient("a", "app", digest_of(b""))])
    assert "timestamp" not in json.loads(timeless)["metadata"]
    assert VALIDATOR.validate_str(timeless.decode()) is None
    assert json.loads(make_sbom(SUBJECT, []))["metadata"]["timestamp"] == "2025-11-24T14:30:22+00:00"


def test_another_content_has_another_serial_number() -> None:
    bills = [json.loads(make_sbom(SUBJECT, [ingredient("a", "app", digest_of(data))])) for data in (b"1", b"2")]
    assert bills[0]["serialNumber"] != bills[1]["serialNumber"]


def test_a_component_without_a_hash_is_refused() -> None:
    with pytest.raises(ManifestError, match="'app' has no SHA-256"):
        read_sbom(b'{"metadata": {"component": {"name": "lamp"}}, "components": [{"name": "app", "version": "1"}]}')


@pytest.mark.parametrize("data", [b"", b"[]", b'{"metadata": {}}'])
def test_what_is_no_bill_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"sbom\.cdx\.json"):
        read_sbom(data)
