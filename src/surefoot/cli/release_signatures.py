# SPDX-License-Identifier: Apache-2.0
"""What signing adds to a bundle, made with a folder of keys and checked against what somebody trusts.

- Trusted is the root: that of a keys folder, or a file. The bundle's top-level targets must be signed as it asks.
- The product's keys are those that the targets delegate to: the keys folder's newest, else the bundle's own, if neither root nor
  targets are expired; an old delegation could hide that a key is no longer trusted.
- Checked against these keys are the product role, which must list each image with its must-match block, ``image.signature`` of
  each manifest, and the provenance, whose subjects must be the files of the bundle.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import structs
from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Targets

from surefoot.cli.keys_folder import KeysFolder, open_keys
from surefoot.model.errors import ExpiredError, FormatError, InvalidInput, MetadataError, SignatureError
from surefoot.model.record import from_json, to_pretty_json
from surefoot.release.bundle import Bundle
from surefoot.release.provenance import make_statement, read_predicate, require_statement
from surefoot.trust.envelope import open_envelope, sign_envelope
from surefoot.trust.layout import add_release, archive_of, bits_of, leaf_of, product_of
from surefoot.trust.metadata import read, verified
from surefoot.trust.offline import entries, sign_manifest
from surefoot.trust.repository import listed, require_signature, unlisted
from surefoot.trust.tree import images_of, leaf_named, require_tree

TARGETS = "targets.json"
SIGNATURES = "signatures.json"
ENVELOPE = "provenance.dsse.json"


def sign(bundle: Bundle, keys: KeysFolder, now: datetime) -> dict[str, bytes]:
    """Return what goes into ``signed/``, by name; the keys folder keeps the new product role.

    Raises:
        InvalidInput: The folder lacks a key or the product.
        ConflictError: The version is signed already with other content.
    """
    product = bundle.index.product
    signers = keys.signers_for_product(product)
    roles = _roles(bundle, keys, signers, now)
    statement = make_statement(read_predicate(bundle.provenance), bundle.index, bundle.manifests.values())
    envelope = sign_envelope(statement, signers)
    # The folder of keys first: signing again then gives the same roles, and never two of one version.
    keys.keep(roles)
    signatures = {file: sign_manifest(manifest, signers[0]) for file, manifest in bundle.manifests.items()}
    targets = keys.metadata(TARGETS)
    return {**roles, TARGETS: targets, SIGNATURES: to_pretty_json(signatures), ENVELOPE: envelope}


def require_signed_by_folder(bundle: Bundle, folder: Path) -> None:
    """Check what was signed against a folder of keys; only its metadata is read.

    Raises:
        InvalidInput: It is no such folder, or knows no such product.
        TrustError: Something is not signed, or not signed by these keys.
    """
    keys = open_keys(folder)
    root = read(keys.metadata("root.json"), Root, name="root.json").signed
    newest = read(keys.metadata(TARGETS), Targets, name=TARGETS).signed
    signed = _signed(bundle)
    verified(signed[TARGETS], Targets, root, "targets", name=f"signed/{TARGETS}")
    _require_signed(bundle, signed, newest)


def require_signed_by_root(bundle: Bundle, file: Path, now: datetime) -> None:
    """Check what was signed against a trusted root of the image repository.

    Raises:
        InvalidInput: The file is no root.
        ExpiredError: The root or the bundle's targets are expired.
        TrustError: Something is not signed, or not signed as this root asks.
    """
    root = _root(file)
    signed = _signed(bundle)
    targets = verified(signed[TARGETS], Targets, root, "targets", name=f"signed/{TARGETS}")
    if root.is_expired(now):
        raise ExpiredError(f"{file} expired on {root.expires:%Y-%m-%d}.", hint="Name a newer root of the image repository.")
    if targets.is_expired(now):
        hint = "Sign the bundle again, or check it with the keys folder (--keys)."
        raise ExpiredError(f"signed/{TARGETS} expired on {targets.expires:%Y-%m-%d}.", hint=hint)
    _require_signed(bundle, signed, targets)


def _root(file: Path) -> Root:
    try:
        return read(file.read_bytes(), Root, name=str(file)).signed
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.", hint="Name a root of the image repository.") from error
    except MetadataError as error:
        raise InvalidInput(error.message, hint="Name a root of the image repository, root.json.") from error


def _signed(bundle: Bundle) -> Mapping[str, bytes]:
    for name in (f"{bundle.index.product}.json", TARGETS, SIGNATURES, ENVELOPE):
        if name not in bundle.signed:
            raise SignatureError(f"{bundle.path} is not signed: signed/{name} is missing.", hint="Sign the bundle again.")
    return bundle.signed


def _require_signed(bundle: Bundle, signed: Mapping[str, bytes], targets: Targets) -> None:
    product = bundle.index.product
    statement = open_envelope(signed[ENVELOPE], targets, product)
    require_statement(statement, bundle.index, bundle.manifests.values())
    roles = role_files(bundle)
    _require_roles(roles, product, targets)
    found = {path: entry for role in roles.values() for path, entry in listed(role).items()}
    for path in unlisted(found, bundle.manifests.values()):
        raise MetadataError(f"signed/{product}.json does not list {path} as its manifest says it.", hint="Sign the bundle again.")
    _require_signatures(bundle, signed[SIGNATURES], targets)


def role_files(bundle: Bundle) -> dict[str, bytes]:
    """Return the role files of its product that a bundle carries, by name."""
    product = bundle.index.product
    files = {name: data for name, data in bundle.signed.items() if product_of(name.removesuffix(".json")) == product}
    return files if f"{product}.json" in files else {}


def _roles(bundle: Bundle, keys: KeysFolder, signers: Sequence[Signer], now: datetime) -> dict[str, bytes]:
    """Return the product's role, the roles that list the bundle's images, and whatever else of the product signing changed."""
    product = bundle.index.product
    files = {**keys.roles_of(product), TARGETS: keys.metadata(TARGETS)}
    changed = add_release(files, bundle.manifests.values(), signers, now)
    after = {**files, **changed}
    bits = bits_of(read(after[f"{product}.json"], Targets, name=f"{product}.json").signed)
    leaves = {leaf_of(product, bits, entry.path) for manifest in bundle.manifests.values() for entry in entries(manifest)}
    leaves |= {product} | keys.moved_leaves(product)
    carried = {f"{role}.json" for leaf in leaves for role in (leaf, archive_of(leaf))} & after.keys()
    return {name: after[name] for name in sorted(carried | changed.keys())}


def _require_roles(roles: Mapping[str, bytes], product: str, targets: Targets) -> None:
    name = f"{product}.json"
    top = verified(roles[name], Targets, targets, product, name=f"signed/{name}")
    parsed = {role.removesuffix(".json"): read(data, Targets, name=f"signed/{role}").signed for role, data in roles.items()}
    require_tree(targets, parsed)
    bits = bits_of(top)
    images_of(roles, product, top, {leaf_named(role) for role in parsed if bits == 0 or role != product})


def _require_signatures(bundle: Bundle, data: bytes, targets: Targets) -> None:
    try:
        signatures = from_json(data, dict[str, str], what=f"signed/{SIGNATURES}")
    except FormatError as error:
        raise SignatureError(error.message, hint="Sign the bundle again.") from error
    if to_pretty_json(signatures) != data or signatures.keys() != bundle.manifests.keys():
        raise SignatureError(f"signed/{SIGNATURES} is not as surefoot wrote it.", hint="Sign the bundle again.")
    for file, manifest in bundle.manifests.items():
        require_signature(targets, structs.replace(manifest, image=structs.replace(manifest.image, signature=signatures[file])))
