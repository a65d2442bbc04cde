# SPDX-License-Identifier: Apache-2.0
"""Publish: take a signed release in, whole or not at all.

What must agree before anything is stored: the index names each manifest by hash, each manifest names an image that lies in the
blob store with that size, the signed product role lists each image with the same must-match
block, and the product's keys signed each manifest and the provenance of exactly these files. The same release again
changes nothing; another build of a published version is a conflict.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from msgspec import structs
from tuf.api.metadata import Targets

from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import ConflictError, FormatError, InvalidInput, ManifestError, UnknownError
from surefoot.model.manifest import Manifest, ManifestEntry, ReleaseIndex
from surefoot.model.record import Record, from_json, to_pretty_json
from surefoot.release.provenance import require_statement
from surefoot.server.services.ports import Act, Ledger, PublishedRelease, Write
from surefoot.server.services.views import artifact_url
from surefoot.store.blobs import BlobStore
from surefoot.trust.envelope import open_envelope
from surefoot.trust.metadata import read
from surefoot.trust.offline import RESERVED
from surefoot.trust.repository import Listed, OnlineSigners, listed, require_signature, unlisted, versions
from surefoot.trust.repository import publish as publish_role
from surefoot.trust.succession import signed_by


class PublishRequest(Record, frozen=True, kw_only=True):
    """A release to publish; its blobs were sent before. In JSON, bytes are base64.

    Attributes:
        index: ``release.json``.
        manifests: Each manifest file, by the name the index gives it.
        role: The product role that lists the images, signed.
        targets: The top-level targets role, signed, when it delegates anew; else left out.
        signatures: ``image.signature`` to fill in, by manifest file; each by a key of the product.
        provenance: The statement of how the files came to be, in an envelope signed by the product's keys.
    """

    index: bytes
    manifests: dict[str, bytes]
    role: bytes
    targets: bytes = b""
    signatures: dict[str, str] = {}
    provenance: bytes = b""


class PublishAnswer(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What is published: the release by its digest; ``is_new`` is false when it was there already."""

    product: str
    version: str
    hash: Digest
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where releases go and who signs for them.

    Attributes:
        blobs: The images and SBOMs.
        signers: The server's keys of the image repository.
        device_url: Where devices reach the device listener; images are fetched under it.
    """

    blobs: BlobStore
    signers: OnlineSigners
    device_url: str


async def publish(request: PublishRequest, shelf: Shelf, by: str, write: Write, now: datetime) -> PublishAnswer:
    """Publish a release.

    Raises:
        InvalidInput: Index, manifests, blobs and role do not agree; the message says which and where.
        TrustError: The role is not signed as its delegation asks, or goes back; or a manifest or the provenance is not
            signed by the product, or the provenance is of other files.
        ConflictError: Another build of this version is published, or the release counter goes back.
    """
    release = _release(request, shelf)
    _require_listed(release, listed(request.role))
    return await write(lambda ledger: _publish(ledger, release, request, shelf.signers, by=by, now=now))


def _publish(
    ledger: Ledger, release: PublishedRelease, request: PublishRequest, signers: OnlineSigners, *, by: str, now: datetime
) -> PublishAnswer:
    index = release.index
    known = ledger.release(index.product, index.version)
    if known is not None and known.digest != release.digest:
        raise ConflictError(
            f"{index.product} {index.version} is published as build {known.index.build_id}, and this is build {index.build_id}.",
            hint="Give this build a new version.",
        )
    answer = PublishAnswer(product=index.product, version=index.version, hash=release.digest, is_new=known is None)
    files = ledger.metadata("image").files
    if known is not None and _is_listed(known, listed(files[f"{index.product}.json"])):
        return answer
    _require_counter(ledger, release)
    changed = _delegate(files, request.targets, signers, now)
    changed |= _take_role({**files, **changed}, release, request.role, signers, now)
    _require_signatures(release, request.provenance, {**files, **changed}["targets.json"])
    ledger.put_metadata("image", changed, versions(changed))
    if known is None:
        ledger.add_release(release, request.provenance, now)
    (signed,) = signed_by({**files, **changed}, [f"{index.product}.json"], {index.product: "targets"})
    subject = f"{index.product} {index.version} {release.digest} {' '.join(signed.keys)}"
    ledger.add_act(Act(at=now, by=by, what="release.publish", subject=subject))
    return answer


def _delegate(files: Mapping[str, bytes], targets: bytes, signers: OnlineSigners, now: datetime) -> dict[str, bytes]:
    """Take new delegations in; a bundle signed before the published ones were is no reason to go back, or to refuse it."""
    name = "targets.json"
    if not targets or versions({name: targets})[name] <= versions({name: files[name]})[name]:
        return {}
    return publish_role(files, "targets", targets, signers, now)


def _take_role(
    files: Mapping[str, bytes], release: PublishedRelease, role: bytes, signers: OnlineSigners, now: datetime
) -> dict[str, bytes]:
    """Take the signed role in, unless a newer one that lists the release too is published: the order of publishing is free."""
    product = release.index.product
    name = f"{product}.json"
    if name in files and versions({name: role})[name] < versions({name: files[name]})[name] and _is_listed(release, listed(files[name])):
        return {}
    return publish_role(files, product, role, signers, now)


def _release(request: PublishRequest, shelf: Shelf) -> PublishedRelease:
    if not request.provenance:
        raise InvalidInput("The release comes without its signed provenance.", hint="Sign the bundle again, and publish it again.")
    index = from_json(request.index, ReleaseIndex, what="release.json")
    if to_pretty_json(index) != request.index:
        raise FormatError("release.json is not written as surefoot writes it.", hint="Build the release again.")
    if index.product in RESERVED or index.product.endswith(".root"):
        raise ManifestError(f"release.json: '{index.product}' cannot be the name of a product.", hint="Choose another name.")
    unnamed = request.manifests.keys() - {entry.file for entry in index.manifests}
    if unnamed:
        raise ManifestError(f"release.json does not name {', '.join(sorted(unnamed))}.")
    _require_blob(shelf.blobs, index.sbom, None, "The SBOM")
    manifests = tuple(_manifest(entry, index, request, shelf) for entry in index.manifests)
    return PublishedRelease(index=index, digest=digest_of(request.index), manifests=manifests)


def _manifest(entry: ManifestEntry, index: ReleaseIndex, request: PublishRequest, shelf: Shelf) -> Manifest:
    data = request.manifests.get(entry.file)
    if data is None:
        raise ManifestError(f"{entry.file} is named by release.json and was not sent.")
    if digest_of(data) != entry.hash:
        raise ManifestError(
            f"{entry.file} has the hash {digest_of(data)}, and release.json says {entry.hash}.", hint="Build the release again."
        )
    manifest = from_json(data, Manifest, what=entry.file)
    said = (manifest.product, manifest.version, manifest.build_id, manifest.variant)
    if said != (index.product, index.version, index.build_id, entry.variant) or entry.hardware not in manifest.target_hardware:
        raise ManifestError(f"{entry.file} and release.json do not say the same product, version, build, variant or hardware.")
    _require_blob(shelf.blobs, manifest.image.hash, manifest.image.size, f"The image of {entry.file}")
    url, signature = artifact_url(shelf.device_url, manifest.image.hash), request.signatures.get(entry.file, manifest.image.signature)
    return structs.replace(manifest, image=structs.replace(manifest.image, url=url, signature=signature))


def _require_blob(blobs: BlobStore, digest: Digest, size: int | None, what: str) -> None:
    found = blobs.size(digest)
    if found is None:
        raise UnknownError(f"{what}, {digest}, is not in the store.", hint="Send it first: PUT /api/v1/blobs/<hex>.")
    if size is not None and found != size:
        raise ManifestError(f"{what} is {found} bytes long, and the manifest says {size}.", hint="Build the release again.")


def _require_listed(release: PublishedRelease, role: Mapping[str, Listed]) -> None:
    for path in unlisted(role, release.manifests):
        raise InvalidInput(f"The signed role does not list {path} as the manifest says it.", hint="Sign the release again.")


def _is_listed(release: PublishedRelease, role: Mapping[str, Listed]) -> bool:
    return not unlisted(role, release.manifests)


def _require_signatures(release: PublishedRelease, provenance: bytes, targets: bytes) -> None:
    """Check what the product's keys signed besides the role: each manifest, and how all files came to be."""
    delegator = read(targets, Targets, name="targets.json").signed
    for manifest in release.manifests:
        require_signature(delegator, manifest)
    statement = open_envelope(provenance, delegator, release.index.product)
    require_statement(statement, release.index, release.manifests)


def _require_counter(ledger: Ledger, release: PublishedRelease) -> None:
    last = ledger.last_counter(release.index.product)
    lowest = min(manifest.release_counter for manifest in release.manifests)
    if lowest < last:
        raise ConflictError(
            f"{release.index.product} {release.index.version} has the release counter {lowest}, and {last} is published.",
            hint="Build it with the newer counter.",
        )
