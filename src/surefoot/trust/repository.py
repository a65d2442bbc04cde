# SPDX-License-Identifier: Apache-2.0
"""The image repository as the server keeps it: what may exist at all.

Roots, targets and product roles come signed by people (``surefoot.trust.offline``); snapshot and timestamp are signed here, by
the server's own keys. Everything is a function of bytes; who stores them is the caller's affair.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from surefoot.model.digest import Digest, from_hex
from surefoot.model.errors import InvalidInput, MetadataError, MetadataRollbackError, SignatureError
from surefoot.model.manifest import Manifest, MustMatch, as_built, must_match, target_path
from surefoot.model.record import from_plain, to_json
from surefoot.trust.envelope import strict_base64
from surefoot.trust.layout import bits_of, leaves, product_of
from surefoot.trust.metadata import IMAGE_LIFE, Files, expiry, is_half_spent, product_role, read, refusals, sign_with, verified
from surefoot.trust.tree import images_of, leaf_named, published, require_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineSigners:
    """The keys that the server itself uses for the image repository."""

    snapshot: Signer
    timestamp: Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One image as a product role lists it."""

    path: str
    size: int
    hash: Digest
    must_match: MustMatch


def initial(root: bytes, targets: bytes, roles: Mapping[str, bytes], signers: OnlineSigners, now: datetime) -> dict[str, bytes]:
    """Return a whole new image repository by un-versioned name: the given files, a snapshot and a timestamp over them."""
    files = {"root.json": root, "targets.json": targets, **{f"{product}.json": role for product, role in roles.items()}}
    snapshot = Snapshot(expires=expiry("snapshot", now), meta={name: _meta(data) for name, data in files.items() if name != "root.json"})
    files["snapshot.json"] = sign_with(Metadata(snapshot), [signers.snapshot])
    timestamp = Timestamp(expires=expiry("timestamp", now), snapshot_meta=_snapshot_meta(files["snapshot.json"], snapshot.version))
    files["timestamp.json"] = sign_with(Metadata(timestamp), [signers.timestamp])
    return files


def publish(files: Files, product: str, role: bytes, signers: OnlineSigners, now: datetime) -> dict[str, bytes]:
    """Take a newly signed role into the repository.

    Args:
        files: The published files by un-versioned name.
        product: The role's name: a product, or ``targets`` for the top-level role.
        role: Its new file.
        signers: The server's own keys.
        now: When.

    Returns:
        The files that change, by un-versioned name; empty when exactly this file is published already.

    Raises:
        SignatureError: It is not signed as its delegation asks.
        MetadataRollbackError: Its version is not above the published one.
        MetadataError: It cannot be read, or it drops or changes an image that is published.
    """
    name = f"{product}.json"
    if product != "targets":
        return publish_roles(files, product, {name: role}, signers, now)
    if files.get(name) == role:
        return {}
    root = read(files["root.json"], Root, name="root.json").signed
    fresh = _verified_fresh(role, root, "targets", now)
    require_tree(fresh, {})
    require_newer(files, name, fresh)
    return _with_snapshot(files, {name: role}, signers, now)


def publish_roles(files: Files, product: str, roles: Files, signers: OnlineSigners, now: datetime) -> dict[str, bytes]:
    """Take newly signed roles of one product into the repository, whole or not at all.

    Args:
        files: The published files by un-versioned name: those of the top, the product's role, and each leaf concerned with its
            archive; all of the product when its number of bins changes.
        product: The product.
        roles: The new role files of that product, by un-versioned name; those that are published already do no harm.
        signers: The server's own keys.
        now: When.

    Returns:
        The files that change, by un-versioned name; empty when exactly these files are published already.

    Raises:
        SignatureError: One is not signed as its delegation asks.
        MetadataRollbackError: A version is not above the published one.
        MetadataError: One cannot be read or is no role of the product, the delegations are no tree, a path stands twice, or an
            image that is published is dropped or changed.
    """
    fresh = {name: data for name, data in roles.items() if files.get(name) != data}
    if not fresh:
        return {}
    after = {**files, **fresh}
    targets = read(files["targets.json"], Targets, name="targets.json").signed
    product_role(targets, product)
    top = verified(after[f"{product}.json"], Targets, targets, product, name=f"{product}.json")
    before = published(files, product)
    reachable = set(leaves(product, bits_of(top)))
    names = {name.removesuffix(".json") for name in fresh}
    for role in names:
        if product_of(role) != product or (role != product and leaf_named(role) not in reachable):
            raise MetadataError(f"{role[:80]!r} is no role of {product}.", hint="Sign the release again.")
    require_tree(targets, {name: read(after[f"{name}.json"], Targets, name=f"{name}.json").signed for name in names | {product}})
    for name, data in fresh.items():
        signed = read(data, Targets, name=name).signed
        _require_unexpired(signed, name, now)
        require_newer(files, name, signed)
    is_same_layout = before is not None and before.delegations == top.delegations
    touched = {leaf_named(name) for name in names} & reachable if is_same_layout else None
    images = images_of(after, product, top, touched)
    _require_kept({} if before is None else images_of(files, product, before, touched), images, f"{product}.json {top.version}")
    return _with_snapshot(files, fresh, signers, now)


