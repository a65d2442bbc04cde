# SPDX-License-Identifier: Apache-2.0
"""Provenance: an in-toto Statement v1 that says with SLSA Provenance v1 how the files of a bundle came to be.

- The build writes the predicate, ``provenance.json``, which ``release.json`` names by hash; signing wraps it into a statement
  about every file of the bundle, ``release.json`` included, and so about everything.
- Nothing here reads a clock: SLSA's times are optional, and the build id tells builds apart.
- A statement has one form: both specifications let a consumer pass over unknown fields, but here only our own build type is
  read, and a field that nobody knows would be a signed word that nobody checked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from surefoot.model.digest import Digest, digest_of, from_hex, hex_of
from surefoot.model.errors import DigestError, FormatError, ManifestError, MetadataError
from surefoot.model.manifest import BuildId, Counter, Manifest, ReleaseIndex
from surefoot.model.record import Name, Record, from_json, to_json, to_pretty_json
from surefoot.model.version import SemVer
from surefoot.release.layout import INDEX, PROVENANCE, SBOM, image_file

BUILD_TYPE: Final = "urn:surefoot:build:recipe:v1"
"""How to read the parameters, see docs/formats.md; SLSA's ``buildType``."""

BUILDER: Final = "urn:surefoot:builder:command-line:v1"
"""Whoever ran ``surefoot release build``, on whatever machine; SLSA's ``builder.id``."""

_Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class DigestSet(Record, frozen=True, kw_only=True):
    """The in-toto ``DigestSet``, of which we use one algorithm."""

    sha256: _Sha256


class Origin(Record, frozen=True, kw_only=True):
    """Which component of the recipe a file is."""

    component: Name
    version: str


class Descriptor(Record, frozen=True, kw_only=True):
    """The in-toto ``ResourceDescriptor``: a file of the bundle, or one that a component came from."""

    name: str
    digest: DigestSet
    annotations: Origin | None = None


class ExternalParameters(Record, frozen=True, kw_only=True):
    """What the caller of a build chooses; everything else follows from it and from the files."""

    recipe: Digest
    product: Name
    version: SemVer
    build_id: BuildId
    release_counter: Counter
    hardware: list[Name]
    variants: list[Name]


class InternalParameters(Record, frozen=True, kw_only=True):
    """The version of Surefoot that built."""

    tool_version: str


class BuildDefinition(Record, frozen=True, kw_only=True, rename="camel", omit_defaults=False):
    """SLSA's ``BuildDefinition``."""

    build_type: Literal["urn:surefoot:build:recipe:v1"] = BUILD_TYPE
    external_parameters: ExternalParameters
    internal_parameters: InternalParameters
    resolved_dependencies: list[Descriptor]


class Builder(Record, frozen=True, kw_only=True, omit_defaults=False):
    """SLSA's ``Builder``."""

    id: Literal["urn:surefoot:builder:command-line:v1"] = BUILDER


class BuildMetadata(Record, frozen=True, kw_only=True, rename="camel"):
    """SLSA's ``BuildMetadata``: the build id; no times, so that the same input gives the same bytes."""

    invocation_id: BuildId


class RunDetails(Record, frozen=True, kw_only=True, omit_defaults=False):
    """SLSA's ``RunDetails``."""

    builder: Builder = Builder()
    metadata: BuildMetadata


