# SPDX-License-Identifier: Apache-2.0
"""What a release contains, what it fits, and the names its parts have in both repositories.

One manifest describes one image: one hardware in one variant. The *must-match block* is what image repository and
director must both sign, byte for byte the same; it carries the digest of the manifest without the two fields that are
filled after the build (``image.url`` by publish, ``image.signature`` by sign).
"""

import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, structs

from surefoot.model.digest import Digest, digest_of
from surefoot.model.record import Name, Record, Size, Text, to_json
from surefoot.model.version import RevertTo, SemVer

Counter = Annotated[int, Meta(ge=1, lt=2**31)]
"""A release counter (security epoch) or data format: raised only, never lowered."""

BuildId = Annotated[
    str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z", description="up to 64 letters, digits, dots, hyphens and underscores")
]

_STAMP = re.compile(r"[0-9]{8}-[0-9]{6}(-|\Z)")


BOOTLOADER = "bootloader"
"""The name of the component that starts the board."""


class Component(Record, frozen=True, kw_only=True):
    """One part of an image, by name, version and content."""

    name: Name
    version: str
    hash: Digest
    updatable: bool = True


class Image(Record, frozen=True, kw_only=True):
    """The file that goes into a slot."""

    size: Size
    hash: Digest
    url: str = ""
    signature: str = ""


class Requires(Record, frozen=True, kw_only=True):
    """What must already run for this release to be installed directly."""

    from_: str = msgspec.field(name="from")


class ReleaseNotes(Record, frozen=True, kw_only=True, omit_defaults=False):
    """The manifest's ``metadata`` block: for people, but for ``required``, by which the server limits how long an order may be put off."""

    release_notes: Text = ""
    rollout_percentage: Annotated[int, Meta(ge=0, le=100)] = 0
    required: bool = False


class Manifest(Record, frozen=True, kw_only=True):
    """One image of a release: its content and the devices it fits.

    ``breaking`` marks a minor that nobody should get unasked. Only the server judges by it, so it is not in the must-match block;
    it is signed all the same, since the block has the digest of the manifest.
    """

    product: Name
    version: SemVer
    build_id: BuildId
    variant: Name
    release_counter: Counter
    target_hardware: Annotated[list[Name], Meta(min_length=1, max_length=100)]
    min_bootloader_version: SemVer
    components: list[Component]
    image: Image
    metadata: ReleaseNotes
    data_format: Counter | None = None
    requires: Requires | None = None
    revert_to: RevertTo = "patch"
    breaking: bool = False


class MustMatch(Record, frozen=True, kw_only=True):
    """The block that both repositories sign for an image; every version rule on the device reads from it alone.

    The variant is not in it: the path of the image, which both repositories sign as well, says it.

    Attributes:
        updates_bootloader: Whether the image carries a bootloader: an updatable component named ``BOOTLOADER``. A board with
            one copy of it must not take the image, since a cut while it is written would leave nothing that starts.
    """

    product: Name
    version: SemVer
    build_id: BuildId
    release_counter: Counter
    target_hardware: Annotated[list[Name], Meta(min_length=1, max_length=100)]
    min_bootloader_version: SemVer
    manifest: Digest
    data_format: Counter | None = None
    requires: Requires | None = None
    revert_to: RevertTo = "patch"
    updates_bootloader: bool = False


class ManifestEntry(Record, frozen=True, kw_only=True):
    """Where a bundle keeps one manifest."""

    hardware: Name
    variant: Name
    file: str
    hash: Digest


class ReleaseIndex(Record, frozen=True, kw_only=True):
    """``release.json``: the root of a bundle. Its digest is the bundle's digest, since it names everything else by hash."""

    product: Name
    version: SemVer
    build_id: BuildId
    manifests: Annotated[list[ManifestEntry], Meta(min_length=1)]
    sbom: Digest
    provenance: Digest


def manifest_digest(manifest: Manifest) -> Digest:
    """Return the digest of the manifest as built: with ``image.url`` and ``image.signature`` empty."""
    return digest_of(to_json(as_built(manifest)))


def as_built(manifest: Manifest) -> Manifest:
    """Return the manifest without what publish and sign fill in."""
    return structs.replace(manifest, image=structs.replace(manifest.image, url="", signature=""))


def must_match(manifest: Manifest) -> MustMatch:
    """Return the block that both repositories must sign for this manifest."""
    return MustMatch(
        product=manifest.product,
        version=manifest.version,
        build_id=manifest.build_id,
        release_counter=manifest.release_counter,
        target_hardware=manifest.target_hardware,
        min_bootloader_version=manifest.min_bootloader_version,
        manifest=manifest_digest(manifest),
        data_format=manifest.data_format,
        requires=manifest.requires,
        revert_to=manifest.revert_to,
        updates_bootloader=any(part.updatable and part.name == BOOTLOADER for part in manifest.components),
    )


def target_path(product: str, version: str, hardware: str, variant: str) -> str:
    """Return the TUF target path of an image, ``<product>/<version>/<hardware>-<variant>``."""
    return f"{product}/{version}/{hardware}-{variant}"


def built_at(build_id: str) -> datetime | None:
    """Return the instant that a build id of the form ``YYYYMMDD-HHMMSS-…`` names, or ``None``."""
    if _STAMP.match(build_id) is None:
        return None
    try:
        return datetime.strptime(build_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