def require_signature(targets: Targets, manifest: Manifest) -> None:
    """Check ``image.signature`` of a published manifest against the product's key (see ``offline.sign_manifest``).

    Args:
        targets: The top-level targets, verified by the caller, which delegate the product.
        manifest: The manifest with its signature filled in.

    Raises:
        SignatureError: It is missing, malformed, or not by a key of the product.
    """
    keys, _ = product_role(targets, manifest.product)
    signature = _signature_of(manifest)
    for keyid, key in keys.items():
        with suppress(UnverifiedSignatureError):
            key.verify_signature(Signature(keyid, signature), to_json(as_built(manifest)))
            return
    raise SignatureError(
        f"The manifest of {manifest.product} {manifest.version} for {', '.join(manifest.target_hardware)} {manifest.variant} "
        "is not signed by the product's key.",
        hint="Sign it again.",
    )


def unlisted(role: Mapping[str, Listed], manifests: Iterable[Manifest]) -> list[str]:
    """Return the path of every image that a role does not list just as its manifest says it, one for each hardware it fits."""
    paths = [
        (target_path(manifest.product, manifest.version, hardware, manifest.variant), manifest)
        for manifest in manifests
        for hardware in manifest.target_hardware
    ]
    return [path for path, manifest in paths if not _says(role.get(path), manifest)]


def refresh(files: Files, signers: OnlineSigners, now: datetime) -> dict[str, bytes]:
    """Sign again what has spent half its life; return the files that change, by un-versioned name."""
    changed: dict[str, bytes] = {}
    snapshot = read(files["snapshot.json"], Snapshot, name="snapshot.json")
    if is_half_spent(snapshot.signed, IMAGE_LIFE["snapshot"], now):
        changed["snapshot.json"] = next_snapshot(snapshot, signers, now)
    timestamp = read(files["timestamp.json"], Timestamp, name="timestamp.json")
    if changed or is_half_spent(timestamp.signed, IMAGE_LIFE["timestamp"], now):
        changed["timestamp.json"] = next_timestamp({**files, **changed}, signers, now)
    return changed


def overdue(files: Files, now: datetime) -> dict[str, datetime]:
    """Return when the repository's own files expire, by name: those that should have been signed again by now (half their life)."""
    snapshot = read(files["snapshot.json"], Snapshot, name="snapshot.json").signed
    timestamp = read(files["timestamp.json"], Timestamp, name="timestamp.json").signed
    return {signed.type: signed.expires for signed in (snapshot, timestamp) if is_half_spent(signed, IMAGE_LIFE[signed.type], now)}


def versions(files: Files) -> dict[str, int]:
    """Return the version of every file by un-versioned name."""
    return {name: _version(name, data) for name, data in files.items()}


def listed(role: bytes) -> dict[str, Listed]:
    """Return every image that a product role lists, by path.

    Raises:
        MetadataError: An entry has no readable must-match block or no SHA-256 hash.
    """
    return {path: _listed(target) for path, target in read(role, Targets, name="product role").signed.targets.items()}


def _signature_of(manifest: Manifest) -> str:
    text = manifest.image.signature
    try:
        return strict_base64(text.removeprefix("base64:")).hex() if text.startswith("base64:") else ""
    except ValueError:
        return ""