class Predicate(Record, frozen=True, kw_only=True, rename="camel"):
    """``provenance.json``: SLSA Provenance v1."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(Record, frozen=True, kw_only=True, rename="camel", omit_defaults=False):
    """The in-toto Statement v1 that is signed."""

    type_: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type", default="https://in-toto.io/Statement/v1")
    subject: list[Descriptor]
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = "https://slsa.dev/provenance/v1"
    predicate: Predicate


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Material:
    """A file that a component came from: its path as the recipe names it, and what it held when an image was made of it."""

    path: str
    hash: Digest
    component: str
    version: str


def make_predicate(parameters: ExternalParameters, tool_version: str, materials: Iterable[Material]) -> bytes:
    """Return ``provenance.json`` of a build.

    Args:
        parameters: What was asked for.
        tool_version: The version of Surefoot that built.
        materials: The files of every component of every image, in any order.
    """
    definition = BuildDefinition(
        external_parameters=parameters,
        internal_parameters=InternalParameters(tool_version=tool_version),
        resolved_dependencies=[_dependency(material) for material in sorted(set(materials))],
    )
    details = RunDetails(metadata=BuildMetadata(invocation_id=parameters.build_id))
    return to_pretty_json(Predicate(build_definition=definition, run_details=details))


def read_predicate(data: bytes) -> Predicate:
    """Return what ``provenance.json`` says; ``FormatError`` when it is not of the one form."""
    predicate = from_json(data, Predicate, what=PROVENANCE)
    if to_pretty_json(predicate) != data:
        raise FormatError(f"{PROVENANCE} is not written as surefoot writes it.", hint="Build or fetch the bundle again.")
    return predicate


def make_statement(predicate: Predicate, index: ReleaseIndex, manifests: Iterable[Manifest]) -> bytes:
    """Return the statement over a bundle, as compact JSON with sorted keys: the payload that is signed."""
    subjects = [Descriptor(name=name, digest=_digest_set(digest)) for name, digest in sorted(_files(index, manifests).items())]
    return to_json(Statement(subject=subjects, predicate=predicate))


def require_predicate(predicate: Predicate, index: ReleaseIndex, manifests: Iterable[Manifest]) -> None:
    """Check that a predicate is of this release.

    Raises:
        ManifestError: It says something else of the build than index and manifests do, or names other components.
    """
    manifests = list(manifests)
    said = predicate.build_definition.external_parameters
    for field, value in _told(index, manifests).items():
        if getattr(said, field) != value:
            raise ManifestError(f"{PROVENANCE} says {field} {getattr(said, field)!r}, and the release {value!r}.", hint="Build it again.")
    if predicate.run_details.metadata.invocation_id != index.build_id:
        raise ManifestError(f"{PROVENANCE} is of another build than {INDEX}.", hint="Build it again.")
    listed = {_component(dependency) for dependency in predicate.build_definition.resolved_dependencies}
    built = {(part.name, part.version, part.hash) for manifest in manifests for part in manifest.components}
    for odd in sorted(listed ^ built):
        holder = PROVENANCE if odd in listed else "a manifest"
        raise ManifestError(f"Only {holder} lists {' '.join(odd)}.", hint="Build the release again.")


def require_statement(payload: bytes, index: ReleaseIndex, manifests: Iterable[Manifest]) -> None:
    """Check that a statement whose signature was verified is about exactly these files, and about how they were built.

    Args:
        payload: The signed statement.
        index: ``release.json``, in its one form.
        manifests: The manifests as built.

    Raises:
        MetadataError: It is no statement of ours.
        DigestError: It names other files, other digests, or another predicate than the bundle.
        ManifestError: Its predicate is of another build.
    """
    manifests = list(manifests)
    try:
        statement = from_json(payload, Statement, what="signed provenance")
    except FormatError as error:
        raise MetadataError(error.message, hint="Sign the bundle again.") from error
    said = {subject.name: from_hex(subject.digest.sha256) for subject in statement.subject}
    there = _files(index, manifests)
    for name in sorted(said.keys() | there.keys()):
        if said.get(name) != there.get(name):
            wrong = f"{name} is {there.get(name, 'not there')}, and the signed provenance says {said.get(name, 'nothing of it')}."
            raise DigestError(wrong, hint="Sign the bundle again.")
    if digest_of(to_pretty_json(statement.predicate)) != index.provenance:
        raise DigestError(f"The signed provenance tells of another build than {INDEX} names.", hint="Sign the bundle again.")
    if make_statement(statement.predicate, index, manifests) != payload:
        raise MetadataError("The signed provenance is not written as surefoot writes it.", hint="Sign the bundle again.")
    require_predicate(statement.predicate, index, manifests)


def _dependency(material: Material) -> Descriptor:
    origin = Origin(component=material.component, version=material.version)
    return Descriptor(name=material.path, digest=_digest_set(material.hash), annotations=origin)


def _component(dependency: Descriptor) -> tuple[str, str, str]:
    origin = dependency.annotations
    if origin is None:
        raise ManifestError(f"{PROVENANCE}: '{dependency.name}' is of no component.", hint="Build the release again.")
    return origin.component, origin.version, from_hex(dependency.digest.sha256)


def _digest_set(digest: Digest) -> DigestSet:
    return DigestSet(sha256=hex_of(digest))


def _files(index: ReleaseIndex, manifests: Iterable[Manifest]) -> Mapping[str, Digest]:
    """Return every file of a bundle that a statement is about, with its digest."""
    images = {image_file(manifest.image.hash): manifest.image.hash for manifest in manifests}
    entries = {entry.file: entry.hash for entry in index.manifests}
    return {**images, **entries, SBOM: index.sbom, INDEX: digest_of(to_pretty_json(index))}


def _told(index: ReleaseIndex, manifests: Iterable[Manifest]) -> Mapping[str, object]:
    """Return what a release says itself of its build's parameters: all but the recipe."""
    return {
        "product": index.product,
        "version": index.version,
        "build_id": index.build_id,
        "release_counter": min(manifest.release_counter for manifest in manifests),
        "hardware": sorted({entry.hardware for entry in index.manifests}),
        "variants": sorted({entry.variant for entry in index.manifests}),
    }
