# SPDX-License-Identifier: Apache-2.0
"""Publish: take a signed release in, whole or not at all.

What must agree before anything is stored: the index names each manifest by hash, each manifest names an image that lies in the
blob store with that size, the signed role of the product lists each image with the same must-match
block, and the product's keys signed each manifest and the provenance of exactly these files. The same release again
changes nothing; another build of a published version is a conflict.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from msgspec import structs
from tuf.api.metadata import Root, Targets

from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import ConflictError, FormatError, InvalidInput, ManifestError, UnknownError
from surefoot.model.manifest import Manifest, ManifestEntry, ReleaseIndex, target_path
from surefoot.model.record import Record, from_json, to_pretty_json
from surefoot.release.provenance import require_statement
from surefoot.server.services.ports import Act, Ledger, PublishedRelease, Write
from surefoot.server.services.views import artifact_url
from surefoot.store.blobs import BlobStore
from surefoot.trust.envelope import open_envelope
from surefoot.trust.layout import archive_of, bits_of, leaf_of, product_of
from surefoot.trust.metadata import read
from surefoot.trust.offline import RESERVED
from surefoot.trust.one_role import require_one_role
from surefoot.trust.product_files import retirements
from surefoot.trust.repository import Listed, OnlineSigners, listed, publish_roles, require_signature, unlisted, versions
from surefoot.trust.repository import publish as publish_role
from surefoot.trust.succession import signed_by


class PublishRequest(Record, frozen=True, kw_only=True):
    """A release to publish; its blobs were sent before. In JSON, bytes are base64.

    Attributes:
        index: ``release.json``.
        manifests: Each manifest file, by the name the index gives it.
        roles: The product's role files that signing changed, by file name (``thermostat.json``), and those that list the images.
        targets: The top-level targets role, signed, when it delegates anew; else left out.
        signatures: ``image.signature`` to fill in, by manifest file; each by a key of the product.
        provenance: The statement of how the files came to be, in an envelope signed by the product's keys.
    """

    index: bytes
    manifests: dict[str, bytes]
    roles: dict[str, bytes]
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
        TrustError: The role is not signed as its delegation asks, or goes back; a new delegation gives a key a second role; a
            manifest or the provenance is not signed by the product, or the provenance is of other files.
        ConflictError: Another build of this version is published, or the release counter goes back.
    """
    release = _release(request, shelf)
    _require_listed(release, _all_listed(request.roles))
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
    files = _concerned(ledger, release, request.roles)
    if known is not None and _is_listed(known, _listed_of(files, index.product)) and not _is_newer(files, request.roles):
        return answer
    _require_counter(ledger, release)
    changed = _delegate(ledger, files, request.targets, signers, now)
    changed |= _take_roles({**files, **changed}, release, request.roles, signers, now)
    _require_signatures(release, request.provenance, {**files, **changed}["targets.json"])
    ledger.put_metadata("image", changed, versions(changed))
    if known is None:
        ledger.add_release(release, request.provenance, now)
    # A release may have been retired before its own bundle is published.
    own = {index.version: _moved(index.product, {**files, **changed}).get(index.version, False)}
    for version, is_retired in {**_moved(index.product, changed), **own}.items():
        ledger.set_retired(index.product, version, is_retired)
    (signed,) = signed_by({**files, **changed}, [f"{index.product}.json"], {index.product: "targets"})
    subject = f"{index.product} {index.version} {release.digest} {' '.join(signed.keys)}"
    ledger.add_act(Act(at=now, by=by, what="release.publish", subject=subject))
    return answer


def _delegate(ledger: Ledger, files: Mapping[str, bytes], targets: bytes, signers: OnlineSigners, now: datetime) -> dict[str, bytes]:
    """Take new delegations in; a bundle signed before the published ones were is no reason to go back, or to refuse it."""
    name = "targets.json"
    if not targets or versions({name: targets})[name] <= versions({name: files[name]})[name]:
        return {}
    director = ledger.metadata("director", ("root.json",)).files["root.json"]
    own, root = read(director, Root, name="director root.json").signed, read(files["root.json"], Root, name="root.json").signed
    require_one_role(own, root, [read(targets, Targets, name=name).signed])
    return publish_role(files, "targets", targets, signers, now)


def _take_roles(
    files: Mapping[str, bytes], release: PublishedRelease, roles: Mapping[str, bytes], signers: OnlineSigners, now: datetime
) -> dict[str, bytes]:
    """Take the signed roles in, but those of which newer ones are published if the release is listed without them.

    So the order of publishing is free.
    """
    product = release.index.product
    known, sent = versions({name: files[name] for name in roles if name in files}), versions(roles)
    newest = {name: data for name, data in roles.items() if sent[name] >= known.get(name, 0)}
    is_enough = _is_listed(release, _listed_of({**files, **newest}, product))
    return publish_roles(files, product, newest if is_enough else roles, signers, now)


def _concerned(ledger: Ledger, release: PublishedRelease, roles: Mapping[str, bytes]) -> dict[str, bytes]:
    """Read the published files that the release touches: a few, unless the product's own role changes, and with it all bins."""
    product = release.index.product
    name = f"{product}.json"
    top = ("root.json", "targets.json", "snapshot.json", "timestamp.json", name)
    files = ledger.metadata("image", top).files
    bits = 0 if name not in files else bits_of(read(files[name], Targets, name=name).signed)
    if roles.get(name, files.get(name)) != files.get(name) and (bits or any(file != name for file in roles)):
        return ledger.metadata("image").files
    leaves = {leaf_of(product, bits, path) for path in _paths(release)} | {
        file.removesuffix(".json").removesuffix("+archive") for file in roles
    }
    names = {f"{role}.json" for leaf in leaves for role in (leaf, archive_of(leaf))}
    return files | ledger.metadata("image", sorted(names - set(top))).files


def _paths(release: PublishedRelease) -> list[str]:
    return [
        target_path(manifest.product, manifest.version, hardware, manifest.variant)
        for manifest in release.manifests
        for hardware in manifest.target_hardware
    ]


def _is_newer(files: Mapping[str, bytes], roles: Mapping[str, bytes]) -> bool:
    known = versions({name: files[name] for name in roles if name in files})
    return any(version > known.get(name, 0) for name, version in versions(roles).items())


def _listed_of(files: Mapping[str, bytes], product: str) -> dict[str, Listed]:
    return _all_listed({name: data for name, data in files.items() if product_of(name.removesuffix(".json")) == product})


def _all_listed(roles: Mapping[str, bytes]) -> dict[str, Listed]:
    return {path: entry for role in roles.values() for path, entry in listed(role).items()}


def _moved(product: str, changed: Mapping[str, bytes]) -> dict[str, bool]:
    """Return whether each release in the changed roles is retired, by version."""
    return retirements({name: data for name, data in changed.items() if product_of(name.removesuffix(".json")) == product})


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