def _says(entry: Listed | None, manifest: Manifest) -> bool:
    image = manifest.image
    return entry is not None and (entry.size, entry.hash, entry.must_match) == (image.size, image.hash, must_match(manifest))


def _version(name: str, data: bytes) -> int:
    match name:
        case "root.json":
            return read(data, Root, name=name).signed.version
        case "snapshot.json":
            return read(data, Snapshot, name=name).signed.version
        case "timestamp.json":
            return read(data, Timestamp, name=name).signed.version
        case _:
            return read(data, Targets, name=name).signed.version


def _listed(target: TargetFile) -> Listed:
    with refusals(target.path):
        try:
            block = target.custom["must_match"]
            return Listed(
                path=target.path,
                size=target.length,
                hash=from_hex(target.hashes["sha256"]),
                must_match=from_plain(block, MustMatch, what=target.path),
            )
        except (KeyError, TypeError, InvalidInput) as error:
            raise ValueError(f"no readable must-match block ({error})") from error


def _verified_fresh(data: bytes, delegator: Root | Targets, role: str, now: datetime) -> Targets:
    fresh = verified(data, Targets, delegator, role, name=f"{role}.json")
    _require_unexpired(fresh, f"{role}.json", now)
    return fresh


def _require_unexpired(fresh: Targets, name: str, now: datetime) -> None:
    if fresh.is_expired(now):
        raise MetadataError(f"{name} is expired already.", hint="Sign it again.")


def require_newer(files: Files, name: str, fresh: Targets) -> None:
    """Refuse a role whose version is not above the published one with ``MetadataRollbackError``."""
    known = 0 if name not in files else _version(name, files[name])
    if fresh.version <= known:
        raise MetadataRollbackError(
            f"{name} {fresh.version} is not newer than the published {known}.",
            hint="Sign again with the folder of keys that signed the last release.",
        )


def require_kept(files: Files, after: Files, product: str) -> None:
    """Refuse a product's new roles that drop or change an image that is published.

    Raises:
        SignatureError: A role is not signed as its delegation asks.
        MetadataError: An image is dropped or changed, stands twice, or in a role in which it does not belong.
    """
    before, top = published(files, product), published(after, product)
    if before is not None and top is not None:
        _require_kept(images_of(files, product, before), images_of(after, product, top), f"{product}.json {top.version}")


def _require_kept(before: Mapping[str, TargetFile], after: Mapping[str, TargetFile], name: str) -> None:
    for path, target in before.items():
        if after.get(path) != target:
            raise MetadataError(f"{name} drops or changes {path}, which is published.")


def _with_snapshot(files: Files, fresh: Files, signers: OnlineSigners, now: datetime) -> dict[str, bytes]:
    snapshot = read(files["snapshot.json"], Snapshot, name="snapshot.json")
    snapshot.signed.meta.update({name: _meta(data) for name, data in fresh.items()})
    changed = {**fresh, "snapshot.json": next_snapshot(snapshot, signers, now)}
    return changed | {"timestamp.json": next_timestamp({**files, **changed}, signers, now)}


def _meta(data: bytes) -> MetaFile:
    return MetaFile(read(data, Targets, name="targets").signed.version)


def _snapshot_meta(snapshot: bytes, version: int) -> MetaFile:
    return MetaFile.from_data(version, snapshot, ["sha256"])


def next_snapshot(snapshot: Metadata[Snapshot], signers: OnlineSigners, now: datetime) -> bytes:
    """Return a snapshot signed again, its version one higher."""
    snapshot.signed.version += 1
    snapshot.signed.expires = expiry("snapshot", now)
    return sign_with(snapshot, [signers.snapshot])


def next_timestamp(files: Files, signers: OnlineSigners, now: datetime) -> bytes:
    """Return a timestamp over the snapshot in ``files``, its version one higher."""
    timestamp = read(files["timestamp.json"], Timestamp, name="timestamp.json")
    snapshot = read(files["snapshot.json"], Snapshot, name="snapshot.json").signed
    timestamp.signed.version += 1
    timestamp.signed.expires = expiry("timestamp", now)
    timestamp.signed.snapshot_meta = _snapshot_meta(files["snapshot.json"], snapshot.version)
    return sign_with(timestamp, [signers.timestamp])
