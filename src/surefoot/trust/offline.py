# SPDX-License-Identifier: Apache-2.0
"""What people sign: roots, the top-level targets, and product roles that list released images.

Root (threshold 2 of 3) and targets (2 of 2) are signed by people with keys that never lie on a server; targets delegates each
product to a role of its own. No key has two roles.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import DelegatedRole, Delegations, Root, TargetFile, Targets

from surefoot.model.digest import hex_of
from surefoot.model.errors import InvalidInput
from surefoot.model.manifest import Manifest, as_built, must_match, target_path
from surefoot.model.record import to_json, to_plain
from surefoot.trust.metadata import expiry, sign_bytes

ROOT_THRESHOLD = 2
RESERVED = frozenset({"root", "targets", "snapshot", "timestamp"})


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
