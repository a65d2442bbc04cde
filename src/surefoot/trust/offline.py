# SPDX-License-Identifier: Apache-2.0
"""What people sign: roots, the top-level targets, and product roles that list released images.

Root (threshold 2 of 3) and targets (2 of 2) are signed by people with keys that never lie on a server; targets delegates each
product to a role of its own. No key has two roles.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, TargetFile, Targets

from surefoot.model.digest import hex_of
from surefoot.model.errors import ConflictError, InvalidInput
from surefoot.model.manifest import Manifest, as_built, must_match, target_path
from surefoot.model.record import to_json, to_plain
from surefoot.trust.metadata import expiry, read, sign_bytes, sign_with

ROOT_THRESHOLD = 2
RESERVED = frozenset({"root", "targets", "snapshot", "timestamp"})


def create_root(signers: Sequence[Signer], online: Mapping[str, Iterable[Key]], now: datetime, *, thresholds: Mapping[str, int]) -> bytes:
    """Return version 1 of a root, signed by all its keys.

    Args:
        signers: The root keys; two of them suffice from then on.
        online: The keys of ``targets``, ``snapshot`` and ``timestamp``.
        now: When it is made; the root expires a year later.
        thresholds: Signatures that a role needs, where it is more than one.
    """
    keys = {"root": [signer.public_key for signer in signers], **online}
    return sign_with(Metadata(new_root(keys, {"root": ROOT_THRESHOLD, **thresholds}, now)), signers)


def new_root(keys: Mapping[str, Iterable[Key]], thresholds: Mapping[str, int], now: datetime) -> Root:
    """Return version 1 of a root, not signed yet.

    Args:
        keys: The keys of ``root``, ``targets``, ``snapshot`` and ``timestamp``.
        thresholds: Signatures that a role needs, where it is more than one.
        now: When it is made; the root expires a year later.
    """
    root = Root(expires=expiry("root", now), consistent_snapshot=True)
    for role, own in keys.items():
        for key in own:
            root.add_key(key, role)
        root.roles[role].threshold = thresholds.get(role, 1)
    return root


def create_targets(signers: Sequence[Signer], products: Mapping[str, Key], now: datetime) -> bytes:
    """Return version 1 of the top-level targets, with one delegation a product."""
    targets = Targets(expires=expiry("targets", now), delegations=Delegations({}, roles={}))
    for product, key in products.items():
        delegate(targets, product, [key], 1)
    return sign_with(Metadata(targets), signers)


def add_product(targets: bytes, product: str, key: Key, signers: Sequence[Signer], now: datetime) -> bytes:
    """Return the next version of the top-level targets, which also delegates ``product`` to ``key``.

    Raises:
        ConflictError: The product has a role already.
    """
    metadata = read(targets, Targets, name="targets.json")
    if metadata.signed.delegations is not None and product in (metadata.signed.delegations.roles or {}):
        raise ConflictError(f"The product '{product}' has a role already.", hint="It can be released: 'surefoot release sign'.")
    delegate(metadata.signed, product, [key], 1)
    return _next_version(metadata, signers, now)


def delegate(targets: Targets, product: str, keys: Iterable[Key], threshold: int) -> None:
    """Let keys sign for the paths of a product; ``InvalidInput`` when no product can be called so."""
    if product in RESERVED:
        raise InvalidInput(f"'{product}' cannot be the name of a product: a role is called that.", hint="Choose another name.")
    if targets.delegations is None:
        targets.delegations = Delegations({}, roles={})
    roles = targets.delegations.roles
    assert roles is not None  # noqa: S101  # we never use succinct roles at the top
    roles[product] = DelegatedRole(product, [], threshold, terminating=True, paths=[f"{product}/*/*"])
    for key in keys:
        targets.add_key(key, product)


def create_product(signer: Signer, now: datetime) -> bytes:
    """Return version 1 of a product role, which lists nothing yet."""
    return sign_with(Metadata(Targets(expires=expiry("targets", now))), [signer])


def entries(manifest: Manifest) -> list[TargetFile]:
    """Return how a role lists an image: one entry for each hardware that it fits."""
    return [_entry(manifest, hardware) for hardware in manifest.target_hardware]


def sign_manifest(manifest: Manifest, signer: Signer) -> str:
    """Return ``image.signature`` for consumers that read only the published JSON: ``base64:`` and the product key's signature.

    It covers the manifest as built, in sorted compact JSON: everything but ``image.url`` and ``image.signature``.
    """
    return "base64:" + b64encode(bytes.fromhex(sign_bytes(to_json(as_built(manifest)), signer, what="product").signature)).decode()


def _entry(manifest: Manifest, hardware: str) -> TargetFile:
    path = target_path(manifest.product, manifest.version, hardware, manifest.variant)
    return TargetFile(
        manifest.image.size,
        {"sha256": hex_of(manifest.image.hash)},
        path,
        {"custom": {"must_match": to_plain(must_match(manifest))}},
    )


def _next_version(metadata: Metadata[Targets], signers: Sequence[Signer], now: datetime) -> bytes:
    metadata.signed.version += 1
    metadata.signed.expires = expiry("targets", now)
    return sign_with(metadata, signers)
