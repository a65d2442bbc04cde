# SPDX-License-Identifier: Apache-2.0
"""The bill of materials of a release: CycloneDX 1.6 as JSON, the same bytes for the same content.

- The product is the subject; it depends on every component, and components on what the recipe says.
- A component whose file differs between images is listed once per content; the property ``surefoot:image`` says where it is.
- The serial number is drawn from the content and the time from the build id, so neither reads a clock or a random number.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.spdx import is_supported_id

from surefoot.model import record
from surefoot.model.digest import Digest, digest_of, from_hex, hex_of
from surefoot.model.errors import ManifestError
from surefoot.model.record import Hint

_SERIALS = uuid.UUID("5b0e5d5c-6f5f-5c6b-9a57-7e0d1a6f3c11")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the bill is of: the release, and when it was built if its build id says so."""

    product: str
    version: str
    build_id: str
    built_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """One component as one image has it.

    Attributes:
        image: The image, ``<hardware>-<variant>``.
        depends_on: Names of other components of the same image.
    """

    image: str
    name: str
    version: str
    hash: Digest
    license: str
    supplier: str
    updatable: bool
    depends_on: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Listed:
    """A component as a bill of materials lists it."""

    name: str
    version: str
    hash: Digest


def make_sbom(subject: Subject, ingredients: Iterable[Ingredient]) -> bytes:
    """Return the bill of materials of a release as pretty JSON with sorted keys.

    Args:
        subject: The release.
        ingredients: Every component of every image, in any order.
    """
    sorted_ingredients = sorted(ingredients, key=lambda one: (one.name, one.hash, one.image))
    components = _components(sorted_ingredients)
    product = Component(name=subject.product, version=subject.version, type=ComponentType.FIRMWARE, bom_ref=_product_ref(subject))
    product.properties.add(Property(name="surefoot:build_id", value=subject.build_id))
    bom = Bom(components=components.values())
    bom.metadata.component = product
    bom.metadata.timestamp = subject.built_at or datetime.fromtimestamp(0, tz=UTC)
    bom.register_dependency(product, components.values())
    for reference, needed in _needs(sorted_ingredients).items():
        bom.register_dependency(components[reference], [components[other] for other in sorted(needed)])
    return _with_serial(_plain(bom, has_time=subject.built_at is not None))


def read_sbom(data: bytes) -> tuple[str, str, set[Listed]]:
    """Return product, version and components that a bill of materials lists.

    Raises:
        FormatError: It is not JSON of that form.
        ManifestError: A component has no SHA-256.
    """
    bill = record.from_json(data, _Bill, what="sbom.cdx.json")
    listed = set()
    for component in bill.components:
        sha256 = next((one.content for one in component.hashes if one.alg == "SHA-256"), None)
        if sha256 is None:
            raise ManifestError(f"sbom.cdx.json: the component '{component.name}' has no SHA-256.", hint="Build the release again.")
        listed.add(Listed(name=component.name, version=component.version, hash=from_hex(sha256)))
    return bill.metadata.component.name, bill.metadata.component.version, listed


class _Hash(Hint, frozen=True, kw_only=True):
    alg: str
    content: str


class _Component(Hint, frozen=True, kw_only=True):
    name: str
    version: str = ""
    hashes: list[_Hash] = []


class _Metadata(Hint, frozen=True, kw_only=True):
    component: _Component


class _Bill(Hint, frozen=True, kw_only=True):
    metadata: _Metadata
    components: list[_Component] = []


def _product_ref(subject: Subject) -> str:
    return f"product:{subject.product}@{subject.version}"


def _reference(ingredient: Ingredient) -> str:
    return f"component:{ingredient.name}@{hex_of(ingredient.hash)}"


def _components(ingredients: Iterable[Ingredient]) -> dict[str, Component]:
    components: dict[str, Component] = {}
    for ingredient in ingredients:
        component = components.setdefault(_reference(ingredient), _component(ingredient))
        component.properties.add(Property(name="surefoot:image", value=ingredient.image))
    return components


def _component(ingredient: Ingredient) -> Component:
    name = ingredient.license
    return Component(
        name=ingredient.name,
        version=ingredient.version,
        type=ComponentType.FIRMWARE,
        bom_ref=_reference(ingredient),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hex_of(ingredient.hash))],
        licenses=[DisjunctiveLicense(id=name) if is_supported_id(name) else LicenseExpression(value=name)],
        supplier=OrganizationalEntity(name=ingredient.supplier) if ingredient.supplier else None,
        properties=[Property(name="surefoot:updatable", value=str(ingredient.updatable).lower())],
    )


def _needs(ingredients: Iterable[Ingredient]) -> Mapping[str, set[str]]:
    by_image = {(one.image, one.name): _reference(one) for one in ingredients}
    needs: dict[str, set[str]] = {}
    for ingredient in ingredients:
        needed = needs.setdefault(_reference(ingredient), set())
        needed.update(by_image[ingredient.image, name] for name in ingredient.depends_on)
    return needs


def _plain(bom: Bom, *, has_time: bool) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del plain["serialNumber"]
    # The library always writes a time; one that nobody knows is left out, as the standard allows.
    if not has_time:
        del plain["metadata"]["timestamp"]
    return plain


def _with_serial(plain: dict[str, Any]) -> bytes:
    serial = uuid.uuid5(_SERIALS, digest_of(record.to_json(plain)))
    return record.to_pretty_json({**plain, "serialNumber": serial.urn})
